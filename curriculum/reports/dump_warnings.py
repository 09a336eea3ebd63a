"""A dump whose lines were grouped into rollouts → warnings about them, each with a remedy."""

from __future__ import annotations

from enum import Enum

from curriculum.display.text import PROMPT_WARNINGS, have
from curriculum.dumps.detect import Dump
from curriculum.dumps.formats import OWN, SAME_IDS, Format, Holds
from curriculum.errors import plural
from curriculum.grouping.groups import DumpNote
from curriculum.output.manifests import BucketingManifest, DumpRecord


def dump_warnings(dump: Dump, manifest: BucketingManifest) -> list[str]:
    """What a person should know about the rollouts of a dump, for stderr."""
    form, record = dump.form, manifest.dump
    if record is None:
        return []
    rollouts = manifest.counts.rollouts
    warnings = [f"{form.title}: {form.warning}."] if form.warning else []
    if record.better_scores:
        warnings.append(
            f"{plural(record.better_scores, 'response')} with a score in {form.better_score}, "
            f"which would be taken if all had one: that of {record.score} is taken."
        )
    warnings += _response_warnings(record)
    warnings += _prompt_warnings(form, record, rollouts)
    may_be_more = form.holds is Holds.RESPONSE and form.choice is None and form.name != OWN
    if 2 * record.single_lines > rollouts and may_be_more:
        instead = " instead of --group-by prompt" if dump.by_prompt else ""
        warnings.append(
            f"only one response in {record.single_lines:,} of {plural(rollouts, 'rollout')}. If "
            "more were sampled, they were not found to belong together: say what they have in "
            f"common with --group-field{instead}."
        )
    return warnings if dump.by_prompt else [*warnings, *_group_warnings(form, record)]


def _response_warnings(record: DumpRecord) -> list[str]:
    """Warnings about responses that did not end by themselves, or are there more than once."""
    warnings = []
    of = f"of {plural(record.responses, 'response')}"
    if cut_off := _noted(record, DumpNote.CUT_OFF):
        were = "was" if cut_off == 1 else "were"
        warnings.append(
            f"{cut_off:,} {of} {were} cut off, and --truncated missing leaves out the scores. A "
            "prompt whose long answers were cut off looks easier than it is: sample with a higher "
            "limit on tokens if they are many."
            if record.truncated == "missing"
            else f"{cut_off:,} {of} {were} cut off, and the scores count as they were given. A "
            "prompt whose long answers were cut off looks harder than it may be: sample with a "
            "higher limit on tokens if they are many. --truncated missing leaves these scores out, "
            "but then such a prompt looks easier than it is."
        )
    elif record.truncated == "missing":
        warnings.append(
            "no line says that its response was cut off, so --truncated missing changes nothing."
        )
    if failed := _noted(record, DumpNote.FAILED):
        warnings.append(
            f"{failed:,} {of} failed (an error, or no response), and the scores are left out. A "
            "crash is not a wrong answer: sample these again if they are many."
        )
    if record.repeated:
        verb = "repeats" if record.repeated == 1 else "repeat"
        warnings.append(
            f"{plural(record.repeated, 'line')} {verb} a response that is there already, with the "
            "same id. Each response counts once. Results that were appended twice, or a copy of a "
            "file, look like this."
        )
    if same := _noted(record, DumpNote.SAME_LINES):
        verb = "repeats" if same == 1 else "repeat"
        warnings.append(
            f"{plural(same, 'rollout')} {verb} another one byte for byte, and the responses count "
            "each time. If a file is a copy, or was appended twice, remove the second one."
        )
    return warnings


def _prompt_warnings(form: Format, record: DumpRecord, rollouts: int) -> list[str]:
    """Warnings about prompts that are not what they seem, and about tools."""
    texts: dict[Enum, str] = {
        DumpNote.NO_PROMPT: f"{{who}} {{have}} no prompt in {form.prompt}, and preprocessing needs "
        "one. If the lines have it elsewhere, bucket these lines apart and say where with "
        "--prompt-field; else leave them out of preprocessing with --on-malformed set-aside.",
        DumpNote.SEVERAL_PROMPTS: "{who} {have} responses to different prompts; the first prompt "
        f"is taken. {SAME_IDS}",
        DumpNote.TOOLS: "{who} {have} tools, which verl does not read from its rows. They are kept "
        "as JSON text in extra_info.tools; give verl the same tools in a file, with "
        "actor_rollout_ref.rollout.multi_turn.tool_config_path.",
        **PROMPT_WARNINGS,
    }
    return [
        text.format(who=f"{count:,} of {plural(rollouts, 'rollout')}", have=have(count))
        for note, text in texts.items()
        if (count := _noted(record, note))
    ]


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


def other_missing_scores(manifest: BucketingManifest, by_file: dict[str, int]) -> dict[str, int]:
    """The missing scores by file. Those of a dump whose responses failed, or were cut off and are
    left out, have a warning of their own; of the others there is only the total."""
    record = manifest.dump
    if record is None:
        return by_file
    others = -_noted(record, DumpNote.FAILED)
    if record.truncated == "missing":
        others -= _noted(record, DumpNote.CUT_OFF)
    left = {where: count + others for where, count in by_file.items()}
    return {where: count for where, count in left.items() if count}


def _noted(record: DumpRecord, note: Enum) -> int:
    return record.notes.get(note.value, 0)
