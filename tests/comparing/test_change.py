"""What changed between two bucketings, beside the plain rules."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.cutting import change
from curriculum.cutting.change import (
    Direction,
    Side,
    bootstrap,
    chance_of_fall,
    compare_sides,
    discoveries,
    match,
)

KEYS = st.lists(st.integers(0, 12), max_size=20)


@given(KEYS, KEYS, KEYS, KEYS)
def test_prompts_that_each_side_has_once_are_matched(
    old: list[int], new: list[int], old_others: list[int], new_others: list[int]
) -> None:
    sides = (
        side(some, [1] * len(some), [2] * len(some), others=others)
        for some, others in ((old, old_others), (new, new_others))
    )
    found = match(*sides)
    before, after = Counter(old), Counter(new)
    both = (before.keys() & after.keys()) - {0}
    single = [key for key in new if key in both and before[key] == after[key] == 1]
    assert [new[i] for i in found.new.tolist()] == single
    assert [old[i] for i in found.old.tolist()] == single
    assert found.several == len(both) - len(single)
    there, here = {*old, *old_others} - {0}, {*new, *new_others} - {0}
    assert (found.only_old, found.only_new) == (len(there - here), len(here - there))
    assert found.unscored == len(there & here) - len(both)
    assert found.without == old.count(0) + new.count(0)
    compared = len(found.old) + found.several + found.unscored
    assert compared + found.only_old + found.only_new == len(there | here)


def side(keys: list[int], passes: list[int], counts: list[int], others: Sequence[int] = ()) -> Side:
    values = np.array(passes, np.float64) / np.array(counts, np.float64)
    return Side(
        np.array(keys, np.uint64), np.array(keys, np.uint64), values,
        (values < 0.5).astype(np.int64), np.array(counts, np.int64), np.array(passes, np.int64),
        np.array(others, np.uint64),
    )  # fmt: skip


ROLLOUTS = st.lists(
    st.tuples(st.integers(1, 9), st.integers(0, 4), st.integers(4, 5)), min_size=1, max_size=12
)


@given(ROLLOUTS, ROLLOUTS)
def test_moves_and_means_are_those_of_the_prompts_in_both(first: list, second: list) -> None:
    old, new = (side(*map(list, zip(*some, strict=True))) for some in (first, second))
    found = compare_sides(old, new, (2, 2), Direction.LOWER)
    pairs = match(old, new)
    counted = Counter(
        (int(old.buckets[i]), int(new.buckets[j]))
        for i, j in zip(pairs.old, pairs.new, strict=True)
    )
    assert found.moves == tuple(tuple(counted[i, j] for j in (0, 1)) for i in (0, 1))
    assert found.compared == len(pairs.old)
    if found.compared:
        means = [float(np.mean(s.values[at])) for s, at in ((old, pairs.old), (new, pairs.new))]
        assert found.means == tuple(means)
    fallen = [worse for worse in found.worse if worse.values[1] >= worse.values[0]]
    assert not fallen


@pytest.mark.parametrize(
    ("harder_is", "who"), [(Direction.LOWER, 2), (Direction.HIGHER, 1), (Direction.NONE, 2)]
)
def test_which_way_is_harder_is_the_metrics(harder_is: Direction, who: int) -> None:
    old, new = side([1, 2, 3], [2, 2, 2], [4] * 3), side([1, 2, 3], [2, 4, 0], [4] * 3)
    found = compare_sides(old, new, (2, 2), harder_is)
    assert [worse.new for worse in found.worse] == [who]


def plain_chance(n1: int, c1: int, n2: int, c2: int) -> float:
    """The share of all ways to choose the later responses with as few passes."""
    every = [1] * (c1 + c2) + [0] * (n1 + n2 - c1 - c2)
    ways = [sum(every[i] for i in some) for some in combinations(range(len(every)), n2)]
    return sum(passes <= c2 for passes in ways) / len(ways)


@given(st.integers(0, 5), st.integers(1, 5), st.data())
def test_the_chance_of_a_fall_is_that_of_all_ways(c1: int, n2: int, data: st.DataObject) -> None:
    n1, c2 = max(c1, 1), data.draw(st.integers(0, n2))
    found = chance_of_fall(*(np.array([n]) for n in (n1, c1, n2, c2)))
    assert math.isclose(found[0], plain_chance(n1, c1, n2, c2), rel_tol=1e-9)


@given(st.lists(st.floats(0, 1), max_size=30))
def test_discoveries_follow_benjamini_and_hochberg(chances: list[float]) -> None:
    ranked, limit = sorted(chances), -1.0
    for k, chance in enumerate(ranked, 1):
        if chance <= 0.05 * k / len(chances):
            limit = chance
    expected = [chance <= limit for chance in chances]
    assert discoveries(np.array(chances)).tolist() == expected


def plain_bootstrap(differences: np.ndarray, draws: int) -> tuple[float, float]:
    rng = np.random.default_rng(1)
    means = [rng.choice(differences, len(differences)).mean() for _ in range(draws)]
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


@pytest.mark.parametrize("steps", [100, 4096])  # so many, or each value by itself
def test_the_interval_is_that_of_a_plain_bootstrap(
    monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    rng = np.random.default_rng(0)
    monkeypatch.setattr(change, "STEPS", steps)
    for given_differences in (
        rng.choice([-0.5, 0, 0, 0.25, 0.5], 400),
        rng.normal(0.1, 1, 300),
        rng.exponential(1, 300) ** 2,
        np.array([0.0, 1.0]),
    ):
        found, plain = bootstrap(given_differences), plain_bootstrap(given_differences, 4000)
        width = max(plain[1] - plain[0], 1e-9)
        assert abs(found[0] - plain[0]) < 0.12 * width
        assert abs(found[1] - plain[1]) < 0.12 * width


def test_equal_differences_have_an_interval_of_one_point() -> None:
    low, high = bootstrap(np.full(10, 0.25))
    assert (low, high) == (0.25, 0.25)


def test_only_what_got_harder_is_counted_as_harder() -> None:
    """Where the value and the passes go apart: a number that is easier, with fewer passes."""
    old, new = side([1, 2], [60, 30], [60, 60]), side([1, 2], [0, 30], [60, 60])
    found = compare_sides(old, new, (2, 2), Direction.HIGHER)
    assert (found.beyond_chance, list(found.worse)) == (0, [])
    assert compare_sides(old, new, (2, 2), Direction.LOWER).beyond_chance == 1
