"""Names for the array types that modules pass to one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

FloatArray: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
IntArray: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
BoolArray: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]
ByteArray: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
HashArray: TypeAlias = np.ndarray[Any, np.dtype[np.uint64]]
# Of lines, in bytes: in 4 bytes each unless one has 4 GiB.
LengthArray: TypeAlias = np.ndarray[Any, np.dtype[np.uint32]] | IntArray


# Numbers from 0 up, such as those of buckets, in as few bytes as the largest takes.
CompactIntArray: TypeAlias = np.ndarray[Any, np.dtype[np.integer[Any]]]
Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def compact_ints(numbers: IntArray, count: int) -> CompactIntArray:
    """The same numbers, all below `count`, in as few bytes as they take."""
    return numbers.astype(np.min_scalar_type(count))


def compact_lengths(lengths: LengthArray) -> LengthArray:
    """The same lengths in as few bytes as they take; sum them as int64."""
    if len(lengths) and int(lengths.max()) > np.iinfo(np.uint32).max:
        return lengths.astype(np.int64)
    return lengths.astype(np.uint32)


def join_lengths(parts: Sequence[LengthArray]) -> LengthArray:
    """All lengths one after another, in as few bytes as they take."""
    return np.concatenate([np.zeros(0, np.uint32), *parts])


def distinct(values: Array) -> Array:
    """The distinct values, ascending; none is NaN. `np.unique` loads a module for masked arrays,
    which takes longer than the rest of a short run's arithmetic."""
    ascending = np.sort(values)
    return np.asarray(ascending[first_of_equals(ascending)])


def distinct_rows(*columns: Array) -> tuple[Array, IntArray]:
    """The distinct rows of a table, ascending by its columns from the first to the last, and for
    each row of the table the number of its own among them."""
    order = np.lexsort(columns[::-1])
    table = [column[order] for column in columns]
    first = first_of_equals(*table)
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(first) - 1
    return np.stack(table, axis=1)[first], numbers


def first_of_equals(*columns: Array) -> BoolArray:
    """Whether each row of a table in which equal rows are together is the first of its kind."""
    first = np.zeros(len(columns[0]), np.bool_)
    first[:1] = True
    for column in columns:
        first[1:] |= column[1:] != column[:-1]
    return first


def take_runs(values: Array, counts: IntArray, order: IntArray) -> Array:
    """The runs of `values` in another order; `counts` is how many values each run has."""
    starts, taken = np.cumsum(counts) - counts, counts[order]
    within = np.arange(taken.sum()) - np.repeat(np.cumsum(taken) - taken, taken)
    return np.asarray(values[np.repeat(starts[order], taken) + within])
