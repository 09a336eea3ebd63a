"""The values of some rows: of a line as a Row, of many as the columns of a RowBatch; and counts of
what was left out of them.

Whatever a row leaves out or replaces is counted, never silent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from msgspec import Struct

from curriculum.arrays import BoolArray, FloatArray, HashArray, IntArray, LengthArray, take_runs
from curriculum.messages.hashes import Messages, hash_prompts
from curriculum.messages.message import Message
from curriculum.reading.rollouts import Response
from curriculum.storage.arrow_arrays import lists, structs, texts
from curriculum.verl.values import Values, join_values, take_values

MESSAGE_FIELDS = (("role", pa.string()), ("content", pa.string()))
MESSAGE = pa.struct(MESSAGE_FIELDS)


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
    TOOLS = "with tools, which no row holds; not all are looked at"
    OTHER_COUNT = "with another number of responses than of rewards"
    SURROGATES = "with a lone surrogate in a field that is read"


Notes: TypeAlias = "Counter[tuple[Enum, str]]"  # by topic or PromptNote, and by key or ""


class Row(Struct, frozen=True):
    """The values of one row; `position` is that of its line among the lines read."""

    position: int
    scores: Sequence[float | bool | None]
    prompt: Sequence[Message]
    ground_truth: Any
    key: str | None
    ability: str
    data_source: str
    extra_info: Mapping[str, Any]
    best: Response | None


class OwnColumn(NamedTuple):
    """The values of one field of extra_info, and `there`, which rows have that field."""

    values: Values
    there: BoolArray


class RowBatch(Struct):
    """The values of some rows, one column per field, in the order of their lines.

    `positions` are the positions of these lines among the lines read. `scores` is flat, not finite
    where missing, and `counts` is how many each row has. `kept` is null, or what each message of a
    row's prompt has beside role and content, {} for nothing. `hashes` and `characters` are those of
    the prompts; `own` has the fields of extra_info that any row has, by name. A row without a best
    response has -1 in `best_indexes` and null in the other `best_…` columns.
    """

    positions: IntArray
    scores: FloatArray
    counts: IntArray
    prompts: pa.Array
    kept: Values
    hashes: HashArray
    characters: LengthArray
    ground_truths: Values
    keys: pa.Array
    abilities: pa.Array
    data_sources: pa.Array
    own: dict[str, OwnColumn]
    best_indexes: IntArray
    best_contents: pa.Array
    best_rewards: pa.Array

    def __len__(self) -> int:
        return len(self.positions)

    @staticmethod
    def of(rows: Sequence[Row], seed: int) -> RowBatch:
        """The columns of rows that were read one by one."""
        messages = Messages.of([row.prompt for row in rows])
        scores = [score for row in rows for score in row.scores]
        best = [row.best for row in rows]
        names = dict.fromkeys(name for row in rows for name in row.extra_info)
        return RowBatch(
            positions=np.array([row.position for row in rows], np.int64),
            scores=np.array(scores, np.float64),
            counts=np.array([len(row.scores) for row in rows], np.int64),
            prompts=prompt_lists(texts(messages.roles), texts(messages.contents), messages.counts),
            kept=_kept([row.prompt for row in rows]),
            hashes=hash_prompts(messages, seed),
            characters=messages.characters(),
            ground_truths=[row.ground_truth for row in rows],
            keys=texts([row.key for row in rows]),
            abilities=texts([row.ability for row in rows]),
            data_sources=texts([row.data_source for row in rows]),
            own={name: _own_column(rows, name) for name in names},
            best_indexes=np.array([b.index if b else -1 for b in best], np.int64),
            best_contents=texts([b.content if b else None for b in best]),
            best_rewards=texts([b.reward if b else None for b in best]),
        )

    def take(self, rows: IntArray) -> RowBatch:
        """The rows with these numbers, in this order."""
        taken = {
            name: _take(getattr(self, name), rows)
            for name in self.__struct_fields__
            if name not in ("scores", "own")
        }
        scores = take_runs(self.scores, self.counts, rows)
        own = {
            name: OwnColumn(take_values(values, rows), there[rows])
            for name, (values, there) in self.own.items()
            if there[rows].any()
        }
        return RowBatch(scores=scores, own=own, **taken)

    @staticmethod
    def concatenate(parts: Sequence[RowBatch]) -> RowBatch:
        """The rows of all parts (at least one), in order; positions stay as they are."""
        if len(parts) == 1:
            return parts[0]
        joined = {
            name: _join([getattr(part, name) for part in parts])
            for name in RowBatch.__struct_fields__
            if name != "own"
        }
        names = dict.fromkeys(name for part in parts for name in part.own)
        own = {name: _join_own([part.own_column(name) for part in parts]) for name in names}
        return RowBatch(own=own, **joined)

    def own_column(self, name: str) -> OwnColumn:
        """A field of extra_info, which perhaps no row has."""
        absent = OwnColumn(pa.nulls(len(self)), np.zeros(len(self), np.bool_))
        return self.own.get(name, absent)


def _kept(prompts: Sequence[Sequence[Message]]) -> Values:
    kept = [[m.kept or {} for m in some] if any(m.kept for m in some) else None for some in prompts]
    return kept if any(kept) else pa.nulls(len(prompts))


def _own_column(rows: Sequence[Row], name: str) -> OwnColumn:
    there = np.array([name in row.extra_info for row in rows], np.bool_)
    return OwnColumn([row.extra_info.get(name) for row in rows], there)


def _join_own(parts: Sequence[OwnColumn]) -> OwnColumn:
    values = join_values([part.values for part in parts])
    return OwnColumn(values, np.concatenate([part.there for part in parts]))


def prompt_lists(roles: pa.Array, contents: pa.Array, counts: Sequence[int] | IntArray) -> pa.Array:
    """Messages, `counts` of them for each prompt, as lists of structs."""
    return lists(counts, structs(MESSAGE, [roles, contents], None))


def _take(values: Any, rows: IntArray) -> Any:
    return values[rows] if isinstance(values, np.ndarray) else take_values(values, rows)


def _join(parts: Sequence[Any]) -> Any:
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else join_values(parts)
