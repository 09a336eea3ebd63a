"""How uncertain the buckets are: a sample of rollouts → the share whose true bucket is another.

The true bucket of a prompt is that of its metric over very many rollouts. A few responses say how
likely each bucket is: the scores of a prompt are modelled as a Dirichlet process around the scores
of all prompts (Ferguson, 1973). Its posterior is a Beta distribution if scores take two values,
otherwise the Bayesian bootstrap (Rubin, 1981) with the scores of other prompts as prior. Prompts
may also have one fixed score, such as those that are never solved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from curriculum.arrays import BoolArray, FloatArray, IntArray
from curriculum.bucketers import cut_at, difficulty
from curriculum.metrics import LongRun, Metric, MetricParameters, Scores
from curriculum.statistics.prior import Prior, fit_prior

# Pass rates, evenly spaced in the logit, where a Beta density has no pole at either end.
STEP = 0.005
LOGITS = np.arange(-20, 20 + STEP / 2, STEP)
PAIRS_AT_ONCE = 16

ATOMS = 32, 1024  # the least and most scores of other prompts per bootstrap draw
ROW_NUMBERS = 1 << 16  # about how many to hold at once: a rollout may have many responses
NUMBERS = 500_000  # about how many random numbers to draw in total
SEED = 0
NEXT_TO = 1e-9  # a distance to a threshold that is more than rounding


@dataclass(frozen=True)
class Cuts:
    """Where buckets meet, as difficulties.

    The ascending `edges` separate intervals; interval i is bucket `buckets[i]`. With `ends`,
    rollouts that always pass are in its first bucket, and those that never pass in its second.
    """

    edges: FloatArray
    buckets: IntArray
    higher_is_easier: bool
    ends: tuple[int, int] | None = None

    def bucket_of(self, values: FloatArray, rates: FloatArray, counts: IntArray) -> IntArray:
        """The bucket of each metric value. With `ends`, a rate nearer to n of n passes than to
        n - 1 counts as always passing, and one nearer to 0 than to 1 as never."""
        buckets = self.buckets[cut_at(difficulty(values, self.higher_is_easier), self.edges)]
        if self.ends is None:
            return buckets
        near = 0.5 / counts
        buckets = np.where(rates > 1 - near, self.ends[0], buckets)
        return np.where(rates < near, self.ends[1], buckets)


@dataclass(frozen=True)
class Uncertainty:
    """`share` is the expected share of rollouts whose true bucket is another, None if too few have
    several responses. `posterior` names the one used. `responses` are the least and the most
    responses of a rollout."""

    share: float | None
    posterior: str
    responses: tuple[int, int]


def estimate_uncertainty(
    scores: Scores, buckets: IntArray, cuts: Cuts, metric: Metric, parameters: MetricParameters
) -> Uncertainty | None:
    """Estimate the share of rollouts that truly belong in another bucket than theirs in `buckets`;
    None for a metric without `expected`, or for no rollouts."""
    if metric.expected is None or not len(buckets):
        return None
    responses = int(scores.counts.min()), int(scores.counts.max())
    if metric.degree == 0:  # only passes count
        pass_at = parameters.pass_threshold
        passes = np.where(scores.values >= pass_at, pass_at, pass_at - 1)
        scores = Scores(passes, scores.offsets)
    two = len(np.unique(scores.values)) <= 2
    posterior = "Beta posterior" if two else "bootstrap"
    prior = fit_prior(scores)
    if prior is None:
        return Uncertainty(None, posterior, responses)
    chances = _Chances(cuts, metric, parameters)
    with np.errstate(over="ignore", invalid="ignore"):  # scores near the limits of a double
        share = (chances.beta if two else chances.bootstrap)(scores, buckets, prior)
    return Uncertainty(share, posterior, responses)


@dataclass(frozen=True)
class _Chances:
    """Computes the expected share of rollouts that belong in another bucket than theirs."""

    cuts: Cuts
    metric: Metric
    parameters: MetricParameters

    def beta(self, scores: Scores, buckets: IntArray, prior: Prior) -> float:
        """The share for scores of two values: rates that are not fixed have a Beta posterior."""
        low, high = scores.values.min(), scores.values.max()
        is_high = scores.values == high
        highs = scores.sums(is_high.astype(np.float64)).astype(np.int64)
        mass, mean = prior.mass, float(prior.open @ highs / (prior.open @ scores.counts))
        mean = min(max(mean, 1e-6), 1 - 1e-6)
        kinds, inverse = np.unique(
            np.stack((scores.counts, highs, buckets), axis=1), axis=0, return_inverse=True
        )
        rollouts = np.bincount(inverse.reshape(-1), weights=prior.open)
        rate = 1 / (1 + np.exp(-LOGITS))
        values, weights = np.array([low, high]), np.stack((1 - rate, rate), axis=-1)[None]
        expected = 0.0
        for first in range(0, len(kinds), PAIRS_AT_ONCE):
            n, c, bucket = kinds[first : first + PAIRS_AT_ONCE].T
            chance = _beta_chances(c + mass * mean, n - c + mass * (1 - mean))
            other = self._other(LongRun(values, weights, n[:, None, None]), bucket[:, None])
            expected += float(rollouts[first : first + len(n)] @ (chance * other).sum(axis=1))
        return expected / len(buckets)

    def bootstrap(self, scores: Scores, buckets: IntArray, prior: Prior) -> float:
        """The share for any scores that are not fixed. Each draw gives random weights to a prompt's
        own scores and to scores of others, which have the prior's mass on average."""
        rng = np.random.Generator(np.random.PCG64(SEED))
        atoms = min(max(ATOMS[0], round(4 * prior.mass)), ATOMS[1])
        pool = scores.values, np.cumsum(prior.open[scores.rows])
        numbers = len(scores.values) + len(buckets) * atoms
        draws = min(max(NUMBERS // numbers, 4), 200)
        by_count = np.argsort(scores.counts, kind="stable")
        sizes = scores.counts[by_count] + atoms
        # Each part is small, and its rows are of similar length, since shorter ones are padded.
        parts = np.diff(np.cumsum(sizes) // ROW_NUMBERS) + np.diff(np.floor(np.log2(sizes)))
        expected = 0.0
        for some in np.split(by_count, np.flatnonzero(parts) + 1):
            part = self._draw(rng, scores.take(some), buckets[some], (prior.mass, atoms), pool)
            for _ in range(draws):
                expected += float(next(part) @ prior.open[some])
        return expected / draws / len(buckets)

    def _draw(
        self,
        rng: np.random.Generator,
        scores: Scores,
        buckets: IntArray,
        prior: tuple[float, int],
        pool: tuple[FloatArray, FloatArray],
    ) -> Iterator[BoolArray]:
        """Yield, draw by draw, which rollouts belong in another bucket. `prior` is the mass and the
        number of scores to draw from `pool`, which is scores and their cumulative weights."""
        own, there = _in_rows(scores)
        (rollouts, most), (mass, atoms) = own.shape, prior
        while True:
            drawn = rng.random((rollouts, atoms)) * pool[1][-1]
            others = pool[0][np.searchsorted(pool[1], drawn).clip(max=len(pool[0]) - 1)]
            weights = np.concatenate(
                (
                    rng.standard_exponential((rollouts, most)) * there,
                    rng.standard_gamma(mass / atoms, (rollouts, atoms)),
                ),
                axis=1,
            )
            values = np.concatenate((own, others), axis=1)
            order = values.argsort(axis=1, kind="stable")
            values, weights = (np.take_along_axis(a, order, axis=1) for a in (values, weights))
            weights /= weights.sum(axis=1, keepdims=True)
            run = LongRun(values, weights, scores.counts[:, None])
            yield self._other(run, buckets)

    def _other(self, run: LongRun, buckets: IntArray) -> BoolArray:
        """Whether the long run puts each rollout into another bucket."""
        assert self.metric.expected is not None
        values = self.metric.expected(run, self.parameters)
        rates = run.pass_rate(self.parameters.pass_threshold)
        return np.asarray(self.cuts.bucket_of(values, rates, run.counts[..., 0]) != buckets)


def _beta_chances(a: FloatArray, b: FloatArray) -> FloatArray:
    """The probability of each of the LOGITS, with one row per Beta distribution."""
    up, down = a[:, None], b[:, None]
    logs = -up * np.logaddexp(0, -LOGITS) - down * np.logaddexp(0, LOGITS)
    chances = np.exp(logs - logs.max(axis=1, keepdims=True))
    # Beyond the ends of the grid, the density falls off as exp(a x) and exp(-b x).
    chances[:, 0] += chances[:, 0] / (a * STEP)
    chances[:, -1] += chances[:, -1] / (b * STEP)
    return np.asarray(chances / chances.sum(axis=1, keepdims=True))


def _in_rows(scores: Scores) -> tuple[FloatArray, BoolArray]:
    """The scores, with one row per rollout, and a mask of where a row has one."""
    there = np.arange(int(scores.counts.max())) < scores.counts[:, None]
    rows = np.zeros(there.shape)
    rows[there] = scores.values
    return rows, there


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
