"""The rows of a set on the train side → those of them that are written.

Rows are chosen by a hash of their prompt, so 500 rows are among the 1,000 of another run. Each rule
says how many rows it left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from shlex import join

import numpy as np

from curriculum.arrays import Array, BoolArray, CompactIntArray, FloatArray, HashArray, IntArray
from curriculum.choosing.groups import split_by
from curriculum.choosing.shares import largest_mix, take_turns

# Which order of the prompts is meant.
CHOICE, REPLAY, CONTROL = 0x9E3779B97F4A7C15, 0xA0761D6478BD642F, 0xD1B54A32D192ED03


@dataclass(frozen=True)
class Balance:
    """The place of the groups, and the share of those that are named; the others share the rest as
    their rows do, or, if none is named, all have the same share."""

    place: str
    shares: Mapping[str, Fraction] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The flag with its values."""
        given = (f"{name}={float(share):g}" for name, share in self.shares.items())
        return join(["--balance", self.place, *given])


@dataclass(frozen=True)
class Choice:
    """How rows of a set are chosen, in this order: the share of the prompts of easier buckets
    (`replay`), the `top` rows by a number and its name, the `balance` of groups, and the number of
    rows at most."""

    replay: float | None = None
    top: tuple[int, str] | None = None
    balance: Balance | None = None
    max_rows: int | None = None

    @property
    def without_replay(self) -> Choice:
        """The same without `replay`, which is for sets of several buckets."""
        return replace(self, replay=None)


@dataclass(frozen=True)
class Rows:
    """Numbers of rows, one entry each: prompt hash, number of the bucket, number of the group (-1:
    none), the value that `top` goes by (NaN: undefined). `names` are those of the groups. Without
    `balance` or `top` the last two may be empty."""

    hashes: HashArray
    buckets: IntArray
    groups: CompactIntArray
    signal: FloatArray
    names: Sequence[str] = ()

    def some(self, chosen: BoolArray | IntArray) -> Rows:
        """Some of the rows."""

        def take(values: Array) -> Array:
            return values[chosen] if len(values) else values

        return Rows(
            self.hashes[chosen],
            self.buckets[chosen],
            take(self.groups),
            take(self.signal),
            self.names,
        )


@dataclass(frozen=True)
class Step:
    """What a rule did: how many rows there were before it, and how many it left out; `note` may say
    why so many."""

    rule: str
    before: int
    dropped: int
    note: str = ""

    @property
    def after(self) -> int:
        """How many rows are left."""
        return self.before - self.dropped


def choose(rows: Rows, choice: Choice, last: int) -> tuple[BoolArray, list[Step]]:
    """Which rows are written, and what each rule did; `last` is the hardest bucket of the set."""
    chosen, steps = np.ones(len(rows.hashes), np.bool_), list[Step]()

    def apply(
        rule: str, pick: Callable[[Rows], BoolArray], note: Callable[[Rows], str] = lambda some: ""
    ) -> None:
        left, some = np.flatnonzero(chosen), rows.some(chosen)
        kept = pick(some)
        chosen[left[~kept]] = False
        steps.append(Step(rule, len(left), int((~kept).sum()), note(some)))

    if choice.replay is not None:
        share = choice.replay
        apply(f"--replay {share:g}", lambda some: replayed(some, share, last))
    if choice.top is not None:
        most, name = choice.top
        apply(
            f"--top {most} {name}",
            lambda some: highest(some, most),
            lambda some: f"{name} is undefined for all" if np.isnan(some.signal).all() else "",
        )
    if choice.balance is not None:
        balance = choice.balance
        apply(f"rows without {balance.place}", lambda some: np.asarray(some.groups >= 0))
        apply(
            balance.text,
            lambda some: balanced(some, balance.shares, choice.max_rows),
            lambda some: scarcest(some, balance.shares),
        )
    if choice.max_rows is not None:
        cap = choice.max_rows
        apply(f"--max-rows {cap}", lambda some: first_rows(some.hashes, CHOICE, cap))
    return chosen, steps


def replayed(rows: Rows, share: float, last: int) -> BoolArray:
    """All rows of the `last` bucket, and of each easier one those of a share of its prompts."""
    kept = np.asarray(rows.buckets == last)
    for here in split_by(rows.buckets):
        if rows.buckets[here[0]] == last:
            continue
        prompts = np.unique(rows.hashes[here])
        most = math.floor(share * len(prompts) + 0.5)
        again = prompts[first_rows(prompts, REPLAY, most)]
        kept[here] = np.isin(rows.hashes[here], again)
    return kept


def highest(rows: Rows, most: int) -> BoolArray:
    """The rows with the highest values, at most so many; a row without a value is none of them. Of
    equal values those come first whose prompt does."""
    order = np.lexsort((order_of(rows.hashes, CHOICE), -rows.signal))
    kept = np.zeros(len(order), np.bool_)
    kept[order[:most]] = True
    return kept & ~np.isnan(rows.signal)


def balanced(rows: Rows, shares: Mapping[str, Fraction], most: int | None) -> BoolArray:
    """As many rows as there can be, and at most so many, of which each group has its share."""
    kept = np.zeros(len(rows.hashes), np.bool_)
    numbers, counts, parts = _groups_with_shares(rows, shares)
    if not numbers:
        return kept
    total = largest_mix(counts, parts)
    turns = take_turns(parts, total if most is None else min(total, most))
    wanted = dict(zip(numbers, np.bincount(turns, minlength=len(numbers)).tolist(), strict=True))
    for here in split_by(rows.groups):
        most = wanted.get(int(rows.groups[here[0]]), 0)
        kept[here[first_rows(rows.hashes[here], CHOICE, most)]] = True
    return kept


def scarcest(rows: Rows, shares: Mapping[str, Fraction]) -> str:
    """Which group lets a balance have no more rows, in words."""
    numbers, counts, parts = _groups_with_shares(rows, shares)
    if not numbers:
        return ""
    least = min(range(len(numbers)), key=lambda i: counts[i] / parts[i])
    return (
        f"there {'is' if counts[least] == 1 else 'are'} {counts[least]:,} of "
        + (rows.names[numbers[least]])
    )


def _groups_with_shares(
    rows: Rows, shares: Mapping[str, Fraction]
) -> tuple[list[int], list[int], list[Fraction]]:
    """The numbers of the groups that have a share, how many rows each has, and its share."""
    counts = np.bincount(rows.groups[rows.groups >= 0], minlength=len(rows.names)).tolist()
    found = shares_of_groups(dict(zip(rows.names, counts, strict=True)), shares)
    numbers = [number for number, name in enumerate(rows.names) if name in found]
    return numbers, [counts[i] for i in numbers], [found[rows.names[i]] for i in numbers]


def shares_of_groups(
    counts: Mapping[str, int], named: Mapping[str, Fraction]
) -> dict[str, Fraction]:
    """The share of each group that has one: what is named, and of the others, which share what is
    left as their rows do. Without any name all groups that have rows have the same share."""
    there = {name: count for name, count in counts.items() if count or name in named}
    if not named:
        return {name: Fraction(1, len(there)) for name in there}
    left = 1 - sum(named.values(), Fraction(0))
    others = sum(count for name, count in there.items() if name not in named)
    found = dict(named)
    if left and others:
        found |= {n: left * Fraction(c, others) for n, c in there.items() if n not in named}
    elif left:  # there is no other group
        found = {name: share / (1 - left) for name, share in named.items()}
    return {name: share for name, share in found.items() if share}


def order_of(hashes: HashArray, salt: int) -> HashArray:
    """Numbers by whose size prompts come first: another order for each `salt`, and none has to do
    with the split. Equal hashes give equal numbers (the finalizer of SplitMix64, Steele et al.,
    2014)."""
    mixed = hashes ^ np.uint64(salt)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def first_rows(hashes: HashArray, salt: int, count: int) -> BoolArray:
    """Which rows come first, at most so many: those of other prompts before the second rows of the
    same ones."""
    kept = np.zeros(len(hashes), np.bool_)
    kept[by_prompt(hashes, salt)[:count]] = True
    return kept


def by_prompt(hashes: HashArray, salt: int) -> IntArray:
    """The positions of rows in the order in which they are chosen: the first row of each prompt,
    then the second rows, and so on, each time in the order of the prompts."""
    order = order_of(hashes, salt)
    place = np.argsort(order, kind="stable")
    ascending = order[place]
    starts = np.flatnonzero(np.append(True, ascending[1:] != ascending[:-1])[: len(order)])
    counts = np.diff(np.append(starts, len(order)))
    earlier = np.arange(len(order)) - np.repeat(starts, counts)  # rows of the same prompt
    return np.asarray(place[np.argsort(earlier, kind="stable")])


def lowest(order: HashArray, count: int) -> BoolArray:
    """Which entries are the lowest, at most so many; of equal ones the first."""
    kept = np.zeros(len(order), np.bool_)
    kept[np.argsort(order, kind="stable")[:count]] = True
    return kept
