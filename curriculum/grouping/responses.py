"""The responses of a dump as columns: where each one is, and which of them form one rollout.

Memory is a few numbers per response, never its text.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from msgspec import Struct

from curriculum.arrays import (
    CompactIntArray,
    HashArray,
    IntArray,
    LengthArray,
    compact_ints,
    first_of_equals,
    join_lengths,
)
from curriculum.reading.ledger import FIRST_RECORD, Ledger

BATCH_BYTES = 1 << 23  # of lines, about, for one task to assemble


class FirstResponses(Struct, frozen=True):
    """The first response of each rollout, in input order: its number among all responses, its
    shard, and its offset in the text of the shard's file."""

    numbers: IntArray
    shards: CompactIntArray
    offsets: IntArray


class Responses(Struct, frozen=True):
    """The responses of a dump in input order.

    Each has its shard, its offset in the text of the shard's file, its length in bytes, and its
    group, numbered by first appearance. `order` lists them by group, then input order.
    """

    shards: CompactIntArray
    offsets: IntArray
    lengths: LengthArray
    groups: CompactIntArray
    order: CompactIntArray

    @staticmethod
    def of(ledger: Ledger, group_hashes: HashArray) -> Responses:
        """The responses of all shards; `group_hashes` has one hash for each."""
        groups = number_groups(group_hashes)  # first: it takes the most memory
        offsets: list[IntArray] = []
        lengths: list[LengthArray] = []
        counts: list[int] = []
        for shard, lines in zip(ledger.shards, ledger.shard_lines, strict=True):
            chosen = lines.kinds >= FIRST_RECORD
            offsets.append(lines.starts(shard)[chosen])
            lengths.append(lines.lengths[chosen])
            counts.append(int(chosen.sum()))
        count = len(ledger.shards)
        numbers = compact_ints(np.arange(count), count + 1)
        return Responses(
            np.repeat(numbers, counts),
            np.concatenate(offsets),
            join_lengths(lengths),
            groups,
            compact_ints(np.argsort(groups, kind="stable"), len(groups) + 1),
        )

    def in_several_files(self, files: CompactIntArray) -> CompactIntArray:
        """The groups with responses in several files. `files` is each response's file number."""
        groups, files = self.groups[self.order], files[self.order]
        found = groups[1:][(groups[1:] == groups[:-1]) & (files[1:] != files[:-1])]
        several: CompactIntArray = found[_starts(found)]  # ascending, as `groups` are
        return several

    def first_of_groups(self, left_out: CompactIntArray) -> FirstResponses:
        """The first response of each group except those `left_out`."""
        first: IntArray = self.order[_starts(self.groups[self.order])].astype(np.int64)
        numbers = np.sort(first[~np.isin(self.groups[first], left_out)])
        return FirstResponses(numbers, self.shards[numbers], self.offsets[numbers])

    def batches(self) -> Iterator[tuple[CompactIntArray, IntArray]]:
        """Batches of whole groups, of about BATCH_BYTES each: the responses, group by group in
        input order, and the number of responses of each group."""
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


def _starts(groups: CompactIntArray | HashArray) -> IntArray:
    """Where each run of equal groups starts."""
    return np.flatnonzero(first_of_equals(groups))


def number_groups(hashes: HashArray) -> CompactIntArray:
    """The number of each response's group, counted from 0 by first appearance."""
    order = np.argsort(hashes)  # a stable sort would take several times as long
    hashes = hashes[order]
    starts = _starts(hashes)
    first = np.minimum.reduceat(order, starts) if len(order) else order  # response of each group
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    groups: CompactIntArray = np.empty(len(order), np.min_scalar_type(len(first) + 1))
    groups[order] = np.repeat(rank.astype(groups.dtype), np.diff(starts, append=len(order)))
    return groups
