"""How many times as many responses would halve the share of misplaced rollouts: an experiment.

The long-run scores of each prompt are drawn from the posterior, and then so many responses to it.
The prompts are cut again as the run cuts them, and those that are not in their true bucket are
counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from msgspec import Struct

from curriculum.arrays import BoolArray, FloatArray, IntArray
from curriculum.metrics import LongRun, Metric, MetricParameters, Scores
from curriculum.statistics.cuts import CutRule, Cuts
from curriculum.statistics.posterior import Posterior, in_parts

MOST = 64  # times as many responses
PROMPTS = 4_000  # to draw for each number of responses, or fewer if they need too many
# A small sample says too little for so many to be worth their time.
PROMPTS_PER_ROLLOUT, LEAST_PROMPTS = 40, 1_000
NUMBERS = 1_000_000  # about how many scores and weights to draw for each number of responses
AT_ONCE = 1 << 18  # about how many scores to hold; the weights of the prompts are held, too
NEAR_HALF = 0.55
SEED = 1  # of the prompts
RESPONSES_SEED = 3  # another, or a prompt and its responses would be drawn with the same numbers


def factor_to_halve(
    posterior: Posterior,
    cuts: Cuts,
    rule: CutRule,
    metric: Metric,
    parameters: MetricParameters,
) -> float | None:
    """How many times as many responses per prompt would halve the share of rollouts whose true
    bucket is another; infinite if MOST times would not. None if the share is too small to tell.

    The share is found for 1, 2, 4 and so on times as many. Between the last two of these, it is
    taken to be a power of the number. Ties may bend the curve: if the share at the number that
    follows is not near half, the answer is the last of these numbers.
    """
    experiment = Experiment(posterior, cuts, rule, metric, parameters)
    first = share = experiment.misplaced(1)
    if not first > 0:
        return None
    factor = 1
    while factor < MOST:
        before, factor = share, 2 * factor
        share = experiment.misplaced(factor)
        if share <= first / 2:
            least = max(share, first / 1_000)  # a share of 0 has no logarithm
            part = math.log(2 * before / first) / math.log(before / least)
            found = factor / 2 * 2**part
            return found if experiment.misplaced(found) <= NEAR_HALF * first else float(factor)
    return math.inf


class Drawn(Struct, frozen=True):
    """Prompts like those of a sample: their rollouts there, whether each has a fixed score, and in
    parts, by number, what their scores are in the long run."""

    rollouts: IntArray
    fixed: BoolArray
    parts: Sequence[tuple[IntArray, LongRun]]


class Experiment(Struct, frozen=True, dict=True):
    """Prompts like those of a sample, with more responses each, cut again. They are drawn once: so
    all numbers of responses are tried on the same prompts, or on the first of them."""

    posterior: Posterior
    cuts: Cuts
    rule: CutRule
    metric: Metric
    parameters: MetricParameters

    def misplaced(self, factor: float) -> float:
        """The share of prompts that are cut into a bucket other than their true one, if each has
        `factor` times as many responses as now. Those with a fixed score are in no doubt."""
        rng = np.random.Generator(np.random.PCG64(RESPONSES_SEED))
        most = len(self._choose(factor))
        chosen, fixed = self._drawn.rollouts[:most], self._drawn.fixed[:most]
        counts = np.rint(self.posterior.scores.counts[chosen] * factor).astype(np.int64)
        values, rates = np.empty((2, most)), np.empty((2, most))
        for part, run in self._drawn.parts:
            rows = np.flatnonzero(part < most)
            for some in in_parts(counts[part[rows]], self.posterior.width, AT_ONCE):
                here, prompts = rows[some], part[rows[some]]
                tried = LongRun(run.values[here], run.weights[here], counts[prompts][:, None])
                values[:, prompts], rates[:, prompts] = self._observe(rng, tried)
        fine = np.isfinite(values).all(axis=0)  # not if scores are near the limits of a double
        if not fine.any():
            return 0.0
        values, rates, counts, fixed = values[:, fine], rates[:, fine], counts[fine], fixed[fine]
        observed, cuts = self.cuts.cut_again(values[0], rates[0], counts, self.rule)
        true = cuts.bucket_of(values[1], rates[1], counts)
        return float(((observed != true) & ~fixed).mean())

    @cached_property
    def _drawn(self) -> Drawn:
        """The prompts for as many responses as now, which are the most."""
        rng = np.random.Generator(np.random.PCG64(SEED))
        chosen, posterior = self._choose(1), self.posterior
        fixed = rng.random(len(chosen)) >= posterior.prior.open[chosen]
        parts = in_parts(posterior.scores.counts[chosen], posterior.width, AT_ONCE)
        runs = [(part, self._draw(rng, chosen[part], fixed[part])) for part in parts]
        return Drawn(chosen, fixed, runs)

    def _choose(self, factor: float) -> IntArray:
        """The rollouts of the sample, repeated: to PROMPTS of them, or fewer if there are few of
        them or NUMBERS do not allow it."""
        counts = self.posterior.scores.counts
        prompts = min(PROMPTS, max(PROMPTS_PER_ROLLOUT * len(counts), LEAST_PROMPTS))
        numbers = np.cumsum(np.resize(counts * (factor + 1) + 3 * self.posterior.width, prompts))
        most = max(int(np.searchsorted(numbers, NUMBERS)), 1)
        return np.resize(np.arange(len(counts)), prompts)[:most]

    def _draw(self, rng: np.random.Generator, rollouts: IntArray, fixed: BoolArray) -> LongRun:
        """The long run of some rollouts, drawn from the posterior unless it is fixed."""
        run = self.posterior.draw(rng, rollouts)
        own = run.values == self.posterior.scores.lowest[rollouts][:, None]
        weights = np.where(fixed[:, None], own / own.sum(axis=1, keepdims=True), run.weights)
        return LongRun(run.values, weights, run.counts)

    def _observe(self, rng: np.random.Generator, run: LongRun) -> tuple[FloatArray, FloatArray]:
        """Metric values and pass rates: those of responses that are drawn, and the true ones."""
        assert self.metric.expected is not None
        counts, threshold = run.counts[:, 0], self.parameters.pass_threshold
        times = rng.multinomial(counts, run.weights)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        scores = Scores(np.repeat(run.values.reshape(-1), times.reshape(-1)), offsets)
        values = self.metric.values(scores, self.parameters)
        expected = self.metric.expected(run, self.parameters)
        rates = scores.passes(threshold) / counts, run.pass_rate(threshold)
        return np.stack((values, expected)), np.stack(rates)
