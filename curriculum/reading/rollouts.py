"""Rollouts → their scores, their best response and the fields that a row takes, checked.

Usual lines are decoded many at a time, and only the fields asked for. A line is malformed only if
msgspec and Python's `json` both refuse it, or if a field has the wrong type.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np

from curriculum.arrays import FloatArray, HashArray, IntArray
from curriculum.reading.blocks import Block
from curriculum.reading.lines import (
    REFUSALS,
    Line,
    Malformed,
    Reason,
    SurrogateReplacer,
    decode_block,
    describe,
    describe_fields,
    find,
    load_object,
    shorten,
)
from curriculum.reading.prompts import Turn, hash_texts, read_turns

Raw: TypeAlias = msgspec.Raw | bytes
NULL = msgspec.Raw(b"null")
Score: TypeAlias = float | bool | None  # None, NaN and ±Infinity are missing scores

# Kinds of malformed lines.
NO_REWARD = 'no "reward"'
REWARD_NO_LIST = "reward is not a list"


@dataclass(frozen=True, slots=True)
class ReadScores:
    """The scores of some lines.

    `flat` holds all scores, not finite where missing, and `counts` is how many each rollout has.
    `prompts` has a hash of each rollout's prompt. `refused` lists the position and the reason of
    lines that are not rollouts. `keys` holds each rollout's key, if keys are read.
    """

    flat: FloatArray
    counts: list[int]
    prompts: HashArray
    refused: list[tuple[int, Reason]]
    keys: list[str | None]


class _UnusualLine(NamedTuple):
    """What is read of a line that msgspec refuses; `prompt`, `messages` and `key` are JSON."""

    reward: list[Score]
    prompt: bytes
    messages: bytes
    key: bytes


class ScoreReader:
    """Reads the scores, from `reward[i].<score_field>` or `reward[i]` itself, and a hash of the
    prompt. Whatever a prompt is, it makes no line malformed.

    Set `with_keys` to read each rollout's key too.
    """

    def __init__(self, score_field: str, with_keys: bool = False) -> None:
        self._field = score_field
        self._with_keys = with_keys
        self._entry = msgspec.defstruct(
            "Entry", [("score", Score, None)], rename={"score": score_field}, gc=False
        )
        entries = list[self._entry | Score]  # type: ignore[name-defined]
        fields: list[Any] = [("reward", entries), ("messages", msgspec.Raw, NULL)]
        if with_keys:  # undecoded: a key that is not UTF-8 makes no line malformed
            fields.append(("key", msgspec.Raw, NULL))
        usual = [*fields, ("prompt", list[Turn] | str | None, None)]
        other = [*fields, ("prompt", msgspec.Raw, NULL)]
        self._decoders: list[msgspec.json.Decoder[Any]] = [
            msgspec.json.Decoder(msgspec.defstruct("Line", names, gc=False))
            for names in (usual, other)
        ]
        self._decode_entries: Callable[[bytes], Any] = msgspec.json.Decoder(entries).decode

    def read_block(self, block: Block) -> ReadScores:
        """The scores of all lines in a block."""
        for decoder in self._decoders:
            rollouts = decode_block(decoder, block)
            if rollouts is not None:
                return self._read(rollouts, [])
        return self._read_apart(block.lines())

    def _read_apart(self, lines: Sequence[Line]) -> ReadScores:
        """Like `read_block`, but line by line."""
        rollouts: list[Any] = []
        refused: list[tuple[int, Reason]] = []
        for position, line in enumerate(lines):
            try:
                rollouts.append(self._read_line(line))
            except Malformed as error:  # noqa: PERF203, one bad line must not end the others
                refused.append((position, error.reason))
        return self._read(rollouts, refused)

    def _read_line(self, line: Line) -> Any:
        for decoder in self._decoders:
            try:
                return decoder.decode(line)
            except REFUSALS:  # noqa: PERF203
                pass
        loaded = load_object(line)
        others = (json.dumps(loaded.get(name)).encode() for name in ("prompt", "messages", "key"))
        return _UnusualLine(self.check(loaded), *others)

    def _read(self, rollouts: Sequence[Any], refused: list[tuple[int, Reason]]) -> ReadScores:
        rewards = [rollout.reward for rollout in rollouts]
        prompts = [rollout.prompt for rollout in rollouts]
        if not all(map(_is_usual, prompts)):
            prompts = [_prompt(rollout) for rollout in rollouts]
        keys = [_key_text(rollout.key) for rollout in rollouts] if self._with_keys else []
        counts = list(map(len, rewards))
        return ReadScores(self._flatten(rewards), counts, hash_texts(prompts), refused, keys)

    def read_entries(self, entries: Sequence[msgspec.Raw]) -> FloatArray:
        """The scores of undecoded reward entries, not finite where missing. May raise REFUSALS."""
        return self._flatten([self._decode_entries(b"[%b]" % b",".join(entries))])

    def _flatten(self, rewards: list[list[Any]]) -> FloatArray:
        try:
            flat = [entry.score for reward in rewards for entry in reward]
        except AttributeError:  # some are plain numbers
            flat = self._take([entry for reward in rewards for entry in reward])
        return np.array(flat, dtype=np.float64)

    def check(self, rollout: dict[str, Any]) -> list[Score]:
        """The scores of a decoded line. Raises Malformed, which names the wrong entry."""
        return check_reward(rollout, self._field)

    def _take(self, entries: list[Any]) -> list[Score]:
        kind: Any = self._entry
        return [entry.score if type(entry) is kind else entry for entry in entries]


def key_text(key: object) -> str | None:
    """A rollout's key as text: as JSON if it is not a string. None stays None."""
    if key is None or isinstance(key, str):
        return key
    return json.dumps(key, ensure_ascii=False)


def _key_text(raw: Raw) -> str | None:
    return key_text(SurrogateReplacer()(_load(raw)))


def _is_usual(prompt: Any) -> bool:
    """Whether a prompt is decoded, and not empty."""
    return bool(prompt) and type(prompt) in (list, str)


def _prompt(rollout: Any) -> Sequence[Turn] | str | None:
    """The prompt of a decoded line; None without one."""
    prompt = rollout.prompt
    if _is_usual(prompt):
        usual: Sequence[Turn] | str = prompt
        return usual
    return read_turns(_load(prompt) if prompt else None, _load(rollout.messages))


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


@dataclass(frozen=True, slots=True)
class Rollout:
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
    line: Line, reader: ScoreReader, with_best_response: bool, places: Mapping[str, str]
) -> Rollout:
    """Read one line with Python's `json`, which takes all that Python writes. `places` says where
    fields are that are not where their name says. Raises Malformed."""
    rollout = load_object(line)
    scores = reader.check(rollout)
    replace_surrogates = SurrogateReplacer()
    best, count = None, None
    if with_best_response:
        texts = response_texts(rollout)
        count = None if texts is None else len(texts)
        index = best_index(scores)
        if index is not None:
            content = None
            if texts is not None and index < len(texts):
                content = _text(*texts[index])
            entry = json.dumps(_finite(rollout["reward"][index]), ensure_ascii=False)
            best = Response(index, replace_surrogates(content), replace_surrogates(entry))
    given = {name: find(rollout, place) for name, place in places.items()}
    fields = {
        name: replace_surrogates(given[name] if name in given else rollout.get(name))
        for name in FIELDS
    }
    return Rollout(scores, fields, best, count, replace_surrogates.happened, rollout)


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


def best_indexes(scores: FloatArray, counts: Sequence[int]) -> IntArray:
    """`best_index` of many rollouts, -1 for None; `counts` is how many of the `scores` each has."""
    best = np.full(len(counts), -1, dtype=np.int64)
    present = np.flatnonzero(np.isfinite(scores))
    if not len(present):
        return best
    rows = np.repeat(np.arange(len(counts)), counts)[present]
    first = _run_starts(rows)
    highest = np.maximum.reduceat(scores[present], first)
    is_highest = scores[present] == np.repeat(highest, np.diff(first, append=len(rows)))
    present, rows = present[is_highest], rows[is_highest]
    first = _run_starts(rows)
    starts = np.cumsum(counts) - counts
    best[rows[first]] = present[first] - starts[rows[first]]
    return best


def _run_starts(rows: IntArray) -> IntArray:
    """Where each run of equal numbers starts."""
    return np.flatnonzero(np.append(True, rows[1:] != rows[:-1]))


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
