"""A chunk of a data set → its rows staged as Arrow, bucket by bucket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from curriculum.arrays import HashArray, IntArray, LengthArray, compact_lengths, join_lengths
from curriculum.measures import MetricChoice
from curriculum.metrics import Scores
from curriculum.output.report_files import ANNOTATED
from curriculum.preprocessing.settings import HASH, ORDINAL
from curriculum.reading.blocks import read_blocks
from curriculum.reading.input_files import changed
from curriculum.reading.lines import is_blank
from curriculum.source.files import LINE, Chunk, Groups, read_batches
from curriculum.source.form import SourceForm
from curriculum.storage.arrow_arrays import integers, truths
from curriculum.storage.parquet_files import GroupCutter
from curriculum.storage.paths import AnyPath, open_sink
from curriculum.verl.rows import Stage


class StageTask(Struct, frozen=True):
    """A chunk of a data set, its number, and for each of its rows its bucket (-1: it is not
    staged), the hash of its prompt and its scores. Staged files go to `directory`."""

    chunk: Chunk
    number: int
    form: SourceForm
    stages: Sequence[Stage]
    buckets: IntArray
    hashes: HashArray
    scores: Scores
    metrics: MetricChoice
    directory: AnyPath


class StagedRows(Struct, frozen=True):
    """The staged rows of a chunk: by bucket, the file, and each row's size in bytes, which is an
    upper bound of what it takes in memory."""

    paths: dict[int, AnyPath]
    lengths: dict[int, LengthArray]


def stage_rows(task: StageTask) -> StagedRows:
    """Stage the rows of a chunk. Raises InputError if it changed since it was read."""
    paths, writers = dict[int, AnyPath](), dict[int, Any]()
    lengths: dict[int, list[LengthArray]] = {}
    with ExitStack() as stack:
        for some, rows in _annotated(task):
            buckets, sizes = task.buckets[some], row_bytes(rows)
            whole = _with_columns(rows, task.hashes[some])
            for bucket in np.unique(buckets[buckets >= 0]).tolist():
                chosen = buckets == bucket
                if bucket not in writers:
                    paths[bucket] = task.directory / f"source-{task.number:06}-{bucket}.arrow"
                    file = stack.enter_context(open_sink(paths[bucket]))
                    writers[bucket] = stack.enter_context(pa.ipc.new_stream(file, whole.schema))
                writers[bucket].write_batch(whole.filter(truths(chosen)))
                lengths.setdefault(bucket, []).append(compact_lengths(sizes[chosen]))
    return StagedRows(paths, {bucket: join_lengths(parts) for bucket, parts in lengths.items()})


def _annotated(task: StageTask) -> Iterator[tuple[slice, pa.RecordBatch]]:
    """The rows of a chunk in batches, with their difficulty added. Raises InputError if they are
    not as many as before."""
    measures, row = task.metrics.measure(task.scores), 0
    for batch in _batches(task.chunk):
        some = slice(row, row + len(batch))
        row += len(batch)
        if row > len(task.buckets):
            break
        yield some, task.form.annotated(batch, task.stages, task.buckets[some], measures.some(some))
    if row != len(task.buckets):
        raise changed(task.chunk.file)


def write_annotated(path: AnyPath, form: SourceForm, tasks: Iterable[StageTask]) -> None:
    """Write the rows of all tasks to one parquet file, in row groups like those of sets."""
    schema = form.schema()
    schema = schema.with_metadata({**(schema.metadata or {}), b"creator": ANNOTATED.encode()})
    with open_sink(path) as file, GroupCutter(file, schema) as writer:
        for task in tasks:
            for _, rows in _annotated(task):
                writer.add(rows, row_bytes(rows))


def _with_columns(rows: pa.RecordBatch, hashes: HashArray) -> pa.RecordBatch:
    """The rows with the columns that every staged file has."""
    names = [*rows.schema.names, HASH, ORDINAL]
    columns = [
        *rows.columns,
        integers(hashes.view(np.int64)),
        integers(np.zeros(len(rows), np.int64)),
    ]
    return pa.RecordBatch.from_arrays(columns, names=names)


def _batches(chunk: Chunk) -> Iterator[pa.RecordBatch]:
    """The rows of a chunk; of JSON lines one for each line that is not blank."""
    if isinstance(chunk, Groups):
        yield from read_batches(chunk)
        return
    for block in read_blocks(chunk):
        lines = [bytes(line) for line in block.lines() if not is_blank(line)]
        if lines:
            yield pa.RecordBatch.from_arrays([pa.array(lines, pa.binary())], schema=LINE)


def row_bytes(rows: pa.RecordBatch) -> IntArray:
    """The bytes of each row's values in memory."""
    sizes = np.zeros(len(rows), np.int64)
    for column in rows.columns:
        sizes += _value_bytes(column)
    return sizes


def _value_bytes(values: pa.Array) -> IntArray:
    kind, count = values.type, len(values)
    if isinstance(values, pa.ExtensionArray):
        return _value_bytes(values.storage)
    if pa.types.is_struct(kind):
        parts = [_value_bytes(values.field(i)) for i in range(kind.num_fields)]
        return np.sum(parts, axis=0, dtype=np.int64) if parts else np.zeros(count, np.int64)
    if pa.types.is_dictionary(kind):
        sizes = np.append(_value_bytes(values.dictionary), 0)
        return np.asarray(sizes[values.indices.fill_null(len(sizes) - 1).to_numpy()] + 4)
    if pa.types.is_fixed_size_list(kind):
        return _fixed_lists(values)
    if hasattr(values, "offsets") and hasattr(values, "values"):  # lists of any kind
        ends = np.append(0, np.cumsum(_value_bytes(values.values)))
        return np.asarray(np.diff(ends[values.offsets.to_numpy()]) + 8)
    if pa.types.is_null(kind):
        return np.zeros(count, np.int64)
    try:
        return np.full(count, -(-kind.bit_width // 8), np.int64)
    except ValueError:  # text or bytes
        lengths = pc.binary_length(values).fill_null(0)
        return np.asarray(lengths.to_numpy(zero_copy_only=False), np.int64) + 8


def _fixed_lists(values: pa.FixedSizeListArray) -> IntArray:
    size = values.type.list_size
    inner = _value_bytes(values.values)[values.offset * size :][: len(values) * size]
    return np.asarray(inner.reshape(len(values), size).sum(axis=1), np.int64)
