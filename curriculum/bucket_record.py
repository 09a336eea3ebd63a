"""A bucketing run → its manifest: what it read, did and wrote, in counts that add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from curriculum.bucket_summary import BucketFacts
from curriculum.errors import InternalError
from curriculum.formats import OWN
from curriculum.inputs import InputFile
from curriculum.line_files import LineFile
from curriculum.manifests import (
    BucketingManifest,
    BucketRecord,
    CountRecord,
    InputRecord,
    MethodRecord,
    MetricRecord,
    printable,
)
from curriculum.options import DEFAULT_SCORE_FIELD, BucketOptions
from curriculum.scan import BLANK, MALFORMED, Scanned
from curriculum.version import __version__

if TYPE_CHECKING:
    from curriculum.dumps import Gathered


@dataclass(frozen=True)
class Written:
    """What a run wrote: by bucket its facts and its file; the files of
    rejected lines; and the dump that its rollouts were gathered from, if they were."""

    facts: Sequence[BucketFacts]
    bucket_files: Sequence[LineFile]
    rejected: tuple[str, ...]
    gathered: Gathered | None


def output_files(options: BucketOptions) -> list[str]:
    """The bucket files, easiest first."""
    return [f"{name}.jsonl" for name in options.names]


def record_bucketing(
    options: BucketOptions, files: Sequence[InputFile], scanned: Scanned, written: Written
) -> BucketingManifest:
    """The manifest of a run. Raises InternalError if a line got lost."""
    lines = scanned.by_file(lambda scan: len(scan.kinds))
    malformed, blank = scanned.count(MALFORMED), scanned.count(BLANK)
    read = lines.total() - blank
    if gathered := written.gathered:
        lines, malformed, blank = gathered.by_file(), gathered.malformed, gathered.blank
        read += malformed
    inputs = [InputRecord(printable(file.path), file.size, lines[file.path]) for file in files]
    counts = CountRecord(
        read=read,
        bucketed=sum(fact.count for fact in written.facts),
        unscored=sum(scan.unscored for scan in scanned.scans),
        malformed=malformed,
        blank=blank,
    )
    if counts.read != counts.bucketed + counts.unscored + counts.malformed:
        raise InternalError(f"the counts do not add up: {counts}")
    placed = zip(output_files(options), written.bucket_files, strict=True)
    buckets = zip(options.names, placed, written.facts, strict=True)
    records = (
        BucketRecord(name, i, file, fact.count, of.bytes, fact.lowest, fact.highest, parts=of.parts)
        for i, (name, (file, of), fact) in enumerate(buckets)
    )
    return BucketingManifest(
        __version__,
        _metric_record(options, gathered),
        _method_record(options),
        tuple(inputs),
        counts,
        tuple(records),
        written.rejected,
        gathered.record() if gathered else None,
    )


def _metric_record(options: BucketOptions, gathered: Gathered | None) -> MetricRecord:
    metric, field = options.chosen_metric, options.score_field
    if gathered and gathered.dump.form.name != OWN:
        field = None  # rollouts put together have our own
    return MetricRecord(
        metric.name,
        metric.higher_is_easier,
        field or DEFAULT_SCORE_FIELD,
        options.k,
        float(options.pass_threshold),
    )


def _method_record(options: BucketOptions) -> MethodRecord:
    name = "percentiles" if options.thresholds is None else "thresholds"
    return MethodRecord(
        name,
        options.cut_into,
        ties=options.ties if options.thresholds is None else None,
        thresholds=None if options.thresholds is None else tuple(map(float, options.thresholds)),
        solved_unsolved=options.solved_unsolved,
    )
