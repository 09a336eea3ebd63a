"""The values of some rows, one list per field, and counts of what was left out of them.

Whatever a row leaves out or replaces is counted, never silent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from functools import cached_property
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

from curriculum.arrays import FloatArray
from curriculum.reading.prompts import Message


class Topic(Enum):
    """What is counted while rows are read, besides what `PromptNote` names: rollouts, unless the
    text says otherwise."""

    TRUTH_KEY = "ground truth keys beyond instruction ids and kwargs, by key"
    NO_TRUTH = "without a ground truth"
    LIKELY_TRUTH = "without a ground truth, by a field that may hold it; not all are looked at"
    NUMBER_TRUTH = "whose ground truth is a number, written as text"
    POINT_ZERO = "whose ground truth is a whole number with a decimal point"
    OWN_DATA_SOURCE = "with a data_source of their own, by data_source"
    NO_DATA_SOURCE = "without a data_source of their own"
    NO_TEXT = "whose best response has no text"
    OTHER_COUNT = "with another number of responses than of rewards"
    SURROGATES = "with a lone surrogate in a field that is read"


Notes: TypeAlias = "Counter[tuple[Enum, str]]"  # by topic or PromptNote, and by key or ""


@dataclass
class RowBatch:
    """The values of some rows, one list per field, in the order of their lines.

    `positions` are the positions of these lines among the lines read. `scores` is flat, not finite
    where missing, and `counts` is how many each row has. A row without a best response has -1 in
    `best_indexes` and None in the other `best_…` lists.
    """

    positions: list[int] = field(default_factory=list)
    scores: FloatArray = field(default_factory=lambda: np.zeros(0))
    counts: list[int] = field(default_factory=list)
    prompts: list[list[Message]] = field(default_factory=list)
    ground_truths: list[Any] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    abilities: list[str] = field(default_factory=list)
    data_sources: list[str] = field(default_factory=list)
    extra_infos: list[dict[str, Any]] = field(default_factory=list)
    best_indexes: list[int] = field(default_factory=list)
    best_contents: list[str | None] = field(default_factory=list)
    best_rewards: list[str | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, rows: Sequence[int]) -> RowBatch:
        """The rows with these numbers, in this order."""
        scores = np.split(self.scores, np.cumsum(self.counts)[:-1]) if len(self) else []
        lists = {name: [values[row] for row in rows] for name, values in self.lists().items()}
        return RowBatch(
            scores=np.concatenate([np.zeros(0), *(scores[row] for row in rows)]), **lists
        )

    @staticmethod
    def concatenate(parts: Sequence[RowBatch]) -> RowBatch:
        """The rows of all parts, in order; positions stay as they are."""
        every = [part.lists() for part in parts]
        lists = {
            name: list(chain.from_iterable(lists[name] for lists in every))
            for name in RowBatch().lists()
        }
        return RowBatch(
            scores=np.concatenate([np.zeros(0), *(part.scores for part in parts)]), **lists
        )

    def lists(self) -> dict[str, Any]:
        """The fields with one entry per row, by name."""
        names = (field.name for field in fields(self) if field.name != "scores")
        return {name: getattr(self, name) for name in names}

    @cached_property
    def own_fields(self) -> dict[str, list[Any]]:
        """The values of each field of extra_info, only for rows that have it."""
        infos = self.extra_infos
        keys = set(map(tuple, infos))
        if len(keys) == 1:  # nearly always
            return {name: [info[name] for info in infos] for name in keys.pop()}
        names = {name for some in keys for name in some}
        return {name: [info[name] for info in infos if name in info] for name in names}

    def own_field(self, name: str) -> list[Any]:
        """The values of one field of extra_info, None in rows without it."""
        values = self.own_fields.get(name, [])
        if len(values) == len(self):
            return values
        return [info.get(name) for info in self.extra_infos]
