"""The report of a bucketing run → warnings on stderr, each with a remedy, and what to decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from curriculum.cutting.cut_values import LEAST_OF_GROUP
from curriculum.cutting.report import BucketingReport
from curriculum.display.text import (
    absent_warnings,
    are,
    few,
    have,
    number,
    set_aside_warning,
    share,
    threshold,
    truths_warning,
)
from curriculum.dumps.formats import Holds
from curriculum.errors import plural
from curriculum.metrics import PASS_AT_K, RATES
from curriculum.output.manifests import UNSCORED_FILE, BucketRecord
from curriculum.reports.bucketing_changes import change_findings
from curriculum.reports.dump_warnings import dump_warnings, other_missing_scores

# A bucket is lopsided if its share differs from an equal part by more than this factor.
LOPSIDED = 1.5
# Scores up to here are those of a verifier, with a bonus perhaps: a pass at 0.5 suits them.
USUAL_SCORE = 1.5
# From this share of missing scores on, the graders may say more than the prompts.
MANY_MISSING = 0.1


class Finding(Struct, frozen=True):
    """A warning, empty if another one says it, and what to decide before the buckets are used."""

    text: str
    decide: str | None = None


def bucketing_warnings(report: BucketingReport) -> list[str]:
    """What a person should know before using the buckets, each with a remedy."""
    return [finding.text for finding in _findings(report) if finding.text]


def decisions(report: BucketingReport) -> list[str]:
    """What to decide before the buckets are used; nothing if they are ready to preprocess."""
    return [finding.decide for finding in _findings(report) if finding.decide]


def _findings(report: BucketingReport) -> Iterator[Finding]:
    if report.dump:
        yield from map(Finding, dump_warnings(report.dump, report.manifest))
    yield from map(Finding, report.warnings)
    for text in report.would_refuse:
        yield Finding(text, "what to do about rollouts that preprocessing would refuse")
    yield from _prompt_findings(report)
    yield from _score_findings(report)
    if not report.carried:
        yield from _pass_findings(report)
    yield from map(Finding, absent_warnings(report.absent))
    yield from map(Finding, change_findings(report))
    yield from _size_findings(report)
    if report.options.within is not None:
        yield from _group_findings(report, report.options.within)
    if not report.carried:
        yield from _order_findings(report)


def _group_findings(report: BucketingReport, place: str) -> Iterator[Finding]:
    """Groups that were not cut by themselves, and rollouts without one."""
    small = [group for group in report.groups if not group.apart and group.name is not None]
    absent = sum(sum(group.counts) for group in report.groups if group.name is None)
    least = LEAST_OF_GROUP * report.manifest.method.num_buckets
    if small:
        verb, itself = ("is", "itself") if len(small) == 1 else ("are", "themselves")
        yield Finding(
            f"{few([str(group.name) for group in small])} {verb} too small to be cut by {itself}: "
            f"a group is cut by itself if it has {least:,} rollouts and as many different values "
            "as buckets. What is left over was cut together."
        )
    if absent:
        yield Finding(f"{plural(absent, 'rollout')} without {place} were cut together.")


def _prompt_findings(report: BucketingReport) -> Iterator[Finding]:
    """Prompts that repeat, or are not there."""
    repeats, bucketed = report.repeats, plural(report.manifest.counts.bucketed, "rollout")
    if repeats.absent:
        name = report.likely_prompt
        remedy = (
            f"If it is in {name}, give that script --prompt-field {name}."
            if name
            else "Name the field that has it with --prompt-field, or add the prompts."
        )
        told_of_dump = report.dump is not None and not report.dump.form.has_own_prompt
        yield Finding(
            ""
            if told_of_dump
            else f"{repeats.absent:,} of {bucketed} {have(repeats.absent)} no prompt, neither in "
            "prompt nor in messages, and preprocess_bucketed_rollouts.py would refuse them. "
            f"{remedy}",
            "where the prompts are: preprocessing needs them",
        )
    if repeats.later and not (report.dump and report.dump.by_prompt):
        apart = (
            f", and {plural(report.in_several, 'prompt')} lie in more than one bucket"
            if report.in_several > 1
            else ", and one prompt lies in more than one bucket"
            if report.in_several
            else ""
        )
        yield Finding(
            f"{repeats.later:,} of {bucketed} {have(repeats.later)} the prompt of an earlier one "
            f"(as {' and '.join(repeats.example)} do){apart}. To make one rollout of each prompt, "
            f"with all its responses, {_how_to_merge(report)}; or leave out what was read twice.",
            f"whether rollouts of one prompt belong together (--group-by prompt): "
            f"{repeats.later:,} repeat one",
        )

    if report.truths.prompts:
        count, places = report.truths.prompts, report.truth_places
        yield Finding(
            truths_warning(count, "", places, report.truths),
            f"which ground truth is right: {plural(count, 'prompt')} {have(count)} several",
        )
    if count := repeats.other_parts:
        yield Finding(
            f"{count:,} of {bucketed} {have(count)} a prompt with parts that are not text, such as "
            f"images (the first is {repeats.parts_example}), and "
            "preprocess_bucketed_rollouts.py would refuse them. Give that script the data set that "
            "the prompts came from, with --source: it writes its rows as they are.",
            "where the rows come from (--source): preprocessing refuses prompts with images",
        )


def _how_to_merge(report: BucketingReport) -> str:
    if report.dump is None or report.dump.form.holds is Holds.RESPONSE:
        return "add --group-by prompt"
    return f"bucket these buckets again: -i {report.output} -o DIR --group-by prompt"


def _score_findings(report: BucketingReport) -> Iterator[Finding]:
    """Missing scores, unscored rollouts and malformed lines."""
    by_file = other_missing_scores(report.manifest, report.missing_scores)
    if by_file and not report.carried:
        missing = sum(by_file.values())
        many = missing > MANY_MISSING * report.responses
        yield Finding(
            f"{missing:,} of {plural(report.responses, 'score')} {are(missing)} missing (null, "
            "NaN, infinite or absent) and left out of the metric: "
            f"{_by_file(by_file)}. A failed grader is not a wrong answer; if there "
            "are many, grade these responses again.",
            f"whether to grade again: {share(missing, report.responses)} of the scores are missing"
            if many
            else None,
        )
    if report.unscored:
        counts = report.manifest.counts
        rollouts = counts.read - (counts.malformed if report.dump else 0)
        yield Finding(
            f"{counts.unscored:,} of {plural(rollouts, 'rollout')} "
            f"{are(counts.unscored)} unscored and in no bucket: "
            f"{_by_file(report.unscored)}. They {'would be' if report.dry_run else 'are'} in "
            f"{report.output / UNSCORED_FILE}, with the reasons beside them.",
            f"whether to grade again: {share(counts.unscored, rollouts)} of rollouts are unscored"
            if counts.unscored > MANY_MISSING * rollouts and not by_file
            else None,
        )
    if report.malformed:
        yield Finding(
            set_aside_warning(report.malformed_kinds, report.output, report.dry_run)
            + f" By file: {_by_file(report.malformed)}."
        )


def _by_file(counts: dict[str, int]) -> str:
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{path} {count:,}" for path, count in ranked[:5])
    rest = sum(count for _, count in ranked[5:])
    return shown + (f", {len(ranked) - 5} more files {rest:,}" if rest else "")


def _pass_findings(report: BucketingReport) -> Iterator[Finding]:
    """What is a pass, where the scores speak against it."""
    options, metric = report.options, report.manifest.metric
    low, high, passing = number(report.lowest), number(report.highest), metric.pass_threshold
    rates = metric.name in RATES
    decide = "which score is a pass (--pass-threshold)"
    if passing > report.highest:
        yield Finding(
            f"no response passes: scores run from {low} to {high}, and a pass is a score of "
            f"{passing:g} or more. Say with --pass-threshold which score is a pass.",
            decide,
        )
    elif passing <= report.lowest and options.pass_threshold is not None:
        yield Finding(
            f"every response passes: scores run from {low} to {high}, and a pass is a score of "
            f"{passing:g} or more. Say with --pass-threshold which score is a pass.",
            decide,
        )
    elif report.highest > USUAL_SCORE and options.pass_threshold is None:
        yield Finding(
            f"scores run from {low} to {high}, but a response passes from {passing:g} on. If that "
            "is too low, say with --pass-threshold which score is a pass. "
            + ("The metric" if rates else "The filters of preprocessing")
            + " and --solved-unsolved go by it.",
            decide if rates or report.options.solved_unsolved else None,
        )
    if metric.name == PASS_AT_K and options.k is None:
        yield Finding(
            "pass_at_k without --k is pass@1, which is the success rate. For the chance that one "
            "of several responses passes, add --k, such as --k 4."
        )


def _size_findings(report: BucketingReport) -> Iterator[Finding]:
    """Buckets that are empty or lopsided."""
    manifest = report.manifest
    inner = manifest.buckets[manifest.method.inner]
    empty = [bucket for bucket in inner if not bucket.count]
    if not empty:
        if manifest.method.thresholds is None and manifest.method.ties == "together":
            yield from _lopsided(report)
        return
    names = ", ".join(bucket.name for bucket in empty[:10])
    more = f" and {len(empty) - 10:,} more" if len(empty) > 10 else ""
    are = f"{names}{more} {'is' if len(empty) == 1 else 'are'} empty"
    decide = (
        f"whether {'this bucket' if len(empty) == 1 else 'these buckets'} may be empty: {names}"
    )
    if manifest.method.thresholds is not None and len(empty) < len(inner):
        yield Finding(f"{are}: {_why_no_value_is_there(report, empty)}", decide + more)
    else:
        yield Finding(f"{are}: {_why_too_few(report)}", decide + more)


def _why_too_few(report: BucketingReport) -> str:
    facts = report.facts[report.manifest.method.inner]
    parts, total = len(facts), sum(fact.count for fact in facts)
    if not total:
        return "every rollout is in solved or unsolved. Leave out --solved-unsolved."
    if total < parts and report.distinct > 1:
        return f"there are only {total:,} rollouts for {parts:,} buckets. Use -n {total}."
    if report.distinct == 1:
        value = number(max(facts, key=lambda fact: fact.count).highest)
        return (
            f"every rollout has {report.metric_label} {value}. Use a metric with more values, or "
            "check the scores."
        )
    return (
        f"there are only {report.distinct:,} distinct values of {report.metric_label} for "
        f"{parts:,} buckets. Use -n {report.distinct}, a metric with more values, more responses "
        "per prompt, or --ties split."
    )


def _why_no_value_is_there(report: BucketingReport, empty: Sequence[BucketRecord]) -> str:
    held = [facts for facts in report.facts[report.manifest.method.inner] if facts.count]
    low = min(facts.lowest for facts in held if facts.lowest is not None)
    high = max(facts.highest for facts in held if facts.highest is not None)
    cuts = report.manifest.method.thresholds or ()
    outside = [threshold(cut) for cut in cuts if not low <= cut < high]
    spread = f"{report.metric_label} runs from {number(low)} to {number(high)}"
    if outside:
        why = f"{spread}, so the threshold{'s' * (len(outside) > 1)} {' and '.join(outside)} "
        why += "cut nothing off"
    else:
        why = f"{spread}, but no value lies there"
    return f"{why}. Move --thresholds, or use -n for equal parts."


def _lopsided(report: BucketingReport) -> Iterator[Finding]:
    """A finding if the parts are unequal and a tie is large enough to be the cause."""
    facts = report.facts[report.manifest.method.inner]
    parts, total = len(facts), sum(fact.count for fact in facts)
    tied = max(facts, key=lambda fact: fact.commonest_count)
    if tied.commonest_count < 2 or 2 * parts * tied.commonest_count < total:
        return
    shares = [
        f"{bucket.name} {share(bucket.count, total)}"
        for bucket in report.manifest.buckets[report.manifest.method.inner]
        if not 1 / LOPSIDED <= bucket.count * parts / total <= LOPSIDED
    ]
    if shares:
        of = " between solved and unsolved" if len(facts) < len(report.facts) else ""
        yield Finding(
            f"the buckets are unequal: {', '.join(shares)} of the rollouts{of}, instead of "
            f"{100 / parts:.1f}%. Rollouts with the same value stay together, and "
            f"{tied.commonest_count:,} have {report.metric_label} {number(tied.commonest)}. For "
            "equal parts use --ties split; for fewer ties, sample more responses per prompt."
        )


def _order_findings(report: BucketingReport) -> Iterator[Finding]:
    """What the order of the buckets does not say, or leaves nothing to train on."""
    apart = report.manifest.method.solved_unsolved
    first, last = report.facts[0], report.facts[-1]
    first_name, last_name = report.manifest.buckets[0].name, report.manifest.buckets[-1].name
    if report.manifest.metric.name == "variance":
        without = (
            "a prompt that is hardly ever solved has as little as one that nearly always is"
            if apart
            else "a prompt that nobody solves has none"
        )
        if first.without_pass and not apart:
            without += (
                f", and {first.without_pass:,} of the {plural(first.count, 'rollout')} in "
                f"{first_name} {'has' if first.without_pass == 1 else 'have'} no pass"
            )
        yield Finding(
            f"variance is not an order of difficulty: {without}. For easy to hard, use mean_reward "
            "or pass_at_k."
        )
    elif last.count and last.without_pass == last.count and not apart:
        empties = ["passing_only"]
        if last.all_equal == last.count:
            empties.append("informative_only")
        yield Finding(
            f"{last_name} holds only prompts that nobody solved: --filter {' and '.join(empties)} "
            "will leave it empty. Use fewer buckets, or sample more responses for these prompts."
        )
