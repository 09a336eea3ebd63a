"""Parquet files that others wrote: opened, cut into chunks, and read in batches of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from curriculum.errors import InputError
from curriculum.storage.paths import AnyPath, StorePath
from curriculum.storage.requests import RANGE_BYTES, persist

BATCH_ROWS, BATCH_BYTES = 1_000, 8 << 20  # about, that are decoded at once
BUFFER_BYTES = 1 << 20  # of each column, that are read at once


class RowGroups(NamedTuple):
    """Row groups `first` (inclusive) to `after` (exclusive) of a file, the number of their first
    row in the file, and how many rows they have."""

    first: int
    after: int
    first_row: int
    rows: int


def open_parquet(path: AnyPath) -> pq.ParquetFile:
    """Open a parquet file to read it in small pieces. Raises InputError if it is damaged, and
    OSError if it is not there or cannot be opened."""
    try:
        place: Any = str(path)
        buffer = BUFFER_BYTES
        if isinstance(path, StorePath):
            place, buffer = persist(path.files.open_input_file, path.name_in_store), RANGE_BYTES
        # What is read ahead of a row group may be gigabytes of images.
        return pq.ParquetFile(place, buffer_size=buffer, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from error


def damaged(path: AnyPath, error: Exception) -> Exception:
    """The error for a parquet file that cannot be read."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    reason = " ".join(str(error).split())
    if isinstance(error, pa.ArrowNotImplementedError):
        return InputError(
            f"pyarrow cannot read these rows in batches ({reason})",
            where=path,
            expected="columns that it can read",
            fix="cast them to plain types, and write the file again",
        )
    if "encrypted" in reason or "decrypt" in reason:
        return InputError(
            "this parquet file is encrypted",
            where=path,
            expected="one that can be read without a key",
            fix="write it again without encryption",
        )
    return InputError(
        f"this parquet file cannot be read ({reason})",
        where=path,
        expected="a complete parquet file",
        fix="fetch it again, or write it again",
    )


def cut_groups(metadata: Any, chunk_bytes: int) -> Iterator[RowGroups]:
    """Row groups that have `chunk_bytes` together, uncompressed, about; a larger one by itself.
    Those without rows are part of none, unless they lie between others."""
    first = first_row = size = rows = 0
    for group in range(metadata.num_row_groups):
        found = metadata.row_group(group)
        if group > first and rows and size + found.total_byte_size > chunk_bytes:
            yield RowGroups(first, group, first_row, rows)
            first, first_row, size, rows = group, first_row + rows, 0, 0
        size, rows = size + found.total_byte_size, rows + found.num_rows
    if rows:
        yield RowGroups(first, metadata.num_row_groups, first_row, rows)


def read_batches(
    opened: pq.ParquetFile,
    path: AnyPath,
    first: int,
    after: int,
    columns: Sequence[str] | None = None,
    batch_bytes: int = BATCH_BYTES,
) -> Iterator[pa.RecordBatch]:
    """The rows of row groups `first` (inclusive) to `after` (exclusive) in batches of about
    `batch_bytes`, and at most BATCH_ROWS; with `columns` only these, or a.b inside one."""
    groups = range(first, after)
    found = [opened.metadata.row_group(group) for group in groups]
    size = sum(group.total_byte_size for group in found)
    fitting = batch_bytes * sum(group.num_rows for group in found) // max(size, 1)
    rows = min(max(fitting, 1), BATCH_ROWS)
    try:
        yield from opened.iter_batches(rows, groups, columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from error
