"""Pipeline 1: scan the scores of every rollout, cut them into buckets, copy the lines.

Input lines are copied byte for byte, in input order, each to exactly one place, and nothing is
written before all input has been read and checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from curriculum.arrays import Array, IntArray, PlaceArray, compact_places
from curriculum.bucket_summary import BucketFacts, BucketingReport
from curriculum.bucketers import (
    cut_at,
    cut_thresholds,
    difficulty,
    percentile_edges,
    rank_cuts,
    split_at,
)
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
        buckets, distinct = _cut(options, scanned)
        with Outputs(output) as outputs:
            sizes = _copy(options, scanned, buckets, outputs, workers, progress)
            check_unchanged(files)
            facts = [_facts(scanned, buckets, i) for i in range(len(options.names))]
            manifest = _manifest(options, files, scanned, facts, sizes, outputs.rejected)
            outputs.commit(manifest, old)
    return BucketingReport(
        manifest=manifest,
        output_dir=options.output_dir,
        facts=facts,
        distinct=distinct,
        responses=sum(scan.responses for scan in scanned.scans),
        missing_scores=+Counter({
            file.path: sum(scan.missing_scores for scan in scanned.of_file(file)) for file in files
        }),
        unscored=+Counter({
            file.path: sum(scan.unscored for scan in scanned.of_file(file)) for file in files
        }),
    )  # fmt: skip


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


def _cut(options: BucketOptions, scanned: Scanned) -> tuple[list[PlaceArray], int]:
    """Per shard, the bucket of each scored rollout; and how many values the metric takes."""
    easier, parts = options.chosen_metric.higher_is_easier, len(options.names)
    ascending = difficulty(scanned.values(), easier)
    ascending.sort()
    distinct = 1 + int(np.count_nonzero(ascending[1:] != ascending[:-1]))
    values = [scan.values for scan in scanned.scans]
    if options.ties == "split":
        rank = rank_cuts(ascending, parts)
        del ascending  # the driver's memory is what a large run is short of
        hashes = [scan.hashes for scan in scanned.scans]
        return split_at(values, hashes, rank, easier), distinct
    if options.thresholds is not None:
        cut = partial(cut_thresholds, thresholds=options.thresholds, higher_is_easier=easier)
        return [compact_places(cut(part), parts) for part in values], distinct
    edges = percentile_edges(ascending, parts)
    places = (cut_at(difficulty(part, easier), edges) for part in values)
    return [compact_places(part, parts) for part in places], distinct


def _copy(
    options: BucketOptions,
    scanned: Scanned,
    buckets: Sequence[PlaceArray],
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
    for task, _ in workers.map(copy_shard, _copy_tasks(scanned, buckets, paths, sizes)):
        progress.add(task.shard.stop - task.shard.start)
    for path, size in zip(paths, sizes.tolist(), strict=True):
        if path.stat().st_size != size:
            raise InternalError(f"{path} has {path.stat().st_size:,} bytes instead of {size:,}")
    if unscored:
        _write_reasons(options, scanned, outputs.stage(REASONS_FILE))
    return sizes[: len(names)]


def _copy_tasks(
    scanned: Scanned, buckets: Sequence[PlaceArray], paths: Sequence[Path], sizes: IntArray
) -> Iterator[CopyTask]:
    """Per shard, where each line goes: the file of its bucket, the last one if it is unscored.

    Each line is followed by a newline, so where it goes is known before anything is written;
    `sizes` grow to those of the files.
    """
    for shard, scan, places in zip(scanned.shards, scanned.scans, buckets, strict=True):
        where = np.full(len(scan.kinds), -1, dtype=np.int32)
        where[(scan.kinds == NO_SCORE) | (scan.kinds == UNDEFINED)] = len(paths) - 1
        where[scan.kinds >= SCORED] = places
        yield CopyTask(shard, scan.lengths, where, paths, sizes.copy())
        written = where >= 0
        lengths = scan.lengths[written].astype(np.int64) + 1
        sizes += np.bincount(where[written], lengths, minlength=len(paths)).astype(np.int64)


def _write_reasons(options: BucketOptions, scanned: Scanned, path: Path) -> None:
    reasons = {
        NO_SCORE: "unscored: no score is present",
        UNDEFINED: f"unscored: {options.chosen_metric.name} is undefined for its scores",
    }
    lines = ((scan.lengths, scan.kinds) for scan in scanned.scans)
    with path.open("wb") as stream:
        stream.writelines(reason_lines(scanned.shards, lines, reasons))


def _facts(scanned: Scanned, buckets: Sequence[PlaceArray], bucket: int) -> BucketFacts:
    mine = [places == bucket for places in buckets]

    def take(parts: Iterable[Array]) -> Array:
        chosen = (part[here] for part, here in zip(parts, mine, strict=True))
        return np.concatenate(list(chosen))

    kinds = take(scan.scored for scan in scanned.scans)
    return BucketFacts.of(
        values=take(scan.values for scan in scanned.scans),
        mean_score=float(take(scan.means for scan in scanned.scans).mean()) if len(kinds) else None,
        without_pass=int((kinds & PASSED == 0).sum()),
        all_equal=int((kinds & DIFFERS == 0).sum()),
    )


def _manifest(
    options: BucketOptions,
    files: Sequence[InputFile],
    scanned: Scanned,
    facts: Sequence[BucketFacts],
    sizes: IntArray,
    rejected: tuple[str, ...],
) -> BucketingManifest:
    """What the run read, did and wrote. Raises InternalError if a rollout got lost."""
    inputs = [
        InputRecord(
            printable(file.path), file.size, sum(len(s.kinds) for s in scanned.of_file(file))
        )
        for file in files
    ]
    counts = CountRecord(
        read=sum(record.lines for record in inputs) - scanned.count(BLANK),
        bucketed=sum(fact.count for fact in facts),
        unscored=sum(scan.unscored for scan in scanned.scans),
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
    return BucketingManifest(
        __version__,
        _metric_record(options),
        _method_record(options),
        tuple(inputs),
        counts,
        tuple(records),
        rejected,
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
