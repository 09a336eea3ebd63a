"""A bucketing run → its manifest: what it read, did and wrote, in counts that add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from curriculum.bucket_summary import BucketFacts
from curriculum.errors import InternalError
from curriculum.inputs import InputFile
from curriculum.manifests import (
    BucketingManifest,
    BucketRecord,
    CountRecord,
    InputRecord,
    MethodRecord,
    MetricRecord,
    printable,
)
from curriculum.options import BucketOptions
from curriculum.scan import BLANK, MALFORMED, Scanned
from curriculum.version import __version__


@dataclass(frozen=True)
class Written:
    """What a run wrote: by bucket its facts and the size of its file in bytes; and the files of
    rejected lines."""

    facts: Sequence[BucketFacts]
    sizes: Sequence[int]
    rejected: tuple[str, ...]


def output_files(options: BucketOptions) -> list[str]:
    """The bucket files, easiest first."""
    return [f"{name}.jsonl" for name in options.names]


def record_bucketing(
    options: BucketOptions, files: Sequence[InputFile], scanned: Scanned, written: Written
) -> BucketingManifest:
    """The manifest of a run. Raises InternalError if a line got lost."""
    lines = scanned.by_file(lambda scan: len(scan.kinds))
    inputs = [InputRecord(printable(file.path), file.size, lines[file.path]) for file in files]
    counts = CountRecord(
        read=sum(record.lines for record in inputs) - scanned.count(BLANK),
        bucketed=sum(fact.count for fact in written.facts),
        unscored=sum(scan.unscored for scan in scanned.scans),
        malformed=scanned.count(MALFORMED),
        blank=scanned.count(BLANK),
    )
    if counts.read != counts.bucketed + counts.unscored + counts.malformed:
        raise InternalError(f"the counts do not add up: {counts}")
    buckets = zip(options.names, output_files(options), written.facts, written.sizes, strict=True)
    records = (
        BucketRecord(name, i, file, fact.count, size, fact.lowest, fact.highest)
        for i, (name, file, fact, size) in enumerate(buckets)
    )
    return BucketingManifest(
        __version__,
        _metric_record(options),
        _method_record(options),
        tuple(inputs),
        counts,
        tuple(records),
        written.rejected,
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
