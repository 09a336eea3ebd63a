"""Groups of rows and the share of each → how many rows of each group, and whose turn is next.

At every moment each group is within one row of its share, so any first rows of a mix are a mix.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from curriculum.arrays import IntArray


def largest_mix(counts: Sequence[int], shares: Sequence[Fraction]) -> int:
    """How many rows there can be at most, of groups with these numbers of rows, if each has its
    share of them to within one row. Shares are positive and add up to 1."""
    return min(int(count / share) for count, share in zip(counts, shares, strict=True))


def take_turns(shares: Sequence[Fraction], total: int) -> IntArray:
    """The group of each of `total` rows in turn. Shares are positive and add up to 1.

    After any number of rows t, a group with share s has had more than s t - 1 and fewer than
    s t + 1 of them. Row k of a group (from 0) may come as soon as s t is k + slack, and is due when
    s t is k + 1 - slack: of the rows that may come, the one that is due first is taken. This is the
    chairman assignment of Tijdeman (1980), for which there always is such a row.
    """
    if len(shares) == 1:
        return np.zeros(total, np.int64)
    slack = Fraction(1, 2 * len(shares) - 2)
    turns = np.empty(total, np.int64)
    waiting = [(_turn(slack, share), group, 0) for group, share in enumerate(shares)]
    heapq.heapify(waiting)
    due = [(float(1 / share), float((1 - slack) / share)) for share in shares]
    ready = list[tuple[float, int, int]]()
    for turn in range(1, total + 1):
        while waiting[0][0] <= turn:
            _, group, row = heapq.heappop(waiting)
            each, first = due[group]
            heapq.heappush(ready, (first + row * each, group, row))
            heapq.heappush(waiting, (_turn(row + 1 + slack, shares[group]), group, row + 1))
        turns[turn - 1] = heapq.heappop(ready)[1]
    return turns


def _turn(progress: Fraction, share: Fraction) -> int:
    """The first turn in which the share of all turns so far is at least `progress`."""
    return -(-progress.numerator * share.denominator // (progress.denominator * share.numerator))
