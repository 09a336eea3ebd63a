"""How far buckets can be trusted: against simulation, and against plain versions."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from curriculum.bucketers import cut_at, difficulty, percentile_edges
from curriculum.metrics import METRICS, LongRun, Metric, MetricParameters, Scores, measure
from curriculum.statistics.cuts import CutRule, Cuts, meet
from curriculum.statistics.prior import Spread, fit_prior
from curriculum.statistics.uncertainty import Uncertainty, estimate_uncertainty

pytestmark = pytest.mark.slow

PARAMETERS = MetricParameters(k=2)


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
@given(
    values=st.lists(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, 1.25]), min_size=1, max_size=3),
    parts=st.lists(st.integers(1, 5), min_size=3, max_size=3),
    n=st.integers(2, 4),
)
def test_expected_values_are_the_mean_over_all_rollouts(
    metric: Metric, values: list[float], parts: list[int], n: int
) -> None:
    values.sort()
    weights = np.array(parts[: len(values)]) / sum(parts[: len(values)])
    mean = 0.0
    for scores in product(range(len(values)), repeat=n):
        value = measure([values[i] for i in scores], PARAMETERS)[metric.name]
        mean += value * math.prod(float(weights[i]) for i in scores)
    run = LongRun(np.array([values]), weights[None], np.array([[n]]))
    assert metric.expected is not None
    assert metric.expected(run, PARAMETERS)[0] == pytest.approx(mean, abs=1e-9)


def cut_percentiles(values: np.ndarray, metric: Metric, parts: int) -> tuple[np.ndarray, Cuts]:
    """The bucket of each value, and where buckets meet."""
    harder = difficulty(values, metric.higher_is_easier)
    places = cut_at(harder, percentile_edges(np.sort(harder), parts))
    held = [values[places == i] for i in range(parts)]
    ranges = [(float(some.min()), float(some.max())) if len(some) else None for some in held]
    return places, Cuts(*meet(ranges, metric.higher_is_easier), metric.higher_is_easier)


Truth = Callable[[np.random.Generator, int], np.ndarray]
PASS_RATES: dict[str, Truth] = {
    "even": lambda rng, count: rng.random(count),
    "mostly hard": lambda rng, count: rng.beta(0.2, 1, count),
    "easy or hard": lambda rng, count: rng.beta(0.3, 0.3, count),
    "alike": lambda rng, count: rng.beta(5, 5, count),
}
TRUE_VALUE = {
    "mean_reward": lambda rate, n: rate,
    "success_rate": lambda rate, n: rate,
    "pass_at_k": lambda rate, n: 1 - (1 - rate) ** 2,
    "max_reward": lambda rate, n: 1 - (1 - rate) ** n,
    "min_reward": lambda rate, n: rate**n,
    "variance": lambda rate, n: rate * (1 - rate),
}


@pytest.mark.parametrize("n", [4, 8, 32])
@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
@pytest.mark.parametrize("rates", PASS_RATES)
def test_passes_misplace_as_many_rollouts_as_expected(rates: str, metric: Metric, n: int) -> None:
    rng = np.random.default_rng(n)
    truth = PASS_RATES[rates](rng, 5_000)
    passes = (rng.random((len(truth), n)) < truth[:, None]).astype(float)
    scores = Scores.of(passes.tolist())
    places, cuts = cut_percentiles(metric.values(scores, PARAMETERS), metric, 3)
    true_places = cuts.bucket_of(TRUE_VALUE[metric.name](truth, n), truth, scores.counts)
    found = estimate_uncertainty(scores, places, cuts, metric, PARAMETERS)
    assert found is not None and found.share is not None
    assert found.posterior == "Beta posterior"
    assert found.share == pytest.approx((true_places != places).mean(), abs=0.03)


@pytest.mark.parametrize(("n", "slack"), [(4, 0.05), (8, 0.03), (32, 0.03)])
@pytest.mark.parametrize("spread", [0.17, 0.3, 1, 3])
def test_other_scores_misplace_as_many_rollouts_as_expected(
    spread: float, n: int, slack: float
) -> None:
    rng, metric = np.random.default_rng(n), METRICS["mean_reward"]
    truth = rng.normal(0, spread, 2_000)
    scores = Scores.of((truth[:, None] + rng.normal(0, 1, (len(truth), n))).tolist())
    places, cuts = cut_percentiles(metric.values(scores, PARAMETERS), metric, 3)
    true_places = cuts.bucket_of(truth, truth, scores.counts)
    found = estimate_uncertainty(scores, places, cuts, metric, PARAMETERS)
    assert found is not None and found.share is not None
    assert found.posterior == "bootstrap"
    assert found.share == pytest.approx((true_places != places).mean(), abs=slack)


@pytest.mark.parametrize("name", ["mean_reward", "max_reward", "min_reward", "variance"])
def test_scores_of_a_few_levels_misplace_as_many_rollouts_as_expected(name: str) -> None:
    rng, metric, n = np.random.default_rng(5), METRICS[name], 8
    levels = np.array([0.0, 0.25, 1.0, 1.25])
    weights = rng.dirichlet([0.5, 0.2, 0.4, 0.4], 2_000)
    drawn = (rng.random((len(weights), n, 1)) > weights.cumsum(1)[:, None, :]).sum(2).clip(max=3)
    scores = Scores.of(levels[drawn].tolist())
    places, cuts = cut_percentiles(metric.values(scores, PARAMETERS), metric, 3)
    run = LongRun(np.broadcast_to(levels, weights.shape), weights, scores.counts[:, None])
    assert metric.expected is not None
    truth = metric.expected(run, PARAMETERS)
    true_places = cuts.bucket_of(truth, run.pass_rate(0.5), scores.counts)
    found = estimate_uncertainty(scores, places, cuts, metric, PARAMETERS)
    assert found is not None
    slack = 0.05 if name == "variance" else 0.03
    assert found.share == pytest.approx((true_places != places).mean(), abs=slack)


@given(
    passes=st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=4, max_size=20),
    low=st.sampled_from([0.0, -1.0]),
    high=st.sampled_from([1.0, 1.25]),
)
def test_beta_posteriors_equal_draws_from_them(
    passes: list[list[bool]], low: float, high: float
) -> None:
    metric = METRICS["mean_reward"]
    scores = Scores.of([[high if good else low for good in some] for some in passes])
    assume(len(np.unique(scores.values)) == 2)
    places, cuts = cut_percentiles(metric.values(scores, PARAMETERS), metric, 3)
    found, prior = estimate_uncertainty(scores, places, cuts, metric, PARAMETERS), fit_prior(scores)
    assert found is not None
    if prior is None:
        assert found.share is None
        return
    rng, mass, others = np.random.default_rng(0), prior.mass, 0.0
    mean = float(prior.open @ [sum(some) for some in passes] / (prior.open @ scores.counts))
    mean = min(max(mean, 1e-6), 1 - 1e-6)
    for some, place, chance in zip(passes, places.tolist(), prior.open.tolist(), strict=True):
        c = sum(some)
        rates = rng.beta(c + mass * mean, len(some) - c + mass * (1 - mean), 20_000)
        drawn = cuts.bucket_of(low + (high - low) * rates, rates, np.array(len(some)))
        others += chance * float((drawn != place).mean())
    assert found.share == pytest.approx(others / len(passes), abs=0.02)


@given(
    st.lists(
        st.lists(st.sampled_from([0.0, 0.25, 1.0, -2.0]), min_size=1, max_size=5),
        min_size=2, max_size=8,
    )
)  # fmt: skip
def test_prior_mass_equals_its_plain_version(rollouts: list[list[float]]) -> None:
    total, groups = sum(map(len, rollouts)), len(rollouts)
    spread = Spread.of(Scores.of(rollouts))
    assert spread is not None
    found = spread.mass(np.ones(len(rollouts)))
    if total == groups:
        assert found is None
        return
    grand = sum(map(sum, rollouts)) / total
    means = [sum(scores) / len(scores) for scores in rollouts]
    pairs = list(zip(rollouts, means, strict=True))
    within = sum((s - mean) ** 2 for scores, mean in pairs for s in scores) / (total - groups)
    between = sum(len(s) * (mean - grand) ** 2 for s, mean in pairs) / (groups - 1)
    size = (total - sum(len(s) ** 2 for s in rollouts) / total) / (groups - 1)
    spread = between + (size - 1) * within
    correlation = (between - within) / spread if spread > 0 else 0.5
    correlation = min(max(correlation, 1e-3), 1 - 1e-3)
    assert found == pytest.approx(1 / correlation - 1, rel=1e-6)


def test_the_prior_of_even_pass_rates_is_two_responses() -> None:
    rng = np.random.default_rng(0)
    rates = rng.random(20_000)
    passes = rng.random((len(rates), 8)) < rates[:, None]
    prior = fit_prior(Scores.of(passes.tolist()))
    assert prior is not None
    assert prior.mass == pytest.approx(2, rel=0.1)
    assert prior.open.mean() > 0.95


def test_one_response_each_says_nothing() -> None:
    scores, metric = Scores.of([[1.0], [0.0], [1.0]]), METRICS["mean_reward"]
    places, cuts = cut_percentiles(np.array([1.0, 0.0, 1.0]), metric, 2)
    found = estimate_uncertainty(scores, places, cuts, metric, PARAMETERS)
    assert found == Uncertainty(None, "Beta posterior", (1, 1))


def test_a_metric_of_ones_own_is_not_doubted() -> None:
    own = Metric("own", lambda scores, parameters: scores.highest, True, "the best")
    scores = Scores.of([[1.0, 0.0], [0.0, 0.0]])
    places, cuts = cut_percentiles(np.array([1.0, 0.0]), own, 2)
    assert estimate_uncertainty(scores, places, cuts, own, PARAMETERS) is None


def test_rates_look_at_passes_alone() -> None:
    """Scores of many values, and the same scores made 0 and 1, are as far to be trusted."""
    rng, metric = np.random.default_rng(3), METRICS["success_rate"]
    many = Scores.of(rng.random((500, 6)).tolist())
    few = Scores.of((many.values.reshape(-1, 6) >= 0.5).astype(float).tolist())
    places, cuts = cut_percentiles(metric.values(many, PARAMETERS), metric, 3)
    one, other = (
        estimate_uncertainty(some, places, cuts, metric, PARAMETERS) for some in (many, few)
    )
    assert one == other
    assert one is not None and one.posterior == "Beta posterior"


@pytest.mark.parametrize("threshold", [1.0, 1.25, -0.5])
def test_a_pass_may_be_any_score(threshold: float) -> None:
    metric, parameters = METRICS["success_rate"], MetricParameters(pass_threshold=threshold)
    rng = np.random.default_rng(4)
    failed = rng.random((500, 6)) >= rng.random((500, 1))
    scores = Scores.of((threshold - failed).tolist())
    places, cuts = cut_percentiles(metric.values(scores, parameters), metric, 3)
    found = estimate_uncertainty(scores, places, cuts, metric, parameters)
    passed = (scores.values >= threshold).astype(float).reshape(-1, 6)
    plain = estimate_uncertainty(Scores.of(passed.tolist()), places, cuts, metric, PARAMETERS)
    assert found is not None and found == plain


def test_always_and_never_passing_is_nearer_to_all_and_none_than_to_one_less() -> None:
    cuts = Cuts(np.array([-0.5]), np.array([1, 2]), higher_is_easier=True, ends=(0, 3))
    rates = np.array([1.0, 0.94, 0.93, 0.6, 0.4, 0.07, 0.06, 0.0])
    assert cuts.bucket_of(rates, rates, np.full(8, 8)).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("ranges", "easier", "thresholds", "edges", "buckets"),
    [
        ([(0.8, 1.0), (0.3, 0.6), (0.0, 0.2)], True, None, [-0.7, -0.25], [0, 1, 2]),
        ([(0.0, 0.2), (0.3, 0.6)], False, None, [0.25], [0, 1]),
        ([(0.8, 1.0), None, (0.0, 0.2)], True, None, [-0.5], [0, 2]),
        ([(0.8, 1.0), (0.4, 0.6), (0.0, 0.2)], True, [0.3, 0.7], [-0.7, -0.3], [0, 1, 2]),
        ([(0.8, 1.0), (0.4, 0.7), (0.0, 0.2)], True, [0.3, 0.7], [-0.75, -0.3], [0, 1, 2]),
        ([(0.8, 1.0), None, (0.0, 0.3)], True, [0.3, 0.7], [-0.7, -0.3 - 1e-9], [0, 1, 2]),
        ([(0.7, 1.0), None], False, [1.0], [1.0 + 1e-9], [0, 1]),
        ([(0.0, 0.3), (0.5, 0.6)], False, [0.3], [0.4], [0, 1]),
        ([None, (0.5, 0.6)], False, [0.3], [0.3], [0, 1]),
        ([None, None], True, None, [], []),
    ],
)
def test_buckets_meet_half_way_or_at_thresholds(
    ranges: list, easier: bool, thresholds: list | None, edges: list, buckets: list
) -> None:
    found = meet(ranges, easier, thresholds)
    assert found[0].tolist() == pytest.approx(edges, abs=1e-12)
    assert found[1].tolist() == buckets


def test_one_rollout_of_very_many_responses_takes_no_more_memory() -> None:
    metric, rng = METRICS["mean_reward"], np.random.default_rng(0)
    rollouts = [rng.random(8).tolist() for _ in range(1_999)] + [rng.random(50_000).tolist()]
    scores = Scores.of(rollouts)
    places, cuts = cut_percentiles(metric.values(scores, PARAMETERS), metric, 3)
    tracemalloc.start()
    found = estimate_uncertainty(scores, places, cuts, metric, PARAMETERS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found is not None and found.share is not None
    assert peak < 50 << 20


@given(
    st.lists(
        st.lists(st.sampled_from([0.0, 1.0, 0.25, 1e-200, -1e300]), min_size=1, max_size=40),
        min_size=2, max_size=12,
    ),
    st.integers(1, 4),
    st.sampled_from(sorted(METRICS)),
)  # fmt: skip
def test_shares_are_shares_whatever_the_scores(
    rollouts: list[list[float]], repeats: int, name: str
) -> None:
    metric, scores = METRICS[name], Scores.of([some * repeats for some in rollouts])
    values = metric.values(scores, PARAMETERS)
    scores, values = scores.take(np.flatnonzero(values == values)), values[values == values]
    assume(len(values))
    places, cuts = cut_percentiles(values, metric, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curriculum.statistics.more_responses.NUMBERS", 1_000)
        for rule in (CutRule(3), CutRule(3, split_ties=True), CutRule(None)):
            found = estimate_uncertainty(scores, places, cuts, metric, PARAMETERS, rule)
            assert found is not None
            assert found.share is None or 0 <= (found.far or 0) <= found.share <= 1
            assert found.factor is None or found.factor > 1


@pytest.mark.parametrize(
    "kinds",
    [
        [[1.0] * 4],
        [[1.0] * 4, [0.0] * 4],
        [[1, 1], [0, 0], [1, 0]],
        [[1, 1], [1, 1], [0.5, 0.5], [1, 0]],
    ],
)
def test_prompts_of_few_kinds_have_a_prior(kinds: list[list[float]]) -> None:
    prior = fit_prior(Scores.of(kinds * 30))
    assert prior is not None
    assert 0 < prior.mass < 1_000
    assert ((prior.open > 0) & (prior.open <= 1)).all()


FIXED = {"never": (0.5, 0.0), "never or always": (0.4, 0.3), "few never": (0.2, 0.0)}


@pytest.mark.parametrize("n", [4, 8, 16])
@pytest.mark.parametrize("kind", FIXED)
@pytest.mark.parametrize("levels", [(0.0, 1.0), (0.0, 0.25, 1.0, 1.25)])
def test_prompts_that_always_get_one_score_are_not_in_doubt(
    levels: tuple[float, ...], kind: str, n: int
) -> None:
    rng, metric = np.random.default_rng(n), METRICS["mean_reward"]
    weights = rng.dirichlet(np.ones(len(levels)), 4_000)
    drawn = rng.random(len(weights))
    never, always = FIXED[kind]
    weights[drawn < never] = np.eye(len(levels))[0]
    weights[drawn > 1 - always] = np.eye(len(levels))[-1]
    scores_of = (rng.random((len(weights), n, 1)) > weights.cumsum(1)[:, None, :]).sum(2)
    scores = Scores.of(np.array(levels)[scores_of.clip(max=len(levels) - 1)].tolist())
    places, cuts = cut_percentiles(metric.values(scores, PARAMETERS), metric, 3)
    truth = weights @ np.array(levels)
    true_places = cuts.bucket_of(truth, truth, scores.counts)
    found = estimate_uncertainty(scores, places, cuts, metric, PARAMETERS)
    assert found is not None
    assert found.share == pytest.approx((true_places != places).mean(), abs=0.03)


def test_the_share_of_prompts_that_are_never_solved_is_found() -> None:
    rng = np.random.default_rng(0)
    rates = np.where(rng.random(4_000) < 0.5, 0, rng.random(4_000))
    passes = rng.random((len(rates), 16)) < rates[:, None]
    prior = fit_prior(Scores.of(passes.tolist()))
    assert prior is not None
    assert 1 - prior.open.mean() == pytest.approx(0.5, abs=0.03)
    assert prior.mass == pytest.approx(2, rel=0.15)


def test_prompts_of_two_rates_are_misjudged() -> None:
    """What docs/DIFFICULTY.md says of them: no Beta distribution looks like that."""
    rng, metric = np.random.default_rng(8), METRICS["success_rate"]
    truth = rng.choice([0.2, 0.8], 5_000)
    scores = Scores.of((rng.random((len(truth), 8)) < truth[:, None]).tolist())
    places, cuts = cut_percentiles(metric.values(scores, PARAMETERS), metric, 3)
    found = estimate_uncertainty(scores, places, cuts, metric, PARAMETERS)
    assert found is not None and found.share is not None
    assert (cuts.bucket_of(truth, truth, scores.counts) != places).mean() - found.share > 0.1
