"""How far buckets can be trusted: a sample of rollouts → the share whose true bucket is another.

A few responses say only so much of a prompt. Its true bucket is that of the metric's mean over very
many rollouts. What those would be is not known, but how likely it is: the scores of each prompt are
taken to come from a Dirichlet process around the scores of all prompts (Ferguson, 1973), whose
posterior is a Beta distribution where scores take two values, and else the Bayesian bootstrap
(Rubin, 1981) with the other prompts' scores as prior; or to be fixed, as where a prompt is never
solved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from curriculum.arrays import BoolArray, FloatArray, IntArray
from curriculum.bucketers import cut_at, difficulty
from curriculum.metrics import LongRun, Metric, MetricParameters, Scores
from curriculum.prior import Prior, fit_prior

# Pass rates, evenly in the logit: there neither end of a Beta distribution has a pole.
STEP = 0.005
LOGITS = np.arange(-20, 20 + STEP / 2, STEP)
PAIRS_AT_ONCE = 16

ATOMS = 32, 1024  # scores of other prompts in each draw of the bootstrap, at least and at most
ROW_NUMBERS = 1 << 16  # about so many at a time: a rollout may have very many responses
NUMBERS = 500_000  # random ones in all draws together, about
SEED = 0
NEXT_TO = 1e-9  # beside a threshold: more than rounding


@dataclass(frozen=True)
class Cuts:
    """Where buckets meet, as difficulties: interval i of those that the ascending `edges` part is
    bucket `buckets[i]`. With `ends` rollouts that always pass are in the first of these two
    buckets, those that never do in the second."""

    edges: FloatArray
    buckets: IntArray
    higher_is_easier: bool
    ends: tuple[int, int] | None = None

    def place(self, values: FloatArray, rates: FloatArray, counts: IntArray) -> IntArray:
        """The bucket for these metric values, and for pass rates nearer to n of n passes than to
        n - 1, or to none than to one."""
        places = self.buckets[cut_at(difficulty(values, self.higher_is_easier), self.edges)]
        if self.ends is None:
            return places
        near = 0.5 / counts
        places = np.where(rates > 1 - near, self.ends[0], places)
        return np.where(rates < near, self.ends[1], places)


@dataclass(frozen=True)
class Trust:
    """The expected share of rollouts whose true bucket is another, None where nothing says so
    because nearly all have one response; by which posterior; and the least and the most responses
    of a rollout."""

    share: float | None
    posterior: str
    responses: tuple[int, int]


def misplaced(
    scores: Scores, places: IntArray, cuts: Cuts, metric: Metric, parameters: MetricParameters
) -> Trust | None:
    """How many of some rollouts, whose buckets are `places`, are expected to truly belong in
    another; None for a metric that does not say what is expected of it."""
    if metric.expected is None or not len(places):
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
        return Trust(None, posterior, responses)
    chances = _Chances(cuts, metric, parameters)
    with np.errstate(over="ignore", invalid="ignore"):  # scores near the end of the doubles
        share = (chances.beta if two else chances.bootstrap)(scores, places, prior)
    return Trust(share, posterior, responses)


@dataclass(frozen=True)
class _Chances:
    """Says how likely rollouts are to belong in another bucket than theirs."""

    cuts: Cuts
    metric: Metric
    parameters: MetricParameters

    def beta(self, scores: Scores, places: IntArray, prior: Prior) -> float:
        """The share for scores of two values: pass rates have a Beta posterior, unless fixed."""
        low, high = scores.values.min(), scores.values.max()
        is_high = scores.values == high
        highs = scores.sums(is_high.astype(np.float64)).astype(np.int64)
        mass, mean = prior.mass, float(prior.open @ highs / (prior.open @ scores.counts))
        mean = min(max(mean, 1e-6), 1 - 1e-6)
        kinds, inverse = np.unique(
            np.stack((scores.counts, highs, places), axis=1), axis=0, return_inverse=True
        )
        rollouts = np.bincount(inverse.reshape(-1), weights=prior.open)
        rate = 1 / (1 + np.exp(-LOGITS))
        values, weights = np.array([low, high]), np.stack((1 - rate, rate), axis=-1)[None]
        expected = 0.0
        for first in range(0, len(kinds), PAIRS_AT_ONCE):
            n, c, place = kinds[first : first + PAIRS_AT_ONCE].T
            chance = _beta_chances(c + mass * mean, n - c + mass * (1 - mean))
            other = self._other(LongRun(values, weights, n[:, None, None]), place[:, None])
            expected += float(rollouts[first : first + len(n)] @ (chance * other).sum(axis=1))
        return expected / len(places)

    def bootstrap(self, scores: Scores, places: IntArray, prior: Prior) -> float:
        """The share for any scores, unless fixed: each prompt's own, and those of others as the
        prior's mass more, get random weights."""
        rng = np.random.Generator(np.random.PCG64(SEED))
        atoms = min(max(ATOMS[0], round(4 * prior.mass)), ATOMS[1])
        pool = scores.values, np.cumsum(prior.open[scores.rows])
        numbers = len(scores.values) + len(places) * atoms
        draws = min(max(NUMBERS // numbers, 4), 200)
        by_count = np.argsort(scores.counts, kind="stable")
        sizes = scores.counts[by_count] + atoms
        # Rows of one length, nearly, and few enough: the shorter ones are filled up.
        parts = np.diff(np.cumsum(sizes) // ROW_NUMBERS) + np.diff(np.floor(np.log2(sizes)))
        expected = 0.0
        for some in np.split(by_count, np.flatnonzero(parts) + 1):
            part = self._draw(rng, scores.take(some), places[some], (prior.mass, atoms), pool)
            for _ in range(draws):
                expected += float(next(part) @ prior.open[some])
        return expected / draws / len(places)

    def _draw(
        self,
        rng: np.random.Generator,
        scores: Scores,
        places: IntArray,
        prior: tuple[float, int],
        pool: tuple[FloatArray, FloatArray],
    ) -> Iterator[BoolArray]:
        """Which of some rollouts belong elsewhere, draw by draw; `prior` are the mass and the
        number of scores from the `pool`, which are scores and their cumulative weights."""
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
            yield self._other(run, places)

    def _other(self, run: LongRun, places: IntArray) -> BoolArray:
        """Whether the bucket of these scores is another."""
        assert self.metric.expected is not None
        values = self.metric.expected(run, self.parameters)
        rates = run.pass_rate(self.parameters.pass_threshold)
        return np.asarray(self.cuts.place(values, rates, run.counts[..., 0]) != places)


def _beta_chances(a: FloatArray, b: FloatArray) -> FloatArray:
    """How likely each of the LOGITS is under Beta distributions: a row for each."""
    up, down = a[:, None], b[:, None]
    logs = -up * np.logaddexp(0, -LOGITS) - down * np.logaddexp(0, LOGITS)
    chances = np.exp(logs - logs.max(axis=1, keepdims=True))
    # What lies beyond the ends falls off as exp(a x) and exp(-b x).
    chances[:, 0] += chances[:, 0] / (a * STEP)
    chances[:, -1] += chances[:, -1] / (b * STEP)
    return np.asarray(chances / chances.sum(axis=1, keepdims=True))


def _in_rows(scores: Scores) -> tuple[FloatArray, BoolArray]:
    """The scores of each rollout in a row, and where the rows have one."""
    there = np.arange(int(scores.counts.max())) < scores.counts[:, None]
    rows = np.zeros(there.shape)
    rows[there] = scores.values
    return rows, there


def meet(
    ranges: Sequence[tuple[float, float] | None],
    higher_is_easier: bool,
    thresholds: Sequence[float] | None = None,
) -> tuple[FloatArray, IntArray]:
    """Where buckets meet, as `edges` and `buckets` of Cuts, from the lowest and the highest value
    in each, None where it is empty; easiest first.

    That is half way between the values on either side, and with `thresholds` (ascending) there,
    unless a value lies on one: then half way to the next value, or just beyond.
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
