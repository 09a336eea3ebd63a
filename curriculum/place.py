"""Preprocessing, second pass: staged rows → the parquet files of one set.

Each row is given its side of the split and its index, and nothing else changes. What was written
is counted from the rows themselves.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curriculum.arrays import HashArray, IntArray
from curriculum.arrow import int64_values, integers, truths
from curriculum.parquet import GroupWriter, read_footer
from curriculum.prompts import SPLITS, VAL, Split
from curriculum.store_requests import RANGE_BYTES, each
from curriculum.stores import AnyPath, StorePath
from curriculum.verl import RowForm, Stage, place_rows

FILES_AHEAD = 3  # of staged rows that lie in a store


@dataclass(frozen=True)
class StagedShard:
    """A shard's staged rows, the bucket they are of, and the index of its first rollout."""

    paths: Sequence[AnyPath]
    stage: Stage
    first_index: int


@dataclass(frozen=True)
class PlaceTask:
    """A set: its staged shards in order, and by side where to write, the rows of each row group
    and their order (places among the side's staged rows; None: as they are); a side without rows
    has no path. `data_source` is that of all rows, None where each has its own. Staged rows are
    removed as they are read, unless they are to `stay`: the task may be run again, or another set
    has them, too."""

    shards: Sequence[StagedShard]
    form: RowForm
    split: Split
    paths: Sequence[AnyPath | None]
    groups: Sequence[Sequence[int]]
    data_source: str | None
    orders: Sequence[IntArray | None]
    stay: bool


@dataclass
class Placed:
    """What was written of one side: how many rows, a digest of their prompts' hashes in order,
    rows by data_source; and what the file's own footer says: rows, compressed bytes by column."""

    rows: int = 0
    digest: bytes = b""
    data_sources: Counter[str] = field(default_factory=Counter)
    rows_in_file: int = 0
    columns: Counter[str] = field(default_factory=Counter)


def place_set(task: PlaceTask) -> list[Placed]:
    """Write the files of a set, and say by side what went into them."""
    placed = [Placed() for _ in SPLITS]
    digests = [hashlib.blake2b() for _ in SPLITS]
    schema = task.form.schema()
    with ExitStack() as stack:
        writers = [
            None if path is None else stack.enter_context(GroupWriter(path, schema, groups))
            for path, groups in zip(task.paths, task.groups, strict=True)
        ]
        in_order = any(order is not None for order in task.orders)
        for side, rows, hashes in _sorted(task) if in_order else _as_staged(task):
            writer = writers[side]
            if writer is None:
                continue
            writer.add(rows)
            placed[side].rows += len(rows)
            if task.data_source is None:
                placed[side].data_sources.update(_count(rows.column("data_source")))
            else:
                placed[side].data_sources[task.data_source] += len(rows)
            digests[side].update(hashes.tobytes())
    for done, path, digest in zip(placed, task.paths, digests, strict=True):
        done.digest = digest.digest()
        if path is not None:
            done.rows_in_file, done.columns = read_footer(path)
    return placed


def _as_staged(task: PlaceTask) -> Iterator[tuple[int, pa.RecordBatch, HashArray]]:
    """Rows in the order in which they are staged, each batch with its side and prompt hashes."""
    for batch, shard in _read(task):
        val = task.split.is_val(_hashes(batch))
        for side, chosen in enumerate((~val, val)):
            if chosen.any():
                rows = batch if chosen.all() else batch.filter(truths(chosen))
                yield side, _place(rows, shard, task, side), _hashes(rows)


def _sorted(task: PlaceTask) -> Iterator[tuple[int, pa.RecordBatch, HashArray]]:
    """The same in the order of the task. Staged files stay mapped meanwhile: of what lies in them,
    only the rows of one row group are in memory at a time."""
    staged = list(_read(task))
    hashes = [_hashes(batch) for batch, _ in staged]
    batches = np.repeat(np.arange(len(staged)), list(map(len, hashes)))
    rows = np.concatenate([np.arange(len(part)) for part in hashes])
    every = np.concatenate(hashes)
    val = task.split.is_val(every)
    for side, (order, groups) in enumerate(zip(task.orders, task.groups, strict=True)):
        places = np.flatnonzero(val if side == VAL else ~val)[order]
        placed = [_place(batch, shard, task, side) for batch, shard in staged]
        for chosen in np.split(places, np.cumsum(groups)):
            if len(chosen):
                yield side, _gather(placed, batches[chosen], rows[chosen]), every[chosen]


def _gather(batches: Sequence[pa.RecordBatch], numbers: IntArray, rows: IntArray) -> pa.RecordBatch:
    """Rows of several batches: for each its batch's number, and its place there."""
    by_batch = np.argsort(numbers, kind="stable")
    back = np.empty_like(by_batch)
    back[by_batch] = np.arange(len(by_batch))
    first = np.flatnonzero(np.diff(numbers[by_batch], prepend=-1))
    pieces = [
        batches[numbers[some[0]]].take(integers(rows[some]))
        for some in np.split(by_batch, first[1:])
    ]
    return pa.Table.from_batches(pieces).combine_chunks().take(integers(back)).to_batches()[0]


def _place(batch: pa.RecordBatch, shard: StagedShard, task: PlaceTask, side: int) -> pa.RecordBatch:
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    indexes = shard.first_index + int64_values(columns["ordinal"])
    return place_rows(columns, indexes, task.form, shard.stage, SPLITS[side])


def _hashes(batch: pa.RecordBatch) -> HashArray:
    return int64_values(batch.column("hash")).view(np.uint64)


def digest_hashes(parts: Sequence[HashArray]) -> bytes:
    """The digest that `Placed` has for rows with these hashes."""
    digest = hashlib.blake2b()
    for part in parts:
        digest.update(part.tobytes())
    return digest.digest()


def _read(task: PlaceTask) -> Iterator[tuple[pa.RecordBatch, StagedShard]]:
    # These files are this run's own, so nobody cuts them short under the map.
    paths = [(path, shard) for shard in task.shards for path in shard.paths]
    in_store = any(isinstance(path, StorePath) for path, _ in paths)
    stays_open = any(order is not None for order in task.orders)
    fetch = partial(_fetch, to_disk=stays_open) if in_store else _map
    files = each(fetch, (path for path, _ in paths), in_store, FILES_AHEAD)
    for (path, shard), file in zip(paths, files, strict=True):
        with file, pa.ipc.open_stream(file) as stream:
            for batch in stream:
                yield batch, shard
        if not task.stay:
            path.unlink()


def _map(path: AnyPath) -> Any:
    return pa.memory_map(str(path))


def _fetch(path: AnyPath, to_disk: bool) -> Any:
    """A file of a store, in memory or, where all have to stay open, on this machine's disk."""
    if not to_disk:
        return pa.BufferReader(path.read_bytes())
    with NamedTemporaryFile() as copy, path.open("rb") as source:
        shutil.copyfileobj(source, copy, RANGE_BYTES)
        copy.flush()
        return pa.memory_map(copy.name)


def _count(texts: pa.Array) -> Counter[str]:
    counted = pc.value_counts(texts)
    values, counts = counted.field("values"), counted.field("counts")
    return Counter(dict(zip(values.to_pylist(), counts.to_pylist(), strict=True)))
