"""Lines → the values of their rows, checked.

Usual lines are decoded by msgspec, many at a time, and of their responses only the best one. Any
unusual line is read again in plain Python, which makes a row of it or says what is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from curriculum.reading.blocks import Block
from curriculum.reading.lines import (
    REFUSALS,
    Line,
    Malformed,
    Reason,
    SurrogateReplacer,
    decode_block,
    describe,
)
from curriculum.reading.prompts import Message, has_text, read_prompt, strip_answers
from curriculum.reading.rollouts import ScoreReader, best_indexes, key_text, read_rollout
from curriculum.verl.ground_truth import OTHER_IDS, as_string, read_ground_truth
from curriculum.verl.row_batch import Notes, RowBatch, Topic

NULL = msgspec.Raw(b"null")


@dataclass(frozen=True)
class ReadOptions:
    """Which fields go into a row, and the values of fields that a rollout lacks."""

    score_field: str
    best_response: bool
    ground_truth_format: str
    data_source: str
    keep_data_source: bool
    ability: str


class _Text(msgspec.Struct, gc=False):
    content: str | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Text | None = None
    text: str | None = None


class _Choices(msgspec.Struct, gc=False):
    choices: list[msgspec.Raw] | None = None


def _line_type(options: ReadOptions) -> type[Any]:
    """The type of a usual line. Fields that are not asked for are skipped."""
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
        self._lines: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_line_type(options))
        self._decode_messages = msgspec.json.Decoder(list[Message] | None).decode
        self._decode_choices = msgspec.json.Decoder(list[_Choice | None]).decode
        self._decode_texts = msgspec.json.Decoder(list[str | None]).decode
        self.notes: Notes = Counter()

    def read_block(self, block: Block) -> tuple[RowBatch, list[tuple[int, Reason]]]:
        """The rows of a block, and the position and reason of each line that is refused.

        What a line becomes depends on that line alone.
        """
        try:
            columns, unusual = self._try_usual(block)
        except REFUSALS:  # because of a score or a response in one of the lines
            return self._read_apart(block)
        parts, refused = [columns], []
        for position in unusual:
            try:
                parts.append(self._read_unusual(position, block.line(position)))
            except Malformed as error:  # noqa: PERF203, one bad line must not end the others
                refused.append((position, error.reason))
        if len(parts) > 1:
            columns = RowBatch.concatenate(parts)
            columns = columns.take(np.argsort(columns.positions).tolist())
        return columns, refused

    def _read_apart(self, block: Block) -> tuple[RowBatch, list[tuple[int, Reason]]]:
        """Like `read_block`, but line by line."""
        parts, refused = [], []
        for position, line in enumerate(block.lines()):
            try:
                try:
                    columns, unusual = self._try_usual(Block(bytearray(line), len(line)))
                    columns.positions = [position] * len(columns)
                except REFUSALS:
                    unusual = [0]
                parts.append(self._read_unusual(position, line) if unusual else columns)
            except Malformed as error:  # noqa: PERF203, one bad line must not end the others
                refused.append((position, error.reason))
        return RowBatch.concatenate(parts), refused

    def _try_usual(self, block: Block) -> tuple[RowBatch, list[int]]:
        """Like `_read_usual`, but if that raises, `notes` stay as they were."""
        notes = self.notes.copy()
        try:
            return self._read_usual(block)
        except REFUSALS:
            self.notes = notes
            raise

    def _read_usual(self, block: Block) -> tuple[RowBatch, list[int]]:
        """The rows of the usual lines, and the positions of the others."""
        rows = decode_block(self._lines, block)
        prompts = None if rows is None else self._plain_prompts(rows)
        if rows is None:
            rows = [self._decode(line) for line in block.lines()]
        positions, unusual = list(range(len(rows))), []
        if prompts is None:
            prompts = [self._usual_prompt(row) for row in rows]
            unusual = [position for position in positions if not prompts[position]]
            positions = [position for position in positions if prompts[position]]
            rows = [rows[position] for position in positions]
            prompts = [prompts[position] for position in positions]
        counts = [len(row.reward) for row in rows]
        scores = self._scores.read_entries([entry for row in rows for entry in row.reward])
        columns = RowBatch(
            positions=positions,
            scores=scores,
            counts=counts,
            prompts=prompts,
            ground_truths=self._ground_truths([row.ground_truth for row in rows]),
            keys=_key_texts([row.key for row in rows]),
            abilities=[row.ability or self._options.ability for row in rows],
            data_sources=self._data_sources(rows),
            extra_infos=[row.extra_info or {} for row in rows],
        )
        self._add_best_responses(rows, columns)
        return columns, unusual

    def _decode(self, line: Line) -> Any:
        try:
            return self._lines.decode(line)
        except REFUSALS:
            return None

    def _plain_prompts(self, rows: Sequence[Any]) -> list[list[Message]] | None:
        """The messages of each row; None if any row needs a closer look.

        No row does if each prompt is a list whose last message has text and no source is kept.
        """
        prompts = [row.prompt for row in rows]
        if self._options.keep_data_source or set(map(type, prompts)) != {list} or not all(prompts):
            return None
        last = [prompt[-1].content for prompt in prompts]
        return None if any(not text or text.isspace() for text in last) else prompts

    def _usual_prompt(self, row: Any) -> list[Message]:
        """The messages of a usual line; an empty list for any other line."""
        if row is None or not self._has_usual_source(row):
            return []
        prompt = row.prompt
        try:
            if not prompt:
                prompt = self._decode_messages(row.messages) or []
                strip_answers(prompt)
        except REFUSALS:
            return []
        if type(prompt) is str:
            prompt = [Message("user", prompt)]
        return prompt if has_text(prompt) else []

    def _has_usual_source(self, row: Any) -> bool:
        if not self._options.keep_data_source or row.data_source or not row.extra_info:
            return True
        return isinstance(row.extra_info.get("data_source"), (str, type(None)))

    def _data_sources(self, rows: Sequence[Any]) -> list[str]:
        if not self._options.keep_data_source:
            return [self._options.data_source] * len(rows)
        own = (row.data_source or (row.extra_info or {}).get("data_source") for row in rows)
        return [self._or_default_source(source) for source in own]

    def _or_default_source(self, own: str | None) -> str:
        if not own:
            self.notes[Topic.NO_DATA_SOURCE, ""] += 1
        return own or self._options.data_source

    def _add_best_responses(self, rows: Sequence[Any], columns: RowBatch) -> None:
        """Find the best response of each row; only its text is decoded."""
        if not self._options.best_response:
            columns.best_indexes = [-1] * len(rows)
            columns.best_contents = columns.best_rewards = [None] * len(rows)
            return
        best = best_indexes(columns.scores, columns.counts).tolist()
        rewards = [row.reward[i] if i >= 0 else NULL for row, i in zip(rows, best, strict=True)]
        # An entry comes from one line, so it holds no newline.
        texts: list[str | None] = [*b"\n".join(rewards).decode().split("\n")] if rewards else []
        contents = self._contents(rows, best, columns.counts)
        if -1 in best:
            texts = [text if i >= 0 else None for text, i in zip(texts, best, strict=True)]
        columns.best_indexes, columns.best_contents, columns.best_rewards = best, contents, texts
        absent = sum(text is None for text in contents) - best.count(-1)
        if absent:
            self.notes[Topic.NO_TEXT, ""] += absent

    def _contents(
        self, rows: Sequence[Any], best: Sequence[int], counts: Sequence[int]
    ) -> list[str | None]:
        """The text of each row's best response; None where there is none."""
        held: list[Any] = [
            row.response.choices if row.response is not None else None for row in rows
        ]
        texts: Sequence[str | None] = [None] * len(rows)
        if None not in held and [len(some) for some in held] == counts and -1 not in best:
            choices = [some[i] for some, i in zip(held, best, strict=True)]
        else:
            both = [self._held(row, i) for row, i in zip(rows, best, strict=True)]
            choices = [choice for choice, _ in both]
            texts = self._decode_texts(b"[%b]" % b",".join([text for _, text in both]))
        return [
            text if choice is None else choice.message.content if choice.message else choice.text
            for choice, text in zip(
                self._decode_choices(b"[%b]" % b",".join(choices)), texts, strict=True
            )
        ]

    def _held(self, row: Any, index: int) -> tuple[msgspec.Raw, msgspec.Raw]:
        """The bytes of one response, as a choice or as a text; the other is null, or both are."""
        choices = row.response.choices if row.response is not None else None
        held = row.responses if choices is None else choices
        if held is None:
            return NULL, NULL
        if len(held) != len(row.reward):
            self.notes[Topic.OTHER_COUNT, ""] += 1
        if not 0 <= index < len(held):
            return NULL, NULL
        return (NULL, held[index]) if choices is None else (held[index], NULL)

    def _ground_truths(self, values: list[Any]) -> list[Any]:
        absent = values.count(None)
        if absent:
            self.notes[Topic.NO_TRUTH, ""] += absent
        if self._options.ground_truth_format == "string":
            return [as_string(value) for value in values]
        if set(map(type, values)) == {str} and OTHER_IDS not in "\0".join(values):
            return values
        replace_surrogates = SurrogateReplacer()
        keys: Counter[str] = Counter()
        read = []
        for value in values:
            if type(value) is str and OTHER_IDS not in value:
                read.append(value)
            else:
                replace_surrogates.happened = False
                read.append(read_ground_truth(value, replace_surrogates, keys))
                if replace_surrogates.happened:
                    self.notes[Topic.SURROGATES, ""] += 1
        for key, count in keys.items():
            self.notes[Topic.TRUTH_KEY, key] += count
        return read

    def _read_unusual(self, position: int, line: Line) -> RowBatch:
        """The row of one line, read in plain Python. Raises Malformed."""
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
        if rollout.replaced:
            self.notes[Topic.SURROGATES, ""] += 1
        if rollout.best is not None and rollout.best.content is None:
            self.notes[Topic.NO_TEXT, ""] += 1
        if rollout.response_count not in (None, len(rollout.scores)):
            self.notes[Topic.OTHER_COUNT, ""] += 1
        best = rollout.best
        return RowBatch(
            positions=[position],
            scores=np.array(rollout.scores, dtype=np.float64),
            counts=[len(rollout.scores)],
            prompts=[prompt],
            ground_truths=self._ground_truths([given["ground_truth"]]),
            keys=[key_text(given["key"])],
            abilities=[ability],
            data_sources=[source],
            extra_infos=[extra_info or {}],
            best_indexes=[best.index if best else -1],
            best_contents=[best.content if best else None],
            best_rewards=[best.reward if best else None],
        )


def _own_source(given: Mapping[str, Any]) -> str | None:
    """A rollout's own data_source, or else that of its extra_info. Raises Malformed."""
    own = _string("data_source", given["data_source"])
    inner = (given["extra_info"] or {}).get("data_source")
    return own or _string("extra_info.data_source", inner)


def _string(name: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    raise Malformed(f"{name} is not a string", f"it is {describe(value)}")


def _key_texts(keys: list[Any]) -> list[str | None]:
    return keys if set(map(type, keys)) == {str} else list(map(key_text, keys))
