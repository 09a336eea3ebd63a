"""Dumps, first pass: a shard's lines → what each is, and which group its response belongs to.

Of a response only numbers are kept: its place, and a hash of what says its group.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from curriculum.arrays import (
    BoolArray,
    ByteArray,
    HashArray,
    IntArray,
    LengthArray,
    compact_lengths,
    join_lengths,
)
from curriculum.blocks import Block, read_blocks
from curriculum.dump_read import Columns, LineReader, column_at
from curriculum.dump_values import Fields, ends_with_answer, find, is_number, written_number
from curriculum.formats import OWN, Format, Steps
from curriculum.hashes import NOTHING, hash_column, hash_value, mix
from curriculum.inputs import Shard
from curriculum.merge import RolloutReader
from curriculum.rejected import ProblemLog, Problems
from curriculum.rollouts import Malformed, Reason, describe, is_blank
from curriculum.stores import AnyPath

# What a line is. SKIPPED is of a step that was not asked for, CONFLICT a response whose group turns
# out to have several ground truths, or prompts.
BLANK, MALFORMED, SKIPPED, RESPONSE, CONFLICT = range(5)

EMPTY: tuple[Any, ...] = ("", [], {})
_SCORES = {float, int, bool, type(None)}


@dataclass(frozen=True)
class IndexTask:
    """A shard of a dump, its format, and the steps wanted.

    The reasons of malformed lines go to `reasons` (None: nowhere); the text of a compressed file
    to `text`, for its lines are read again one by one.
    """

    shard: Shard
    form: Format
    steps: Steps
    reasons: AnyPath | None = None
    text: AnyPath | None = None


@dataclass(frozen=True)
class Index:
    """A shard's lines: their `lengths` (bytes, without newline) and `kinds`; and, one per response,
    the hash of its group, and which of the format's alternatives says its group (`marks`). `steps`
    are the lowest and highest step of its responses, if they have any; `better` counts those with
    the format's better score."""

    lengths: LengthArray
    kinds: ByteArray
    groups: HashArray
    marks: ByteArray
    steps: tuple[float, float] | None
    better: int
    problems: Problems

    def count(self, *kinds: int) -> int:
        """How many lines are of these kinds."""
        return int(np.isin(self.kinds, kinds).sum())


def index_shard(task: IndexTask) -> Index:
    """Read every line of a shard, check it, and say which group it is of."""
    indexer = _Indexer(task)
    with ExitStack() as stack:
        stack.callback(indexer.close)
        text = stack.enter_context(task.text.open("wb")) if task.text else None
        if text:
            text.write(bytes(task.shard.first_offset))  # as in the file itself
        for block in read_blocks(task.shard):
            indexer.add_block(block)
            if text:
                text.write(block.text)
        return indexer.result()


class _Indexer:
    """What has been seen of a shard so far. A compressed file is one shard, so that is kept in
    arrays."""

    def __init__(self, task: IndexTask) -> None:
        self._task = task
        own = task.form.name == OWN
        self._reader = RolloutReader(task.form.score) if own else LineReader(task.form)
        self._log = ProblemLog(task.reasons)
        self._lines = 0
        self._lengths: list[LengthArray] = []
        self._kinds: list[ByteArray] = [np.zeros(0, np.uint8)]
        self._groups: list[HashArray] = [np.zeros(0, np.uint64)]
        self._steps: set[float] = set()
        self._marks: list[ByteArray] = [np.zeros(0, np.uint8)]
        self._better = 0

    def add_block(self, block: Block) -> None:
        columns, kinds = self._reader.read_block(block), np.full(len(block.ends), RESPONSE, "u1")
        reasons: dict[int, Reason] = {}
        here = np.arange(len(kinds))
        if columns is None:
            columns = self._read_apart(block, kinds, reasons)
            here = np.flatnonzero(kinds == RESPONSE)
        kinds[here] = self._take(columns, here, reasons)
        for position in sorted(reasons):
            self._log.add(self._lines + position, reasons[position])
        self._lines += len(kinds)
        self._kinds.append(kinds)
        self._lengths.append(compact_lengths(block.lengths))

    def _read_apart(self, block: Block, kinds: ByteArray, reasons: dict[int, Reason]) -> Columns:
        """The fields of each line that has them; says of the others what they are."""
        columns: dict[str, list[Any]] = {name: [] for name in self._reader.names}
        for position, line in enumerate(block.lines()):
            if is_blank(line):
                kinds[position] = BLANK
                continue
            try:
                fields = self._reader.read(line)
            except Malformed as error:
                kinds[position], reasons[position] = MALFORMED, error.reason
            else:
                for name, column in columns.items():
                    column.append(fields.get(name))
        return columns

    def _take(self, columns: Columns, here: IntArray, reasons: dict[int, Reason]) -> ByteArray:
        """Take in some lines, given where they stand; what each is."""
        form, count = self._task.form, len(here)
        kinds = np.full(count, RESPONSE, np.uint8)
        steps = column_at(columns, form.step, count)
        if not self._task.steps.all:
            kinds[[not self._task.steps.wanted(step) for step in steps]] = SKIPPED
        wrong = dict(wrong_prompts(form, columns, count)) | dict(wrong_scores(form, columns))
        groups, marks = self._group(columns, count)
        no_group = _no_group(form)
        wrong |= {int(i): no_group for i in np.flatnonzero(groups == NOTHING) if i not in wrong}
        wrong = {i: reason for i, reason in wrong.items() if kinds[i] == RESPONSE}
        kinds[list(wrong)] = MALFORMED
        reasons |= {int(here[i]): reason for i, reason in wrong.items()}
        taken = kinds == RESPONSE
        self._groups.append(groups[taken])
        self._marks.append(marks[taken])
        if form.step:
            self._steps |= set(_numbers(steps, taken))
        if form.better_score:
            better = column_at(columns, form.better_score, count)
            self._better += len(_numbers(better, taken))
        return kinds

    def _group(self, columns: Columns, count: int) -> tuple[HashArray, ByteArray]:
        """The hash of each line's group, NOTHING where nothing says which; and the alternative
        that says it."""
        form = self._task.form
        groups, marks = np.full(count, NOTHING, np.uint64), np.zeros(count, np.uint8)
        for number, places in enumerate(form.alternatives):
            found = [_without_empty(column_at(columns, place, count)) for place in places]
            if any(column.count(None) == count for column in found):
                continue
            found = [read_group(form, *part) for part in zip(places, found, strict=True)]
            hashes = [hash_column(column) for column in found]
            has = np.all([column != NOTHING for column in hashes], axis=0) & (groups == NOTHING)
            groups[has] = mix(hash_value(places), hashes)[has]
            marks[has] = number
            if (groups != NOTHING).all():
                break
        return groups, marks

    def result(self) -> Index:
        return Index(
            lengths=join_lengths(self._lengths),
            kinds=np.concatenate(self._kinds),
            groups=np.concatenate(self._groups),
            marks=np.concatenate(self._marks),
            steps=(min(self._steps), max(self._steps)) if self._steps else None,
            better=self._better,
            problems=self._log.problems,
        )

    def close(self) -> None:
        """End what is being written."""
        self._log.close()


def _numbers(column: list[Any], taken: BoolArray) -> list[float]:
    """The numbers, written ones too, in the lines that are taken."""
    if column.count(None) == len(column):
        return []
    values = column if taken.all() else [column[i] for i in np.flatnonzero(taken)]
    if not set(map(type, values)) <= {int, float}:
        values = [number for value in values if is_number(number := written_number(value))]
    return values


def _without_empty(column: list[Any]) -> list[Any]:
    """The values, None for an empty text or list: that says of no two lines that they belong
    together."""
    if any(empty in column for empty in EMPTY):
        return [None if value in EMPTY else value for value in column]
    return column


def read_group(form: Format, place: str, column: list[Any]) -> list[Any]:
    """What the values at a place say of the group."""
    return list(map(form.read_group[place], column)) if place in form.read_group else column


def wrong_scores(form: Format, columns: Columns) -> list[tuple[int, Reason]]:
    """The lines whose score is neither a number nor missing, with what is wrong."""
    scores = column_at(columns, form.score, 0) if form.name != OWN else []
    if form.plain_scores and set(map(type, scores)) <= _SCORES:
        return []
    wrong = []
    for i, score in enumerate(scores):
        if form.plain_scores and type(score) in _SCORES:
            continue
        try:
            value = score_of(form, {name: column[i] for name, column in columns.items()})
            if type(value) not in _SCORES:
                raise Malformed("a score is not a number", f"{form.score} is {describe(value)}")
        except Malformed as error:
            wrong.append((i, error.reason))
    return wrong


def wrong_prompts(form: Format, columns: Columns, count: int) -> Iterator[tuple[int, Reason]]:
    """The lines whose prompt has the answer in it, where that may be."""
    if form.whole_prompts:
        error = Malformed(
            "the prompt has the answer in it",
            f"{form.prompt} ends with an assistant turn; write it to a field of its own",
        )
        for i, prompt in enumerate(column_at(columns, form.prompt, count)):
            if ends_with_answer(prompt):
                yield i, error.reason


def score_of(form: Format, line: Fields) -> Any:
    """The score of a line as the dump means it: None where it is missing."""
    if form.failed and form.failed(line):
        return None
    score = find(line, form.score)
    if score is None or form.read_score is None or (form.plain_scores and is_number(score)):
        return score
    return form.read_score(score)


def _no_group(form: Format) -> Reason:
    wanted = "; ".join(" and ".join(places) for places in form.alternatives)
    return Malformed("nothing says which responses belong together", f"expected {wanted}").reason
