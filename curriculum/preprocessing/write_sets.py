"""Second pass of preprocessing over all sets: a task per set, and a check of what was written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from curriculum.errors import InternalError
from curriculum.messages.hashes import shared_prompts
from curriculum.preprocessing.parquet_sets import LengthFacts, PromptFacts, SetFacts, set_file
from curriculum.preprocessing.row_plan import RowPlan
from curriculum.preprocessing.settings import Form, PreprocessingRun
from curriculum.preprocessing.split import SPLITS, TRAIN, VAL
from curriculum.preprocessing.write_rows import (
    StagedShard,
    WriteSetTask,
    WrittenSide,
    digest_hashes,
    write_set,
)
from curriculum.storage.parquet_files import plan_groups
from curriculum.storage.paths import AnyPath
from curriculum.verl.rows import Stage

# A row is at most about as large as its line plus the columns that we add.
OUR_BYTES_PER_ROW = 1_000


def write_sets(run: PreprocessingRun, plan: RowPlan, form: Form) -> list[SetFacts]:
    """Second pass: write the files of all sets; a side without rows gets no file. Raises
    InternalError if the files differ from the plan."""
    run.progress.step("write")
    names = [name for name in plan.sets if plan.rows(name)]
    threads = run.workers.threads_each(len(names))
    tasks = {name: _write_task(run, plan, form, name, threads) for name in names}
    readers = Counter(path for task in tasks.values() for path in _staged(task))
    tick = _staged_progress(run, tasks.values())
    planned, written = plan_facts(run, plan, form), {}
    # All sets may start at once: they are few, and some take much longer than others.
    done = run.workers.map(write_set, tasks.values(), crowd=True, tick=tick)
    for name, (task, sides) in zip(tasks, done, strict=True):
        _check_written(plan, name, task, sides)
        if task.stay:
            run.progress.add(run.directory.bytes(run.sets[name]))
            _remove_staged(task, readers)
        written[name] = sides
    tick()
    return [_weigh(run, facts, written.get(facts.name, ())) for facts in planned]


def plan_facts(run: PreprocessingRun, plan: RowPlan, form: Form) -> list[SetFacts]:
    """The facts of the sets as they will be written, without the sizes of their files and, with
    --keep-data-source, without their sources. Raises InternalError if a prompt is on both sides of
    this run's sets."""
    _check_sides(plan)
    source = run.options.data_source
    facts = []
    for name in plan.sets:
        rows = [len(plan.lengths(name, side)) for side in range(len(SPLITS))]
        unknown = run.options.keep_data_source or run.options.source
        sources = Counter[str]() if unknown else Counter({source: sum(rows)})
        facts.append(_facts_of(run, plan, name, rows, sources, form.suffix))
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


def _write_task(
    run: PreprocessingRun, plan: RowPlan, form: Form, name: str, threads: int
) -> WriteSetTask:
    shards = [
        StagedShard(
            [part.path for part in plan.converted.shards[number].parts],
            Stage(
                run.directory.names[plan.converted.buckets[number]], plan.converted.buckets[number]
            ),
            plan.first_indexes[number],
        )
        for number in plan.shards(name)
    ]
    lengths = [plan.lengths(name, side) for side in range(len(SPLITS))]
    paths = [
        run.output.stage(set_file(name, split, form.suffix)) if len(rows) else None
        for split, rows in zip(SPLITS, lengths, strict=True)
    ]
    groups = [plan_groups(rows + OUR_BYTES_PER_ROW) for rows in lengths]
    options = run.options
    source = None if options.keep_data_source or options.source else options.data_source
    orders = [plan.order(name, side) for side in range(len(SPLITS))]
    # Staged files in a store are removed together at the end, others once no set needs them.
    shared = options.cumulative or options.control
    stay = run.workers.on_nodes or run.output.in_store or shared
    schedule = plan.schedule(name)
    batch = schedule.batch_size if schedule and form.steps else None
    return WriteSetTask(
        shards, form, plan.split, paths, groups, source, orders, stay, threads, batch
    )


def _staged_progress(run: PreprocessingRun, tasks: Iterable[WriteSetTask]) -> Callable[[], None]:
    """A function that reports what has been written, by the staged files that are gone. It leaves
    out sets whose staged files stay: these count when they are done."""
    shards = [shard for task in tasks if not task.stay for shard in task.shards]
    sizes = {path: path.stat().st_size for shard in shards for path in shard.paths}
    work = sum(run.directory.bytes(buckets) for buckets in run.sets.values())
    share = work / max(sum(sizes.values()), 1)

    def tick() -> None:
        gone = [path for path in sizes if not path.exists()]
        run.progress.add(round(share * sum(sizes.pop(path) for path in gone)))

    return tick


def _staged(task: WriteSetTask) -> Iterator[AnyPath]:
    return (path for shard in task.shards for path in shard.paths)


def _remove_staged(task: WriteSetTask, readers: Counter[AnyPath]) -> None:
    """Remove the staged files on disk that no other set needs. Those in a store are removed
    together at the end."""
    for path in _staged(task):
        readers[path] -= 1
        if isinstance(path, Path) and not readers[path]:
            path.unlink()


def _check_written(
    plan: RowPlan, name: str, task: WriteSetTask, sides: Sequence[WrittenSide]
) -> None:
    """Raise InternalError if a set's files do not hold the planned rows."""
    for side, (path, groups) in enumerate(zip(task.paths, task.groups, strict=True)):
        rows = sides[side].rows_in_file
        if not sum(groups) == sides[side].rows == rows:
            raise InternalError(f"{path} has {rows:,} rows instead of {sum(groups):,}")
        if sides[side].digest != digest_hashes(plan.hashes(name, side)):
            raise InternalError(f"{path} holds other prompts than were planned")


def _weigh(run: PreprocessingRun, facts: SetFacts, sides: Sequence[WrittenSide]) -> SetFacts:
    """The facts of a set with what was found in its files; a set without rows has no `sides`."""
    written = [run.output.stage(file) for file in facts.files.values() if file]
    return replace(
        facts,
        bytes=sum(path.stat().st_size for path in written),
        data_sources=sum((side.data_sources for side in sides), Counter()),
        columns=sum((side.columns for side in sides), Counter()),
    )


def _facts_of(
    run: PreprocessingRun,
    plan: RowPlan,
    name: str,
    rows: Sequence[int],
    sources: Counter[str],
    suffix: str,
) -> SetFacts:
    """The facts of a set with this number of `rows` on each side, without its size."""
    names, by_side = run.directory.names, dict(zip(SPLITS, rows, strict=True))
    return SetFacts(
        name=name,
        buckets=[names[i] for i in plan.sets[name]],
        files={
            split: set_file(name, split, suffix) if count else None
            for split, count in by_side.items()
        },
        rows=by_side,
        dropped=dict.fromkeys((names[i] for i in plan.sets[name]), 0)
        if name in plan.rules.controls
        else {names[i]: plan.dropped(i) for i in plan.sets[name]},
        steps=plan.steps(name),
        different=plan.rows(name),
        control_of=plan.rules.controls.get(name),
        schedule=plan.schedule(name),
        groups=plan.groups_written(name),
        prompts=PromptFacts.of(
            plan.prompts(name, TRAIN), plan.prompts(name, VAL), plan.shared_prompts
        ),
        prompt_lengths=LengthFacts.of(plan.characters(name)),
        data_sources=sources,
    )
