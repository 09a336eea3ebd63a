"""Pipeline 1: scan the scores of every rollout, assign buckets, copy the lines.

Input lines are copied byte for byte, in input order, each to exactly one file, and nothing is
written before all input has been read and checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from curriculum.advice.first_lines import find_form
from curriculum.advice.other_files import Input, find_rollouts, has_pipes
from curriculum.bucketing.passes import (
    BucketingRun,
    copy_to_buckets,
    measure_buckets,
    open_source,
    scan_rollouts,
)
from curriculum.bucketing.repeats import Repeats, find_repeats, find_truths, tell_truths
from curriculum.bucketing.rollout_source import RolloutSource
from curriculum.bucketing.scan import Scanned
from curriculum.comparing.compare import Comparison, open_earlier
from curriculum.comparing.cut_like import cut_like
from curriculum.cutting.assign_buckets import (
    BucketAssignment,
    assign_buckets,
    compare_metrics,
    estimate_trust,
)
from curriculum.cutting.change import Change
from curriculum.cutting.manifest_record import record_bucketing
from curriculum.cutting.report import BucketingReport
from curriculum.display.histogram import dataset_name
from curriculum.display.picture import draw
from curriculum.engines.progress import Progress
from curriculum.engines.signals import delay_signals
from curriculum.engines.workers import Workers
from curriculum.errors import InputError
from curriculum.options import BucketOptions
from curriculum.output.copy_lines import LineFile
from curriculum.output.manifests import BucketingManifest, PreprocessingManifest, load_manifest
from curriculum.output.output_directory import OutputDirectory, check_targets, check_writable
from curriculum.output.report_files import ReportFiles, check_report_file
from curriculum.reading.input_files import InputFile, check_unchanged
from curriculum.reading.ledger import CONFLICT, MALFORMED, NO_SCORE, UNDEFINED
from curriculum.reading.truths import SeveralTruths
from curriculum.reports.bucketing_summary import picture
from curriculum.statistics.uncertainty import Uncertainty
from curriculum.storage.paths import AnyPath, any_in_store


def bucket_rollouts(options: BucketOptions, show_progress: bool = False) -> BucketingReport:
    """Run the whole pipeline; the files are in place when it returns.

    Raises InputError, with nothing written, for malformed lines, for input without a scored
    rollout, and for an output directory that cannot be used; and with the buckets written, where
    the score table or the picture cannot be put in its place after them.
    """
    options, like = cut_like(options)
    with ExitStack() as stack:
        output = OutputDirectory(options.output, options.sync)
        scratch = None
        if has_pipes(options):  # what comes through is kept there
            if options.output is not None:
                check_writable(options.output)
            scratch = stack.enter_context(output).scratch_directory
        found = find_rollouts(options, scratch)
        entered = nullcontext(output) if scratch else output
        return _bucket(options, like, entered, found, show_progress)


def _bucket(
    options: BucketOptions,
    like: BucketingManifest | None,
    entered: AbstractContextManager[OutputDirectory],
    found_input: Input,
    show_progress: bool,
) -> BucketingReport:
    """Bucket the rollouts of these files."""
    files = found_input.files
    if options.output is not None:
        check_writable(options.output)
    for flag, path in options.report_files.items():
        check_report_file(flag, path, options.output)
    form = find_form(options, files)
    passes = (4 if form.dump else 2) - options.dry_run
    fork = not any_in_store(options.paths)
    engine = Workers(options.workers, options.engine, options.ray_address, fork)
    with (
        Progress(passes * sum(file.size for file in files), show_progress) as progress,
        entered as output,
        ReportFiles() as report_files,
        engine as workers,  # ended before what they stage is removed
    ):
        output.warnings += found_input.warnings
        old: list[str] = []
        if options.output is not None:
            previous = load_manifest(options.output, BucketingManifest)
            old = previous.files() if previous else []
            _check_outputs(options, options.output, files, old)
        run = BucketingRun(options, output, workers, progress)
        earlier = open_earlier(options)
        if earlier is not None:
            progress.expect(earlier.bytes)
            output.warnings += earlier.edited
        source = open_source(run, files, form.dump)
        scanned = scan_rollouts(run, source)
        comparison = Comparison.prepare(earlier, run, scanned) if earlier else None
        done = _write_buckets(run, source, scanned, comparison)
        assigned = done.assigned
        progress.step("compare")
        truths = find_truths(workers, source, done.repeats, scanned)
        check_unchanged(files)
        manifest = record_bucketing(
            options,
            files,
            source,
            assigned.facts,
            done.bucket_files,
            output.rejected,
            scanned.steps(options.asked.rules),
        )
        report = _report(run, source, scanned, (done.repeats, truths, assigned), manifest)
        further = None
        if options.more_responses is not None:
            from curriculum.cutting.further_responses import FurtherResponses  # few need it

            budget = int(options.more_responses[0])
            further = FurtherResponses.plan(scanned, assigned, budget)
        compared = None
        if comparison is not None and done.change is not None:
            compared = comparison.told(done.change, source, manifest)
        report = replace(
            report,
            uncertainty=done.trust,
            likely_prompt=form.likely_prompt,
            would_refuse=form.warnings,
            further=further,
            compared=compared,
            like=like,
        )
        _stage_report_files(run, source, scanned, assigned, report, report_files)
        with delay_signals():  # all of it, or none
            if not options.dry_run:
                output.commit(manifest, old)
            report_files.put_in_place(
                "no bucket was written" if options.dry_run else "the buckets are new and in place"
            )
    return report


class BucketsWritten(Struct, frozen=True):
    """The bucket of each rollout, the files, prompts that repeat, how far the cuts can be trusted
    (None: that is not known), and what changed, if there is something to compare with."""

    assigned: BucketAssignment
    bucket_files: Sequence[LineFile]
    repeats: Repeats
    trust: Uncertainty | None
    change: Change | None


def _write_buckets(
    run: BucketingRun, source: RolloutSource, scanned: Scanned, comparison: Comparison | None
) -> BucketsWritten:
    """Assign buckets and write them. Nothing that is written depends on what is found aside.
    Meanwhile no process is started: the copy has those of the scan, and one that is forked may wait
    for a lock of the thread."""
    options = run.options
    write = measure_buckets if options.dry_run else copy_to_buckets
    with ThreadPoolExecutor(1) as aside:
        repeats = aside.submit(find_repeats, source, scanned)
        assigned = assign_buckets(options, scanned)
        trust = aside.submit(estimate_trust, options, scanned, assigned)
        change = comparison.run(options, assigned) if comparison else None
        bucket_files = write(run, source, assigned.buckets)
    return BucketsWritten(assigned, bucket_files, repeats.result(), trust.result(), change)


def _check_outputs(
    options: BucketOptions, output: AnyPath, files: Sequence[InputFile], old: Sequence[str]
) -> None:
    """Refuse to write over the input, next to it, or over files that are not the toolkit's."""
    names = options.bucket_files
    if output.resolve() in {path.resolve() for path in options.input_paths.values()}:
        raise InputError(
            "the output directory is an input directory, so the next run would read these "
            "buckets as rollouts",
            where=options.output_dir,
            expected="another directory",
            fix="choose another -o",
        )
    read = {file.path.resolve() for file in files}
    for name in (*names, *old):
        if (output / name).resolve() in read:
            raise InputError(
                "this input file would be replaced by the output",
                where=output / name,
                expected="an output directory without input files",
                fix="choose another -o",
            )
    check_targets(output, names, old, PreprocessingManifest.file_name)


def _report(
    run: BucketingRun,
    source: RolloutSource,
    scanned: Scanned,
    found: tuple[Repeats, SeveralTruths, BucketAssignment],
    manifest: BucketingManifest,
) -> BucketingReport:
    """All that a person wants to know of a run."""
    options, rollouts, (repeats, truths, assigned) = run.options, source.rollout_ledger, found
    return BucketingReport(
        options=options,
        manifest=manifest,
        facts=assigned.facts,
        distinct=assigned.distinct,
        responses=sum(scan.responses for scan in scanned.scans),
        lowest=float(np.nanmin([scan.lowest for scan in scanned.scans])),
        highest=float(np.nanmax([scan.highest for scan in scanned.scans])),
        repeats=repeats,
        in_several=repeats.in_several(assigned.buckets),
        truths=truths,
        truth_places=tell_truths(source, scanned, truths),
        groups=assigned.groups,
        absent=scanned.absent(options.asked),
        bins=assigned.bins,
        cuts=assigned.cuts,
        dataset=dataset_name(list(options.input_paths.values())),
        comparison=compare_metrics(options, scanned) if options.measures_all else None,
        missing_scores=+source.label_by_input(scanned.missing_scores_by_file()),
        unscored=+source.label_by_input(rollouts.by_file(NO_SCORE, UNDEFINED)),
        malformed=+source.input_ledger.by_file(MALFORMED, CONFLICT),
        malformed_kinds=source.input_ledger.reason_kinds,
        dump=source.dump,
        warnings=run.output.warnings,
    )


def _stage_report_files(
    run: BucketingRun,
    source: RolloutSource,
    scanned: Scanned,
    assigned: BucketAssignment,
    report: BucketingReport,
    report_files: ReportFiles,
) -> None:
    """Stage the score table, the page and the other files that are asked for."""
    wanted = run.options.report_files
    if "--scores" in wanted:
        from curriculum.cutting.score_table import ScoreTable  # it loads pyarrow

        table = ScoreTable(scanned, assigned.buckets, run.options.names)
        table.write(report_files.stage(wanted["--scores"]), source.rollout_lines())
    if report.further is not None:
        path = report_files.stage(wanted["--more-responses"])
        names = run.options.names
        report.further.write(path, run.workers, source, scanned, assigned.buckets, names)
    if "--plot" in wanted:
        draw(picture(report), report_files.stage(wanted["--plot"]))
    if "--report" in wanted:
        from curriculum.pages.bucketing_page import bucketing_page  # few need it
        from curriculum.pages.render import write_page

        page = bucketing_page(report, source, run.workers, scanned, assigned)
        write_page(page, report_files.stage(wanted["--report"]))
