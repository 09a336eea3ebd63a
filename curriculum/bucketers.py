"""Where to cut: metric values → bucket index, 0 the easiest.

Tied rollouts never part, unless asked to: equal values mean equal buckets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curriculum.arrays import CompactIntArray, FloatArray, HashArray, IntArray


def difficulty(values: FloatArray, higher_is_easier: bool) -> FloatArray:
    """Metric values turned so that higher is harder."""
    return 0.0 - values if higher_is_easier else values


def cut_at(difficulty: FloatArray, edges: FloatArray) -> IntArray:
    """Bucket index of each rollout: how many edges are at most its difficulty."""
    return np.searchsorted(edges, difficulty, side="right").astype(np.int64)


def percentile_edges(ascending: FloatArray, num_buckets: int) -> FloatArray:
    """The lowest difficulty beyond each of the `num_buckets` - 1 cuts; ±inf beyond all values.

    `ascending` are the difficulties of all rollouts, sorted. Cuts fall between two distinct
    values, never through one (DESIGN, bucketing rule 3): eight 0/1 scores take nine values, so a
    plain percentile usually lies inside a tie and leaves a bucket empty. With fewer distinct
    values than buckets, the values are spread over the buckets.
    """
    if not len(ascending):
        return np.full(num_buckets - 1, np.inf)
    cumulative = _count_up_to_each_value(ascending)
    spread = len(cumulative)
    if spread < num_buckets:
        steps, last = np.arange(spread), num_buckets - 1
        bucket_of_value = steps * last // (spread - 1) if spread > 1 else steps + last // 2
        cuts = np.searchsorted(bucket_of_value, np.arange(1, num_buckets)).tolist()
    else:
        cuts = choose_cuts(cumulative, num_buckets)
    edges = np.full(num_buckets - 1, -np.inf)
    for i, cut in enumerate(cuts):
        if cut:
            edges[i] = ascending[cumulative[cut - 1]] if cut < spread else np.inf
    return edges


def _count_up_to_each_value(ascending: FloatArray) -> IntArray:
    """How many rollouts there are up to and including each distinct value."""
    last_of_value = np.append(ascending[1:] != ascending[:-1], True)
    return np.flatnonzero(last_of_value) + 1


def choose_cuts(cumulative: IntArray, num_buckets: int) -> list[int]:
    """How many distinct values lie before each of the `num_buckets` - 1 cuts.

    `cumulative[i]` counts the rollouts up to and including the i-th distinct value; there are at
    least as many values as buckets. Whole numbers throughout, so no machine's rounding decides.
    """
    n, total, spread = num_buckets, int(cumulative[-1]), len(cumulative)
    cuts = [0]
    for j in range(1, n):
        # Boundary i lies after i values; scaled by n to compare with j * total / n exactly.
        cuts.append(_nearest(cumulative, n, j * total, cuts[-1] + 1, spread - (n - j)))
    cuts.append(spread)
    moved = True
    while moved:
        moved = False
        for j in range(1, n):
            before = int(cumulative[cuts[j - 1] - 1]) if cuts[j - 1] else 0
            middle = before + int(cumulative[cuts[j + 1] - 1])
            best = _nearest(cumulative, 2, middle, cuts[j - 1] + 1, cuts[j + 1] - 1)
            if _gap(cumulative, 2, middle, best) < _gap(cumulative, 2, middle, cuts[j]):
                cuts[j], moved = best, True
    return cuts[1:-1]


def _gap(cumulative: IntArray, scale: int, target: int, boundary: int) -> int:
    return abs(scale * int(cumulative[boundary - 1]) - target)


def _nearest(cumulative: IntArray, scale: int, target: int, first: int, last: int) -> int:
    """The boundary in first … last whose scaled count is nearest `target`, the earlier of two."""
    at_least = -(-target // scale)  # the least count whose scaled value reaches the target
    after = int(np.searchsorted(cumulative, at_least, side="left")) + 1
    candidates = sorted({min(max(after + step, first), last) for step in (-1, 0)})
    return min(candidates, key=lambda boundary: _gap(cumulative, scale, target, boundary))


@dataclass(frozen=True)
class RankCut:
    """A cut within tied rollouts: their difficulty, and how many of them stay below it."""

    difficulty: float
    below: int


def rank_cuts(ascending: FloatArray, num_buckets: int) -> list[RankCut]:
    """The cuts that make exactly equal parts, easiest first; `ascending` are all difficulties,
    sorted. A cut beyond the last rollout is left out."""
    total, cuts = len(ascending), []
    for j in range(1, num_buckets):
        rank = -(-j * total // num_buckets)  # the first rollout beyond the cut
        if rank < total:
            value = float(ascending[rank])
            cuts.append(RankCut(value, rank - int(np.searchsorted(ascending, value))))
    return cuts


def split_at(
    values: Sequence[FloatArray],
    hashes: Sequence[HashArray],
    cuts: Sequence[RankCut],
    higher_is_easier: bool,
) -> list[CompactIntArray]:
    """Bucket index of each rollout, part by part: how many cuts lie at or below it.

    Tied rollouts are ordered by hash, equal hashes by input order. The memory this takes is little
    more than the hashes of the rollouts tied at one cut.
    """
    buckets = [np.zeros(len(part), np.min_scalar_type(len(cuts))) for part in values]
    for cut in cuts:
        tied = [difficulty(part, higher_is_easier) == cut.difficulty for part in values]
        ties = np.concatenate([part[here] for part, here in zip(hashes, tied, strict=True)])
        ties.sort()
        at_cut = ties[cut.below]
        equal_below = cut.below - int(np.searchsorted(ties, at_cut))
        for i, (part, part_hashes) in enumerate(zip(values, hashes, strict=True)):
            beyond = difficulty(part, higher_is_easier) > cut.difficulty
            beyond |= tied[i] & (part_hashes > at_cut)
            equal = np.flatnonzero(tied[i] & (part_hashes == at_cut))
            beyond[equal[equal_below:]] = True
            equal_below = max(0, equal_below - len(equal))
            buckets[i] += beyond
    return buckets


def cut_thresholds(
    values: FloatArray, thresholds: Sequence[float], higher_is_easier: bool
) -> IntArray:
    """Bucket index of each rollout by its metric value; a value on a threshold is below it."""
    interval = np.searchsorted(np.array(thresholds), values, side="left").astype(np.int64)
    return len(thresholds) - interval if higher_is_easier else interval


def inner_buckets(solved_unsolved: bool) -> slice:
    """The buckets cut by percentiles or thresholds: all, or all but the first and last."""
    return slice(1, -1) if solved_unsolved else slice(None)
