"""Which rows of a set are written: every rule against its plain version, and what must hold."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.choosing.choose import CHOICE, REPLAY, Balance, Choice, Rows, choose, order_of
from curriculum.choosing.flags import parse_balance, parse_top
from curriculum.choosing.shares import largest_mix, take_turns
from curriculum.errors import UsageError

ROW = st.tuples(
    st.integers(0, 30),  # prompt
    st.integers(0, 2),  # bucket
    st.integers(-1, 3),  # group
    st.sampled_from([0.0, 0.25, 0.5, float("nan")]),
)
ROWS = st.lists(ROW, max_size=60)
NAMES = ("a", "b", "c", "d")


def rows_of(drawn: list[tuple[Any, ...]]) -> Rows:
    prompts, buckets, groups, signal = zip(*drawn, strict=True) if drawn else ((), (), (), ())
    return Rows(
        np.array(prompts, np.uint64) * np.uint64(0x9E37_79B9_7F4A_7C15),
        np.array(buckets, np.int64),
        np.array(groups, np.int64),
        np.array(signal, np.float64),
        NAMES,
    )


def place(rows: Rows, row: int, salt: int = CHOICE) -> tuple[int, int, int]:
    """By what rows come first: the first rows of all prompts, then the second ones, each time in
    the order of the prompts."""
    earlier = int((rows.hashes[:row] == rows.hashes[row]).sum())
    return earlier, int(order_of(rows.hashes[row : row + 1], salt)[0]), row


def picked(drawn: list[tuple[Any, ...]], choice: Choice) -> set[int]:
    chosen, steps = choose(rows_of(drawn), choice, last=2)
    assert len(drawn) - sum(step.dropped for step in steps) == chosen.sum()
    for step, following in pairwise(steps):
        assert step.after == following.before
    return set(np.flatnonzero(chosen).tolist())


@given(ROWS, st.integers(1, 70), st.integers(1, 70))
def test_max_rows_takes_the_first_and_fewer_are_among_more(drawn: Any, one: int, two: int) -> None:
    rows = rows_of(drawn)
    expected = sorted(range(len(drawn)), key=lambda row: place(rows, row))[:one]
    assert picked(drawn, Choice(max_rows=one)) == set(expected)
    fewer, more = sorted((one, two))
    assert picked(drawn, Choice(max_rows=fewer)) <= picked(drawn, Choice(max_rows=more))


@given(ROWS, st.integers(1, 70))
def test_top_takes_the_highest_values(drawn: Any, most: int) -> None:
    rows = rows_of(drawn)
    defined = [row for row in range(len(drawn)) if drawn[row][3] == drawn[row][3]]
    expected = sorted(defined, key=lambda row: (-drawn[row][3], *place(rows, row)[1:]))[:most]
    assert picked(drawn, Choice(top=(most, "variance"))) == set(expected)


@given(ROWS, st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.sampled_from([0.1, 0.5, 1.0]))
def test_replay_takes_a_share_of_the_prompts_of_easier_buckets(
    drawn: Any, share: float, more: float
) -> None:
    rows, last = rows_of(drawn), 2
    expected = {row for row in range(len(drawn)) if drawn[row][1] == last}
    for bucket in range(last):
        mine = [row for row in range(len(drawn)) if drawn[row][1] == bucket]
        order = sorted(
            {drawn[row][0]: place(rows, row, REPLAY)[1] for row in mine}.items(), key=lambda p: p[1]
        )
        again = {prompt for prompt, _ in order[: int(share * len(order) + 0.5)]}
        expected |= {row for row in mine if drawn[row][0] in again}
    found = picked(drawn, Choice(replay=share))
    assert found == expected
    if share <= more:
        assert found <= picked(drawn, Choice(replay=more))


@given(ROWS, st.none() | st.integers(1, 40))
def test_balance_takes_the_same_number_of_each_group(drawn: Any, most: int | None) -> None:
    found = picked(drawn, Choice(balance=Balance("x"), max_rows=most))
    sizes = {g: sum(row[2] == g for row in drawn) for g in range(4)}
    there = [g for g, size in sizes.items() if size]
    counts = {g: sum(drawn[row][2] == g for row in found) for g in there}
    assert all(drawn[row][2] >= 0 for row in found)
    if there:
        assert max(counts.values()) - min(counts.values()) <= 1
        every = len(there) * min(sizes[g] for g in there)
        assert len(found) == (every if most is None else min(every, most))
    for group in there:  # the first of each group
        mine = [row for row in range(len(drawn)) if drawn[row][2] == group]
        own = rows_of([drawn[row] for row in mine])
        order = sorted(range(len(mine)), key=lambda row: place(own, row))
        assert {r for r in found if drawn[r][2] == group} == {
            mine[row] for row in order[: counts[group]]
        }


@given(ROWS, st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_shares_are_kept_to_within_one_row(drawn: Any, one: int, two: int, rest: bool) -> None:
    shares = {"a": Fraction(1, 2), "b": Fraction(1, 4) if rest else Fraction(1, 2)}
    choice = [Choice(balance=Balance("x", shares), max_rows=most) for most in sorted((one, two))]
    fewer, more = (picked(drawn, each) for each in choice)
    assert fewer <= more
    counts = [sum(drawn[row][2] == g for row in more) for g in range(4)]
    others = sum(row[2] in (2, 3) for row in drawn)
    if rest and not others:
        shares = {"a": Fraction(2, 3), "b": Fraction(1, 3)}
    for group, share in zip((0, 1), shares.values(), strict=True):
        assert abs(counts[group] - share * len(more)) < 1
    if not rest:
        assert counts[2:] == [0, 0]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(0, 120))
def test_turns_keep_every_share_at_every_moment(weights: list[int], total: int) -> None:
    shares = [Fraction(weight, sum(weights)) for weight in weights]
    turns = take_turns(shares, total).tolist()
    counts = [0] * len(shares)
    for turn, group in enumerate(turns, 1):
        counts[group] += 1
        assert all(abs(c - s * turn) < 1 for c, s in zip(counts, shares, strict=True))
    assert take_turns(shares, total // 2).tolist() == turns[: total // 2]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), min_size=1, max_size=5))
def test_the_largest_mix_can_be_had_and_no_larger_one(groups: list[tuple[int, int]]) -> None:
    counts = [count for count, _ in groups]
    shares = [Fraction(weight, sum(weight for _, weight in groups)) for _, weight in groups]
    total = largest_mix(counts, shares)
    taken = np.bincount(take_turns(shares, total), minlength=len(groups))
    assert all(taken <= counts)
    assert any(share * (total + 1) > count for share, count in zip(shares, counts, strict=True))


def test_the_order_of_prompts_has_nothing_to_do_with_the_split() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64, 4_000, dtype=np.uint64)
    low, first = np.argsort(hashes)[:1_000], np.argsort(order_of(hashes, CHOICE))[:1_000]
    assert 200 < len(np.intersect1d(low, first)) < 300  # 250 by chance


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (["ten", "variance"], "a number of rows and a metric"),
        (["0", "variance"], "a number of rows and a metric"),
        (["-3", "variance"], "a number of rows and a metric"),
        (["10", "varience"], "did you mean variance"),
    ],
)
def test_what_is_no_top(values: list[str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse_top(values)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (["gsm8k=0.5"], "the field first"),
        (["a..b"], "the field first"),
        (["data_source", "gsm8k"], "GROUP=SHARE"),
        (["data_source", "gsm8k=0"], "above 0"),
        (["data_source", "gsm8k=1.5"], "at most 1"),
        (["data_source", "gsm8k=x"], "GROUP=SHARE"),
        (["data_source", "gsm8k=50%"], "write gsm8k=0.5"),
        (["data_source", "gsm8k=", "0.5"], "nothing follows 'gsm8k='"),
        (["data_source", "gsm8k=0.5", "gsm8k=0.2"], "is there twice"),
        (["data_source", "gsm8k=0.7", "math=0.4"], "add up to 1.1"),
    ],
)
def test_what_is_no_balance(values: list[str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse_balance(values)


def test_a_group_may_have_an_equals_sign_in_its_name() -> None:
    balance = parse_balance(["x", "a=b=0.25"])
    assert balance is not None
    assert dict(balance.shares) == {"a=b": Fraction(1, 4)}
