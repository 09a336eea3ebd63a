"""Preprocessing, first pass: a shard's lines → what they are, the shapes of their open fields, and
their rows, staged as Arrow.

A line is decoded once. Its row needs a type for the open fields before all rollouts were seen, so
a shard's rows have the form that the rollouts so far suggest; where the run's form turns out to be
another, the shard is converted again. Where a row belongs (its side, its index) is said later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from curriculum.arrays import (
    BoolArray,
    ByteArray,
    FloatArray,
    HashArray,
    IntArray,
    LengthArray,
    compact_lengths,
    join_lengths,
)
from curriculum.arrow import integers, is_utf8
from curriculum.blocks import Block, read_blocks
from curriculum.bucketers import difficulty
from curriculum.columns import Columns, Notes
from curriculum.errors import InternalError
from curriculum.filters import FILTERS
from curriculum.infer import FormGuess, Shapes
from curriculum.inputs import Shard
from curriculum.metrics import METRICS, Metric, MetricParameters, Scores
from curriculum.prompts import Messages, hash_prompts
from curriculum.rejected import ProblemLog, Problems
from curriculum.rollouts import Reason, invalid_utf8, is_blank
from curriculum.rows import ReadOptions, RowReader
from curriculum.shapes import Place
from curriculum.stores import AnyPath, open_sink
from curriculum.verl import Measures, RowForm, build_rows

# What a line is.
BLANK, MALFORMED, UNSCORED, ROW = range(4)

# Bytes of lines whose rows are converted together: the calls cost as much as a hundred rows.
BATCH_BYTES = 1 << 23


@dataclass(frozen=True)
class MetricChoice:
    """How difficulty_metrics is filled: the manifest's metric (None without one) with its
    parameters, and the pass threshold of the success rate."""

    metric: Metric | None
    parameters: MetricParameters
    pass_threshold: float


@dataclass(frozen=True)
class ConvertTask:
    """A shard, its number among all, and how its lines are read, measured, filtered and hashed.

    Rows are staged in `directory`, or not at all. Their form is `form`, or what they suggest
    together with the shapes `known` of other shards. The reasons of malformed lines go to
    `reasons` (None: nowhere). With `rank` the difficulty of each row is wanted too.
    """

    shard: Shard
    number: int
    options: ReadOptions
    metrics: MetricChoice
    filter: str
    seed: int
    directory: AnyPath | None
    known: Shapes
    form: RowForm | None = None
    reasons: AnyPath | None = None
    rank: bool = False


@dataclass(frozen=True)
class Part:
    """Staged rows of one form: `hash` and `ordinal` (a rollout's place in its shard) beside the
    columns of `build_rows`."""

    path: AnyPath
    form: RowForm


@dataclass(frozen=True)
class Converted:
    """A shard after the first pass: `lengths` (bytes, without newline) and `kinds` of its lines;
    `hashes`, `characters` (of the prompt) and `keep`, and `difficulty` if it is wanted, one per
    row; counts and shapes; and the staged rows. `staged` is False where some have no form."""

    lengths: LengthArray
    kinds: ByteArray
    hashes: HashArray
    characters: LengthArray
    keep: BoolArray
    difficulty: FloatArray
    shapes: Shapes
    notes: Notes
    responses: int
    missing_scores: int
    problems: Problems
    parts: Sequence[Part]
    staged: bool

    def has_form(self, form: RowForm) -> bool:
        """Whether all rows are staged in this form."""
        return self.staged and all(part.form == form for part in self.parts)


def convert_shard(task: ConvertTask) -> Converted:
    """Read every line of a shard, check all that a row takes from it, and stage the rows."""
    converter = _Converter(task)
    try:
        for block in read_blocks(task.shard):
            converter.add_block(block)
        return converter.result()
    finally:
        converter.close()


class _Converter:
    """What has been seen of a shard so far."""

    def __init__(self, task: ConvertTask) -> None:
        self._task = task
        self._reader = RowReader(task.options)
        self._guess = FormGuess(task.known, task.options.best_response)
        self._log = ProblemLog(task.reasons)
        self._waiting: list[tuple[Columns, ByteArray]] = []
        self._waiting_bytes = 0
        self._lengths: list[LengthArray] = []
        self._kinds: list[ByteArray] = []
        self._keep: list[BoolArray] = []
        self._hashes: list[HashArray] = []
        self._characters: list[LengthArray] = []
        self._difficulty: list[FloatArray] = []
        self._lines = self._rollouts = self._responses = self._present = 0
        self._parts: list[Part] = []
        self._staged = True
        self._writer: pa.RecordBatchWriter | None = None

    def add_block(self, block: Block) -> None:
        rows, refused = self._reader.read_block(block)
        if not is_utf8(block):  # somewhere, perhaps in a field that no row takes
            rows, refused = _refuse_invalid(block.lines(), rows, refused)
        kinds = np.full(len(block.ends), ROW, dtype=np.uint8)
        first = self._lines + sum(len(waiting) for _, waiting in self._waiting)
        for position, reason in refused:
            kinds[position] = BLANK if is_blank(block.line(position)) else MALFORMED
            if kinds[position] == MALFORMED:
                self._log.add(first + position, reason)
        self._lengths.append(compact_lengths(block.lengths))
        self._waiting.append((rows, kinds))
        self._waiting_bytes += block.size
        if self._waiting_bytes >= BATCH_BYTES:
            self._convert()

    def _convert(self) -> None:
        """Take in the lines that wait, together."""
        for before, (rows, _) in zip(self._starts(), self._waiting, strict=True):
            rows.positions = [before + position for position in rows.positions]
        rows = Columns.concatenate([rows for rows, _ in self._waiting])
        kinds = np.concatenate([np.zeros(0, np.uint8), *(kinds for _, kinds in self._waiting)])
        self._waiting, self._waiting_bytes = [], 0
        scores = Scores.of_flat(rows.scores, rows.counts)
        self._responses += len(rows.scores)
        self._present += int(scores.offsets[-1])
        if not scores.counts.all():
            kinds[kinds == ROW] = np.where(scores.counts, ROW, UNSCORED)
            rows = rows.take(np.flatnonzero(scores.counts).tolist())
            scores = Scores.of_flat(rows.scores, rows.counts)
        messages = Messages.of(rows.prompts)
        hashes = hash_prompts(messages, self._task.seed)
        self._characters.append(messages.characters())
        keep = FILTERS[self._task.filter].keep(scores, self._task.metrics.pass_threshold)
        if self._task.rank:
            self._difficulty.append(_difficulty(scores, self._task.metrics))
        form = self._task.form or self._guess.add(rows, (self._task.number, self._lines))
        ordinals = self._rollouts + np.cumsum(kinds != BLANK)[kinds == ROW] - 1
        if keep.any():
            if not keep.all():
                kept = np.flatnonzero(keep).tolist()
                rows = rows.take(kept)
                messages = Messages.of(rows.prompts)
                scores = Scores.of_flat(rows.scores, rows.counts)
            self._stage(rows, messages, scores, form, (hashes[keep], ordinals[keep]))
        self._kinds.append(kinds)
        self._keep.append(keep)
        self._hashes.append(hashes)
        self._lines += len(kinds)
        self._rollouts += int((kinds != BLANK).sum())

    def _starts(self) -> list[int]:
        """The first line of each block that waits, counted from the first of them."""
        counts = [len(kinds) for _, kinds in self._waiting]
        return (np.cumsum(counts) - counts).tolist() if counts else []

    def _stage(
        self,
        rows: Columns,
        messages: Messages,
        scores: Scores,
        form: RowForm | None,
        places: tuple[HashArray, IntArray],
    ) -> None:
        directory = self._task.directory
        if directory is None or form is None:
            self._staged = directory is None
            return
        hashes, ordinals = places
        columns = build_rows(rows, messages, _measure(scores, self._task.metrics), form)
        columns |= {"hash": integers(hashes.view(np.int64)), "ordinal": integers(ordinals)}
        batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
        if self._writer is None or self._parts[-1].form != form:
            self._end_part()
            name = f"{self._task.number:06}-{len(self._parts)}.arrow"
            self._parts.append(Part(directory / name, form))
            self._file = open_sink(self._parts[-1].path)
            self._writer = pa.ipc.new_stream(self._file, batch.schema)
        self._writer.write_batch(batch)

    def close(self) -> None:
        """End what is being written."""
        self._end_part()
        self._log.close()

    def _end_part(self) -> None:
        if self._writer is not None:
            with self._file:
                self._writer.close()

    def result(self) -> Converted:
        self._convert()
        return Converted(
            lengths=join_lengths(self._lengths),
            kinds=np.concatenate(self._kinds),
            hashes=np.concatenate(self._hashes),
            characters=join_lengths(self._characters),
            keep=np.concatenate(self._keep),
            difficulty=np.concatenate([np.zeros(0), *self._difficulty]),
            shapes=self._guess.shapes,
            notes=self._reader.notes,
            responses=self._responses,
            missing_scores=self._responses - self._present,
            problems=self._log.problems,
            parts=self._parts,
            staged=self._staged,
        )


def _difficulty(scores: Scores, choice: MetricChoice) -> FloatArray:
    """The metric turned so that higher is harder; NaN, which sorts last, where undefined."""
    if choice.metric is None:
        raise InternalError("there is no metric to order rows by")
    return difficulty(
        choice.metric.values(scores, choice.parameters), choice.metric.higher_is_easier
    )


def _measure(scores: Scores, choice: MetricChoice) -> Measures:
    own = MetricParameters(pass_threshold=choice.pass_threshold)
    value = np.full(len(scores.counts), np.nan)
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


def _refuse_invalid(
    lines: list[memoryview], rows: Columns, refused: list[tuple[int, Reason]]
) -> tuple[Columns, list[tuple[int, Reason]]]:
    """Move the rows of lines that are not UTF-8 to the refused ones."""
    invalid = dict(refused)
    for position in rows.positions:
        try:
            str(lines[position], "utf-8")
        except UnicodeDecodeError as error:  # noqa: PERF203, one bad line must not end the others
            invalid[position] = invalid_utf8(error).reason
    good = [row for row, position in enumerate(rows.positions) if position not in invalid]
    return rows.take(good), sorted(invalid.items(), key=lambda pair: pair[0])


@dataclass
class Found:
    """Everything the first pass found, in curriculum order; `buckets` says of each shard which
    bucket it belongs to."""

    shards: list[Shard]
    buckets: list[int]
    converted: list[Converted] = field(default_factory=list)
    shapes: Shapes = field(default_factory=Shapes)
    notes: Notes = field(default_factory=Counter)

    def add(self, converted: Converted) -> None:
        """Take over what was found in the next shard."""
        self.shapes.merge(converted.shapes)
        self.notes.update(converted.notes)
        self.converted.append(replace(converted, shapes=Shapes(), notes=Counter()))

    def of_bucket(self, bucket: int) -> list[Converted]:
        """The results of one bucket's shards."""
        pairs = zip(self.buckets, self.converted, strict=True)
        return [converted for at, converted in pairs if at == bucket]

    def hashes(self, bucket: int) -> HashArray:
        """The prompt hash of each row of a bucket."""
        parts = [converted.hashes for converted in self.of_bucket(bucket)]
        return np.concatenate([np.zeros(0, np.uint64), *parts])

    def count(self, kind: int, bucket: int | None = None) -> int:
        """How many lines are of a kind, in one bucket or in all."""
        chosen = self.converted if bucket is None else self.of_bucket(bucket)
        return sum(int((converted.kinds == kind).sum()) for converted in chosen)

    def place(self, place: Place) -> str:
        """`file:line` of a line."""
        number, line = place
        path = self.shards[number].file.path
        for shard, converted in zip(self.shards[:number], self.converted, strict=False):
            if shard.file.path == path:
                line += len(converted.kinds)
        return f"{path}:{line + 1}"
