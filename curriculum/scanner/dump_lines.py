"""The lines of a dump → where their values are, and hashes of those."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from curriculum.arrays import Array, ByteArray, FloatArray, HashArray, IntArray
from curriculum.scanner.compiled import scanner

MOST_BYTES = 1 << 32  # of a buffer, which the scanner's offsets must reach
MOST_NAMES = 64


class Kind(IntEnum):
    """Kinds of values. An integer is written as Python would write it; any other number is not."""

    ABSENT, NULL, TRUE, FALSE, INTEGER, NUMBER, STRING, LIST, OBJECT = range(9)


class FieldPlaces(Struct, frozen=True):
    """Where some fields are in the lines of a buffer.

    `ends` has the offset of the end of every line, before its newline. Of each field there are the
    `kinds` of its values, and their `places`: where they start and stop (bytes in the buffer). They
    are 0 where a line lacks the field, and in the lines `declined`, by position.
    """

    buffer: bytes | bytearray
    size: int
    ends: IntArray
    kinds: dict[str, ByteArray]
    places: dict[str, Array]
    declined: IntArray

    def raw(self, name: str, line: int) -> bytes:
        """The bytes of a value."""
        start, stop = self.places[name][line]
        return bytes(self.buffer[start:stop])

    def hashes(self, name: str, lines: IntArray, form: bytes = b"") -> HashArray:
        """The hash of a field's value in some lines.

        It is BLAKE2b of 8 bytes over the text of a string, over 0xFF and the digits of an integer,
        and over 0xFE and the bytes of any other value, so that equal ones are known; 0 where there
        is none, or an empty text, or one with a lone surrogate. Of a text that has the `form` (as
        scanner.c describes it) only the part before its `|` counts.
        """
        places = self.places[name][lines].tobytes()
        hashes = scanner().hash_values(self.buffer, self.size, places, form)
        return np.frombuffer(hashes[0], np.uint64)


def index_fields(buffer: bytes | bytearray, size: int, names: Sequence[str]) -> FieldPlaces | None:
    """Find the fields `names` of the whole lines in the first `size` bytes of a buffer that nobody
    changes meanwhile. Returns None without the scanner."""
    compiled = scanner()
    plain = all(name.isprintable() for name in names) and len(names) <= MOST_NAMES
    if compiled is None or not plain or size >= MOST_BYTES:
        return None
    encoded = tuple(name.encode() for name in names)
    ends, kinds, places, declined = compiled.index_fields(buffer, size, encoded)
    of_kinds: Array = np.frombuffer(kinds, np.uint8).reshape(-1, len(names))
    of_places: Array = np.frombuffer(places, np.uint32).reshape(-1, len(names), 2)
    return FieldPlaces(
        buffer,
        size,
        np.frombuffer(ends, np.int64),
        {name: of_kinds[:, i] for i, name in enumerate(names)},
        {name: of_places[:, i] for i, name in enumerate(names)},
        np.frombuffer(declined, np.int64),
    )


class Plan(Struct, frozen=True):
    """What the scanner must know of a format to put lines together; every name is the UTF-8 of a
    field of a line.

    `alternatives` are the sets of fields that can identify a group, the best first. `roles` are the
    fields of the score, the response, the prompt, the ground truth and the tools, empty for none.
    `counted` has pairs: a field, and the form of its text of which only a part counts. `ends` has
    triples: a field, a value (up to a `*` at its end), and `0`, `1` or `2` for a response that
    ended by itself, failed, or was cut off; the first that fits counts, and a line with another
    value is declined. Of `ids`, the first that a line has tells responses apart. `taken` are the
    names of our own form, and of a field in `leading` the first value is the rollout's. `marks`
    are texts that a chat template may hold. `shapes` has quadruples: what is before and after the
    words of a prompt, and before and after them in the JSON of its messages. With `answers`,
    responses may be lists of messages. With `unscored_cut_off`, a response that was cut off has no
    score.
    """

    alternatives: tuple[tuple[bytes, ...], ...]
    roles: tuple[bytes, ...]
    counted: tuple[bytes, ...]
    ends: tuple[bytes, ...]
    ids: tuple[bytes, ...]
    taken: tuple[bytes, ...]
    leading: tuple[bytes, ...]
    marks: tuple[bytes, ...]
    answers: bool
    unscored_cut_off: bool


class Assembled(NamedTuple):
    """The rollouts of some groups, one after another, each with its newline.

    `sizes` is the bytes of each group's rollout, 0 for one that was declined. `scores` (NaN where
    missing) has one entry per response of those that were not, `prompts` (hashes) and `shapes` one
    per group. A shape is that of the prompt, or one of the three below. `failed` and `cut_off`
    count responses.
    """

    text: bytearray
    sizes: IntArray
    scores: FloatArray
    prompts: HashArray
    shapes: IntArray
    failed: int
    cut_off: int


NO_PROMPT, TEXT_AS_IS, LIST_AS_IS = -1, -2, -3


def assemble(
    buffer: bytearray, lines: tuple[IntArray, IntArray], counts: IntArray, plan: Plan,
    shapes: Sequence[bytes],
) -> Assembled | None:  # fmt: skip
    """Put the lines of each group together, as `curriculum.grouping.assemble.Assembler` does.

    `lines` are the offset and length of each in the buffer, group by group, and `counts` how many
    each group has. Returns None without the scanner.
    """
    compiled = scanner()
    if compiled is None:
        return None
    flags = plan.answers | plan.unscored_cut_off << 1
    told = (
        plan.alternatives, plan.roles, plan.counted, plan.ends, plan.ids, plan.taken, plan.leading,
        plan.marks, tuple(shapes), flags,
    )  # fmt: skip
    starts, lengths, groups = (np.asarray(part, np.int64).tobytes() for part in (*lines, counts))
    text, sizes, scores, prompts, kinds, totals = compiled.assemble(
        buffer, len(buffer), starts, lengths, groups, told
    )
    failed, cut_off = np.frombuffer(totals, np.int64).tolist()
    return Assembled(
        text,
        np.frombuffer(sizes, np.int64),
        np.frombuffer(scores, np.float64),
        np.frombuffer(prompts, np.uint64),
        np.frombuffer(kinds, np.int64),
        failed,
        cut_off,
    )
