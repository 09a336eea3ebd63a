"""Pipeline 1: scan the scores of every rollout, cut them into buckets, copy the lines.

Input lines are copied byte for byte, in input order, each to exactly one place, and nothing is
written before all input has been read and checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from curriculum.arrays import PlaceArray
from curriculum.bucket_errors import mend_lines, nothing_scored
from curriculum.bucket_record import Written, output_files, record_bucketing
from curriculum.bucket_summary import BucketingReport, picture
from curriculum.copying import Lines, copied_bytes
from curriculum.cut import Cut, compare_metrics, cut
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
from curriculum.outputs import Outputs, check_targets, check_writable
from curriculum.plot import draw
from curriculum.progress import Progress
from curriculum.rejected import ProblemReport, RejectedLines, reason_lines
from curriculum.scan import (
    MALFORMED,
    NO_SCORE,
    SCORED,
    UNDEFINED,
    Scan,
    Scanned,
    ScanTask,
    scan_shard,
)
from curriculum.stores import AnyPath, any_in_store, to_path
from curriculum.text import plural
from curriculum.workers import Workers

if TYPE_CHECKING:
    from curriculum.dumps import Gathered


@dataclass(frozen=True)
class _Run:
    """What the steps of a run share. `rollouts` are the files to bucket: those of the input, or
    those that its dump was gathered into."""

    options: BucketOptions
    rollouts: Sequence[InputFile]
    outputs: Outputs
    workers: Workers
    progress: Progress
    score_field: str
    gathered: Gathered | None = None


def bucket_rollouts(options: BucketOptions, show_progress: bool = False) -> BucketingReport:
    """Run the whole pipeline; the files are in place when it returns.

    Raises InputError, with nothing written, for malformed lines, for input without a scored
    rollout, and for an output directory that cannot be used.
    """
    files = find_files(options.inputs)
    output = to_path(options.output_dir)
    check_writable(output)
    for flag, name in options.named_files.items():
        check_named(flag, to_path(name))
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
        run = _Run(options, files, outputs, workers, progress, score_field)
        if dump:
            run = _gather(run, dump)
        scanned, kinds = _scan(run)
        found = cut(options, scanned)
        bucket_files = (_measure if options.dry_run else _copy)(run, scanned, found.buckets)
        check_unchanged(files)
        written = Written(found.facts, bucket_files, outputs.rejected, run.gathered)
        manifest = record_bucketing(options, files, scanned, written)
        report = _report(run, scanned, found, manifest, kinds)
        _write_named(run, scanned, found, report, named)
        if not options.dry_run:
            outputs.commit(manifest, old)
        named.put_in_place()
    return report


def _report(
    run: _Run, scanned: Scanned, found: Cut, manifest: BucketingManifest, kinds: Counter[str]
) -> BucketingReport:
    options, gathered = run.options, run.gathered
    malformed = (
        gathered.malformed_by_file() if gathered else scanned.by_file(lambda scan: scan.malformed)
    )
    return BucketingReport(
        manifest=manifest,
        output_dir=options.output_dir,
        facts=found.facts,
        distinct=found.distinct,
        bins=found.bins,
        cuts=found.cuts,
        trust=found.trust,
        comparison=compare_metrics(options, scanned) if options.compare_metrics else None,
        dry_run=options.dry_run,
        responses=sum(scan.responses for scan in scanned.scans),
        missing_scores=+_by_file(run, scanned, lambda scan: scan.missing_scores),
        unscored=+_by_file(run, scanned, lambda scan: scan.unscored),
        malformed=+malformed,
        malformed_kinds=kinds,
        dump=gathered.dump if gathered else None,
        warnings=run.outputs.warnings,
    )


def _write_named(
    run: _Run, scanned: Scanned, found: Cut, report: BucketingReport, named: NamedFiles
) -> None:
    """Stage the score table and the picture, where they are asked for."""
    options = run.options
    if options.scores is not None:
        from curriculum.score_table import ScoreTable, places_of_groups, places_of_lines

        places = (
            places_of_groups(scanned, run.gathered) if run.gathered else places_of_lines(scanned)
        )
        staged = [path for path in _score_files(run, scanned) if path is not None]
        table = ScoreTable(staged, scanned, found.buckets, options.names)
        table.write(named.stage(to_path(options.scores)), places)
    if options.plot is not None:
        draw(picture(report), named.stage(to_path(options.plot)))


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


def _gather(run: _Run, dump: Dump) -> _Run:
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


def _by_file(run: _Run, scanned: Scanned, count: Callable[[Scan], int]) -> Counter[str]:
    """The sum of what `count` finds, by the file it lies in; for a dump by all of them."""
    found, inputs = scanned.by_file(count), run.options.inputs
    if not run.gathered:
        return found
    where = ", ".join(inputs) if len(inputs) <= 3 else plural(len(inputs), "path")
    return Counter({where: found.total()})


def _scan(run: _Run) -> tuple[Scanned, Counter[str]]:
    """First pass; malformed lines by kind. Raises InputError for malformed lines that are not to
    be set aside, and where no rollout is scored."""
    run.progress.step("scan")
    options, problems = run.options, ProblemReport()
    scanned = Scanned(list(cut_shards(run.rollouts)))
    metric, by_hash = options.chosen_metric, options.ties == "split"
    files = zip(
        scanned.shards, _reason_files(run, scanned), _score_files(run, scanned), strict=True
    )
    tasks = [
        ScanTask(
            shard, run.score_field, metric, options.parameters, by_hash, *paths,
            every_metric=options.compare_metrics,
        )
        for shard, *paths in files
    ]  # fmt: skip
    for task, scan in run.workers.map(scan_shard, tasks):
        problems.add(task.shard.file.path, len(scan.kinds), scan.problems)
        scanned.add(scan)
        run.progress.add(task.shard.stop - task.shard.start)
    if options.on_malformed == "stop":
        problems.stop_if_any(mend_lines(problems))
    if not scanned.count(SCORED):
        raise nothing_scored(options, scanned, run.gathered)
    return scanned, run.gathered.problems.kinds if run.gathered else problems.kinds


def _reason_files(run: _Run, scanned: Scanned) -> list[AnyPath | None]:
    """Per shard, where the reasons of malformed lines are kept that are to be set aside."""
    if run.options.on_malformed == "stop":
        return [None] * len(scanned.shards)
    scratch = run.outputs.scratch_directory()
    return [scratch / f"reasons-{number:06}" for number in range(len(scanned.shards))]


def _score_files(run: _Run, scanned: Scanned) -> list[AnyPath | None]:
    """Per shard, where the rows of the score table are kept, if it is asked for."""
    if run.options.scores is None:
        return [None] * len(scanned.shards)
    scratch = run.outputs.scratch_directory()
    return [scratch / f"scores-{number:06}.arrow" for number in range(len(scanned.shards))]


def _measure(run: _Run, scanned: Scanned, buckets: Sequence[PlaceArray]) -> list[LineFile]:
    """Instead of the second pass: how large the bucket files would be."""
    count = len(run.options.names)
    sizes = np.zeros(count, np.int64)
    for lines in _destinations(scanned, buckets, {}):
        sizes += copied_bytes(lines, count)
    return [LineFile(size, 0) for size in sizes.tolist()]


def _copy(run: _Run, scanned: Scanned, buckets: Sequence[PlaceArray]) -> list[LineFile]:
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


def _write_reasons(run: _Run, scanned: Scanned) -> None:
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
