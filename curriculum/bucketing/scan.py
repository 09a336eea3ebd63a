"""First pass of bucketing: the lines of a shard → the kind of each line and the metric of each
rollout.

Only the scores of a rollout are decoded, and only numbers are kept.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from curriculum.arrays import BoolArray, ByteArray, FloatArray, HashArray, IntArray
from curriculum.choosing.choose import Step
from curriculum.choosing.groups import NO_GROUPS, Groups
from curriculum.choosing.judge import Asked, Looked, Verdicts
from curriculum.messages.hashes import NO_PROMPT
from curriculum.metrics import METRICS, Metric, MetricParameters, Scores
from curriculum.options import DEFAULT_SEED
from curriculum.reading.blocks import Block, read_blocks
from curriculum.reading.input_files import Shard
from curriculum.reading.ledger import (
    DIFFERS,
    DROPPED,
    FIRST_RECORD,
    NO_SCORE,
    PASSED,
    SOLVED,
    TAKEN,
    UNDEFINED,
    Ledger,
    LineRecorder,
    ShardLines,
)
from curriculum.reading.lines import FieldReader, PlaceReader
from curriculum.reading.prompts import PromptHashes, asked_messages, first_prompt, last_text
from curriculum.reading.rollouts import KnownRollouts, ReadScores, ScoreReader
from curriculum.signals import SIGNALS
from curriculum.statistics.sample import HIGHEST, Sample, hash_offsets, lowest
from curriculum.storage.paths import AnyPath, open_sink

# On arrays of a few thousand numbers, calling NumPy takes longer than computing.
SCORES_AT_ONCE = 1 << 17
PROMPT_SHOWN = 200  # characters of a prompt in the score table
DATA_SOURCE = "data_source"  # by which the summary shows rollouts
MOST_SHOWN = 1_000  # different groups, if these are only for the summary


class ScanTask(Struct, frozen=True):
    """A shard and what to read from its lines.

    The reasons of malformed lines go to `reasons`, the rows of the score table to `scores` (None:
    nowhere). With `every_metric` the scan returns all metrics. A rollout whose hash is above
    `bound` is not sampled. `file` is the number of the shard's file. With `carried` a rollout's
    only score is a number that it carries, which no other metric has. If all that is wanted of the
    lines is `known`, they are not read. `asked` says which rollouts are kept, and the place of
    their groups. Without such a place, `show_groups` asks for those of the field DATA_SOURCE, for
    the summary. With `count_passes` the scan returns the responses and passes of each rollout.
    """

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
    carried: bool = False
    known: KnownRollouts | None = None
    text: AnyPath | None = None
    asked: Asked = field(default_factory=lambda: Asked(MetricParameters()))
    show_groups: bool = False
    count_passes: bool = False

    @property
    def group_field(self) -> str | None:
        """The field whose values are groups, if the scores can be read with it; None if not."""
        name = self.asked.group or (DATA_SOURCE if self.show_groups else "")
        plain = name and name not in ("reward", "prompt", "messages") and not {*name} & {*".[]"}
        return name if plain and self.scores is None else None


class Scan(Struct, frozen=True):
    """What the scan of a shard found.

    `values`, `means`, `prompts` (hashes of the prompts) and `hashes` (of the lines) have one entry
    per scored rollout, `other_prompts` has one for each that is not scored; `means` is `values`
    itself if the metric is the mean. `other_parts` are the numbers of the scored rollouts whose
    prompt holds parts that are not text. `sample` is a sample of the scored rollouts. `metrics`
    maps names to one value per rollout, scored or not. `hashes` and `metrics` are empty unless
    requested. `lowest` and `highest` are scores; NaN without any. `groups`, `counts` (of responses
    with a score) and `passes` are those of the scored rollouts, empty if not asked for; `dropped`
    counts by rule the rollouts that were not kept, which are not scored, and `there` those that
    hold something at each place that is looked at.
    """

    lines: ShardLines
    values: FloatArray
    means: FloatArray
    prompts: HashArray
    other_prompts: HashArray
    other_parts: IntArray
    hashes: HashArray
    sample: Sample
    metrics: dict[str, FloatArray]
    responses: int
    missing_scores: int
    lowest: float
    highest: float
    groups: Groups
    counts: IntArray
    passes: IntArray
    dropped: IntArray
    there: IntArray

    @property
    def rollout_kinds(self) -> ByteArray:
        """The kinds of all rollouts, scored or not."""
        return self.lines.kinds[self.lines.kinds >= FIRST_RECORD]

    @property
    def scored(self) -> ByteArray:
        """The kinds of the scored rollouts."""
        return self.lines.kinds[self.lines.kinds >= TAKEN]


def scan_shard(task: ScanTask) -> Scan:
    """Read the scores of every line of a shard."""
    scanner = _Scanner(task)
    with ExitStack() as stack:
        stack.callback(scanner.close)
        text = stack.enter_context(task.text.open("wb")) if task.text else None
        if task.known:
            scanner.add_known(task.known)
        for block in () if task.known else read_blocks(task.shard):
            if text:
                text.write(block.text)
            scanner.add_block(block)
        return scanner.result()


class _Scanner:
    """What was read from a shard so far. It is kept in arrays, because a compressed file is one
    shard whatever its size. Scores gather until there are enough to measure at once."""

    def __init__(self, task: ScanTask) -> None:
        self._task = task
        self._reader = ScoreReader(task.score_field, task.scores is not None, task.group_field)
        self._places = PlaceReader(task.asked.places)
        nothing = dict[str, list[Any]]((place, []) for place in task.asked.places)
        self._looked = [task.asked.look(nothing)]
        self._groups, self._shown = [NO_GROUPS], [NO_GROUPS]
        self._too_many = False
        self._passes = [np.zeros((2, 0), np.int64)]
        self._dropped = np.zeros(len(task.asked.rules) + 1, np.int64)
        self._there = self._looked[0].there
        self._recorder = LineRecorder(task.reasons)
        self._flat: list[FloatArray] = []
        self._counts: list[IntArray] = [np.zeros(0, np.int64)]
        self._offsets: list[IntArray] = []
        self._kinds: list[ByteArray] = [np.zeros(0, np.uint8)]
        self._values: list[FloatArray] = []
        self._means: list[FloatArray] = []
        self._prompts: list[HashArray] = [np.zeros(0, np.uint64)]
        self._other_parts: list[IntArray] = [np.zeros(0, np.int64)]
        self._rollouts = 0
        self._hashes: list[int] = []
        self._metrics: list[dict[str, FloatArray]] = []
        self._keys: list[str | None] = []
        self._asked: list[Any] = []
        self._rows = ScoreRows(task.scores) if task.scores is not None else None
        self._sample = Sample.join([], [])
        self._scored = 0
        self._next_offset = task.shard.first_mark
        self._responses = self._present = self._waiting = 0
        self._lowest = self._highest = math.nan

    def add_block(self, block: Block) -> None:
        read = self._reader.read_block(block)
        rollouts = np.flatnonzero(self._recorder.add_block(block, read.refused) == TAKEN)
        if self._task.hash_lines:
            self._hashes.extend(_hash(block.line(position)) for position in rollouts.tolist())
        groups = read.groups
        if self._rows:
            fields = [_shown_fields.read(block.line(position)) for position in rollouts.tolist()]
            self._asked += [first_prompt((f.get("prompt"), f.get("messages"))) for f in fields]
            groups = Groups.of([f.get(DATA_SOURCE) for f in fields])
        self._offsets.append(self._next_offset + block.starts[rollouts])
        self._next_offset += block.size
        self._look(block, rollouts, groups)
        self._add_scores(read)

    def _look(self, block: Block, rollouts: IntArray, groups: Groups) -> None:
        """Look at what the rollouts of a block hold; `groups` are those that were read with the
        scores."""
        task, asked = self._task, self._task.asked
        if asked.group is None:
            self._shown.append(groups)
        if not asked.places:
            return
        known = asked.group is not None and task.group_field == asked.group
        if known and not asked.on_places and (groups.codes >= 0).all():
            self._looked.append(Looked((), groups, np.array([len(groups.codes)])))
        else:
            lines = (block.line(position) for position in rollouts.tolist())
            self._looked.append(asked.look(self._places.read_lines(lines)))

    def add_known(self, known: KnownRollouts) -> None:
        """Add the rollouts of the whole shard."""
        self._recorder.add_taken(known.lengths)
        whole = known.lengths.astype(np.int64) + 1
        self._offsets.append(self._next_offset + np.cumsum(whole) - whole)
        self._add_scores(known.scores)

    def _add_scores(self, read: ReadScores) -> None:
        self._flat.append(read.flat)
        self._counts.append(read.counts)
        self._prompts.append(read.prompts)
        if len(read.other_parts):
            self._other_parts.append(read.other_parts + self._rollouts)
        self._rollouts += len(read.counts)
        self._keys += read.keys
        self._waiting += len(read.flat)
        if self._waiting >= SCORES_AT_ONCE:
            self._measure()

    def _measure(self) -> None:
        """Compute the metric and the kind of the rollouts gathered since the last call."""
        metric, parameters = self._task.metric, self._task.parameters
        flat, counts = np.concatenate([np.zeros(0), *self._flat]), np.concatenate(self._counts)
        scores = Scores.of_flat(flat, counts)
        values = metric.values(scores, parameters)
        if self._task.every_metric or self._rows:
            self._measure_all(scores, values)
        verdicts = self._judge(scores)
        scored = ~np.isnan(values)
        defined = scored & verdicts.keep
        self._dropped += np.bincount(verdicts.dropped_by[scored], minlength=len(self._dropped))
        self._add_groups(verdicts, defined)
        if self._task.count_passes:
            counted = np.stack((scores.counts, scores.passes(parameters.pass_threshold)))
            self._passes.append(counted[:, defined])
        self._values.append(values[defined])
        mean = METRICS["mean_reward"]
        if metric is not mean:
            self._means.append(mean.values(scores, parameters)[defined])
        self._responses += self._waiting
        self._present += int(scores.offsets[-1])
        if len(scores.values):
            self._lowest = np.fmin(self._lowest, scores.values.min())
            self._highest = np.fmax(self._highest, scores.values.max())
        found = np.full(len(values), TAKEN, dtype=np.uint8)
        found[scores.highest >= parameters.pass_threshold] |= PASSED
        found[scores.highest > scores.lowest] |= DIFFERS
        found[scores.lowest >= parameters.pass_threshold] |= SOLVED
        found[~verdicts.keep] = DROPPED
        found[~scored] = UNDEFINED
        found[scores.counts == 0] = NO_SCORE
        self._kinds.append(found)
        offsets = np.concatenate([np.zeros(0, np.int64), *self._offsets])
        self._take_sample(scores, np.flatnonzero(defined), offsets[defined])
        self._flat, self._counts, self._offsets = [], self._counts[:1], []
        self._waiting = 0

    def _judge(self, scores: Scores) -> Verdicts:
        """Which of the rollouts gathered since the last call are kept."""
        looked = Looked.join(self._looked)
        self._looked = self._looked[:1]
        self._there = self._there + looked.there
        return self._task.asked.judge(scores, looked)

    def _add_groups(self, verdicts: Verdicts, chosen: BoolArray) -> None:
        """Add the groups of the chosen rollouts. Those that are only for the summary are forgotten
        once there are too many."""
        found = verdicts.looked.groups
        if self._task.asked.group is None:
            found, self._shown = Groups.join(self._shown), self._shown[:1]
            if len({name for part in (*self._groups, found) for name in part.names}) > MOST_SHOWN:
                self._too_many = True
        if self._too_many:
            self._groups = self._groups[:1]
        elif len(found.codes):
            self._groups.append(found.some(chosen))

    def _measure_all(self, scores: Scores, values: FloatArray) -> None:
        """Compute all metrics of these rollouts; `values` are those of the task's own metric."""
        parameters, own = self._task.parameters, self._task.metric.name
        signals = SIGNALS if self._rows else {}
        measured = {
            name: values if name == own else metric.values(scores, parameters)
            for name, metric in {**METRICS, **signals}.items()
        } | {own: values}
        responses, passes = scores.counts, scores.passes(parameters.pass_threshold)
        if self._task.carried:
            responses = passes = np.zeros_like(responses)
            nothing = np.full(len(values), np.nan)
            measured = dict.fromkeys(measured, nothing) | {own: values}
        if self._task.every_metric:
            self._metrics.append(measured)
        if self._rows:
            self._rows.add(self._keys, self._asked, measured, responses, passes)
            self._keys, self._asked = [], []

    def _take_sample(self, scores: Scores, defined: IntArray, offsets: IntArray) -> None:
        """Sample the rollouts `defined` of `scores`, whose lines start at `offsets` of the file."""
        hashes = hash_offsets(self._task.file, offsets)
        low = np.flatnonzero(hashes <= np.uint64(min(self._sample.bound, self._task.bound)))
        chosen = low[lowest(hashes[low])]
        part = Sample(hashes[chosen], chosen, scores.take(defined[chosen]))
        self._sample = Sample.join([self._sample, part], [0, self._scored])
        self._scored += len(offsets)

    def result(self) -> Scan:
        self._measure()
        kinds, prompts = np.concatenate(self._kinds), np.concatenate(self._prompts)
        values = np.concatenate([np.zeros(0), *self._values])
        hashes = np.array(self._hashes, dtype=np.uint64)
        if len(hashes):
            hashes = hashes[kinds >= TAKEN]
        odd = np.zeros(len(kinds), np.bool_)
        odd[np.concatenate(self._other_parts)] = True
        return Scan(
            lines=self._recorder.result(kinds),
            values=values,
            means=np.concatenate(self._means) if self._means else values,
            prompts=prompts[kinds >= TAKEN],
            other_prompts=prompts[kinds < TAKEN],
            other_parts=np.flatnonzero(odd[kinds >= TAKEN]),
            hashes=hashes,
            sample=self._sample,
            metrics={
                name: np.concatenate([part[name] for part in self._metrics])
                for name in (self._metrics[0] if self._metrics else ())
            },
            responses=self._responses,
            missing_scores=self._responses - self._present,
            lowest=float(self._lowest),
            highest=float(self._highest),
            groups=Groups.join(self._groups),
            counts=np.concatenate(self._passes, axis=1)[0],
            passes=np.concatenate(self._passes, axis=1)[1],
            dropped=self._dropped[1:],
            there=self._there,
        )

    def close(self) -> None:
        self._recorder.close()
        if self._rows:
            self._rows.close()


# What the score table and the summary show of a rollout.
_shown_fields = FieldReader(("prompt", "messages", DATA_SOURCE))


def _hash(line: memoryview) -> int:
    return int.from_bytes(hashlib.blake2b(line, digest_size=8).digest(), "little")


class Scanned(Struct):
    """Everything the first pass found, shard by shard in input order; `ledger` has the lines."""

    ledger: Ledger
    score_rows: Sequence[AnyPath] = ()  # shard by shard, if the score table is asked for
    scans: list[Scan] = field(default_factory=list)
    sample: Sample = field(default_factory=lambda: Sample.join([], []))
    _scored: int = 0

    def add(self, scan: Scan) -> None:
        """Add the result of the next shard."""
        self.ledger.add(scan.lines)
        self.sample = Sample.join([self.sample, scan.sample], [0, self._scored])
        self._scored += len(scan.values)
        self.scans.append(replace(scan, sample=Sample.join([], [])))

    def steps(self, rules: Sequence[str]) -> list[Step]:
        """What each rule dropped, given their names."""
        dropped = np.sum([scan.dropped for scan in self.scans], axis=0).tolist()
        left, found = self._scored + sum(dropped), list[Step]()
        for rule, count in zip(rules, dropped, strict=True):
            found.append(Step(rule, left, count))
            left -= count
        return found

    def absent(self, asked: Asked) -> dict[str, tuple[int, int]]:
        """Where rollouts have nothing that a condition is about (`Asked.absent`)."""
        there = np.sum([scan.there for scan in self.scans], axis=0).tolist()
        return asked.absent(there, sum(len(scan.rollout_kinds) for scan in self.scans))

    def missing_scores_by_file(self) -> Counter[str]:
        """The number of missing scores by file path."""
        found: Counter[str] = Counter()
        for shard, scan in zip(self.ledger.shards, self.scans, strict=True):
            found[shard.file.name] += scan.missing_scores
        return found


class ScoreRows:
    """Writes the rows of a shard to a file, in the order of its rollouts."""

    def __init__(self, path: AnyPath) -> None:
        self._path = path
        self._file: Any = None
        self._writer: Any = None

    def add(
        self,
        keys: Sequence[str | None],
        asked: Sequence[Any],
        metrics: Mapping[str, FloatArray],
        responses: IntArray,
        passes: IntArray,
    ) -> None:
        """Add the rows of some rollouts, given what they ask. A metric that is NaN is undefined and
        becomes null."""
        import pyarrow as pa  # slow to load, and only the score table needs it here

        from curriculum.storage.arrow_arrays import integers, numbers, texts

        prompts = list(map(asked_messages, asked))
        hashes = PromptHashes.of(asked, DEFAULT_SEED).prompts.tolist()
        columns = {
            "key": texts(keys),
            "prompt_hash": texts([f"{h:016x}" if h != NO_PROMPT else None for h in hashes]),
            "prompt_text": texts([last_text(some)[:PROMPT_SHOWN] or None for some in prompts]),
        }
        columns |= {name: numbers(values, ~np.isnan(values)) for name, values in metrics.items()}
        columns |= {"num_responses": integers(responses), "num_passes": integers(passes)}
        batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
        if self._writer is None:
            self._file = open_sink(self._path)
            self._writer = pa.ipc.new_stream(self._file, batch.schema)
        self._writer.write_batch(batch)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            with self._file:
                self._writer.close()
