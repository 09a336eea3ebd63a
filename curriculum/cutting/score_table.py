"""The score table: one row per rollout, scored or not, in input order, as one parquet file.

It is meant for pandas: where each rollout is, every metric of it, and its bucket.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from msgspec import Struct

from curriculum.arrays import CompactIntArray, IntArray
from curriculum.bucketing.rollout_source import RolloutLocations
from curriculum.bucketing.scan import Scanned
from curriculum.reading.ledger import TAKEN
from curriculum.storage.arrow_arrays import integers
from curriculum.storage.parquet_files import GroupWriter
from curriculum.storage.paths import AnyPath, printable
from curriculum.version import NAME

GROUP_ROWS = 1 << 16


class ScoreTable(Struct, frozen=True):
    """What the table is made of: what the first pass found and staged, the bucket of each scored
    rollout, shard by shard, and the names of the buckets."""

    scanned: Scanned
    buckets: Sequence[CompactIntArray]
    names: Sequence[str]

    def write(self, path: AnyPath, rollout_lines: Iterator[RolloutLocations]) -> None:
        """Write the table; `rollout_lines` says where the rollouts are, shard by shard."""
        staged_rows = self.scanned.score_rows
        rollouts = [scan.rollout_kinds for scan in self.scanned.scans]
        total = sum(map(len, rollouts))
        groups = [min(GROUP_ROWS, total - first) for first in range(0, total, GROUP_ROWS)]
        schema = _schema(_read(staged_rows[0]).schema)
        with GroupWriter(path, schema, groups, dictionary=("file", "bucket")) as writer:
            parts = zip(staged_rows, rollouts, self.buckets, rollout_lines, strict=True)
            for staged, kinds, bucket, (files, numbers, lines) in parts:
                rows = _read(staged)
                own = np.full(len(kinds), -1, np.int64)
                own[kinds >= TAKEN] = bucket
                columns = {
                    "file": _named(numbers, [printable(file) for file in files]),
                    "line": integers(lines),
                    "bucket": _named(own, self.names),
                } | dict(zip(rows.column_names, rows.columns, strict=True))
                for batch in pa.table(columns).select(schema.names).cast(schema).to_batches():
                    writer.add(batch)


def _read(staged: AnyPath) -> pa.Table:
    with pa.ipc.open_stream(staged.read_bytes()) as stream:
        return stream.read_all()


def _schema(rows: pa.Schema) -> pa.Schema:
    """The schema of the table, from that of the staged rows."""
    key, prompt_hash, prompt_text, *measures = rows
    fields = [key, prompt_hash, prompt_text, pa.field("file", pa.string())]
    fields += [pa.field("line", pa.int64()), *measures]
    return pa.schema([*fields, pa.field("bucket", pa.string())], metadata={"creator": NAME})


def _named(numbers: IntArray, names: Sequence[str]) -> pa.Array:
    """The name that each number stands for; null for negative numbers."""
    chosen = pa.array(numbers, mask=numbers < 0)
    return pa.array(list(names), pa.string()).take(chosen)
