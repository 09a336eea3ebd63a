"""The distribution as bars and as text."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curriculum.reports.histogram import MOST_BUCKETS, WIDTH, histogram_lines
from curriculum.statistics.bins import FEW_VALUES, Bar, bars_of, choose_bins

VALUES = st.lists(
    st.one_of(
        st.sampled_from([0.0, 0.125, 0.5, 0.875, 1.0]),
        st.floats(-10, 10),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    min_size=1,
    max_size=60,
)


@given(values=VALUES, cut=st.integers(0, 60))
def test_bars_hold_every_value_once(values: list[float], cut: int) -> None:
    ascending = np.sort(np.array(values))
    bins = choose_bins([np.unique(ascending)])
    for part in (ascending[:cut], ascending[cut:]):  # two buckets
        bars = bars_of(part, bins)
        assert sum(bar.count for bar in bars) == len(part)
        if not len(part):
            continue
        assert (bars[0].low, bars[-1].high) == (part[0], part[-1])
        for bar, after in zip(bars, [*bars[1:], None], strict=True):
            end = np.nextafter(bar.high, np.inf) if after is None or bins.single else after.low
            assert bar.count == ((bar.low <= part) & (part < end)).sum()


@given(VALUES)
def test_few_values_get_a_bar_each_and_many_get_round_ones(values: list[float]) -> None:
    distinct = np.unique(np.array(values))
    bins = choose_bins([distinct])
    assert bins.single == (len(distinct) <= FEW_VALUES)
    assert bins.single or len(bins.starts) <= FEW_VALUES + 1
    assert np.isfinite(bins.starts).all()


def test_steps_are_round_numbers() -> None:
    values = np.linspace(0, 1.25, 100)
    assert choose_bins([values]).starts.round(9).tolist() == [i / 10 for i in range(13)]


def test_text_runs_from_easy_to_hard_with_its_cuts() -> None:
    easy, hard = [Bar(0.75, 0.75, 30), Bar(1, 1, 60)], [Bar(0, 0, 1)]
    assert histogram_lines(["easy", "medium", "hard"], [easy, [], hard], ["cut", "cut"], True) == [
        "easy        1  " + "#" * 61 + " 60",
        "         0.75  " + "#" * 30 + " 30",
        "---- cut " + "-" * 71,
        "medium  empty",
        "---- cut " + "-" * 71,
        "hard        0  # 1",
    ]


def test_a_metric_of_which_more_is_harder_starts_with_its_lowest_value() -> None:
    found = histogram_lines(
        ["a", "b"], [[Bar(0, 1, 2), Bar(1, 2, 2)], [Bar(3, 4, 2)]], ["c"], False
    )
    assert [line.split("  ")[1].strip() for line in found if not line.startswith("-")] == [
        "0 to 1", "1 to 2", "3 to 4",
    ]  # fmt: skip


@given(
    names=st.lists(st.text("abcdefg_", min_size=1, max_size=200), min_size=1, max_size=40),
    counts=st.lists(st.integers(0, 10**10), min_size=1, max_size=20),
    low=st.floats(-1e300, 1e300),
)
def test_text_fits_a_terminal(names: list[str], counts: list[int], low: float) -> None:
    bars = [Bar(low, low + 1.23456, count) for count in counts]
    found = histogram_lines(names, [bars] * len(names), ["cut"] * (len(names) - 1), True)
    assert max(map(len, found)) <= WIDTH
    if len(names) > MOST_BUCKETS:
        assert len(found) == len(names)


def test_values_on_round_numbers_are_all_on_the_same_side() -> None:
    values = np.array([float(f"{k / 20:.12g}") for k in range(21)])
    bars = bars_of(values, choose_bins([values]))
    assert [bar.count for bar in bars] == [2] * 10 + [1]
    assert [bar.low for bar in bars] == [k / 10 for k in range(11)]


def test_a_value_just_below_a_round_number_is_not_lost() -> None:
    values = np.append(0.299999999999, np.linspace(0.35, 1.5, 40))
    bars = bars_of(values, choose_bins([values]))
    assert sum(bar.count for bar in bars) == len(values)
    assert bars[0].low == values[0]


def test_a_single_rollout_is_seen_beside_thousands() -> None:
    (line, _) = histogram_lines(["a"], [[Bar(1, 1, 9_000), Bar(2, 2, 1)]], [], True)
    assert line.endswith("# 1")
