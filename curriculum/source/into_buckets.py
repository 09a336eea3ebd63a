"""Verdicts on all rows → their staged files, bucket by bucket, as the second pass wants them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import numpy as np
from msgspec import Struct

from curriculum.arrays import BoolArray, FloatArray, HashArray, IntArray, compact_lengths
from curriculum.choosing.judge import KEPT, Looked, Verdicts
from curriculum.metrics import Scores
from curriculum.preprocess_options import UNSEEN
from curriculum.preprocessing.convert import ConvertedBuckets, ConvertedShard, StagedFile
from curriculum.preprocessing.settings import PreprocessingRun
from curriculum.reading.ledger import TAKEN, Ledger, Problems, ShardLines
from curriculum.source.form import SourceForm
from curriculum.source.match import GroupVerdict, Match
from curriculum.source.rows import Rows
from curriculum.source.stage import StageTask, stage_rows, write_annotated
from curriculum.storage.paths import AnyPath
from curriculum.verl.infer_schema import Shapes
from curriculum.verl.rows import Stage


class RowVerdicts(Struct, frozen=True):
    """What is known of each row: its bucket (-1: it matches no rollout), whether it may go into a
    set at all, its difficulty, whether it is kept, the hash that decides its side, and its scores
    by `group`, the last of which is empty."""

    buckets: IntArray
    used: BoolArray
    difficulty: FloatArray
    verdicts: Verdicts
    hashes: HashArray
    group: IntArray
    scores: Scores


def judge_rows(
    run: PreprocessingRun,
    match: Match,
    verdict: GroupVerdict,
    looked: Looked,
    hashes: HashArray,
    in_val: BoolArray,
) -> RowVerdicts:
    """What is known of each row. `hashes` decide their sides; rows `in_val` go into no set. Rows
    that match no rollout are kept."""
    last = len(run.directory.names) - 1 if UNSEEN in run.sets else -1
    groups, matched = match.groups, match.groups >= 0
    group, scores = np.where(matched, groups, len(match.first)), _with_empty(match.scores)
    verdicts = run.settings.asked.judge(scores.take(group), looked)
    dropped_by = np.where(matched, verdicts.dropped_by, np.uint8(KEPT))
    return RowVerdicts(
        buckets=np.append(verdict.buckets.astype(np.int64), last)[groups],
        used=~in_val,
        difficulty=np.append(verdict.difficulty, np.nan)[groups],
        verdicts=replace(verdicts, dropped_by=dropped_by),
        hashes=hashes,
        group=group,
        scores=scores,
    )


def _with_empty(scores: Scores) -> Scores:
    """The scores of all groups, and of a last one that has none."""
    return Scores.join([scores, Scores.of([[]])])


def _tasks(
    run: PreprocessingRun, form: SourceForm, rows: Rows, of_rows: RowVerdicts, wanted: BoolArray
) -> Iterator[StageTask]:
    """A task for each chunk, with the buckets of the rows that are `wanted`."""
    stages = [Stage(name, i) for i, name in enumerate(run.directory.names)]
    for number, (chunk, some) in enumerate(zip(rows.source.chunks, rows.cuts, strict=True)):
        yield StageTask(
            chunk=chunk,
            number=number,
            form=form,
            stages=stages,
            buckets=np.where(wanted[some], of_rows.buckets[some], -1),
            hashes=of_rows.hashes[some],
            scores=of_rows.scores.take(of_rows.group[some]),
            metrics=run.settings.metrics,
            directory=run.output.scratch_directory(),
        )


def stage_in_buckets(
    run: PreprocessingRun, form: SourceForm, rows: Rows, of_rows: RowVerdicts
) -> ConvertedBuckets:
    """Stage the rows of the run's sets, chunk by chunk, and list them bucket by bucket."""
    paths = dict[tuple[int, int], AnyPath]()
    lengths = np.zeros(len(of_rows.buckets), np.int64)
    in_sets = np.isin(of_rows.buckets, list(chain.from_iterable(run.sets.values())))
    in_files = of_rows.verdicts.keep | run.options.control
    wanted = of_rows.used & in_files & in_sets
    tasks = _tasks(run, form, rows, of_rows, wanted) if not run.options.dry_run else ()
    for task, staged in run.workers.map(stage_rows, tasks):
        for bucket, staged_at in staged.paths.items():
            paths[bucket, task.number] = staged_at
            here = rows.cuts[task.number].start + np.flatnonzero(task.buckets == bucket)
            lengths[here] = staged.lengths[bucket]
    converted = ConvertedBuckets(Ledger([], []), [])
    for bucket in range(len(run.directory.names)):
        for number, some in enumerate(rows.cuts):
            here = of_rows.used[some] & (of_rows.buckets[some] == bucket)
            mine = some.start + np.flatnonzero(here)
            if not len(mine):
                continue
            path = paths.get((bucket, number))
            lines = ShardLines(
                compact_lengths(lengths[mine]), np.full(len(mine), TAKEN, np.uint8), Problems()
            )
            converted.ledger.shard_lines.append(lines)
            converted.buckets.append(bucket)
            converted.shards.append(
                ConvertedShard(
                    lines=lines,
                    hashes=of_rows.hashes[mine],
                    characters=rows.characters[mine],
                    verdicts=of_rows.verdicts.some(mine),
                    in_files=in_files[mine],
                    difficulty=of_rows.difficulty[mine],
                    shapes=Shapes(),
                    notes=Counter(),
                    responses=0,
                    missing_scores=0,
                    parts=[] if path is None else [StagedFile(path, form)],
                    staged=True,
                )
            )
    return converted


def annotate_rows(
    run: PreprocessingRun, form: SourceForm, rows: Rows, of_rows: RowVerdicts, path: AnyPath
) -> None:
    """Write all rows but those of val, in their order, with their difficulty."""
    every = _tasks(run, form, rows, of_rows, np.ones_like(of_rows.used))
    val = rows.source.val_files
    write_annotated(path, form, (task for task in every if task.chunk.file.path not in val))
