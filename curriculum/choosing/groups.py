"""What rollouts hold at a place → groups: the number of each rollout's group, and their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from curriculum.arrays import BoolArray, CompactIntArray, IntArray
from curriculum.choosing.conditions import group_of


@dataclass(frozen=True)
class Groups:
    """The number of each rollout's group, NONE without one, and the names by number, ascending."""

    codes: CompactIntArray
    names: tuple[str, ...] = ()
    NONE: ClassVar[int] = -1

    @staticmethod
    def of(values: Sequence[Any]) -> Groups:
        """The groups of what rollouts hold, None where there is nothing."""
        texts = list(map(group_of, values))
        names = sorted({text for text in texts if text is not None})
        numbers = {name: number for number, name in enumerate(names)}
        codes = [Groups.NONE if text is None else numbers[text] for text in texts]
        return Groups(_compact(np.array(codes, np.int64), len(names)), tuple(names))

    @staticmethod
    def join(parts: Sequence[Groups]) -> Groups:
        """The groups of the rollouts of all parts."""
        names = sorted({name for part in parts for name in part.names})
        numbers = {name: number for number, name in enumerate(names)}
        codes = [np.zeros(0, np.int64)]
        for part in parts:
            new = np.array([*(numbers[name] for name in part.names), Groups.NONE], np.int64)
            codes.append(new[part.codes])
        return Groups(_compact(np.concatenate(codes), len(names)), tuple(names))

    def some(self, chosen: BoolArray | IntArray) -> Groups:
        """The groups of some of the rollouts."""
        return Groups(self.codes[chosen], self.names)


def _compact(codes: IntArray, count: int) -> CompactIntArray:
    return codes.astype(np.min_scalar_type(-max(count, 1)))


NO_GROUPS = Groups(np.zeros(0, np.int8))


def split_by(codes: CompactIntArray) -> list[IntArray]:
    """The positions of each code that is there, ascending; the lowest code first."""
    order = np.argsort(codes, kind="stable")
    if not len(order):
        return []
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
