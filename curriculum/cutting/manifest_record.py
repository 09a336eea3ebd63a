"""A bucketing run → its manifest: what it read, did and wrote, in counts that add up."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from curriculum.bucketing.rollout_source import RolloutSource
from curriculum.choosing.choose import Step
from curriculum.cutting.assign_buckets import BucketFacts
from curriculum.errors import InternalError
from curriculum.options import BucketOptions
from curriculum.output.copy_lines import LineFile
from curriculum.output.manifests import (
    BucketingManifest,
    BucketRecord,
    CountRecord,
    InputRecord,
    MethodRecord,
    MetricRecord,
    StepRecord,
)
from curriculum.reading.input_files import InputFile
from curriculum.reading.ledger import BLANK, DROPPED, NO_SCORE, UNDEFINED
from curriculum.storage.paths import printable
from curriculum.version import __version__


def record_bucketing(
    options: BucketOptions,
    files: Sequence[InputFile],
    source: RolloutSource,
    facts: Sequence[BucketFacts],
    bucket_files: Sequence[LineFile],
    rejected: tuple[str, ...],
    steps: Sequence[Step],
) -> BucketingManifest:
    """The manifest of a run that read `files` and wrote `bucket_files`, one per entry of `facts`,
    and `rejected`; `steps` say which rollouts were dropped. Raises InternalError if the counts do
    not add up."""
    lines, malformed = source.input_ledger.by_file(), source.input_ledger.malformed
    inputs = [InputRecord(printable(file.name), file.size, lines[file.name]) for file in files]
    counts = CountRecord(
        read=source.rollout_ledger.well_formed + malformed,
        bucketed=sum(fact.count for fact in facts),
        unscored=source.rollout_ledger.count(NO_SCORE, UNDEFINED),
        malformed=malformed,
        blank=source.input_ledger.count(BLANK),
        dropped=source.rollout_ledger.count(DROPPED) if steps else msgspec.UNSET,
    )
    dropped = sum(step.dropped for step in steps)
    if counts.read != counts.bucketed + dropped + counts.unscored + counts.malformed:
        raise InternalError(f"the counts do not add up: {counts}")
    written = zip(options.bucket_files, bucket_files, strict=True)
    buckets = zip(options.names, written, facts, strict=True)
    records = (
        BucketRecord(name, i, file, fact.count, of.bytes, fact.lowest, fact.highest, parts=of.parts)
        for i, (name, (file, of), fact) in enumerate(buckets)
    )
    return BucketingManifest(
        __version__,
        _metric_record(options, source.score_field),
        _method_record(options),
        tuple(inputs),
        counts,
        tuple(records),
        rejected,
        source.dump_record,
        tuple(StepRecord(step.rule, step.before, step.dropped, step.after) for step in steps),
    )


def _metric_record(options: BucketOptions, score_field: str) -> MetricRecord:
    metric, parameters = options.chosen_metric, options.parameters
    return MetricRecord(
        metric.name,
        metric.higher_is_easier,
        score_field,
        parameters.k,
        parameters.pass_threshold,
        msgspec.UNSET if options.value_field is None else True,
    )


def _method_record(options: BucketOptions) -> MethodRecord:
    name = "percentiles" if options.thresholds is None else "thresholds"
    return MethodRecord(
        name,
        options.cut_into,
        ties=options.ties if options.thresholds is None else None,
        thresholds=None if options.thresholds is None else tuple(map(float, options.thresholds)),
        solved_unsolved=options.solved_unsolved,
        within=msgspec.UNSET if options.within is None else options.within,
        cut_like=msgspec.UNSET if options.cut_like is None else options.cut_like,
    )
