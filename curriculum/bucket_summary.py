"""What the user reads of a bucketing run: its facts → summary and warnings, in plain words.

Summaries go to stdout, warnings to stderr; a warning says what was found and what to do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from curriculum.arrays import FloatArray
from curriculum.bucketers import difficulty
from curriculum.compare import Likeness
from curriculum.dump_find import Dump
from curriculum.dump_summary import dump_lines, dump_warnings
from curriculum.histogram import Bar, Bins, bars_of, histogram_lines
from curriculum.manifests import UNSCORED_FILE, BucketingManifest, BucketRecord, part_pattern
from curriculum.plot import Picture
from curriculum.rejected import set_aside
from curriculum.stores import to_path
from curriculum.text import number, plural, share, size, table
from curriculum.trust import Cuts, Trust

# A bucket is lopsided when its share is off its equal part by more than this factor.
LOPSIDED = 1.5


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
            f"{plural(counts.bucketed, 'rollout')} in {len(manifest.buckets)} buckets "
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
        return f"With {each} nothing says how many rollouts truly belong in another bucket."
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
    buckets = [
        (f"{bucket.name}: {bucket.count:,} ({share(bucket.count, counts.bucketed)})", facts.bars)
        for bucket, facts in zip(report.manifest.buckets, report.facts, strict=True)
    ]
    trust = trust_line(report.trust) if report.trust else ""
    return Picture(
        title=f"{plural(counts.bucketed, 'rollout')} by {label}",
        subtitle=trust,
        label=f"{label} ({direction})",
        buckets=buckets,
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


def bucketing_warnings(report: BucketingReport) -> list[str]:
    """What a person should know before using the buckets, each with a remedy."""
    warnings = dump_warnings(report.dump, report.manifest) if report.dump else []
    warnings += [*report.warnings, *_score_warnings(report), *_size_warnings(report)]
    apart = report.manifest.method.solved_unsolved
    first, last = report.facts[0], report.facts[-1]
    first_name, last_name = report.manifest.buckets[0].name, report.manifest.buckets[-1].name
    if report.manifest.metric.name == "variance":
        without = (
            "a prompt that is hardly ever solved has as little as one that nearly always is"
            if apart
            else "a prompt that nobody solves has none; "
            f"{first.without_pass:,} of the {plural(first.count, 'rollout')} in {first_name} "
            "are without a pass"
        )
        warnings.append(
            f"variance is not an order of difficulty: {without}. For easy to hard, use mean_reward "
            "or pass_at_k."
        )
    elif last.count and last.without_pass == last.count and not apart:
        empties = ["passing_only"]
        if last.all_equal == last.count:
            empties.append("informative_only")
        warnings.append(
            f"{last_name} holds only prompts that nobody solved: --filter {' and '.join(empties)} "
            "will leave it empty. Use fewer buckets, or sample more responses for these prompts."
        )
    return warnings


def _score_warnings(report: BucketingReport) -> list[str]:
    warnings = []
    if report.missing_scores:
        missing = sum(report.missing_scores.values())
        warnings.append(
            f"{missing:,} of {plural(report.responses, 'score')} missing "
            f"(null, NaN, infinite or absent) and left out of the metric: "
            f"{_by_file(report.missing_scores)}. A failed grader is not a wrong answer; "
            "grade these responses again if they are many."
        )
    if report.unscored:
        counts = report.manifest.counts
        rollouts = counts.read - (counts.malformed if report.dump else 0)
        warnings.append(
            f"{counts.unscored:,} of {plural(rollouts, 'rollout')} unscored and in no bucket: "
            f"{_by_file(report.unscored)}. They are in "
            f"{to_path(report.output_dir) / UNSCORED_FILE}, the reasons beside "
            "them."
        )
    if report.malformed:
        warnings.append(
            set_aside(report.malformed_kinds, report.output_dir)
            + f" By file: {_by_file(report.malformed)}."
        )
    return warnings


def _by_file(counts: dict[str, int]) -> str:
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{path} {count:,}" for path, count in ranked[:5])
    rest = sum(count for _, count in ranked[5:])
    return shown + (f", {len(ranked) - 5} more files {rest:,}" if rest else "")


def _size_warnings(report: BucketingReport) -> list[str]:
    manifest, inner = report.manifest, _inner(report)
    empty = [bucket for bucket in manifest.buckets[inner] if not bucket.count]
    if manifest.method.thresholds is not None:
        return [_empty_by_thresholds(report, bucket) for bucket in empty]
    if empty:
        return [_empty(report, [bucket.name for bucket in empty])]
    return _lopsided(report) if manifest.method.ties == "together" else []


def _inner(report: BucketingReport) -> slice:
    """Which buckets were cut, solved and unsolved being none of them."""
    return slice(1, -1) if report.manifest.method.solved_unsolved else slice(None)


def _empty(report: BucketingReport, names: Sequence[str]) -> str:
    facts = report.facts[_inner(report)]
    parts, total = len(facts), sum(fact.count for fact in facts)
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")
    are = f"{shown} {'is' if len(names) == 1 else 'are'} empty"
    if not total:
        return f"{are}: every rollout is in solved or unsolved. Leave out --solved-unsolved."
    if total < parts:
        return f"{are}: only {plural(total, 'rollout')} for {parts:,} buckets. Use -n {total}."
    return (
        f"{are}: only {plural(report.distinct, 'distinct value')} of {metric_label(report)} for "
        f"{parts:,} buckets. Use -n {report.distinct}, a metric with more values, more responses "
        "per prompt, or --ties split."
    )


def _lopsided(report: BucketingReport) -> list[str]:
    """A warning where parts are unequal and a tie is large enough to be the cause."""
    facts = report.facts[_inner(report)]
    parts, total = len(facts), sum(fact.count for fact in facts)
    tied = max(facts, key=lambda fact: fact.commonest_count)
    if tied.commonest_count < 2 or 2 * parts * tied.commonest_count < total:
        return []
    shares = [
        f"{bucket.name} {share(bucket.count, total)}"
        for bucket in report.manifest.buckets[_inner(report)]
        if not 1 / LOPSIDED <= bucket.count * parts / total <= LOPSIDED
    ]
    if not shares:
        return []
    of = "of the rollouts between solved and unsolved" if len(facts) < len(report.facts) else ""
    return [
        f"{', '.join(shares)} {of or 'of the rollouts'} instead of {100 / parts:.1f}%: rollouts "
        f"with one value stay together, and {tied.commonest_count:,} have {metric_label(report)} "
        f"{number(tied.commonest)}. For equal parts use --ties split; for fewer ties, more "
        "responses per prompt."
    ]


def _empty_by_thresholds(report: BucketingReport, bucket: BucketRecord) -> str:
    held = [facts for facts in report.facts[_inner(report)] if facts.count]
    low = min(facts.lowest for facts in held if facts.lowest is not None)
    high = max(facts.highest for facts in held if facts.highest is not None)
    return (
        f"{bucket.name} is empty: {metric_label(report)} runs from {number(low)} to "
        f"{number(high)} and no rollout lies between these thresholds. Move --thresholds, or "
        "use -n for equal parts."
    )
