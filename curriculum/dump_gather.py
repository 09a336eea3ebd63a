"""Dumps, second pass: the lines of a rollout's responses, read again from their places → one line.

A value that passes into the rollout unchanged does so byte for byte. What is written is in our own
form and has every field of the dump.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from curriculum.arrays import IntArray, LengthArray, PlaceArray
from curriculum.dump_index import EMPTY, score_of
from curriculum.dump_values import Fields, Reader, find
from curriculum.errors import InternalError
from curriculum.formats import OWN, SEVERAL_PROMPTS, SEVERAL_TRUTHS, Disagreement, Format
from curriculum.inputs import InputFile, changed, check_unchanged
from curriculum.merge import merge
from curriculum.raw_json import (
    NULL,
    Raw,
    Text,
    as_json,
    as_text,
    from_json,
    json_list,
    json_name,
    json_object,
    raw_fields,
    raw_items,
    starts_with,
    two_that_differ,
)
from curriculum.rollouts import REFUSALS

FILES_OPEN = 64

Column: TypeAlias = list[Raw | None]
Columns: TypeAlias = dict[str, Column]  # what each line of a group has, by field


@dataclass(frozen=True)
class GatherTask:
    """Rollouts to put together, and where to write them.

    `files` are those of the dump that have these lines, `paths` says where the text of each is. Of
    each line, group by group, there is its number in the dump, the number of its file, its place
    and its bytes; `counts` is how many lines each rollout has.
    """

    form: Format
    files: Sequence[InputFile]
    paths: Sequence[str]
    responses: PlaceArray
    numbers: IntArray
    offsets: IntArray
    lengths: LengthArray
    counts: IntArray
    output: Path


@dataclass(frozen=True)
class Found:
    """What the lines of a task show: those that disagree, and which two, by the first of their
    group (all are numbers in the dump); how many prompts were left unread; and how many rollouts
    have several prompts where they may."""

    refused: dict[int, tuple[str, int, int]]
    unread_prompts: int
    several_prompts: int


def gather_rollouts(task: GatherTask) -> Found:
    """Write the rollouts of a task, one a line, in their order, but those whose lines disagree.
    Raises InputError if a file changed."""
    lines, assembler = _read_lines(task), Assembler(task.form)
    assemble: Callable[[Sequence[bytes]], bytes] = assembler
    if task.form.name == OWN:
        assemble = partial(merge, score_field=task.form.score)
    refused: dict[int, tuple[str, int, int]] = {}
    first = 0
    with task.output.open("wb") as output:
        for count in task.counts.tolist():
            some = list(islice(lines, count))
            try:
                output.write(assemble(some))
            except Disagreement as error:
                numbers = task.responses[first : first + count].tolist()
                one, other = error.pair
                refused[numbers[0]] = (error.kind, numbers[one], numbers[other])
            except (*REFUSALS, ValueError, InternalError):
                check_unchanged(task.files)  # every line was readable the first time
                raise
            first += count
    return Found(refused, assembler.unread, assembler.several_prompts)


def _read_lines(task: GatherTask) -> Iterator[bytes]:
    """The lines in their order; those that follow one another in a file are read at once."""
    lengths, offsets = task.lengths.astype(np.int64), task.offsets
    goes_on = offsets[1:] == offsets[:-1] + lengths[:-1] + 1
    goes_on &= task.numbers[1:] == task.numbers[:-1]
    first = np.flatnonzero(np.append(True, ~goes_on))
    counts = np.diff(first, append=len(lengths))
    last = first + counts - 1
    sizes = offsets[last] + lengths[last] - offsets[first]
    columns = (task.numbers[first], offsets[first], sizes, counts)
    left = iter(lengths.tolist())
    with _Files(task.paths) as files:
        for number, offset, size, count in zip(*(c.tolist() for c in columns), strict=True):
            text, start = files.read(number, offset, size), 0
            if len(text) != size:
                raise changed(task.files[number])
            for length in islice(left, count):
                yield text[start : start + length]
                start += length + 1


class _Files:
    """Files to read from in any order, of which a few are open at a time."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._open: dict[int, BinaryIO] = {}

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *error: object) -> None:
        for stream in self._open.values():
            stream.close()

    def read(self, number: int, offset: int, size: int) -> bytes:
        """What stands at a place of a file; less where the file ends before."""
        if number not in self._open:
            if len(self._open) == FILES_OPEN:
                self._open.pop(next(iter(self._open))).close()
            self._open[number] = Path(self._paths[number]).open("rb")  # noqa: SIM115, closed above
        stream = self._open[number]
        stream.seek(offset)
        return stream.read(size)


class Assembler:
    """Puts the lines of a group together; counts the prompts that stayed text, and the rollouts
    with several prompts where they may have them."""

    def __init__(self, form: Format) -> None:
        self._form, self.unread, self.several_prompts = form, 0, 0
        self._of_score = _tops([form.score, *form.status])

    def __call__(self, lines: Sequence[bytes]) -> bytes:
        """One rollout of the lines of a group, in input order: its line, with a newline.

        Every field of the lines is in it: what all lines share stands beside `reward`, anything
        else in the reward entry of its response, as `source_score` where it is named score. What
        stands in our form as it is, is not there twice. Prompt and ground truth are those of the
        first line that has them. Raises Disagreement where they differ.
        """
        form, columns = self._form, _columns([raw_fields(line) for line in lines])
        key = self._key(columns)
        self._check(columns)
        prompt = _first(columns, form.prompt, form.read_prompt)
        if form.system:
            prompt = _with_system(_first(columns, form.system, None), prompt)
        self.unread += form.unread is not None and starts_with(prompt, b'"')
        truth = _first(columns, form.ground_truth, None)
        scores = self._scores(columns, len(lines))
        messages = _messages(form, columns, len(lines))
        shared: dict[str, Raw] = {}
        own: dict[str, Column] = {"score": scores}
        for name, column in columns.items():
            value = next(filter(None, column), None)
            if value is None:
                continue
            same = column.count(value)
            if name in _LEADING or (same == len(lines) and name not in _TAKEN):
                shared[name] = value
            if same == len(lines) and name in shared:
                continue
            free = name
            while free == "score" or (free != name and free in columns):
                free = f"source_{free}"
            own[free] = column
        choices = [part for text in messages for part in (b',{"message":', text, b"}")]
        choices[:1] = [b'{"message":']
        return b"".join((
            b'{"key":', key, b',"prompt":', prompt, b',"response":{"choices":[', *choices,
            b']},"reward":', json_list(_entries(own, len(lines))), b',"ground_truth":', truth,
            *(part for name, raw in shared.items() for part in (b",", json_name(name), raw)),
            b"}\n",
        ))  # fmt: skip

    def _key(self, columns: Columns) -> Raw:
        """The id of a group, as JSON text where it has several parts; null where only the prompt
        is one. Raises InternalError where the lines are not of one group."""
        form = self._form
        for places in form.alternatives:
            parts = [_distinct(columns, place) for place in places]
            if form.read_group:
                parts[0] = list(map(form.read_group, parts[0]))
            if any(part[0] is None or part[0] in EMPTY for part in parts):
                continue
            if any(part.count(part[0]) != len(part) for part in parts):
                raise InternalError(f"two groups have one hash: {places} are {parts}")
            if form.prompt in places:
                return NULL
            values = [part[0] for part in parts]
            return as_json(values[0] if len(values) == 1 else as_text(values))
        raise InternalError("a group has no mark")

    def _check(self, columns: Columns) -> None:
        """Raises Disagreement where the lines have several ground truths, or prompts."""
        form = self._form
        for place, kind in ((form.ground_truth, SEVERAL_TRUTHS), (form.prompt, SEVERAL_PROMPTS)):
            column = columns.get(place.split(".")[0]) if place else None
            if not place or not column or column.count(column[0]) == len(column):
                continue  # as nearly always
            pair = two_that_differ(_distinct(columns, place))
            if pair and kind == SEVERAL_PROMPTS and form.prompts_vary:
                self.several_prompts += 1
            elif pair:
                raise Disagreement(kind, pair)

    def _scores(self, columns: Columns, count: int) -> Column:
        """The score of each line; takes those out of `columns` that are what stands there."""
        form, given = self._form, columns.get(self._form.score, [None])
        if form.failed is None and all(raw and starts_with(raw, _PLAIN) for raw in given):
            return columns.pop(form.score)
        scores: Column = []
        for i in range(count):
            line = _decoded(columns, i, self._of_score)
            score, raw = score_of(form, line), columns.get(form.score, [None] * count)[i]
            if raw and score is line[form.score]:
                scores.append(raw)
                columns[form.score][i] = None
            else:
                scores.append(as_json(score))
        return scores


_PLAIN = b"-0123456789tfnNI"  # how a number, true, false and null begin

# Fields of our own form, which a dump's field of that name must not become.
_TAKEN = frozenset(
    {"prompt", "messages", "response", "responses", "reward", "ground_truth", "key", "num"}
)


# Fields that the second script reads: where they differ, the first one counts for the rollout.
_LEADING = frozenset({"ability", "data_source", "extra_info"})


def _with_system(system: Raw, prompt: Raw) -> Raw:
    """A prompt with the system message before it, if there is one."""
    text, given = from_json(system), from_json(prompt)
    if not isinstance(text, str) or not text:
        return prompt
    messages = given if isinstance(given, list) else [{"role": "user", "content": given}]
    return as_json([{"role": "system", "content": text}, *messages])


def _columns(raws: Sequence[dict[str, Raw]]) -> Columns:
    """By field what each line has there, None where it has none."""
    names = raws[0]
    if any(raw.keys() != names.keys() for raw in raws):
        names = {name: value for raw in raws for name, value in raw.items()}
    return {name: [raw.get(name) for raw in raws] for name in names}


def _distinct(columns: Columns, place: str) -> list[Any]:
    """What stands at a place of each line; once where all lines have the same there."""
    top, dot, rest = place.partition(".")
    column = columns.get(top, [None])
    if column.count(column[0]) == len(column):
        column = column[:1]
    values = [None if raw is None else from_json(raw) for raw in column]
    return [find(value, rest) for value in values] if dot else values


def _tops(places: Iterable[str]) -> tuple[str, ...]:
    """The fields of a line that places are in."""
    return tuple({place.split(".")[0]: None for place in places})


def _decoded(columns: Columns, line: int, names: Sequence[str]) -> Fields:
    """Some fields of a line."""
    found = {name: columns[name][line] for name in names if name in columns}
    return {name: from_json(raw) for name, raw in found.items() if raw}


def _first(columns: Columns, place: str | None, read: Reader | None) -> Raw:
    """What stands at a place of the first line that has something there, as ours; takes what is
    the same out of `columns`."""
    top, dot, rest = (place or "").partition(".")
    column = columns.get(top, [])
    for raw in column:
        if raw is None or raw == NULL:
            continue
        if dot or read:
            given = from_json(raw)
            given = find(given, rest) if dot else given
            own = read(given) if read else given
            if given is None:
                continue
            if dot or own is not given:
                return as_json(own)
        columns[top] = [None if other == raw else other for other in column]
        return raw
    return NULL


def _messages(form: Format, columns: Columns, count: int) -> list[Text]:
    """The message of each response; takes those out of `columns` that say all that stands there."""
    top, dot, rest = (form.response or "").partition(".")
    column = columns.get(top, [None] * count)
    if not dot and form.read_response is None:
        columns.pop(top, None)
        return [b'{"content":%b}' % (raw or NULL) for raw in column]
    messages: list[Text] = []
    for i, raw in enumerate(column):
        given = from_json(raw or NULL)
        given = find(given, rest) if dot else given
        own = form.read_response(given) if form.read_response else given
        is_message = isinstance(own, dict)
        text = own if isinstance(own, str) else None
        held = raw and not dot and (given == [own] if is_message else text is given)
        if raw and held and is_message:
            messages.append(raw_items(raw)[0])
        else:
            messages.append(as_json(own if is_message else {"content": text}))
        if held:
            column[i] = None
    return messages


def _entries(own: dict[str, Column], count: int) -> list[bytes]:
    """The reward entry of each response: what it has of these fields."""
    if all(all(column) for column in own.values()):
        rows = zip(*own.values(), strict=True)
        return [json_object(zip(own, row, strict=True)) for row in rows]
    return [
        json_object((name, raw) for name, column in own.items() if (raw := column[i]))
        for i in range(count)
    ]
