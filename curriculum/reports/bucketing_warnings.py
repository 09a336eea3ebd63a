"""The report of a bucketing run → warnings on stderr, each with a remedy."""

from __future__ import annotations

from collections.abc import Sequence

from curriculum.dumps.detect import Dump
from curriculum.dumps.formats import OWN, SAME_IDS, Format
from curriculum.errors import plural
from curriculum.output.manifests import UNSCORED_FILE, BucketingManifest, BucketRecord, DumpRecord
from curriculum.reports.bucketing_summary import BucketingReport, metric_label
from curriculum.reports.text import number, set_aside_warning, share

# A bucket is lopsided if its share differs from an equal part by more than this factor.
LOPSIDED = 1.5


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
            f"{_by_file(report.unscored)}. They {'would be' if report.dry_run else 'are'} in "
            f"{report.output / UNSCORED_FILE}, the reasons beside "
            "them."
        )
    if report.malformed:
        warnings.append(
            set_aside_warning(report.malformed_kinds, report.output, report.dry_run)
            + f" By file: {_by_file(report.malformed)}."
        )
    return warnings


def _by_file(counts: dict[str, int]) -> str:
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{path} {count:,}" for path, count in ranked[:5])
    rest = sum(count for _, count in ranked[5:])
    return shown + (f", {len(ranked) - 5} more files {rest:,}" if rest else "")


def _size_warnings(report: BucketingReport) -> list[str]:
    manifest = report.manifest
    empty = [bucket for bucket in manifest.buckets[manifest.method.inner] if not bucket.count]
    if manifest.method.thresholds is not None:
        return [_empty_by_thresholds(report, bucket) for bucket in empty]
    if empty:
        return [_empty(report, [bucket.name for bucket in empty])]
    return _lopsided(report) if manifest.method.ties == "together" else []


def _empty(report: BucketingReport, names: Sequence[str]) -> str:
    facts = report.facts[report.manifest.method.inner]
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
    """A warning if the parts are unequal and a tie is large enough to be the cause."""
    facts = report.facts[report.manifest.method.inner]
    parts, total = len(facts), sum(fact.count for fact in facts)
    tied = max(facts, key=lambda fact: fact.commonest_count)
    if tied.commonest_count < 2 or 2 * parts * tied.commonest_count < total:
        return []
    shares = [
        f"{bucket.name} {share(bucket.count, total)}"
        for bucket in report.manifest.buckets[report.manifest.method.inner]
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
    held = [facts for facts in report.facts[report.manifest.method.inner] if facts.count]
    low = min(facts.lowest for facts in held if facts.lowest is not None)
    high = max(facts.highest for facts in held if facts.highest is not None)
    return (
        f"{bucket.name} is empty: {metric_label(report)} runs from {number(low)} to "
        f"{number(high)} and no rollout lies between these thresholds. Move --thresholds, or "
        "use -n for equal parts."
    )


def dump_warnings(dump: Dump, manifest: BucketingManifest) -> list[str]:
    """What a person should know about the rollouts of a dump, for stderr."""
    form, record = dump.form, manifest.dump
    if record is None:
        return []
    rollouts = manifest.counts.bucketed + manifest.counts.unscored
    warnings = [f"{form.title}: {form.warning}."] if form.warning else []
    if record.better_scores:
        warnings.append(
            f"{plural(record.better_scores, 'response')} with a score in {form.better_score}, "
            f"which would be taken if all had one: that of {record.score} is taken."
        )
    if record.unread_prompts:
        warnings.append(
            f"the prompts of {plural(record.unread_prompts, 'rollout')} {form.unread}. Make "
            "messages of them, from the data set that they came from, before training on them."
        )
    if record.several_prompts:
        warnings.append(
            f"{plural(record.several_prompts, 'rollout')} with responses to different prompts; the "
            f"first prompt is taken. {SAME_IDS}"
        )
    if 2 * record.single_lines > rollouts and form.name != OWN:
        warnings.append(
            f"only one response in {record.single_lines:,} of {plural(rollouts, 'rollout')}. If "
            "more were sampled, they were not found to belong together: say what they have in "
            "common with --group-field."
        )
    return warnings if dump.by_prompt else [*warnings, *_group_warnings(form, record)]


def _group_warnings(form: Format, record: DumpRecord) -> list[str]:
    """Warnings about how the responses were grouped."""
    warnings = []
    if record.steps and record.steps[0] != record.steps[1]:
        first, last = (f"{step:.12g}" for step in record.steps)
        warnings.append(
            f"several policies wrote these responses, those of steps {first} to {last}, and what "
            "was hard for the first may be easy for the last: choose some with --steps."
        )
    if record.steps is None and record.several_files:
        warnings.append(
            f"{plural(record.several_files, 'rollout')} with responses of several files: if these "
            "are of several models, or steps of a training run, bucket them apart."
        )
    if form.prompt in record.grouped_by:
        warnings.append(
            "nothing but the prompt says which of these responses belong together: a prompt that a "
            "dataset has twice is one rollout."
        )
    return warnings
