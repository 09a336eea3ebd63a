"""The distribution as bars."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.statistics.bins import (
    FAR,
    FEW_VALUES,
    MOST_BARS,
    Bins,
    MainRange,
    bars_of,
    choose_bins,
    main_range,
)

VALUES = st.lists(
    st.one_of(
        st.sampled_from([0.0, 0.125, 0.5, 0.875, 1.0]),
        st.floats(-10, 10),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    min_size=1,
    max_size=60,
)


def bins_of(values: np.ndarray, apart: np.ndarray | None = None) -> Bins:
    every = values if apart is None else np.concatenate([values, apart])
    return choose_bins(np.unique(values), apart, main_range(every.copy()))


@given(values=VALUES, cut=st.integers(0, 60))
def test_bars_hold_every_value_once(values: list[float], cut: int) -> None:
    ascending = np.sort(np.array(values))
    bins = bins_of(ascending)
    for part in (ascending[:cut], ascending[cut:]):  # two buckets
        bars = bars_of(part, bins)
        assert sum(bar.count for bar in bars) == len(part)
        if not len(part):
            continue
        assert (bars[0].low, bars[-1].high) == (part[0], part[-1])
        for bar, after in zip(bars, [*bars[1:], None], strict=True):
            inside = part <= bar.high if after is None else part < after.low
            assert bar.count == ((bar.low <= part) & inside).sum()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=60))
def test_bins_reach_from_the_lowest_value_to_the_highest_and_no_further(
    values: list[float],
) -> None:
    bins = bins_of(np.array(values))
    assert (bins.starts[0], bins.ends[-1]) == (min(values), max(values))
    assert (bins.starts <= bins.ends).all()
    assert (bins.ends[:-1] <= bins.starts[1:]).all()


@given(VALUES)
def test_few_values_get_a_bar_each_and_many_get_round_ones(values: list[float]) -> None:
    distinct = np.unique(np.array(values))
    bins = bins_of(distinct)
    assert bins.single == (len(distinct) <= FEW_VALUES)
    assert bins.single or len(bins.starts) <= MOST_BARS + 3
    assert np.isfinite(bins.starts).all()


def test_steps_are_round_numbers() -> None:
    bins = bins_of(np.linspace(0, 1.25, 100))
    assert bins.starts.tolist() == [i / 10 for i in range(13)]
    assert bins.ends.tolist() == [*(i / 10 for i in range(1, 13)), 1.25]


def test_a_highest_value_on_a_round_number_gets_no_bar_beyond_it() -> None:
    values = np.arange(52) / 51
    bars = bars_of(values, bins_of(values))
    assert (bars[-1].low, bars[-1].high) == (0.9, 1.0)
    assert bars[-1].count == (values >= 0.9).sum()


@pytest.mark.parametrize(
    ("low", "high", "first", "last"),
    [
        (0.0, 1.02, (0.0, 0.1), (0.9, 1.02)),
        (0.0, 1.03, (0.0, 0.1), (1.0, 1.03)),
        (-0.02, 1.0, (-0.02, 0.1), (0.9, 1.0)),
        (0.05, 0.95, (0.05, 0.1), (0.9, 0.95)),
    ],
)
def test_a_sliver_at_either_end_joins_its_neighbour(
    low: float, high: float, first: tuple[float, float], last: tuple[float, float]
) -> None:
    bins = bins_of(np.linspace(low, high, 101))
    assert (bins.starts[0], bins.ends[0]) == first
    assert (bins.starts[-1], bins.ends[-1]) == last


def test_values_on_round_numbers_are_all_on_the_same_side() -> None:
    values = np.array([float(f"{k / 40:.12g}") for k in range(41)])
    bars = bars_of(values, bins_of(values))
    assert [bar.count for bar in bars] == [4] * 9 + [5]
    assert [bar.low for bar in bars] == [k / 10 for k in range(10)]


def test_a_value_just_below_a_round_number_is_not_lost() -> None:
    values = np.append(0.299999999999, np.linspace(0.35, 1.5, 40))
    bars = bars_of(values, bins_of(values))
    assert sum(bar.count for bar in bars) == len(values)
    assert bars[0].low == values[0]


# --- values that are far away, or have a bar of their own


def test_a_few_values_that_are_far_away_do_not_stretch_the_scale() -> None:
    values = np.concatenate([[-100.0, -90.0], np.linspace(0, 1, 400), [500.0]])
    bins = bins_of(values)
    assert (bins.starts[0], bins.ends[0], bins.scaled[0]) == (-100.0, -90.0, False)
    assert (bins.starts[-1], bins.ends[-1], bins.scaled[-1]) == (500.0, 500.0, False)
    assert bins.starts[bins.scaled].tolist() == [k / 10 for k in range(10)]
    assert bins.ends[-2] == 1.0
    assert not bins.to_scale
    bars = bars_of(values, bins)
    assert [bars[0].count, bars[-1].count] == [2, 1]


def test_values_apart_that_are_nearly_all_leave_a_scale_for_the_others() -> None:
    inner, apart = np.linspace(5, 100, 30), np.array([0.0])
    every = np.concatenate([np.tile([0.0, 0.5], 5_000), inner])
    bins = choose_bins(inner, apart, main_range(every))
    assert (bins.starts[0], bins.ends[0]) == (0, 0)
    assert (bins.starts[1], bins.ends[-1]) == (5, 100)
    assert bins.scaled.tolist() == [False, *[True] * 10]


def plain_main_range(values: list[float]) -> MainRange:
    ordered, few = sorted(values), len(values) // 100
    first, last = ordered[few], ordered[-1 - few]
    room = (last - first) / 2
    if not 0 < FAR * (last - first) < ordered[-1] - ordered[0]:
        return MainRange(ordered[0], ordered[0], ordered[-1], ordered[-1])
    near = [value for value in ordered if first - room <= value <= last + room]
    below = [value for value in ordered if value < near[0]]
    above = [value for value in ordered if value > near[-1]]
    return MainRange(
        below[-1] if below else near[0], near[0], near[-1], above[0] if above else near[-1]
    )


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 9.0, -9.0]), max_size=8),
       st.integers(0, 300))  # fmt: skip
def test_the_main_range_equals_its_plain_version(some: list[float], more: int) -> None:
    values = [0.0, 1.0, *some, *[0.5, 1.0] * more]
    assert main_range(np.array(values)) == plain_main_range(values)


def test_solved_and_unsolved_of_one_value_have_bars_of_their_own() -> None:
    inner, apart = np.arange(1, 32) / 32, np.array([0.0, 1.0])
    bins = bins_of(inner, apart)
    assert (bins.starts[0], bins.ends[0], bins.starts[-1], bins.ends[-1]) == (0, 0, 1, 1)
    assert (bins.scaled.tolist()[0], bins.scaled.tolist()[-1]) == (False, False)
    assert (bins.starts[1], bins.ends[-2]) == (1 / 32, 31 / 32)
    assert [bar.count for bar in bars_of(np.ones(3), bins)] == [3]


def test_solved_values_among_the_others_share_their_bars() -> None:
    inner, apart = np.arange(1, 32) / 32, np.arange(20, 33) / 32
    bins = bins_of(inner, apart)
    assert bins.scaled.all()
    assert bins.ends[-1] == 1


# --- whether an axis is to scale


@pytest.mark.parametrize(
    ("values", "slots"),
    [
        ([0.0, 1 / 6, 2 / 6, 0.5], [0, 1, 2, 3]),
        ([0.0, 0.166666666667, 0.5, 1.0], [0, 1, 3, 6]),
        ([1.0], [0]),
        ([-100.0, 0.0, 1.0], None),
        ([0.0, 0.3, 1.0], None),
        ([-1.7e308, 1e308, 1.7e308], None),
    ],
)
def test_evenly_spaced_values_stand_to_scale(values: list[float], slots: list[int] | None) -> None:
    bins = bins_of(np.array(values))
    assert (None if bins.slots is None else bins.slots.tolist()) == slots
    assert bins.to_scale == (slots is not None)
