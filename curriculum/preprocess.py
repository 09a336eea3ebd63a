"""Pipeline 2: infer the one schema of a bucket directory, convert its rollouts, write parquet.

A prompt is on one side of the split everywhere, a row has one index everywhere, and every file
made from one directory has one schema, whatever buckets, filters and sets a run asks for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curriculum.arrays import HashArray
from curriculum.convert import ConvertTask, WriteTask, convert_shard, write_file
from curriculum.copying import CopyTask, copy_shard
from curriculum.directory import BucketDirectory, open_bucket_directory
from curriculum.errors import InputError, InternalError
from curriculum.filters import FILTERS
from curriculum.infer import ROW, UNSCORED, InferTask, Inspected, choose_form, inspect_shard
from curriculum.inputs import check_unchanged, cut_shards
from curriculum.manifests import (
    BucketingManifest,
    PreprocessingManifest,
    load_manifest,
)
from curriculum.options import PreprocessOptions
from curriculum.outputs import (
    REASONS_FILE,
    UNSCORED_FILE,
    Outputs,
    check_targets,
    check_writable,
)
from curriculum.plan import TRAIN, VAL, RowPlan, moved_prompts, plan_rows
from curriculum.preprocess_summary import PreprocessingReport, PromptFacts, SetFacts
from curriculum.progress import Progress
from curriculum.prompts import SPLITS, split_prompts
from curriculum.rejected import ProblemReport, reason_lines
from curriculum.sets import add_sets, name_sets, record_set, replaced_files, set_file
from curriculum.settings import Settings, settle
from curriculum.shapes import Conflict
from curriculum.verl import RowForm, Stage, column_sizes, count_rows, plan_groups
from curriculum.workers import Workers

# A row is at most about as large as its line and the columns that we add.
OUR_BYTES_PER_ROW = 1_000


def preprocess_buckets(
    options: PreprocessOptions, show_progress: bool = False
) -> PreprocessingReport:
    """Run the whole pipeline; the files are in place when it returns.

    Raises InputError, with nothing written, for malformed lines, ground truths of no one type,
    a run that would write no row, and an output directory that cannot be used.
    """
    directory = open_bucket_directory(Path(options.input_dir))
    settings = settle(options, directory.manifest)
    sets = name_sets(options, directory)
    output = Path(options.output_dir)
    check_writable(output)
    previous = load_manifest(output, PreprocessingManifest)
    _check_outputs(options, sets, previous.files() if previous else [])
    work = [*directory.files, *(directory.files[i] for places in sets.values() for i in places)]
    total = sum(file.size for file in work)
    with Progress(total, show_progress) as progress, Workers(options.workers) as workers:
        found = _infer(options, directory, settings, workers, progress)
        try:
            form, notes = choose_form(found, options.best_response)
        except Conflict as conflict:
            raise _no_one_type(options, found, conflict) from conflict
        hashes = [found.hashes(bucket) for bucket in range(len(directory.names))]
        split = split_prompts(hashes, options.val_ratio)
        plan = plan_rows(found, split, sets)
        _check_any_row(options, plan)
        with Outputs(output) as outputs:
            tasks = _convert_tasks(options, directory, settings, form, plan, outputs)
            written = _convert(tasks, workers, progress)
            facts = _write(directory, form, plan, written, outputs, workers)
            _write_unscored(found, outputs)
            check_unchanged(directory.files)
            moved = moved_prompts(plan, split)
            records = {
                fact.name: record_set(options, directory, settings, fact, moved) for fact in facts
            }
            manifest = add_sets(output, previous, records, outputs.rejected)
            outputs.commit(manifest, replaced_files(previous, records))
    return PreprocessingReport(
        manifest=manifest,
        output_dir=options.output_dir,
        sets=facts,
        moved=len(moved),
        notes=found.notes,
        rows=found.count(ROW),
        unscored=found.count(UNSCORED),
        responses=sum(part.responses for part in found.inspections),
        missing_scores=sum(part.missing_scores for part in found.inspections),
        warnings=[*directory.warnings, *settings.warnings, *_edited(directory, found), *notes],
    )


def _check_outputs(
    options: PreprocessOptions, sets: Mapping[str, Sequence[int]], ours: Sequence[str]
) -> None:
    output = Path(options.output_dir)
    if output.resolve() == Path(options.input_dir).resolve():
        raise InputError(
            "the output directory is the input directory",
            where=options.output_dir,
            expected="another directory: both have rejected lines of their own",
            fix="choose another -o",
        )
    wanted = [set_file(name, split) for name in sets for split in SPLITS]
    check_targets(output, wanted, ours, BucketingManifest.file_name)


def _infer(
    options: PreprocessOptions,
    directory: BucketDirectory,
    settings: Settings,
    workers: Workers,
    progress: Progress,
) -> Inspected:
    """First pass, over every bucket of the directory. Raises InputError for malformed lines, and
    where no rollout has a score."""
    progress.step("infer")
    shards = [(i, shard) for i, file in enumerate(directory.files) for shard in cut_shards([file])]
    found = Inspected([shard for _, shard in shards], [bucket for bucket, _ in shards])
    tasks = [
        InferTask(
            shard, number, settings.read, options.seed, options.filter,
            settings.metrics.pass_threshold,
        )
        for number, shard in enumerate(found.shards)
    ]  # fmt: skip
    problems = ProblemReport()
    for task, inspection in workers.map(inspect_shard, tasks):
        problems.add(task.shard.file.path, len(inspection.kinds), inspection.problems)
        found.add(inspection)
        progress.add(task.shard.stop - task.shard.start)
    problems.stop_if_any("mend the rollouts and bucket them again")
    if not found.count(ROW) + found.count(UNSCORED):
        raise InputError(
            "its bucket files are all empty",
            where=str(directory.path),
            expected="one rollout per line",
            fix="bucket again",
        )
    if not found.count(ROW):
        raise InputError(
            f"none of the {found.count(UNSCORED):,} rollouts has a score in "
            f"reward[i].{settings.read.score_field}",
            where=str(directory.path),
            expected="numbers there",
            fix="name the right field with --score-field",
        )
    return found


def _edited(directory: BucketDirectory, found: Inspected) -> list[str]:
    """A warning for each bucket file that is not what its manifest says."""
    warnings = []
    records = directory.manifest.buckets if directory.manifest else ()
    for i, (record, file) in enumerate(zip(records, directory.files, strict=False)):
        count = found.count(ROW, i) + found.count(UNSCORED, i)
        if (record.bytes, record.count) != (file.size, count):
            warnings.append(
                f"{file.path} was edited since bucketing: it has {count:,} rollouts in "
                f"{file.size:,} bytes, the manifest says {record.count:,} in {record.bytes:,}. It "
                "is used as it is; bucket again if that was not meant."
            )
    return warnings


def _no_one_type(options: PreprocessOptions, found: Inspected, conflict: Conflict) -> InputError:
    if conflict.path.startswith("extra_info"):
        return InputError(
            f"{conflict.path} is {' and '.join(conflict.kinds)}",
            where=options.input_dir,
            expected="an object in every rollout: verl looks up each tool in it",
            fix="mend or remove the field and bucket again; nothing was written",
        )
    seen = ", ".join(f"{kind} at {found.place(place)}" for kind, place in conflict.kinds.items())
    return InputError(
        f"the ground truths do not fit one type: {conflict.path} is {seen}",
        where=options.input_dir,
        expected="one type in every bucket, or verl cannot load the files together",
        fix="pass --ground-truth-format string (a string stays as it is, the rest becomes JSON "
        "text), or keep the sources apart; nothing was written",
    )


def _check_any_row(options: PreprocessOptions, plan: RowPlan) -> None:
    if any(sum(plan.rows(name).values()) for name in plan.sets):
        return
    dropped = sum(plan.dropped(i) for places in plan.sets.values() for i in places)
    raise InputError(
        f"--filter {options.filter} drops all {dropped:,} rollouts"
        if dropped
        else "these buckets are empty",
        where=options.input_dir,
        expected=FILTERS[options.filter].meaning,
        fix="use --filter all or other buckets; nothing was written",
    )


def _part(outputs: Outputs, number: int, split: str) -> Path:
    return outputs.scratch(f"{number:06}-{split}.arrow")


def _convert_tasks(
    options: PreprocessOptions,
    directory: BucketDirectory,
    settings: Settings,
    form: RowForm,
    plan: RowPlan,
    outputs: Outputs,
) -> dict[str, list[ConvertTask]]:
    """The second pass, by set: its shards, and where their rows are staged."""
    tasks: dict[str, list[ConvertTask]] = {name: [] for name in plan.sets}
    for name in plan.sets:
        for number in plan.shards(name):
            bucket = plan.found.buckets[number]
            task = ConvertTask(
                shard=plan.found.shards[number],
                sides=plan.sides[number],
                indexes=plan.indexes[number],
                stage=Stage(directory.names[bucket], bucket),
                options=settings.read,
                form=form,
                metrics=settings.metrics,
                seed=options.seed,
                paths=[_part(outputs, number, split) for split in SPLITS],
            )
            tasks[name].append(task)
    return tasks


@dataclass
class _Staged:
    """What the staged rows of a set hold: prompt hashes by side, rows by data source."""

    hashes: list[list[HashArray]]
    data_sources: Counter[str]

    def side(self, side: int) -> HashArray:
        """The prompt hash of each row on one side."""
        return np.concatenate([np.zeros(0, np.uint64), *self.hashes[side]])


def _convert(
    tasks: Mapping[str, Sequence[ConvertTask]], workers: Workers, progress: Progress
) -> dict[str, _Staged]:
    """Stage the rows. Raises InternalError if a prompt is on both sides."""
    progress.step("convert")
    staged = {name: _Staged([[] for _ in SPLITS], Counter()) for name in tasks}
    names = [name for name, some in tasks.items() for _ in some]
    work = [task for some in tasks.values() for task in some]
    for name, (task, converted) in zip(names, workers.map(convert_shard, work), strict=True):
        for side, hashes in enumerate(converted.hashes):
            staged[name].hashes[side].append(hashes)
        staged[name].data_sources.update(converted.data_sources)
        progress.add(task.shard.stop - task.shard.start)
    train, val = (
        np.concatenate([some.side(side) for some in staged.values()]) for side in (TRAIN, VAL)
    )
    both_sides = len(np.intersect1d(train, val))
    if both_sides:
        raise InternalError(f"{both_sides:,} prompts are on both sides of the split")
    return staged


def _write(
    directory: BucketDirectory,
    form: RowForm,
    plan: RowPlan,
    staged: Mapping[str, _Staged],
    outputs: Outputs,
    workers: Workers,
) -> list[SetFacts]:
    """Write the files of all sets, and weigh them; a side without rows gets no file."""
    tasks: dict[str, WriteTask] = {}
    for name in plan.sets:
        for side, split in enumerate(SPLITS):
            lengths, file = plan.lengths(name, side), set_file(name, split)
            if len(lengths):
                parts = [_part(outputs, number, split) for number in plan.shards(name)]
                groups = plan_groups(lengths + OUR_BYTES_PER_ROW)
                tasks[file] = WriteTask(outputs.stage(file), form.schema(), parts, groups)
    for task, _ in workers.map(write_file, list(tasks.values())):
        if count_rows(task.path) != sum(task.groups):
            raise InternalError(f"{task.path} has {count_rows(task.path):,} rows")
    return [_weigh(name, directory, plan, staged[name], tasks) for name in plan.sets]


def _weigh(
    name: str,
    directory: BucketDirectory,
    plan: RowPlan,
    staged: _Staged,
    tasks: Mapping[str, WriteTask],
) -> SetFacts:
    files = {split: set_file(name, split) for split in SPLITS}
    written = [tasks[file].path for file in files.values() if file in tasks]
    return SetFacts(
        name=name,
        buckets=[directory.names[i] for i in plan.sets[name]],
        files={split: file if file in tasks else None for split, file in files.items()},
        rows={split: len(staged.side(side)) for side, split in enumerate(SPLITS)},
        dropped={directory.names[i]: plan.dropped(i) for i in plan.sets[name]},
        prompts=PromptFacts.of(staged.side(TRAIN), staged.side(VAL), plan.shared_prompts),
        data_sources=staged.data_sources,
        bytes=sum(path.stat().st_size for path in written),
        columns=sum(map(column_sizes, written), Counter()),
    )


def _write_unscored(found: Inspected, outputs: Outputs) -> None:
    """Copy the unscored rollouts of the whole directory, and say why."""
    if not found.count(UNSCORED):
        return
    path, written = outputs.stage(UNSCORED_FILE), 0
    path.touch()
    for shard, inspection in zip(found.shards, found.inspections, strict=True):
        where = np.where(inspection.kinds == UNSCORED, 0, -1)
        offsets = np.array([written], dtype=np.int64)
        copy_shard(CopyTask(shard, inspection.lengths, where, [path], offsets))
        written += int((inspection.lengths[where == 0] + 1).sum())
    lines = ((inspection.lengths, inspection.kinds) for inspection in found.inspections)
    with outputs.stage(REASONS_FILE).open("wb") as stream:
        reasons = {UNSCORED: "unscored: no score is present"}
        stream.writelines(reason_lines(found.shards, lines, reasons))
