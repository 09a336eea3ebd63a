"""First pass of preprocessing: the lines of a shard → their kinds, and rows staged as Arrow.

A line is decoded once. Its row needs a type for the open fields before all rollouts were seen, so
the rows of a shard take the form that the rollouts so far suggest; if the run's form turns out to
be another, the shard is converted again. Which side and index a row gets is decided later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec import Struct, field
from msgspec.structs import replace

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
from curriculum.choosing.judge import Asked, Looked, Verdicts
from curriculum.measures import MetricChoice
from curriculum.metrics import Scores
from curriculum.preprocessing.settings import HASH, ORDINAL, Form
from curriculum.reading.blocks import Block, read_blocks
from curriculum.reading.input_files import Shard
from curriculum.reading.ledger import BLANK, NO_SCORE, TAKEN, Ledger, LineRecorder, ShardLines
from curriculum.reading.lines import PlaceReader
from curriculum.storage.arrow_arrays import integers
from curriculum.storage.paths import AnyPath, open_sink
from curriculum.verl.infer_schema import FormGuess, Shapes
from curriculum.verl.read_line import ReadOptions
from curriculum.verl.read_rows import RowReader
from curriculum.verl.row_batch import Notes, RowBatch
from curriculum.verl.rows import RowForm, build_rows

# Lines of this many bytes are converted at once: the calls cost as much as a hundred rows.
BATCH_BYTES = 6 << 20


class ConvertTask(Struct, frozen=True):
    """A shard, its number among all, and how its lines are read, measured and filtered.

    Rows are staged in `directory` (None: not at all). Their form is `form`; if that is None, it is
    guessed from the rows and from the shapes `known` from other shards. The reasons of malformed
    lines go to `reasons` (None: nowhere). With `rank` the difficulty of each row is computed. Rows
    are staged if they are kept, or with `stage_all` all of them.
    """

    shard: Shard
    number: int
    options: ReadOptions
    metrics: MetricChoice
    asked: Asked
    directory: AnyPath | None
    known: Shapes
    form: RowForm | None = None
    reasons: AnyPath | None = None
    rank: bool = False
    stage_all: bool = False


class StagedFile(Struct, frozen=True):
    """Staged rows of one form. Besides their own columns they have HASH (of the prompt) and ORDINAL
    (the rollout's position in its shard)."""

    path: AnyPath
    form: Form


class ConvertedShard(Struct, frozen=True):
    """A shard after the first pass.

    `hashes` and `characters` (of the prompt), `verdicts`, `in_files` (whether its row is among the
    staged ones) and, if requested, `difficulty` have one entry per rollout with a score. `parts`
    are the staged rows; `staged` is False if some rows have no form.
    """

    lines: ShardLines
    hashes: HashArray
    characters: LengthArray
    verdicts: Verdicts
    in_files: BoolArray
    difficulty: FloatArray
    shapes: Shapes
    notes: Notes
    responses: int
    missing_scores: int
    parts: Sequence[StagedFile]
    staged: bool

    @property
    def keep(self) -> BoolArray:
        """Which rollouts are kept by the filter and the conditions."""
        return self.verdicts.keep

    def has_form(self, form: RowForm) -> bool:
        """Whether all rows are staged in this form."""
        return self.staged and all(part.form == form for part in self.parts)


def convert_shard(task: ConvertTask) -> ConvertedShard:
    """Read every line of a shard, check the fields that a row needs, and stage the rows."""
    converter = _Converter(task)
    try:
        for block in read_blocks(task.shard, BATCH_BYTES):
            converter.add_block(block)
        return converter.result()
    finally:
        converter.close()


class _Converter:
    """What was read from a shard so far."""

    def __init__(self, task: ConvertTask) -> None:
        self._task = task
        self._reader = RowReader(task.options)
        self._guess = FormGuess(task.known, task.options.best_response)
        self._recorder = LineRecorder(task.reasons)
        self._kinds: list[ByteArray] = [np.zeros(0, np.uint8)]
        self._verdicts = [task.asked.judge(Scores.of([]), task.asked.look(_nothing(task.asked)))]
        self._places = PlaceReader(task.asked.places) if task.asked.places else None
        self._hashes: list[HashArray] = [np.zeros(0, np.uint64)]
        self._characters: list[LengthArray] = []
        self._difficulty: list[FloatArray] = []
        self._lines = self._rollouts = self._responses = self._present = 0
        self._parts: list[StagedFile] = []
        self._staged = True
        self._writer: pa.RecordBatchWriter | None = None

    def add_block(self, block: Block) -> None:
        rows, refused = self._reader.read_block(block)
        kinds = self._recorder.add_block(block, refused)
        scores = Scores.of_flat(rows.scores, rows.counts)
        self._responses += len(rows.scores)
        self._present += int(scores.offsets[-1])
        self._kinds.append(np.where(scores.counts, TAKEN, NO_SCORE).astype(np.uint8))
        ordinals = self._rollouts + np.cumsum(kinds != BLANK)[kinds == TAKEN] - 1
        scored = scores.counts > 0
        lines = (block.line(at) for at in np.flatnonzero(kinds == TAKEN)[scored].tolist())
        looked = self._task.asked.look(self._places.read_lines(lines) if self._places else {})
        self._add_rows(*_some(rows, scores, ordinals, scored), looked)
        self._lines += len(kinds)
        self._rollouts += int((kinds != BLANK).sum())

    def _add_rows(self, rows: RowBatch, scores: Scores, ordinals: IntArray, looked: Looked) -> None:
        """Add the rows that have a score, and stage those that are kept."""
        verdicts = self._task.asked.judge(scores, looked)
        if self._task.rank:
            self._difficulty.append(self._task.metrics.difficulty(scores))
        form = self._task.form or self._guess.add(rows, (self._task.number, self._lines))
        self._verdicts.append(verdicts)
        self._hashes.append(rows.hashes)
        self._characters.append(compact_lengths(rows.characters))
        staged = verdicts.keep | self._task.stage_all
        if staged.any():
            self._stage(*_some(rows, scores, ordinals, staged), form)

    def _stage(
        self, rows: RowBatch, scores: Scores, ordinals: IntArray, form: RowForm | None
    ) -> None:
        directory = self._task.directory
        if directory is None or form is None:
            self._staged = directory is None
            return
        columns = build_rows(rows, self._task.metrics.measure(scores), form)
        columns |= {HASH: integers(rows.hashes.view(np.int64)), ORDINAL: integers(ordinals)}
        batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
        if self._writer is None or self._parts[-1].form != form:
            self._end_part()
            name = f"{self._task.number:06}-{len(self._parts)}.arrow"
            self._parts.append(StagedFile(directory / name, form))
            self._file = open_sink(self._parts[-1].path)
            self._writer = pa.ipc.new_stream(self._file, batch.schema)
        self._writer.write_batch(batch)

    def close(self) -> None:
        self._end_part()
        self._recorder.close()

    def _end_part(self) -> None:
        if self._writer is not None:
            with self._file:
                self._writer.close()

    def result(self) -> ConvertedShard:
        verdicts = Verdicts.join(self._verdicts)
        return ConvertedShard(
            lines=self._recorder.result(np.concatenate(self._kinds)),
            hashes=np.concatenate(self._hashes),
            characters=join_lengths(self._characters),
            verdicts=verdicts,
            in_files=verdicts.keep | self._task.stage_all,
            difficulty=np.concatenate([np.zeros(0), *self._difficulty]),
            shapes=self._guess.shapes,
            notes=self._reader.notes,
            responses=self._responses,
            missing_scores=self._responses - self._present,
            parts=self._parts,
            staged=self._staged,
        )


def _nothing(asked: Asked) -> dict[str, list[Any]]:
    """What no rollouts hold."""
    return {place: [] for place in asked.places}


def _some(
    rows: RowBatch, scores: Scores, ordinals: IntArray, chosen: BoolArray
) -> tuple[RowBatch, Scores, IntArray]:
    """The chosen rows with their scores and ordinals."""
    if chosen.all():
        return rows, scores, ordinals
    numbers = np.flatnonzero(chosen)
    return rows.take(numbers), scores.take(numbers), ordinals[numbers]


class ConvertedBuckets(Struct):
    """Everything the first pass found, shard by shard in curriculum order. `ledger` has the lines,
    `buckets` the bucket number of each shard."""

    ledger: Ledger
    buckets: list[int]
    shards: list[ConvertedShard] = field(default_factory=list)
    shapes: Shapes = field(default_factory=Shapes)
    notes: Notes = field(default_factory=Counter)

    def add(self, converted: ConvertedShard) -> None:
        """Add the result of the next shard."""
        self.ledger.add(converted.lines)
        self.shapes.merge(converted.shapes)
        self.notes.update(converted.notes)
        self.shards.append(replace(converted, shapes=Shapes(), notes=Counter()))

    def of_bucket(self, bucket: int) -> list[ConvertedShard]:
        """The results of one bucket's shards."""
        pairs = zip(self.buckets, self.shards, strict=True)
        return [converted for at, converted in pairs if at == bucket]

    def hashes(self, bucket: int) -> HashArray:
        """The prompt hash of each row of a bucket."""
        parts = [converted.hashes for converted in self.of_bucket(bucket)]
        return np.concatenate([np.zeros(0, np.uint64), *parts])

    def count(self, kind: int, bucket: int | None = None) -> int:
        """The number of lines of a kind, in one bucket (None: in all)."""
        if bucket is None:
            return self.ledger.count(kind)
        return sum(converted.lines.count(kind) for converted in self.of_bucket(bucket))

    def file_line(self, number: int, line: int) -> str:
        """`file:line` for a line (from 0) of the shard with this number."""
        return f"{self.ledger.shards[number].file.name}:{self.ledger.first_lines()[number] + line}"
