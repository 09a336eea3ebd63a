"""The order of scheduled rows: each row once an epoch, and difficulties as the schedule means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.choosing.schedule import (
    KINDS,
    LEVELS,
    Schedule,
    expected_difficulty,
    order_rows,
    weights,
)

SCHEDULES = st.builds(
    Schedule,
    st.sampled_from(sorted(KINDS)),
    st.integers(1, 40),
    st.integers(1, 3),
    st.sampled_from([0.02, 0.15, 1.0]),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([0.0, 0.7, 1.0]),
)


@settings(deadline=None, max_examples=60)
@given(SCHEDULES, st.integers(0, 150), st.integers(1, 4), st.integers(0, 2**32))
def test_no_row_is_lost_or_doubled_and_groups_keep_their_share(
    schedule: Schedule, count: int, groups: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    difficulty = rng.choice([0.0, 0.25, 0.5, 1.0], count)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    of = rng.integers(0, groups, count)
    order = order_rows(schedule, difficulty, hashes, of)
    assert len(order) == count * schedule.epochs
    for epoch in range(schedule.epochs):
        once = order[epoch * count : (epoch + 1) * count]
        assert sorted(once.tolist()) == list(range(count))
        for group in range(groups):
            share, taken = (of == group).sum() / max(count, 1), np.cumsum(of[once] == group)
            assert np.abs(taken - share * np.arange(1, count + 1)).max(initial=0) < 1
    again = order_rows(schedule, difficulty, hashes, of)
    assert order.tolist() == again.tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("start", "end"), [(0, 1), (0.2, 0.8), (1, 0)])
def test_batches_have_the_difficulty_that_is_meant(kind: str, start: float, end: float) -> None:
    count, size = 4_800, 64
    schedule = Schedule(kind, size, start=start, end=end)
    rng = np.random.default_rng(1)
    difficulty, hashes = rng.random(count), rng.integers(0, 2**64, count, dtype=np.uint64)
    order = order_rows(schedule, difficulty, hashes, rng.integers(0, 3, count))
    ranks = np.argsort(np.argsort(difficulty)) / count
    off = np.abs(ranks[order].reshape(-1, size).mean(axis=1) - expected_difficulty(schedule, 75))
    assert off.mean() < 0.005
    assert off[:-4].max() < 0.03  # the bound: at random it would be 0.29 / 8 = 0.036 on average
    assert off.max() < 0.1  # the last batches take what is left


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sigma", [0.02, 0.15, 3])
def test_weights_use_every_difficulty_and_every_time_up(kind: str, sigma: float) -> None:
    found = weights(Schedule(kind, 8, sigma=sigma))
    assert np.allclose(found.sum(axis=0), 1 / LEVELS, rtol=1e-3)
    assert np.allclose(found.sum(axis=1), 1 / LEVELS, rtol=1e-3)


def test_linear_and_cosine_are_the_formulas_of_the_paper() -> None:
    """Its levels k of K are difficulties (k + ½) / K here; both formulas use all rows up by
    themselves, so nothing is scaled."""
    level = (np.arange(LEVELS) + 0.5) / LEVELS
    for kind, alpha in (("linear", 1 - level), ("cosine", 0.5 * (1 + np.cos(np.pi * level)))):
        plain = alpha[:, None] * (1 - level) + (1 - alpha[:, None]) * level
        assert np.allclose(weights(Schedule(kind, 8)), 2 * plain / LEVELS**2, rtol=1e-4)


def test_means_rise_along_the_run() -> None:
    means = {kind: expected_difficulty(Schedule(kind, 8), 50) for kind in KINDS}
    for found in means.values():
        assert (np.diff(found) > 0).all()
        assert abs(found.mean() - 0.5) < 1e-3
    assert means["gaussian"][0] < 0.15 < 0.3 < means["linear"][0] < 0.36
    back = expected_difficulty(Schedule("gaussian", 8, start=1, end=0), 50)
    assert np.allclose(back, means["gaussian"][::-1], atol=1e-3)
    narrow = expected_difficulty(Schedule("gaussian", 8, sigma=0.02), 50)
    assert np.abs(narrow - (np.arange(50) + 0.5) / 50).max() < 0.02
