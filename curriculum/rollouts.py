"""One line → the fields asked for, or what is wrong with it.

Lines are decoded by msgspec, which skips the fields nobody asked for. A line that msgspec refuses
gets a second opinion from Python's `json`, which takes NaN, Infinity and lone surrogates; only a
line that both refuse, or whose fields have the wrong type, is malformed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np

from curriculum.arrays import FloatArray, IntArray
from curriculum.blocks import Block

Line: TypeAlias = bytes | memoryview  # without its newline
Score: TypeAlias = float | bool | None  # None, NaN and ±Infinity all are a missing score

# Kinds of malformed lines.
NO_REWARD = 'no "reward"'
REWARD_NO_LIST = "reward is not a list"

# What msgspec raises for a line that it does not take.
REFUSALS = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


class Reason(NamedTuple):
    """What is wrong with a line, as it is kept: an exception would keep alive all that was at
    hand when it was raised."""

    kind: str
    text: str


class Malformed(ValueError):
    """A line that is not a rollout. `kind` groups reasons; the text is the whole reason."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind

    @property
    def reason(self) -> Reason:
        """What is to be kept of it."""
        return Reason(self.kind, str(self))


def is_blank(line: Line) -> bool:
    """Whether the line holds only space, tab and CR."""
    return not bytes(line).strip(b" \t\r")


def invalid_utf8(error: UnicodeDecodeError) -> Malformed:
    """What is wrong with a line that is not UTF-8."""
    return Malformed("invalid UTF-8", f"byte {error.start} of the line")


def load_object(line: Line) -> dict[str, Any]:
    """The line as Python's `json` reads it. Raises Malformed."""
    try:
        value = json.loads(bytes(line).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise invalid_utf8(error) from error
    except RecursionError as error:
        raise Malformed("nested too deep") from error
    except json.JSONDecodeError as error:
        nul = bytes(line).find(b"\0")
        if nul >= 0:
            raise Malformed(
                "NUL bytes", f"byte {nul} of the line; a crash or a full disk leaves them"
            ) from error
        raise Malformed("not valid JSON", f"{error.msg} (column {error.colno})") from error
    except ValueError as error:  # an integer of thousands of digits
        raise Malformed("not valid JSON", str(error)) from error
    if not isinstance(value, dict):
        raise Malformed("not a JSON object", f"the line is {describe(value)}")
    return value


def describe(value: object) -> str:
    """A JSON value as a message shows it: scalars as they are, the rest by their kind."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 40 else f"{text[:36]}…{text[-1]}"


def decode_block(decoder: msgspec.json.Decoder[Any], block: Block) -> list[Any] | None:
    """Every line of a block decoded at once, or None where each must be looked at for itself.

    msgspec takes objects wherever they stand, one over two lines or two on one line. Where objects
    and lines are as many, and no line ends inside an object, each line is one object.
    """
    if not block.parts_objects():
        return None
    try:
        decoded = decoder.decode_lines(block.text)
    except REFUSALS:
        return None
    return decoded if len(decoded) == len(block.ends) else None


@dataclass(frozen=True, slots=True)
class ReadScores:
    """The scores of some lines one after another (`flat`, NaN where missing), how many each
    rollout has, and the lines that are no rollouts, by position, with what is wrong; and each
    rollout's key, if keys are read."""

    flat: FloatArray
    counts: list[int]
    refused: list[tuple[int, Reason]]
    keys: list[str | None]


class ScoreReader:
    """Reads nothing but the scores, from `reward[i].<score_field>` or `reward[i]` itself, and
    `with_keys` each rollout's key."""

    def __init__(self, score_field: str, with_keys: bool = False) -> None:
        self._field = score_field
        self._with_keys = with_keys
        self._entry = msgspec.defstruct(
            "Entry", [("score", Score, None)], rename={"score": score_field}, gc=False
        )
        entries = list[self._entry | Score]  # type: ignore[name-defined]
        fields: list[Any] = [("reward", entries)]
        if with_keys:  # as it stands: what is not UTF-8 there makes no line malformed
            fields.append(("key", msgspec.Raw, msgspec.Raw(b"null")))
        line = msgspec.defstruct("Line", fields, gc=False)
        self._lines: msgspec.json.Decoder[Any] = msgspec.json.Decoder(line)
        self._decode_entries: Callable[[bytes], Any] = msgspec.json.Decoder(entries).decode

    def read_block(self, block: Block) -> ReadScores:
        """The scores of all lines of a block."""
        rollouts = decode_block(self._lines, block)
        if rollouts is None:
            return self._read_apart(block.lines())
        rewards = [rollout.reward for rollout in rollouts]
        keys = [_read_key(rollout.key) for rollout in rollouts] if self._with_keys else []
        return ReadScores(self._flatten(rewards), list(map(len, rewards)), [], keys)

    def _read_apart(self, lines: Sequence[Line]) -> ReadScores:
        """The same, each line for itself."""
        rewards: list[list[Any]] = []
        refused: list[tuple[int, Reason]] = []
        keys: list[str | None] = []
        decode = self._lines.decode
        for position, line in enumerate(lines):
            try:
                rollout = decode(line)
                rewards.append(rollout.reward)
                keys += [_read_key(rollout.key)] if self._with_keys else []
            except REFUSALS:  # noqa: PERF203, one odd line must not end the others
                try:
                    loaded = load_object(line)
                    rewards.append(self.check(loaded))
                    keys += [key_text(Mender()(loaded.get("key")))] if self._with_keys else []
                except Malformed as error:
                    refused.append((position, error.reason))
        return ReadScores(self._flatten(rewards), list(map(len, rewards)), refused, keys)

    def read_entries(self, entries: Sequence[msgspec.Raw]) -> FloatArray:
        """The scores in the bytes of reward entries, NaN where missing. Raises what msgspec
        raises."""
        return self._flatten([self._decode_entries(b"[%b]" % b",".join(entries))])

    def _flatten(self, rewards: list[list[Any]]) -> FloatArray:
        try:
            flat = [entry.score for reward in rewards for entry in reward]
        except AttributeError:  # some are plain numbers
            flat = self._take([entry for reward in rewards for entry in reward])
        return np.array(flat, dtype=np.float64)

    def check(self, rollout: dict[str, Any]) -> list[Score]:
        """The scores of a decoded line. Raises Malformed, saying which entry is wrong."""
        return check_reward(rollout, self._field)

    def _take(self, entries: list[Any]) -> list[Score]:
        kind: Any = self._entry
        return [entry.score if type(entry) is kind else entry for entry in entries]


def key_text(key: object) -> str | None:
    """A rollout's key as text: JSON where it is no string."""
    if key is None or isinstance(key, str):
        return key
    return json.dumps(key, ensure_ascii=False)


def _read_key(raw: msgspec.Raw) -> str | None:
    """The same from its bytes, which may not be UTF-8."""
    try:
        return key_text(msgspec.json.decode(raw))
    except REFUSALS:
        text = bytes(raw).decode("utf-8", "replace")
    try:
        return key_text(Mender()(json.loads(text, strict=False)))
    except (ValueError, RecursionError):
        return text


def check_reward(rollout: dict[str, Any], score_field: str) -> list[Score]:
    """The scores of a decoded line. Raises Malformed, saying which entry is wrong."""
    if "reward" not in rollout:
        raise Malformed(NO_REWARD, "expected a list with one entry per response")
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
        except OverflowError:  # beyond a double, as json reads 1e400: infinite
            return float("inf")
    raise Malformed("a score is not a number", f"{where} is {describe(entry)}, expected a number")


class Response(msgspec.Struct, frozen=True, gc=False):
    """One response of a rollout: its place, its text (or None) and its reward entry as JSON."""

    index: int
    content: str | None
    reward: str


@dataclass(frozen=True, slots=True)
class Rollout:
    """What preprocessing takes from a line; `fields` are the other values it asks for, unchecked.

    `mended` tells that lone surrogates were replaced.
    """

    scores: list[Score]
    fields: dict[str, Any]
    best: Response | None
    response_count: int | None
    mended: bool


FIELDS = (
    "prompt", "messages", "ground_truth", "key", "ability", "data_source", "extra_info",
)  # fmt: skip


def read_rollout(line: Line, reader: ScoreReader, with_best_response: bool) -> Rollout:
    """Read one line by Python's own `json`, which takes what Python writes. Raises Malformed."""
    rollout = load_object(line)
    scores = reader.check(rollout)
    mender = Mender()
    best, count = None, None
    if with_best_response:
        texts = _texts(rollout)
        count = None if texts is None else len(texts)
        index = best_index(scores)
        if index is not None:
            content = None
            if texts is not None and index < len(texts):
                content = _text(*texts[index])
            entry = json.dumps(_finite(rollout["reward"][index]), ensure_ascii=False)
            best = Response(index, mender(content), mender(entry))
    fields = {name: mender(rollout.get(name)) for name in FIELDS}
    return Rollout(scores, fields, best, count, mender.happened)


def _finite(value: Any) -> Any:
    """The value with NaN and ±Infinity, which JSON has no form for, as null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value


def best_index(scores: Sequence[Score]) -> int | None:
    """The first response with the highest score, or None where no score is present."""
    best: int | None = None
    highest = float("-inf")
    for index, score in enumerate(scores):
        if score is not None and math.isfinite(score) and highest < score:
            best, highest = index, score
    return best


def best_indexes(scores: FloatArray, counts: Sequence[int]) -> IntArray:
    """The same for many rollouts, -1 for None: `counts` says how many of the `scores` each has."""
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


def _texts(rollout: dict[str, Any]) -> list[tuple[str, Any]] | None:
    """Where each response's text stands, and the value found there."""
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


class Mender:
    """Replaces lone surrogates, which no UTF-8 file can hold, by U+FFFD, wherever they stand."""

    def __init__(self) -> None:
        self.happened = False

    def __call__(self, value: Any) -> Any:
        """The same value without lone surrogates; `happened` tells whether there were any."""
        if isinstance(value, str):
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                self.happened = True
                return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            return value
        if isinstance(value, list):
            return [self(item) for item in value]
        if isinstance(value, dict):
            return {self(key): self(item) for key, item in value.items()}
        return value
