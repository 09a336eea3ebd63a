"""Pipeline 2: convert the rollouts of a bucket directory, choose the one schema, write parquet.

A prompt is on one side of the split everywhere, a row has one index everywhere, and every file
made from one directory has one schema, whatever buckets, filters and sets a run asks for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import chain

import numpy as np

from curriculum.convert import BLANK, MALFORMED, ROW, UNSCORED, ConvertTask, Found, convert_shard
from curriculum.directory import BucketDirectory, open_bucket_directory
from curriculum.errors import InputError, InternalError
from curriculum.filters import FILTERS
from curriculum.infer import choose_form
from curriculum.inputs import changed, check_unchanged, cut_shards
from curriculum.journal import recover_to_read
from curriculum.line_files import Copier
from curriculum.manifests import (
    MALFORMED_FILE,
    REASONS_FILE,
    UNSCORED_FILE,
    BucketingManifest,
    PreprocessingManifest,
    load_manifest,
)
from curriculum.options import PreprocessOptions
from curriculum.outputs import Outputs, check_targets, check_writable
from curriculum.plan import RowPlan
from curriculum.preprocess_summary import PreprocessingReport, SetFacts
from curriculum.progress import Progress
from curriculum.prompts import SPLITS, split_prompts
from curriculum.rejected import ProblemReport, RejectedLines, reason_lines, rejected_lines
from curriculum.sets import add_sets, name_sets, record_set, replaced_files, set_file
from curriculum.settings import Settings, settle
from curriculum.shapes import Conflict
from curriculum.stores import AnyPath, any_in_store, to_path
from curriculum.verl import RowForm
from curriculum.workers import Workers
from curriculum.write_sets import PreprocessRun, plan_facts, write_sets


def preprocess_buckets(
    options: PreprocessOptions, show_progress: bool = False
) -> PreprocessingReport:
    """Run the whole pipeline; the files are in place when it returns.

    Raises InputError, with nothing written, for malformed lines, ground truths of no one type,
    a run that would write no row, and an output directory that cannot be used.
    """
    recover_to_read(to_path(options.input_dir))
    directory = open_bucket_directory(to_path(options.input_dir))
    settings = settle(options, directory.manifest)
    _check_order(options, settings)
    sets = name_sets(options, directory)
    output = to_path(options.output_dir)
    check_writable(output)
    work = directory.bytes()
    if not options.dry_run:
        work += sum(directory.bytes(places) for places in sets.values())
    fork = not any_in_store([options.input_dir, options.output_dir])
    engine = Workers(options.workers, options.engine, options.ray_address, fork)
    with (
        Progress(work, show_progress) as progress,
        Outputs(output, options.sync) as outputs,
        engine as workers,  # ended before what they stage is removed
    ):
        previous = load_manifest(output, PreprocessingManifest)
        _check_outputs(options, sets, previous.files() if previous else [])
        run = PreprocessRun(options, directory, settings, sets, outputs, workers, progress)
        return _preprocess(run, previous)


def _preprocess(run: PreprocessRun, previous: PreprocessingManifest | None) -> PreprocessingReport:
    """Convert, choose the form, split, write, commit; `previous` is the manifest that is there."""
    options, directory = run.options, run.directory
    found, malformed = _convert(run)
    form, notes = _choose_form(run, found)
    _convert_again(run, found, form)
    hashes = (found.hashes(bucket) for bucket in range(len(directory.names)))
    split = split_prompts(hashes, options.val_ratio)
    plan = RowPlan(found, split, run.sets, easy_to_hard=options.order != "input")
    _check_any_row(options, plan)
    facts = plan_facts(run, plan) if options.dry_run else write_sets(run, plan, form)
    _check_counts(run, found, facts)
    if not options.dry_run:
        _write_rejected(run, found)
    check_unchanged(chain.from_iterable(directory.files))
    directory.check_unchanged()
    moved = plan.moved_prompts()
    records = {
        fact.name: record_set(options, directory, run.settings, fact, moved) for fact in facts
    }
    manifest = add_sets(to_path(options.output_dir), previous, records, run.outputs.rejected)
    if not options.dry_run:
        run.outputs.commit(manifest, replaced_files(previous, records))
    return PreprocessingReport(
        manifest=manifest,
        output_dir=options.output_dir,
        sets=facts,
        moved=len(moved),
        notes=found.notes,
        rows=found.count(ROW),
        unscored=found.count(UNSCORED),
        malformed=malformed,
        responses=sum(part.responses for part in found.converted),
        missing_scores=sum(part.missing_scores for part in found.converted),
        warnings=[
            *run.outputs.warnings,
            *directory.warnings,
            *run.settings.warnings,
            *_edited(directory, found),
            *notes,
        ],
        dry_run=options.dry_run,
    )


def _check_order(options: PreprocessOptions, settings: Settings) -> None:
    if options.order != "input" and settings.metrics.metric is None:
        raise InputError(
            "there is no difficulty to order the rows by: the directory has no manifest",
            where=options.input_dir,
            expected=BucketingManifest.file_name,
            fix="bucket again, or leave out --order",
        )


def _check_outputs(
    options: PreprocessOptions, sets: Mapping[str, Sequence[int]], ours: Sequence[str]
) -> None:
    output = to_path(options.output_dir)
    if output.resolve() == to_path(options.input_dir).resolve():
        raise InputError(
            "the output directory is the input directory",
            where=options.output_dir,
            expected="another directory: both have rejected lines of their own",
            fix="choose another -o",
        )
    wanted = [set_file(name, split) for name in sets for split in SPLITS]
    check_targets(output, wanted, ours, BucketingManifest.file_name)


def _convert(run: PreprocessRun) -> tuple[Found, Counter[str]]:
    """First pass, over every bucket of the directory; the rows of the run's sets are staged.
    Malformed lines are counted by kind. Raises InputError for those that are not to be set aside,
    and where no rollout has a score."""
    run.progress.step("convert")
    files = run.directory.files
    shards = [(i, shard) for i, some in enumerate(files) for shard in cut_shards(some)]
    found = Found([shard for _, shard in shards], [bucket for bucket, _ in shards])
    problems = ProblemReport()
    tasks = (_convert_task(run, found, number) for number in range(len(shards)))
    for task, converted in run.workers.map(convert_shard, tasks):
        problems.add(task.shard.file.path, len(converted.kinds), converted.problems)
        found.add(converted)
        run.progress.add(task.shard.stop - task.shard.start)
    if run.options.on_malformed == "stop":
        problems.stop_if_any(
            "mend the rollouts and bucket them again, or use --on-malformed set-aside"
        )
    _check_any_score(run, found)
    return found, problems.kinds


def _convert_task(run: PreprocessRun, found: Found, number: int) -> ConvertTask:
    """The task of one shard, with what other shards have shown so far."""
    wanted = any(found.buckets[number] in buckets for buckets in run.sets.values())
    return ConvertTask(
        shard=found.shards[number],
        number=number,
        options=run.settings.read,
        metrics=run.settings.metrics,
        filter=run.options.filter,
        seed=run.options.seed,
        directory=run.outputs.scratch_directory() if wanted and not run.options.dry_run else None,
        known=deepcopy(found.shapes),
        reasons=_reason_file(run, number),
        rank=run.options.order != "input",
    )


def _reason_file(run: PreprocessRun, number: int) -> AnyPath | None:
    """Where the reasons of a shard's malformed lines are kept, if they are to be set aside."""
    if run.options.on_malformed == "stop":
        return None
    return run.outputs.scratch_directory() / f"reasons-{number:06}"


def _check_any_score(run: PreprocessRun, found: Found) -> None:
    if not found.count(ROW) + found.count(UNSCORED):
        malformed = found.count(MALFORMED)
        raise InputError(
            f"all {malformed:,} lines are malformed"
            if malformed
            else "its bucket files are all empty",
            where=str(run.directory.path),
            expected="one rollout per line",
            fix="leave out --on-malformed to see what is wrong with them"
            if malformed
            else "bucket again",
        )
    if not found.count(ROW):
        raise InputError(
            f"none of the {found.count(UNSCORED):,} rollouts has a score in "
            f"reward[i].{run.settings.read.score_field}",
            where=str(run.directory.path),
            expected="numbers there",
            fix="name the right field with --score-field",
        )


def _edited(directory: BucketDirectory, found: Found) -> list[str]:
    """A warning for each bucket file that is not what its manifest says."""
    warnings = []
    records = directory.manifest.buckets if directory.manifest else ()
    for i, record in enumerate(records):
        count = sum(found.count(kind, i) for kind in (ROW, UNSCORED, MALFORMED))
        size = directory.bytes([i])
        if (record.bytes, record.count) != (size, count):
            warnings.append(
                f"{directory.path / record.file} was edited since bucketing: it has {count:,} "
                f"rollouts in {size:,} bytes, the manifest says {record.count:,} in "
                f"{record.bytes:,}. It is used as it is; bucket again if that was not meant."
            )
    return warnings


def _choose_form(run: PreprocessRun, found: Found) -> tuple[RowForm, list[str]]:
    try:
        return choose_form(found.shapes, run.options.best_response)
    except Conflict as conflict:
        raise _no_one_type(run.options, found, conflict) from conflict


def _no_one_type(options: PreprocessOptions, found: Found, conflict: Conflict) -> InputError:
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


def _convert_again(run: PreprocessRun, found: Found, form: RowForm) -> None:
    """Stage anew the rows of those shards that did not know the run's form yet."""
    again = [i for i, converted in enumerate(found.converted) if not converted.has_form(form)]
    for number in again:
        for part in found.converted[number].parts:
            part.path.unlink()
    tasks = (replace(_convert_task(run, found, number), form=form) for number in again)
    for task, converted in run.workers.map(convert_shard, tasks):
        before = found.converted[task.number]
        if not np.array_equal(converted.hashes, before.hashes):
            raise changed(task.shard.file)
        found.converted[task.number] = replace(before, parts=converted.parts, staged=True)


def _check_any_row(options: PreprocessOptions, plan: RowPlan) -> None:
    if any(plan.rows(name) for name in plan.sets):
        return
    dropped = sum(map(plan.dropped, set(chain.from_iterable(plan.sets.values()))))
    raise InputError(
        f"--filter {options.filter} drops all {dropped:,} rollouts"
        if dropped
        else "these buckets are empty",
        where=options.input_dir,
        expected=FILTERS[options.filter].meaning,
        fix="use --filter all or other buckets; nothing was written",
    )


def _check_counts(run: PreprocessRun, found: Found, facts: Sequence[SetFacts]) -> None:
    """Raise InternalError if a line of a set's buckets is neither a row of it nor accounted for."""
    others = (BLANK, MALFORMED, UNSCORED)
    for fact in facts:
        buckets = run.sets[fact.name]
        lines = sum(len(part.kinds) for bucket in buckets for part in found.of_bucket(bucket))
        no_rows = sum(found.count(kind, bucket) for kind in others for bucket in buckets)
        if lines != sum(fact.rows.values()) + sum(fact.dropped.values()) + no_rows:
            raise InternalError(f"the counts of {fact.name} do not add up to its {lines:,} lines")


def _write_rejected(run: PreprocessRun, found: Found) -> None:
    """Copy the rejected lines of the whole directory, and say why."""
    files = {UNSCORED: UNSCORED_FILE, MALFORMED: MALFORMED_FILE}
    names = {kind: file for kind, file in files.items() if found.count(kind)}
    if not names:
        return
    lines = [
        RejectedLines(shard, converted.lengths, converted.kinds, _reason_file(run, number))
        for number, (shard, converted) in enumerate(zip(found.shards, found.converted, strict=True))
    ]
    copier = Copier(run.outputs, run.workers)
    copier.copy(list(names.values()), rejected_lines(lines, list(names)))
    reasons = {UNSCORED: "unscored: no score is present"}
    with run.outputs.stage(REASONS_FILE).open("wb") as stream:
        stream.writelines(reason_lines(lines, MALFORMED, reasons))
