"""The bucketed rollouts of a shard → how difficult each is, and what it is matched by.

Of a rollout only numbers are kept, never its text.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct

from curriculum.advice.buckets import how_to_fix
from curriculum.arrays import HashArray
from curriculum.errors import InputError
from curriculum.metrics import Scores
from curriculum.preprocessing.settings import PreprocessingRun
from curriculum.reading.blocks import read_blocks
from curriculum.reading.input_files import Shard, cut_shards, open_file
from curriculum.reading.ledger import NO_SCORE, TAKEN, Ledger, LineRecorder, ShardLines
from curriculum.reading.lines import FieldReader, find
from curriculum.reading.prompts import PromptHashes, first_prompt
from curriculum.reading.rollouts import ScoreReader
from curriculum.source.keys import (
    KEY,
    PROMPT,
    TEXT,
    Hashes,
    excerpt,
    hash_keys,
    join_hashes,
)
from curriculum.source.match import Rollouts
from curriculum.storage.paths import AnyPath


class RolloutPlaces(Struct, frozen=True):
    """Where a rollout has its prompt and its ground truth (None: where preprocessing looks for
    them), and its key (None: it is not read). A place is a field, or a.b inside one."""

    prompt: str | None
    ground_truth: str | None
    key: str | None

    def names(self) -> list[str]:
        """The fields of a line that have these."""
        prompts = [self.prompt] if self.prompt else ["prompt", "messages"]
        truths = [self.ground_truth] if self.ground_truth else ["ground_truth", "reward_model"]
        places = [*prompts, *truths, *([self.key] if self.key else [])]
        return list(dict.fromkeys(place.partition(".")[0] for place in places))

    def of(self, fields: Mapping[str, Any]) -> _Found:
        """The prompt, the ground truth and the key, given the fields; None where one is absent."""
        if self.prompt:
            prompt = find(fields, self.prompt)
        else:
            prompt = first_prompt((fields.get("prompt"), fields.get("messages")))
        if self.ground_truth:
            truth = find(fields, self.ground_truth)
        else:
            truth = fields.get("ground_truth")
            truth = find(fields.get("reward_model"), "ground_truth") if truth is None else truth
        return prompt, truth, find(fields, self.key) if self.key else None


class RolloutTask(Struct, frozen=True):
    """A shard of a bucket. `seed` is that of the split. The reasons of malformed lines go to
    `reasons` (None: nowhere)."""

    shard: Shard
    places: RolloutPlaces
    score_field: str
    seed: int
    reasons: AnyPath | None


class RolloutShard(Struct, frozen=True):
    """The lines of a shard, and of each rollout with a score what it is matched by, a hash of its
    ground truth, and its scores."""

    lines: ShardLines
    hashes: Hashes
    truths: HashArray
    scores: Scores
    missing_scores: int


_Found: TypeAlias = tuple[Any, Any, Any]  # prompt, ground truth and key; None where absent


def read_rollouts(task: RolloutTask) -> RolloutShard:
    """Read what the rollouts of a shard are matched by, and their scores."""
    recorder, reader = LineRecorder(task.reasons), ScoreReader(task.score_field)
    fields = FieldReader(task.places.names())
    every, kinds, found = [Scores.of([])], [np.zeros(0, np.uint8)], list[_Found]()
    responses = 0
    try:
        for block in read_blocks(task.shard):
            read = reader.read_block(block)
            taken = np.flatnonzero(recorder.add_block(block, read.refused) == TAKEN)
            scores = Scores.of_flat(read.flat, read.counts)
            responses += len(read.flat)
            scored = scores.counts > 0
            kinds.append(np.where(scored, TAKEN, NO_SCORE).astype(np.uint8))
            every.append(scores.take(np.flatnonzero(scored)))
            found += [
                task.places.of(fields.read(block.line(position)))
                for position in taken[scored].tolist()
            ]
    finally:
        recorder.close()
    joined = Scores.join(every)
    asked = PromptHashes.of([prompt for prompt, _, _ in found], task.seed)
    return RolloutShard(
        lines=recorder.result(np.concatenate(kinds)),
        hashes={
            KEY: hash_keys([key for _, _, key in found]),
            PROMPT: asked.prompts,
            TEXT: asked.texts,
        },
        truths=hash_keys([truth for _, truth, _ in found]),
        scores=joined,
        missing_scores=responses - len(joined.values),
    )


def show_rollout(ledger: Ledger, number: int, places: RolloutPlaces) -> str:
    """Where a rollout is, among those with a score, and the start of its key or prompt."""
    counts = np.cumsum([lines.count(TAKEN) for lines in ledger.shard_lines])
    at = int(np.searchsorted(counts, number, side="right"))
    shard, lines = ledger.shards[at], ledger.shard_lines[at]
    within = number - int(counts[at]) + lines.count(TAKEN)
    line = int(np.flatnonzero(lines.kinds == TAKEN)[within])
    start = int(lines.starts(shard)[line])
    with open_file(shard.file) as stream:
        stream.seek(start)
        text = stream.read(int(lines.lengths[line]))
    prompt, _, key = places.of(FieldReader(places.names()).read(text))
    shown = excerpt(key if places.key else prompt)
    return f"{shard.file.path}:{ledger.first_lines()[at] + line}: {shown}"


def read_every_rollout(
    run: PreprocessingRun, places: RolloutPlaces
) -> tuple[list[int], Ledger, Rollouts, int]:
    """The bucket of each shard, its lines, the rollouts, and how many scores are missing."""
    files = run.directory.files
    shards = [(i, shard) for i, some in enumerate(files) for shard in cut_shards(some)]
    set_aside = run.options.on_malformed == "set-aside"
    reasons = run.output.scratch_directory() / "reasons" if set_aside else None
    ledger = Ledger.of((shard for _, shard in shards), reasons)
    read = run.settings.read
    tasks = [
        RolloutTask(shard, places, read.score_field, read.seed, reason)
        for (_, shard), reason in zip(shards, ledger.reasons, strict=True)
    ]
    found = []
    for task, part in run.workers.map(read_rollouts, tasks):
        ledger.add(part.lines)
        found.append(part)
        run.progress.add(task.shard.stop - task.shard.start)
    if not set_aside:
        fix = how_to_fix(run.options, chain.from_iterable(files), ledger.reason_kinds)
        ledger.stop_if_malformed(fix)
    counts, buckets = [len(part.truths) for part in found], [bucket for bucket, _ in shards]
    if not sum(counts):
        raise InputError(
            f"none of its rollouts has a score in reward[i].{read.score_field}",
            where=run.directory.path,
            expected="numbers there",
            fix="name the right field with --score-field",
        )
    rollouts = Rollouts(
        hashes=join_hashes([part.hashes for part in found]),
        truths=np.concatenate([part.truths for part in found]),
        buckets=np.repeat(buckets, counts),
        scores=Scores.join([part.scores for part in found]),
    )
    return buckets, ledger, rollouts, sum(part.missing_scores for part in found)
