"""Which rows: every rollout of a bucket directory → its side in this run, and its index.

All of it is decided before a row is written, from numbers alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from curriculum.arrays import BoolArray, HashArray, IntArray, LengthArray
from curriculum.convert import BLANK, ROW, Converted, Found
from curriculum.manifests import MovedPrompt
from curriculum.prompts import SPLITS, VAL, Split, distinct_prompts, repeated_prompts


@dataclass(frozen=True)
class RowPlan:
    """The split of this run, and its sets, each with the places of its buckets; and whether rows
    go from easy to hard."""

    found: Found
    split: Split
    sets: Mapping[str, Sequence[int]]
    easy_to_hard: bool = False

    def shards(self, name: str) -> list[int]:
        """The numbers of a set's shards, in order."""
        buckets = self.sets[name]
        return [number for number, at in enumerate(self.found.buckets) if at in buckets]

    @cached_property
    def first_indexes(self) -> list[int]:
        """Per shard, the index of its first rollout: they count over the whole directory."""
        counts = [int((part.kinds != BLANK).sum()) for part in self.found.converted]
        return [0, *np.cumsum(counts).tolist()[:-1]]

    def chosen(self, number: int, side: int) -> BoolArray:
        """Which of a shard's rows are in this run, on one side."""
        part = self.found.converted[number]
        val = self.split.is_val(part.hashes)
        return part.keep & (val if side == VAL else ~val)

    def lengths(self, name: str, side: int) -> IntArray:
        """The line lengths of a set's rows on one side, in their order."""
        parts = [np.zeros(0, np.int64)]
        for number in self.shards(name):
            part = self.found.converted[number]
            parts.append(part.lengths[part.kinds == ROW][self.chosen(number, side)])
        lengths, order = np.concatenate(parts), self.order(name, side)
        return lengths if order is None else lengths[order]

    def characters(self, name: str) -> list[LengthArray]:
        """How many characters the prompt of each row of a set has, in some parts."""
        parts = (self.found.converted[number] for number in self.shards(name))
        return [part.characters[part.keep] for part in parts]

    def hashes(self, name: str, side: int) -> list[HashArray]:
        """The prompt hash of each row of a set on one side, in their order, in some parts."""
        hashes, order = self._hashes(name, side), self.order(name, side)
        return hashes if order is None else [np.concatenate(hashes)[order]]

    def order(self, name: str, side: int) -> IntArray | None:
        """The rows of a set on one side from easy to hard, as places in the order in which they
        were read; None if that is their order. Ties by prompt hash, then as they were read."""
        if not self.easy_to_hard:
            return None
        values = [
            self.found.converted[number].difficulty[self.chosen(number, side)]
            for number in self.shards(name)
        ]
        values.append(np.zeros(0))  # a set of empty buckets has no shard
        return np.lexsort((np.concatenate(self._hashes(name, side)), np.concatenate(values)))

    def _hashes(self, name: str, side: int) -> list[HashArray]:
        """The same as `hashes`, shard by shard as they were read, and an empty part."""
        hashes = [
            self.found.converted[number].hashes[self.chosen(number, side)]
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
        return sum(int(self.found.converted[number].keep.sum()) for number in self.shards(name))

    def dropped(self, bucket: int) -> int:
        """How many rollouts of a bucket the filter dropped."""
        return sum(int((~part.keep).sum()) for part in self.found.of_bucket(bucket))

    @cached_property
    def shared_prompts(self) -> HashArray:
        """The prompts that occur in more than one bucket of the directory, each once."""
        every, end = np.empty(self.found.count(ROW), np.uint64), 0
        for bucket in set(self.found.buckets):
            once = distinct_prompts(self.found.hashes(bucket))
            every[end : end + len(once)] = once
            end += len(once)
        return repeated_prompts(every[:end])

    def moved_prompts(self) -> tuple[MovedPrompt, ...]:
        """The prompts that the floor moved, each with the lowest index of its rows, by index."""
        left, moved = dict(self.split.moved), []
        for part, first in zip(self.found.converted, self.first_indexes, strict=True):
            for prompt in list(left):
                at = np.flatnonzero(part.hashes == np.uint64(prompt))
                if len(at):
                    index = first + int(_ordinals(part)[at[0]])
                    moved.append(MovedPrompt(f"{prompt:016x}", index, SPLITS[left.pop(prompt)]))
        return tuple(sorted(moved, key=lambda prompt: prompt.index))


def _ordinals(part: Converted) -> IntArray:
    """The place of each row among its shard's rollouts, with a score or without."""
    ordinals = np.cumsum(part.kinds != BLANK) - 1
    return np.asarray(ordinals[part.kinds == ROW], np.int64)
