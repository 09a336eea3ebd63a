"""The report of a bucketing run → the summary on stdout, and the data of the picture."""

from __future__ import annotations

import numpy as np

from curriculum.advice.commands import command, one_line
from curriculum.bucketers import difficulty
from curriculum.bucketing.scan import DATA_SOURCE
from curriculum.cutting.assign_buckets import BucketFacts
from curriculum.cutting.report import BucketingReport
from curriculum.display.histogram import NAME_WIDTH, histogram_lines, scale_note, shorten
from curriculum.display.picture import Picture, PictureBucket
from curriculum.display.text import (
    bullets,
    number,
    page_written,
    share,
    size,
    table,
    threshold,
    wrapped,
    written_line,
)
from curriculum.dumps.detect import Dump
from curriculum.dumps.formats import OWN, Holds
from curriculum.errors import plural
from curriculum.metrics import PASS_AT_K
from curriculum.output.manifests import BucketingManifest, DumpRecord, part_pattern
from curriculum.preprocess_options import PreprocessOptions
from curriculum.reports.bucketing_changes import change_lines, like_sentence
from curriculum.reports.bucketing_warnings import decisions
from curriculum.reports.trust import comparison_lines, misplaced_sentence, trust_lines

LABEL_WIDTH = 30  # of a metric in a picture
GROUPS_SHOWN, GROUP_WIDTH = 12, 30
RULE_WIDTH = 50
DECIDE_FIRST = "Decide first"


def bucketing_summary(report: BucketingReport) -> str:
    """The summary of a bucketing run, for stdout; its lines have at most WIDTH columns."""
    return "\n".join(
        [
            *(["Dry run: no bucket was written.", ""] if report.dry_run else []),
            *wrapped(heading(report)),
            "",
            *table(bucket_rows(report, NAME_WIDTH), left=1),
            "",
            *_with_space(group_rows(report, GROUPS_SHOWN, GROUP_WIDTH)),
            *_with_space(dropped_rows(report)),
            *_histogram(report),
            "",
            *change_lines(report),
            *_comparison(report),
            *(part for line in read_lines(report) for part in wrapped(line)),
            *wrapped(_written(report)),
            *wrapped(further_sentence(report)),
            *wrapped(page_written(report.options.report)),
            *wrapped(like_sentence(report)),
            "",
            *_verdict(report),
        ]
    )


def heading(report: BucketingReport) -> str:
    """How many rollouts are in how many buckets, and by what."""
    manifest = report.manifest
    direction = "higher is easier" if manifest.metric.higher_is_easier else "higher is harder"
    return (
        f"{plural(manifest.counts.bucketed, 'rollout')} in "
        f"{plural(len(manifest.buckets), 'bucket')} by {report.metric_label} ({direction}), "
        f"{_method(report)}:"
    )


def bucket_rows(report: BucketingReport, width: int) -> list[list[str]]:
    """The buckets as a table: names of at most `width` columns, counts, and what they hold."""
    last = "mean value" if report.carried else "mean score"
    label = shorten(report.metric_label, LABEL_WIDTH)
    rows = [["bucket", "rollouts", "share", label, last]]
    for bucket, facts in zip(report.manifest.buckets, report.facts, strict=True):
        spread = "empty" if facts.count == 0 else _range(facts)
        part = share(facts.count, report.manifest.counts.bucketed)
        name = shorten(bucket.name, width)
        rows.append([name, f"{facts.count:,}", part, spread, number(facts.mean_score)])
    return rows


def group_rows(report: BucketingReport, most: int, width: int) -> list[list[str]]:
    """How many rollouts of each group are in which bucket, as a table: `most` groups by themselves,
    with names of at most `width` columns. Empty if there are not several groups."""
    within = report.options.within
    if len(report.groups) < 2 and within is None:
        return []
    names = [shorten(bucket.name) for bucket in report.manifest.buckets]
    rows = [[within or DATA_SOURCE, *names, "all"]]
    for group in report.groups[:most]:
        name = "(none)" if group.name is None else shorten(group.name, width)
        rows.append([name, *(f"{count:,}" for count in (*group.counts, sum(group.counts)))])
    if others := report.groups[most:]:
        sums = np.sum([group.counts for group in others], axis=0).tolist()
        name = f"{len(others):,} more"
        rows.append([name, *(f"{count:,}" for count in (*sums, sum(sums)))])
    return rows


def dropped_rows(report: BucketingReport) -> list[list[str]]:
    """What --keep left out, as a table; empty without it."""
    if not report.manifest.kept:
        return []
    rows = [["flag", "rollouts", "left out", "left"]]
    for step in report.manifest.kept:
        numbers = (step.before, step.dropped, step.after)
        rows.append([shorten(step.rule, RULE_WIDTH), *(f"{count:,}" for count in numbers)])
    return rows


def _with_space(rows: list[list[str]]) -> list[str]:
    """A table and a blank line; nothing for one without rows."""
    return [*table(rows, left=1), ""] if rows else []


def _written(report: BucketingReport) -> str:
    """Which files there are now, and where."""
    files = [
        part_pattern(bucket.file, bucket.parts) if bucket.parts else bucket.file
        for bucket in report.manifest.buckets
    ]
    names = [*files, report.manifest.file_name]
    return written_line(names, report.options.output_dir, report.dry_run)


def further_sentence(report: BucketingReport) -> str:
    """How many responses --more-responses asks for; empty without it."""
    (budget, path), further = report.options.more_responses or ("0", ""), report.further
    if further is None:
        return ""
    rest = int(budget) - further.total
    unused = f"; {rest:,} more would settle none" if rest else ""
    return (
        f"wrote {path}: {plural(further.prompts, 'rollout')} whose bucket "
        f"{plural(further.total, 'further response')} would settle most{unused}"
    )


def _verdict(report: BucketingReport) -> list[str]:
    """Whether the buckets can be preprocessed as they are, or what to decide first."""
    open_questions = decisions(report)
    if open_questions:
        return [f"{DECIDE_FIRST}:", *bullets(open_questions)]
    return [ready(report)]


def ready(report: BucketingReport) -> str:
    """What to do if nothing is to be decided."""
    if report.dry_run:
        return "Ready to bucket: run it again without --dry-run."
    then = PreprocessOptions(report.options.output_dir or ".", "./preprocessed")
    return f"Ready to preprocess: {one_line(command(then))}"


def _histogram(report: BucketingReport) -> list[str]:
    """The distribution of the metric with its cuts, and how far to trust the buckets."""
    names = [bucket.name for bucket in report.manifest.buckets]
    easier = report.manifest.metric.higher_is_easier
    cuts = [_cut_words(report, i) for i in range(1, len(names))]
    note = scale_note(report.bins, len(names))
    title = f"{report.metric_label} in {report.dataset}, easiest first"
    lines = [*wrapped(f"{title} ({note})" if note else title), ""]
    lines += histogram_lines(names, [facts.bars for facts in report.facts], cuts, easier)
    trust = trust_text(report)
    return [*lines, "", *wrapped(trust)] if trust else lines


def trust_text(report: BucketingReport) -> str:
    """How far to trust the buckets; empty if that is not known."""
    if report.options.within is not None:
        return _NOT_ESTIMATED
    return " ".join(trust_lines(report.uncertainty)) if report.uncertainty else ""


_NOT_ESTIMATED = (
    "How many rollouts truly belong in another bucket is not estimated with --within: each group "
    "has cuts of its own."
)


def _cut_words(report: BucketingReport, harder: int) -> str:
    """What separates a bucket from the next easier one."""
    method, last = report.manifest.method, len(report.facts) - 1
    if method.solved_unsolved and harder in (1, last):
        return "above: every response passes" if harder == 1 else "below: no response passes"
    if method.thresholds is not None:
        inner = harder - bool(method.solved_unsolved)
        ascending = report.manifest.metric.higher_is_easier
        return f"cut at {threshold(method.thresholds[-inner if ascending else inner - 1])}"
    return f"cut within each {method.within}" if method.within else "cut"


def _comparison(report: BucketingReport) -> list[str]:
    """How far each pair of metrics agrees, if requested."""
    if report.comparison is None or not report.options.compare_metrics:
        return []
    return comparison_lines(report.comparison, report.manifest.method.num_buckets, labels(report))


def labels(report: BucketingReport) -> dict[str, str]:
    """What metrics are called that are not called by their names."""
    return {PASS_AT_K: f"pass@{report.manifest.metric.k}"}


def picture(report: BucketingReport) -> Picture:
    """The histogram of a run, ready to be drawn."""
    counts, easier = report.manifest.counts, report.manifest.metric.higher_is_easier
    label = report.metric_label
    direction = "higher is easier" if easier else "higher is harder"
    regions = _regions(report)
    buckets = [
        PictureBucket(
            f"{shorten(bucket.name)}: {bucket.count:,} ({share(bucket.count, counts.bucketed)})",
            facts.bars,
            regions.get(bucket.order),
        )
        for bucket, facts in zip(report.manifest.buckets, report.facts, strict=True)
    ]
    return Picture(
        title=f"{report.dataset}: {plural(counts.bucketed, 'rollout')} by {label}",
        subtitle=misplaced_sentence(report.uncertainty) if report.uncertainty else "",
        label=f"{shorten(label, LABEL_WIDTH)} ({direction})",
        note=scale_note(report.bins),
        higher_is_easier=easier,
        buckets=buckets,
        bins=report.bins,
        cuts=difficulty(report.cuts.edges, easier)
        if report.options.within is None
        else np.zeros(0),
    )


def _regions(report: BucketingReport) -> dict[int, tuple[float, float]]:
    """The metric values between which each bucket was cut out, by the number of the bucket; none if
    each group has cuts of its own."""
    if report.options.within is not None:
        return {}
    cuts, easier = report.cuts, report.manifest.metric.higher_is_easier
    edges = np.concatenate([[-np.inf], cuts.edges, [np.inf]])
    ends = np.sort(difficulty(np.stack((edges[:-1], edges[1:])), easier), axis=0)
    return dict(zip(cuts.buckets.tolist(), zip(*ends.tolist(), strict=True), strict=True))


def read_lines(report: BucketingReport) -> list[str]:
    """What was read and, for a dump, how it was grouped into rollouts."""
    manifest, counts = report.manifest, report.manifest.counts
    if report.dump:
        return dump_lines(report.dump, manifest)
    read, files = sum(record.bytes for record in manifest.inputs), len(manifest.inputs)
    blank = f"; {plural(counts.blank, 'blank line')} skipped" if counts.blank else ""
    return [
        f"read {plural(counts.read, 'rollout')} ({size(read)}) from {plural(files, 'file')}: "
        f"{counts.bucketed:,} bucketed, {_left_out(manifest)}{counts.unscored:,} unscored, "
        f"{counts.malformed:,} malformed{blank}"
    ]


def _range(facts: BucketFacts) -> str:
    if facts.lowest == facts.highest:
        return number(facts.lowest)
    return f"{number(facts.lowest)} to {number(facts.highest)}"


def _method(report: BucketingReport) -> str:
    method = report.manifest.method
    rest = "solved and unsolved apart, the rest " if method.solved_unsolved else ""
    if method.thresholds is not None:
        return f"{rest}cut at " + ", ".join(map(threshold, method.thresholds))
    inside = f" within each {method.within}" if method.within else ""
    if method.ties == "split":
        return f"{rest}in equal parts{inside}, ties split"
    return f"{rest}in parts as equal as ties allow{inside}"


def dump_lines(dump: Dump, manifest: BucketingManifest) -> list[str]:
    """What was read from a dump and what its lines became, for stdout."""
    counts, record = manifest.counts, manifest.dump
    if record is None:
        return []
    if dump.form.holds is not Holds.RESPONSE:
        return _converted_lines(dump, manifest, record)
    read, files = sum(item.bytes for item in manifest.inputs), len(manifest.inputs)
    lines = sum(item.lines for item in manifest.inputs)
    noun = "rollout" if record.format == OWN else "response"
    repeated = f", {record.repeated:,} repeated" if record.repeated else ""
    skipped = (
        f", {record.skipped:,} of other {_skipped_by(record)} skipped" if record.skipped else ""
    )
    blank = f"; {plural(counts.blank, 'blank line')} skipped" if counts.blank else ""
    groups = ", ".join(
        f"by {fields}" + (f" ({count:,})" if len(record.grouped_by) > 1 else "")
        for fields, count in record.grouped_by.items()
    )
    low, high = record.lines_per_rollout
    each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    unit = ("line" if record.format == OWN else "response") + ("" if high == 1 else "s")
    rollouts = plural(manifest.counts.rollouts, "rollout")
    return [
        f"read {plural(lines, 'line')} ({size(read)}) from {plural(files, 'file')} as "
        f"{dump.form.title} (--format {record.format}): {plural(record.responses, noun)}, "
        f"{counts.malformed:,} malformed{repeated}{skipped}{blank}",
        f"grouped {groups} into {rollouts} of {each} {unit}, scores from {_scores(dump, record)}: "
        f"{counts.bucketed:,} bucketed, {_left_out(manifest)}{counts.unscored:,} unscored",
    ]


def _left_out(manifest: BucketingManifest) -> str:
    """How many rollouts --keep left out, for a sentence; nothing without it."""
    return f"{manifest.counts.dropped:,} left out, " if manifest.kept else ""


def _converted_lines(dump: Dump, manifest: BucketingManifest, record: DumpRecord) -> list[str]:
    """What was read from lines that hold whole rollouts."""
    form, counts = dump.form, manifest.counts
    read, files = sum(item.bytes for item in manifest.inputs), len(manifest.inputs)
    lines = sum(item.lines for item in manifest.inputs)
    blank = f"; {plural(counts.blank, 'blank line')} skipped" if counts.blank else ""
    skipped = (
        f", {record.skipped:,} of other {_skipped_by(record)} skipped" if record.skipped else ""
    )
    scores = " and ".join(form.scores)
    if form.counts:
        scores = f"{form.counts[0]} of {form.counts[1]}"
    responses = f" with {plural(record.responses, 'response')}" if record.responses else ""
    found = f"{'values' if manifest.metric.is_carried else 'scores'} from {scores}"
    return [
        f"read {plural(lines, 'line')} ({size(read)}) from {plural(files, 'file')} as {form.title} "
        f"(--format {record.format}): {plural(manifest.counts.rollouts, 'rollout')}"
        f"{responses}, {counts.malformed:,} malformed{skipped}{blank}",
        f"{found}: {counts.bucketed:,} bucketed, {_left_out(manifest)}{counts.unscored:,} unscored",
    ]


def _scores(dump: Dump, record: DumpRecord) -> str:
    return " and ".join((record.score, *dump.form.added))


def _skipped_by(record: DumpRecord) -> str:
    """What the lines that were skipped differ in."""
    return "filters" if isinstance(record.chosen, str) else "steps"
