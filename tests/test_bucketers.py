"""Where to cut: percentiles, thresholds and tied rollouts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.bucketers import (
    cut_at,
    cut_thresholds,
    difficulty,
    percentile_edges,
    rank_cuts,
    split_at,
)
from curriculum.display.text import threshold
from curriculum.flags import threshold as parse_threshold

VALUES = st.lists(st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 0.875, 1.0, 2.0]), min_size=1)


def cut_percentiles(values: np.ndarray, num_buckets: int) -> np.ndarray:
    """The bucket of each rollout, from its difficulty."""
    return cut_at(values, percentile_edges(np.sort(values), num_buckets))


def split_ties(values: np.ndarray, hashes: np.ndarray, num_buckets: int) -> np.ndarray:
    """The same in exactly equal parts."""
    cuts = rank_cuts(np.sort(values), num_buckets)
    (places,) = split_at([values], [hashes], cuts, higher_is_easier=False)
    return places


def plain_percentiles(values: list[float], n: int) -> list[int]:
    """Bucketing rule 3, word for word: values ascend from easy to hard."""
    distinct = sorted(set(values))
    big_d, big_n = len(distinct), len(values)
    if big_d < n:
        if big_d == 1:
            return [(n - 1) // 2] * big_n
        return [distinct.index(v) * (n - 1) // (big_d - 1) for v in values]
    c = [0] + [sum(v <= d for v in values) for d in distinct]
    b = [0, *[0] * (n - 1), big_d]
    for j in range(1, n):
        allowed = range(b[j - 1] + 1, big_d - (n - j) + 1)
        b[j] = min(allowed, key=lambda i: (abs(n * c[i] - j * big_n), i))
    moved = True
    while moved:
        moved = False
        for j in range(1, n):
            middle = c[b[j - 1]] + c[b[j + 1]]
            best = min(range(b[j - 1] + 1, b[j + 1]), key=lambda i: (abs(2 * c[i] - middle), i))
            if abs(2 * c[best] - middle) < abs(2 * c[b[j]] - middle):
                b[j], moved = best, True
    return [sum(distinct.index(v) >= cut for cut in b[1:-1]) for v in values]


@given(values=VALUES, n=st.integers(1, 9))
def test_percentiles_equal_the_rule(values: list[float], n: int) -> None:
    assert cut_percentiles(np.array(values), n).tolist() == plain_percentiles(values, n)


@given(values=st.lists(st.floats(-1e3, 1e3), min_size=1, unique=True), n=st.integers(1, 7))
def test_without_ties_parts_are_equal(values: list[float], n: int) -> None:
    sizes = np.bincount(cut_percentiles(np.array(values), n), minlength=n)
    if len(values) >= n:
        assert sizes.max() - sizes.min() <= 1


@given(values=VALUES, n=st.integers(1, 7))
def test_harder_never_lands_easier_and_ties_stay_together(values: list[float], n: int) -> None:
    buckets = cut_percentiles(np.array(values), n)
    order = np.argsort(values, kind="stable")
    assert (np.diff(buckets[order]) >= 0).all()
    assert all(len(set(buckets[np.array(values) == v].tolist())) == 1 for v in values)
    if len(set(values)) >= n:
        assert set(buckets.tolist()) == set(range(n))


def test_tied_zeros_are_hard_not_medium() -> None:
    # Code Llama on CRUXEval: 885 of 1600 prompts unsolved; plain percentile edges leave no hard.
    rates = np.repeat([1.0, 0.5, 0.25, 0.0], [400, 200, 115, 885])
    buckets = cut_percentiles(difficulty(rates, higher_is_easier=True), 3)
    assert np.bincount(buckets).tolist() == [400, 315, 885]
    assert set(buckets[rates == 0].tolist()) == {2}


def test_no_rollouts_no_buckets() -> None:
    assert cut_percentiles(np.zeros(0), 3).tolist() == []


@pytest.mark.parametrize(
    ("values", "n", "expected"),
    [([5.0, 5.0], 3, [1, 1]), ([1.0, 2.0], 3, [0, 2]), ([1.0, 2.0, 3.0], 5, [0, 2, 4])],
)
def test_fewer_values_than_buckets_are_spread(values, n, expected) -> None:
    assert cut_percentiles(np.array(values), n).tolist() == expected


@given(values=VALUES, n=st.integers(1, 7), data=st.data())
def test_split_ties_makes_equal_parts_in_the_order_of_difficulty(values, n, data) -> None:
    hashes = data.draw(st.lists(st.integers(0, 3), min_size=len(values), max_size=len(values)))
    found = split_ties(np.array(values), np.array(hashes, np.uint64), n)
    ranked = sorted(range(len(values)), key=lambda i: (values[i], hashes[i], i))
    expected = {i: rank * n // len(values) for rank, i in enumerate(ranked)}
    assert found.tolist() == [expected[i] for i in range(len(values))]
    at = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=3)))
    parts = np.split(-np.array(values), at), np.split(np.array(hashes, np.uint64), at)
    places = split_at(*parts, rank_cuts(np.sort(values), n), higher_is_easier=True)
    assert np.concatenate(places).tolist() == found.tolist()


@given(
    values=VALUES,
    thresholds=st.lists(st.sampled_from([0.0, 0.125, 0.3, 0.5, 1.0]), min_size=1, unique=True),
    easier=st.booleans(),
)
def test_thresholds_equal_the_rule(values, thresholds, easier) -> None:
    cuts = sorted(thresholds)
    found = cut_thresholds(np.array(values), cuts, easier)
    intervals = [sum(value > cut for cut in cuts) for value in values]
    assert found.tolist() == [len(cuts) - i if easier else i for i in intervals]


@given(
    values=st.lists(st.sampled_from([0.0, 0.125, 0.3, 0.5, 1.0]), min_size=1),
    cuts=st.lists(
        st.tuples(st.sampled_from([0.0, 0.125, 0.3, 0.5, 1.0]), st.booleans()), min_size=1,
        unique=True,
    ),
)  # fmt: skip
def test_a_threshold_is_closed_on_the_side_that_it_is_written(values, cuts) -> None:
    cuts = sorted(cuts, key=lambda cut: (cut[0], not cut[1]))
    written = [f"{value:g}{'-' * below}" for value, below in cuts]
    found = cut_thresholds(np.array(values), list(map(parse_threshold, written)), False)
    above = [[value >= cut if below else value > cut for cut, below in cuts] for value in values]
    assert found.tolist() == list(map(sum, above))
    assert [threshold(parse_threshold(text)) for text in written] == written


def test_settling_may_take_several_sweeps() -> None:
    values = np.repeat(np.arange(5.0), [9, 2, 1, 3, 2])
    assert cut_percentiles(values, 4).tolist() == plain_percentiles(values.tolist(), 4)
