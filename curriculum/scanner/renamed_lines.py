"""Lines whose fields only need other names → the same lines with these names."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import numpy as np
from msgspec import Struct

from curriculum.arrays import IntArray
from curriculum.scanner.compiled import scanner
from curriculum.scanner.dump_lines import MOST_NAMES


class Role(Enum):
    """What is known of a field; the values are those in scanner.c, which says more."""

    PROMPT = b"p"
    RESPONSES = b"r"
    REWARD = b"s"
    TRUTH = b"t"
    KEY = b"k"
    REQUIRED = b"m"
    EMPTY = b"n"
    IN_THE_WAY = b"a"


class Renaming(Struct, frozen=True):
    """Fields, what they are called afterwards, and their roles. A prompt with one of the `marks` is
    not taken."""

    names: tuple[bytes, ...]
    new_names: tuple[bytes, ...]
    roles: bytes
    marks: tuple[bytes, ...]

    @staticmethod
    def of(fields: Sequence[tuple[str, str, Role]], marks: Sequence[str]) -> Renaming | None:
        """The renaming of these fields, each with its new name; None if they are too many."""
        if len(fields) > MOST_NAMES:
            return None
        return Renaming(
            tuple(name.encode("utf-8", "surrogatepass") for name, _, _ in fields),
            tuple(new.encode() for _, new, _ in fields),
            b"".join(role.value for _, _, role in fields),
            tuple(mark.encode() for mark in marks),
        )


class RenamedLines(Struct, frozen=True):
    """The lines of a block that were taken, one after another, each with its newline. `sizes` is
    how many bytes each line of the block has there, 0 for one that was not taken; `ends` is where
    each ends in the block, before its newline."""

    text: bytearray
    sizes: IntArray
    ends: IntArray


def rename_lines(buffer: bytes | bytearray, size: int, renaming: Renaming) -> RenamedLines | None:
    """Rename the fields of the whole lines in the first `size` bytes of a buffer that nobody
    changes meanwhile. Returns None without the scanner."""
    compiled = scanner()
    if compiled is None:
        return None
    text, sizes, ends = compiled.rename_lines(
        buffer, size, renaming.names, renaming.new_names, renaming.roles, renaming.marks
    )
    return RenamedLines(text, np.frombuffer(sizes, np.int64), np.frombuffer(ends, np.int64))
