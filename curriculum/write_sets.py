"""Preprocessing, second pass over all sets: who writes which rows where, and whether they did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from curriculum.directory import BucketDirectory
from curriculum.errors import InternalError
from curriculum.options import PreprocessOptions
from curriculum.outputs import Outputs
from curriculum.parquet import plan_groups
from curriculum.place import Placed, PlaceTask, StagedShard, digest_hashes, place_set
from curriculum.plan import RowPlan
from curriculum.preprocess_summary import LengthFacts, PromptFacts, SetFacts
from curriculum.progress import Progress
from curriculum.prompts import SPLITS, TRAIN, VAL, shared_prompts
from curriculum.sets import set_file
from curriculum.settings import Settings
from curriculum.stores import AnyPath
from curriculum.verl import RowForm, Stage
from curriculum.workers import Workers

# A row is at most about as large as its line and the columns that we add.
OUR_BYTES_PER_ROW = 1_000


@dataclass(frozen=True)
class PreprocessRun:
    """What the steps of a run share; `sets` by name, each with the places of its buckets."""

    options: PreprocessOptions
    directory: BucketDirectory
    settings: Settings
    sets: Mapping[str, Sequence[int]]
    outputs: Outputs
    workers: Workers
    progress: Progress


def write_sets(run: PreprocessRun, plan: RowPlan, form: RowForm) -> list[SetFacts]:
    """Second pass: write the files of all sets; a side without rows gets no file. Raises
    InternalError where what was written is not what was planned."""
    run.progress.step("write")
    _check_sides(plan)
    tasks = {name: _place_task(run, plan, form, name) for name in plan.sets if plan.rows(name)}
    readers = Counter(path for task in tasks.values() for path in _staged(task))
    tick = _staged_progress(run, tasks.values())
    facts = {}
    # More of them than cores: they are few and of unequal length.
    done = run.workers.map(place_set, tasks.values(), crowd=True, tick=tick)
    for name, (task, placed) in zip(tasks, done, strict=True):
        _check_placed(plan, name, task, placed)
        if task.stay:
            run.progress.add(run.directory.bytes(run.sets[name]))
            _remove_staged(task, readers)
        facts[name] = _weigh(run, plan, name, placed)
    tick()
    return [
        facts.get(name) or _weigh(run, plan, name, [Placed() for _ in SPLITS]) for name in plan.sets
    ]


def plan_facts(run: PreprocessRun, plan: RowPlan) -> list[SetFacts]:
    """What the sets would be if they were written, but for their sizes."""
    _check_sides(plan)
    source = run.options.data_source
    facts = []
    for name in plan.sets:
        rows = [len(plan.lengths(name, side)) for side in range(len(SPLITS))]
        sources = Counter[str]() if run.options.keep_data_source else Counter({source: sum(rows)})
        facts.append(_facts_of(run, plan, name, rows, sources))
    return facts


def _check_sides(plan: RowPlan) -> None:
    """Raise InternalError if a prompt is on both sides of this run's sets."""
    train, val = (
        np.sort(np.concatenate([plan.prompts(name, side) for name in plan.sets]))
        for side in (TRAIN, VAL)
    )
    both = len(shared_prompts(train, val))
    if both:
        raise InternalError(f"{both:,} prompts are on both sides of the split")


def _place_task(run: PreprocessRun, plan: RowPlan, form: RowForm, name: str) -> PlaceTask:
    shards = [
        StagedShard(
            [part.path for part in plan.found.converted[number].parts],
            Stage(run.directory.names[plan.found.buckets[number]], plan.found.buckets[number]),
            plan.first_indexes[number],
        )
        for number in plan.shards(name)
    ]
    lengths = [plan.lengths(name, side) for side in range(len(SPLITS))]
    paths = [
        run.outputs.stage(set_file(name, split)) if len(rows) else None
        for split, rows in zip(SPLITS, lengths, strict=True)
    ]
    groups = [plan_groups(rows + OUR_BYTES_PER_ROW) for rows in lengths]
    options = run.options
    source = None if options.keep_data_source else options.data_source
    orders = [plan.order(name, side) for side in range(len(SPLITS))]
    # All of it is removed at once in a store; else when no set needs it any more.
    stay = run.workers.on_nodes or run.outputs.in_store or options.cumulative
    return PlaceTask(shards, form, plan.split, paths, groups, source, orders, stay)


def _staged_progress(run: PreprocessRun, tasks: Iterable[PlaceTask]) -> Callable[[], None]:
    """What tells the progress how much has been written: staged rows are removed as they are,
    unless they stay, where a set counts when it is done."""
    shards = [shard for task in tasks if not task.stay for shard in task.shards]
    sizes = {path: path.stat().st_size for shard in shards for path in shard.paths}
    work = sum(run.directory.bytes(places) for places in run.sets.values())
    share = work / max(sum(sizes.values()), 1)

    def tick() -> None:
        gone = [path for path in sizes if not path.exists()]
        run.progress.add(round(share * sum(sizes.pop(path) for path in gone)))

    return tick


def _staged(task: PlaceTask) -> Iterator[AnyPath]:
    return (path for shard in task.shards for path in shard.paths)


def _remove_staged(task: PlaceTask, readers: Counter[AnyPath]) -> None:
    """Make room on a disk, where no other set has these rows, too; in a store all that is staged
    goes at once, in the end."""
    for path in _staged(task):
        readers[path] -= 1
        if isinstance(path, Path) and not readers[path]:
            path.unlink()


def _check_placed(plan: RowPlan, name: str, task: PlaceTask, placed: Sequence[Placed]) -> None:
    """Compare what a set's files hold, by their own count, with the plan."""
    for side, (path, groups) in enumerate(zip(task.paths, task.groups, strict=True)):
        rows = placed[side].rows_in_file
        if not sum(groups) == placed[side].rows == rows:
            raise InternalError(f"{path} has {rows:,} rows instead of {sum(groups):,}")
        if placed[side].digest != digest_hashes(plan.hashes(name, side)):
            raise InternalError(f"{path} holds other prompts than were planned")


def _weigh(run: PreprocessRun, plan: RowPlan, name: str, placed: Sequence[Placed]) -> SetFacts:
    sources: Counter[str] = sum((side.data_sources for side in placed), Counter())
    facts = _facts_of(run, plan, name, [side.rows for side in placed], sources)
    written = [run.outputs.stage(file) for file in facts.files.values() if file]
    return replace(
        facts,
        bytes=sum(path.stat().st_size for path in written),
        columns=sum((side.columns for side in placed), Counter()),
    )


def _facts_of(
    run: PreprocessRun, plan: RowPlan, name: str, rows: Sequence[int], sources: Counter[str]
) -> SetFacts:
    """What there is to know of a set with so many `rows` on each side, but for its size."""
    names, by_side = run.directory.names, dict(zip(SPLITS, rows, strict=True))
    return SetFacts(
        name=name,
        buckets=[names[i] for i in plan.sets[name]],
        files={split: set_file(name, split) if count else None for split, count in by_side.items()},
        rows=by_side,
        dropped={names[i]: plan.dropped(i) for i in plan.sets[name]},
        prompts=PromptFacts.of(
            plan.prompts(name, TRAIN), plan.prompts(name, VAL), plan.shared_prompts
        ),
        prompt_lengths=LengthFacts.of(plan.characters(name)),
        data_sources=sources,
    )
