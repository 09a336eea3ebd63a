"""Bucketing, first pass: a shard's lines → what each is, and the metric of each scored rollout.

Of a rollout only the scores are decoded, and only numbers are kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from curriculum.arrays import ByteArray, FloatArray, HashArray, IntArray
from curriculum.inputs import InputFile, Shard, read_blocks, split_lines
from curriculum.metrics import METRICS, Metric, MetricParameters, Scores
from curriculum.rejected import Problems
from curriculum.rollouts import Malformed, ScoreReader, is_blank

# What a line is. A scored one has its bit and says whether any response passes and whether its
# scores differ.
BLANK, MALFORMED, NO_SCORE, TOO_FEW = range(4)
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
        return int(((self.kinds == NO_SCORE) | (self.kinds == TOO_FEW)).sum())


def scan_shard(task: ScanTask) -> Scan:
    """Read the scores of every line of a shard, block by block."""
    reader = ScoreReader(task.score_field)
    problems = Problems()
    blocks: list[Scan] = []
    lines_before = 0
    for block in read_blocks(task.shard):
        lines = split_lines(block)
        blocks.append(_scan_lines(task, lines, reader, problems, lines_before))
        lines_before += len(lines)
    return _join_scans(blocks, problems)


def _scan_lines(
    task: ScanTask, lines: list[bytes], reader: ScoreReader, problems: Problems, lines_before: int
) -> Scan:
    kinds = np.full(len(lines), SCORED, dtype=np.uint8)
    rewards = []
    for i, line in enumerate(lines):
        try:
            rewards.append(reader.read(line))
        except Malformed as error:  # noqa: PERF203, one bad line must not end the others
            if is_blank(line):
                kinds[i] = BLANK
            else:
                kinds[i] = MALFORMED
                problems.add(lines_before + i, error)
    scores = Scores.of(rewards)
    values = task.metric.values(scores, task.parameters)
    signals = np.full(len(values), SCORED, dtype=np.uint8)
    signals[scores.highest >= task.parameters.pass_threshold] |= PASSED
    signals[scores.highest > scores.lowest] |= DIFFERS
    defined = ~np.isnan(values)
    signals[~defined] = TOO_FEW
    signals[scores.counts == 0] = NO_SCORE
    kinds[kinds == SCORED] = signals
    hashes = [_hash(line) for line, kind in zip(lines, kinds, strict=True) if kind >= SCORED]
    means = METRICS["mean_reward"].values(scores, task.parameters)
    responses = sum(map(len, rewards))
    return Scan(
        lengths=np.fromiter(map(len, lines), dtype=np.int64, count=len(lines)),
        kinds=kinds,
        values=values[defined],
        means=means[defined],
        hashes=np.array(hashes if task.hash_lines else [], dtype=np.uint64),
        responses=responses,
        missing_scores=responses - int(scores.offsets[-1]),
        problems=problems,
    )


def _hash(line: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(line, digest_size=8).digest(), "little")


def _join_scans(blocks: list[Scan], problems: Problems) -> Scan:
    def join(name: str, dtype: type) -> np.ndarray:
        return np.concatenate([np.zeros(0, dtype), *(getattr(b, name) for b in blocks)])

    return Scan(
        lengths=join("lengths", np.int64),
        kinds=join("kinds", np.uint8),
        values=join("values", np.float64),
        means=join("means", np.float64),
        hashes=join("hashes", np.uint64),
        responses=sum(block.responses for block in blocks),
        missing_scores=sum(block.missing_scores for block in blocks),
        problems=problems,
    )


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
