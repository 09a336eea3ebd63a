"""The responses of a dump as columns: where each lies, and which responses are one rollout.

A few numbers per response, never its text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from curriculum.arrays import (
    HashArray,
    IntArray,
    LengthArray,
    PlaceArray,
    compact_places,
    join_lengths,
)
from curriculum.dump_index import RESPONSE, Index
from curriculum.inputs import Shard

BATCH_BYTES = 1 << 23  # of lines whose rollouts are put together in one task


@dataclass(frozen=True)
class Responses:
    """The responses of a dump in input order: of each its shard, its place in the text of the
    shard's file, its bytes, and its group, numbered by first appearance; and their numbers `order`
    by group and then input order."""

    shards: PlaceArray
    offsets: IntArray
    lengths: LengthArray
    groups: PlaceArray
    order: PlaceArray

    @staticmethod
    def of(shards: Sequence[Shard], indexes: Sequence[Index]) -> Responses:
        """Those of all shards."""
        offsets: list[IntArray] = []
        lengths: list[LengthArray] = []
        counts: list[int] = []
        for shard, index in zip(shards, indexes, strict=True):
            chosen = index.kinds >= RESPONSE
            whole = index.lengths.astype(np.int64) + 1
            offsets.append((shard.first_offset + np.cumsum(whole) - whole)[chosen])
            lengths.append(index.lengths[chosen])
            counts.append(int(chosen.sum()))
        numbers = compact_places(np.arange(len(shards)), len(shards) + 1)
        groups = number_groups(np.concatenate([index.groups for index in indexes]))
        return Responses(
            np.repeat(numbers, counts),
            np.concatenate(offsets),
            join_lengths(lengths),
            groups,
            compact_places(np.argsort(groups, kind="stable"), len(groups) + 1),
        )

    def spread(self, places: PlaceArray) -> PlaceArray:
        """The groups whose responses lie in several of these places, one per response."""
        groups, places = self.groups[self.order], places[self.order]
        found: PlaceArray = np.unique(
            groups[1:][(groups[1:] == groups[:-1]) & (places[1:] != places[:-1])]
        )
        return found

    def sizes(self, left_out: PlaceArray) -> IntArray:
        """How many responses each group but those `left_out` has."""
        return np.delete(np.bincount(self.groups), left_out.astype(np.int64))

    def first_of_groups(self, left_out: PlaceArray) -> IntArray:
        """The first response of each group but those `left_out`, in order."""
        first: IntArray = self.order[_starts(self.groups[self.order])].astype(np.int64)
        return np.setdiff1d(first, first[np.isin(self.groups[first], left_out)])

    def batches(self) -> Iterator[tuple[PlaceArray, IntArray]]:
        """Some groups at a time, of about BATCH_BYTES: the numbers of their responses, group by
        group in input order, and how many each group has."""
        starts = _starts(self.groups[self.order])
        if not len(starts):
            return
        counts = np.diff(starts, append=len(self.order))
        ends = np.cumsum(self.lengths[self.order], dtype=np.int64)[starts + counts - 1]
        cuts = np.flatnonzero(np.diff(ends // BATCH_BYTES)) + 1
        firsts, lasts = [0, *cuts.tolist()], [*cuts.tolist(), len(starts)]
        for first, last in zip(firsts, lasts, strict=True):
            some = self.order[starts[first] : starts[last - 1] + counts[last - 1]]
            yield some, counts[first:last]


def _starts(groups: PlaceArray) -> IntArray:
    """Where each run of one group starts."""
    return np.flatnonzero(np.append(True, groups[1:] != groups[:-1])[: len(groups)])


def number_groups(hashes: HashArray) -> PlaceArray:
    """The number of each response's group, counted from 0 by first appearance."""
    order = np.argsort(hashes, kind="stable")
    new = np.append(True, np.diff(hashes[order]) != 0)[: len(order)]
    first = order[new]  # of the groups in the order of their hashes
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    groups = np.empty(len(order), np.min_scalar_type(len(first) + 1))
    groups[order] = rank[np.cumsum(new) - 1]
    return groups
