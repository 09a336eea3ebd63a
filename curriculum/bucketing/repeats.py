"""The prompts of all rollouts → how many repeat, are not there, or hold more than text.

A prompt of two rollouts may train as easy and as hard, and counts twice in every cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from curriculum.arrays import CompactIntArray, HashArray, IntArray
from curriculum.bucketing.rollout_source import RolloutSource
from curriculum.bucketing.scan import Scanned
from curriculum.engines.workers import Workers
from curriculum.messages.hashes import NO_PROMPT, positions_among, repeated_prompts
from curriculum.reading.ledger import FIRST_RECORD, TAKEN
from curriculum.reading.truths import Repeated, SeveralTruths, find_several


class Repeats(Struct, frozen=True):
    """The scored rollouts whose prompt another one has.

    `hashes` and `positions` (among the shard's scored rollouts) say which, shard by shard. `later`
    counts those that are not the first with their prompt, `absent` the rollouts without a prompt,
    `other_parts` those whose prompt holds parts that are not text, and `parts_example` names the
    first of these. `example` names two rollouts with one prompt, as `file:line`; it is empty if no
    prompt repeats.
    """

    hashes: Sequence[HashArray]
    positions: Sequence[IntArray]
    later: int
    absent: int
    other_parts: int
    example: Sequence[str] = ()
    parts_example: str | None = None

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
    odd = [scan.other_parts for scan in scanned.scans]
    repeated = repeated_prompts(np.concatenate([np.zeros(0, np.uint64), *prompts]))
    repeated = repeated[repeated != NO_PROMPT]
    positions = [positions_among(part, repeated) for part in prompts]
    hashes = [part[at] for part, at in zip(prompts, positions, strict=True)]
    scanned.scans[:] = [replace(scan, prompts=np.zeros(0, np.uint64)) for scan in scanned.scans]
    later = sum(map(len, positions)) - len(repeated)
    found = Repeats(hashes, positions, later, absent, sum(map(len, odd)))
    if later:
        found = replace(found, example=_example(source, scanned, found))
    if found.other_parts:
        shard = next(number for number, part in enumerate(odd) if len(part))
        line = _lines(scanned, shard)[odd[shard][0]]
        found = replace(found, parts_example=_place(source, scanned, shard, int(line)))
    return found


def find_truths(
    workers: Workers, source: RolloutSource, repeats: Repeats, scanned: Scanned
) -> SeveralTruths:
    """Which of the prompts that repeat have several ground truths; their lines are read again."""
    if not repeats.later:
        return SeveralTruths()
    repeated = [
        Repeated(_lines(scanned, number)[positions], hashes)
        for number, (positions, hashes) in enumerate(
            zip(repeats.positions, repeats.hashes, strict=True)
        )
    ]
    return find_several(workers, source.rollout_ledger, repeated, None)


def tell_truths(source: RolloutSource, scanned: Scanned, found: SeveralTruths) -> list[str]:
    """Where the ground truths of the example are, as `file:line`."""
    return [_place(source, scanned, at.shard, at.line) for at in found.example]


def _lines(scanned: Scanned, number: int) -> IntArray:
    """The lines of a shard's scored rollouts, from 0."""
    return np.flatnonzero(scanned.scans[number].lines.kinds >= TAKEN)


def _place(source: RolloutSource, scanned: Scanned, number: int, line: int) -> str:
    """`file:line` of a rollout, given its line in a shard; of a dump, of its first response."""
    files, numbers, lines = next(islice(source.rollout_lines(), number, None))
    kinds = scanned.scans[number].lines.kinds[:line]
    rollout = int((kinds >= FIRST_RECORD).sum())
    return f"{files[numbers[rollout]]}:{lines[rollout]}"


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
