"""How hard: every metric against a plain version of itself."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import curriculum
from curriculum.metrics import METRICS, Metric, MetricParameters, Scores, _round, measure

K, THRESHOLD = 2, 0.5
PARAMETERS = MetricParameters(k=K, pass_threshold=THRESHOLD)

SCORES = st.one_of(
    st.sampled_from([0.0, 1.0, 0.5, 1.25, -1.0, 0.1, 0.2, 0.3]),
    st.floats(-1e6, 1e6, allow_nan=False),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([None, math.nan, math.inf, -math.inf, True, False]),
)
ROLLOUTS = st.lists(st.lists(SCORES, max_size=6), max_size=6)


def plain_value(name: str, scores: list[float | None]) -> float:
    """A metric in whole numbers and fractions, rounded at the very end."""
    present = [Fraction(s) for s in scores if s is not None and math.isfinite(s)]
    n, largest = len(present), max(map(abs, present), default=Fraction(0))
    if not n:
        return math.nan
    passes = sum(s >= Fraction(THRESHOLD) for s in present)
    mean = sum(present) / n
    if name == "variance":
        if n < 2:
            return math.nan
        exact, noise = sum((s - mean) ** 2 for s in present) / (n - 1), largest**2
    elif name == "pass_at_k":
        if n < K:
            return math.nan
        drawn = list(combinations(range(n), K))
        exact = Fraction(sum(any(i < passes for i in draw) for draw in drawn), len(drawn))
        noise = Fraction(0)
    else:
        exact, noise = {
            "mean_reward": (mean, largest),
            "max_reward": (max(present), largest),
            "min_reward": (min(present), largest),
            "success_rate": (Fraction(passes, n), Fraction(0)),
        }[name]
    try:
        value = float(exact)
    except OverflowError:
        return math.nan
    return 0.0 if abs(exact) < noise / 10**12 else float(f"{value:.12g}")


def is_close(found: float, expected: float, scores: list[float | None], degree: int) -> bool:
    """Equal, or apart only by what float sums lose beside the largest score."""
    if math.isnan(found) or math.isnan(expected):
        # Sums near the end of the range of doubles may overflow before the exact value does.
        largest = max((abs(s) for s in scores if s is not None and math.isfinite(s)), default=0)
        return math.isnan(found) and (math.isnan(expected) or largest > 1e150)
    largest = max(abs(s) for s in scores if s is not None and math.isfinite(s))
    return math.isclose(found, expected, rel_tol=2e-11, abs_tol=2e-12 * largest**degree)


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
@given(rollouts=ROLLOUTS)
def test_metrics_equal_their_plain_versions(metric: Metric, rollouts: list) -> None:
    found = metric.values(Scores.of(rollouts), PARAMETERS)
    for value, scores in zip(found.tolist(), rollouts, strict=True):
        expected = plain_value(metric.name, scores)
        if metric.degree == 0:
            assert value == expected or (math.isnan(value) and math.isnan(expected))
        else:
            largest = max((abs(s) for s in scores if s and math.isfinite(s)), default=0)
            degree = 1 if largest > 1e150 else metric.degree
            assert is_close(value, expected, scores, degree)


@given(rollouts=ROLLOUTS, random=st.randoms(use_true_random=False))
@example(rollouts=[[0.1, 0.2, 0.3], [1e16, 1.0, -1e16]], random=None)
def test_order_of_responses_does_not_matter(rollouts: list, random) -> None:
    shuffled = [list(scores) for scores in rollouts]
    for scores in shuffled:
        random.shuffle(scores) if random else scores.reverse()
    for metric in METRICS.values():
        one = metric.values(Scores.of(rollouts), PARAMETERS)
        other = metric.values(Scores.of(shuffled), PARAMETERS)
        assert one.tobytes() == other.tobytes()


def test_documented_example() -> None:
    found = measure([0, 1.25, 0, 0, 0, 1.25, 0, 0])
    assert found == {
        "mean_reward": 0.3125,
        "max_reward": 1.25,
        "min_reward": 0.0,
        "variance": 0.334821428571,
        "pass_at_k": 0.25,
        "success_rate": 0.25,
    }


@pytest.mark.parametrize("scores", [[], [None], [math.nan, math.inf]])
def test_no_score_is_undefined_never_zero(scores: list) -> None:
    assert all(math.isnan(value) for value in measure(scores).values())


def test_one_response_has_no_variance() -> None:
    assert math.isnan(measure([1])["variance"])


def test_missing_score_is_left_out_not_zero() -> None:
    assert measure([1, None, math.nan])["mean_reward"] == 1.0


def test_pass_at_k_is_undefined_below_k_responses() -> None:
    values = METRICS["pass_at_k"].values(Scores.of([[1, 1], [1, 1, 0]]), MetricParameters(k=3))
    assert np.isnan(values[0])
    assert values[1] == 1.0


def test_pass_at_k_survives_any_n() -> None:
    scores = Scores.of([[1.0] + [0.0] * 99_999])
    values = METRICS["pass_at_k"].values(scores, MetricParameters(k=50_000))
    assert values.tolist() == [0.5]


def test_threshold_is_a_pass() -> None:
    assert measure([0.5, 0.49], MetricParameters(pass_threshold=0.5))["success_rate"] == 0.5


def test_sums_that_differ_in_the_last_bit_tie() -> None:
    scores = Scores.of([[0.1, 0.2, 0.3], [0.2, 0.2, 0.2]])
    values = METRICS["mean_reward"].values(scores, PARAMETERS)
    assert values.tolist() == [0.2, 0.2]


def test_rounding_noise_is_zero() -> None:
    scores = Scores.of([[1e16, -1e16, 0.5], [-0.0, 0.0]])
    assert METRICS["mean_reward"].values(scores, PARAMETERS).tobytes() == np.zeros(2).tobytes()


def test_equal_scores_have_no_variance_whatever_their_size() -> None:
    scores = Scores.of([[1e15 + 0.1] * 7, [0.1] * 3])
    assert METRICS["variance"].values(scores, PARAMETERS).tolist() == [0.0, 0.0]


def test_direction_is_part_of_the_table() -> None:
    harder = [name for name, metric in METRICS.items() if not metric.higher_is_easier]
    assert harder == ["variance"]


def test_metric_of_ones_own_is_tidied_like_ours() -> None:
    compute: Callable = lambda scores, parameters: scores.highest - scores.lowest + 1e-16  # noqa: E731
    spread = Metric("spread", compute, higher_is_easier=False, meaning="range of the scores")
    assert spread.values(Scores.of([[0, 1], []]), PARAMETERS)[0] == 1.0
    assert np.isnan(spread.values(Scores.of([[0, 1], []]), PARAMETERS)[1])


@given(values=st.lists(st.floats() | st.floats(0.1, 10).map(lambda x: float(f"{x:.13g}"))))
@example(values=[0.1234567890125, 999999999999.5, 9.9999999999995, 1e22, 1e-22, 5e-324, -2.5e300])
def test_rounding_equals_printing(values: list[float]) -> None:
    expected = [float(f"{value:.12g}") + 0.0 for value in values]
    found = _round(np.array(values)).tolist()
    assert list(map(repr, found)) == list(map(repr, expected))


def test_sum_runs_from_the_lowest_score_so_its_last_digit_has_one_value() -> None:
    scores = [-4245100.0, -42.4605, -375.44199999999995, 29552.9]
    total = 0.0
    for score in sorted(scores):
        total += score
    assert f"{sum(sorted(scores, reverse=True)) / 4:.12g}" != f"{total / 4:.12g}"
    assert measure(scores)["mean_reward"] == float(f"{total / 4:.12g}")


def test_variance_is_taken_from_the_lowest_score() -> None:
    scores = [28950.09375, 28950.234375, 28950.78125, 28950.828125, 28950.890625]
    exact = float(statistics.variance(map(Fraction, scores)))
    assert measure(scores)["variance"] == float(f"{exact:.12g}")


def test_variance_is_noise_beside_the_square_of_the_largest_score() -> None:
    assert measure([1e7, 1e7 + 1])["variance"] == 0.0
    assert measure([1e5, 1e5 + 1])["variance"] == 0.5


def test_largest_score_may_be_the_lowest() -> None:
    assert measure([-1e16, 0.25])["max_reward"] == 0.0
    assert measure([-1e10, 0.25])["max_reward"] == 0.25


def test_no_value_is_minus_zero() -> None:
    assert math.copysign(1, Scores.of([[-0.0]]).highest[0]) == 1
    own = Metric("own", lambda scores, parameters: -scores.highest, True, "minus the highest")
    assert math.copysign(1, own.values(Scores.of([[0.0]]), PARAMETERS)[0]) == 1


@given(st.lists(SCORES, max_size=6), st.integers(1, 4), st.sampled_from([0.0, 0.5, 1.25]))
def test_functions_for_one_rollout_equal_the_vectorized_metrics(
    scores: list, k: int, threshold: float
) -> None:
    found = {
        "mean_reward": curriculum.mean_reward(scores),
        "max_reward": curriculum.max_reward(scores),
        "min_reward": curriculum.min_reward(scores),
        "variance": curriculum.variance(scores),
        "success_rate": curriculum.success_rate(scores, threshold),
        "pass_at_k": curriculum.pass_at_k(scores, k, threshold),
    }
    right = measure(scores, MetricParameters(k, threshold))
    assert repr(list(found.values())) == repr([right[name] for name in found])  # NaN, too


def test_one_rollout_as_a_person_writes_it() -> None:
    assert curriculum.mean_reward([1, 0, 1]) == 0.666666666667  # 12 significant digits
    assert curriculum.success_rate([1, 0, 1]) == 0.666666666667
    assert curriculum.pass_at_k([1, 0, 1], k=2) == 1.0
    assert curriculum.variance([1, 0, 1]) == 0.333333333333
    with pytest.raises(ValueError, match="k is 0, expected 1 or more"):
        curriculum.pass_at_k([1, 0, 1], k=0)
