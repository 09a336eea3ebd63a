"""The lines of a block → the values that preprocessing takes from them, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from curriculum.arrays import FloatArray, HashArray, IntArray
from curriculum.scanner.columns import MOST_BYTES, Column
from curriculum.scanner.compiled import scanner

MOST_SEED_BYTES = 64


class RowFields(Struct, frozen=True):
    """Which fields of a line are read; an empty name reads none.

    The prompt is in the field `prompt` or else in `messages`, the ground truth in `truth` or else
    in `<reward_model>.ground_truth`. A prompt with a text of `marks` in it is declined. `seed` is
    the key of prompt hashes.
    """

    score: str
    prompt: str
    messages: str
    truth: str
    reward_model: str
    best_response: bool
    seed: bytes
    marks: Sequence[str]


class RowLines(Struct, frozen=True):
    """The rows of the lines that were not declined.

    `ends` and `declined` are as in ScoreLines. Of each row: `counts` of its scores in `scores` (NaN
    where missing), `turns` (how many messages it has in `roles` and `contents`), the hash and the
    number of characters of its prompt, how many `answers` were left out of it, the index of the
    best response (-1: none), and a value in each other column. `own` are the fields of extra_info.
    """

    ends: IntArray
    declined: IntArray
    counts: IntArray
    scores: FloatArray
    turns: IntArray
    hashes: HashArray
    characters: IntArray
    answers: IntArray
    best_indexes: IntArray
    roles: Column
    contents: Column
    key: Column
    ability: Column
    source: Column
    truth: Column
    best_text: Column
    best_reward: Column
    own: dict[str, Column]


_NUMBERS = (np.int64, np.int64, np.int64, np.float64, np.int64, np.uint64, np.int64, np.int64,
            np.int64)  # fmt: skip


def read_rows(buffer: bytes | bytearray, size: int, fields: RowFields) -> RowLines | None:
    """Read the whole lines in the first `size` bytes of a buffer that nobody changes meanwhile.

    Returns None without the scanner, or where it cannot do what is asked.
    """
    compiled = scanner()
    names = (fields.score, fields.prompt, fields.messages, fields.truth, fields.reward_model)
    usual = size <= MOST_BYTES and len(fields.seed) <= MOST_SEED_BYTES
    if compiled is None or not usual or not all(map(str.isprintable, names)):
        return None
    encoded = tuple(name.encode() for name in names)
    marks = b"".join(bytes([len(mark)]) + mark for mark in map(str.encode, fields.marks))
    parts, own = compiled.read_rows(buffer, size, encoded, fields.best_response, fields.seed, marks)
    numbers = [np.frombuffer(part, kind) for part, kind in zip(parts, _NUMBERS, strict=False)]
    rest = parts[len(_NUMBERS) :]
    columns = [Column.of(rest[first : first + 4]) for first in range(0, len(rest), 4)]
    named: dict[str, Any] = dict(zip(RowLines.__annotations__, [*numbers, *columns], strict=False))
    return RowLines(**named, own={name.decode(): Column.of(column) for name, *column in own})
