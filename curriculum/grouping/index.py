"""First pass over a dump: the lines of a shard → the kind of each line and the group of each
response.

Only numbers are kept of a response: where it starts, and a hash of what identifies its group.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from operator import eq
from typing import Any

import msgspec
import numpy as np

from curriculum.arrays import ByteArray, HashArray, IntArray
from curriculum.dumps.formats import OWN, SEVERAL_CHOICES, Format, Steps, end_of, score_of
from curriculum.dumps.json_values import NOTHING, from_json, hash_value
from curriculum.dumps.line_reader import FieldColumns, LineReader, column_at
from curriculum.dumps.values import is_number, top, written_number
from curriculum.grouping.group_hashes import ScannedLines, choose_groups, hash_groups
from curriculum.grouping.groups import no_group
from curriculum.grouping.merge import RolloutReader
from curriculum.reading.blocks import Block, read_blocks
from curriculum.reading.input_files import Shard
from curriculum.reading.ledger import BLANK, MALFORMED, SKIPPED, TAKEN, LineRecorder, ShardLines
from curriculum.reading.lines import TOO_DEEP, Malformed, Reason, describe, is_blank
from curriculum.scanner.dump_lines import FieldPlaces, Kind, index_fields
from curriculum.storage.paths import AnyPath

_SCORES = {float, int, bool, type(None)}


class IndexTask(msgspec.Struct, frozen=True):
    """A shard of a dump, its format, and the steps wanted.

    The reasons for malformed lines go to `reasons` (None: nowhere). The text of a compressed file
    goes to `text`, because its lines are read again one by one.
    """

    shard: Shard
    form: Format
    steps: Steps
    reasons: AnyPath | None = None
    text: AnyPath | None = None


class Index(msgspec.Struct, frozen=True):
    """The lines and responses of a shard.

    For each response, `groups` has the hash of its group, and `marks` the format's alternative that
    identifies it. `steps` are the lowest and highest step of the responses, if they have any.
    `better` counts those with the format's better score.
    """

    lines: ShardLines
    groups: HashArray
    marks: ByteArray
    steps: tuple[float, float] | None
    better: int


class _Lines(msgspec.Struct):
    """What is known of the lines of a block: for each its kind, the hash of its group and the
    alternative that identifies that, and by position the reasons for malformed ones."""

    kinds: ByteArray
    groups: HashArray
    marks: ByteArray
    reasons: dict[int, Reason] = msgspec.field(default_factory=dict)


def index_shard(task: IndexTask) -> Index:
    """Read and check every line of a shard, and find its group."""
    indexer = _Indexer(task)
    with ExitStack() as stack:
        stack.callback(indexer.close)
        text = stack.enter_context(task.text.open("wb")) if task.text else None
        if text:
            text.write(bytes(task.shard.first_offset))  # padding, so that offsets stay the same
        for block in read_blocks(task.shard):
            indexer.add_block(block)
            if text:
                text.write(block.text)
        return indexer.result()


class _Indexer:
    """Collects what is found in a shard, in arrays because a large compressed file is one shard."""

    def __init__(self, task: IndexTask) -> None:
        self._task = task
        own = task.form.name == OWN
        self._reader = RolloutReader(task.form.score) if own else LineReader(task.form)
        self._recorder = LineRecorder(task.reasons)
        self._groups: list[HashArray] = [np.zeros(0, np.uint64)]
        self._steps: set[float] = set()
        self._marks: list[ByteArray] = [np.zeros(0, np.uint8)]
        self._better = 0

    def add_block(self, block: Block) -> None:
        """Record a block. Lines that were not scanned, or are unusual, are read one by one."""
        places = None
        if self._task.form.scores_as_they_are and self._task.form.name != OWN:
            places = index_fields(block.buffer, block.size, self._reader.names)
        if places:
            block.found_ends = places.ends
        count = len(block.ends)
        lines = _Lines(
            np.full(count, TAKEN, np.uint8), np.zeros(count, np.uint64), np.zeros(count, np.uint8)
        )
        rest = self._take_scanned(lines, places) if places else np.arange(count)
        if len(rest):
            try:
                self._read(block, lines, rest)
            except RecursionError:  # a prompt is nested as deep as Python can read, or deeper
                self._read(block, lines, rest, measure=True)
        taken = lines.kinds == TAKEN
        self._groups.append(lines.groups[taken])
        self._marks.append(lines.marks[taken])
        self._recorder.add(block, lines.kinds, lines.reasons)

    def _take_scanned(self, lines: _Lines, places: FieldPlaces) -> IntArray:
        """Record the usual lines; return the positions of the others."""
        form = self._task.form
        usual = places.kinds[top(form.score)] <= Kind.NUMBER
        usual[places.declined] = False
        if form.choice and not form.skips_others:
            every = ScannedLines(form, places, np.arange(len(usual)))
            usual &= every.which(form.choice, partial(eq, form.chosen))
        for mark in form.marks:
            usual &= places.kinds[mark] != Kind.ABSENT
        here = np.flatnonzero(usual)
        scanned = ScannedLines(form, places, here)
        kinds = lines.kinds[here]
        if not self._task.steps.all:
            kinds[~scanned.which(form.step, self._task.steps.wanted)] = SKIPPED
        if form.choice and form.skips_others:
            kinds[~scanned.which(form.choice, partial(eq, form.chosen))] = SKIPPED
        groups, marks = scanned.groups()
        kinds[(groups == NOTHING) & (kinds == TAKEN)] = MALFORMED
        lines.kinds[here], lines.groups[here], lines.marks[here] = kinds, groups, marks
        for i in here[kinds == MALFORMED].tolist():
            lines.reasons[i] = no_group(form).reason
        taken = kinds == TAKEN
        if form.step:
            self._steps |= set(_numbers(scanned.distinct(form.step, taken)))
        if form.better_score:
            self._better += int(np.sum(scanned.which(form.better_score, _is_score) & taken))
        return np.flatnonzero(~usual)

    def _read(self, block: Block, lines: _Lines, rest: IntArray, measure: bool = False) -> None:
        """Record the lines at the positions `rest`, read in Python. With `measure`, those nested
        too deep are malformed."""
        columns: dict[str, list[Any]] = {name: [] for name in self._reader.names}
        here = []
        for position in rest.tolist():
            line = block.line(position)
            if is_blank(line):
                lines.kinds[position] = BLANK
                continue
            try:
                fields = self._reader.read(line)
                if measure:
                    fields = {name: _measured(value) for name, value in fields.items()}
            except Malformed as error:
                lines.kinds[position], lines.reasons[position] = MALFORMED, error.reason
                continue
            here.append(position)
            for name, column in columns.items():
                column.append(fields.get(name))
        self._take(columns, lines, np.array(here, np.int64))

    def _take(self, columns: FieldColumns, lines: _Lines, here: IntArray) -> None:
        """Record the lines at the positions `here` of a block, which have these fields."""
        form, count = self._task.form, len(here)
        kinds = np.full(count, TAKEN, np.uint8)
        steps, others = column_at(columns, form.step, count), dict[int, Reason]()
        if not self._task.steps.all:
            kinds[[not self._task.steps.wanted(step) for step in steps]] = SKIPPED
        if form.choice:
            others |= _other_choices(form, column_at(columns, form.choice, count))
        if form.skips_others:
            kinds[list(others)] = SKIPPED
        wrong = others | dict(wrong_scores(form, columns))
        groups, marks = self._group(columns, count)
        without = no_group(form).reason
        wrong |= {int(i): without for i in np.flatnonzero(groups == NOTHING) if i not in wrong}
        wrong = {i: reason for i, reason in wrong.items() if kinds[i] == TAKEN}
        kinds[list(wrong)] = MALFORMED
        lines.reasons |= {int(here[i]): reason for i, reason in wrong.items()}
        lines.kinds[here], lines.groups[here], lines.marks[here] = kinds, groups, marks
        taken = np.flatnonzero(kinds == TAKEN).tolist()
        self._steps |= set(_numbers([steps[i] for i in taken]))
        if form.better_score:
            better = column_at(columns, form.better_score, count)
            self._better += len(_numbers([better[i] for i in taken]))

    def _group(self, columns: FieldColumns, count: int) -> tuple[HashArray, ByteArray]:
        """The hash of each line's group, NOTHING if it has none, and which alternative identifies
        the group."""
        form = self._task.form

        def hashes(place: str) -> HashArray:
            return hash_groups(form, place, column_at(columns, place, count))

        return choose_groups(form, hashes, count)

    def result(self) -> Index:
        return Index(
            lines=self._recorder.result(),
            groups=np.concatenate(self._groups),
            marks=np.concatenate(self._marks),
            steps=(min(self._steps), max(self._steps)) if self._steps else None,
            better=self._better,
        )

    def close(self) -> None:
        self._recorder.close()


def _other_choices(form: Format, names: Sequence[Any]) -> dict[int, Reason]:
    """The lines with another name than the chosen one, with what is wrong with them."""
    return {
        i: Malformed(
            f"{SEVERAL_CHOICES} {form.choice}, {name}", f"the first line has {form.chosen}"
        ).reason
        for i, name in enumerate(names)
        if name != form.chosen
    }


def _measured(value: Any, calls: int = 50) -> Any:
    """A value, decoded. Raises Malformed if it is nested too deep to be decoded, or hashed, with
    so many calls less than are left."""
    try:
        if calls:
            return _measured(value, calls - 1)
        value = from_json(value) if isinstance(value, msgspec.Raw) else value
        hash_value(value)
    except RecursionError as error:
        raise Malformed(TOO_DEEP) from error
    return value


def _numbers(values: list[Any]) -> list[float]:
    """The numbers among these values, including those written as strings."""
    return [number for value in values if is_number(number := written_number(value))]


def _is_score(value: Any) -> bool:
    return is_number(written_number(value))


def wrong_scores(form: Format, columns: FieldColumns) -> list[tuple[int, Reason]]:
    """The lines whose score is neither a number nor missing, with the reason."""
    scores = column_at(columns, form.score, 0) if form.name != OWN else []
    if form.scores_as_they_are and set(map(type, scores)) <= _SCORES:
        return []
    wrong = []
    for i, score in enumerate(scores):
        if form.scores_as_they_are and type(score) in _SCORES:
            continue
        try:
            line = {name: column[i] for name, column in columns.items()}
            value = score_of(form, line, end_of(form, line))
            if type(value) not in _SCORES:
                raise Malformed("a score is not a number", f"{form.score} is {describe(value)}")
        except Malformed as error:
            wrong.append((i, error.reason))
    return wrong
