"""Rollouts → their scores, their best response and the fields that a row takes, checked.

Lines are scanned, and those that the scanner declines are decoded one by one. A line is malformed
only if msgspec and Python's `json` both refuse it, or if a field has the wrong type.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
from msgspec.structs import replace

from curriculum.arrays import FloatArray, HashArray, IntArray, LengthArray, take_runs
from curriculum.choosing.groups import NO_GROUPS, Groups
from curriculum.messages.hashes import Turn, hash_texts
from curriculum.reading.blocks import Block
from curriculum.reading.lines import (
    REFUSALS,
    Line,
    Malformed,
    Reason,
    SurrogateReplacer,
    describe,
    describe_fields,
    find,
    load_object,
    shorten,
)
from curriculum.reading.prompts import has_other_parts, read_turns
from curriculum.scanner.columns import Column, Kind
from curriculum.scanner.score_lines import ScoreLines, scan_scores

Raw: TypeAlias = msgspec.Raw | bytes
NULL = msgspec.Raw(b"null")
NONE = np.zeros(0, np.int64)
Score: TypeAlias = float | bool | None  # None, NaN and ±Infinity are missing scores

# Kinds of malformed lines.
NO_REWARD = 'no "reward"'
REWARD_NO_LIST = "reward is not a list"


class ReadScores(msgspec.Struct, frozen=True):
    """The scores of some lines.

    `flat` holds all scores, not finite where missing, and `counts` is how many each rollout has.
    `prompts` has a hash of each rollout's prompt. `refused` lists the position and the reason of
    lines that are not rollouts. `keys` holds each rollout's key, if keys are read. `other_parts`
    are the numbers of the rollouts whose prompt holds parts that are not text. `groups` are those
    of a field, if one is read for it.
    """

    flat: FloatArray
    counts: IntArray
    prompts: HashArray
    refused: list[tuple[int, Reason]]
    keys: list[str | None]
    other_parts: IntArray
    groups: Groups = NO_GROUPS

    @staticmethod
    def join(parts: Sequence[ReadScores]) -> ReadScores:
        """What was read of the rollouts of all parts, none of which refused a line."""
        starts = np.cumsum([0, *(len(part.counts) for part in parts)])[:-1].tolist()
        others = [part.other_parts + start for part, start in zip(parts, starts, strict=True)]
        return ReadScores(
            flat=np.concatenate([np.zeros(0), *(part.flat for part in parts)]),
            counts=np.concatenate([NONE, *(part.counts for part in parts)]),
            prompts=np.concatenate([np.zeros(0, np.uint64), *(part.prompts for part in parts)]),
            refused=[],
            keys=[key for part in parts for key in part.keys],
            other_parts=np.concatenate([NONE, *others]),
            groups=Groups.join([part.groups for part in parts]),
        )

    def take(self, order: IntArray) -> ReadScores:
        """The rollouts with these numbers, in this order."""
        return ReadScores(
            flat=take_runs(self.flat, self.counts, order),
            counts=self.counts[order],
            prompts=self.prompts[order],
            refused=self.refused,
            keys=[self.keys[i] for i in order.tolist()] if self.keys else [],
            other_parts=np.flatnonzero(np.isin(order, self.other_parts)),
            groups=self.groups.some(order) if len(self.groups.codes) else self.groups,
        )


class KnownRollouts(msgspec.Struct, frozen=True):
    """The rollouts of a file of nothing else, whose scores need not be read again: the length of
    each line, without its newline, and what ScoreReader would find."""

    lengths: LengthArray
    scores: ReadScores


class _Line(NamedTuple):
    """What is read of a line; all but the scores is JSON."""

    reward: list[Score]
    prompt: Raw
    messages: Raw
    value: Raw


class ScoreReader:
    """Reads the scores, from `reward[i].<score_field>` or `reward[i]` itself, and a hash of the
    prompt. Whatever a prompt is, it makes no line malformed.

    Lines are scanned where that is possible. Set `with_keys` to read each rollout's key too, or
    name a field whose values are groups of rollouts, `group_field`, but not both.
    """

    def __init__(
        self, score_field: str, with_keys: bool = False, group_field: str | None = None
    ) -> None:
        self._field = score_field
        self._with_keys = with_keys
        self._name = "key" if with_keys else group_field  # of a field that is read as well
        self._entry = msgspec.defstruct(
            "Entry", [("score", Score, None)], rename={"score": score_field}, gc=False
        )
        entries = list[self._entry | Score]  # type: ignore[name-defined]
        # Undecoded: a prompt or a key that is not UTF-8 makes no line malformed.
        names = ("prompt", "messages", *(["value"] if self._name else []))
        line = msgspec.defstruct(
            "Line",
            [("reward", entries), *((name, msgspec.Raw, NULL) for name in names)],
            rename={"value": self._name} if self._name else None,
            gc=False,
        )
        self._decode: Callable[[Line], Any] = msgspec.json.Decoder(line).decode

    def read_block(self, block: Block) -> ReadScores:
        """The scores of all lines in a block."""
        scanned = scan_scores(block.buffer, block.size, self._field, self._name)
        if scanned is None:
            return self._read_lines(block, range(len(block.ends)))
        block.found_ends = scanned.ends
        read = self._of_scanned(scanned)
        if not len(scanned.declined):
            return read
        return _merge(scanned, read, self._read_lines(block, scanned.declined.tolist()))

    def _of_scanned(self, scanned: ScoreLines) -> ReadScores:
        """The scores of the lines that were scanned; a prompt of parts is declined."""
        keys = _scanned_keys(scanned.values) if self._with_keys else []
        groups = _scanned_groups(scanned.values) if self._groups_wanted else NO_GROUPS
        return ReadScores(scanned.flat, scanned.counts, scanned.prompts, [], keys, NONE, groups)

    def _read_lines(self, block: Block, positions: Sequence[int]) -> ReadScores:
        """The scores of the lines at these positions, read in Python."""
        rewards: list[list[Score]] = []
        prompts: list[list[Turn]] = []
        keys: list[str | None] = []
        groups: list[Any] = []
        refused: list[tuple[int, Reason]] = []
        for position in positions:
            try:
                line = self._read_line(block.line(position))
            except Malformed as error:
                refused.append((position, error.reason))
                continue
            rewards.append(line.reward)
            prompts.append(_read_turns(line))
            if self._with_keys:
                keys.append(_key_text(line.value))
            if self._groups_wanted:
                groups.append(_load(line.value))
        flat = np.array([score for reward in rewards for score in reward], np.float64)
        counts = np.array(list(map(len, rewards)), np.int64)
        others = np.flatnonzero(list(map(has_other_parts, prompts)))
        hashes = hash_texts(prompts)
        return ReadScores(flat, counts, hashes, refused, keys, others, Groups.of(groups))

    def _read_line(self, line: Line) -> _Line:
        """Read one line. Raises Malformed."""
        try:
            found = self._decode(line)
        except REFUSALS:
            loaded = load_object(line)
            names = ("prompt", "messages", self._name or "")
            others = [json.dumps(loaded.get(name)).encode() for name in names]
            return _Line(check_reward(loaded, self._field), *others)
        value = found.value if self._name else NULL
        return _Line(self._scores(found.reward), found.prompt, found.messages, value)

    @property
    def _groups_wanted(self) -> bool:
        return self._name is not None and not self._with_keys

    def _scores(self, entries: list[Any]) -> list[Score]:
        kind: Any = self._entry
        return [entry.score if type(entry) is kind else entry for entry in entries]


class _Calls(msgspec.Struct, gc=False):
    """The tool calls of a message, undecoded."""

    tool_calls: msgspec.Raw = NULL


_decode_calls = msgspec.json.Decoder(list[_Calls]).decode


def _read_turns(line: _Line) -> list[Turn]:
    """What a line asks, its tool calls as they stand in the line."""
    turns = read_turns(_load(line.prompt), partial(_load, line.messages))
    if all(turn.calls is None for turn in turns):  # nearly always
        return turns
    try:
        messages = _decode_calls(line.prompt) if bytes(line.prompt).startswith(b"[") else []
        messages = messages or _decode_calls(line.messages)
    except REFUSALS:
        return turns
    return [
        turn if turn.calls is None else turn._replace(calls=bytes(message.tool_calls))
        for turn, message in zip(turns, messages, strict=False)
    ]


def _scanned_keys(column: Column) -> list[str | None]:
    """The keys of scanned lines; none if they were not asked for."""
    return [_scanned_key(column, row, kind) for row, kind in enumerate(column.kinds.tolist())]


def _scanned_key(column: Column, row: int, kind: int) -> str | None:
    if kind == Kind.STRING:
        return column.json(row).decode()
    if kind > Kind.STRING:
        return _key_text(column.json(row))
    return {Kind.FALSE: "false", Kind.TRUE: "true"}.get(Kind(kind))


def _scanned_groups(column: Column) -> Groups:
    """The groups of scanned lines."""
    if not column.kinds.any():  # nearly always
        return Groups(np.full(len(column.kinds), Groups.NONE, np.int8))
    found = [(kind, column.json(row)) for row, kind in enumerate(column.kinds.tolist())]
    values = {pair: _value(*pair) for pair in {*found}}
    return Groups.of([values[pair] for pair in found])


def _value(kind: int, text: bytes) -> Any:
    """A scanned value; `text` is that of a string, or the JSON of a number, list or object."""
    if kind == Kind.STRING:
        return text.decode()
    if kind > Kind.STRING:
        return _load(text)
    return {Kind.FALSE: False, Kind.TRUE: True}.get(Kind(kind))


def _merge(scanned: ScoreLines, read: ReadScores, others: ReadScores) -> ReadScores:
    """The scores of the lines that were scanned and of those that were declined, in their order."""
    malformed = [position for position, _ in others.refused]
    declined = np.setdiff1d(scanned.declined, np.array(malformed, np.int64))
    positions = np.append(np.delete(np.arange(len(scanned.ends)), scanned.declined), declined)
    every = ReadScores.join([read, others])
    return replace(every, refused=others.refused).take(np.argsort(positions))


def key_text(key: object) -> str | None:
    """A rollout's key as text: as JSON if it is not a string. None stays None."""
    if key is None or isinstance(key, str):
        return key
    return json.dumps(key, ensure_ascii=False)


def _key_text(raw: Raw) -> str | None:
    """A key as text: as it stands in the line if it is nested too deep."""
    try:
        return key_text(SurrogateReplacer(raw)(_load(raw)))
    except (Malformed, RecursionError):
        return bytes(raw).decode("utf-8", "replace")


def _load(raw: Raw) -> Any:
    """The value of undecoded bytes; their text, if they are nothing else."""
    try:
        return msgspec.json.decode(raw)
    except REFUSALS:
        text = bytes(raw).decode("utf-8", "replace")
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return text


def check_reward(rollout: dict[str, Any], score_field: str) -> list[Score]:
    """The scores of a decoded line. Raises Malformed, which names the wrong entry."""
    if "reward" not in rollout:
        raise Malformed(NO_REWARD, f"it has {shorten(describe_fields(rollout), 200)}")
    reward = rollout["reward"]
    if not isinstance(reward, list):
        raise Malformed(REWARD_NO_LIST, f"it is {describe(reward)}")
    return [_check_entry(f"reward[{i}]", entry, score_field) for i, entry in enumerate(reward)]


def _check_entry(where: str, entry: object, score_field: str) -> Score:
    if isinstance(entry, dict):
        where += f".{score_field}"
        entry = entry.get(score_field)
    if entry is None or isinstance(entry, (bool, float)):
        return entry
    if isinstance(entry, int):
        try:
            return float(entry)
        except OverflowError:  # too large for a double: infinite, as json reads 1e400
            return float("inf")
    raise Malformed("a score is not a number", f"{where} is {describe(entry)}, expected a number")


class Response(msgspec.Struct, frozen=True, gc=False):
    """One response of a rollout: its index, its text (or None) and its reward entry as JSON."""

    index: int
    content: str | None
    reward: str


class Rollout(msgspec.Struct, frozen=True):
    """What preprocessing reads from a line. `fields` holds the values of FIELDS, unchecked; `line`
    is all of it.

    `replaced` is true if lone surrogates were replaced.
    """

    scores: list[Score]
    fields: dict[str, Any]
    best: Response | None
    response_count: int | None
    replaced: bool
    line: dict[str, Any]


FIELDS = (
    "prompt", "messages", "ground_truth", "reward_model", "key", "ability", "data_source",
    "extra_info",
)  # fmt: skip


def read_rollout(
    line: Line, score_field: str, with_best_response: bool, places: Mapping[str, str]
) -> Rollout:
    """Read one line with Python's `json`, which takes all that Python writes. `places` says where
    fields are that are not where their name says. Raises Malformed."""
    rollout = load_object(line)
    scores = check_reward(rollout, score_field)
    replace_surrogates = SurrogateReplacer(line)
    best, count = None, None
    if with_best_response:
        texts = response_texts(rollout)
        count = None if texts is None else len(texts)
        index = best_index(scores)
        if index is not None:
            content = None
            if texts is not None and index < len(texts):
                content = _text(*texts[index])
            entry = _entry_text(line, rollout, index)
            best = Response(index, replace_surrogates(content), replace_surrogates(entry))
    given = {name: find(rollout, place) for name, place in places.items()}
    fields = {
        name: replace_surrogates(given[name] if name in given else rollout.get(name))
        for name in FIELDS
    }
    return Rollout(scores, fields, best, count, replace_surrogates.happened, rollout)


class _Entries(msgspec.Struct, gc=False):
    reward: list[msgspec.Raw]


_decode_entries = msgspec.json.Decoder(_Entries).decode


def _entry_text(line: Line, rollout: dict[str, Any], index: int) -> str:
    """A reward entry as it stands in the line, if all of the line is strict JSON; otherwise it is
    written again, with null for NaN and ±Infinity."""
    try:
        return bytes(_decode_entries(line).reward[index]).decode()
    except REFUSALS:
        return json.dumps(_finite(rollout["reward"][index]), ensure_ascii=False)


def _finite(value: Any) -> Any:
    """The value with None for NaN and ±Infinity, which JSON lacks."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value


def best_index(scores: Sequence[Score]) -> int | None:
    """The index of the first response with the highest score; None if all scores are missing."""
    best: int | None = None
    highest = float("-inf")
    for index, score in enumerate(scores):
        if score is not None and math.isfinite(score) and highest < score:
            best, highest = index, score
    return best


def _text(where: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise Malformed("a response is not text", f"{where} is {describe(value)}, expected a string")


def response_texts(rollout: dict[str, Any]) -> list[tuple[str, Any]] | None:
    """The path and the value of each response's text; None if the line has no responses. Raises
    Malformed if they are not where responses are."""
    response = rollout.get("response")
    if response is not None and not isinstance(response, dict):
        raise Malformed(
            "response is not an object",
            f"it is {describe(response)}, expected {{choices: […]}}; a list of strings is "
            "named responses",
        )
    choices = (response or {}).get("choices")
    if choices is not None:
        _check_list("response.choices", choices)
        return [_choice_text(i, choice) for i, choice in enumerate(choices)]
    responses = rollout.get("responses")
    if responses is None:
        return None
    _check_list("responses", responses)
    return [(f"responses[{i}]", text) for i, text in enumerate(responses)]


def _check_list(where: str, value: object) -> None:
    if not isinstance(value, list):
        raise Malformed(f"{where} is not a list", f"it is {describe(value)}")


def _choice_text(index: int, choice: object) -> tuple[str, Any]:
    where = f"response.choices[{index}]"
    message = choice.get("message") if isinstance(choice, dict) else choice
    if isinstance(message, dict):
        return f"{where}.message.content", message.get("content")
    if isinstance(choice, dict) and message is None:
        return f"{where}.text", choice.get("text")
    return where, message
