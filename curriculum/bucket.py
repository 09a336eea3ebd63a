"""Pipeline 1: scan the scores of every rollout, cut them into buckets, copy the lines.

Input lines are copied byte for byte, in input order, each to exactly one place, and nothing is
written before all input has been read and checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from curriculum.arrays import IntArray
from curriculum.bucket_summary import BucketFacts, BucketingReport
from curriculum.bucketers import cut_percentiles, cut_thresholds, difficulty, split_ties
from curriculum.copying import CopyTask, copy_shard
from curriculum.errors import InputError, InternalError
from curriculum.inputs import InputFile, check_unchanged, cut_shards, find_files
from curriculum.manifests import (
    BucketingManifest,
    BucketRecord,
    CountRecord,
    InputRecord,
    MethodRecord,
    MetricRecord,
    PreprocessingManifest,
    load_manifest,
    printable,
)
from curriculum.options import BucketOptions
from curriculum.outputs import (
    REASONS_FILE,
    UNSCORED_FILE,
    Outputs,
    check_targets,
    check_writable,
)
from curriculum.progress import Progress
from curriculum.rejected import ProblemReport, reason_lines
from curriculum.scan import (
    BLANK,
    DIFFERS,
    NO_SCORE,
    PASSED,
    SCORED,
    UNDEFINED,
    Scanned,
    ScanTask,
    scan_shard,
)
from curriculum.version import __version__
from curriculum.workers import Workers


def bucket_rollouts(options: BucketOptions, show_progress: bool = False) -> BucketingReport:
    """Run the whole pipeline; the files are in place when it returns.

    Raises InputError, with nothing written, for malformed lines, for input without a scored
    rollout, and for an output directory that cannot be used.
    """
    files = find_files(options.inputs)
    output = Path(options.output_dir)
    check_writable(output)
    previous = load_manifest(output, BucketingManifest)
    old = previous.files() if previous else []
    _check_outputs(options, files, old)
    work = 2 * sum(file.size for file in files)
    with Progress(work, show_progress) as progress, Workers(options.workers) as workers:
        scanned = _scan(options, files, workers, progress)
        buckets = _cut(options, scanned)
        with Outputs(output) as outputs:
            sizes = _copy(options, scanned, buckets, outputs, workers, progress)
            check_unchanged(files)
            report = _report(options, files, scanned, buckets, sizes, outputs.rejected)
            outputs.commit(report.manifest, old)
    return report


def _output_files(options: BucketOptions) -> list[str]:
    return [f"{name}.jsonl" for name in options.names]


def _check_outputs(options: BucketOptions, files: Sequence[InputFile], old: Sequence[str]) -> None:
    """Refuse to write over the input, next to it, or over files that are not the toolkit's."""
    output = Path(options.output_dir)
    if output.resolve() in {Path(given).resolve() for given in options.inputs}:
        raise InputError(
            "the output directory is an input directory, so the next run would read these "
            "buckets as rollouts",
            where=options.output_dir,
            expected="another directory",
            fix="choose another -o",
        )
    read = {Path(file.path).resolve() for file in files}
    for name in (*_output_files(options), *old):
        if (output / name).resolve() in read:
            raise InputError(
                "this input file would be replaced by the output",
                where=str(output / name),
                expected="an output directory without input files",
                fix="choose another -o",
            )
    check_targets(output, _output_files(options), old, PreprocessingManifest.file_name)


def _scan(
    options: BucketOptions, files: Sequence[InputFile], workers: Workers, progress: Progress
) -> Scanned:
    """First pass. Raises InputError for malformed lines, and where no rollout is scored."""
    progress.step("scan")
    scanned, problems = Scanned(list(cut_shards(files)), []), ProblemReport()
    metric, by_hash = options.chosen_metric, options.ties == "split"
    tasks = [
        ScanTask(shard, options.score_field, metric, options.parameters, by_hash)
        for shard in scanned.shards
    ]
    for task, scan in workers.map(scan_shard, tasks):
        problems.add(task.shard.file.path, len(scan.kinds), scan.problems)
        scanned.scans.append(scan)
        progress.add(task.shard.stop - task.shard.start)
    problems.stop_if_any("mend or remove these lines, then run again")
    if not scanned.count(SCORED):
        raise _nothing_scored(options, scanned)
    return scanned


def _nothing_scored(options: BucketOptions, scanned: Scanned) -> InputError:
    where = ", ".join(options.inputs)
    if undefined := scanned.count(UNDEFINED):
        return InputError(
            f"{options.chosen_metric.name} is undefined for all {undefined:,} rollouts that have "
            "a score: they have too few",
            where=where,
            expected="at least k scores for pass_at_k, two for variance",
            fix="lower --k, choose another metric, or sample more responses",
        )
    if no_score := scanned.count(NO_SCORE):
        return InputError(
            f"none of the {no_score:,} rollouts has a score in reward[i].{options.score_field}",
            where=where,
            expected="numbers there",
            fix="name the right field with --score-field",
        )
    return InputError(
        "there are no rollouts in these files",
        where=where,
        expected="one rollout per line",
        fix="check what wrote them",
    )


def _cut(options: BucketOptions, scanned: Scanned) -> IntArray:
    """The bucket of each scored rollout, in input order."""
    easier = options.chosen_metric.higher_is_easier
    if options.thresholds is not None:
        return cut_thresholds(scanned.values(), options.thresholds, easier)
    harder = difficulty(scanned.values(), easier)
    if options.ties == "split":
        hashes = np.concatenate([scan.hashes for scan in scanned.scans])
        return split_ties(harder, hashes, len(options.names))
    return cut_percentiles(harder, len(options.names))


def _copy(
    options: BucketOptions,
    scanned: Scanned,
    buckets: IntArray,
    outputs: Outputs,
    workers: Workers,
    progress: Progress,
) -> IntArray:
    """Second pass: write the bucket files and the unscored rollouts; the size of each bucket
    file in bytes."""
    progress.step("copy")
    names = _output_files(options)
    unscored = scanned.count(NO_SCORE) + scanned.count(UNDEFINED)
    paths = [outputs.stage(name) for name in (*names, *([UNSCORED_FILE] if unscored else ()))]
    for path in paths:
        path.touch()
    sizes = np.zeros(len(paths), dtype=np.int64)
    tasks = []
    destinations = _destinations(scanned, buckets, unscored=len(names))
    for shard, scan, where in zip(scanned.shards, scanned.scans, destinations, strict=True):
        tasks.append(CopyTask(shard, scan.lengths, where, paths, sizes.copy()))
        written = where >= 0
        # Each line is followed by a newline, so a file's size is known before it is written.
        added = np.bincount(where[written], scan.lengths[written] + 1, minlength=len(sizes))
        sizes += added.astype(np.int64)
    for task, _ in workers.map(copy_shard, tasks):
        progress.add(task.shard.stop - task.shard.start)
    for path, size in zip(paths, sizes.tolist(), strict=True):
        if path.stat().st_size != size:
            raise InternalError(f"{path} has {path.stat().st_size:,} bytes instead of {size:,}")
    if unscored:
        _write_reasons(options, scanned, outputs.stage(REASONS_FILE))
    return sizes[: len(names)]


def _destinations(scanned: Scanned, buckets: IntArray, unscored: int) -> Iterator[IntArray]:
    """Per shard, the output file of each line: its bucket, `unscored`, or -1 for none."""
    first = 0
    for scan in scanned.scans:
        where = np.full(len(scan.kinds), -1, dtype=np.int64)
        where[(scan.kinds == NO_SCORE) | (scan.kinds == UNDEFINED)] = unscored
        where[scan.kinds >= SCORED] = buckets[first : first + len(scan.values)]
        first += len(scan.values)
        yield where


def _write_reasons(options: BucketOptions, scanned: Scanned, path: Path) -> None:
    reasons = {
        NO_SCORE: "unscored: no score is present",
        UNDEFINED: f"unscored: {options.chosen_metric.name} is undefined for its scores",
    }
    lines = ((scan.lengths, scan.kinds) for scan in scanned.scans)
    with path.open("wb") as stream:
        stream.writelines(reason_lines(scanned.shards, lines, reasons))


def _report(
    options: BucketOptions,
    files: Sequence[InputFile],
    scanned: Scanned,
    buckets: IntArray,
    sizes: IntArray,
    rejected: tuple[str, ...],
) -> BucketingReport:
    """The manifest and the facts of the run. Raises InternalError if a rollout got lost."""
    values = scanned.values()
    means = np.concatenate([scan.means for scan in scanned.scans])
    kinds = np.concatenate([scan.scored for scan in scanned.scans])
    facts = []
    for i in range(len(options.names)):
        mine = buckets == i
        passed, differs = kinds[mine] & PASSED > 0, kinds[mine] & DIFFERS > 0
        facts.append(BucketFacts.of(values[mine], means[mine], passed, differs))
    inputs, missing, unscored = [], Counter[str](), Counter[str]()
    for file in files:
        scans = scanned.of_file(file)
        lines = sum(len(scan.kinds) for scan in scans)
        inputs.append(InputRecord(printable(file.path), file.size, lines))
        missing[file.path] = sum(scan.missing_scores for scan in scans)
        unscored[file.path] = sum(scan.unscored for scan in scans)
    counts = CountRecord(
        read=sum(record.lines for record in inputs) - scanned.count(BLANK),
        bucketed=sum(fact.count for fact in facts),
        unscored=unscored.total(),
        malformed=0,
        blank=scanned.count(BLANK),
    )
    if counts.read != counts.bucketed + counts.unscored + counts.malformed:
        raise InternalError(f"the counts do not add up: {counts}")
    records = (
        BucketRecord(name, i, file, fact.count, size, fact.lowest, fact.highest)
        for i, (name, file, fact, size) in enumerate(
            zip(options.names, _output_files(options), facts, sizes.tolist(), strict=True)
        )
    )
    manifest = BucketingManifest(
        __version__,
        _metric_record(options),
        _method_record(options),
        tuple(inputs),
        counts,
        tuple(records),
        rejected,
    )
    return BucketingReport(
        manifest=manifest,
        output_dir=options.output_dir,
        facts=facts,
        distinct=len(np.unique(values)),
        responses=sum(scan.responses for scan in scanned.scans),
        missing_scores=+missing,
        unscored=+unscored,
    )


def _metric_record(options: BucketOptions) -> MetricRecord:
    metric = options.chosen_metric
    return MetricRecord(
        metric.name,
        metric.higher_is_easier,
        options.score_field,
        options.k,
        float(options.pass_threshold),
    )


def _method_record(options: BucketOptions) -> MethodRecord:
    if options.thresholds is None:
        return MethodRecord("percentiles", len(options.names), ties=options.ties)
    thresholds = tuple(float(value) for value in options.thresholds)
    return MethodRecord("thresholds", len(options.names), thresholds=thresholds)
