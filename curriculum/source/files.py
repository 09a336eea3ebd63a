"""The files of a data set → what they are, and the chunks that they are read in.

All files of a data set have one form: parquet with one schema, or JSON lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from curriculum.containers.file_kinds import PARQUET
from curriculum.errors import InputError
from curriculum.reading.blocks import read_blocks
from curriculum.reading.find_files import find_matching, look_at
from curriculum.reading.input_files import InputFile, Shard, cut_shards, unreadable
from curriculum.reading.lines import Malformed, load_object
from curriculum.storage import parquet_reading
from curriculum.storage.line_files import LINES
from curriculum.storage.paths import AnyPath

CHUNK_BYTES = 64 << 20  # of a parquet file, uncompressed, about; more where a row group has more
LINE = pa.schema([("line", pa.binary())])  # a row of JSON lines: its bytes, without the newline


class Groups(Struct, frozen=True):
    """Row groups `first` (inclusive) to `after` (exclusive) of a parquet file, and the number of
    their first row in the file."""

    file: InputFile
    first: int
    after: int
    first_row: int


Chunk: TypeAlias = "Groups | Shard"  # of a data set: the unit of work


class Source(Struct, frozen=True):
    """A data set: its files, the schema of its rows, and its chunks in order. The rows of JSON
    lines have the schema LINE."""

    files: Sequence[InputFile]
    schema: pa.Schema
    chunks: Sequence[Chunk]
    val_files: frozenset[AnyPath] = frozenset()  # those whose rows are val

    @property
    def is_parquet(self) -> bool:
        """Whether the files are parquet, not JSON lines."""
        return self.schema is not LINE

    @property
    def suffix(self) -> str:
        """How the names of such files end."""
        return ".parquet" if self.is_parquet else LINES


def open_source(flag: str, given: Mapping[str, AnyPath]) -> Source:
    """Look at the files that a flag names, each a path or a glob, in the order of their paths.
    Raises InputError if one is missing or damaged, or if they are not of one form and schema."""
    looks = [look_at(path) for path in find_matching(given, flag)]
    for file, kind in looks:
        if kind not in (None, PARQUET):
            raise InputError(
                f"this is {kind.title}",
                where=file.path,
                expected=f"the files of {flag} to be parquet or JSON lines",
                fix=kind.fix or "write it as parquet, or as one JSON object per line",
            )
    files = [file for file, _ in looks]
    forms = {kind for _, kind in looks}
    if len(forms) > 1:
        raise InputError(
            "some of these files are parquet and others are JSON lines",
            where=flag,
            expected="files of one form",
            fix="name those of one form only, or write them in one",
        )
    if forms == {PARQUET}:
        return _open_parquet(flag, files)
    return Source(files, LINE, list(cut_shards(files)))


def join_sources(train: Source, val: Source) -> Source:
    """Both as one. Raises InputError if they are not of one form and schema."""
    if train.is_parquet != val.is_parquet:
        raise InputError(
            "this is not of the form of --source",
            where=val.files[0].path,
            expected="both to be parquet, or both JSON lines",
            fix="write them in one form",
        )
    if not val.schema.equals(train.schema):
        raise _other_schema(
            "--source and --source-val", train.files[0], train.schema, val.files[0], val.schema
        )
    paths = {file.path.resolve() for file in train.files}
    for file in val.files:
        if file.path.resolve() in paths:
            raise InputError(
                "this file is named by --source, too",
                where=file.path,
                expected="other rows for val than for train",
                fix="leave it out of one of the two",
            )
    return Source(
        [*train.files, *val.files],
        train.schema,
        [*train.chunks, *val.chunks],
        frozenset(file.path for file in val.files),
    )


def _open_parquet(flag: str, files: Sequence[InputFile]) -> Source:
    schema, chunks = None, list[Chunk]()
    for file in files:
        with open_parquet(file) as opened:
            found = opened.schema_arrow
            _check_types(file, found)
            schema = found if schema is None else schema
            if not found.equals(schema):
                raise _other_schema(flag, files[0], schema, file, found)
            cut = parquet_reading.cut_groups(opened.metadata, CHUNK_BYTES)
            chunks += [Groups(file, some.first, some.after, some.first_row) for some in cut]
    assert schema is not None
    return Source(files, schema, chunks)


def _check_types(file: InputFile, schema: pa.Schema) -> None:
    """Raise InputError for a column that pyarrow cannot read or stage row by row."""
    for field in schema:
        kind = str(field.type)
        inside = kind if not pa.types.is_dictionary(field.type) else ""
        if "_view" in kind or "dictionary<" in inside:
            raise InputError(
                f"its column {field.name} is {kind}",
                where=file.path,
                expected="no views, and dictionaries only as whole columns",
                fix="cast it to plain lists and strings, and write the file again",
            )


def _other_schema(
    flag: str, one: InputFile, schema: pa.Schema, other: InputFile, found: pa.Schema
) -> InputError:
    names = [*dict.fromkeys([*schema.names, *found.names])]
    name = next((n for n in names if _type(schema, n) != _type(found, n)), "")
    return InputError(
        f"its columns are not those of {one.path}: {name} is {_type(found, name)}, there "
        f"{_type(schema, name)}"
        if name in names
        else f"its columns are in another order than those of {one.path}",
        where=other.path,
        expected=f"one schema in all files of {flag}",
        fix="write them with one schema, or name those of one schema only",
    )


def _type(schema: pa.Schema, name: str) -> str:
    index = schema.get_field_index(name)
    if index < 0:
        return "absent"
    field = schema.field(index)
    return f"{field.type}{'' if field.nullable else ' not null'}"


def open_parquet(file: InputFile) -> pq.ParquetFile:
    """Open a parquet file to read it in small pieces. Raises InputError if it is damaged."""
    try:
        return parquet_reading.open_parquet(file.path)
    except OSError as error:
        raise unreadable(file.path, error) from error


def read_batches(chunk: Groups, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of a chunk in batches of about BATCH_BYTES, and at most BATCH_ROWS; with `columns`
    only these, or a.b inside one."""
    file = chunk.file
    try:
        with open_parquet(file) as opened:
            yield from parquet_reading.read_batches(
                opened, file.path, chunk.first, chunk.after, columns
            )
    except OSError as error:
        raise unreadable(file.path, error) from error


def first_fields(source: Source) -> list[str]:
    """The fields of the first object of JSON lines."""
    for chunk in source.chunks:
        assert isinstance(chunk, Shard)
        for block in read_blocks(chunk):
            for line in block.lines():
                with suppress(Malformed):
                    return list(load_object(line))
    return []
