"""How uncertain the buckets are: a sample of rollouts → the share whose true bucket is another.

The true bucket of a prompt is that of its metric over very many rollouts. A few responses say how
likely each bucket is (curriculum.statistics.posterior). Prompts may also have one fixed score, such
as those that are never solved.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from curriculum.arrays import FloatArray, IntArray, distinct, distinct_rows
from curriculum.metrics import LongRun, Metric, MetricParameters, Scores
from curriculum.statistics.cuts import CutRule, Cuts
from curriculum.statistics.more_responses import factor_to_halve
from curriculum.statistics.posterior import BetaPosterior, BootstrapPosterior, in_parts
from curriculum.statistics.prior import fit_prior

# Pass rates, evenly spaced in the logit, where a Beta density has no pole at either end.
STEP = 0.005
LOGITS = np.arange(-20, 20 + STEP / 2, STEP)
PAIRS_AT_ONCE = 16

ROW_NUMBERS = 1 << 16  # about how many to hold at once: a rollout may have many responses
NUMBERS = 500_000  # about how many random numbers to draw in total
SEED = 0
AWAY = np.array([1, 2])  # buckets


class Uncertainty(Struct, frozen=True):
    """How many rollouts truly belong in another bucket, as far as their scores tell.

    `share` is the expected share of such rollouts, None if too few have several responses; `far`
    that of those which belong two or more buckets away, None if no two buckets are that far apart.
    `posterior` names the one used. `responses` are the least and the most responses of a rollout.
    `factor` says how many times as many would halve the share, infinite if MOST times would not;
    it is None if there is nothing to halve.
    """

    share: float | None
    posterior: str
    responses: tuple[int, int]
    far: float | None = None
    factor: float | None = None


def estimate_uncertainty(
    scores: Scores,
    buckets: IntArray,
    cuts: Cuts,
    metric: Metric,
    parameters: MetricParameters,
    rule: CutRule | None = None,
) -> Uncertainty | None:
    """Estimate the share of rollouts that truly belong in another bucket than theirs in `buckets`;
    None for a metric without `expected`, or for no rollouts. With the `rule` that made the cuts,
    also how many responses would halve it."""
    if metric.expected is None or not len(buckets):
        return None
    responses = int(scores.counts.min()), int(scores.counts.max())
    if metric.degree == 0:  # only passes count
        pass_at = parameters.pass_threshold
        passes = np.where(scores.values >= pass_at, pass_at, pass_at - 1)
        scores = Scores(passes, scores.offsets)
    two = len(distinct(scores.values)) <= 2
    name = "Beta posterior" if two else "bootstrap"
    prior = fit_prior(scores)
    if prior is None:
        return Uncertainty(None, name, responses)
    chances = _Chances(cuts, metric, parameters)
    posterior = BetaPosterior(scores, prior) if two else BootstrapPosterior(scores, prior)
    with np.errstate(over="ignore", invalid="ignore"):  # scores near the limits of a double
        share, far = (
            chances.beta(posterior, buckets)
            if isinstance(posterior, BetaPosterior)
            else chances.bootstrap(posterior, buckets)
        ).tolist()
        factor = None
        if rule is not None and share > 0:
            factor = factor_to_halve(posterior, cuts, rule, metric, parameters)
    return Uncertainty(share, name, responses, far if len(cuts.possible) > 2 else None, factor)


class _Chances(Struct, frozen=True):
    """Computes the expected shares of rollouts that belong at least as far as AWAY from their
    bucket."""

    cuts: Cuts
    metric: Metric
    parameters: MetricParameters

    def beta(self, posterior: BetaPosterior, buckets: IntArray) -> FloatArray:
        """The shares for scores of two values: rates that are not fixed have a Beta posterior."""
        counts = posterior.scores.counts
        kinds, inverse = distinct_rows(counts, posterior.highs, buckets)
        rollouts = np.bincount(inverse, weights=posterior.prior.open)
        rate = 1 / (1 + np.exp(-LOGITS))
        values, weights = posterior.ends, np.stack((1 - rate, rate), axis=-1)[None]
        expected = np.zeros(len(AWAY))
        for first in range(0, len(kinds), PAIRS_AT_ONCE):
            n, c, bucket = kinds[first : first + PAIRS_AT_ONCE].T
            chance = _beta_chances(*posterior.shapes(n, c))
            away = self._away(LongRun(values, weights, n[:, None, None]), bucket[:, None])
            expected += rollouts[first : first + len(n)] @ (chance[..., None] * away).sum(axis=1)
        return expected / len(buckets)

    def bootstrap(self, posterior: BootstrapPosterior, buckets: IntArray) -> FloatArray:
        """The shares for any scores that are not fixed."""
        rng, scores = np.random.Generator(np.random.PCG64(SEED)), posterior.scores
        numbers = len(scores.values) + len(buckets) * posterior.width
        draws = min(max(NUMBERS // numbers, 4), 200)
        at_once = min(max(ROW_NUMBERS // numbers, 1), draws)  # few rollouts are drawn several times
        draws -= draws % at_once
        expected = np.zeros(len(AWAY))
        for part in in_parts(scores.counts, posterior.width, ROW_NUMBERS):
            rollouts = np.tile(part, at_once)
            for _ in range(draws // at_once):
                away = self._away(posterior.draw(rng, rollouts), buckets[rollouts])
                expected += (posterior.prior.open[rollouts][:, None] * away).sum(axis=0)
        return expected / draws / len(buckets)

    def _away(self, run: LongRun, buckets: IntArray) -> FloatArray:
        """Whether the long run puts each rollout at least as far as AWAY from its bucket; there is
        one column for each."""
        assert self.metric.expected is not None
        values = self.metric.expected(run, self.parameters)
        rates = run.pass_rate(self.parameters.pass_threshold)
        true = self.cuts.bucket_of(values, rates, run.counts[..., 0])
        away = np.abs(self.cuts.place(true) - self.cuts.place(buckets))[..., None] >= AWAY
        return np.asarray(away, np.float64)


def _beta_chances(a: FloatArray, b: FloatArray) -> FloatArray:
    """The probability of each of the LOGITS, with one row per Beta distribution."""
    up, down = a[:, None], b[:, None]
    logs = -up * np.logaddexp(0, -LOGITS) - down * np.logaddexp(0, LOGITS)
    chances = np.exp(logs - logs.max(axis=1, keepdims=True))
    # Beyond the ends of the grid, the density falls off as exp(a x) and exp(-b x).
    chances[:, 0] += chances[:, 0] / (a * STEP)
    chances[:, -1] += chances[:, -1] / (b * STEP)
    return np.asarray(chances / chances.sum(axis=1, keepdims=True))
