"""What the user reads of a bucketing run: its facts → summary, in plain words, and picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from curriculum.arrays import FloatArray
from curriculum.bucketers import difficulty
from curriculum.compare import Likeness
from curriculum.dump_find import Dump
from curriculum.dump_summary import dump_lines
from curriculum.histogram import Bar, Bins, bars_of, histogram_lines, shorten
from curriculum.manifests import BucketingManifest, BucketRecord, part_pattern
from curriculum.plot import Picture
from curriculum.stores import to_path
from curriculum.text import number, plural, share, size, table
from curriculum.trust import Cuts, Trust


@dataclass(frozen=True)
class BucketFacts:
    """What a bucket holds: metric values, mean score, rollouts without a pass, with equal
    scores, its commonest value, and how its values are distributed. Numbers are None where the
    bucket is empty."""

    count: int
    lowest: float | None = None
    highest: float | None = None
    mean_score: float | None = None
    without_pass: int = 0
    all_equal: int = 0
    commonest: float | None = None
    commonest_count: int = 0
    bars: Sequence[Bar] = ()

    @property
    def range(self) -> tuple[float, float] | None:
        """The lowest and the highest value; None where the bucket is empty."""
        if self.lowest is None or self.highest is None:
            return None
        return self.lowest, self.highest

    @staticmethod
    def of(
        values: FloatArray,
        mean_score: float | None,
        without_pass: int,
        all_equal: int,
        bins: Bins,
    ) -> BucketFacts:
        """The facts of one bucket; `values`, one per rollout in it, are sorted in place."""
        if not len(values):
            return BucketFacts(0)
        values.sort()
        last_of_value = np.flatnonzero(np.append(values[1:] != values[:-1], True))
        counts = np.diff(last_of_value, prepend=-1)
        commonest = int(counts.argmax())
        return BucketFacts(
            count=len(values),
            lowest=float(values[0]),
            highest=float(values[-1]),
            mean_score=mean_score,
            without_pass=without_pass,
            all_equal=all_equal,
            commonest=float(values[last_of_value[commonest]]),
            commonest_count=int(counts[commonest]),
            bars=bars_of(values, bins),
        )


@dataclass(frozen=True)
class BucketingReport:
    """A bucketing run: its manifest and what else a person wants to know of it.

    `distinct` counts the metric's values between `solved` and `unsolved`, `responses` all reward
    entries; `missing_scores`, `unscored` and `malformed` map a file's path to its count, and leave
    out files without any. With `dry_run` no bucket was written.
    """

    manifest: BucketingManifest
    output_dir: str
    facts: Sequence[BucketFacts]
    distinct: int
    responses: int
    bins: Bins
    cuts: Cuts
    trust: Trust | None = None
    comparison: Sequence[Likeness] | None = None
    dry_run: bool = False
    missing_scores: dict[str, int] = field(default_factory=dict)
    unscored: dict[str, int] = field(default_factory=dict)
    malformed: dict[str, int] = field(default_factory=dict)
    malformed_kinds: Counter[str] = field(default_factory=Counter)
    dump: Dump | None = None
    warnings: Sequence[str] = ()


def bucketing_summary(report: BucketingReport) -> str:
    """What a bucketing run made, for stdout."""
    manifest, counts = report.manifest, report.manifest.counts
    metric = manifest.metric
    label = metric_label(report)
    direction = "higher is easier" if metric.higher_is_easier else "higher is harder"
    rows = [["bucket", "file", "rollouts", "share", label, "mean score"]]
    for bucket, facts in zip(manifest.buckets, report.facts, strict=True):
        path = str(to_path(report.output_dir) / _shown(bucket))
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
    """The distribution of the metric with the cuts in it, and how far to trust them."""
    names = [bucket.name for bucket in report.manifest.buckets]
    easier = report.manifest.metric.higher_is_easier
    cuts = [_cut_words(report, i) for i in range(1, len(names))]
    lines = histogram_lines(names, [facts.bars for facts in report.facts], cuts, easier)
    trust = trust_line(report.trust) if report.trust else None
    return lines if trust is None else [*lines, "", trust]


def _cut_words(report: BucketingReport, harder: int) -> str:
    """What parts a bucket from the one before it."""
    method, last = report.manifest.method, len(report.facts) - 1
    if method.solved_unsolved and harder in (1, last):
        return "above: every response passes" if harder == 1 else "below: no response passes"
    if method.thresholds is not None:
        inner = harder - bool(method.solved_unsolved)
        ascending = report.manifest.metric.higher_is_easier
        return f"cut at {method.thresholds[-inner if ascending else inner - 1]:g}"
    return "cut"


def trust_line(trust: Trust) -> str:
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
    """How alike the metrics are, two by two, if that is asked for."""
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
    """The histogram, to be drawn."""
    counts, metric = report.manifest.counts, report.manifest.metric
    label = metric_label(report)
    direction = "higher is easier" if metric.higher_is_easier else "higher is harder"
    shares = (
        f"{shorten(bucket.name)}: {bucket.count:,} ({share(bucket.count, counts.bucketed)})"
        for bucket in report.manifest.buckets
    )
    bars = (facts.bars for facts in report.facts)
    trust = trust_line(report.trust) if report.trust else ""
    return Picture(
        title=f"{plural(counts.bucketed, 'rollout')} by {label}",
        subtitle=trust,
        label=f"{label} ({direction})",
        buckets=list(zip(shares, bars, strict=True)),
        bins=report.bins,
        cuts=difficulty(report.cuts.edges, metric.higher_is_easier),
    )


def _read_lines(report: BucketingReport) -> list[str]:
    """What was read, and what the rollouts were put together from, if they were."""
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
    """The metric's name, with its k if that matters."""
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
