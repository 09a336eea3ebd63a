"""The scored rollouts of two bucketings → what changed for the prompts that both have.

Whether the mean changed is judged by a paired bootstrap over prompts (Efron and Tibshirani, 1993,
chapter 8); whether a single prompt got worse by Fisher's exact test of its passes, one-sided, with
the false discovery rate of all of them at RATE (Benjamini and Hochberg, 1995).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import Enum
from math import lgamma

import numpy as np
from msgspec import Struct

from curriculum.arrays import BoolArray, FloatArray, HashArray, IntArray
from curriculum.bucketers import difficulty
from curriculum.messages.hashes import NO_PROMPT

DRAWS, AT_ONCE = 10_000, 500
STEPS = 1_024  # differences are counted in so many steps, each of which keeps its mean
SEED = 0
RATE = 0.05
MOST_WORSE = 10
FEWEST = 20  # prompts of which a mean can be judged
LARGE = 1e150  # values beyond are made smaller before they are added up


class Side(Struct, frozen=True):
    """The scored rollouts of a bucketing: the hash of what each is matched by (NO_PROMPT: nothing)
    and of its prompt, its metric value, its bucket, and its responses with a score and with a pass.
    `others` has the hashes of what rollouts without a value are matched by."""

    keys: HashArray
    prompts: HashArray
    values: FloatArray
    buckets: IntArray
    counts: IntArray
    passes: IntArray
    others: HashArray

    def at(self, positions: IntArray) -> Side:
        """Some of the rollouts."""
        return Side(
            self.keys[positions],
            self.prompts[positions],
            self.values[positions],
            self.buckets[positions],
            self.counts[positions],
            self.passes[positions],
            self.others[:0],
        )

    @property
    def rates(self) -> FloatArray:
        """The share of responses that pass."""
        return np.asarray(self.passes / np.maximum(self.counts, 1))


class Matched(Struct, frozen=True):
    """The positions of the rollouts of each side whose key one rollout of either side has, in the
    order of the later side. Not compared are: keys that only one side has, keys that both have but
    of which a side has no value (`unscored`) or several rollouts (`several`), and rollouts without
    a key (`without`)."""

    old: IntArray
    new: IntArray
    only_old: int
    only_new: int
    unscored: int
    several: int
    without: int


def match(old: Side, new: Side) -> Matched:
    """Match rollouts by their keys."""
    (old_keys, first, count), (new_keys, at, times) = (
        np.unique(side.keys, return_index=True, return_counts=True) for side in (old, new)
    )
    every_old = _known(old.keys, old.others)
    every_new = _known(new.keys, new.others)
    shared = len(np.intersect1d(every_old, every_new, assume_unique=True))
    both, in_old, in_new = np.intersect1d(
        old_keys, new_keys, assume_unique=True, return_indices=True
    )
    there = both != NO_PROMPT
    single = there & (count[in_old] == 1) & (times[in_new] == 1)
    positions = at[in_new[single]]
    order = np.argsort(positions)
    return Matched(
        old=first[in_old[single]][order],
        new=positions[order],
        only_old=len(every_old) - shared,
        only_new=len(every_new) - shared,
        unscored=shared - int(there.sum()),
        several=int((there & ~single).sum()),
        without=sum(int((keys == NO_PROMPT).sum()) for keys in (old.keys, new.keys)),
    )


def _known(keys: HashArray, others: HashArray) -> HashArray:
    """All keys of a side, each once."""
    every: HashArray = np.unique(np.concatenate([keys, others]))
    return np.asarray(every[every != NO_PROMPT])


class Worse(Struct, frozen=True):
    """A prompt that got harder: the position of its rollout among those of the later side, its
    value on either side, and passes and responses on either side."""

    new: int
    values: tuple[float, float]
    passes: tuple[int, int]
    counts: tuple[int, int]


class Change(Struct, frozen=True):
    """What changed for the prompts of two bucketings.

    `moves[i][j]` counts those that went from bucket i of the earlier one to bucket j of this one.
    `means` are those of the metric over the prompts compared, and `interval` holds the difference
    of the two in 95% of bootstrap samples; None for less than FEWEST prompts. `worse` lists the
    prompts that got harder, those first for which chance is the least likely reason, and
    `beyond_chance` counts those that got harder by more than chance does; None without responses.
    `matched` says what was compared and what was not, `reworded` how many of the prompts compared
    have another text on either side.
    """

    compared: int
    matched: Matched
    reworded: int
    moves: tuple[tuple[int, ...], ...]
    means: tuple[float, float]
    interval: tuple[float, float] | None
    worse: Sequence[Worse]
    beyond_chance: int | None


class Direction(Enum):
    """Which values of a metric are harder; NONE for a metric that is no order of difficulty."""

    LOWER = "lower"
    HIGHER = "higher"
    NONE = "none"


def compare_sides(
    old: Side, new: Side, buckets: tuple[int, int], harder_is: Direction, by_passes: bool = True
) -> Change:
    """What changed; `buckets` is how many there are on either side. Set `by_passes` to False where
    rollouts carry a number in place of scores. Of a metric that is no order of difficulty, prompts
    with fewer passes got harder."""
    found = match(old, new)
    before, after = old.at(found.old), new.at(found.new)
    moves = np.zeros(buckets, np.int64)
    np.add.at(moves, (before.buckets, after.buckets), 1)
    scale = _scale(before.values, after.values)
    differences = after.values / scale - before.values / scale
    harder = difficulty(differences, harder_is is Direction.LOWER)
    if harder_is is Direction.NONE:
        harder = before.rates - after.rates
    texts = before.prompts, after.prompts
    asked = (texts[0] != NO_PROMPT) & (texts[1] != NO_PROMPT)
    chances = np.ones(len(harder))
    if by_passes:
        chances = chance_of_fall(before.counts, before.passes, after.counts, after.passes)
    order = np.lexsort((np.arange(len(harder)), -harder, chances))
    order = order[harder[order] > 0]
    count = len(differences)
    return Change(
        compared=count,
        matched=found,
        reworded=int((asked & (texts[0] != texts[1])).sum()),
        moves=tuple(map(tuple, moves.tolist())),
        means=(_mean(before.values, scale), _mean(after.values, scale)),
        interval=_times(bootstrap(differences), scale) if count >= FEWEST else None,
        worse=[_worse(i, before, after, found) for i in order[:MOST_WORSE].tolist()],
        beyond_chance=int((discoveries(chances) & (harder > 0)).sum()) if by_passes else None,
    )


def _scale(*parts: FloatArray) -> float:
    """A power of two that divides values without rounding, so that they can be added up."""
    largest = max((float(np.abs(values).max()) for values in parts if len(values)), default=0.0)
    return 1.0 if largest < LARGE else 2.0**600


def _mean(values: FloatArray, scale: float) -> float:
    return float((values / scale).mean() * scale) if len(values) else float("nan")


def _times(interval: tuple[float, float], scale: float) -> tuple[float, float]:
    """The interval in the unit of the values; what is beyond a double ends at its limit."""
    largest = sys.float_info.max / scale
    low, high = (max(-largest, min(end, largest)) * scale for end in interval)
    return low, high


def _worse(i: int, before: Side, after: Side, found: Matched) -> Worse:
    return Worse(
        int(found.new[i]),
        (float(before.values[i]), float(after.values[i])),
        (int(before.passes[i]), int(after.passes[i])),
        (int(before.counts[i]), int(after.counts[i])),
    )


def bootstrap(differences: FloatArray) -> tuple[float, float]:
    """The interval that holds the mean of 95% of DRAWS samples, each of as many prompts drawn with
    replacement (percentile method)."""
    steps, which = np.unique(differences, return_inverse=True)
    if len(steps) > STEPS:
        width = (steps[-1] - steps[0]) / STEPS
        which = np.minimum((differences - steps[0]) // width, STEPS - 1).astype(np.int64)
    counts = np.bincount(which)
    sums = np.bincount(which, weights=differences)
    filled = counts > 0
    counts, values = counts[filled], sums[filled] / counts[filled]
    total = len(differences)
    rng = np.random.Generator(np.random.PCG64(SEED))
    means = np.concatenate(
        [
            rng.multinomial(total, counts / total, AT_ONCE) @ values / total
            for _ in range(DRAWS // AT_ONCE)
        ]
    )
    low, high = np.percentile(means, (2.5, 97.5)).tolist()
    return low, high


def chance_of_fall(
    counts: IntArray, passes: IntArray, later_counts: IntArray, later_passes: IntArray
) -> FloatArray:
    """How likely as few of the later responses pass as do, if all responses of both sides are as
    likely to pass as each other (hypergeometric)."""
    columns = np.stack((counts, passes, later_counts, later_passes), axis=1)
    kinds, which = np.unique(columns, axis=0, return_inverse=True)
    chances = np.array([_chance(*kind) for kind in kinds.tolist()], np.float64)
    return chances[which.reshape(-1)] if len(kinds) else np.zeros(0)


def _chance(count: int, passes: int, later_count: int, later_passes: int) -> float:
    total, drawn, passing = count + later_count, later_count, passes + later_passes
    lowest = max(0, passing - count)
    logs = [
        _log_choose(passing, i) + _log_choose(total - passing, drawn - i)
        for i in range(lowest, later_passes + 1)
    ]
    return min(float(np.exp(np.array(logs) - _log_choose(total, drawn)).sum()), 1.0)


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def discoveries(chances: FloatArray) -> BoolArray:
    """Which of the hypotheses with these chances are rejected at a false discovery rate of RATE."""
    ordered = np.sort(chances)
    passing = np.flatnonzero(ordered <= RATE * np.arange(1, len(ordered) + 1) / len(ordered))
    if not len(passing):
        return np.zeros(len(chances), np.bool_)
    return np.asarray(chances <= ordered[passing[-1]])
