"""Bucketing, first pass: a shard's lines → what each is, and the metric of each scored rollout.

Of a rollout only the scores are decoded, and only numbers are kept.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from curriculum.arrays import (
    ByteArray,
    FloatArray,
    HashArray,
    LengthArray,
    compact_lengths,
    join_lengths,
)
from curriculum.blocks import Block, read_blocks
from curriculum.inputs import Shard
from curriculum.metrics import METRICS, Metric, MetricParameters, Scores
from curriculum.rejected import ProblemLog, Problems
from curriculum.rollouts import ScoreReader, is_blank
from curriculum.stores import AnyPath

# What a line is. A scored one has its bit and says whether any response passes and whether its
# scores differ.
BLANK, MALFORMED, NO_SCORE, UNDEFINED = range(4)
ROLLOUT = 4  # not measured yet
SCORED, PASSED, DIFFERS = 0x80, 0x40, 0x20

# Arrays of a few thousand numbers cost more to call than to compute.
SCORES_AT_ONCE = 1 << 17


@dataclass(frozen=True)
class ScanTask:
    """A shard, what to read of its lines, and where the reasons of its malformed lines go (None:
    nowhere)."""

    shard: Shard
    score_field: str
    metric: Metric
    parameters: MetricParameters
    hash_lines: bool
    reasons: AnyPath | None = None


@dataclass(frozen=True)
class Scan:
    """What a shard's lines are: `lengths` (bytes, without newline) and `kinds`, one per line;
    `values`, `means` and `hashes`, one per scored rollout. `hashes` is empty unless asked for;
    `means` is `values` itself where the metric is the mean."""

    lengths: LengthArray
    kinds: ByteArray
    values: FloatArray
    means: FloatArray
    hashes: HashArray
    responses: int
    missing_scores: int
    problems: Problems

    @property
    def scored(self) -> ByteArray:
        """Kinds of the scored rollouts."""
        return self.kinds[self.kinds >= SCORED]

    @property
    def unscored(self) -> int:
        """How many rollouts are unscored."""
        return int(((self.kinds == NO_SCORE) | (self.kinds == UNDEFINED)).sum())

    @property
    def malformed(self) -> int:
        """How many lines are malformed."""
        return int((self.kinds == MALFORMED).sum())


def scan_shard(task: ScanTask) -> Scan:
    """Read the scores of every line of a shard."""
    scanner = _Scanner(task)
    try:
        for block in read_blocks(task.shard):
            scanner.add_block(block)
        return scanner.result()
    finally:
        scanner.close()


class _Scanner:
    """What has been seen of a shard so far. A compressed file is one shard, so that is kept in
    arrays; scores gather until they are worth measuring."""

    def __init__(self, task: ScanTask) -> None:
        self._task = task
        self._reader = ScoreReader(task.score_field)
        self._log = ProblemLog(task.reasons)
        self._flat: list[FloatArray] = []
        self._counts: list[int] = []
        self._lengths: list[LengthArray] = []
        self._unmeasured: list[ByteArray] = []
        self._kinds: list[ByteArray] = []
        self._values: list[FloatArray] = []
        self._means: list[FloatArray] = []
        self._hashes: list[int] = []
        self._lines = self._responses = self._present = self._waiting = 0

    def add_block(self, block: Block) -> None:
        read = self._reader.read_block(block)
        kinds = np.full(len(block.ends), ROLLOUT, dtype=np.uint8)
        for position, reason in read.refused:
            kinds[position] = BLANK if is_blank(block.line(position)) else MALFORMED
            if kinds[position] == MALFORMED:
                self._log.add(self._lines + position, reason)
        if self._task.hash_lines:
            rollouts = np.flatnonzero(kinds == ROLLOUT).tolist()
            self._hashes.extend(_hash(block.line(position)) for position in rollouts)
        self._flat.append(read.flat)
        self._counts += read.counts
        self._unmeasured.append(kinds)
        self._lengths.append(compact_lengths(block.lengths))
        self._lines += len(kinds)
        self._waiting += len(read.flat)
        if self._waiting >= SCORES_AT_ONCE:
            self._measure()

    def _measure(self) -> None:
        """Take the metric of the rollouts gathered since the last time; say what each is."""
        metric, parameters = self._task.metric, self._task.parameters
        scores = Scores.of_flat(np.concatenate([np.zeros(0), *self._flat]), self._counts)
        values = metric.values(scores, parameters)
        defined = ~np.isnan(values)
        self._values.append(values[defined])
        mean = METRICS["mean_reward"]
        if metric is not mean:
            self._means.append(mean.values(scores, parameters)[defined])
        self._responses += self._waiting
        self._present += int(scores.offsets[-1])
        found = np.full(len(values), SCORED, dtype=np.uint8)
        found[scores.highest >= parameters.pass_threshold] |= PASSED
        found[scores.highest > scores.lowest] |= DIFFERS
        found[~defined] = UNDEFINED
        found[scores.counts == 0] = NO_SCORE
        kinds = np.concatenate([np.zeros(0, np.uint8), *self._unmeasured])
        kinds[kinds == ROLLOUT] = found
        self._kinds.append(kinds)
        self._flat, self._counts, self._unmeasured, self._waiting = [], [], [], 0

    def result(self) -> Scan:
        self._measure()
        kinds = np.concatenate(self._kinds)
        values = np.concatenate([np.zeros(0), *self._values])
        hashes = np.array(self._hashes, dtype=np.uint64)
        if len(hashes):
            hashes = hashes[kinds[kinds >= NO_SCORE] >= SCORED]
        return Scan(
            lengths=join_lengths(self._lengths),
            kinds=kinds,
            values=values,
            means=np.concatenate(self._means) if self._means else values,
            hashes=hashes,
            responses=self._responses,
            missing_scores=self._responses - self._present,
            problems=self._log.problems,
        )

    def close(self) -> None:
        """End what is being written."""
        self._log.close()


def _hash(line: memoryview) -> int:
    return int.from_bytes(hashlib.blake2b(line, digest_size=8).digest(), "little")


@dataclass
class Scanned:
    """Everything the first pass found, shard by shard in input order."""

    shards: list[Shard]
    scans: list[Scan]

    def values(self) -> FloatArray:
        """The metric of each scored rollout."""
        return np.concatenate([np.zeros(0), *(scan.values for scan in self.scans)])

    def count(self, kind: int) -> int:
        """How many lines are of a kind; SCORED counts all that are scored."""
        if kind == SCORED:
            return sum(len(scan.values) for scan in self.scans)
        return sum(int((scan.kinds == kind).sum()) for scan in self.scans)

    def by_file(self, count: Callable[[Scan], int]) -> Counter[str]:
        """The sum of what `count` finds in the scans of each file, by path."""
        found: Counter[str] = Counter()
        for shard, scan in zip(self.shards, self.scans, strict=True):
            found[shard.file.path] += count(scan)
        return found
