"""The report of a bucketing run → the summary on stdout, and the data of the picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from curriculum.bucketers import difficulty
from curriculum.bucketing.assign_buckets import BucketFacts
from curriculum.dumps.detect import Dump
from curriculum.dumps.formats import OWN
from curriculum.errors import plural
from curriculum.output.manifests import BucketingManifest, BucketRecord, part_pattern
from curriculum.reports.histogram import Picture, histogram_lines, shorten
from curriculum.reports.text import number, share, size, table
from curriculum.statistics.bins import Bins
from curriculum.statistics.metric_agreement import MetricAgreement
from curriculum.statistics.uncertainty import Cuts, Uncertainty
from curriculum.storage.paths import AnyPath


@dataclass(frozen=True)
class BucketingReport:
    """A bucketing run: its manifest and what else a person wants to know about it.

    `distinct` counts the metric's distinct values outside `solved` and `unsolved`; `responses`
    counts all reward entries. `missing_scores`, `unscored` and `malformed` map file paths to
    counts, without files that have none. With `dry_run` no bucket was written.
    """

    manifest: BucketingManifest
    output_dir: str
    output: AnyPath
    facts: Sequence[BucketFacts]
    distinct: int
    responses: int
    bins: Bins
    cuts: Cuts
    uncertainty: Uncertainty | None = None
    comparison: Sequence[MetricAgreement] | None = None
    dry_run: bool = False
    missing_scores: dict[str, int] = field(default_factory=dict)
    unscored: dict[str, int] = field(default_factory=dict)
    malformed: dict[str, int] = field(default_factory=dict)
    malformed_kinds: Counter[str] = field(default_factory=Counter)
    dump: Dump | None = None
    warnings: Sequence[str] = ()


def bucketing_summary(report: BucketingReport) -> str:
    """The summary of a bucketing run, for stdout."""
    manifest, counts = report.manifest, report.manifest.counts
    metric = manifest.metric
    label = metric_label(report)
    direction = "higher is easier" if metric.higher_is_easier else "higher is harder"
    rows = [["bucket", "file", "rollouts", "share", label, "mean score"]]
    for bucket, facts in zip(manifest.buckets, report.facts, strict=True):
        path = str(report.output / _shown(bucket))
        spread = "empty" if facts.count == 0 else _range(facts)
        row = [bucket.name, path, f"{facts.count:,}", share(facts.count, counts.bucketed)]
        rows.append([*row, spread, number(facts.mean_score)])
    method = _method(report)
    return "\n".join(
        [
            *(["Dry run: no bucket was written.", ""] if report.dry_run else []),
            f"{plural(counts.bucketed, 'rollout')} in {plural(len(manifest.buckets), 'bucket')} "
            f"by {label} ({direction}), {method}:",
            "",
            *table(rows, left=2),
            "",
            *_histogram(report),
            "",
            *_comparison(report),
            *_read_lines(report),
        ]
    )


def _histogram(report: BucketingReport) -> list[str]:
    """The distribution of the metric with its cuts, and how far to trust the buckets."""
    names = [bucket.name for bucket in report.manifest.buckets]
    easier = report.manifest.metric.higher_is_easier
    cuts = [_cut_words(report, i) for i in range(1, len(names))]
    lines = histogram_lines(names, [facts.bars for facts in report.facts], cuts, easier)
    trust = uncertainty_line(report.uncertainty) if report.uncertainty else None
    return lines if trust is None else [*lines, "", trust]


def _cut_words(report: BucketingReport, harder: int) -> str:
    """What separates a bucket from the next easier one."""
    method, last = report.manifest.method, len(report.facts) - 1
    if method.solved_unsolved and harder in (1, last):
        return "above: every response passes" if harder == 1 else "below: no response passes"
    if method.thresholds is not None:
        inner = harder - bool(method.solved_unsolved)
        ascending = report.manifest.metric.higher_is_easier
        return f"cut at {method.thresholds[-inner if ascending else inner - 1]:g}"
    return "cut"


def uncertainty_line(trust: Uncertainty) -> str:
    """How far the buckets can be trusted, in one line."""
    low, high = trust.responses
    each = plural(low, "response") + " each" if low == high else f"{low:,} to {high:,} responses"
    if trust.share is None:
        return f"With {each}, nothing says how many rollouts truly belong in another bucket."
    return (
        f"With {each}, expect {100 * trust.share:.0f}% of rollouts to truly belong in another "
        f"bucket ({trust.posterior})."
    )


def _shown(bucket: BucketRecord) -> str:
    return part_pattern(bucket.file, bucket.parts) if bucket.parts else bucket.file


def _comparison(report: BucketingReport) -> list[str]:
    """How far each pair of metrics agrees, if requested."""
    if report.comparison is None:
        return []
    label = {"pass_at_k": f"pass@{report.manifest.metric.k}"}
    rows = [["metric", "other metric", "rollouts", "rank correlation", "same bucket"]]
    for pair in report.comparison:
        alike = "-" if pair.correlation is None else f"{pair.correlation:.3f}"
        same = "-" if pair.same_bucket is None else f"{100 * pair.same_bucket:.1f}%"
        names = [label.get(name, name) for name in (pair.one, pair.other)]
        rows.append([*names, f"{pair.rollouts:,}", alike, same])
    parts = report.manifest.method.num_buckets
    return [
        f"Metrics compared, each cutting all rollouts into {parts:,} parts:",
        "",
        *table(rows, left=2),
        "",
    ]


def picture(report: BucketingReport) -> Picture:
    """The histogram, ready to be drawn."""
    counts, metric = report.manifest.counts, report.manifest.metric
    label = metric_label(report)
    direction = "higher is easier" if metric.higher_is_easier else "higher is harder"
    shares = (
        f"{shorten(bucket.name)}: {bucket.count:,} ({share(bucket.count, counts.bucketed)})"
        for bucket in report.manifest.buckets
    )
    bars = (facts.bars for facts in report.facts)
    trust = uncertainty_line(report.uncertainty) if report.uncertainty else ""
    return Picture(
        title=f"{plural(counts.bucketed, 'rollout')} by {label}",
        subtitle=trust,
        label=f"{label} ({direction})",
        buckets=list(zip(shares, bars, strict=True)),
        bins=report.bins,
        cuts=difficulty(report.cuts.edges, metric.higher_is_easier),
    )


def _read_lines(report: BucketingReport) -> list[str]:
    """What was read and, for a dump, how it was grouped into rollouts."""
    manifest, counts = report.manifest, report.manifest.counts
    if report.dump:
        return dump_lines(report.dump, manifest)
    read, files = sum(record.bytes for record in manifest.inputs), len(manifest.inputs)
    blank = f"; {plural(counts.blank, 'blank line')} skipped" if counts.blank else ""
    return [
        f"read {plural(counts.read, 'rollout')} ({size(read)}) from {plural(files, 'file')}: "
        f"{counts.bucketed:,} bucketed, {counts.unscored:,} unscored, "
        f"{counts.malformed:,} malformed{blank}"
    ]


def metric_label(report: BucketingReport) -> str:
    """The metric's name; pass_at_k becomes pass@ and its k."""
    metric = report.manifest.metric
    return f"pass@{metric.k}" if metric.name == "pass_at_k" else metric.name


def _range(facts: BucketFacts) -> str:
    if facts.lowest == facts.highest:
        return number(facts.lowest)
    return f"{number(facts.lowest)} to {number(facts.highest)}"


def _method(report: BucketingReport) -> str:
    method = report.manifest.method
    rest = "solved and unsolved apart, the rest " if method.solved_unsolved else ""
    if method.thresholds is not None:
        return f"{rest}cut at " + ", ".join(f"{value:g}" for value in method.thresholds)
    if method.ties == "split":
        return f"{rest}in equal parts, ties split"
    return f"{rest}in parts as equal as ties allow"


def dump_lines(dump: Dump, manifest: BucketingManifest) -> list[str]:
    """What was read from a dump and how it was grouped into rollouts, for stdout."""
    counts, record = manifest.counts, manifest.dump
    if record is None:
        return []
    read, files = sum(item.bytes for item in manifest.inputs), len(manifest.inputs)
    lines = sum(item.lines for item in manifest.inputs)
    noun = "rollout" if record.format == OWN else "response"
    skipped = f", {record.skipped:,} of other steps skipped" if record.skipped else ""
    blank = f"; {plural(counts.blank, 'blank line')} skipped" if counts.blank else ""
    groups = ", ".join(
        f"by {fields}" + (f" ({count:,})" if len(record.grouped_by) > 1 else "")
        for fields, count in record.grouped_by.items()
    )
    low, high = record.lines_per_rollout
    each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    unit = ("line" if record.format == OWN else "response") + ("" if high == 1 else "s")
    rollouts = plural(counts.bucketed + counts.unscored, "rollout")
    return [
        f"read {plural(lines, 'line')} ({size(read)}) from {plural(files, 'file')} as "
        f"{dump.form.title} (--format {record.format}): {plural(record.lines, noun)}, "
        f"{counts.malformed:,} malformed{skipped}{blank}",
        f"grouped {groups} into {rollouts} of {each} {unit}, scores from {record.score}: "
        f"{counts.bucketed:,} bucketed, {counts.unscored:,} unscored",
    ]
