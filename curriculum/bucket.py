"""Pipeline 1: scan the scores of every rollout, cut them into buckets, copy the lines.

Input lines are copied byte for byte, in input order, each to exactly one place, and nothing is
written before all input has been read and checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from curriculum.arrays import PlaceArray
from curriculum.bucket_errors import mend_lines, nothing_scored
from curriculum.bucket_record import Written, output_files, record_bucketing
from curriculum.bucket_report import BucketRun, report_bucketing, score_files, stage_named
from curriculum.bucket_summary import BucketingReport
from curriculum.copying import Lines, copied_bytes
from curriculum.cut import cut
from curriculum.dump_find import Dump, find_dump
from curriculum.errors import InputError
from curriculum.formats import OWN
from curriculum.inputs import InputFile, check_unchanged, cut_shards, find_files
from curriculum.line_files import Copier, LineFile
from curriculum.manifests import (
    MALFORMED_FILE,
    REASONS_FILE,
    UNSCORED_FILE,
    BucketingManifest,
    PreprocessingManifest,
    load_manifest,
)
from curriculum.named_files import NamedFiles, check_named
from curriculum.options import DEFAULT_SCORE_FIELD, BucketOptions
from curriculum.outputs import Outputs, check_targets, check_writable, signals_later
from curriculum.progress import Progress
from curriculum.rejected import ProblemReport, RejectedLines, reason_lines
from curriculum.scan import (
    MALFORMED,
    NO_SCORE,
    SCORED,
    UNDEFINED,
    Scanned,
    ScanTask,
    scan_shard,
)
from curriculum.stores import AnyPath, any_in_store, to_path
from curriculum.workers import Workers


def bucket_rollouts(options: BucketOptions, show_progress: bool = False) -> BucketingReport:
    """Run the whole pipeline; the files are in place when it returns.

    Raises InputError, with nothing written, for malformed lines, for input without a scored
    rollout, and for an output directory that cannot be used; and with the buckets written, where
    the score table or the picture cannot be put in its place after them.
    """
    files = find_files(options.inputs)
    output = to_path(options.output_dir)
    check_writable(output)
    for flag, name in options.named_files.items():
        check_named(flag, to_path(name), output)
    score_field = options.score_field or DEFAULT_SCORE_FIELD
    dump = find_dump(files, options.dump_flags, score_field)
    passes = (4 if dump else 2) - options.dry_run
    fork = not any_in_store([*options.inputs, options.output_dir])
    engine = Workers(options.workers, options.engine, options.ray_address, fork)
    with (
        Progress(passes * sum(file.size for file in files), show_progress) as progress,
        Outputs(output, options.sync) as outputs,
        NamedFiles() as named,
        engine as workers,  # ended before what they stage is removed
    ):
        previous = load_manifest(output, BucketingManifest)
        old = previous.files() if previous else []
        _check_outputs(options, files, old)
        run = BucketRun(options, files, outputs, workers, progress, score_field)
        if dump:
            run = _gather(run, dump)
        scanned, kinds = _scan(run)
        found = cut(options, scanned)
        bucket_files = (_measure if options.dry_run else _copy)(run, scanned, found.buckets)
        check_unchanged(files)
        written = Written(found.facts, bucket_files, outputs.rejected, run.gathered)
        manifest = record_bucketing(options, files, scanned, written)
        report = report_bucketing(run, scanned, found, manifest, kinds)
        stage_named(run, scanned, found, report, named)
        with signals_later():  # all of it, or none
            if not options.dry_run:
                outputs.commit(manifest, old)
            named.put_in_place(
                "no bucket was written" if options.dry_run else "the buckets are new and in place"
            )
    return report


def _check_outputs(options: BucketOptions, files: Sequence[InputFile], old: Sequence[str]) -> None:
    """Refuse to write over the input, next to it, or over files that are not the toolkit's."""
    output = to_path(options.output_dir)
    if output.resolve() in {to_path(given).resolve() for given in options.inputs}:
        raise InputError(
            "the output directory is an input directory, so the next run would read these "
            "buckets as rollouts",
            where=options.output_dir,
            expected="another directory",
            fix="choose another -o",
        )
    read = {to_path(file.path).resolve() for file in files}
    for name in (*output_files(options), *old):
        if (output / name).resolve() in read:
            raise InputError(
                "this input file would be replaced by the output",
                where=str(output / name),
                expected="an output directory without input files",
                fix="choose another -o",
            )
    check_targets(output, output_files(options), old, PreprocessingManifest.file_name)


def _gather(run: BucketRun, dump: Dump) -> BucketRun:
    """Before the first pass: put the rollouts of a dump together. Raises InputError for malformed
    lines that are not to be set aside."""
    from curriculum.dumps import Gatherer  # it needs pyarrow, which takes long to load

    gatherer = Gatherer(
        dump, run.outputs, run.workers, run.progress, run.options.on_malformed != "stop"
    )
    gathered = gatherer.run(run.rollouts)
    if run.options.on_malformed == "stop":
        gathered.problems.stop_if_any(mend_lines(gathered.problems), dump.form.one_a_line)
    if dump.form.name != OWN:
        run = replace(run, score_field=DEFAULT_SCORE_FIELD)
    return replace(run, rollouts=gathered.files, gathered=gathered)


def _scan(run: BucketRun) -> tuple[Scanned, Counter[str]]:
    """First pass; malformed lines by kind. Raises InputError for malformed lines that are not to
    be set aside, and where no rollout is scored."""
    run.progress.step("scan")
    options, problems = run.options, ProblemReport()
    scanned = Scanned(list(cut_shards(run.rollouts)))
    tasks = _scan_tasks(run, scanned)
    for task, scan in run.workers.map(scan_shard, tasks):
        problems.add(task.shard.file.path, len(scan.kinds), scan.problems)
        scanned.add(scan)
        run.progress.add(task.shard.stop - task.shard.start)
    if options.on_malformed == "stop":
        problems.stop_if_any(mend_lines(problems))
    if not scanned.count(SCORED):
        raise nothing_scored(options, scanned, run.gathered)
    return scanned, run.gathered.problems.kinds if run.gathered else problems.kinds


def _scan_tasks(run: BucketRun, scanned: Scanned) -> Iterator[ScanTask]:
    """A task per shard, with how much of it may still be in the sample."""
    options = run.options
    reasons, scores = _reason_files(run, scanned), score_files(run, scanned)
    numbers = {file.path: number for number, file in enumerate(run.rollouts)}
    for shard, own_reasons, own_scores in zip(scanned.shards, reasons, scores, strict=True):
        yield ScanTask(
            shard=shard,
            score_field=run.score_field,
            metric=options.chosen_metric,
            parameters=options.parameters,
            hash_lines=options.ties == "split",
            reasons=own_reasons,
            scores=own_scores,
            every_metric=options.compare_metrics,
            bound=scanned.sample.bound,
            file=numbers[shard.file.path],
        )


def _reason_files(run: BucketRun, scanned: Scanned) -> list[AnyPath | None]:
    """Per shard, where the reasons of malformed lines are kept that are to be set aside."""
    if run.options.on_malformed == "stop":
        return [None] * len(scanned.shards)
    scratch = run.outputs.scratch_directory()
    return [scratch / f"reasons-{number:06}" for number in range(len(scanned.shards))]


def _measure(run: BucketRun, scanned: Scanned, buckets: Sequence[PlaceArray]) -> list[LineFile]:
    """Instead of the second pass: how large the bucket files would be."""
    count = len(run.options.names)
    sizes = np.zeros(count, np.int64)
    for lines in _destinations(scanned, buckets, {}):
        sizes += copied_bytes(lines, count)
    return [LineFile(size, 0) for size in sizes.tolist()]


def _copy(run: BucketRun, scanned: Scanned, buckets: Sequence[PlaceArray]) -> list[LineFile]:
    """Second pass: write the bucket files and the rejected lines; what became of each bucket."""
    run.progress.step("copy")
    names = output_files(run.options)
    rejected = {
        UNSCORED_FILE: scanned.count(NO_SCORE) + scanned.count(UNDEFINED),
        MALFORMED_FILE: scanned.count(MALFORMED),
    }
    destinations = {name: i for i, name in enumerate((*names, *+Counter(rejected)))}
    places = {
        NO_SCORE: destinations.get(UNSCORED_FILE, -1),
        UNDEFINED: destinations.get(UNSCORED_FILE, -1),
        MALFORMED: destinations.get(MALFORMED_FILE, -1),
    }
    copier = Copier(run.outputs, run.workers)
    written = copier.copy(
        list(destinations),
        _destinations(scanned, buckets, places),
        lambda shard: run.progress.add(shard.stop - shard.start),
    )
    if run.gathered and run.gathered.malformed:
        copier.copy([MALFORMED_FILE], run.gathered.malformed_lines())
    if any(rejected.values()) or (run.gathered and run.gathered.malformed):
        _write_reasons(run, scanned)
    return written[: len(names)]


def _destinations(
    scanned: Scanned, buckets: Sequence[PlaceArray], places: Mapping[int, int]
) -> Iterator[Lines]:
    """Per shard, its lines' lengths and where they go: to their bucket, or as `places` has it for
    their kind."""
    for shard, scan, bucket in zip(scanned.shards, scanned.scans, buckets, strict=True):
        where = np.full(len(scan.kinds), -1, dtype=np.int32)
        for kind, place in places.items():
            where[scan.kinds == kind] = place
        where[scan.kinds >= SCORED] = bucket
        yield shard, scan.lengths, where


def _write_reasons(run: BucketRun, scanned: Scanned) -> None:
    reasons = {
        NO_SCORE: "unscored: no score is present",
        UNDEFINED: f"unscored: {run.options.chosen_metric.name} is undefined for its scores",
    }
    if run.gathered:
        kinds = np.concatenate([np.zeros(0, np.uint8), *(scan.kinds for scan in scanned.scans)])
        written = run.gathered.reason_lines(kinds, reasons)
    else:
        lines = (
            RejectedLines(shard, scan.lengths, scan.kinds, own)
            for shard, scan, own in zip(
                scanned.shards, scanned.scans, _reason_files(run, scanned), strict=True
            )
        )
        written = reason_lines(lines, MALFORMED, reasons)
    with run.outputs.stage(REASONS_FILE).open("wb") as stream:
        stream.writelines(written)
