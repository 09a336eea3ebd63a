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
from curriculum.choosing.schedule_facts import ScheduleFacts

SCHEDULES = st.builds(
    Schedule,
    st.sampled_from(sorted(KINDS)),
    st.integers(1, 40),
    st.integers(1, 3),
    st.sampled_from([0.01, 0.02, 0.15, 1.0]),
    st.sampled_from([0.0, 0.2, 1.0]),
    st.sampled_from([0.0, 0.8, 1.0]),
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
    off = np.abs(
        (ranks[order] - expected_difficulty(schedule, count)).reshape(-1, size).mean(axis=1)
    )
    assert off.mean() < 0.005
    assert off[:-4].max() < 0.03  # the bound: at random it would be 0.29 / 8 = 0.036 on average
    assert off.max() < 0.1  # the last batches take what is left


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sigma", [0.02, 0.15, 3])
def test_weights_use_every_difficulty_and_every_time_up(kind: str, sigma: float) -> None:
    found = weights(Schedule(kind, 8, sigma=sigma))
    assert np.allclose(found.sum(axis=0), 1 / LEVELS, rtol=1e-3)
    assert np.allclose(found.sum(axis=1), 1 / LEVELS, rtol=1e-3)


def test_a_narrow_schedule_of_many_batches_draws_every_row_without_a_warning() -> None:
    rng = np.random.default_rng(0)
    for start, end, sigma in ((0.2, 0.8, 0.01), (0.4, 0.6, 0.03), (0.5, 0.5, 0.01)):
        schedule = Schedule("gaussian", 8, sigma=sigma, start=start, end=end)
        hashes = rng.integers(0, 2**64, 1_600, dtype=np.uint64)
        order = order_rows(schedule, rng.random(1_600), hashes, np.zeros(1_600, np.int64))
        assert sorted(order.tolist()) == list(range(1_600))


def test_epochs_are_in_other_orders_and_their_batches_run_on() -> None:
    count, size = 1_000, 64
    schedule = Schedule("gaussian", size, epochs=3)
    rng = np.random.default_rng(2)
    difficulty, hashes = rng.random(count), rng.integers(0, 2**64, count, dtype=np.uint64)
    order = order_rows(schedule, difficulty, hashes, np.zeros(count, np.int64))
    one, two, three = order.reshape(3, -1)
    assert (one != two).mean() > 0.9
    assert (two != three).mean() > 0.9
    ranks = np.argsort(np.argsort(difficulty)) / count
    facts = ScheduleFacts.of(schedule, ranks[order], np.zeros(3 * count, np.int64), ["all"])
    batches = [ranks[order][at : at + size].mean() for at in range(0, 3 * count, size)]
    assert np.allclose(facts.means, batches)
    assert (len(facts.means), facts.last, len(facts.epoch)) == (47, 3_000 - 46 * size, 15)
    off = np.abs(facts.means - facts.meant)
    assert off.mean() < 0.01
    assert facts.shares.tolist() == [[1.0]] * 47


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
