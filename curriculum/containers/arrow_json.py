"""Rows of Arrow arrays → lines of JSON, as Python's json writes them, without spaces and in UTF-8.

A null is written as null: a row has every column, and whether the line that it was made of had the
field is not known. The scanner writes the same bytes, for usual types.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from curriculum.arrays import IntArray
from curriculum.scanner.compiled import scanner

is_ = pa.types


def why_not_json(kind: pa.DataType) -> str | None:
    """What a type holds that JSON cannot; None if it holds nothing such."""
    if isinstance(kind, pa.BaseExtensionType):
        return why_not_json(kind.storage_type)
    if is_.is_dictionary(kind):
        return why_not_json(kind.value_type)
    if is_.is_map(kind):
        if not (is_.is_string(kind.key_type) or is_.is_large_string(kind.key_type)):
            return f"maps with keys of type {kind.key_type}"
        return why_not_json(kind.item_type)
    if is_.is_struct(kind):
        names = [field.name for field in kind]
        if len(names) > len(set(names)):
            return "two fields of one name"
        return next(filter(None, (why_not_json(field.type) for field in kind)), None)
    if _is_list(kind):
        return why_not_json(kind.value_type)
    return None if _is_flat(kind) else _title(kind)


def has_times(kind: pa.DataType) -> bool:
    """Whether there are times in values of a type, which become text."""
    if isinstance(kind, pa.BaseExtensionType):
        return has_times(kind.storage_type)
    if is_.is_dictionary(kind):
        return has_times(kind.value_type)
    if is_.is_nested(kind):
        return any(has_times(kind.field(i).type) for i in range(kind.num_fields))
    return bool(is_.is_temporal(kind))


def _title(kind: pa.DataType) -> str:
    return "bytes" if "binary" in str(kind) else str(kind)


def _is_flat(kind: pa.DataType) -> bool:
    return bool(
        is_.is_null(kind) or is_.is_boolean(kind) or is_.is_integer(kind) or is_.is_floating(kind)
        or is_.is_decimal(kind) or _is_text(kind) or is_.is_temporal(kind)
    ) and not is_.is_interval(kind)  # fmt: skip


def _is_text(kind: pa.DataType) -> bool:
    return bool(is_.is_string(kind) or is_.is_large_string(kind) or _is_view(kind, "string"))


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind)
        or _is_view(kind, "list") or _is_view(kind, "large_list")
    )  # fmt: skip


def _is_view(kind: pa.DataType, of: str) -> bool:
    """Whether a type is the view of another; older pyarrow knows none."""
    is_view = getattr(is_, f"is_{of}_view", None)
    return is_view is not None and bool(is_view(kind))


class LineEncoder:
    """Writes the rows of batches of one schema; `why_not_json` is None for all its columns."""

    def __init__(self, schema: pa.Schema) -> None:
        self._own = [i for i, field in enumerate(schema) if not _is_scanned(field.type)]

    def lines(
        self, batch: pa.RecordBatch, rows_at_once: int
    ) -> Iterator[tuple[bytearray, IntArray]]:
        """Some rows at a time: their lines, with newlines, and the end of each before that."""
        compiled = scanner()
        if compiled is None:
            for part in (batch.slice(i, rows_at_once) for i in range(0, len(batch), rows_at_once)):
                yield _plain_lines(part)
            return
        for i in self._own:
            batch = batch.set_column(i, batch.schema.names[i], _scannable(batch.column(i)))
        capsules = batch.__arrow_c_array__()
        size = batch.nbytes * 5 // 4 // max(len(batch), 1)  # of a line, with escapes and names
        for first in range(0, len(batch), rows_at_once):
            after = min(first + rows_at_once, len(batch))
            found = compiled.encode_rows(*capsules, first, after, size * (after - first))
            if found is None:
                yield _plain_lines(batch.slice(first, rows_at_once))
            else:
                yield found[0], np.frombuffer(found[1], np.int64)


def _is_scanned(kind: pa.DataType) -> bool:
    """Whether the scanner knows a type."""
    if isinstance(kind, pa.BaseExtensionType):
        return False
    if is_.is_dictionary(kind):
        return _is_scanned(kind.value_type)
    if is_.is_struct(kind):
        return all(_is_scanned(field.type) for field in kind)
    if is_.is_list(kind) or is_.is_large_list(kind):
        return _is_scanned(kind.value_type)
    return bool(
        is_.is_null(kind) or is_.is_boolean(kind) or is_.is_integer(kind) or is_.is_float32(kind)
        or is_.is_float64(kind) or is_.is_string(kind) or is_.is_large_string(kind)
    )  # fmt: skip


def _scannable(array: pa.Array) -> pa.Array:
    """The same values in types that the scanner knows. Lists and structs keep their layout, and
    only what it does not know inside them is replaced: by texts that it quotes, or by JSON, which
    it takes as it is."""
    kind = array.type
    if _is_scanned(kind):
        return array
    if isinstance(kind, pa.BaseExtensionType):
        return _scannable(array.storage)
    if is_.is_temporal(kind) and not is_.is_duration(kind):
        return _times(array)
    if is_.is_decimal(kind):
        return array.cast(pa.string())
    if _is_view(kind, "string"):
        return array.cast(pa.large_string())
    if array.offset == 0:  # a slice has more children than rows
        if is_.is_struct(kind) and kind.num_fields:
            children = [_scannable(array.field(i)) for i in range(kind.num_fields)]
            fields = [kind.field(i).with_type(child.type) for i, child in enumerate(children)]
            return _with_children(array, pa.struct(fields), children)
        if is_.is_list(kind) or is_.is_large_list(kind):
            items = _scannable(array.values)
            made = pa.list_ if is_.is_list(kind) else pa.large_list
            return _with_children(array, made(items.type), [items])
    return pa.array(json_texts(array), pa.large_binary())


def _with_children(array: pa.Array, kind: pa.DataType, children: Sequence[pa.Array]) -> pa.Array:
    """An array of the same structs or lists, of other children."""
    own = array.buffers()[: 1 if is_.is_struct(kind) else 2]
    return pa.Array.from_buffers(kind, len(array), own, array.null_count, children=children)


def _plain_lines(batch: pa.RecordBatch) -> tuple[bytearray, IntArray]:
    """The rows of a batch, in plain Python."""
    names = [_quoted(name.encode()) for name in batch.schema.names]
    columns = [json_texts(column) for column in batch.columns] or [[None] * len(batch)]
    lines = [_object(zip(names, row, strict=False)) for row in zip(*columns, strict=True)]
    ends = np.cumsum([len(line) + 1 for line in lines], dtype=np.int64) - 1
    return bytearray(b"".join(line + b"\n" for line in lines)), ends


def json_texts(array: pa.Array) -> list[bytes | None]:
    """The JSON of each value of an array; None where it is null."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return json_texts(array.storage)
    if is_.is_dictionary(kind):
        return json_texts(array.dictionary_decode())
    if is_.is_map(kind):
        return _maps(array)
    if is_.is_struct(kind):
        return _structs(array)
    if _is_list(kind):
        return _lists(array)
    if is_.is_binary(kind) or is_.is_large_binary(kind):  # JSON that is written already
        return list(array.to_pylist())
    return [None if value is None else _writer(kind)(value) for value in _values(array)]


def _values(array: pa.Array) -> Sequence[Any]:
    """The values of an array of a flat type; texts as bytes, times as text."""
    kind = array.type
    if _is_text(kind):  # which need not be UTF-8
        large = array.cast(pa.large_string()) if _is_view(kind, "string") else array
        binary = pa.binary() if is_.is_string(kind) else pa.large_binary()
        return list(large.view(binary).to_pylist())
    if is_.is_duration(kind):
        return [
            None if n is None else _duration(n, kind.unit)
            for n in array.cast(pa.int64()).to_pylist()
        ]
    if is_.is_temporal(kind):
        return _values(_times(array))
    if is_.is_decimal(kind):
        return [
            None if text is None else text.encode() for text in array.cast(pa.string()).to_pylist()
        ]
    return list(array.to_pylist())


def _writer(kind: pa.DataType) -> Callable[[Any], bytes]:
    if _is_text(kind) or is_.is_temporal(kind) or is_.is_decimal(kind):
        return _quoted
    return _plain


def _plain(value: bool | int | float) -> bytes:
    return json.dumps(float(value) if isinstance(value, np.floating) else value).encode()


def _quoted(text: bytes) -> bytes:
    decoded = text.decode("utf-8", "surrogateescape")
    return json.dumps(decoded, ensure_ascii=False).encode("utf-8", "surrogateescape")


def _times(array: pa.Array) -> pa.StringArray:
    """Dates or times as texts, as ISO 8601 has them; null for one that no calendar has, which Arrow
    says is out of range."""
    import pyarrow.compute as pc  # few need it

    texts = array.cast(pa.string())
    beyond = pc.match_substring(texts, "out of range")
    texts = pc.if_else(beyond, pa.nulls(len(texts), pa.string()), texts)
    texts = pc.replace_substring(texts, " ", "T", max_replacements=1)
    return pc.replace_substring_regex(texts, r"([+-]\d\d)(\d\d)$", r"\1:\2")


_UNITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


def _duration(count: int, unit: str) -> bytes:
    """A length of time as ISO 8601 has it, such as PT1.500S."""
    places = _UNITS[unit]
    whole, part = divmod(abs(count), 10**places)
    digits = f".{part:0{places}}" if places else ""
    return f"{'-' if count < 0 else ''}PT{whole}{digits}S".encode()


def _object(fields: Iterable[tuple[bytes, bytes | None]]) -> bytes:
    return b"{" + b",".join(name + b":" + (text or b"null") for name, text in fields) + b"}"


def _structs(array: pa.StructArray) -> list[bytes | None]:
    names = [_quoted(field.name.encode()) for field in array.type]
    columns = [json_texts(child) for child in array.flatten()] or [[None] * len(array)]
    valid = array.is_valid().to_pylist()
    return [
        _object(zip(names, row, strict=False)) if there else None
        for there, row in zip(valid, zip(*columns, strict=True), strict=True)
    ]


def _lists(array: Any) -> list[bytes | None]:
    """Lists of any layout. What `flatten` gives of the others are the items of lists not null."""
    kind = array.type
    if _is_view(kind, "list") or _is_view(kind, "large_list"):
        texts = json_texts(array.values)
        places = zip(array.offsets.to_pylist(), array.sizes.to_pylist(), strict=True)
        found = [texts[start : start + size] for start, size in places]
    else:
        items, fixed = iter(json_texts(array.flatten())), is_.is_fixed_size_list(kind)
        counts = [kind.list_size] * len(array) if fixed else array.value_lengths().to_pylist()
        valid = array.is_valid().to_pylist()
        found = [
            list(islice(items, count if there else 0))
            for count, there in zip(counts, valid, strict=True)
        ]
    return [
        b"[" + b",".join(text or b"null" for text in texts) + b"]" if there else None
        for texts, there in zip(found, array.is_valid().to_pylist(), strict=True)
    ]


def _maps(array: pa.MapArray) -> list[bytes | None]:
    """Objects. The keys and items of an array begin at its offsets, which a slice keeps."""
    keys, items = [key or b"" for key in json_texts(array.keys)], json_texts(array.items)
    offsets, valid = array.offsets.to_pylist(), array.is_valid().to_pylist()
    return [
        _object(zip(keys[first:after], items[first:after], strict=True)) if there else None
        for there, first, after in zip(valid, offsets, offsets[1:], strict=False)
    ]
