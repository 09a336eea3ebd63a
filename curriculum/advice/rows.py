"""A file of any kind → Python that loops over its rows, and its first rows.

Only what is needed of a file is read, never all of it if it may be large.
"""

from __future__ import annotations

import csv
import io
import json
import lzma
from ast import literal_eval
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from msgspec import Struct

from curriculum.containers import file_kinds as kinds
from curriculum.containers.file_kinds import FileKind
from curriculum.reading.find_files import find_file
from curriculum.reading.input_files import InputFile, open_file
from curriculum.storage.paths import AnyPath

# What readers raise for damaged files; errors of pyarrow are among them.
_DAMAGED = (
    OSError, EOFError, ValueError, NotImplementedError, SyntaxError, RecursionError, StopIteration,
    csv.Error, lzma.LZMAError,
)  # fmt: skip
_ROWS = 4  # that are looked at
_BYTES_LOOKED_AT = 1 << 20
_BYTES_LOADED = 64 << 20  # a larger JSON object is not loaded only to say what it holds


class Rows(Struct, frozen=True):
    """Python that loops over the rows of a `file`, with the modules it needs, and the first rows.

    `before` goes before the loops and `after` into the last of them; they bind `row`. `written` is
    Python for the row as JSON.
    """

    loop: tuple[str, ...]
    modules: tuple[str, ...] = ()
    first: Sequence[Any] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    written: str = "json.dumps(row)"


def rows_of(path: AnyPath, kind: FileKind | None, field: str | None = None) -> Rows | None:
    """The rows of a file, which are its lines where `kind` is None, and the items of the list in a
    `field` of the object that it is. None if it is damaged or of a kind without rows."""
    read = _list_in(field) if field else _READERS.get(kind)
    try:
        return read(find_file(path)) if read else None
    except _DAMAGED:
        return None


def _parquet(file: InputFile) -> Rows:
    import pyarrow.parquet as pq

    with file.path.open("rb") as stream:
        first = next(pq.ParquetFile(stream).iter_batches(_ROWS)).to_pylist()
    return _arrow("pq.ParquetFile(file).iter_batches()", "pyarrow.parquet as pq", first)


def _feather(file: InputFile) -> Rows:
    from pyarrow import feather

    with file.path.open("rb") as stream:
        first = feather.read_table(stream).slice(0, _ROWS).to_pylist()
    return _arrow("feather.read_table(file).to_batches()", "pyarrow.feather as feather", first)


def _arrow_stream(file: InputFile) -> Rows:
    import pyarrow as pa

    with file.path.open("rb") as stream:
        first = next(iter(pa.ipc.open_stream(stream))).slice(0, _ROWS).to_pylist()
    return _arrow("pa.ipc.open_stream(file)", "pyarrow as pa", first)


def _arrow(batches: str, module: str, first: Sequence[Any]) -> Rows:
    loop = (f"for batch in {batches}:", "for row in batch.to_pylist():")
    written = "json.dumps(row, default=str)"  # dates and bytes
    return Rows(loop, (module,), first, written=written)


def _json_lines(file: InputFile) -> Rows:
    return Rows((_line_loop("json.loads", _text(file)),), _modules(file))


def _python(file: InputFile) -> Rows:
    first = [literal_eval(line.strip()) for line in islice(_lines(file), 1)]
    return Rows((_line_loop("ast.literal_eval", _text(file)),), ("ast", *_modules(file)), first)


def _xz(file: InputFile) -> Rows:
    with lzma.open(str(file.path), "rt", encoding="utf-8-sig") as stream:
        first = [json.loads(line) for line in islice(filter(str.strip, stream), 1)]
    loop = _line_loop("json.loads", "lzma.open(file, 'rt', encoding='utf-8-sig')")
    return Rows((loop,), ("lzma",), first)


def _encoded(encoding: str) -> Callable[[InputFile], Rows]:
    def read(file: InputFile) -> Rows:
        first = [json.loads(line) for line in islice(_lines(file, encoding), 1)]
        return Rows((_line_loop("json.loads", f"open(file, encoding='{encoding}')"),), (), first)

    return read


def _table(delimiter: str) -> Callable[[InputFile], Rows]:
    def read(file: InputFile) -> Rows:
        text = io.StringIO(_head(file).decode("utf-8-sig", "replace"), newline="")
        usual = csv.field_size_limit(_BYTES_LOOKED_AT)
        first = list(islice(csv.DictReader(text, delimiter=delimiter), _ROWS))
        csv.field_size_limit(usual)
        by = "" if delimiter == "," else ", delimiter='\\t'"
        opened = _text(file, ", newline=''")
        loop = f"for row in csv.DictReader({opened}{by}):"
        before = ("csv.field_size_limit(1 << 30)",)
        return Rows((loop,), ("csv", *_modules(file)), first, before)

    return read


def _array(file: InputFile) -> Rows:
    text = _head(file).decode("utf-8-sig", "replace").lstrip()[1:].lstrip()
    first = [json.JSONDecoder().raw_decode(text)[0]]
    return Rows((f"for row in json.load({_opened(file)}):",), _modules(file), first)


def _object(file: InputFile) -> Rows:
    """An object whose fields are the rollouts, that is one, or one after another."""
    if file.size > _BYTES_LOADED:
        raise ValueError
    with open_file(file) as stream:
        text = stream.read().decode("utf-8-sig").strip()
    value, end = json.JSONDecoder().raw_decode(text)
    if not isinstance(value, dict):
        raise ValueError
    loaded = f"json.load({_opened(file)})"
    if end < len(text):
        parts = f"{_text(file)}.read().strip().removesuffix('}}').split('\\n}}\\n')"
        loop, after = (f"for text in {parts}:",), ("row = json.loads(text + '}')",)
        return Rows(loop, _modules(file), [value], after=after)
    inside = [*value.values()]
    if _are_objects(inside):
        return Rows((f"for row in {loaded}.values():",), _modules(file), inside[:_ROWS])
    return Rows((f"for row in [{loaded}]:",), _modules(file), [value])


def _list_in(name: str) -> Callable[[InputFile], Rows]:
    def read(file: InputFile) -> Rows:
        return Rows((f"for row in json.load({_opened(file)})[{name!r}]:",), _modules(file))

    return read


def _eval_log(file: InputFile) -> Rows:
    names = (
        "sorted(n for n in archive.namelist() if re.fullmatch('samples/.+_epoch_[0-9]+.json', n))"
    )
    loops = ("for archive in [zipfile.ZipFile(file)]:", f"for name in {names}:")
    return Rows(loops, ("re", "zipfile"), after=("row = json.loads(archive.read(name))",))


def _torch(file: InputFile) -> Rows:
    """What slime saves; it is not loaded to look at it."""
    loops = ("for found in [torch.load(file, weights_only=False)]:", "for row in found['samples']:")
    after = ("row = {'rollout_id': found.get('rollout_id'), **row}",)
    return Rows(loops, ("torch",), after=after, written="json.dumps(row, default=str)")


def _are_objects(values: object) -> bool:
    return isinstance(values, list) and bool(values) and all(isinstance(v, dict) for v in values)


_READERS: dict[FileKind | None, Callable[[InputFile], Rows]] = {
    None: _json_lines,
    kinds.PARQUET: _parquet,
    kinds.ARROW_FILE: _feather,
    kinds.ARROW_STREAM: _arrow_stream,
    kinds.XZ: _xz,
    kinds.UTF16: _encoded("utf-16"),
    kinds.UTF16_LE: _encoded("utf-16-le"),
    kinds.UTF16_BE: _encoded("utf-16-be"),
    kinds.CSV: _table(","),
    kinds.TSV: _table("\t"),
    kinds.JSON_ARRAY: _array,
    kinds.JSON_OBJECT: _object,
    kinds.EVAL_LOG: _eval_log,
    kinds.TORCH: _torch,
    kinds.PYTHON: _python,
}


def _head(file: InputFile) -> bytes:
    with open_file(file, step=_BYTES_LOOKED_AT) as stream:
        return stream.read(_BYTES_LOOKED_AT)


def _lines(file: InputFile, encoding: str = "utf-8-sig") -> Iterator[str]:
    """The first lines that are not blank."""
    return filter(str.strip, io.StringIO(_head(file).decode(encoding, "replace")))


def _line_loop(function: str, opened: str) -> str:
    return f"for row in map({function}, filter(str.strip, {opened})):"


def _opened(file: InputFile) -> str:
    return "pa.input_stream(file)" if file.codec else "open(file, 'rb')"


def _text(file: InputFile, more: str = "") -> str:
    if file.codec:
        return f"io.TextIOWrapper({_opened(file)}, 'utf-8-sig'{more})"
    return f"open(file, encoding='utf-8-sig'{more})"


def _modules(file: InputFile) -> tuple[str, ...]:
    return ("io", "pyarrow as pa") if file.codec else ()
