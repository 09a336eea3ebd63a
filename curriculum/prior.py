"""What all prompts together say of each: scores → how alike the scores of one prompt are, and which
prompts may be such that every response gets the same score.

Of most models many prompts are never solved, or always. Taking them for the end of what the others
are like would make all of them seem more in doubt than they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from curriculum.arrays import FloatArray, IntArray
from curriculum.metrics import Scores

REPEATED = 0.1  # the least share of rollouts with more than one response
COMMON = 0.01  # the least share of rollouts whose scores are all one value, for it to be fixed
CORRELATION = (1e-3, 1 - 1e-3)  # of the scores of one prompt: the least and most it is taken to be
LEAST = 1e-9  # of chances: none is nothing at all
ROUNDS, SETTLED = 200, 1e-5  # of the fit: the most, and the change of a share that ends it


@dataclass(frozen=True)
class Prior:
    """`mass`, how many responses to a prompt tell as much of it as all other prompts do, and per
    rollout `open`, the chance that its prompt's score is not fixed."""

    mass: float
    open: FloatArray


@dataclass(frozen=True)
class Spread:
    """Per rollout how many scores it has, their mean, and the sum of their squared distances from
    it, in units of the range of all scores."""

    counts: IntArray
    means: FloatArray
    squares: FloatArray

    @staticmethod
    def of(scores: Scores) -> Spread | None:
        """Those of some rollouts; None where the range is beyond a double."""
        low = scores.values.min()
        with np.errstate(over="ignore"):
            size = float(scores.values.max() - low)
        if not math.isfinite(size):
            return None
        values = (scores.values - low) / (size or 1.0)
        means = scores.sums(values) / scores.counts
        return Spread(scores.counts, means, scores.sums((values - means[scores.rows]) ** 2))

    def mass(self, weights: FloatArray) -> float | None:
        """The prior's mass, each rollout counting as its weight says; None where no rollout has
        two responses.

        It is 1/r - 1, with r the correlation of two scores of one prompt, by its
        analysis-of-variance estimator (Donner, 1986); for a Beta distribution of pass rates it is
        the sum of its parameters.
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
    """The prior that scores of many prompts tell; None where too few have several responses.

    Expectation maximization (Dempster et al., 1977) over two kinds of prompts: those with one score
    fixed, a share of all for each score that COMMON rollouts have alone, and the others.
    """
    spread = Spread.of(scores)
    if spread is None or (scores.counts > 1).sum() < REPEATED * len(scores.counts):
        return None
    open_, mass = np.ones(len(scores.counts)), spread.mass(np.ones(len(scores.counts)))
    alike = np.flatnonzero((scores.lowest == scores.highest) & (scores.counts > 1))
    values, fixed, times = np.unique(scores.lowest[alike], return_inverse=True, return_counts=True)
    common = times >= COMMON * len(open_)
    alike, fixed = alike[common[fixed]], (np.cumsum(common) - 1)[fixed[common[fixed]]]
    if mass is None or not len(alike):
        return None if mass is None else Prior(mass, open_)
    has = np.stack([scores.sums((scores.values == v).astype(np.float64)) for v in values[common]])
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
    """How likely all scores of a rollout are one of which others have this share: for each of
    `counts` responses, the product of (mass * share + j) / (mass + j), j from 0."""
    kinds, inverse = np.unique(np.stack((shares, counts)), axis=1, return_inverse=True)
    likely = [
        math.exp(
            math.lgamma(mass * share + n) - math.lgamma(mass * share)
            + math.lgamma(mass) - math.lgamma(mass + n)
        )
        for share, n in kinds.T.tolist()
    ]  # fmt: skip
    return np.array(likely)[inverse.reshape(-1)]
