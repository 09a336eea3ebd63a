"""Pipeline 2: convert the rollouts of a bucket directory, choose the one schema, write parquet.

A prompt is on one side of the split everywhere, a row has one index everywhere, and every file
made from one directory has one schema, whatever buckets, filters and sets a run asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain

from curriculum.arrays import HashArray
from curriculum.choosing.flags import check_of_scores, names_of
from curriculum.comparing.split_like import split_like
from curriculum.display.schedule_picture import draw_schedule
from curriculum.engines.progress import Progress
from curriculum.engines.workers import Workers
from curriculum.errors import InputError
from curriculum.output.journal import JOURNAL, recover_to_read
from curriculum.output.manifests import (
    CUMULATIVE,
    BucketingManifest,
    PreprocessingManifest,
    is_cumulative,
)
from curriculum.output.output_directory import OutputDirectory, check_targets, check_writable
from curriculum.output.report_files import ReportFiles, check_report_file
from curriculum.preprocess_options import UNSEEN, PreprocessOptions
from curriculum.preprocessing.bucket_directory import BucketDirectory, open_bucket_directory
from curriculum.preprocessing.parquet_sets import (
    add_sets,
    load_sets,
    name_controls,
    name_sets,
    outdated_sets,
    record_set,
    replaced_files,
    set_file,
    split_sets,
)
from curriculum.preprocessing.passes import (
    StagedRun,
    check_any_row,
    check_counts,
    check_places,
    check_sizes,
    find_truths,
    stage_rollouts,
    write_rejected,
)
from curriculum.preprocessing.row_plan import RowPlan, RowRules
from curriculum.preprocessing.settings import PreprocessingRun, Settings, read_settings
from curriculum.preprocessing.split import SPLITS, Split, split_by_rows, split_prompts
from curriculum.preprocessing.write_sets import plan_facts, write_sets
from curriculum.reading.input_files import check_unchanged
from curriculum.reading.ledger import NO_SCORE, TAKEN
from curriculum.reading.truths import SeveralTruths
from curriculum.reports.preprocessing_report import PreprocessingReport
from curriculum.reports.preprocessing_summary import schedule_picture
from curriculum.source.passes import stage_source
from curriculum.storage.paths import AnyPath, any_in_store
from curriculum.verl.rows import RowForm


def preprocess_buckets(
    options: PreprocessOptions, show_progress: bool = False
) -> PreprocessingReport:
    """Run the whole pipeline; the files are in place when it returns.

    Raises InputError, with nothing written, for malformed lines, ground truths of no one type,
    a run that would write no row, and an output directory that cannot be used.
    """
    options, split = split_like(options)
    recover_to_read(options.input)
    directory = open_bucket_directory(options)
    settings = read_settings(options, directory.manifest)
    _check_order(options, settings, directory.manifest)
    _check_filter(options, settings, directory.manifest)
    sets: dict[str, list[int]] = name_sets(options, directory)
    if options.replay is not None and all(len(buckets) < 2 for buckets in sets.values()):
        raise InputError(
            "there is no set of several buckets, so there is nothing to replay",
            where="--replay",
            expected="two buckets or more",
            fix="name more of them with --buckets, or leave out --replay",
        )
    controls = name_controls(sets, directory) if options.control else {}
    sets |= {name: list(range(len(directory.names))) for name in controls}
    if options.output is not None:
        if options.output.name == CUMULATIVE and (options.output.parent / JOURNAL).exists():
            recover_to_read(options.output.parent)  # a dead run's commit there moves files to here
        check_writable(options.output)
    for flag, path in options.report_files.items():
        check_report_file(flag, path, options.output)
    work = directory.bytes()
    if not options.dry_run:
        work += sum(directory.bytes(buckets) for buckets in sets.values())
    fork = not any_in_store(options.paths)
    engine = Workers(options.workers, options.engine, options.ray_address, fork)
    with (
        Progress(work, show_progress) as progress,
        OutputDirectory(options.output, options.sync) as output,
        _keep_others_out(options, sets) as inner,
        ReportFiles() as report_files,
        engine as workers,  # ended before what they stage is removed
    ):
        output.warnings += inner.warnings if inner else []
        previous = None
        if options.output is not None:
            previous = load_sets(options.output)
            _check_outputs(options, options.output, sets, previous)
        run = PreprocessingRun(
            options, directory, settings, sets, controls, output, workers, progress, split
        )
        return _preprocess(run, previous, report_files)


def _preprocess(
    run: PreprocessingRun, previous: PreprocessingManifest | None, report_files: ReportFiles
) -> PreprocessingReport:
    """Stage all rows, split, write, commit; `previous` is the manifest that is there."""
    options = run.options
    staged = stage_source(run) if options.source else stage_rollouts(run)
    run, directory, converted = staged.run, staged.run.directory, staged.converted
    hashes = (converted.hashes(bucket) for bucket in range(len(directory.names)))
    split = staged.split or run.split or _split(options, hashes)
    plan = RowPlan(converted, split, run.sets, _row_rules(run))
    check_places(run, plan)
    check_any_row(options, plan)
    warnings = check_sizes(options, plan)
    write = plan_facts if options.dry_run else write_sets
    facts = write(run, plan, staged.form)
    check_counts(run, plan, facts)
    truths = SeveralTruths()
    if not options.source:
        truths = find_truths(run, converted, plan.repeated_prompts)
    if not options.dry_run:
        write_rejected(run, staged.ledger)
    if "--annotate" in options.report_files:
        staged.annotate(report_files.stage(options.report_files["--annotate"]))
    schedule = plan.schedule_facts(facts[0].name, directory.names)
    if schedule and "--plot" in options.report_files:
        path = report_files.stage(options.report_files["--plot"])
        draw_schedule(schedule_picture(options, facts[0].name, schedule), path)
    check_unchanged([*chain.from_iterable(directory.files), *staged.source_files])
    directory.check_unchanged()
    moved = plan.moved_prompts()
    records = {
        fact.name: record_set(options, directory, run.settings, fact, moved, staged.source_record)
        for fact in facts
    }
    manifest = add_sets(options.output, previous, records, run.output.rejected)
    report = PreprocessingReport(
        options=options,
        manifest=manifest,
        sets=facts,
        form=staged.form if isinstance(staged.form, RowForm) else None,
        source=staged.source,
        schedule=schedule,
        absent=plan.absent(run.settings.asked),
        moved=len(moved),
        repeated_prompts=len(plan.repeated_prompts),
        shared_prompts=len(plan.shared_prompts),
        truths=truths,
        truth_places=[converted.file_line(at.shard, at.line) for at in truths.example],
        notes=converted.notes,
        rows=staged.ledger.count(TAKEN),
        unscored=staged.ledger.count(NO_SCORE),
        malformed=staged.ledger.reason_kinds,
        responses=staged.responses,
        missing_scores=staged.missing_scores,
        warnings=[
            *run.output.warnings,
            *directory.warnings,
            *run.settings.warnings,
            *_edited(directory, staged),
            *_moved(options, outdated_sets(previous, records)),
            *staged.warnings,
            *warnings,
        ],
    )
    if "--report" in options.report_files:
        from curriculum.pages.preprocessing_page import preprocessing_page  # few need it
        from curriculum.pages.render import write_page

        page = preprocessing_page(report, run.output)
        write_page(page, report_files.stage(options.report_files["--report"]))
    if not options.dry_run:
        own, cumulative = split_sets(manifest)
        places = {CUMULATIVE: cumulative} if any(map(is_cumulative, records)) else {}
        run.output.commit(own, replaced_files(previous, records), places)
    report_files.put_in_place(
        "no set was written" if options.dry_run else "the sets are new and in place"
    )
    return report


def _split(options: PreprocessOptions, hashes: Iterable[HashArray]) -> Split:
    if options.val_rows is not None:
        return split_by_rows(hashes, options.val_rows)
    return split_prompts(hashes, options.ratio)


def _row_rules(run: PreprocessingRun) -> RowRules:
    options = run.options
    return RowRules(
        options.choice,
        options.val_rows,
        options.order != "input",
        options.schedule_of_rows,
        run.settings.asked.rules,
        run.controls,
        UNSEEN if options.unmatched == "keep" else None,
    )


def _keep_others_out(
    options: PreprocessOptions, sets: Mapping[str, Sequence[int]]
) -> AbstractContextManager[OutputDirectory | None]:
    """The directory of cumulative sets, if there are any, opened so that no run with it as its -o
    is at work meanwhile."""
    if options.output is None or not any(map(is_cumulative, sets)):
        return nullcontext()
    check_writable(options.output / CUMULATIVE)
    return OutputDirectory(options.output / CUMULATIVE, options.sync)


def _moved(options: PreprocessOptions, names: Sequence[str]) -> list[str]:
    """A warning about cumulative sets that are elsewhere now."""
    if options.output is None or not names:
        return []
    verb = "would be" if options.dry_run else "were"
    return [
        f"cumulative sets go to {options.output / CUMULATIVE} now: the files of {', '.join(names)} "
        f"that an earlier run left in {options.output_dir} {verb} removed."
    ]


def _check_order(
    options: PreprocessOptions, settings: Settings, manifest: BucketingManifest | None
) -> None:
    if not options.by_difficulty or settings.metrics.metric is not None:
        return
    flag = "--order" if options.schedule is None else "--schedule"
    why, fix = f"the directory has no {BucketingManifest.file_name}", "bucket again"
    if manifest is not None and settings.read.score_field != manifest.metric.score_field:
        why, fix = "--score-field is not the one that the buckets were cut by", "leave it out"
    elif manifest is not None:
        why = f"the buckets were cut by {manifest.metric.name}, for which there is no formula here"
        fix = "bucket again by a metric of the toolkit"
    raise InputError(
        f"there is no difficulty to order the rows by: {why}",
        where=flag,
        expected="the metric that the buckets were cut by",
        fix=f"{fix}, or leave out {flag}",
    )


def _check_filter(
    options: PreprocessOptions, settings: Settings, manifest: BucketingManifest | None
) -> None:
    if manifest is None or not manifest.metric.is_carried:
        return
    top = options.choice.top
    carried = manifest.metric.name
    check_of_scores("--keep", names_of(settings.asked.keep), carried, InputError)
    check_of_scores("--top", [top[1]] if top else [], carried, InputError)
    if options.filter == "all":
        return
    raise InputError(
        f"the filter goes by scores, and these rollouts carry {manifest.metric.name} in place of "
        "them",
        where="--filter",
        expected="rollouts with scores",
        fix=f'leave it out, or write --keep "{manifest.metric.name} > 0", for one',
    )


def _check_outputs(
    options: PreprocessOptions,
    output: AnyPath,
    sets: Mapping[str, Sequence[int]],
    previous: PreprocessingManifest | None,
) -> None:
    suffixes = (".parquet", ".jsonl") if options.source else (".parquet",)
    wanted = [set_file(name, split, end) for name in sets for split in SPLITS for end in suffixes]
    for place in {output: None, **{(output / file).parent: None for file in wanted}}:
        if place.resolve() == options.input.resolve():
            raise InputError(
                "the output directory is the input directory",
                where=str(place),
                expected="another directory: both have rejected lines of their own",
                fix="choose another -o",
            )
    for path in options.report_files.values():
        if path.resolve() in {(output / file).resolve() for file in wanted}:
            raise InputError(
                "this is a file of one of the sets",
                where=str(path),
                expected="a file of its own",
                fix="give --annotate another name",
            )
    ours = previous.files() if previous else []
    check_targets(output, wanted, ours, BucketingManifest.file_name)


def _edited(directory: BucketDirectory, staged: StagedRun) -> list[str]:
    """A warning for each bucket file that is not what its manifest says."""
    warnings = []
    records = directory.manifest.buckets if directory.manifest else ()
    for i, record in enumerate(records):
        count = staged.lines(i)
        size = directory.bytes([i])
        if (record.bytes, record.count) != (size, count):
            warnings.append(
                f"{directory.path / record.file} was edited since bucketing: it has {count:,} "
                f"rollouts in {size:,} bytes, the manifest says {record.count:,} in "
                f"{record.bytes:,}. It is used as it is; bucket again if that was not meant."
            )
    return warnings
