"""The passes of a bucketing run over all shards: group a dump, scan the scores, copy the lines.

Nothing is written before every line has been read. Then each line is copied to exactly one file, or
to none if it is blank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from curriculum.arrays import CompactIntArray
from curriculum.bucketing.refusals import check_dump, check_places, how_to_fix, nothing_scored
from curriculum.bucketing.rollout_source import RolloutDump, RolloutFiles, RolloutSource
from curriculum.bucketing.scan import Scanned, ScanTask, scan_shard
from curriculum.dumps.detect import Dump
from curriculum.dumps.formats import Holds
from curriculum.engines.progress import Progress
from curriculum.engines.workers import Workers
from curriculum.errors import InternalError
from curriculum.options import BucketOptions
from curriculum.output.copy_lines import Copier, LineFile, LinesToCopy, copied_bytes
from curriculum.output.manifests import MALFORMED_FILE, REASONS_FILE, UNSCORED_FILE
from curriculum.output.output_directory import OutputDirectory
from curriculum.output.rejected import NO_SCORE_REASON, lines_by_kind, rejected_lines
from curriculum.reading.input_files import InputFile
from curriculum.reading.ledger import CONFLICT, MALFORMED, NO_SCORE, TAKEN, UNDEFINED, Ledger
from curriculum.storage.paths import AnyPath

if TYPE_CHECKING:
    from curriculum.converting.converted_dump import ConvertedDump
    from curriculum.grouping.grouped_dump import GroupedDump


class BucketingRun(Struct, frozen=True):
    """What the passes of a run share."""

    options: BucketOptions
    output: OutputDirectory
    workers: Workers
    progress: Progress

    @property
    def set_aside(self) -> bool:
        """Whether malformed lines are set aside instead of stopping the run."""
        return self.options.on_malformed == "set-aside"


def open_source(run: BucketingRun, files: Sequence[InputFile], dump: Dump | None) -> RolloutSource:
    """The rollouts of the input; the lines of a dump become rollouts first. Raises
    InputError if a dump has malformed lines that are not to be set aside, or no response or prompt
    that is of use."""
    options = run.options
    if dump is None:
        reasons = run.output.scratch_directory() / "reasons" if run.set_aside else None
        return RolloutFiles(files, options.reward_field, reasons)
    how = (dump, run.output, run.workers, run.progress, run.set_aside)
    grouped: GroupedDump | ConvertedDump
    if dump.form.holds is Holds.RESPONSE:
        from curriculum.grouping.grouped_dump import Gatherer  # takes 30 ms, and few need it

        grouped = Gatherer(*how).run(files)
    else:
        from curriculum.converting.converted_dump import LineConversion

        grouped = LineConversion(*how).run(files)
    if not run.set_aside:
        grouped.ledger.stop_if_malformed(how_to_fix(grouped.ledger, dump), dump.form.one_a_line)
    source = RolloutDump(grouped, options.inputs)
    check_dump(options, source)
    return source


def scan_rollouts(run: BucketingRun, source: RolloutSource) -> Scanned:
    """First pass over the rollouts. Raises InputError if there are malformed lines that are not
    to be set aside, or if no rollout is scored."""
    run.progress.step("scan")
    score_rows: list[AnyPath] = []
    if run.options.scores is not None:
        scratch, count = run.output.scratch_directory(), len(source.rollout_ledger.shards)
        score_rows = [scratch / f"scores-{number:06}.arrow" for number in range(count)]
    scanned = Scanned(source.rollout_ledger, score_rows)
    for task, scan in run.workers.map(scan_shard, _scan_tasks(run, source, scanned)):
        scanned.add(scan)
        run.progress.add(task.shard.stop - task.shard.start)
    if source.dump and source.rollout_ledger.malformed:
        raise InternalError("a rollout that was put together from a dump is malformed")
    if not run.set_aside:
        source.rollout_ledger.stop_if_malformed(how_to_fix(source.rollout_ledger))
    check_places(run.options, scanned.scans)
    if not source.rollout_ledger.count(TAKEN):
        raise nothing_scored(run.options, source)
    # From here on, lines that were made are read where they are kept.
    ledger = source.rollout_ledger
    texts = zip(ledger.shards, _texts(run, ledger), strict=True)
    ledger.shards = [replace(shard, text=text) if text else shard for shard, text in texts]
    return scanned


def _texts(run: BucketingRun, ledger: Ledger) -> list[AnyPath | None]:
    """Where the lines of each shard are kept for the copy if they have to be made of records; None
    where they need not be, and in a store, from which they would have to be fetched again."""
    keep = not (run.options.dry_run or run.output.in_store)
    made = [keep and shard.file.container is not None for shard in ledger.shards]
    if not any(made):
        return [None] * len(made)
    scratch = run.output.scratch_directory()
    return [scratch / f"text-{i:06}.jsonl" if needs else None for i, needs in enumerate(made)]


def _scan_tasks(run: BucketingRun, source: RolloutSource, scanned: Scanned) -> Iterator[ScanTask]:
    """One task per shard, with the current bound of the sample."""
    options, ledger = run.options, source.rollout_ledger
    numbers = {file.path: number for number, file in enumerate(source.files)}
    score_rows: list[AnyPath | None] = [*scanned.score_rows] or [None] * len(ledger.shards)
    shards = zip(ledger.shards, ledger.reasons, score_rows, _texts(run, ledger), strict=True)
    asked = options.asked
    for shard, reasons, rows, text in shards:
        yield ScanTask(
            shard=shard,
            score_field=source.score_field,
            metric=options.chosen_metric,
            parameters=options.parameters,
            hash_lines=options.ties == "split",
            reasons=reasons,
            scores=rows,
            every_metric=options.measures_all,
            bound=scanned.sample.bound,
            file=numbers[shard.file.path],
            carried=options.value_field is not None,
            known=source.known(shard)
            if rows is None and options.ties != "split" and not asked.places
            else None,
            text=text,
            asked=asked,
            show_groups=source.dump is None,
            count_passes=options.more_responses is not None or options.compare_to is not None,
        )


def measure_buckets(
    run: BucketingRun, source: RolloutSource, buckets: Sequence[CompactIntArray]
) -> list[LineFile]:
    """How large the bucket files would be. A dry run calls this instead of the second pass."""
    count = len(run.options.names)
    sizes = np.zeros(count, np.int64)
    for lines in _lines_to_copy(source.rollout_ledger, buckets, {}):
        sizes += copied_bytes(lines, count)
    return [LineFile(size, 0) for size in sizes.tolist()]


def copy_to_buckets(
    run: BucketingRun, source: RolloutSource, buckets: Sequence[CompactIntArray]
) -> list[LineFile]:
    """Second pass: write the bucket files and the rejected lines. Returns the bucket files."""
    run.progress.step("copy")
    ledger, names = source.rollout_ledger, run.options.bucket_files
    rejected = {NO_SCORE: UNSCORED_FILE, UNDEFINED: UNSCORED_FILE, MALFORMED: MALFORMED_FILE}
    rejected = {kind: name for kind, name in rejected.items() if ledger.count(kind)}
    files = list(dict.fromkeys([*names, *rejected.values()]))
    by_kind = {kind: files.index(name) for kind, name in rejected.items()}
    copier = Copier(run.output, run.workers)
    written = copier.copy(
        files,
        _lines_to_copy(ledger, buckets, by_kind),
        lambda shard: run.progress.add(shard.stop - shard.start),
    )
    malformed = source.input_ledger.malformed
    if source.dump and malformed:
        lines = rejected_lines(source.input_ledger, {MALFORMED: 0, CONFLICT: 0})
        copier.copy([MALFORMED_FILE], lines)
    if malformed or ledger.count(NO_SCORE, UNDEFINED):
        _write_reasons(run, source)
    return written[: len(names)]


def _lines_to_copy(
    ledger: Ledger, buckets: Sequence[CompactIntArray], by_kind: Mapping[int, int]
) -> Iterator[LinesToCopy]:
    """Each shard with the lengths of its lines and the number of the file that each line goes to:
    the file of its bucket or of its kind, or -1 for none."""
    shards = zip(lines_by_kind(ledger, by_kind), ledger.shard_lines, buckets, strict=True)
    for to_copy, lines, bucket in shards:
        _, _, files = to_copy
        files[lines.kinds >= TAKEN] = bucket
        yield to_copy


def _write_reasons(run: BucketingRun, source: RolloutSource) -> None:
    reasons = {
        NO_SCORE: NO_SCORE_REASON
        if run.options.value_field is None
        else f"unscored: there is no number in {run.options.value_field}",
        UNDEFINED: f"unscored: {run.options.chosen_metric.name} is undefined for its scores",
    }
    with run.output.stage(REASONS_FILE).open("wb") as stream:
        stream.writelines(source.reason_lines(reasons))
