"""What changed since an earlier bucketing → sentences and a table."""

from __future__ import annotations

from shlex import quote

from curriculum.comparing.cut_like import metric_rule
from curriculum.cutting.change import RATE, Change, Worse
from curriculum.cutting.report import BucketingReport, ComparedTo
from curriculum.display.histogram import shorten
from curriculum.display.text import have, number, share, table, wrapped
from curriculum.errors import plural
from curriculum.output.manifests import BucketingManifest

WORSE_SHOWN = 5


def change_lines(report: BucketingReport) -> list[str]:
    """What changed, in lines of at most WIDTH columns; nothing without --compare-to."""
    compared = report.compared
    if compared is None:
        return []
    lines = [*wrapped(matched(report, compared)), ""]
    lines += [*table(move_rows(report, compared), left=1), ""]
    lines += wrapped(mean_sentence(report, compared))
    lines += wrapped(harder_sentence(report, compared))
    for worse in compared.change.worse[:WORSE_SHOWN]:
        lines += wrapped(f"- {fall(report, worse)}: {compared.places[worse.new]}", indent=2)
    return [*lines, ""]


def matched(report: BucketingReport, compared: ComparedTo) -> str:
    """How many prompts were compared, and how many were not."""
    change, found, options = compared.change, compared.change.matched, report.options
    by = options.match_key or "prompt"
    rest = {
        "only there": found.only_old,
        "only here": found.only_new,
        "in both, but without a value there or here": found.unscored,
        "in both, but in several rollouts there or here": found.several,
        f"rollouts without {'a prompt' if options.match_key is None else by}": found.without,
    }
    parts = [f"{n:,} {what}" for what, n in rest.items() if n or what.startswith("only")]
    return (
        f"Compared with {options.compare_to} by {by}: {change.compared:,} in both. Not compared: "
        f"{'; '.join(parts)}."
    )


def move_rows(report: BucketingReport, compared: ComparedTo) -> list[list[str]]:
    """How many prompts went from which bucket to which, as a table."""
    old = [shorten(bucket.name) for bucket in compared.manifest.buckets]
    new = [shorten(bucket.name) for bucket in report.manifest.buckets]
    moves = compared.change.moves
    rows = [["then, and now", *new, "all"]]
    for name, row in zip(old, moves, strict=True):
        rows.append([name, *(f"{count:,}" for count in (*row, sum(row)))])
    sums = [sum(column) for column in zip(*moves, strict=True)]
    return [*rows, ["all", *(f"{count:,}" for count in (*sums, sum(sums)))]]


def mean_sentence(report: BucketingReport, compared: ComparedTo) -> str:
    """How the metric changed, and whether that is more than chance."""
    change, label = compared.change, report.metric_label
    before, after = change.means
    text = f"Mean {label} went from {number(before)} to {number(after)}, by {after - before:+.3g}"
    if change.interval is None:
        few = plural(change.compared, "prompt")
        return f"{text}: {few} cannot tell whether that is more than chance gives."
    low, high = change.interval
    verdict = "within what chance gives" if low <= 0 <= high else "more than chance would give"
    return (
        f"{text} (95% of paired bootstrap samples of the prompts: {low:+.2g} to {high:+.2g}), "
        f"{verdict}."
    )


def harder_sentence(report: BucketingReport, compared: ComparedTo, most: int = WORSE_SHOWN) -> str:
    """How many prompts got harder by more than chance, and what is listed of them: at most that
    many."""
    change = compared.change
    shown = min(most, len(change.worse))
    if not change.worse:
        return "No prompt got harder."
    if change.beyond_chance is None:
        return "The prompts that got harder by most:"
    if not change.beyond_chance:
        return (
            "No single prompt got harder by more than chance gives among so many. The largest "
            "changes:"
        )
    part = share(change.beyond_chance, change.compared)
    those = "It first" if change.beyond_chance == 1 else "These first"
    return (
        f"{plural(change.beyond_chance, 'prompt')} ({part}) got harder by more than chance gives "
        f"(Fisher's exact test, false discovery rate {100 * RATE:.0f}%). "
        + ("The worst:" if shown <= change.beyond_chance else f"{those}, then the next worst:")
    )


def fall(report: BucketingReport, worse: Worse) -> str:
    """How a prompt changed."""
    before, after = worse.values
    text = f"{report.metric_label} {number(before)} to {number(after)}"
    if report.carried:
        return text
    passes = (f"{p} of {n}" for p, n in zip(worse.passes, worse.counts, strict=True))
    return f"{text} ({' to '.join(passes)} pass)"


def like_sentence(report: BucketingReport) -> str:
    """How the shares of the buckets differ from those of the bucketing that was cut like."""
    if report.like is None:
        return ""
    old, new = report.like, report.manifest
    pairs = zip(old.buckets, new.buckets, strict=True)
    shares = [
        f"{now.name} was {share(then.count, old.counts.bucketed)}, is "
        f"{share(now.count, new.counts.bucketed)}"
        for then, now in pairs
    ]
    return f"Cut like {report.options.cut_like}: {'; '.join(shares)}."


def change_findings(report: BucketingReport) -> list[str]:
    """What differs between the two bucketings beside the rollouts."""
    found = []
    if report.like is not None:
        found += _differences(report, str(report.options.cut_like), report.like)
    if report.compared is None:
        return found
    old, new = report.compared.manifest, report.manifest
    there = str(report.options.compare_to)
    if report.like is None or report.options.cut_like != report.options.compare_to:
        found += _differences(report, there, old)
    if not report.carried and old.metric.pass_threshold != new.metric.pass_threshold:
        found.append(
            f"in {there} a response passed from a score of {old.metric.pass_threshold:g} on, and "
            f"here from {new.metric.pass_threshold:g} on. What is said of passes goes by the "
            "latter for both."
        )
    metrics = [(manifest.metric.name, metric_rule(manifest).get("k")) for manifest in (old, new)]
    if metrics[0] != metrics[1]:
        name, k = metrics[0]
        by = name if k is None else f"{name} with k = {k}"
        found.append(
            f"{there} was bucketed by {by}. Its values of {report.metric_label} are computed from "
            "its scores; its buckets are as they were."
        )
    if why := report.compared.cut_elsewhere:
        how = f"To cut at the same values, add --cut-like {quote(there)}."
        if not report.compared.can_cut_like:
            how = "To compare buckets, cut both rounds at values of your choice (--thresholds)."
        found.append(f"{why}, so a prompt may change its bucket and be as hard as before. {how}")
    return found + _not_alike(report, report.compared.change, there)


def _not_alike(report: BucketingReport, change: Change, there: str) -> list[str]:
    """Prompts that are not compared, or that may not be the same ones."""
    found, key = [], report.options.match_key
    if change.matched.several:
        found.append(
            f"{plural(change.matched.several, 'prompt')} of several rollouts each were not "
            f"compared with {there}. Merge these with --group-by prompt, or tell them apart with "
            "--match-key."
        )
    if change.reworded:
        found.append(
            f"{change.reworded:,} of {plural(change.compared, 'prompt')} matched by {key} "
            f"{have(change.reworded)} another text in {there} than here. If these are other "
            "tasks, name another field with --match-key, or leave it out."
        )
    return found


def _differences(report: BucketingReport, there: str, old: BucketingManifest) -> list[str]:
    """Other scores, and other rollouts that were left out."""
    found, here = [], report.manifest.metric.score_field
    if old.metric.score_field != here and not report.carried:
        found.append(
            f"the scores of {there} are from {old.metric.score_field}, those of this run from "
            f"{here}. If they are not of the same kind, the two say nothing about each other."
        )
    rules = [[step.rule for step in manifest.kept] for manifest in (old, report.manifest)]
    if rules[0] != rules[1]:
        then, now = (" and ".join(some) or "no --keep" for some in rules)
        found.append(
            f"{there} was made with {then}, this run with {now}: shares and means are of other "
            "prompts. If these were chosen by their scores, they score nearer to the mean the next "
            "time, without any training."
        )
    return found
