"""Columns of values, as the scanner returns them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from msgspec import Struct

from curriculum.arrays import Array, ByteArray, IntArray

MOST_BYTES = (1 << 31) - 1  # of one block: offsets in columns are 32-bit integers


class Kind(IntEnum):
    """What a value is. OTHER are lists, objects, and numbers that are no int64 and no double."""

    ABSENT = 0
    NULL = 1
    FALSE = 2
    TRUE = 3
    STRING = 4
    INTEGER = 5
    NUMBER = 6
    OTHER = 7


class Column(Struct, frozen=True):
    """A value for each row.

    `data` holds the text of strings, and the JSON of numbers and of OTHER; that of row i goes from
    `offsets[i]` to `offsets[i + 1]`. `numbers` has the 8 bytes of each int64 or double.
    """

    kinds: ByteArray
    offsets: Array
    data: bytearray
    numbers: IntArray

    @staticmethod
    def of(parts: Sequence[bytearray]) -> Column:
        """A column from what the scanner returns for it."""
        kinds, ends, data, numbers = parts
        offsets = np.append(np.zeros(1, np.int32), np.frombuffer(ends, np.int32))
        return Column(
            np.frombuffer(kinds, np.uint8), offsets, data, np.frombuffer(numbers, np.int64)
        )

    def json(self, row: int) -> bytes:
        """The bytes of a row's value in `data`."""
        return bytes(self.data[self.offsets[row] : self.offsets[row + 1]])
