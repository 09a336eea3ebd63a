"""Preprocessing, first pass: a shard's lines → their prompts' hashes, what the filter says, and
the shapes of their open fields. Nothing of a rollout's text is kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np

from curriculum.arrays import BoolArray, ByteArray, HashArray, IntArray
from curriculum.filters import FILTERS
from curriculum.inputs import Shard, read_blocks
from curriculum.metrics import Scores
from curriculum.prompts import PromptHasher
from curriculum.rejected import Problems
from curriculum.rollouts import Malformed, Score, is_blank, is_present
from curriculum.rows import Notes, ReadOptions, Row, RowReader
from curriculum.shapes import Conflict, Place, Plan, Shape, plan_shape
from curriculum.verl import STRUCT_FIELDS, OwnField, RowForm, name_own_fields

# What a line is.
BLANK, MALFORMED, UNSCORED, ROW = range(4)


@dataclass(frozen=True)
class InferTask:
    """A shard, its number among all, and how its lines are read, hashed and filtered."""

    shard: Shard
    number: int
    options: ReadOptions
    seed: int
    filter: str
    pass_threshold: float


@dataclass
class Shapes:
    """Shapes of the fields whose type is open: ground_truth, and extra_info's fields by name."""

    ground_truth: Shape
    extra_info: dict[str, Shape]

    @staticmethod
    def empty() -> Shapes:
        """Before the first row."""
        return Shapes(Shape(), {})

    def merge(self, other: Shapes) -> None:
        """Take into account what a later shard has seen."""
        self.ground_truth.merge(other.ground_truth)
        for name, shape in other.extra_info.items():
            if name in self.extra_info:
                self.extra_info[name].merge(shape)
            else:
                self.extra_info[name] = shape


@dataclass(frozen=True)
class Inspection:
    """A shard after the first pass: `lengths` (bytes, without newline) and `kinds` of its lines;
    `hashes` and `keep`, one per row; counts and shapes."""

    lengths: IntArray
    kinds: ByteArray
    hashes: HashArray
    keep: BoolArray
    shapes: Shapes
    notes: Notes
    responses: int
    missing_scores: int
    problems: Problems


def inspect_shard(task: InferTask) -> Inspection:
    """Read every line of a shard and check all that the second pass will take from it."""
    inspector = _Inspector(task)
    for block in read_blocks(task.shard):
        inspector.add_block(block.lines())
    return inspector.result()


class _Inspector:
    """What has been seen of a shard so far."""

    def __init__(self, task: InferTask) -> None:
        self._task = task
        self._reader, self._hasher = RowReader(task.options), PromptHasher(task.seed)
        self._shapes, self._problems = Shapes.empty(), Problems()
        self._lengths: list[int] = []
        self._kinds: list[int] = []
        self._hashes: list[int] = []
        self._keep: list[BoolArray] = []
        self._responses = self._missing_scores = 0

    def add_block(self, lines: list[memoryview]) -> None:
        self._lengths.extend(map(len, lines))
        rewards: list[list[Score]] = []
        for line in lines:
            try:
                row = self._reader.read(line)
                kind = self._add_row(row, rewards)
            except Malformed as error:
                kind = BLANK if is_blank(line) else MALFORMED
                if kind == MALFORMED:
                    self._problems.add(len(self._kinds), error)
            self._kinds.append(kind)
        keep = FILTERS[self._task.filter].keep(Scores.of(rewards), self._task.pass_threshold)
        self._keep.append(keep)

    def _add_row(self, row: Row, rewards: list[list[Score]]) -> int:
        present = sum(map(is_present, row.scores))
        self._responses += len(row.scores)
        self._missing_scores += len(row.scores) - present
        if not present:
            return UNSCORED
        place = (self._task.number, len(self._kinds))
        self._shapes.ground_truth.add(row.ground_truth, place)
        for name, value in row.extra_info.items():
            if name not in self._shapes.extra_info:
                self._shapes.extra_info[name] = Shape(False, deep=name in STRUCT_FIELDS)
            self._shapes.extra_info[name].add(value, place)
        self._hashes.append(self._hasher(row.messages))
        rewards.append(row.scores)
        return ROW

    def result(self) -> Inspection:
        return Inspection(
            lengths=np.array(self._lengths, np.int64),
            kinds=np.array(self._kinds, np.uint8),
            hashes=np.array(self._hashes, np.uint64),
            keep=np.concatenate([np.zeros(0, np.bool_), *self._keep]),
            shapes=self._shapes,
            notes=self._reader.notes,
            responses=self._responses,
            missing_scores=self._missing_scores,
            problems=self._problems,
        )


@dataclass
class Inspected:
    """Everything the first pass found, in curriculum order; `buckets` says of each shard which
    bucket it belongs to."""

    shards: list[Shard]
    buckets: list[int]
    inspections: list[Inspection] = field(default_factory=list)
    shapes: Shapes = field(default_factory=Shapes.empty)
    notes: Notes = field(default_factory=Counter)

    def add(self, inspection: Inspection) -> None:
        """Take over what was found in the next shard."""
        self.shapes.merge(inspection.shapes)
        self.notes.update(inspection.notes)
        self.inspections.append(replace(inspection, shapes=Shapes.empty(), notes=Counter()))

    def of_bucket(self, bucket: int) -> list[Inspection]:
        """The inspections of one bucket's shards."""
        pairs = zip(self.buckets, self.inspections, strict=True)
        return [inspection for at, inspection in pairs if at == bucket]

    def hashes(self, bucket: int) -> HashArray:
        """The prompt hash of each row of a bucket."""
        parts = [inspection.hashes for inspection in self.of_bucket(bucket)]
        return np.concatenate([np.zeros(0, np.uint64), *parts])

    def count(self, kind: int, bucket: int | None = None) -> int:
        """How many lines are of a kind, in one bucket or in all."""
        chosen = self.inspections if bucket is None else self.of_bucket(bucket)
        return sum(int((inspection.kinds == kind).sum()) for inspection in chosen)

    def place(self, place: Place) -> str:
        """`file:line` of a line."""
        number, line = place
        path = self.shards[number].file.path
        for shard, inspection in zip(self.shards[:number], self.inspections, strict=False):
            if shard.file.path == path:
                line += len(inspection.kinds)
        return f"{path}:{line + 1}"


def choose_form(found: Inspected, best_response: bool) -> tuple[RowForm, list[str]]:
    """The types of the fields that rollouts leave open, and what a person should know of them.

    An extra_info field whose values fit no one type becomes JSON text. Raises Conflict where the
    ground truths do.
    """
    notes: list[str] = []
    truth = plan_shape(found.shapes.ground_truth, "ground_truth", notes) or Plan("nothing")
    own = []
    names = name_own_fields(found.shapes.extra_info)
    for source, name in sorted(names.items(), key=lambda pair: pair[1]):
        path, inner = f"extra_info.{source}", list[str]()
        try:
            plan = plan_shape(found.shapes.extra_info[source], path, inner)
        except Conflict as conflict:
            kinds = " and ".join(conflict.kinds)
            inner = [f"{path} is written as JSON text: {conflict.path} holds {kinds}"]
            plan = Plan("json")
        notes.extend(inner)
        if plan is not None:
            own.append(OwnField(source, name, plan))
    return RowForm(truth, tuple(own), best_response), notes
