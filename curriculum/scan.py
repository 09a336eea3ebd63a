"""Bucketing, first pass: a shard's lines → what each is, and the metric of each scored rollout.

Of a rollout only the scores are decoded, and only numbers are kept.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from curriculum.arrays import (
    ByteArray,
    FloatArray,
    HashArray,
    IntArray,
    LengthArray,
    compact_lengths,
    join_lengths,
)
from curriculum.blocks import Block, read_blocks
from curriculum.inputs import Shard
from curriculum.metrics import METRICS, Metric, MetricParameters, Scores
from curriculum.rejected import ProblemLog, Problems
from curriculum.rollouts import ScoreReader, is_blank
from curriculum.sample import HIGHEST, Sample, hash_offsets, lowest
from curriculum.score_rows import ScoreRows
from curriculum.stores import AnyPath

# What a line is. A scored one has its bit and says whether any response passes, whether its scores
# differ, and whether all pass.
BLANK, MALFORMED, NO_SCORE, UNDEFINED = range(4)
ROLLOUT = 4  # not measured yet
SCORED, PASSED, DIFFERS, SOLVED = 0x80, 0x40, 0x20, 0x10

# Arrays of a few thousand numbers cost more to call than to compute.
SCORES_AT_ONCE = 1 << 17


@dataclass(frozen=True)
class ScanTask:
    """A shard, what to read of its lines, and where the reasons of its malformed lines go, and the
    rows of the score table (None: nowhere). `every_metric` says to measure by all of them. No
    rollout whose hash is above `bound` is sampled; `file` numbers the files."""

    shard: Shard
    score_field: str
    metric: Metric
    parameters: MetricParameters
    hash_lines: bool
    reasons: AnyPath | None = None
    scores: AnyPath | None = None
    every_metric: bool = False
    bound: int = HIGHEST
    file: int = 0


@dataclass(frozen=True)
class Scan:
    """What a shard's lines are: `lengths` (bytes, without newline) and `kinds`, one per line;
    `values`, `means` and `hashes`, one per scored rollout; a `sample` of those; and every metric
    of all rollouts, by name. `hashes` and `metrics` are empty unless asked for; `means` is
    `values` itself where the metric is the mean."""

    lengths: LengthArray
    kinds: ByteArray
    values: FloatArray
    means: FloatArray
    hashes: HashArray
    sample: Sample
    metrics: dict[str, FloatArray]
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
        self._reader = ScoreReader(task.score_field, with_keys=task.scores is not None)
        self._log = ProblemLog(task.reasons)
        self._flat: list[FloatArray] = []
        self._counts: list[int] = []
        self._lengths: list[LengthArray] = []
        self._unmeasured: list[ByteArray] = []
        self._kinds: list[ByteArray] = []
        self._values: list[FloatArray] = []
        self._means: list[FloatArray] = []
        self._hashes: list[int] = []
        self._metrics: list[dict[str, FloatArray]] = []
        self._keys: list[str | None] = []
        self._rows = ScoreRows(task.scores) if task.scores is not None else None
        self._sample = Sample.join([], [])
        self._scored = 0
        self._next_offset = task.shard.first_offset
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
        self._keys += read.keys
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
        if self._task.every_metric or self._rows:
            self._measure_all(scores, values)
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
        found[scores.lowest >= parameters.pass_threshold] |= SOLVED
        found[~defined] = UNDEFINED
        found[scores.counts == 0] = NO_SCORE
        kinds = np.concatenate([np.zeros(0, np.uint8), *self._unmeasured])
        rollouts = np.flatnonzero(kinds == ROLLOUT)
        kinds[rollouts] = found
        self._kinds.append(kinds)
        self._take_sample(scores, np.flatnonzero(defined), rollouts[defined])
        self._flat, self._counts, self._unmeasured, self._waiting = [], [], [], 0

    def _measure_all(self, scores: Scores, values: FloatArray) -> None:
        """Take all metrics of these rollouts, the task's own being at hand."""
        parameters, own = self._task.parameters, self._task.metric.name
        measured = {
            name: values if name == own else metric.values(scores, parameters)
            for name, metric in METRICS.items()
        } | {own: values}
        if self._task.every_metric:
            self._metrics.append(measured)
        if self._rows:
            passes = scores.passes(parameters.pass_threshold)
            self._rows.add(self._keys, measured, scores.counts, passes)
            self._keys = []

    def _take_sample(self, scores: Scores, defined: IntArray, lines: IntArray) -> None:
        """Sample the scored rollouts among those just measured, which stand on these lines of the
        blocks that waited."""
        lengths = join_lengths(self._lengths[-len(self._unmeasured) :] if self._unmeasured else [])
        whole = lengths.astype(np.int64) + 1
        starts = self._next_offset + np.cumsum(whole) - whole
        self._next_offset += int(whole.sum())
        hashes = hash_offsets(self._task.file, starts[lines])
        low = np.flatnonzero(hashes <= np.uint64(min(self._sample.bound, self._task.bound)))
        chosen = low[lowest(hashes[low])]
        part = Sample(hashes[chosen], chosen, scores.take(defined[chosen]))
        self._sample = Sample.join([self._sample, part], [0, self._scored])
        self._scored += len(lines)

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
            sample=self._sample,
            metrics={
                name: np.concatenate([part[name] for part in self._metrics])
                for name in (self._metrics[0] if self._metrics else ())
            },
            responses=self._responses,
            missing_scores=self._responses - self._present,
            problems=self._log.problems,
        )

    def close(self) -> None:
        """End what is being written."""
        self._log.close()
        if self._rows:
            self._rows.close()


def _hash(line: memoryview) -> int:
    return int.from_bytes(hashlib.blake2b(line, digest_size=8).digest(), "little")


@dataclass
class Scanned:
    """Everything the first pass found, shard by shard in input order."""

    shards: list[Shard]
    scans: list[Scan] = field(default_factory=list)
    sample: Sample = field(default_factory=lambda: Sample.join([], []))
    _scored: int = 0

    def add(self, scan: Scan) -> None:
        """Take over what was found in the next shard."""
        self.sample = Sample.join([self.sample, scan.sample], [0, self._scored])
        self._scored += len(scan.values)
        self.scans.append(replace(scan, sample=Sample.join([], [])))

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
