"""Lines → the values of their rows, checked; both passes of preprocessing read lines this way.

Usual lines are decoded by msgspec, many at a time, and of their responses only the best one. Any
line that is unusual is read again in plain Python, which either makes a row of it or says what is
wrong. What a row leaves out or replaces is counted, never silent.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, TypeAlias

import msgspec

from curriculum.ground_truth import OTHER_IDS, as_string, read_ground_truth
from curriculum.prompts import Message, has_text, read_prompt, strip_answers
from curriculum.rollouts import (
    REFUSALS,
    Line,
    Malformed,
    Mender,
    Response,
    Score,
    ScoreReader,
    best_index,
    describe,
    read_rollout,
)


class Topic(Enum):
    """What is counted while rows are read, each in rollouts unless it says otherwise."""

    MESSAGE_KEY = "message keys other than role and content, by key"
    TRUTH_KEY = "ground truth keys beyond instruction ids and kwargs, by key"
    NO_TRUTH = "without a ground truth"
    NO_DATA_SOURCE = "without a data_source of their own"
    NO_TEXT = "whose best response has no text"
    OTHER_COUNT = "with another number of responses than of rewards"
    MENDED = "with a lone surrogate in a field that is read"


NULL = msgspec.Raw(b"null")
Notes: TypeAlias = "Counter[tuple[Topic, str]]"


@dataclass(frozen=True)
class ReadOptions:
    """Which fields become part of a row, and the values for those a rollout lacks."""

    score_field: str
    best_response: bool
    ground_truth_format: str
    data_source: str
    keep_data_source: bool
    ability: str


@dataclass
class Columns:
    """The values of some rows, one list per field, in the order of their lines.

    `positions` are those of the lines among the lines read; `best` is None without a score.
    """

    positions: list[int] = field(default_factory=list)
    scores: list[list[Score]] = field(default_factory=list)
    prompts: list[list[Message]] = field(default_factory=list)
    ground_truths: list[Any] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    abilities: list[str] = field(default_factory=list)
    data_sources: list[str] = field(default_factory=list)
    extra_infos: list[dict[str, Any]] = field(default_factory=list)
    best: list[Response | None] = field(default_factory=list)

    def take(self, rows: Sequence[int]) -> Columns:
        """The rows with these numbers, in this order."""
        return Columns(**{
            column.name: [getattr(self, column.name)[row] for row in rows]
            for column in fields(self)
        })  # fmt: skip


class _Text(msgspec.Struct, gc=False):
    content: str | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Text | None = None
    text: str | None = None


class _Choices(msgspec.Struct, gc=False):
    choices: list[msgspec.Raw] | None = None


def _line_type(options: ReadOptions) -> type[Any]:
    """A usual line; what is not asked for is not looked at."""
    names: list[Any] = [
        ("reward", list[msgspec.Raw]),
        ("prompt", list[Message] | str | None, None),
        ("messages", msgspec.Raw, NULL),
        ("ground_truth", Any, None),
        ("key", Any, None),
        ("ability", str | None, None),
        ("extra_info", dict[str, Any] | None, None),
    ]
    if options.keep_data_source:
        names.append(("data_source", str | None, None))
    if options.best_response:
        names.append(("response", _Choices | None, None))
        names.append(("responses", list[msgspec.Raw] | None, None))
    return msgspec.defstruct("Line", names, gc=False)


class RowReader:
    """Reads rows; `notes` counts by topic what was left out or replaced."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._scores = ScoreReader(options.score_field)
        self._decode: Any = msgspec.json.Decoder(_line_type(options)).decode
        self._decode_messages = msgspec.json.Decoder(list[Message] | None).decode
        self._decode_choices = msgspec.json.Decoder(list[_Choice | None]).decode
        self._decode_texts = msgspec.json.Decoder(list[str | None]).decode
        self.notes: Notes = Counter()

    def read_lines(self, lines: Sequence[Line]) -> tuple[Columns, list[tuple[int, Malformed]]]:
        """The rows of the lines, and the lines that make none, by position, with the reason."""
        notes = self.notes.copy()
        try:
            columns, unusual = self._read_usual(lines)
        except REFUSALS:  # a score or a response inside one of them: read each line for itself
            columns, unusual = Columns(), list(range(len(lines)))
            self.notes = notes
        refused: list[tuple[int, Malformed]] = []
        for position in unusual:
            try:
                self._read_unusual(position, lines[position], columns)
            except Malformed as error:  # noqa: PERF203, one bad line must not end the others
                refused.append((position, error))
        if unusual:
            order = sorted(range(len(columns.positions)), key=columns.positions.__getitem__)
            columns = columns.take(order)
        return columns, refused

    def _read_usual(self, lines: Sequence[Line]) -> tuple[Columns, list[int]]:
        """The rows of the usual lines, and the positions of the others."""
        rows, unusual = [], []
        columns = Columns()
        decode = self._decode
        for position, line in enumerate(lines):
            try:
                row = decode(line)
                prompt = self._usual_prompt(row)
            except REFUSALS:
                prompt = None
            if prompt is None or not self._has_usual_source(row):
                unusual.append(position)
                continue
            rows.append(row)
            columns.positions.append(position)
            columns.prompts.append(prompt)
        flat = self._scores.read_entries([entry for row in rows for entry in row.reward])
        start = 0
        for row in rows:
            columns.scores.append(flat[start : start + len(row.reward)])
            start += len(row.reward)
        columns.best = self._best_responses(rows, columns.scores)
        columns.ground_truths = self._ground_truths([row.ground_truth for row in rows])
        columns.keys = [row.key if type(row.key) is str else _key_text(row.key) for row in rows]
        columns.abilities = [row.ability or self._options.ability for row in rows]
        columns.extra_infos = [row.extra_info or {} for row in rows]
        columns.data_sources = [self._data_source(row) for row in rows]
        return columns, unusual

    def _usual_prompt(self, row: Any) -> list[Message] | None:
        """The messages of a usual prompt; None for another. Raises what msgspec raises."""
        prompt = row.prompt
        if not prompt:
            prompt = self._decode_messages(row.messages) or []
            strip_answers(prompt)
        elif type(prompt) is str:
            prompt = [Message("user", prompt)]
        return prompt if has_text(prompt) else None

    def _has_usual_source(self, row: Any) -> bool:
        if not self._options.keep_data_source or row.data_source or not row.extra_info:
            return True
        return isinstance(row.extra_info.get("data_source"), (str, type(None)))

    def _data_source(self, row: Any) -> str:
        if not self._options.keep_data_source:
            return self._options.data_source
        own = row.data_source or (row.extra_info or {}).get("data_source")
        return self._or_default_source(own)

    def _or_default_source(self, own: str | None) -> str:
        if not own:
            self.notes[Topic.NO_DATA_SOURCE, ""] += 1
        return own or self._options.data_source

    def _best_responses(
        self, rows: Sequence[Any], scores: Sequence[list[Score]]
    ) -> list[Response | None]:
        """The best response of each row; only its text is decoded."""
        if not self._options.best_response:
            return [None] * len(rows)
        # A list's own max and index are fast, but know nothing of missing scores.
        indexes = [
            some.index(max(some)) if some and None not in some else best_index(some)  # type: ignore[type-var]
            for some in scores
        ]
        held = [self._held(row, index) for row, index in zip(rows, indexes, strict=True)]
        choices = [choice for choice, _ in held]
        texts = [text for _, text in held]
        best: list[Response | None] = []
        for row, index, choice, text in zip(
            rows,
            indexes,
            self._decode_choices(b"[%b]" % b",".join(choices)),
            self._decode_texts(b"[%b]" % b",".join(texts)),
            strict=True,
        ):
            if index is None:
                best.append(None)
                continue
            content = text
            if choice is not None:
                content = choice.message.content if choice.message else choice.text
            if content is None:
                self.notes[Topic.NO_TEXT, ""] += 1
            best.append(Response(index, content, str(row.reward[index], "utf-8")))
        return best

    def _held(self, row: Any, index: int | None) -> tuple[msgspec.Raw, msgspec.Raw]:
        """The bytes of one response, as a choice and as a text; null where it is not that."""
        choices = row.response.choices if row.response is not None else None
        held = row.responses if choices is None else choices
        if held is None:
            return NULL, NULL
        if len(held) != len(row.reward):
            self.notes[Topic.OTHER_COUNT, ""] += 1
        if index is None or index >= len(held):
            return NULL, NULL
        return (NULL, held[index]) if choices is None else (held[index], NULL)

    def _ground_truths(self, values: list[Any]) -> list[Any]:
        absent = values.count(None)
        if absent:
            self.notes[Topic.NO_TRUTH, ""] += absent
        if self._options.ground_truth_format == "string":
            return [as_string(value) for value in values]
        mender = Mender()
        keys: Counter[str] = Counter()
        read = []
        for value in values:
            if type(value) is str and OTHER_IDS not in value:
                read.append(value)
            else:
                mender.happened = False
                read.append(read_ground_truth(value, mender, keys))
                if mender.happened:
                    self.notes[Topic.MENDED, ""] += 1
        for key, count in keys.items():
            self.notes[Topic.TRUTH_KEY, key] += count
        return read

    def _read_unusual(self, position: int, line: Line, columns: Columns) -> None:
        """Add the row of one line, read in plain Python. Raises Malformed."""
        options = self._options
        rollout = read_rollout(line, self._scores, options.best_response)
        given, keys = rollout.fields, Counter[str]()
        prompt = read_prompt(given, keys)
        extra_info = given["extra_info"]
        if extra_info is not None and not isinstance(extra_info, dict):
            raise Malformed("extra_info is not an object", f"it is {describe(extra_info)}")
        ability = _string("ability", given["ability"]) or options.ability
        source = options.data_source
        if options.keep_data_source:
            source = self._or_default_source(_own_source(given))
        for key, count in keys.items():
            self.notes[Topic.MESSAGE_KEY, key] += count
        if rollout.mended:
            self.notes[Topic.MENDED, ""] += 1
        if rollout.best is not None and rollout.best.content is None:
            self.notes[Topic.NO_TEXT, ""] += 1
        if rollout.response_count not in (None, len(rollout.scores)):
            self.notes[Topic.OTHER_COUNT, ""] += 1
        columns.positions.append(position)
        columns.scores.append(rollout.scores)
        columns.prompts.append(prompt)
        columns.ground_truths += self._ground_truths([given["ground_truth"]])
        columns.keys.append(_key_text(given["key"]))
        columns.abilities.append(ability)
        columns.data_sources.append(source)
        columns.extra_infos.append(extra_info or {})
        columns.best.append(rollout.best)


def _own_source(given: Mapping[str, Any]) -> str | None:
    """A rollout's own data_source, its extra_info's if it has none. Raises Malformed."""
    own = _string("data_source", given["data_source"])
    inner = (given["extra_info"] or {}).get("data_source")
    return own or _string("extra_info.data_source", inner)


def _string(name: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    raise Malformed(f"{name} is not a string", f"it is {describe(value)}")


def _key_text(key: Any) -> str | None:
    if key is None or isinstance(key, str):
        return key
    return json.dumps(key, ensure_ascii=False)
