"""Parquet files: rows in row groups of a known size, and what a file holds.

The bytes of a file depend on its rows alone, never on how they were cut into batches.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curriculum.arrays import IntArray
from curriculum.errors import InternalError
from curriculum.storage.parquet_footer import GroupFooter, join_footers, parse_footer
from curriculum.storage.paths import AnyPath, open_sink

MAGIC = b"PAR1"
# Older versions (15, for one) also write offsets among the pages, and other ones in a smaller file.
PYARROW_FOR_THREADS = 19

GROUP_ROWS = 1_000
GROUP_BYTES = 64_000_000
# Columns with few distinct values; for all others a dictionary costs time and saves nothing.
DICTIONARY_COLUMNS = (
    "data_source",
    "prompt.list.element.role",
    "ability",
    "reward_model.style",
    "extra_info.split",
    "extra_info.curriculum_stage",
    "extra_info.curriculum_stage_index",
    "extra_info.difficulty_metrics.metric",
    "extra_info.difficulty_metrics.num_responses",
)


def plan_groups(row_bytes: IntArray) -> list[int]:
    """Rows per row group: at most GROUP_ROWS rows and GROUP_BYTES, or one row that is larger.

    `row_bytes` is an upper bound of each row's size. The groups depend on the rows alone, never on
    shards.
    """
    ends = np.cumsum(row_bytes)
    groups, first, before = [], 0, 0
    while first < len(ends):
        fits = int(np.searchsorted(ends, before + GROUP_BYTES, side="right")) - first
        rows = max(1, min(fits, GROUP_ROWS))
        groups.append(rows)
        first += rows
        before = int(ends[first - 1])
    return groups


class GroupWriter:
    """Writes rows to a parquet file in the given row groups, with no metadata but the schema's.

    A context manager. `groups` says how many rows each group has; all of them must be added before
    the end. `dictionary` names the columns with few distinct values; None leaves that to pyarrow.
    Several `threads` encode as many row groups at a time.
    """

    def __init__(
        self,
        path: AnyPath,
        schema: pa.Schema,
        groups: Sequence[int],
        dictionary: Sequence[str] | None = DICTIONARY_COLUMNS,
        threads: int = 1,
    ) -> None:
        self._schema, self._plain = schema, _without_dictionaries(schema)
        self._groups = iter(groups)
        self._wanted = next(self._groups, 0)
        self._waiting: list[pa.RecordBatch] = []
        self._file = open_sink(path)
        encoding = _encoding(schema, dictionary)
        self._writer = (
            ParallelWriter(self._file, schema, encoding, threads)
            if threads > 1 and int(pa.__version__.split(".")[0]) >= PYARROW_FOR_THREADS
            else pq.ParquetWriter(self._file, schema, **encoding)
        )

    def __enter__(self) -> GroupWriter:
        return self

    def __exit__(self, *error: object) -> None:
        with self._file:
            self._writer.close()

    def add(self, batch: pa.RecordBatch) -> None:
        """Add rows. A row group is written once it is full."""
        while len(batch):
            missing = self._wanted - sum(map(len, self._waiting))
            if not missing:
                raise InternalError("a parquet file got more rows than were planned")
            self._waiting.append(batch.slice(0, missing))
            batch = batch.slice(missing)
            if len(self._waiting[-1]) == missing:
                # In one chunk, because the parquet library also ends pages where chunks end.
                rows = pa.Table.from_batches(self._waiting, self._schema).combine_chunks()
                if self._plain != self._schema:  # the values of a dictionary in order of appearance
                    rows = rows.cast(self._plain).cast(self._schema)
                self._waiting, self._wanted = [], next(self._groups, 0)
                self._writer.write_table(rows)


class GroupCutter:
    """Writes rows to a parquet file whose size is not known before, in the row groups of
    `plan_groups`. A context manager; the file stays open."""

    def __init__(self, file: Any, schema: pa.Schema) -> None:
        self._schema, self._plain = schema, _without_dictionaries(schema)
        self._writer = pq.ParquetWriter(file, schema, **_encoding(schema, None))
        self._waiting = schema.empty_table()
        self._sizes = np.zeros(0, np.int64)

    def __enter__(self) -> GroupCutter:
        return self

    def __exit__(self, *error: object) -> None:
        if not any(error):
            self._write(len(self._waiting))
        self._writer.close()

    def add(self, rows: pa.RecordBatch, sizes: IntArray) -> None:
        """Add rows, which have these sizes in bytes."""
        more = pa.Table.from_batches([rows.replace_schema_metadata(self._schema.metadata)])
        self._waiting = pa.concat_tables([self._waiting, more])
        self._sizes = np.append(self._sizes, sizes)
        for group in plan_groups(self._sizes)[:-1]:
            self._write(group)

    def _write(self, count: int) -> None:
        if count:
            rows = self._waiting.slice(0, count).combine_chunks()
            self._writer.write_table(rows.cast(self._plain).cast(self._schema))
            self._waiting, self._sizes = self._waiting.slice(count), self._sizes[count:]


def _without_dictionaries(schema: pa.Schema) -> pa.Schema:
    """A schema with plain columns in place of Arrow's dictionary columns, unless their values have
    an order."""
    plain = [
        field.with_type(field.type.value_type)
        if pa.types.is_dictionary(field.type) and not field.type.ordered
        else field
        for field in schema
    ]
    return pa.schema(plain, metadata=schema.metadata)


class ParallelWriter:
    """Writes the bytes that pyarrow's ParquetWriter writes, several row groups at a time.

    Each table, of at least one row, becomes a row group. Threads encode each as a file of its own,
    in memory; the files are then put together in order. At most one table more than there are
    `threads` is in memory. Needs pyarrow PYARROW_FOR_THREADS.
    """

    def __init__(
        self, file: Any, schema: pa.Schema, encoding: Mapping[str, Any], threads: int
    ) -> None:
        self._file, self._schema, self._encoding = file, schema, encoding
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self._running: deque[Future[tuple[pa.Buffer, GroupFooter]]] = deque()
        self._sizes: list[int] = []
        self._footers: list[GroupFooter] = []

    def write_table(self, rows: pa.Table) -> None:
        """Begin to encode a row group, and write what has to be done before another begins."""
        self._running.append(self._pool.submit(self._encode, rows))
        if len(self._running) > self._threads:
            self._write(*self._running.popleft().result())

    def close(self) -> None:
        """Write what is left, and the footer. The file stays open."""
        with self._pool:
            while self._running:
                self._write(*self._running.popleft().result())
        if not self._footers:
            pq.ParquetWriter(self._file, self._schema, **self._encoding).close()
            return
        footer = join_footers(self._footers, self._sizes)
        self._file.write(footer + len(footer).to_bytes(4, "little") + MAGIC)

    def _encode(self, rows: pa.Table) -> tuple[pa.Buffer, GroupFooter]:
        """The pages of a row group, and the footer of a file that has no other."""
        file = pa.BufferOutputStream()
        with pq.ParquetWriter(file, self._schema, **self._encoding) as writer:
            writer.write_table(rows)
        data = file.getvalue()
        end = len(data) - len(MAGIC) - 4
        start = end - int.from_bytes(data[end : end + 4], "little")
        return data[len(MAGIC) : start], parse_footer(data[start:end].to_pybytes())

    def _write(self, pages: pa.Buffer, footer: GroupFooter) -> None:
        if not self._footers:
            self._file.write(MAGIC)
        self._file.write(pages)
        self._sizes.append(len(pages))
        self._footers.append(footer)


def _encoding(schema: pa.Schema, dictionary: Sequence[str] | None) -> dict[str, Any]:
    """The options of ParquetWriter. A column with a dictionary has next to nothing to compress, and
    nothing that reads these files needs statistics: the two took a sixth of the time to write short
    rows. Where the schema is not ours, its types are kept beside the columns."""
    if dictionary is None:
        return {"compression": "zstd", "compression_level": 1, "write_statistics": False}
    empty = pa.BufferOutputStream()
    pq.ParquetWriter(empty, schema).close()
    leaves = pq.read_metadata(pa.BufferReader(empty.getvalue())).schema
    compressed = {leaves.column(i).path for i in range(len(leaves))} - {*dictionary}
    return {
        "use_dictionary": list(dictionary),
        "compression": dict.fromkeys(compressed, "zstd"),
        "compression_level": dict.fromkeys(compressed, 1),
        "write_statistics": False,
        "store_schema": schema.metadata is not None,
    }


def read_footer(path: AnyPath) -> tuple[int, Counter[str]]:
    """The number of rows in a file, and the compressed bytes of each column. The fields of
    extra_info count as columns."""
    sizes: Counter[str] = Counter()
    with path.open("rb") as file:
        metadata = pq.read_metadata(file)
    columns = metadata.schema.to_arrow_schema().names
    names = [_column(metadata.schema.column(i).path, columns) for i in range(metadata.num_columns)]
    for group in range(metadata.num_row_groups):
        for i, name in enumerate(names):
            sizes[name] += metadata.row_group(group).column(i).total_compressed_size
    return metadata.num_rows, sizes


def _column(path: str, columns: Sequence[str]) -> str:
    """The column that the values at a path of the schema belong to; its name may hold dots."""
    name = max((c for c in columns if f"{path}.".startswith(f"{c}.")), key=len)
    return ".".join(path.split(".")[:2]) if name == "extra_info" else name
