"""The numbers of all scored rollouts → which of them a page shows, and why.

Ties are broken by a fixed hash of the rollout's place in the input, so the same input gives the
same page whatever the workers and shards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from msgspec import Struct

from curriculum.arrays import BoolArray, ByteArray, FloatArray, HashArray, IntArray
from curriculum.bucketers import difficulty
from curriculum.choosing.groups import Groups, split_by
from curriculum.options import DEFAULT_SEED
from curriculum.reading.ledger import PASSED, SOLVED
from curriculum.statistics.sample import hash_offsets

OF_EACH_BUCKET, OF_ALL_BUCKETS = 3, 36
MOST_CUTS = 6
WIDEST = 5
MOST_ODD = 6
RARE = 0.05  # a share of its group below which a rollout is odd
LEAST_OF_GROUP = 20  # rollouts
NO_GROUP = "(none)"


class Odd(Struct, frozen=True):
    """A rollout a long way from what its group says: `share` of the group's `rollouts` are so.
    Without any groups, `group` is None and all rollouts are one."""

    number: int
    group: str | None
    solved: bool
    share: float
    rollouts: int


class AtCut(Struct, frozen=True):
    """The rollouts nearest to a cut, on its easier side and on its harder side."""

    easier: int
    harder: int


class ScoredRollouts(Struct, frozen=True, dict=True):
    """All scored rollouts of a run by number: metric values, buckets, kinds (see the ledger),
    variances of their scores (NaN where undefined) and groups (empty if there are none)."""

    values: FloatArray
    buckets: IntArray
    kinds: ByteArray
    variances: FloatArray
    groups: Groups

    @cached_property
    def order(self) -> HashArray:
        """By which of several equal rollouts are taken: a hash of the number and the seed."""
        return hash_offsets(DEFAULT_SEED, np.arange(len(self.values)))

    def drawn(self, count: int) -> list[list[int]]:
        """Some rollouts of each of `count` buckets, drawn at random; of very many buckets none
        from those between the ones that are shown."""
        each = max(min(OF_EACH_BUCKET, OF_ALL_BUCKETS // max(count, 1)), 1)
        shown = set(range(count))
        if count > OF_ALL_BUCKETS:
            shown = set(np.linspace(0, count - 1, OF_ALL_BUCKETS).astype(int).tolist())
        order = np.argsort(self.order, kind="stable")[::-1]  # not those of `_first`
        by_bucket = self.buckets[order]
        return [
            order[by_bucket == bucket][:each].tolist() if bucket in shown else []
            for bucket in range(count)
        ]

    def at_cuts(self, cut: range, higher_is_easier: bool) -> list[AtCut]:
        """The rollouts nearest to each cut between the buckets `cut`, of many cuts to some. Beside
        an empty bucket two cuts are one."""
        turned = difficulty(self.values, higher_is_easier)
        places = list(cut)[:-1]
        if len(places) > MOST_CUTS:
            chosen = np.linspace(0, len(places) - 1, MOST_CUTS).astype(int)
            places = [places[i] for i in chosen.tolist()]
        found = dict[AtCut, None]()
        for last in places:
            easier = (self.buckets >= cut.start) & (self.buckets <= last)
            harder = (self.buckets > last) & (self.buckets < cut.stop)
            if easier.any() and harder.any():
                sides = (
                    easier & (turned == turned[easier].max()),
                    harder & (turned == turned[harder].min()),
                )
                found[AtCut(*map(self._first, sides))] = None
        return list(found)

    def widest(self) -> list[int]:
        """The rollouts whose scores vary most; none that do not vary."""
        some = np.flatnonzero(self.variances > 0)
        order = np.lexsort((self.order[some], -self.variances[some]))
        return list(map(int, some[order][:WIDEST]))

    def odd(self) -> list[Odd]:
        """Rollouts without a pass in a group where nearly all have one, and solved ones in a group
        where nearly none has a pass; the rarest first."""
        found = sorted(self._odd(), key=lambda odd: (odd.share, -odd.rollouts))
        return found[:MOST_ODD]

    def _odd(self) -> Iterator[Odd]:
        passed, solved = self.kinds & PASSED != 0, self.kinds & SOLVED != 0
        for group, members in self._each_group():
            for is_solved, odd in ((False, ~passed[members]), (True, solved[members])):
                rare = odd if not is_solved else passed[members]
                share = float(rare.mean())
                if len(members) >= LEAST_OF_GROUP and odd.any() and share <= RARE:
                    some = members[odd]
                    ranked = some[np.argsort(self.order[some], kind="stable")]
                    for number in ranked[:MOST_ODD].tolist():
                        yield Odd(number, group, is_solved, share, len(members))

    def _each_group(self) -> Iterator[tuple[str | None, IntArray]]:
        """The name and the members of each group; all rollouts if there are no groups."""
        codes = self.groups.codes
        if len(codes) != len(self.values) or not len(self.groups.names):
            yield None, np.arange(len(self.values))
            return
        for members in split_by(codes):
            code = int(codes[members[0]])
            yield NO_GROUP if code == Groups.NONE else self.groups.names[code], members

    def _first(self, some: BoolArray) -> int:
        """One of some rollouts, drawn at random."""
        members = np.flatnonzero(some)
        return int(members[self.order[members].argmin()])


def all_numbers(parts: Sequence[Sequence[int]]) -> IntArray:
    """All numbers of some lists, ascending, each once."""
    return np.unique(np.array([number for part in parts for number in part], np.int64))
