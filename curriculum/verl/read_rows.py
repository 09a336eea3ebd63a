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
from curriculum.reading.chat_templates import may_hold_template
from curriculum.reading.lines import (
    REFUSALS,
    Line,
    Malformed,
    Reason,
    decode_block,
    describe,
    load_object,
)
from curriculum.reading.prompts import (
    Message,
    PromptNotes,
    has_text,
    read_prompt,
    settle_messages,
)
from curriculum.reading.rollouts import (
    NULL,
    Rollout,
    ScoreReader,
    best_indexes,
    key_text,
    read_rollout,
)
from curriculum.verl.ground_truth import read_ground_truths
from curriculum.verl.line_fields import (
    LIKELY_TRUTHS,
    Choice,
    LineFields,
    Places,
    likely_places,
    own_truth,
)
from curriculum.verl.row_batch import Notes, RowBatch, Topic

LOOKED_AT = 20  # rows without a ground truth, per shard


@dataclass(frozen=True)
class ReadOptions:
    """Which fields go into a row, where they are, and the values of those that a rollout lacks."""

    places: Places
    score_field: str
    best_response: bool
    ground_truth_format: str
    data_source: str
    keep_data_source: bool
    ability: str


class RowReader:
    """Reads rows; `notes` counts by topic what was left out or replaced."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._scores = ScoreReader(options.score_field)
        self._fields = LineFields(options.places, options.keep_data_source, options.best_response)
        self._lines: msgspec.json.Decoder[Any] = msgspec.json.Decoder(self._fields.type)
        self._decode_messages = msgspec.json.Decoder(list[Message] | None).decode
        self._decode_choices = msgspec.json.Decoder(list[Choice | None]).decode
        self._decode_texts = msgspec.json.Decoder(list[str | None]).decode
        self._looked_at = 0
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
            prompts = self._usual_prompts(rows)
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
            ground_truths=self._ground_truths(self._fields.ground_truths(rows)),
            keys=_key_texts([row.key for row in rows]),
            abilities=[row.ability or self._options.ability for row in rows],
            data_sources=self._data_sources(rows),
            extra_infos=[row.extra_info or {} for row in rows],
        )
        self._add_best_responses(rows, columns)
        self._look_for_truths(block, columns)
        return columns, unusual

    def _decode(self, line: Line) -> Any:
        try:
            return self._lines.decode(line)
        except REFUSALS:
            return None

    def _plain_prompts(self, rows: Sequence[Any]) -> list[list[Message]] | None:
        """The messages of each row; None if any row needs a closer look.

        No row does if each prompt is a list whose last message has text and is not the assistant's,
        none can be a chat template, and no source is kept.
        """
        if self._options.keep_data_source or not self._fields.any_usual:
            return None
        prompts = self._fields.prompts(rows)
        if set(map(type, prompts)) != {list} or not all(prompts):
            return None
        if type(prompts[0][-1]) is not Message:
            return None
        last = [prompt[-1] for prompt in prompts]
        if any(not m.content or m.content.isspace() or m.role == "assistant" for m in last):
            return None
        texts = "\0".join([message.content for prompt in prompts for message in prompt])
        return None if may_hold_template(texts) else prompts

    def _usual_prompts(self, rows: Sequence[Any]) -> list[list[Message]]:
        """The messages of each usual line; an empty list for any other line."""
        if not self._fields.any_usual:
            return [[] for _ in rows]
        usual = [row is not None and self._has_usual_source(row) for row in rows]
        given = iter(self._fields.prompts([row for row in rows if row is not None]))
        prompts = [None if row is None else next(given) for row in rows]
        return [
            self._usual_prompt(row, prompt) if good else []
            for row, prompt, good in zip(rows, prompts, usual, strict=True)
        ]

    def _usual_prompt(self, row: Any, prompt: Any) -> list[Message]:
        if not prompt and self._options.places.prompt in (None, "messages"):
            try:
                prompt = self._decode_messages(row.messages) or []
            except REFUSALS:
                return []
        if type(prompt) is str:
            prompt = [Message("user", prompt)]
        if type(prompt) is not list or not all(type(message) is Message for message in prompt):
            return []
        found: PromptNotes = Counter()
        asked = settle_messages(prompt, found)
        if not has_text(asked):
            return []
        self.notes.update(found)
        return asked

    def _has_usual_source(self, row: Any) -> bool:
        if not self._options.keep_data_source or row.data_source or not row.extra_info:
            return True
        return isinstance(row.extra_info.get("data_source"), (str, type(None)))

    def _data_sources(self, rows: Sequence[Any]) -> list[str]:
        own = [row.data_source or (row.extra_info or {}).get("data_source") for row in rows]
        return self._keep_sources(own)

    def _keep_sources(self, own: Sequence[Any]) -> list[str]:
        """The data_source of each row. Those that rollouts have are counted, kept or not."""
        for source, count in Counter(filter(_is_name, own)).items():
            self.notes[Topic.OWN_DATA_SOURCE, source] += count
        if not self._options.keep_data_source:
            return [self._options.data_source] * len(own)
        absent = len(own) - sum(map(bool, own))
        if absent:
            self.notes[Topic.NO_DATA_SOURCE, ""] += absent
        return [source or self._options.data_source for source in own]

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
        return read_ground_truths(values, self._options.ground_truth_format, self.notes)

    def _look_for_truths(self, block: Block, rows: RowBatch) -> None:
        """Count in the first rows without a ground truth the fields that may well hold it."""
        if None not in rows.ground_truths:
            return
        for position, truth in zip(rows.positions, rows.ground_truths, strict=True):
            if truth is None and self._looked_at < LOOKED_AT:
                try:
                    self._note_likely_truths(load_object(block.line(position)))
                except Malformed:  # in a field that no row takes
                    self._looked_at += 1

    def _note_likely_truths(self, line: Any) -> None:
        self._looked_at += 1
        for place in likely_places(LIKELY_TRUTHS, line):
            self.notes[Topic.LIKELY_TRUTH, place] += 1

    def _read_unusual(self, position: int, line: Line) -> RowBatch:
        """The row of one line, read in plain Python. Raises Malformed."""
        options = self._options
        rollout = read_rollout(line, self._scores, options.best_response, self._where())
        given = rollout.fields
        found: PromptNotes = Counter()
        prompt = self._read_prompt(rollout, found)
        extra_info = given["extra_info"]
        if extra_info is not None and not isinstance(extra_info, dict):
            raise Malformed("extra_info is not an object", f"it is {describe(extra_info)}")
        ability = _string("ability", given["ability"]) or options.ability
        (source,) = self._keep_sources([self._own_source(given)])
        self.notes.update(found)
        if rollout.replaced:
            self.notes[Topic.SURROGATES, ""] += 1
        if rollout.best is not None and rollout.best.content is None:
            self.notes[Topic.NO_TEXT, ""] += 1
        if rollout.response_count not in (None, len(rollout.scores)):
            self.notes[Topic.OTHER_COUNT, ""] += 1
        truth = given["ground_truth"]
        if options.places.ground_truth is None:
            truth = own_truth(truth, given["reward_model"])
        if truth is None and self._looked_at < LOOKED_AT:
            self._note_likely_truths(rollout.line)
        best = rollout.best
        return RowBatch(
            positions=[position],
            scores=np.array(rollout.scores, dtype=np.float64),
            counts=[len(rollout.scores)],
            prompts=[prompt],
            ground_truths=self._ground_truths([truth]),
            keys=[key_text(given["key"])],
            abilities=[ability],
            data_sources=[source],
            extra_infos=[extra_info or {}],
            best_indexes=[best.index if best else -1],
            best_contents=[best.content if best else None],
            best_rewards=[best.reward if best else None],
        )

    def _own_source(self, given: Mapping[str, Any]) -> Any:
        """A rollout's own data_source, or else that of its extra_info. Raises Malformed if it is
        to be kept and is no string."""
        own, inner = given["data_source"], (given["extra_info"] or {}).get("data_source")
        if not self._options.keep_data_source:
            return own or inner
        return _string("data_source", own) or _string("extra_info.data_source", inner)

    def _where(self) -> dict[str, str]:
        """The fields that are not where their name says."""
        places = self._options.places
        where = {"prompt": places.prompt, "ground_truth": places.ground_truth}
        return {name: place for name, place in where.items() if place is not None}

    def _read_prompt(self, rollout: Rollout, notes: PromptNotes) -> list[Message]:
        """The messages of a rollout's prompt. Raises Malformed."""
        place, fields = self._options.places.prompt, rollout.fields
        if place == "messages":
            fields = {**fields, "prompt": None}
        elif place is not None:
            fields = {**fields, "messages": None}
        return read_prompt(fields, notes)


def _is_name(source: Any) -> bool:
    return isinstance(source, str) and bool(source)


def _string(name: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    raise Malformed(f"{name} is not a string", f"it is {describe(value)}")


def _key_texts(keys: list[Any]) -> list[str | None]:
    return keys if set(map(type, keys)) == {str} else list(map(key_text, keys))
