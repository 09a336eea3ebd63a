"""Parquet files: rows in row groups of a known size, and what a file holds.

The bytes of a file depend on its rows alone, never on how they were cut into batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curriculum.arrays import IntArray
from curriculum.errors import InternalError
from curriculum.storage.paths import AnyPath, open_sink

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
    the end. `dictionary` names the columns with few distinct values.
    """

    def __init__(
        self,
        path: AnyPath,
        schema: pa.Schema,
        groups: Sequence[int],
        dictionary: Sequence[str] = DICTIONARY_COLUMNS,
    ) -> None:
        self._schema = schema
        self._groups = iter(groups)
        self._wanted = next(self._groups, 0)
        self._waiting: list[pa.RecordBatch] = []
        self._file = open_sink(path)
        self._writer = pq.ParquetWriter(
            self._file,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=list(dictionary),
            store_schema=schema.metadata is not None,
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
                self._writer.write_table(pa.Table.from_batches(self._waiting, self._schema))
                self._waiting, self._wanted = [], next(self._groups, 0)


def read_footer(path: AnyPath) -> tuple[int, Counter[str]]:
    """The number of rows in a file, and the compressed bytes of each column. The fields of
    extra_info count as columns."""
    sizes: Counter[str] = Counter()
    with path.open("rb") as file:
        metadata = pq.read_metadata(file)
    for group in range(metadata.num_row_groups):
        for i in range(metadata.num_columns):
            column = metadata.row_group(group).column(i)
            parts = column.path_in_schema.split(".")
            name = ".".join(parts[:2]) if parts[0] == "extra_info" else parts[0]
            sizes[name] += column.total_compressed_size
    return metadata.num_rows, sizes
