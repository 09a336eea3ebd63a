"""The score table: one row per rollout, scored or not, in input order, as one parquet file.

It is for pandas and for other trainers: where each rollout stands, every metric of it, and its
bucket.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from curriculum.arrays import IntArray, PlaceArray
from curriculum.arrow import integers
from curriculum.manifests import printable
from curriculum.parquet import GroupWriter
from curriculum.scan import NO_SCORE, SCORED, Scanned
from curriculum.stores import AnyPath
from curriculum.version import NAME

if TYPE_CHECKING:
    from curriculum.dumps import Gathered

GROUP_ROWS = 1 << 16
# Where the rollouts of a part stand: the files, the number of each one's file, and its line.
Places = tuple[Sequence[str], IntArray, IntArray]


@dataclass(frozen=True)
class ScoreTable:
    """What is in the table: the files of rows that the first pass staged, shard by shard, what it
    found, and the bucket of each scored rollout with the names of the buckets."""

    staged: Sequence[AnyPath]
    scanned: Scanned
    buckets: Sequence[PlaceArray]
    names: Sequence[str]

    def write(self, path: AnyPath, places: Iterator[Places]) -> None:
        """Write it; `places` say shard by shard where the rollouts stand."""
        rollouts = [scan.kinds[scan.kinds >= NO_SCORE] for scan in self.scanned.scans]
        total = sum(map(len, rollouts))
        groups = [min(GROUP_ROWS, total - first) for first in range(0, total, GROUP_ROWS)]
        schema = _schema(_read(self.staged[0]).schema)
        with GroupWriter(path, schema, groups, dictionary=("file", "bucket")) as writer:
            parts = zip(self.staged, rollouts, self.buckets, places, strict=True)
            for staged, kinds, bucket, (files, numbers, lines) in parts:
                rows = _read(staged)
                own = np.full(len(kinds), -1, np.int64)
                own[kinds >= SCORED] = bucket
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
    """The table's, from that of the staged rows."""
    key, *measures = rows
    fields = [key, pa.field("file", pa.string()), pa.field("line", pa.int64()), *measures]
    return pa.schema([*fields, pa.field("bucket", pa.string())], metadata={"creator": NAME})


def _named(numbers: IntArray, names: Sequence[str]) -> pa.Array:
    """The name of each number; null where it is below 0."""
    chosen = pa.array(numbers, mask=numbers < 0)
    return pa.array(list(names), pa.string()).take(chosen)


def places_of_lines(scanned: Scanned) -> Iterator[Places]:
    """Shard by shard, where its rollouts stand."""
    before: Counter[str] = Counter()
    for shard, scan in zip(scanned.shards, scanned.scans, strict=True):
        path = shard.file.path
        lines = np.flatnonzero(scan.kinds >= NO_SCORE)
        yield [path], np.zeros(len(lines), np.int64), lines + before[path] + 1
        before[path] += len(scan.kinds)


def places_of_groups(scanned: Scanned, gathered: Gathered) -> Iterator[Places]:
    """The same for rollouts of a dump: where the first line of each stands."""
    files, numbers, lines = gathered.rollout_places()
    first = 0
    for scan in scanned.scans:
        after = first + int((scan.kinds >= NO_SCORE).sum())
        yield files, numbers[first:after], lines[first:after]
        first = after
