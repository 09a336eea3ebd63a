"""learnability and useful_group: against experiments and the formula in fractions."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curriculum.metrics import MetricParameters, Scores
from curriculum.signals import SIGNALS


def value(name: str, passes: int, fails: int, group_size: int = 8) -> float:
    scores = Scores.of([[1.0] * passes + [0.0] * fails])
    return float(SIGNALS[name].values(scores, MetricParameters(group_size=group_size))[0])


@given(st.integers(0, 12), st.integers(0, 12))
def test_learnability_is_the_share_of_pairs_that_differ_halved(passes: int, fails: int) -> None:
    pairs = list(combinations([1] * passes + [0] * fails, 2))
    found = value("learnability", passes, fails)
    if not pairs:
        assert math.isnan(found)
    else:
        differ = sum(a != b for a, b in pairs)
        assert abs(found - differ / len(pairs) / 2) < 1e-11


@given(st.integers(0, 30), st.integers(0, 30), st.integers(2, 40))
def test_useful_group_is_the_product_of_the_rule_of_succession(
    passes: int, fails: int, size: int
) -> None:
    found, n = value("useful_group", passes, fails, size), passes + fails
    if not n:
        assert math.isnan(found)
        return
    every = all_fail = Fraction(1)
    for j in range(size):
        every *= Fraction(passes + 1 + j, n + 2 + j)
        all_fail *= Fraction(fails + 1 + j, n + 2 + j)
    assert abs(found - float(1 - every - all_fail)) < 1e-11


def test_useful_group_is_what_an_experiment_finds() -> None:
    rng = np.random.default_rng(0)
    for passes, fails in ((0, 8), (1, 7), (4, 4), (8, 0)):
        rates = rng.beta(passes + 1, fails + 1, 200_000)
        drawn = rng.binomial(8, rates)
        share = float(((drawn > 0) & (drawn < 8)).mean())
        assert abs(value("useful_group", passes, fails) - share) < 0.005


def test_many_responses_are_no_problem() -> None:
    assert 0.99 < value("useful_group", 50_000, 50_000, 64) < 1.000001
    assert value("useful_group", 0, 100_000, 8) < 1e-4
