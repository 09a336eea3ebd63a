"""The lines of a block → their scores and the hashes of their prompts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from curriculum.arrays import FloatArray, HashArray, IntArray
from curriculum.scanner.columns import MOST_BYTES, Column
from curriculum.scanner.compiled import scanner


class ScoreLines(NamedTuple):
    """The scores of the lines that were not declined.

    `ends` has the offset of the end of every line, before its newline. `counts` (of scores, missing
    ones too), `prompts` (hashes) and `values` of a field, if one was asked for, have one entry per
    line that was read, `flat` all their scores, NaN where missing. `declined` are the positions of
    the lines that were not read.
    """

    ends: IntArray
    counts: IntArray
    flat: FloatArray
    prompts: HashArray
    declined: IntArray
    values: Column


def scan_scores(
    buffer: bytes | bytearray, size: int, field: str, name: str | None = None
) -> ScoreLines | None:
    """Scan the whole lines in the first `size` bytes of a buffer that nobody changes meanwhile.

    Scores are in `reward[i].<field>` or are `reward[i]` itself. `name` is a field whose values are
    wanted as well. Returns None without the scanner,
    or where it cannot do what is asked.
    """
    compiled = scanner()
    if compiled is None or not f"{field}{name or ''}".isprintable() or size > MOST_BYTES:
        return None
    parts = compiled.scan_scores(buffer, size, field.encode(), (name or "").encode())
    ends, counts, flat, prompts, declined, *values = parts
    return ScoreLines(
        np.frombuffer(ends, np.int64),
        np.frombuffer(counts, np.int64),
        np.frombuffer(flat, np.float64),
        np.frombuffer(prompts, np.uint64),
        np.frombuffer(declined, np.int64),
        Column.of(values),
    )
