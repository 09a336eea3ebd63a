"""Preprocessing, first pass: a shard's lines → their prompts' hashes, what the filter says, and
the shapes of their open fields. Nothing of a rollout's text is kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from curriculum.arrays import BoolArray, ByteArray, HashArray, IntArray
from curriculum.filters import FILTERS
from curriculum.inputs import Block, Shard, read_blocks
from curriculum.metrics import Scores
from curriculum.prompts import PromptHasher
from curriculum.rejected import Problems
from curriculum.rollouts import Malformed, invalid_utf8, is_blank
from curriculum.rows import Columns, Notes, ReadOptions, RowReader
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
        inspector.add_block(block.lines(), is_utf8(block))
    return inspector.result()


class _Inspector:
    """What has been seen of a shard so far."""

    def __init__(self, task: InferTask) -> None:
        self._task = task
        self._reader, self._hasher = RowReader(task.options), PromptHasher(task.seed)
        self._shapes, self._problems = Shapes.empty(), Problems()
        self._lengths: list[IntArray] = []
        self._kinds: list[ByteArray] = []
        self._keep: list[BoolArray] = []
        self._hashes: list[int] = []
        self._lines = self._responses = self._present = 0

    def add_block(self, lines: list[memoryview], all_utf8: bool) -> None:
        rows, refused = self._reader.read_lines(lines)
        if not all_utf8:  # somewhere, perhaps in a field that no row takes
            rows, refused = _refuse_invalid(lines, rows, refused)
        kinds = np.full(len(lines), ROW, dtype=np.uint8)
        for position, error in refused:
            kinds[position] = BLANK if is_blank(lines[position]) else MALFORMED
            if kinds[position] == MALFORMED:
                self._problems.add(self._lines + position, error)
        scores = Scores.of(rows.scores)
        self._responses += sum(map(len, rows.scores))
        self._present += int(scores.offsets[-1])
        if not scores.counts.all():
            kinds[kinds == ROW] = np.where(scores.counts, ROW, UNSCORED)
            rows = rows.take(np.flatnonzero(scores.counts).tolist())
            scores = Scores.of(rows.scores)
        self._add_rows(rows, scores)
        self._kinds.append(kinds)
        self._lengths.append(np.fromiter(map(len, lines), np.int64, len(lines)))
        self._lines += len(lines)

    def _add_rows(self, rows: Columns, scores: Scores) -> None:
        self._hashes.extend(map(self._hasher, rows.prompts))
        self._keep.append(FILTERS[self._task.filter].keep(scores, self._task.pass_threshold))
        number, before, positions = self._task.number, self._lines, rows.positions
        shapes = self._shapes
        shapes.ground_truth.add_all(rows.ground_truths, lambda i: (number, before + positions[i]))
        names = {name for keys in set(map(tuple, rows.extra_infos)) for name in keys}
        for name in names:
            if name not in shapes.extra_info:
                shapes.extra_info[name] = Shape(False, deep=name in STRUCT_FIELDS)
            values = [info[name] for info in rows.extra_infos if name in info]
            # Where these were seen no message tells.
            shapes.extra_info[name].add_all(values, lambda _: (number, before))

    def result(self) -> Inspection:
        return Inspection(
            lengths=np.concatenate([np.zeros(0, np.int64), *self._lengths]),
            kinds=np.concatenate([np.zeros(0, np.uint8), *self._kinds]),
            hashes=np.array(self._hashes, np.uint64),
            keep=np.concatenate([np.zeros(0, np.bool_), *self._keep]),
            shapes=self._shapes,
            notes=self._reader.notes,
            responses=self._responses,
            missing_scores=self._responses - self._present,
            problems=self._problems,
        )


def is_utf8(block: Block) -> bool:
    """Whether a block is valid UTF-8."""
    offsets = pa.py_buffer(np.array([0, block.size], dtype=np.int64))
    text = pa.LargeStringArray.from_buffers(1, offsets, pa.py_buffer(block.buffer))
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _refuse_invalid(
    lines: list[memoryview], rows: Columns, refused: list[tuple[int, Malformed]]
) -> tuple[Columns, list[tuple[int, Malformed]]]:
    """Move the rows of lines that are not UTF-8 to the refused ones."""
    invalid = dict(refused)
    for position in rows.positions:
        try:
            str(lines[position], "utf-8")
        except UnicodeDecodeError as error:  # noqa: PERF203, one bad line must not end the others
            invalid[position] = invalid_utf8(error)
    good = [row for row, position in enumerate(rows.positions) if position not in invalid]
    return rows.take(good), sorted(invalid.items(), key=lambda pair: pair[0])


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
    ground truths do, or where a field that verl needs as a struct is none.
    """
    notes: list[str] = []
    truth = plan_shape(found.shapes.ground_truth, "ground_truth", notes)
    if truth is None:
        raise Conflict("ground_truth", {"an empty object": (0, 0)})
    own = []
    names = name_own_fields(found.shapes.extra_info)
    for source, name in sorted(names.items(), key=lambda pair: pair[1]):
        shape, path = found.shapes.extra_info[source], f"extra_info.{source}"
        if source in STRUCT_FIELDS and set(shape.kinds) - {"object", "null"}:
            raise Conflict(path, shape.kinds)
        inner: list[str] = []
        try:
            plan = plan_shape(shape, path, inner)
        except Conflict as conflict:
            kinds = " and ".join(conflict.kinds)
            found_there = f"{conflict.path} holds {kinds}"
            inner = [f"{found_there}: {path} is written as JSON text, for json.loads"]
            plan = Plan("json")
        notes.extend(inner)
        if plan is not None:
            own.append(OwnField(source, name, plan))
        else:
            notes.append(f"{path} holds only empty objects: left out")
    return RowForm(truth, tuple(own), best_response), notes
