"""What the user reads of a dump: how its lines became rollouts, and what to know of them."""

from __future__ import annotations

from curriculum.dump_find import Dump
from curriculum.formats import OWN, Format
from curriculum.manifests import BucketingManifest, DumpRecord
from curriculum.text import plural, size

# What to do where one id stands for two prompts.
SAME_IDS = (
    "If several datasets have the same ids, bucket them apart, or name fields that tell them apart "
    "with --group-field."
)


def dump_lines(dump: Dump, manifest: BucketingManifest) -> list[str]:
    """What was read, and what the rollouts were put together from, for stdout."""
    counts, record = manifest.counts, manifest.dump
    if record is None:
        return []
    read, files = sum(item.bytes for item in manifest.inputs), len(manifest.inputs)
    lines = sum(item.lines for item in manifest.inputs)
    noun = "rollout" if record.format == OWN else "response"
    skipped = f", {record.skipped:,} of other steps skipped" if record.skipped else ""
    blank = f"; {plural(counts.blank, 'blank line')} skipped" if counts.blank else ""
    groups = ", ".join(
        f"by {places}" + (f" ({count:,})" if len(record.grouped_by) > 1 else "")
        for places, count in record.grouped_by.items()
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


def dump_warnings(dump: Dump, manifest: BucketingManifest) -> list[str]:
    """What a person should know of the rollouts of a dump, for stderr."""
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
    """What to know of responses that were grouped by what the dump says of them."""
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
