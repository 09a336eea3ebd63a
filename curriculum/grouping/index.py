"""First pass over a dump: the lines of a shard → the kind of each line and the group of each
response.

Only numbers are kept of a response: where it starts, and a hash of what identifies its group.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import numpy as np

from curriculum.arrays import BoolArray, ByteArray, HashArray, IntArray
from curriculum.dumps.formats import EMPTY, OWN, Format, Steps, end_of, read_group, score_of
from curriculum.dumps.values import (
    Fields,
    is_number,
    top,
    tops,
    within,
    written_number,
)
from curriculum.grouping.json_values import NOTHING, from_json, hash_column, hash_value, mix
from curriculum.grouping.merge import RolloutReader
from curriculum.reading.blocks import Block, is_utf8, read_blocks
from curriculum.reading.input_files import Shard
from curriculum.reading.ledger import BLANK, MALFORMED, SKIPPED, TAKEN, LineRecorder, ShardLines
from curriculum.reading.lines import (
    REFUSALS,
    TOO_DEEP,
    Line,
    Malformed,
    Reason,
    decode_block,
    describe,
    invalid_utf8,
    is_blank,
    load_object,
)
from curriculum.storage.paths import AnyPath

_SCORES = {float, int, bool, type(None)}
FieldColumns: TypeAlias = Mapping[str, list[Any]]  # by field, its value in each of some lines


@dataclass(frozen=True)
class IndexTask:
    """A shard of a dump, its format, and the steps wanted.

    The reasons for malformed lines go to `reasons` (None: nowhere). The text of a compressed file
    goes to `text`, because its lines are read again one by one.
    """

    shard: Shard
    form: Format
    steps: Steps
    reasons: AnyPath | None = None
    text: AnyPath | None = None


@dataclass(frozen=True)
class Index:
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
        try:
            self._add_block(block, self._reader.read_block(block))
        except RecursionError:  # a prompt is nested as deep as Python can read, or deeper
            self._add_block(block, None, measure=True)

    def _add_block(self, block: Block, columns: FieldColumns | None, measure: bool = False) -> None:
        """Record a block, whose lines are read one by one without its `columns`."""
        kinds, reasons = np.full(len(block.ends), TAKEN, "u1"), dict[int, Reason]()
        here = np.arange(len(kinds))
        if columns is None:
            columns = self._read_apart(block, kinds, reasons, measure)
            here = np.flatnonzero(kinds == TAKEN)
        kinds[here] = self._take(columns, here, reasons)
        self._recorder.add(block, kinds, reasons)

    def _read_apart(
        self, block: Block, kinds: ByteArray, reasons: dict[int, Reason], measure: bool
    ) -> FieldColumns:
        """The fields of each valid line; the other lines go into `kinds` and `reasons`. With
        `measure`, those nested too deep are among them."""
        columns: dict[str, list[Any]] = {name: [] for name in self._reader.names}
        for position, line in enumerate(block.lines()):
            if is_blank(line):
                kinds[position] = BLANK
                continue
            try:
                fields = self._reader.read(line)
                if measure:
                    fields = {name: _measured(value) for name, value in fields.items()}
            except Malformed as error:
                kinds[position], reasons[position] = MALFORMED, error.reason
            else:
                for name, column in columns.items():
                    column.append(fields.get(name))
        return columns

    def _take(self, columns: FieldColumns, here: IntArray, reasons: dict[int, Reason]) -> ByteArray:
        """Record the lines at the positions `here` of a block; return their kinds."""
        form, count = self._task.form, len(here)
        kinds = np.full(count, TAKEN, np.uint8)
        steps = column_at(columns, form.step, count)
        if not self._task.steps.all:
            kinds[[not self._task.steps.wanted(step) for step in steps]] = SKIPPED
        wrong = dict(wrong_scores(form, columns))
        groups, marks = self._group(columns, count)
        no_group = _no_group(form)
        wrong |= {int(i): no_group for i in np.flatnonzero(groups == NOTHING) if i not in wrong}
        wrong = {i: reason for i, reason in wrong.items() if kinds[i] == TAKEN}
        kinds[list(wrong)] = MALFORMED
        reasons |= {int(here[i]): reason for i, reason in wrong.items()}
        taken = kinds == TAKEN
        self._groups.append(groups[taken])
        self._marks.append(marks[taken])
        if form.step:
            self._steps |= set(_numbers(steps, taken))
        if form.better_score:
            better = column_at(columns, form.better_score, count)
            self._better += len(_numbers(better, taken))
        return kinds

    def _group(self, columns: FieldColumns, count: int) -> tuple[HashArray, ByteArray]:
        """The hash of each line's group, NOTHING if it has none, and which alternative identifies
        the group."""
        form = self._task.form
        groups, marks = np.full(count, NOTHING, np.uint64), np.zeros(count, np.uint8)
        for number, places in enumerate(form.alternatives):
            found = [column_at(columns, place, count) for place in places]
            if any(column.count(None) == count for column in found):
                continue
            found = [read_group(form, *part) for part in zip(places, found, strict=True)]
            hashes = [hash_column(_without_empty(column)) for column in found]
            has = np.all([column != NOTHING for column in hashes], axis=0) & (groups == NOTHING)
            groups[has] = mix(hash_value(places), hashes)[has]
            marks[has] = number
            if (groups != NOTHING).all():
                break
        return groups, marks

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


def _numbers(column: list[Any], taken: BoolArray) -> list[float]:
    """The numbers in the taken lines, including those written as strings."""
    if column.count(None) == len(column):
        return []
    values = column if taken.all() else [column[i] for i in np.flatnonzero(taken)]
    if not set(map(type, values)) <= {int, float}:
        values = [number for value in values if is_number(number := written_number(value))]
    return values


def _without_empty(column: list[Any]) -> list[Any]:
    """The values, with None for empty ones, which do not identify a group."""
    if any(empty in column for empty in EMPTY):
        return [None if value in EMPTY else value for value in column]
    return column


def wrong_scores(form: Format, columns: FieldColumns) -> list[tuple[int, Reason]]:
    """The lines whose score is neither a number nor missing, with the reason."""
    scores = column_at(columns, form.score, 0) if form.name != OWN else []
    if form.plain_scores and set(map(type, scores)) <= _SCORES:
        return []
    wrong = []
    for i, score in enumerate(scores):
        if form.plain_scores and type(score) in _SCORES:
            continue
        try:
            line = {name: column[i] for name, column in columns.items()}
            value = score_of(form, line, end_of(form, line))
            if type(value) not in _SCORES:
                raise Malformed("a score is not a number", f"{form.score} is {describe(value)}")
        except Malformed as error:
            wrong.append((i, error.reason))
    return wrong


def _no_group(form: Format) -> Reason:
    wanted = "; ".join(" and ".join(places) for places in form.alternatives)
    return Malformed("nothing says which responses belong together", f"expected {wanted}").reason


class LineReader:
    """Reads the fields of a dump's lines that the index needs. A prompt, which may be long, is
    decoded only when it is used."""

    def __init__(self, form: Format) -> None:
        self._form = form
        places = [form.score, form.better_score, form.step, *form.status]
        places += [place for group in form.alternatives for place in group]
        read = set(tops(place for place in places if place != form.prompt))
        self.names = tuple(sorted({*read, *tops([form.prompt]), *form.marks}))
        self._ids = tuple(f"f{i}" for i in range(len(self.names)))
        fields = [
            (name, Any if top in read else msgspec.Raw, msgspec.UNSET)
            for name, top in zip(self._ids, self.names, strict=True)
        ]
        rename = dict(zip(self._ids, self.names, strict=True))
        kind = msgspec.defstruct("Line", fields, rename=rename, gc=False)
        self._lines: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind)

    def read_block(self, block: Block) -> FieldColumns | None:
        """Read all lines at once; None if they must be read one by one."""
        rows = decode_block(self._lines, block) if is_utf8(block) else None
        if rows is None:
            return None
        columns = {
            top: [getattr(row, name) for row in rows]
            for name, top in zip(self._ids, self.names, strict=True)
        }
        if any(msgspec.UNSET in columns[mark] for mark in self._form.marks):
            return None
        return {name: _without_unset(column) for name, column in columns.items()}

    def read(self, line: Line) -> Fields:
        """Read one line. Raises Malformed."""
        try:
            str(line, "utf-8")
            row = self._lines.decode(line)
        except UnicodeDecodeError as error:
            raise invalid_utf8(error) from error
        except REFUSALS:
            fields = load_object(line)
        else:
            values = (getattr(row, name) for name in self._ids)
            pairs = zip(self.names, values, strict=True)
            fields = {name: value for name, value in pairs if value is not msgspec.UNSET}
        for name in sorted(self._form.marks.difference(fields)):
            raise Malformed(f"no {name}", f"expected in every line ({self._form.title})")
        return fields


def _without_unset(column: list[Any]) -> list[Any]:
    if msgspec.UNSET in column:
        return [None if value is msgspec.UNSET else value for value in column]
    return column


def column_at(columns: FieldColumns, place: str | None, count: int) -> list[Any]:
    """The value at a place in each of `count` lines, None where there is none."""
    if place is None:
        return [None] * count
    column = columns[top(place)]
    if msgspec.Raw in set(map(type, column)):
        column = [from_json(v) if isinstance(v, msgspec.Raw) else v for v in column]
    return [within(value, place) for value in column] if "." in place else column
