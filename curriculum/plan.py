"""Which rows: every line of a bucket directory → its side in this run, and its index.

All of it is decided before a row is made, from numbers alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from curriculum.arrays import BoolArray, ByteArray, HashArray, IntArray
from curriculum.infer import BLANK, ROW, Inspected, Inspection
from curriculum.manifests import MovedPrompt
from curriculum.prompts import SPLITS, Split

# The side of a line's row; SKIP is for lines that make no row of this run. Sides count like
# SPLITS.
TRAIN, VAL, SKIP = range(3)


@dataclass(frozen=True)
class RowPlan:
    """Per shard, the side of each line's row and its index over the whole directory; and the
    sets of this run, each with the places of its buckets."""

    found: Inspected
    sides: Sequence[ByteArray]
    indexes: Sequence[IntArray]
    sets: Mapping[str, Sequence[int]]

    def shards(self, name: str) -> list[int]:
        """The numbers of a set's shards, in order."""
        buckets = self.sets[name]
        return [number for number, at in enumerate(self.found.buckets) if at in buckets]

    def lengths(self, name: str, side: int) -> IntArray:
        """The line lengths of a set's rows on one side, in order."""
        parts = [
            self.found.inspections[number].lengths[self.sides[number] == side]
            for number in self.shards(name)
        ]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    def rows(self, name: str) -> dict[str, int]:
        """How many rows a set has on each side."""
        return {split: len(self.lengths(name, side)) for side, split in enumerate(SPLITS)}

    @cached_property
    def shared_prompts(self) -> HashArray:
        """The prompts that occur in more than one bucket of the directory."""
        once = [np.unique(self.found.hashes(bucket)) for bucket in set(self.found.buckets)]
        prompts, buckets = np.unique(np.concatenate(once), return_counts=True)
        return prompts[buckets > 1]

    def dropped(self, bucket: int) -> int:
        """How many rollouts of a bucket the filter dropped."""
        return sum(int((~part.keep).sum()) for part in self.found.of_bucket(bucket))


def plan_rows(found: Inspected, split: Split, sets: Mapping[str, Sequence[int]]) -> RowPlan:
    """Give every rollout its index and every row its side."""
    indexes, first = [], 0
    for inspection in found.inspections:
        rollouts = _rollouts(inspection)
        indexes.append(first + np.cumsum(rollouts) - 1)
        first += int(rollouts.sum())
    return RowPlan(found, [_sides(part, split) for part in found.inspections], indexes, sets)


def _rollouts(inspection: Inspection) -> BoolArray:
    """Whether each line is a rollout, with a score or without."""
    return np.asarray(inspection.kinds != BLANK)


def _sides(inspection: Inspection, split: Split) -> ByteArray:
    val = split.is_val(inspection.hashes)
    sides = np.full(len(inspection.kinds), SKIP, np.uint8)
    sides[inspection.kinds == ROW] = np.where(inspection.keep, np.where(val, VAL, TRAIN), SKIP)
    return sides


def moved_prompts(plan: RowPlan, split: Split) -> tuple[MovedPrompt, ...]:
    """The prompts that the floor moved, each with the lowest index of its rows."""
    left, moved = dict(split.moved), []
    for inspection, indexes in zip(plan.found.inspections, plan.indexes, strict=True):
        rows = indexes[inspection.kinds == ROW]
        for prompt in list(left):
            at = np.flatnonzero(inspection.hashes == np.uint64(prompt))
            if len(at):
                side = SPLITS[left.pop(prompt)]
                moved.append(MovedPrompt(f"{prompt:016x}", int(rows[at[0]]), side))
    return tuple(moved)
