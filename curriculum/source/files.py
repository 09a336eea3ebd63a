"""The files of a data set → what they are, and the chunks that they are read in.

All files of a data set have one form: parquet with one schema, or JSON lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from curriculum.errors import InputError
from curriculum.reading.blocks import read_blocks
from curriculum.reading.file_kinds import PARQUET
from curriculum.reading.find_files import find_matching, look_at
from curriculum.reading.input_files import InputFile, Shard, cut_shards, unreadable
from curriculum.reading.lines import Malformed, load_object
from curriculum.storage.line_files import LINES
from curriculum.storage.paths import AnyPath, StorePath
from curriculum.storage.requests import RANGE_BYTES, persist

CHUNK_BYTES = 64 << 20  # of a parquet file, uncompressed, about; more where a row group has more
BATCH_ROWS, BATCH_BYTES = 1_000, 8 << 20  # of a parquet file, about, that are decoded at once
BUFFER_BYTES = 1 << 20  # of each column of a parquet file, that are read at once
LINE = pa.schema([("line", pa.binary())])  # a row of JSON lines: its bytes, without the newline


@dataclass(frozen=True)
class Groups:
    """Row groups `first` (inclusive) to `after` (exclusive) of a parquet file, and the number of
    their first row in the file."""

    file: InputFile
    first: int
    after: int
    first_row: int


Chunk: TypeAlias = "Groups | Shard"  # of a data set: the unit of work


@dataclass(frozen=True)
class Source:
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
            chunks += _cut_groups(file, opened.metadata)
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


def _cut_groups(file: InputFile, metadata: Any) -> Iterator[Groups]:
    first = first_row = size = rows = 0
    for group in range(metadata.num_row_groups):
        found = metadata.row_group(group)
        if group > first and size + found.total_byte_size > CHUNK_BYTES:
            yield Groups(file, first, group, first_row)
            first, first_row, size, rows = group, first_row + rows, 0, 0
        size, rows = size + found.total_byte_size, rows + found.num_rows
    if rows:
        yield Groups(file, first, metadata.num_row_groups, first_row)


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
    path = file.path
    try:
        place: Any = str(path)
        buffer = BUFFER_BYTES
        if isinstance(path, StorePath):
            place, buffer = persist(path.files.open_input_file, path.name_in_store), RANGE_BYTES
        # What is read ahead of a row group may be gigabytes of images.
        return pq.ParquetFile(place, buffer_size=buffer, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise damaged(file, error) from error


def damaged(file: InputFile, error: Exception) -> InputError:
    """The error for a parquet file that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return unreadable(file.path, error)
    reason = " ".join(str(error).split())
    if isinstance(error, pa.ArrowNotImplementedError):
        return InputError(
            f"pyarrow cannot read these rows in batches ({reason})",
            where=file.path,
            expected="columns that it can read",
            fix="cast them to plain types, and write the file again",
        )
    return InputError(
        f"this parquet file cannot be read ({reason})",
        where=file.path,
        expected="a complete parquet file",
        fix="fetch it again, or write it again",
    )


def read_batches(chunk: Groups, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of a chunk in batches of about BATCH_BYTES, and at most BATCH_ROWS; with `columns`
    only these, or a.b inside one."""
    with open_parquet(chunk.file) as opened:
        groups = range(chunk.first, chunk.after)
        found = [opened.metadata.row_group(group) for group in groups]
        size = sum(group.total_byte_size for group in found)
        fitting = BATCH_BYTES * sum(group.num_rows for group in found) // max(size, 1)
        rows = min(max(fitting, 1), BATCH_ROWS)
        try:
            yield from opened.iter_batches(rows, groups, columns=columns, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise damaged(chunk.file, error) from error


def first_fields(source: Source) -> list[str]:
    """The fields of the first object of JSON lines."""
    for chunk in source.chunks:
        assert isinstance(chunk, Shard)
        for block in read_blocks(chunk):
            for line in block.lines():
                with suppress(Malformed):
                    return list(load_object(line))
    return []
