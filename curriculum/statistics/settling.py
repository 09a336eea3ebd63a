"""Which prompts' buckets further responses would settle most, within a budget of responses.

The pass rate of a prompt is taken to be Beta(c + 1, n - c + 1) distributed after c of n responses
passed: any rate is as likely as any other before. The chance that its true bucket is another than
the one that it is put into follows from that, and so does the mean of what that chance will be
after so many further responses, of which a Beta-binomial number passes.
"""

from __future__ import annotations

from functools import cache, cached_property
from math import lgamma

import numpy as np
from msgspec import Struct

from curriculum.arrays import CompactIntArray, FloatArray, IntArray, distinct_rows
from curriculum.bucketers import difficulty
from curriculum.choosing.choose import CHOICE, order_of
from curriculum.statistics.cuts import Cuts

# How many further responses a prompt may get.
LADDER = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


class Kinds(Struct, frozen=True, dict=True):
    """Rollouts that look alike: `counts` of responses, `passes` and `buckets` of each kind, and the
    number of the kind of each rollout."""

    counts: IntArray
    passes: IntArray
    buckets: IntArray
    of_rollout: CompactIntArray

    @staticmethod
    def of(counts: IntArray, passes: IntArray, buckets: IntArray) -> Kinds:
        """The kinds of rollouts, given their responses, passes and buckets."""
        kinds, numbers = distinct_rows(counts, passes, buckets)
        return Kinds(kinds[:, 0], kinds[:, 1], kinds[:, 2], numbers)

    @cached_property
    def sizes(self) -> IntArray:
        """How many rollouts are of each kind."""
        return np.bincount(self.of_rollout, minlength=len(self.counts))


class Settling(Struct, frozen=True):
    """Kinds of rollouts, and where their pass rates were cut."""

    kinds: Kinds
    cuts: Cuts

    def elsewhere(self, kind: int, more: int) -> float:
        """The chance that the true bucket of a rollout of this kind is another than the one that it
        will be put into, after so many further responses, if cuts stay where they are."""
        n, c = int(self.kinds.counts[kind]), int(self.kinds.passes[kind])
        total, passes = n + more, c + np.arange(more + 1)
        rates = passes / total
        put_into = self.cuts.bucket_of(rates, rates, np.full(more + 1, total))
        if not more:
            put_into = self.kinds.buckets[kind : kind + 1]
        wrong = np.ones(more + 1)
        for low, high, bucket in self._intervals(n):
            share = _below(total, high)[passes] - _below(total, low)[passes]
            wrong -= np.where(put_into == bucket, share, 0.0)
        return float(_passing(n, c, more) @ wrong)

    def _intervals(self, count: int) -> list[tuple[float, float, int]]:
        """The true pass rates of each bucket. With buckets of what is always or never passed, a
        rate counts as either as far as `count` responses can tell."""
        values = np.sort(difficulty(self.cuts.edges, self.cuts.higher_is_easier))
        edges, buckets = values.tolist(), self.cuts.buckets.tolist()
        if self.cuts.higher_is_easier:
            buckets = buckets[::-1]
        low, high = 0.0, 1.0
        if self.cuts.ends is not None:
            low, high = 0.5 / count, 1 - 0.5 / count
        bounds = [low, *(min(max(edge, low), high) for edge in edges), high]
        found = list(zip(bounds[:-1], bounds[1:], buckets, strict=True))
        if self.cuts.ends is not None:
            found += [(high, 1.0, self.cuts.ends[0]), (0.0, low, self.cuts.ends[1])]
        return found

    def spend(self, budget: int) -> IntArray:
        """How many further responses each rollout gets, at most `budget` in all.

        Responses go where each of them lowers that chance most: of every kind, from one number of
        LADDER to another, those between which the chance falls most steeply. Of rollouts of one
        kind, those that come first by chance.
        """
        sizes, each = self.kinds.sizes.tolist(), np.zeros(len(self.kinds.counts), np.int64)
        steps = [(-g, kind, more) for kind in range(len(each)) for g, more in self._steps(kind)]
        last = None
        for _, kind, more in sorted(steps):
            if budget < more * sizes[kind]:
                last = kind, more
                break
            budget -= more * sizes[kind]
            each[kind] += more
        found = each[self.kinds.of_rollout]
        if last:  # there is not enough left for all rollouts of this kind
            mine = np.flatnonzero(self.kinds.of_rollout == last[0])
            by_chance = np.argsort(order_of(mine.astype(np.uint64), CHOICE), kind="stable")
            whole, rest = divmod(budget, last[1])
            found[mine[by_chance[:whole]]] += last[1]
            found[mine[by_chance[whole]]] += rest
        return found

    def _steps(self, kind: int) -> list[tuple[float, int]]:
        """From 0 further responses up: what each response of a step gains, and how many these are.
        Every step gains less than the one before: the steps lie on the lower convex hull."""
        chances = [self.elsewhere(kind, more) for more in LADDER]
        found, at = list[tuple[float, int]](), 0
        while at < len(LADDER) - 1:
            gains = [
                ((chances[at] - chances[to]) / (LADDER[to] - LADDER[at]), to)
                for to in range(at + 1, len(LADDER))
            ]
            gain, to = max(gains)
            if gain <= 0:
                break
            found.append((gain, LADDER[to] - LADDER[at]))
            at = to
        return found


@cache
def _below(total: int, rate: float) -> FloatArray:
    """The chance that a pass rate is below `rate`, for 0 to `total` passes of `total`.

    A Beta(c + 1, total - c + 1) distributed number is below x if more than c of total + 1 numbers
    between 0 and 1 are.
    """
    if rate <= 0 or rate >= 1:
        return np.full(total + 1, float(rate >= 1))
    draws = np.arange(total + 2)
    logs = _log_choose(total + 1) + draws * np.log(rate) + (total + 1 - draws) * np.log1p(-rate)
    return np.cumsum(np.exp(logs)[::-1])[::-1][1:]


def _passing(n: int, c: int, more: int) -> FloatArray:
    """The chance that 0 to `more` of so many further responses pass, after c of n:
    Beta-binomial."""
    x = np.arange(more + 1)
    logs = _log_choose(more) + _log_beta(c + x + 1, n - c + more - x + 1)
    return np.exp(logs - _log_beta(np.array([c + 1]), np.array([n - c + 1])))


@cache
def _log_choose(total: int) -> FloatArray:
    """The logarithm of the number of ways to choose 0 to `total` of `total`."""
    logs = _log_factorials(total)
    return np.asarray(logs[-1] - logs - logs[::-1])


@cache
def _log_factorials(most: int) -> FloatArray:
    return np.array([lgamma(i + 1) for i in range(most + 1)])


def _log_beta(a: IntArray, b: IntArray) -> FloatArray:
    logs = _log_factorials(int((a + b).max()) - 1)
    return np.asarray(logs[a - 1] + logs[b - 1] - logs[a + b - 1])
