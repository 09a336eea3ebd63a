"""The prompts of all rollouts → how many repeat, or are not there.

A prompt of two rollouts may train as easy and as hard, and counts twice in every cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from curriculum.arrays import CompactIntArray, HashArray, IntArray
from curriculum.bucketing.rollout_source import RolloutSource
from curriculum.bucketing.scan import Scanned
from curriculum.reading.ledger import TAKEN
from curriculum.reading.prompts import NO_PROMPT, repeated_prompts


@dataclass(frozen=True)
class Repeats:
    """The scored rollouts whose prompt another one has.

    `hashes` and `positions` (among the shard's scored rollouts) say which, shard by shard. `later`
    counts those that are not the first with their prompt, `absent` the rollouts without a prompt.
    `example` names two rollouts with one prompt, as `file:line`; it is empty if no prompt repeats.
    """

    hashes: Sequence[HashArray]
    positions: Sequence[IntArray]
    later: int
    absent: int
    example: Sequence[str] = ()

    def in_several(self, buckets: Sequence[CompactIntArray]) -> int:
        """How many prompts lie in more than one bucket; `buckets` has that of each scored rollout,
        shard by shard."""
        if not self.later:
            return 0
        hashes = np.concatenate([np.zeros(0, np.uint64), *self.hashes])
        parts = zip(buckets, self.positions, strict=True)
        bucket = np.concatenate([np.zeros(0), *(part[positions] for part, positions in parts)])
        pairs = np.unique(np.stack([hashes, bucket.astype(np.uint64)]), axis=1)
        return len(repeated_prompts(pairs[0]))


def find_repeats(source: RolloutSource, scanned: Scanned) -> Repeats:
    """Find the prompts that repeat, and forget the others: the driver of a large run is short of
    memory."""
    prompts = [scan.prompts for scan in scanned.scans]
    absent = sum(int((part == NO_PROMPT).sum()) for part in prompts)
    repeated = repeated_prompts(np.concatenate([np.zeros(0, np.uint64), *prompts]))
    repeated = repeated[repeated != NO_PROMPT]
    positions = [_positions(part, repeated) for part in prompts]
    hashes = [part[at] for part, at in zip(prompts, positions, strict=True)]
    scanned.scans[:] = [replace(scan, prompts=np.zeros(0, np.uint64)) for scan in scanned.scans]
    later = sum(map(len, positions)) - len(repeated)
    found = Repeats(hashes, positions, later, absent)
    return replace(found, example=_example(source, scanned, found)) if later else found


def _positions(prompts: HashArray, repeated: HashArray) -> IntArray:
    """Where the prompts are that are among `repeated`, which ascends."""
    if not len(repeated):
        return np.zeros(0, np.int64)
    at = np.minimum(np.searchsorted(repeated, prompts), len(repeated) - 1)
    return np.flatnonzero(repeated[at] == prompts)


def _example(source: RolloutSource, scanned: Scanned, found: Repeats) -> list[str]:
    """The first rollout whose prompt repeats, and the next one with that prompt."""
    prompt = next(part[0] for part in found.hashes if len(part))
    places: list[str] = []
    shards = zip(source.rollout_lines(), scanned.scans, found.hashes, found.positions, strict=True)
    for (files, numbers, lines), scan, hashes, positions in shards:
        scored = np.flatnonzero(scan.rollout_kinds >= TAKEN)
        rollouts = scored[positions[hashes == prompt]][: 2 - len(places)]
        places += [f"{files[numbers[rollout]]}:{lines[rollout]}" for rollout in rollouts]
        if len(places) == 2:
            break
    return places
