"""A sample of rollouts with their scores: the same one whatever the shards.

A rollout is chosen by a hash of its file and offset, so the sample is uniform.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from curriculum.arrays import HashArray, IntArray
from curriculum.metrics import Scores

HIGHEST = 2**64 - 1
SAMPLED = 2_000  # rollouts: a share estimated from them is right to about one percent


class Sample(Struct, frozen=True):
    """Rollouts by ascending `hashes`, their `scores`, and their `positions` among all scored
    rollouts that the sample is from."""

    hashes: HashArray
    positions: IntArray
    scores: Scores

    @property
    def bound(self) -> int:
        """The highest hash with which another rollout may enter the sample."""
        return int(self.hashes[-1]) if len(self.hashes) == SAMPLED else HIGHEST

    @staticmethod
    def join(parts: Sequence[Sample], before: Sequence[int]) -> Sample:
        """The sample of all parts together. `before` counts the scored rollouts before each."""
        positions = [part.positions + count for part, count in zip(parts, before, strict=True)]
        hashes = np.concatenate([np.zeros(0, np.uint64), *(part.hashes for part in parts)])
        chosen = lowest(hashes)
        return Sample(
            hashes[chosen],
            np.concatenate([np.zeros(0, np.int64), *positions])[chosen],
            Scores.join([part.scores for part in parts]).take(chosen),
        )


def lowest(hashes: HashArray) -> IntArray:
    """The indices of the SAMPLED lowest hashes, by ascending hash."""
    if len(hashes) <= SAMPLED:
        return np.argsort(hashes, kind="stable")
    some = np.sort(np.argpartition(hashes, SAMPLED)[:SAMPLED])
    return np.asarray(some[np.argsort(hashes[some], kind="stable")])


def hash_offsets(file: int, offsets: IntArray) -> HashArray:
    """Hash the offset of each line of file number `file`, with the finalizer of splitmix64 (Steele
    et al., 2014)."""
    digest = hashlib.blake2b(str(file).encode(), digest_size=8).digest()
    mixed = offsets.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed += np.uint64(int.from_bytes(digest, "little"))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))
