"""The prior of the uncertainty: what the scores of all prompts say about each single prompt.

It has two parts: how much two scores of one prompt correlate, and which share of the prompts always
get the same score. Many models never solve many prompts, and always solve many others. If these
were taken for the tail of one distribution, all other prompts would look more uncertain than they
are.
"""

from __future__ import annotations

import math

import numpy as np
from msgspec import Struct

from curriculum.arrays import FloatArray, IntArray, distinct_rows
from curriculum.metrics import Scores

REPEATED = 0.1  # the least share of rollouts with several responses for a fit
COMMON = 0.01  # the least share of rollouts that have only this score, for it to be a fixed one
CORRELATION = (1e-3, 1 - 1e-3)  # bounds for the correlation of two scores of one prompt
LEAST = 1e-9  # lower bound of probabilities and shares, so that none is 0
ROUNDS, SETTLED = 200, 1e-5  # the fit ends at either: rounds, or change of a share


class Prior(Struct, frozen=True):
    """`mass` is the number of responses to a prompt that weigh as much as all other prompts do.
    `open` is, per rollout, the probability that its prompt's score is not fixed."""

    mass: float
    open: FloatArray


class Spread(Struct, frozen=True):
    """Per rollout, the number of its scores, their mean, and the sum of their squared deviations
    from it. The lowest score of all is scaled to 0, the highest to 1."""

    counts: IntArray
    means: FloatArray
    squares: FloatArray

    @staticmethod
    def of(scores: Scores) -> Spread | None:
        """The spread of these scores; None if their range overflows a double."""
        low = scores.values.min()
        with np.errstate(over="ignore"):
            size = float(scores.values.max() - low)
        if not math.isfinite(size):
            return None
        values = (scores.values - low) / (size or 1.0)
        means = scores.sums(values) / scores.counts
        return Spread(scores.counts, means, scores.sums((values - means[scores.rows]) ** 2))

    def mass(self, weights: FloatArray) -> float | None:
        """The prior's mass, with each rollout weighted; None for a single rollout, or if none has
        two responses.

        It is 1/r - 1, where r is the analysis-of-variance estimate (Donner, 1986) of the
        correlation of two scores of one prompt. For a Beta distribution of pass rates it is the
        sum of the parameters.
        """
        shares = weights * self.counts
        total, rollouts = float(shares.sum()), float(weights.sum())
        if total - rollouts <= 0 or rollouts <= 1:
            return None
        within = float((weights * self.squares).sum()) / (total - rollouts)
        middle = float((shares * self.means).sum()) / total
        between = float((shares * (self.means - middle) ** 2).sum()) / (rollouts - 1)
        size = (total - float((shares * self.counts).sum()) / total) / (rollouts - 1)
        spread = between + (size - 1) * within
        correlation = (between - within) / spread if spread > 0 else 0.5
        return 1 / min(max(correlation, CORRELATION[0]), CORRELATION[1]) - 1


def fit_prior(scores: Scores) -> Prior | None:
    """Fit the prior to the scores of many prompts; None if too few have several responses.

    Expectation maximization (Dempster et al., 1977) over two kinds of prompts: those with a fixed
    score, which have one share per score that is common enough (COMMON), and the others.
    """
    spread = Spread.of(scores)
    if spread is None or (scores.counts > 1).sum() < REPEATED * len(scores.counts):
        return None
    open_, mass = np.ones(len(scores.counts)), spread.mass(np.ones(len(scores.counts)))
    alike = np.flatnonzero((scores.lowest == scores.highest) & (scores.counts > 1))
    values, fixed = distinct_rows(scores.lowest[alike])
    common = np.bincount(fixed) >= COMMON * len(open_)
    alike, fixed = alike[common[fixed]], (np.cumsum(common) - 1)[fixed[common[fixed]]]
    if mass is None or not len(alike):
        return None if mass is None else Prior(mass, open_)
    has = np.stack(
        [scores.sums((scores.values == v).astype(np.float64)) for v in values[common, 0]]
    )
    shares = np.bincount(fixed) / len(open_) / 2
    for _ in range(ROUNDS):
        before = shares
        others = has @ open_ / (open_ @ scores.counts)
        chances = _all_alike(mass, np.maximum(others, LEAST)[fixed], scores.counts[alike])
        is_fixed = shares[fixed] / (shares[fixed] + (1 - shares.sum()) * chances)
        open_[alike] = np.maximum(1 - is_fixed, LEAST)
        shares = np.bincount(fixed, weights=is_fixed) / len(open_)
        mass = spread.mass(open_) or mass
        if np.abs(shares - before).max() < SETTLED:
            break
    return Prior(mass, open_)


def _all_alike(mass: float, shares: FloatArray, counts: IntArray) -> FloatArray:
    """The probability that all `counts` scores of a rollout are one value, whose share among other
    scores is given: the product of (mass * share + j) / (mass + j) for j from 0 to count - 1."""
    kinds, inverse = distinct_rows(shares, counts)
    likely = [
        math.exp(
            math.lgamma(mass * share + n) - math.lgamma(mass * share)
            + math.lgamma(mass) - math.lgamma(mass + n)
        )
        for share, n in kinds.tolist()
    ]  # fmt: skip
    return np.array(likely)[inverse]
