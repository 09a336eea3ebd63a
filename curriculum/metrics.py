"""How hard a prompt is: the scores of each rollout → one value, NaN where it is undefined.

Everything is vectorized over the rollouts of a shard. A value depends neither on the order of the
responses nor on the machine: scores are sorted, summed in that order, and the value is rounded. The
last functions give the same metrics for the scores of a single rollout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from curriculum.arrays import FloatArray, IntArray, distinct_rows

SIGNIFICANT_DIGITS = 12
NEGLIGIBLE = 1e-12


@dataclass(frozen=True)
class Scores:
    """The present scores of some rollouts: `values` flat and ascending within each rollout.

    `offsets` has one more entry than there are rollouts. A rollout may have no score.
    """

    values: FloatArray
    offsets: IntArray

    @staticmethod
    def of(rollouts: Iterable[Sequence[float | bool | None]]) -> Scores:
        """Take scores rollout by rollout; None, NaN and ±Infinity are missing and left out."""
        lists = list(rollouts)
        return Scores.of_flat([s for scores in lists for s in scores], [len(s) for s in lists])

    @staticmethod
    def of_flat(
        flat: FloatArray | Sequence[float | bool | None], counts: IntArray | Sequence[int]
    ) -> Scores:
        """Take scores one after another, `counts` of them for each rollout."""
        # + 0.0 turns -0.0 into 0.0: equal scores must be equal bytes.
        values = np.array(flat, dtype=np.float64) + 0.0
        present = np.isfinite(values)
        most = int(np.max(counts, initial=0))
        if present.all() and most == np.min(counts, initial=most) and most:
            offsets = np.arange(len(counts) + 1, dtype=np.int64) * most
            return Scores(np.sort(values.reshape(-1, most), axis=1).reshape(-1), offsets)
        rows = np.repeat(np.arange(len(counts)), counts)[present]
        values = values[present]
        offsets = np.zeros(len(counts) + 1, dtype=np.int64)
        np.cumsum(np.bincount(rows, minlength=len(counts)), out=offsets[1:])
        return Scores(values[np.lexsort((values, rows))], offsets)

    @staticmethod
    def join(parts: Sequence[Scores]) -> Scores:
        """The rollouts of all parts, one after another."""
        counts = np.concatenate([np.zeros(1, np.int64), *(part.counts for part in parts)])
        return Scores(
            np.concatenate([np.zeros(0), *(part.values for part in parts)]), np.cumsum(counts)
        )

    def take(self, rollouts: IntArray) -> Scores:
        """Some of the rollouts, in the order asked for."""
        counts = self.counts[rollouts]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
        return Scores(self.values[np.repeat(self.offsets[rollouts], counts) + within], offsets)

    @cached_property
    def counts(self) -> IntArray:
        """How many scores each rollout has."""
        return np.diff(self.offsets)

    @cached_property
    def rows(self) -> IntArray:
        """Which rollout each score belongs to."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @cached_property
    def lowest(self) -> FloatArray:
        """Each rollout's lowest score, NaN without one."""
        return self._pick(self.offsets[:-1])

    @cached_property
    def highest(self) -> FloatArray:
        """Each rollout's highest score, NaN without one."""
        return self._pick(self.offsets[1:] - 1)

    def _pick(self, positions: IntArray) -> FloatArray:
        picked = np.full(len(self.counts), np.nan)
        some = self.counts > 0
        picked[some] = self.values[positions[some]]
        return picked

    def sums(self, values: FloatArray) -> FloatArray:
        """Sum `values`, one per score, over each rollout, one after another from the lowest."""
        sums = np.bincount(self.rows, weights=values, minlength=len(self.counts))
        return sums.astype(np.float64, copy=False)

    def passes(self, threshold: float) -> IntArray:
        """How many scores of each rollout are >= `threshold`."""
        return self.sums((self.values >= threshold).astype(np.float64)).astype(np.int64)


@dataclass(frozen=True)
class MetricParameters:
    """`k` of pass@k, the lowest score that is a pass, and how many responses the training draws for
    a prompt at once."""

    k: int = 1
    pass_threshold: float = 0.5
    group_size: int = 8


@dataclass(frozen=True)
class LongRun:
    """What the scores of each prompt would be over very many responses.

    `values`, ascending along the last axis, are the scores a response may get, and `weights` how
    often it gets them: they sum to 1 along that axis. `counts` says how many responses a rollout
    has; its last axis has length 1. The three broadcast against each other.
    """

    values: FloatArray
    weights: FloatArray
    counts: IntArray

    def mean(self) -> FloatArray:
        """The mean score."""
        return np.asarray((self.weights * self.values).sum(axis=-1))

    def pass_rate(self, threshold: float) -> FloatArray:
        """The share of scores that are >= `threshold`."""
        return np.asarray((self.weights * (self.values >= threshold)).sum(axis=-1))


@dataclass(frozen=True)
class Metric:
    """A measure of difficulty.

    `compute` gives one value per rollout, NaN where undefined. `degree` is the power of the score
    that the value's unit is: 1 for a score, 2 for its square, 0 for a rate. `expected` gives the
    mean of the value over all rollouts that have these scores in the long run; without it nothing
    is said of how far the value can be trusted.
    """

    name: str
    compute: Callable[[Scores, MetricParameters], FloatArray]
    higher_is_easier: bool
    meaning: str
    degree: int = 1
    expected: Callable[[LongRun, MetricParameters], FloatArray] | None = None

    def values(self, scores: Scores, parameters: MetricParameters) -> FloatArray:
        """The metric of each rollout, tidied so that ties are ties; NaN where undefined.

        Rounded to 12 significant digits; 0 where rounding noise is all there is, that is below
        1e-12 of the rollout's largest |score| (of its square for degree 2; rates are exact).
        """
        with np.errstate(all="ignore"):
            values = np.asarray(self.compute(scores, parameters), dtype=np.float64)
        values = np.where(np.isfinite(values), values, np.nan)
        if self.degree:
            largest = np.fmax(np.abs(scores.lowest), np.abs(scores.highest))
            size = np.abs(values) if self.degree == 1 else np.sqrt(np.abs(values))
            noise = size < NEGLIGIBLE ** (1 / self.degree) * largest
            values = np.where(noise, 0.0, values)
        return _round(values)


def _round(values: FloatArray) -> FloatArray:
    """Round to 12 significant digits, exactly as decimal printing does."""
    with np.errstate(all="ignore"):
        shift = SIGNIFICANT_DIGITS - 1 - np.floor(np.log10(np.abs(values)))
        scale = 10.0 ** np.abs(shift)
        scaled = np.where(shift >= 0, values * scale, values / scale)
        whole = np.rint(scaled)
        rounded = np.where(shift >= 0, whole / scale, whole * scale)
        # Powers of ten are exact up to 10**22, so one division of whole numbers rounds like a
        # decimal literal. Where the power is not, or a half might go either way, print and read.
        near_half = np.abs(np.abs(scaled - whole) - 0.5) < 1e-3
    for i in np.flatnonzero(~(np.abs(shift) <= 22) | near_half).tolist():
        rounded[i] = float(f"{values[i]:.{SIGNIFICANT_DIGITS}g}")
    return np.asarray(rounded + 0.0)


def mean_rewards(scores: Scores, parameters: MetricParameters) -> FloatArray:
    """Mean score; undefined without a score."""
    return scores.sums(scores.values) / scores.counts


def max_rewards(scores: Scores, parameters: MetricParameters) -> FloatArray:
    """Highest score; undefined without a score."""
    return scores.highest


def min_rewards(scores: Scores, parameters: MetricParameters) -> FloatArray:
    """Lowest score; undefined without a score."""
    return scores.lowest


def variances(scores: Scores, parameters: MetricParameters) -> FloatArray:
    """Sample variance, sum of squared distances from the mean over n - 1; undefined for n < 2."""
    shifted = scores.values - scores.lowest[scores.rows]
    mean = scores.sums(shifted) / scores.counts
    squares = scores.sums((shifted - mean[scores.rows]) ** 2)
    return np.where(scores.counts > 1, squares / (scores.counts - 1), np.nan)


def success_rates(scores: Scores, parameters: MetricParameters) -> FloatArray:
    """Passes over responses, c / n; undefined without a score."""
    return scores.passes(parameters.pass_threshold) / scores.counts


def pass_at_k_values(scores: Scores, parameters: MetricParameters) -> FloatArray:
    """Chance that one of k responses drawn without replacement passes; undefined for n < k.

    The unbiased estimator 1 - C(n-c, k) / C(n, k) of Chen et al., 2021 (arXiv 2107.03374),
    in whole numbers of any size, rounded once.
    """
    passes = scores.passes(parameters.pass_threshold)
    pairs, inverse = distinct_rows(scores.counts, passes)
    values = [_pass_at_k(n, c, parameters.k) for n, c in pairs.tolist()]
    return np.array(values, dtype=np.float64)[inverse]


def _pass_at_k(n: int, c: int, k: int) -> float:
    if n < k:
        return math.nan
    draws = math.comb(n, k)
    return (draws - math.comb(n - c, k)) / draws


def expected_mean(scores: LongRun, parameters: MetricParameters) -> FloatArray:
    """The mean of the mean score is the mean score."""
    return scores.mean()


def expected_max(scores: LongRun, parameters: MetricParameters) -> FloatArray:
    """Mean of the highest of n scores: sum of x (F(x)^n - F(x-)^n), F their distribution."""
    below = np.cumsum(scores.weights, axis=-1).clip(max=1) ** scores.counts
    return np.asarray((scores.values * np.diff(below, prepend=0, axis=-1)).sum(axis=-1))


def expected_min(scores: LongRun, parameters: MetricParameters) -> FloatArray:
    """Mean of the lowest of n scores, which is minus the highest of the scores turned."""
    turned = LongRun(-scores.values[..., ::-1], scores.weights[..., ::-1], scores.counts)
    return -expected_max(turned, parameters)


def expected_variance(scores: LongRun, parameters: MetricParameters) -> FloatArray:
    """Mean of the sample variance, which is unbiased: the variance."""
    distances = (scores.values - scores.mean()[..., None]) ** 2
    return np.asarray((scores.weights * distances).sum(axis=-1))


def expected_success_rate(scores: LongRun, parameters: MetricParameters) -> FloatArray:
    """The share of scores that pass."""
    return scores.pass_rate(parameters.pass_threshold)


def expected_pass_at_k(scores: LongRun, parameters: MetricParameters) -> FloatArray:
    """Mean of the estimator, which is unbiased: 1 - (1 - p)^k for a pass rate p."""
    rate = scores.pass_rate(parameters.pass_threshold).clip(max=1)
    return np.asarray(1 - (1 - rate) ** parameters.k)


PASS_AT_K = "pass_at_k"
RATES = ("success_rate", PASS_AT_K)  # what goes by passes, and not by scores

_VARIANCE = "sample variance of the scores"
_PASS_AT_K = "chance that one of k responses passes"
_RATE = "share of responses that pass"

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("mean_reward", mean_rewards, True, "mean score", 1, expected_mean),
        Metric("max_reward", max_rewards, True, "highest score", 1, expected_max),
        Metric("min_reward", min_rewards, True, "lowest score", 1, expected_min),
        Metric("variance", variances, False, _VARIANCE, 2, expected_variance),
        Metric(PASS_AT_K, pass_at_k_values, True, _PASS_AT_K, 0, expected_pass_at_k),
        Metric("success_rate", success_rates, True, _RATE, 0, expected_success_rate),
    )
}


def given_value(name: str, higher_is_easier: bool) -> Metric:
    """The metric of rollouts that carry a number in place of scores: that number."""
    return Metric(name, max_rewards, higher_is_easier, "the number that it carries")


OneRollout: TypeAlias = Sequence[float | bool | None]  # None, NaN and ±Infinity are missing


def measure(scores: OneRollout, parameters: MetricParameters | None = None) -> dict[str, float]:
    """Every metric of one rollout, NaN where undefined."""
    one = Scores.of([scores])
    return {
        name: float(metric.values(one, parameters or MetricParameters())[0])
        for name, metric in METRICS.items()
    }


def _of_one(name: str, scores: OneRollout, parameters: MetricParameters | None = None) -> float:
    metric = METRICS[name]
    return float(metric.values(Scores.of([scores]), parameters or MetricParameters())[0])


def mean_reward(scores: OneRollout) -> float:
    """Mean score of one rollout; NaN without a score."""
    return _of_one("mean_reward", scores)


def max_reward(scores: OneRollout) -> float:
    """Highest score of one rollout; NaN without a score."""
    return _of_one("max_reward", scores)


def min_reward(scores: OneRollout) -> float:
    """Lowest score of one rollout; NaN without a score."""
    return _of_one("min_reward", scores)


def variance(scores: OneRollout) -> float:
    """Sample variance (n - 1) of the scores of one rollout; NaN for fewer than two."""
    return _of_one("variance", scores)


def success_rate(scores: OneRollout, pass_threshold: float = 0.5) -> float:
    """Share of the responses of one rollout whose score is >= `pass_threshold`; NaN without a
    score."""
    return _of_one("success_rate", scores, MetricParameters(pass_threshold=pass_threshold))


def pass_at_k(scores: OneRollout, k: int = 1, pass_threshold: float = 0.5) -> float:
    """Chance that one of `k` responses passes (`pass_at_k_values`); NaN for fewer than k scores.
    Raises ValueError for k < 1."""
    if k < 1:
        raise ValueError(f"k is {k}, expected 1 or more")
    return _of_one("pass_at_k", scores, MetricParameters(k, pass_threshold))
