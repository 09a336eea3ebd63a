"""One line → the values of one row, checked; both passes of preprocessing read lines this way.

What a row leaves out or replaces is counted, never silent.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from curriculum.ground_truth import as_string, read_ground_truth
from curriculum.prompts import Message, read_prompt
from curriculum.rollouts import (
    Line,
    Malformed,
    Mender,
    Response,
    Rollout,
    RolloutReader,
    Score,
    describe,
)


class Topic(Enum):
    """What is counted while rows are read, each in rollouts unless it says otherwise."""

    MESSAGE_KEY = "messages with a key other than role and content, by key"
    TRUTH_KEY = "ground truths with a key beyond instruction ids and kwargs, by key"
    NO_TRUTH = "without a ground truth"
    NO_DATA_SOURCE = "without a data_source of their own"
    NO_TEXT = "whose best response has no text"
    OTHER_COUNT = "with another number of responses than of rewards"
    MENDED = "with a lone surrogate in a field that is read"


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


@dataclass(frozen=True, slots=True)
class Row:
    """The values of one row that come from its line."""

    scores: list[Score]
    messages: list[Message]
    ground_truth: Any
    key: str | None
    ability: str
    data_source: str
    extra_info: dict[str, Any]
    best: Response | None


class RowReader:
    """Reads rows; `notes` counts by topic what was left out or replaced."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._reader = RolloutReader(options.score_field, options.best_response)
        self.notes: Notes = Counter()

    def read(self, line: Line) -> Row:
        """The row of one line. Raises Malformed."""
        rollout = self._reader.read(line)
        mender = Mender()
        keys: Counter[str] = Counter()
        messages = read_prompt(rollout, keys)
        for key, count in keys.items():
            self.notes[Topic.MESSAGE_KEY, key] += count
        extra_info = rollout.extra_info
        if extra_info is not None and not isinstance(extra_info, dict):
            raise Malformed("extra_info is not an object", f"it is {describe(extra_info)}")
        row = Row(
            rollout.scores,
            messages,
            self._ground_truth(rollout, mender),
            _key_text(rollout.key),
            _string("ability", rollout.ability) or self._options.ability,
            self._data_source(rollout),
            extra_info or {},
            rollout.best,
        )
        if rollout.mended or mender.happened:
            self.notes[Topic.MENDED, ""] += 1
        if rollout.best is not None and rollout.best.content is None:
            self.notes[Topic.NO_TEXT, ""] += 1
        if rollout.response_count not in (None, len(rollout.scores)):
            self.notes[Topic.OTHER_COUNT, ""] += 1
        return row

    def _ground_truth(self, rollout: Rollout, mender: Mender) -> Any:
        if rollout.ground_truth is None:
            self.notes[Topic.NO_TRUTH, ""] += 1
        if self._options.ground_truth_format == "string":
            return as_string(rollout.ground_truth)
        keys: Counter[str] = Counter()
        truth = read_ground_truth(rollout.ground_truth, mender, keys)
        for key, count in keys.items():
            self.notes[Topic.TRUTH_KEY, key] += count
        return truth

    def _data_source(self, rollout: Rollout) -> str:
        if not self._options.keep_data_source:
            return self._options.data_source
        extra_info = rollout.extra_info if isinstance(rollout.extra_info, dict) else {}
        own = _string("data_source", rollout.data_source) or _string(
            "extra_info.data_source", extra_info.get("data_source")
        )
        if own is None:
            self.notes[Topic.NO_DATA_SOURCE, ""] += 1
        return own or self._options.data_source


def _string(name: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    raise Malformed(f"{name} is not a string", f"it is {describe(value)}")


def _key_text(key: Any) -> str | None:
    if key is None or isinstance(key, str):
        return key
    return json.dumps(key, ensure_ascii=False)
