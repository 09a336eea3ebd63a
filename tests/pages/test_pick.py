"""Which rollouts a page shows, beside the plain rules."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from curriculum.choosing.groups import Groups
from curriculum.pages import pick
from curriculum.pages.pick import ScoredRollouts
from curriculum.reading.ledger import PASSED, SOLVED, TAKEN

RATES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=60)


def rollouts(
    rates: list[float], edges: list[float], groups: list[str | None] | None = None
) -> ScoredRollouts:
    """Rollouts of these success rates, cut at these difficulties, which are negative rates."""
    values = np.array(rates)
    kinds = np.full(len(values), TAKEN, np.uint8)
    kinds[values > 0] |= PASSED
    kinds[values == 1] |= SOLVED
    buckets = np.searchsorted(edges, -values, side="right")
    found = Groups.of(groups) if groups else Groups.of([])
    return ScoredRollouts(values, buckets, kinds, values * (1 - values), found)


@given(RATES)
def test_of_each_bucket_some_are_drawn(rates: list[float]) -> None:
    edges = [-0.6, -0.3]
    found = rollouts(rates, edges)
    drawn = found.drawn(3)
    for bucket, some in enumerate(drawn):
        members = np.flatnonzero(found.buckets == bucket).tolist()
        assert len(some) == len({*some}) == min(len(members), pick.OF_EACH_BUCKET)
        assert {*some} <= {*members}


def test_of_many_buckets_few_are_shown() -> None:
    found = rollouts([i / 100 for i in range(101)], [-1 + (i + 0.5) / 100 for i in range(100)])
    drawn = found.drawn(101)
    assert sum(map(len, drawn)) == pick.OF_ALL_BUCKETS
    assert drawn[0] == [100]
    assert drawn[-1] == [0]


@given(RATES, st.lists(st.sampled_from([-0.9, -0.6, -0.5, -0.3]), max_size=3, unique=True))
def test_the_nearest_to_a_cut_are_nearest(rates: list[float], at: list[float]) -> None:
    edges = sorted(at)
    found = rollouts(rates, edges).at_cuts(range(len(edges) + 1), higher_is_easier=True)
    expected = []
    for edge in edges:
        easier = [rate for rate in rates if -rate < edge]
        harder = [rate for rate in rates if -rate >= edge]
        pair = (min(easier), max(harder)) if easier and harder else None
        if pair and pair not in expected:  # beside an empty bucket
            expected.append(pair)
    assert [(rates[pair.easier], rates[pair.harder]) for pair in found] == expected


@given(RATES, st.integers(1, 5), st.booleans(), st.data())
def test_a_rollout_beside_a_cut_is_in_the_bucket_of_its_side(
    rates: list[float], count: int, apart: bool, data: st.DataObject
) -> None:
    """Also where rollouts of one value lie in several buckets, as --ties split cuts them."""
    ranked = sorted(range(len(rates)), key=lambda i: -rates[i])
    ends = sorted(data.draw(st.lists(st.integers(0, len(rates)), min_size=count, max_size=count)))
    buckets = np.zeros(len(rates), np.int64)
    for number in range(count):
        buckets[ranked[ends[number] :]] = number + 1
    whole = replace(rollouts(rates, []), buckets=buckets)
    inner = range(1, count) if apart else range(count + 1)
    expected = set()
    for last in list(inner)[:-1]:
        sides = [
            [rates[i] for i in range(len(rates)) if buckets[i] in some]
            for some in (range(inner.start, last + 1), range(last + 1, inner.stop))
        ]
        if all(sides):
            expected.add((min(sides[0]), max(sides[1])))
    pairs = whole.at_cuts(inner, higher_is_easier=True)
    assert {(rates[pair.easier], rates[pair.harder]) for pair in pairs} == expected
    for pair in pairs:
        assert inner.start <= buckets[pair.easier] < buckets[pair.harder] < inner.stop


@given(RATES)
def test_the_widest_vary_most(rates: list[float]) -> None:
    spread = sorted((rate * (1 - rate) for rate in rates if 0 < rate < 1), reverse=True)
    found = rollouts(rates, []).widest()
    assert [rates[i] * (1 - rates[i]) for i in found] == spread[: pick.WIDEST]


def test_odd_rollouts_are_those_unlike_nearly_all_of_their_group() -> None:
    easy, hard, mixed = [1.0] * 39 + [0.0], [0.0] * 39 + [1.0], [0.0, 1.0] * 20
    groups = ["easy"] * 40 + ["hard"] * 40 + ["mixed"] * 40 + ["small"] * 10
    found = rollouts(easy + hard + mixed + [0.0] + [1.0] * 9, [], [*groups]).odd()
    assert [(one.number, one.group, one.solved, one.share) for one in found] == [
        (39, "easy", False, 0.025),
        (79, "hard", True, 0.025),
    ]


def test_rollouts_without_a_group_are_a_group_beside_others() -> None:
    (one,) = rollouts([0.0] + [1.0] * 39 + [0.5] * 60, [], [None] * 40 + ["some"] * 60).odd()
    assert (one.number, one.group, one.share, one.rollouts) == (0, pick.NO_GROUP, 0.025, 40)


def test_without_groups_all_rollouts_are_one() -> None:
    (one,) = rollouts([0.0] + [0.5] * 30, []).odd()
    assert (one.number, one.group, one.rollouts) == (0, None, 31)
