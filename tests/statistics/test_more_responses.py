"""How many responses would halve the share of misplaced rollouts: against simulation."""

from __future__ import annotations

import math
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.bucket import bucket_rollouts
from curriculum.bucketers import cut_at, difficulty, percentile_edges
from curriculum.metrics import METRICS, LongRun, Metric, MetricParameters, Scores
from curriculum.options import BucketOptions
from curriculum.statistics.cuts import CutRule, Cuts, meet
from curriculum.statistics.more_responses import MOST, Experiment
from curriculum.statistics.posterior import BetaPosterior, BootstrapPosterior
from curriculum.statistics.prior import fit_prior
from curriculum.statistics.uncertainty import Uncertainty, estimate_uncertainty
from tests.helpers.rollouts import DATA, Script, needs_data, rollout, write_jsonl

PARAMETERS = MetricParameters(k=2)


def cuts_of(values: np.ndarray, metric: Metric, rule: CutRule) -> tuple[np.ndarray, Cuts]:
    """The bucket of each value, and where buckets meet, with no bucket of solved ones."""
    none = Cuts(np.zeros(0), np.zeros(1, np.int64), metric.higher_is_easier)
    middle = np.full(len(values), 0.5)
    return none.cut_again(values, middle, np.full(len(values), 8), rule)


def estimate(
    scores: Scores, metric: Metric, parts: int = 3, split_ties: bool = False
) -> tuple[Uncertainty, np.ndarray, Cuts]:
    rule = CutRule(parts, split_ties)
    places, cuts = cuts_of(metric.values(scores, PARAMETERS), metric, rule)
    found = estimate_uncertainty(scores, places, cuts, metric, PARAMETERS, rule)
    assert found is not None
    return found, places, cuts


def draw(rates: np.ndarray, n: int, rng: np.random.Generator) -> Scores:
    return Scores.of((rng.random((len(rates), n)) < rates[:, None]).astype(float).tolist())


def misplaced(rates: np.ndarray, n: int, metric: Metric, rng: np.random.Generator) -> float:
    """The share of prompts of these rates that n responses each put into another bucket."""
    scores = draw(rates, n, rng)
    places, cuts = cuts_of(metric.values(scores, PARAMETERS), metric, CutRule(3))
    truth = {"variance": rates * (1 - rates), "pass_at_k": 1 - (1 - rates) ** 2}
    true = cuts.bucket_of(truth.get(metric.name, rates), rates, scores.counts)
    return float((true != places).mean())


RATES = {
    "even": lambda rng: rng.random(20_000),
    "easy or hard": lambda rng: rng.beta(0.3, 0.3, 20_000),
    "alike": lambda rng: rng.beta(5, 5, 20_000),
    "half never": lambda rng: rng.random(20_000) * (rng.random(20_000) < 0.5),
}


@pytest.mark.slow
@pytest.mark.parametrize("n", [4, 8, 32])
@pytest.mark.parametrize("name", ["mean_reward", "pass_at_k", "variance"])
@pytest.mark.parametrize("kind", RATES)
def test_so_many_responses_do_halve_the_share(kind: str, name: str, n: int) -> None:
    rng, metric = np.random.default_rng(n), METRICS[name]
    rates = RATES[kind](rng)
    found, *_ = estimate(draw(rates[:2_000], n, rng), metric)
    assert found.factor is not None
    if math.isinf(found.factor):
        assert misplaced(rates, MOST * n, metric, rng) > 0.3 * misplaced(rates, n, metric, rng)
        return
    before = misplaced(rates, n, metric, rng)
    after = misplaced(rates, round(found.factor * n), metric, rng)
    assert 0.33 < after / before < 0.67


@pytest.mark.slow
@pytest.mark.parametrize("n", [4, 8, 32])
@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_so_many_responses_halve_the_share_of_other_scores_too(spread: float, n: int) -> None:
    rng, metric = np.random.default_rng(n), METRICS["mean_reward"]
    truth = rng.normal(0, spread, 10_000)

    def scores(n: int, prompts: int) -> Scores:
        some = truth[:prompts, None]
        return Scores.of((some + rng.normal(0, 1, (len(some), n))).tolist())

    def share(n: int) -> float:
        drawn = scores(n, len(truth))
        places, cuts = cuts_of(metric.values(drawn, PARAMETERS), metric, CutRule(3))
        true = cuts.bucket_of(truth, truth, drawn.counts)
        return float((true != places).mean())

    found, *_ = estimate(scores(n, 2_000), metric)
    assert found.posterior == "bootstrap"
    assert found.factor is not None and math.isfinite(found.factor)
    assert 0.35 < share(round(found.factor * n)) / share(n) < 0.65


@pytest.mark.parametrize("name", ["mean_reward", "pass_at_k", "variance"])
@pytest.mark.parametrize("levels", [[0.0, 1.0], [0.0, 0.25, 1.0]])
@pytest.mark.parametrize(("never", "split_ties"), [(0.0, False), (0.6, False), (0.6, True)])
def test_the_experiment_begins_with_the_share_that_is_expected(
    never: float, split_ties: bool, levels: list[float], name: str
) -> None:
    rng, metric = np.random.default_rng(1), METRICS[name]
    weights = rng.dirichlet(np.ones(len(levels)), 2_000)
    weights[rng.random(len(weights)) < never] = np.eye(len(levels))[0]
    drawn = (rng.random((len(weights), 6, 1)) > weights.cumsum(1)[:, None, :]).sum(2)
    scores = Scores.of(np.array(levels)[drawn.clip(max=len(levels) - 1)].tolist())
    if metric.degree == 0:
        scores = Scores((scores.values >= 0.5).astype(float), scores.offsets)
    found, _, cuts = estimate(scores, metric, 3, split_ties)
    prior = fit_prior(scores)
    assert prior is not None
    two = len(np.unique(scores.values)) == 2
    posterior = BetaPosterior(scores, prior) if two else BootstrapPosterior(scores, prior)
    experiment = Experiment(posterior, cuts, CutRule(3, split_ties), metric, PARAMETERS)
    assert experiment.misplaced(1) == pytest.approx(found.share, abs=0.025)


@pytest.mark.parametrize("levels", [[0.0, 1.0], [0.0, 0.25, 1.0]])
def test_every_number_of_responses_is_tried_on_the_same_prompts(levels: list[float]) -> None:
    rng, metric = np.random.default_rng(2), METRICS["mean_reward"]
    scores = Scores.of([rng.choice(levels, rng.integers(1, 9)).tolist() for _ in range(500)])
    found, _, cuts = estimate(scores, metric)
    prior = fit_prior(scores)
    assert found.share is not None and prior is not None
    posterior = (BetaPosterior if len(levels) == 2 else BootstrapPosterior)(scores, prior)
    runs: list[list[float]] = []

    class Watched(Experiment, dict=True):
        def _observe(self, rng: Any, run: LongRun) -> Any:
            runs[-1] += run.mean().tolist()
            return super()._observe(rng, run)

    experiment = Watched(posterior, cuts, CutRule(3), metric, PARAMETERS)
    for factor in (1, 8, 64):
        runs.append([])
        alone = Experiment(posterior, cuts, CutRule(3), metric, PARAMETERS)
        assert experiment.misplaced(factor) == alone.misplaced(factor)
    assert len(runs[0]) >= len(runs[1]) > len(runs[2]) > 100
    assert {*runs[2]} <= {*runs[1]} <= {*runs[0]}


def test_prompts_that_are_alike_stay_in_doubt() -> None:
    """All have one rate, so buckets hold nothing but noise, however many responses there are."""
    rng = np.random.default_rng(0)
    found, *_ = estimate(draw(np.full(1_000, 0.5), 8, rng), METRICS["mean_reward"])
    assert found.share is not None and found.share > 0.5
    assert found.factor == math.inf


def test_prompts_that_are_never_in_doubt_need_no_more() -> None:
    found, *_ = estimate(Scores.of([[1.0] * 8] * 50 + [[0.0] * 8] * 50), METRICS["mean_reward"], 2)
    assert found.share is not None and found.share < 0.005
    assert found.factor is None


def test_without_the_rule_of_the_cuts_nothing_is_said_of_more_responses() -> None:
    rng, metric = np.random.default_rng(0), METRICS["mean_reward"]
    scores = draw(rng.random(200), 8, rng)
    places, cuts = cuts_of(metric.values(scores, PARAMETERS), metric, CutRule(3))
    found = estimate_uncertainty(scores, places, cuts, metric, PARAMETERS)
    assert found is not None and found.factor is None


def test_the_same_scores_give_the_same_number() -> None:
    rng = np.random.default_rng(0)
    other_scores = rng.random((300, 1)) + rng.random((300, 5))
    for scores in (draw(rng.random(300), 8, rng), Scores.of(other_scores.tolist())):
        one, other = (estimate(scores, METRICS["mean_reward"])[0] for _ in range(2))
        assert one == other
        assert one.factor is not None and 2 < one.factor < 12


def test_a_rollout_of_very_many_responses_takes_little_memory() -> None:
    rng = np.random.default_rng(0)
    rollouts = [rng.random(8).tolist() for _ in range(500)] + [rng.random(50_000).tolist()]
    scores = Scores.of(rollouts)
    tracemalloc.start()
    found, *_ = estimate(scores, METRICS["mean_reward"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.factor is not None
    assert peak < 60 << 20


# --- two or more buckets away


@pytest.mark.slow
@pytest.mark.parametrize("n", [4, 8])
@pytest.mark.parametrize("parts", [3, 5, 10])
def test_as_many_are_two_buckets_away_as_expected(parts: int, n: int) -> None:
    rng, metric = np.random.default_rng(n), METRICS["mean_reward"]
    for rates in (rng.random(5_000), rng.beta(5, 5, 5_000)):
        scores = draw(rates, n, rng)
        found, places, cuts = estimate(scores, metric, parts)
        true = cuts.bucket_of(rates, rates, scores.counts)
        away = np.abs(cuts.place(true) - cuts.place(places))
        assert found.far == pytest.approx((away > 1).mean(), abs=0.03)
        assert found.share == pytest.approx((away > 0).mean(), abs=0.03)


def test_of_two_buckets_none_is_two_away() -> None:
    rng = np.random.default_rng(0)
    found, *_ = estimate(draw(rng.random(200), 8, rng), METRICS["mean_reward"], 2)
    assert found.share is not None and found.share > 0
    assert found.far is None


def test_an_empty_bucket_does_not_count_as_one_between() -> None:
    cuts = Cuts(np.array([-0.5]), np.array([0, 2]), higher_is_easier=True)
    assert cuts.place(np.array([0, 2])).tolist() == [0, 1]
    cuts = Cuts(np.array([-0.5]), np.array([1, 3]), higher_is_easier=True, ends=(0, 4))
    assert cuts.place(np.array([0, 1, 3, 4])).tolist() == [0, 1, 2, 3]


# --- cutting again


@given(
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.625, 1.0]), min_size=1, max_size=40),
    st.integers(1, 5),
    st.booleans(),
)
def test_cutting_again_is_cutting_by_percentiles(
    values: list[float], parts: int, easier: bool
) -> None:
    metric = METRICS["mean_reward" if easier else "variance"]
    found, cuts = cuts_of(np.array(values), metric, CutRule(parts))
    harder = difficulty(np.array(values), easier)
    places = cut_at(harder, percentile_edges(np.sort(harder), parts))
    assert found.tolist() == places.tolist()
    held = [np.array(values)[places == i] for i in range(parts)]
    ranges = [(float(some.min()), float(some.max())) if len(some) else None for some in held]
    edges, filled = meet(ranges, easier)
    assert (cuts.edges.tolist(), cuts.buckets.tolist()) == (edges.tolist(), filled.tolist())


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=40), st.integers(1, 5))
def test_ties_that_are_split_make_equal_parts(values: list[float], parts: int) -> None:
    metric = METRICS["mean_reward"]
    found, _ = cuts_of(np.array(values), metric, CutRule(parts, split_ties=True))
    sizes = np.bincount(found, minlength=parts)
    assert sizes.max() - sizes.min() <= 1
    held = [[v for v, place in zip(values, found, strict=True) if place == i] for i in range(parts)]
    for easier, harder in pairwise([some for some in held if some]):
        assert min(easier) >= max(harder)


def test_cutting_again_leaves_thresholds_and_ends_where_they_are() -> None:
    cuts = Cuts(np.array([-0.7, -0.3]), np.array([1, 2, 3]), higher_is_easier=True, ends=(0, 4))
    values = np.array([1.0, 0.9, 0.7, 0.5, 0.1, 0.0])
    counts = np.full(6, 8)
    found, again = cuts.cut_again(values, values, counts, CutRule(None))
    assert (found.tolist(), again) == ([0, 1, 2, 2, 3, 4], cuts)
    found, again = cuts.cut_again(values, values, counts, CutRule(2))
    assert found.tolist() == [0, 1, 1, 2, 2, 4]
    assert again.edges.tolist() == [-0.6]
    found, again = cuts.cut_again(values[[0, 5]], values[[0, 5]], counts[:2], CutRule(2))
    assert found.tolist() == [0, 4]


# --- in a run


@pytest.mark.parametrize(
    "flags",
    [
        {}, {"num_buckets": 5}, {"thresholds": [0.3, 0.7]}, {"solved_unsolved": True},
        {"ties": "split"}, {"metric": "variance"}, {"metric": "max_reward"},
        {"thresholds": [0.3, 0.7], "solved_unsolved": True},
    ],
)  # fmt: skip
def test_every_way_to_cut_is_cut_again(tmp_path: Path, flags: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    scores = (rng.random((400, 6)) < rng.random((400, 1))).astype(int).tolist()
    source = write_jsonl(tmp_path / "a.jsonl", [rollout(*some) for some in scores])
    options = BucketOptions([str(source)], str(tmp_path / "out"), dry_run=True, **flags)
    found = bucket_rollouts(options).uncertainty
    assert found is not None
    assert found.factor is not None and found.factor > 1


@pytest.mark.parametrize(
    ("flags", "rule"),
    [
        ({}, CutRule(3)),
        ({"num_buckets": 5, "ties": "split"}, CutRule(5, split_ties=True)),
        ({"thresholds": [0.5]}, CutRule(None)),
    ],
)
def test_the_rule_is_that_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any], rule: CutRule
) -> None:
    seen = []
    monkeypatch.setattr(
        "curriculum.cutting.assign_buckets.estimate_uncertainty",
        lambda *given: seen.append(given[-1]),
    )
    source = write_jsonl(tmp_path / "a.jsonl", [rollout(0, 1, i % 2) for i in range(9)])
    bucket_rollouts(BucketOptions([str(source)], str(tmp_path / "out"), dry_run=True, **flags))
    assert seen == [rule]


@needs_data
def test_real_rollouts_have_an_answer(tmp_path: Path, bucket: Script) -> None:
    source = DATA / "gsm8k_mixed6/gsm8k_mixed6.jsonl"
    _, out, _ = bucket("-i", source, "-o", tmp_path / "out", "--dry-run")
    said = " ".join(out.split())
    assert "With 6 responses each, expect 35% of rollouts to truly belong in another bucket" in said
    assert "responses per prompt would halve that." in said
