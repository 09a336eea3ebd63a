"""Scored rollouts by number → where they are, and their lines, which are read again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import Struct

from curriculum.arrays import IntArray
from curriculum.bucketing.rollout_source import RolloutSource
from curriculum.reading.blocks import ChosenLines
from curriculum.reading.ledger import FIRST_RECORD, TAKEN
from curriculum.storage.paths import printable


class ScoredLines(Struct, frozen=True):
    """The lines of a run's scored rollouts, which are numbered in input order from 0."""

    source: RolloutSource

    def choose(self, numbers: IntArray) -> list[tuple[slice, ChosenLines]]:
        """The lines of some rollouts, shard by shard, and which of the numbers those are. The
        numbers are ascending."""
        ledger, found = self.source.rollout_ledger, []
        for shard, first, mine in self._parts(numbers):
            lines = ledger.shard_lines[shard]
            chosen = np.flatnonzero(lines.kinds >= TAKEN)[numbers[mine] - first]
            found.append((mine, lines.chosen(ledger.shards[shard], chosen)))
        return found

    def places(self, numbers: Sequence[int]) -> dict[int, str]:
        """Where some rollouts are, as `file:line`, by number; of a dump, their first responses."""
        wanted, found = np.unique(np.array(numbers, np.int64)), dict[int, str]()
        parts = {shard: (first, mine) for shard, first, mine in self._parts(wanted)}
        for shard, (files, file, line) in enumerate(self.source.rollout_lines()):
            if shard not in parts:
                continue
            first, mine = parts[shard]
            kinds = self.source.rollout_ledger.shard_lines[shard].kinds
            scored = np.flatnonzero(kinds[kinds >= FIRST_RECORD] >= TAKEN)
            for number in wanted[mine].tolist():
                at = int(scored[number - first])
                found[number] = f"{printable(files[int(file[at])])}:{int(line[at])}"
        return found

    def _parts(self, numbers: IntArray) -> Iterator[tuple[int, int, slice]]:
        """The shards that hold some of these numbers, each with its first number and which of the
        numbers it holds."""
        first = 0
        for shard, lines in enumerate(self.source.rollout_ledger.shard_lines):
            after = first + lines.count(TAKEN)
            start, stop = np.searchsorted(numbers, (first, after)).tolist()
            if start < stop:
                yield shard, first, slice(start, stop)
            first = after
