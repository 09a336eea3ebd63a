"""Second pass of preprocessing: staged rows → the parquet files of one set.

Each row gets its side of the split and its index; nothing else changes. What was written is counted
from the rows themselves.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from tempfile import NamedTemporaryFile
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct, field

from curriculum.arrays import BoolArray, HashArray, IntArray
from curriculum.preprocessing.settings import HASH, Form
from curriculum.preprocessing.split import SPLITS, TRAIN, VAL, Split
from curriculum.reading.blocks import drop_buffer
from curriculum.storage.arrow_arrays import int64_values, integers, truths
from curriculum.storage.line_files import LINES, LineWriter, count_lines
from curriculum.storage.parquet_files import GroupWriter, read_footer
from curriculum.storage.paths import AnyPath, StorePath
from curriculum.storage.requests import RANGE_BYTES, each
from curriculum.verl.rows import STEP, Stage

FILES_AHEAD = 3  # staged files that are fetched ahead from a store


class StagedShard(Struct, frozen=True):
    """The files of a shard's staged rows, their bucket, and the index of its first rollout."""

    paths: Sequence[AnyPath]
    stage: Stage
    first_index: int


class WriteSetTask(Struct, frozen=True):
    """A set to write: its staged shards in order, and how to write each side.

    `paths`, `groups` and `orders` have one entry per side: its file (None without rows), the number
    of rows in each row group, and its rows in order, as positions among the staged rows of the side
    (None: all, as staged). A `batch_size` says to number the batches of train rows. `data_source`
    is that of all rows (None: each has its own). Staged files are removed once read, unless they
    `stay` because the task may be run again or another set needs them. Each side's row groups are
    encoded by `threads` threads.
    """

    shards: Sequence[StagedShard]
    form: Form
    split: Split
    paths: Sequence[AnyPath | None]
    groups: Sequence[Sequence[int]]
    data_source: str | None
    orders: Sequence[IntArray | None]
    stay: bool
    threads: int
    batch_size: int | None = None

    @property
    def as_staged(self) -> bool:
        """Whether rows are written in the order in which they are staged."""
        return all(order is None or bool((np.diff(order) > 0).all()) for order in self.orders)


class WrittenSide(Struct):
    """What was written to one side: the number of rows, a digest of their prompt hashes in order,
    and rows by data_source. `rows_in_file` and `columns` (compressed bytes) are from the footer."""

    rows: int = 0
    digest: bytes = b""
    data_sources: Counter[str] = field(default_factory=Counter)
    rows_in_file: int = 0
    columns: Counter[str] = field(default_factory=Counter)


def write_set(task: WriteSetTask) -> list[WrittenSide]:
    """Write the files of a set. Returns what was written to each side."""
    drop_buffer()
    sides = [WrittenSide() for _ in SPLITS]
    digests = [hashlib.blake2b() for _ in SPLITS]
    with ExitStack() as stack:
        writers = [
            None if path is None else stack.enter_context(_open_writer(task, path, groups))
            for path, groups in zip(task.paths, task.groups, strict=True)
        ]
        for side, rows, hashes in _as_staged(task) if task.as_staged else _sorted(task):
            writer = writers[side]
            if writer is None:
                continue
            if task.batch_size is not None and side == TRAIN:
                batches = np.arange(sides[side].rows, sides[side].rows + len(rows))
                writer.add(number_batches(rows, batches // task.batch_size))
            else:
                writer.add(rows)
            sides[side].rows += len(rows)
            if task.data_source is not None:
                sides[side].data_sources[task.data_source] += len(rows)
            elif "data_source" in rows.schema.names:
                sides[side].data_sources.update(_count(rows.column("data_source")))
            digests[side].update(hashes.tobytes())
    for done, path, digest in zip(sides, task.paths, digests, strict=True):
        done.digest = digest.digest()
        if path is not None:
            done.rows_in_file, done.columns = _read_back(path, task.form)
    return sides


class RowWriter(Protocol):
    """Writes rows to a file. A context manager."""

    def __enter__(self) -> RowWriter: ...
    def __exit__(self, *error: object) -> None: ...
    def add(self, batch: pa.RecordBatch) -> None: ...  # noqa: D102


def _open_writer(task: WriteSetTask, path: AnyPath, groups: Sequence[int]) -> RowWriter:
    form = task.form
    if form.suffix == LINES:
        return LineWriter(path)
    return GroupWriter(path, form.schema(), groups, form.dictionary, task.threads)


def _read_back(path: AnyPath, form: Form) -> tuple[int, Counter[str]]:
    """The number of rows in a file, and of parquet the compressed bytes of each column."""
    return (count_lines(path), Counter()) if form.suffix == LINES else read_footer(path)


def _as_staged(task: WriteSetTask) -> Iterator[tuple[int, pa.RecordBatch, HashArray]]:
    """Batches of rows in the order they are staged, each with its side and prompt hashes."""
    before = [0] * len(SPLITS)
    for batch, shard in _read(task):
        val = task.split.is_val(_hashes(batch))
        for side, chosen in enumerate((~val, val)):
            first, before[side] = before[side], before[side] + int(chosen.sum())
            chosen = _also_in(task.orders[side], chosen, first)
            if chosen.any():
                rows = batch if chosen.all() else batch.filter(truths(chosen))
                yield side, _finish(rows, shard, task, side), _hashes(rows)


def _also_in(positions: IntArray | None, rows: BoolArray, first: int) -> BoolArray:
    """Those of the chosen rows, the first of which has the position `first`, whose positions are
    among some that ascend."""
    if positions is None:
        return rows
    at = np.flatnonzero(rows)
    start, end = np.searchsorted(positions, (first, first + len(at)))
    chosen = np.zeros_like(rows)
    chosen[at[positions[start:end] - first]] = True
    return chosen


def number_batches(rows: pa.RecordBatch, numbers: IntArray) -> pa.RecordBatch:
    """Rows with the numbers of their batches in STEP, a field of extra_info or a column."""
    names = rows.schema.names
    if STEP in names:
        return rows.set_column(names.index(STEP), rows.schema.field(STEP), integers(numbers))
    at = rows.schema.get_field_index("extra_info")
    info, kind = rows.column(at), rows.schema.field(at).type
    children = [info.field(i) for i in range(kind.num_fields)]
    children[kind.get_field_index(STEP)] = integers(numbers)
    mask = info.is_null() if info.null_count else None
    column = pa.StructArray.from_arrays(children, fields=list(kind), mask=mask)
    return rows.set_column(at, rows.schema.field(at), column)


def _sorted(task: WriteSetTask) -> Iterator[tuple[int, pa.RecordBatch, HashArray]]:
    """The same in the order of the task. Staged files stay mapped, so only the rows of one row
    group are in memory at a time."""
    staged = list(_read(task))
    hashes = [_hashes(batch) for batch, _ in staged]
    batches = np.repeat(np.arange(len(staged)), list(map(len, hashes)))
    rows = np.concatenate([np.arange(len(part)) for part in hashes])
    every = np.concatenate(hashes)
    val = task.split.is_val(every)
    for side, (order, groups) in enumerate(zip(task.orders, task.groups, strict=True)):
        positions = np.flatnonzero(val if side == VAL else ~val)
        positions = positions if order is None else positions[order]
        sides = [_finish(batch, shard, task, side) for batch, shard in staged]
        for chosen in np.split(positions, np.cumsum(groups)):
            if len(chosen):
                yield side, _gather(sides, batches[chosen], rows[chosen]), every[chosen]


def _gather(batches: Sequence[pa.RecordBatch], numbers: IntArray, rows: IntArray) -> pa.RecordBatch:
    """Rows from several batches; each has a batch number and a position in that batch."""
    by_batch = np.argsort(numbers, kind="stable")
    back = np.empty_like(by_batch)
    back[by_batch] = np.arange(len(by_batch))
    first = np.flatnonzero(np.diff(numbers[by_batch], prepend=-1))
    pieces = [
        batches[numbers[some[0]]].take(integers(rows[some]))
        for some in np.split(by_batch, first[1:])
    ]
    return pa.Table.from_batches(pieces).combine_chunks().take(integers(back)).to_batches()[0]


def _finish(
    batch: pa.RecordBatch, shard: StagedShard, task: WriteSetTask, side: int
) -> pa.RecordBatch:
    return task.form.finish(batch, shard.first_index, shard.stage, SPLITS[side])


def _hashes(batch: pa.RecordBatch) -> HashArray:
    return int64_values(batch.column(HASH)).view(np.uint64)


def digest_hashes(hashes: HashArray) -> bytes:
    """The digest in `WrittenSide` for rows with these prompt hashes."""
    return hashlib.blake2b(hashes.tobytes()).digest()


def _read(task: WriteSetTask) -> Iterator[tuple[pa.RecordBatch, StagedShard]]:
    # These files belong to this run, so nobody truncates them while they are mapped.
    paths = [(path, shard) for shard in task.shards for path in shard.paths]
    in_store = any(isinstance(path, StorePath) for path, _ in paths)
    stays_open = not task.as_staged
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
    """A file from a store, in memory or, if all have to stay open, on the local disk."""
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
