"""Python values and numpy arrays → Arrow arrays of a known type, and back to numpy.

From buffer to buffer: pyarrow's own conversions load pandas, in every process, and that takes
longer than a GB of rollouts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curriculum.arrays import BoolArray, FloatArray, IntArray
from curriculum.blocks import Block
from curriculum.errors import InternalError
from curriculum.shapes import Plan


def texts(values: Sequence[str | None]) -> pa.Array:
    """Strings; None is null. In UTF-8, so a lone surrogate raises UnicodeEncodeError."""
    valid = None
    if None in values:
        valid = np.array([value is not None for value in values])
        values = [value or "" for value in values]
    encoded = [value.encode() for value in values]  # type: ignore[union-attr]
    data = [pa.py_buffer(_offsets(list(map(len, encoded)))), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(values), [_validity(valid), *data])


def repeated(text: str | None, count: int) -> pa.Array:
    """One string, `count` times."""
    if text is None:
        return pa.nulls(count, pa.string())
    encoded = text.encode()
    offsets = _offsets(np.full(count, len(encoded)))
    data = [pa.py_buffer(offsets), pa.py_buffer(encoded * count)]
    return pa.Array.from_buffers(pa.string(), count, [None, *data])


def integers(values: IntArray, valid: BoolArray | None = None) -> pa.Array:
    """int64; null where not `valid`."""
    return _flat(pa.int64(), np.asarray(values, np.int64), valid)


def numbers(values: FloatArray, valid: BoolArray | None = None) -> pa.Array:
    """double; null where not `valid`."""
    return _flat(pa.float64(), np.asarray(values, np.float64), valid)


def truths(values: BoolArray, valid: BoolArray | None = None) -> pa.Array:
    """bool; null where not `valid`."""
    bits = np.packbits(values, bitorder="little")
    return _flat(pa.bool_(), bits, valid, len(values))


def lists(counts: Sequence[int], items: pa.Array, valid: BoolArray | None = None) -> pa.Array:
    """Lists of `counts` items each, one after another; null, with no items, where not `valid`."""
    buffers = [_validity(valid), pa.py_buffer(_offsets(counts))]
    kind = pa.list_(items.type)
    return pa.Array.from_buffers(kind, len(counts), buffers, children=[items])


def structs(kind: pa.StructType, children: Sequence[pa.Array], valid: BoolArray | None) -> pa.Array:
    """Structs with at least one field; null where not `valid`."""
    buffers = [_validity(valid)]
    return pa.Array.from_buffers(kind, len(children[0]), buffers, children=list(children))


def is_utf8(block: Block) -> bool:
    """Whether a block is valid UTF-8."""
    offsets = pa.py_buffer(np.array([0, block.size], dtype=np.int64))
    text = pa.LargeStringArray.from_buffers(1, offsets, pa.py_buffer(block.buffer))
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def int64_values(array: pa.Array) -> IntArray:
    """The values of an int64 array without nulls."""
    return np.frombuffer(array.buffers()[1], np.int64, len(array), 8 * array.offset)


def column(values: Sequence[Any], plan: Plan) -> pa.Array:
    """Values as the type of their plan holds them; None is null, and so are unset keys."""
    if plan.kind == "nothing":
        return repeated(None, len(values))
    if plan.kind == "json":
        return texts([None if v is None else json.dumps(v, ensure_ascii=False) for v in values])
    if plan.kind == "string":
        return texts(values)
    valid = None
    if None in values:
        valid = np.array([value is not None for value in values], dtype=np.bool_)
    if plan.item is not None:
        some = [value or [] for value in values]
        items = column([item for value in some for item in value], plan.item)
        return lists([len(value) for value in some], items, valid)
    if plan.fields:
        objects = [value or {} for value in values]
        children = [
            column([value.get(name) for value in objects], inner) for name, inner in plan.fields
        ]
        return structs(plan.arrow_type(), children, valid)
    filled = values if valid is None else [0 if value is None else value for value in values]
    if plan.kind == "int64":
        return integers(np.array(filled, np.int64), valid)
    if plan.kind == "double":
        return numbers(np.array(filled, np.float64), valid)
    return truths(np.array(filled, np.bool_), valid)


def _flat(kind: pa.DataType, data: Any, valid: BoolArray | None, count: int = -1) -> pa.Array:
    count = len(data) if count < 0 else count
    contiguous = np.ascontiguousarray(data)
    return pa.Array.from_buffers(kind, count, [_validity(valid), pa.py_buffer(contiguous)])


def _validity(valid: BoolArray | None) -> pa.Buffer | None:
    return None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))


def _offsets(counts: Sequence[int] | IntArray) -> Any:
    ends = np.cumsum(np.asarray(counts, dtype=np.int64))
    if len(ends) and ends[-1] > np.iinfo(np.int32).max:
        raise InternalError(f"{ends[-1]:,} bytes or items in one batch of one column")
    return np.append(0, ends).astype(np.int32)
