"""Where buckets meet: metric values → buckets, for the observed values and for the true ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np
from msgspec import Struct

from curriculum.arrays import BoolArray, FloatArray, IntArray, distinct
from curriculum.bucketers import cut_at, difficulty, percentile_edges

NEXT_TO = 1e-9  # a distance to a threshold that is more than rounding


class Cuts(Struct, frozen=True, dict=True):
    """Where buckets meet, as difficulties.

    The ascending `edges` separate intervals; interval i is bucket `buckets[i]`. With `ends`,
    rollouts that always pass are in its first bucket, and those that never pass in its second.
    """

    edges: FloatArray
    buckets: IntArray
    higher_is_easier: bool
    ends: tuple[int, int] | None = None

    @cached_property
    def possible(self) -> IntArray:
        """The buckets that a rollout may be in, easiest first: all that lie between edges, and the
        `ends`."""
        return distinct(np.array([*self.buckets.tolist(), *(self.ends or ())]))

    def place(self, buckets: IntArray) -> IntArray:
        """The place of each bucket among those that are possible."""
        return np.searchsorted(self.possible, buckets)

    def bucket_of(self, values: FloatArray, rates: FloatArray, counts: IntArray) -> IntArray:
        """The bucket of each metric value. With `ends`, a rate nearer to n of n passes than to
        n - 1 counts as always passing, and one nearer to 0 than to 1 as never."""
        buckets = self.buckets[cut_at(difficulty(values, self.higher_is_easier), self.edges)]
        if self.ends is None:
            return buckets
        always, never = self._at_ends(rates, counts)
        return np.where(never, self.ends[1], np.where(always, self.ends[0], buckets))

    def cut_again(
        self, values: FloatArray, rates: FloatArray, counts: IntArray, rule: CutRule
    ) -> tuple[IntArray, Cuts]:
        """The bucket of each of these values, and where buckets meet, if they are cut by the rule
        that made these cuts."""
        if rule.parts is None:
            return self.bucket_of(values, rates, counts), self
        inner = np.ones(len(values), np.bool_)
        if self.ends is not None:
            inner = ~np.logical_or(*self._at_ends(rates, counts))
        parts = _cut(difficulty(values[inner], self.higher_is_easier), rule)
        held = [values[inner][parts == part] for part in range(rule.parts)]
        ranges = [(float(some.min()), float(some.max())) if len(some) else None for some in held]
        edges, filled = meet(ranges, self.higher_is_easier)
        first = 0 if self.ends is None else self.ends[0] + 1
        filled = filled if len(filled) else np.zeros(1, np.int64)
        cuts = Cuts(edges, filled + first, self.higher_is_easier, self.ends)
        buckets = cuts.bucket_of(values, rates, counts)
        buckets[inner] = parts + first
        return buckets, cuts

    def _at_ends(self, rates: FloatArray, counts: IntArray) -> tuple[BoolArray, BoolArray]:
        """Which rates count as always passing, and which as never."""
        near = 0.5 / counts
        return rates > 1 - near, rates < near


class CutRule(Struct, frozen=True):
    """How rollouts are cut: into `parts` as equal as ties allow, or exactly equal with
    `split_ties`. `parts` is None for thresholds, which stay where they are."""

    parts: int | None
    split_ties: bool = False


def _cut(values: FloatArray, rule: CutRule) -> IntArray:
    """The part of each difficulty, 0 the easiest. Of tied values that are split, the first ones
    are in the easier part: their order must be random."""
    parts, total = rule.parts or 1, len(values)
    if rule.split_ties:
        by_rank = np.empty(total, np.int64)
        by_rank[values.argsort(kind="stable")] = np.arange(total) * parts // max(total, 1)
        return by_rank
    return cut_at(values, percentile_edges(np.sort(values), parts))


def meet(
    ranges: Sequence[tuple[float, float] | None],
    higher_is_easier: bool,
    thresholds: Sequence[float] | None = None,
) -> tuple[FloatArray, IntArray]:
    """The `edges` and `buckets` of Cuts, from the lowest and the highest value of each bucket (None
    if empty), easiest first.

    An edge is halfway between the values on either side. With `thresholds` (ascending) it is the
    threshold, unless a value lies on it: then it is halfway to the next value, or just beyond.
    """
    filled = [i for i, ends in enumerate(ranges) if ends is not None]
    if thresholds is not None:
        filled = list(range(len(ranges)))
    turn = -1.0 if higher_is_easier else 1.0
    turned = [None if ends is None else sorted(turn * value for value in ends) for ends in ranges]
    given = None if thresholds is None else sorted(turn * value for value in thresholds)
    edges = []
    for number, (easier, harder) in enumerate(pairwise(filled)):
        last, first = turned[easier], turned[harder]
        half_way = last[1] / 2 + first[0] / 2 if last and first else None
        if given is None:
            edges.append(half_way)
            continue
        edge = given[number]
        beyond = NEXT_TO * max(abs(edge), 1)
        if last and last[1] == edge:
            edge = edge + beyond if half_way is None else half_way
        elif first and first[0] == edge:
            edge = edge - beyond if half_way is None else half_way
        edges.append(edge)
    return np.array(edges, np.float64), np.array(filled, np.int64)
