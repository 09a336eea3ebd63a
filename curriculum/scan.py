"""Bucketing, first pass: a shard's lines → what each is, and the metric of each scored rollout.

Of a rollout only the scores are decoded, and only numbers are kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from curriculum.arrays import ByteArray, FloatArray, HashArray, IntArray
from curriculum.inputs import InputFile, Shard, read_blocks
from curriculum.metrics import METRICS, Metric, MetricParameters, Scores
from curriculum.rejected import Problems
from curriculum.rollouts import ScoreReader, is_blank

# What a line is. A scored one has its bit and says whether any response passes and whether its
# scores differ.
BLANK, MALFORMED, NO_SCORE, UNDEFINED = range(4)
SCORED, PASSED, DIFFERS = 0x80, 0x40, 0x20


@dataclass(frozen=True)
class ScanTask:
    """A shard, and what to read of its lines."""

    shard: Shard
    score_field: str
    metric: Metric
    parameters: MetricParameters
    hash_lines: bool


@dataclass(frozen=True)
class Scan:
    """What a shard's lines are: `lengths` (bytes, without newline) and `kinds`, one per line;
    `values`, `means` and `hashes`, one per scored rollout. `hashes` is empty unless asked for."""

    lengths: IntArray
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


def scan_shard(task: ScanTask) -> Scan:
    """Read the scores of every line of a shard."""
    scanner = _Scanner(task)
    for block in read_blocks(task.shard):
        scanner.add_block(block.lines())
    return scanner.result()


class _Scanner:
    """What has been seen of a shard so far. A compressed file is one shard, so that is kept in
    arrays, block by block."""

    def __init__(self, task: ScanTask) -> None:
        self._task = task
        self._reader = ScoreReader(task.score_field)
        self._problems = Problems()
        self._lengths: list[IntArray] = []
        self._kinds: list[ByteArray] = []
        self._values: list[FloatArray] = []
        self._means: list[FloatArray] = []
        self._hashes: list[int] = []
        self._lines = self._responses = self._present = 0

    def add_block(self, lines: list[memoryview]) -> None:
        flat, counts, refused = self._reader.read_lines(lines)
        kinds = np.full(len(lines), SCORED, dtype=np.uint8)
        for i, error in refused:
            kinds[i] = BLANK if is_blank(lines[i]) else MALFORMED
            if kinds[i] == MALFORMED:
                self._problems.add(self._lines + i, error)
        kinds[kinds == SCORED] = self._measure(Scores.of_flat(flat, counts))
        self._responses += len(flat)
        if self._task.hash_lines:
            scored = np.flatnonzero(kinds >= SCORED).tolist()
            self._hashes.extend(_hash(lines[i]) for i in scored)
        self._kinds.append(kinds)
        self._lengths.append(np.fromiter(map(len, lines), np.int64, len(lines)))
        self._lines += len(lines)

    def _measure(self, scores: Scores) -> ByteArray:
        """The kinds of some rollouts; takes the metric of the scored ones."""
        metric, parameters = self._task.metric, self._task.parameters
        values = metric.values(scores, parameters)
        defined = ~np.isnan(values)
        self._values.append(values[defined])
        mean = METRICS["mean_reward"]
        means = values if metric is mean else mean.values(scores, parameters)
        self._means.append(means[defined])
        self._present += int(scores.offsets[-1])
        kinds = np.full(len(values), SCORED, dtype=np.uint8)
        kinds[scores.highest >= parameters.pass_threshold] |= PASSED
        kinds[scores.highest > scores.lowest] |= DIFFERS
        kinds[~defined] = UNDEFINED
        kinds[scores.counts == 0] = NO_SCORE
        return kinds

    def result(self) -> Scan:
        return Scan(
            lengths=np.concatenate([np.zeros(0, np.int64), *self._lengths]),
            kinds=np.concatenate([np.zeros(0, np.uint8), *self._kinds]),
            values=np.concatenate([np.zeros(0), *self._values]),
            means=np.concatenate([np.zeros(0), *self._means]),
            hashes=np.array(self._hashes, dtype=np.uint64),
            responses=self._responses,
            missing_scores=self._responses - self._present,
            problems=self._problems,
        )


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

    def of_file(self, file: InputFile) -> list[Scan]:
        """The scans of one file."""
        pairs = zip(self.shards, self.scans, strict=True)
        return [scan for shard, scan in pairs if shard.file is file]
