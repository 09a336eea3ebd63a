"""Every rollout of a bucket directory → its side of the split and its index in this run.

All of it is decided before a row is written, from numbers alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from curriculum.arrays import BoolArray, HashArray, IntArray, LengthArray
from curriculum.messages.hashes import distinct_prompts, repeated_prompts
from curriculum.output.manifests import MovedPrompt
from curriculum.preprocessing.convert import ConvertedBuckets, ConvertedShard
from curriculum.preprocessing.split import SPLITS, VAL, Split
from curriculum.reading.ledger import BLANK, TAKEN


@dataclass(frozen=True)
class RowPlan:
    """The split of this run and its sets, each with the numbers of its buckets. With `easy_to_hard`
    rows are sorted by difficulty, otherwise they stay in input order."""

    converted: ConvertedBuckets
    split: Split
    sets: Mapping[str, Sequence[int]]
    easy_to_hard: bool = False

    def shards(self, name: str) -> list[int]:
        """The numbers of a set's shards, in order."""
        buckets = self.sets[name]
        return [number for number, at in enumerate(self.converted.buckets) if at in buckets]

    @cached_property
    def first_indexes(self) -> list[int]:
        """The index of each shard's first rollout, counted over the whole directory."""
        counts = [int((part.lines.kinds != BLANK).sum()) for part in self.converted.shards]
        return [0, *np.cumsum(counts).tolist()[:-1]]

    def chosen(self, number: int, side: int) -> BoolArray:
        """Which of a shard's rows the filter keeps on one side."""
        part = self.converted.shards[number]
        val = self.split.is_val(part.hashes)
        return part.keep & (val if side == VAL else ~val)

    def lengths(self, name: str, side: int) -> IntArray:
        """The line length in bytes of each row of a set on one side, in the order of writing."""
        parts = [np.zeros(0, np.int64)]
        for number in self.shards(name):
            part = self.converted.shards[number]
            parts.append(part.lines.lengths[part.lines.kinds == TAKEN][self.chosen(number, side)])
        lengths, order = np.concatenate(parts), self.order(name, side)
        return lengths if order is None else lengths[order]

    def characters(self, name: str) -> list[LengthArray]:
        """The prompt length in characters of each row of a set, shard by shard."""
        parts = (self.converted.shards[number] for number in self.shards(name))
        return [part.characters[part.keep] for part in parts]

    def hashes(self, name: str, side: int) -> list[HashArray]:
        """The prompt hash of each row of a set on one side, in the order of writing, in one or
        more parts."""
        hashes, order = self._hashes(name, side), self.order(name, side)
        return hashes if order is None else [np.concatenate(hashes)[order]]

    def order(self, name: str, side: int) -> IntArray | None:
        """The rows of a set on one side from easy to hard, as positions in input order; None if
        they stay in input order. Ties are ordered by prompt hash, then by input order."""
        if not self.easy_to_hard:
            return None
        values = [
            self.converted.shards[number].difficulty[self.chosen(number, side)]
            for number in self.shards(name)
        ]
        values.append(np.zeros(0))  # a set of empty buckets has no shard
        return np.lexsort((np.concatenate(self._hashes(name, side)), np.concatenate(values)))

    def _hashes(self, name: str, side: int) -> list[HashArray]:
        """The same as `hashes` but in input order: a part per shard, and an empty part."""
        hashes = [
            self.converted.shards[number].hashes[self.chosen(number, side)]
            for number in self.shards(name)
        ]
        return [*hashes, np.zeros(0, np.uint64)]

    def prompts(self, name: str, side: int) -> HashArray:
        """The prompt hash of each row of a set on one side, ascending."""
        hashes = np.concatenate(self._hashes(name, side))
        hashes.sort()
        return hashes

    def rows(self, name: str) -> int:
        """How many rows a set has."""
        return sum(int(self.converted.shards[number].keep.sum()) for number in self.shards(name))

    def dropped(self, bucket: int) -> int:
        """How many rollouts of a bucket the filter dropped."""
        return sum(int((~part.keep).sum()) for part in self.converted.of_bucket(bucket))

    @cached_property
    def shared_prompts(self) -> HashArray:
        """The prompts that occur in more than one bucket of the directory, each once."""
        every, end = np.empty(self.converted.count(TAKEN), np.uint64), 0
        for bucket in set(self.converted.buckets):
            once = distinct_prompts(self.converted.hashes(bucket))
            every[end : end + len(once)] = once
            end += len(once)
        return repeated_prompts(every[:end])

    @cached_property
    def repeated_prompts(self) -> HashArray:
        """The prompts in more than one rollout of the directory, each once, ascending."""
        parts = [part.hashes for part in self.converted.shards]
        return repeated_prompts(np.concatenate([np.zeros(0, np.uint64), *parts]))

    def moved_prompts(self) -> tuple[MovedPrompt, ...]:
        """The prompts that the floor moved, each with its lowest row index, sorted by index."""
        left, moved = dict(self.split.moved), []
        for part, first in zip(self.converted.shards, self.first_indexes, strict=True):
            for prompt in list(left):
                at = np.flatnonzero(part.hashes == np.uint64(prompt))
                if len(at):
                    index = first + int(_ordinals(part)[at[0]])
                    moved.append(MovedPrompt(f"{prompt:016x}", index, SPLITS[left.pop(prompt)]))
        return tuple(sorted(moved, key=lambda prompt: prompt.index))


def _ordinals(part: ConvertedShard) -> IntArray:
    """The position of each row among the non-blank lines of its shard."""
    ordinals = np.cumsum(part.lines.kinds != BLANK) - 1
    return np.asarray(ordinals[part.lines.kinds == TAKEN], np.int64)
