"""Preprocessing, second pass: a shard's lines → Arrow rows, staged; and staged rows → parquet.

Rows are staged as Arrow files of the sizes that shards give them, and written in row groups that
depend on the rows alone, so the parquet bytes do not depend on how the work was cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from curriculum.arrays import ByteArray, HashArray, IntArray
from curriculum.inputs import Shard, changed, read_blocks
from curriculum.metrics import METRICS, Metric, MetricParameters, Scores
from curriculum.prompts import SPLITS, PromptHasher
from curriculum.rows import Columns, ReadOptions, RowReader
from curriculum.verl import Measures, RowForm, Stage, build_table, read_prompts, write_parquet


@dataclass(frozen=True)
class MetricChoice:
    """How difficulty_metrics is filled: the manifest's metric (None without one) with its
    parameters, and the pass threshold of the success rate."""

    metric: Metric | None
    parameters: MetricParameters
    pass_threshold: float


@dataclass(frozen=True)
class ConvertTask:
    """A shard, the side and index of each of its lines, how rows are made, and the two paths to
    stage them at, train and val."""

    shard: Shard
    sides: ByteArray
    indexes: IntArray
    stage: Stage
    options: ReadOptions
    form: RowForm
    metrics: MetricChoice
    seed: int
    paths: Sequence[Path]


@dataclass(frozen=True)
class Converted:
    """The rows as staged: their prompt hashes, train and val, and how many have each
    data_source."""

    hashes: tuple[HashArray, HashArray]
    data_sources: Counter[str]


def convert_shard(task: ConvertTask) -> Converted:
    """Stage a shard's rows. Raises InputError if the file is not what the first pass read."""
    reader, hasher = RowReader(task.options), PromptHasher(task.seed)
    hashes: tuple[list[int], list[int]] = ([], [])
    data_sources: Counter[str] = Counter()
    first = 0
    with ExitStack() as stack:
        writers = [
            stack.enter_context(pa.ipc.new_stream(str(path), task.form.schema()))
            for path in task.paths
        ]
        for block in read_blocks(task.shard):
            lines = block.lines()
            sides = task.sides[first : first + len(lines)]
            indexes = task.indexes[first : first + len(lines)]
            if len(sides) != len(lines):
                raise changed(task.shard.file)
            first += len(lines)
            for side, writer in enumerate(writers):
                chosen = np.flatnonzero(sides == side)
                if not len(chosen):
                    continue
                rows, refused = reader.read_lines([lines[i] for i in chosen.tolist()])
                if refused:  # the first pass read these lines without complaint
                    raise changed(task.shard.file)
                measures = _measure(rows, task.metrics)
                table = build_table(
                    rows, indexes[chosen], measures, task.form, task.stage, SPLITS[side]
                )
                hashes[side].extend(map(hasher, read_prompts(table)))
                data_sources.update(rows.data_sources)
                writer.write_table(table)
    if first != len(task.sides):
        raise changed(task.shard.file)
    train, val = (np.array(found, np.uint64) for found in hashes)
    return Converted((train, val), data_sources)


def _measure(rows: Columns, choice: MetricChoice) -> Measures:
    scores = Scores.of(rows.scores)
    own = MetricParameters(pass_threshold=choice.pass_threshold)
    value = np.full(len(rows.scores), np.nan)
    if choice.metric is not None:
        value = choice.metric.values(scores, choice.parameters)
    numbers = {
        "value": value,
        "mean_score": METRICS["mean_reward"].values(scores, own),
        "max_score": scores.highest,
        "min_score": scores.lowest,
        "score_variance": METRICS["variance"].values(scores, own),
        "success_rate": METRICS["success_rate"].values(scores, own),
    }
    return Measures(choice.metric.name if choice.metric else None, numbers, scores.counts)


@dataclass(frozen=True)
class WriteTask:
    """A parquet file: where to, the staged parts in order, and the rows of each row group."""

    path: Path
    schema: pa.Schema
    parts: Sequence[Path]
    groups: Sequence[int]


def write_file(task: WriteTask) -> None:
    """Write one parquet file from its staged parts, which are removed as they are read."""
    write_parquet(task.path, task.schema, _read_parts(task.parts), task.groups)
    for part in task.parts:  # the last ones, which held nothing more to read
        part.unlink(missing_ok=True)


def _read_parts(parts: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    for part in parts:
        with pa.OSFile(str(part)) as file, pa.ipc.open_stream(file) as stream:
            yield from stream
        part.unlink()
