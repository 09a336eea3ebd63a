"""The report of a preprocessing run → warnings on stderr, each with a remedy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import Enum

from curriculum.display.text import (
    PROMPT_WARNINGS,
    absent_warnings,
    are,
    few,
    have,
    set_aside_warning,
    truths_warning,
)
from curriculum.errors import plural
from curriculum.options import SOLVED_NAME, UNSOLVED_NAME
from curriculum.output.manifests import UNSCORED_FILE, ChoiceRecord, SetRecord, is_cumulative
from curriculum.preprocess_options import UNSEEN
from curriculum.preprocessing.parquet_sets import SetFacts
from curriculum.preprocessing.passes import SourceFacts
from curriculum.reading.prompts import PromptNote
from curriculum.reports.preprocessing_report import PreprocessingReport
from curriculum.verl.row_batch import Topic


def preprocessing_warnings(report: PreprocessingReport) -> list[str]:
    """What a person should know before training on the files, each with a remedy."""
    return [
        *report.warnings,
        *(_source_warnings(report, report.source) if report.source else []),
        *_truth_warnings(report),
        *_note_warnings(report),
        *_message_warnings(report),
        *_prompt_warnings(report),
        *_stage_warnings(report),
        *_score_warnings(report),
        *absent_warnings(report.absent),
        *_empty_warnings(report),
        *_neighbour_warnings(report),
    ]


def _who(report: PreprocessingReport, count: int) -> str:
    """How many of the rollouts of the directory, as the subject of a sentence."""
    total = report.rows + report.unscored
    return f"{count:,} of {plural(total, 'rollout')} in {report.record.input_dir}"


def _source_warnings(report: PreprocessingReport, source: SourceFacts) -> list[str]:
    """Rows and rollouts without a counterpart, and rollouts that count together."""
    warnings, would = [], "would be" if report.dry_run else "were"
    if source.unmatched:
        kept = report.options.unmatched == "keep"
        fate = f"{would} {f'written to {UNSEEN}' if kept else 'left out'}"
        warnings.append(
            f"{source.unmatched:,} of {plural(source.rows, 'row')} match no rollout and {fate}: "
            f"{_some(source.shown_rows, source.unmatched)}."
        )
    if source.in_val:
        warnings.append(
            f"{plural(source.in_val, 'row')} of --source {have(source.in_val)} a prompt of "
            f"--source-val and {would} left out of train: "
            f"{_some(source.shown_in_val, source.in_val)}."
        )
    if source.without_row:
        warnings.append(
            f"{source.without_row:,} of {plural(source.rollouts, 'rollout')} match no row: "
            f"{_some(source.shown_rollouts, source.without_row)}."
        )
    if source.joined:
        across = f", {source.across:,} of them in several buckets" if source.across else ""
        warnings.append(
            f"{plural(source.joined, 'prompt')} {have(source.joined)} several rollouts{across}: "
            "their responses count together."
        )
    if len(source.key_kinds) > 1:
        warnings.append(
            f"the keys of the rows are of several types ({', '.join(source.key_kinds)}); they were "
            "compared as text."
        )
    return warnings


def _some(shown: Sequence[str], count: int) -> str:
    return "; ".join(shown) + (" …" if count > len(shown) else "")


def _truth_warnings(report: PreprocessingReport) -> list[str]:
    notes, warnings = report.notes, []
    if absent := notes[Topic.NO_TRUTH, ""]:
        likely = Counter({n: count for (at, n), count in notes.items() if at is Topic.LIKELY_TRUTH})
        found = [name for name, _ in sorted(likely.items(), key=lambda pair: (-pair[1], pair[0]))]
        remedy = (
            f" They do have {' and '.join(found[:3])}: if that is the ground truth, read it with "
            f"--ground-truth-field {found[0]}."
            if found
            else " If it is in another field, name that with --ground-truth-field."
        )
        warnings.append(
            f"{_who(report, absent)} {have(absent)} no ground truth; it is null in their rows, and "
            f"a reward function that compares with it will fail on them.{remedy}"
        )
    if numbers := notes[Topic.NUMBER_TRUTH, ""]:
        points = notes[Topic.POINT_ZERO, ""]
        like = (
            f" {points:,} of them are whole numbers with a decimal point, such as 5.0, which is "
            "another text than 5."
            if points
            else ""
        )
        warnings.append(
            f"{_who(report, numbers)} {have(numbers)} a number as ground truth. It is written as "
            f"text, because verl's scorers compare strings.{like} To keep the type, use "
            "--ground-truth-format typed."
        )
    return warnings


def _note_warnings(report: PreprocessingReport) -> list[str]:
    texts: dict[Enum, str] = {
        PromptNote.LEFT_OUT: "message keys other than role, content, tool_calls, tool_call_id and "
        "name were left out: {by_key}.",
        PromptNote.TEMPLATE: "{who} {have} the text of a chat template for a prompt. It was taken "
        "apart into messages, because verl puts a template around every prompt.",
        **PROMPT_WARNINGS,
        Topic.TRUTH_KEY: "ground truth keys beyond instruction ids and kwargs were left out: "
        "{by_key}. To keep them, use --ground-truth-format string.",
        Topic.NO_DATA_SOURCE: "{who} {have} no data_source of their own: their rows have that of "
        "--data-source.",
        Topic.TOOLS: "rollouts have tools, which no row holds: verl reads none from rows, but from "
        "the file that actor_rollout_ref.rollout.multi_turn.tool_config_path names.",
        Topic.NO_TEXT: "{who} {have} no text for the best response; it is null in their rows.",
        Topic.OTHER_COUNT: "{who} {have} another number of responses than of rewards; they were "
        "matched by position. Check what wrote them.",
        Topic.SURROGATES: "{who} {have} lone surrogates, which parquet cannot hold; they were "
        "replaced by U+FFFD.",
    }
    warnings = []
    for topic, text in texts.items():
        found = {key: count for (at, key), count in report.notes.items() if at is topic}
        if found:
            by_key = ", ".join(f"{key} {count:,}" for key, count in sorted(found.items()))
            count = sum(found.values())
            who = _who(report, count)
            warnings.append(text.format(by_key=by_key, who=who, have=have(count)))
    return warnings


def _message_warnings(report: PreprocessingReport) -> list[str]:
    """Messages with more than role and content."""
    if report.form is None or not report.form.kept:
        return []
    *most, last = [name for name, _ in report.form.kept]
    names = f"{', '.join(most)} and {last}" if most else last
    return [
        f"messages of the prompts have {names}. So every message has, null where it lacks it, and "
        "verl hands these nulls to the chat template. If that asks whether a message has such a "
        "field, as Llama 3.1's does, give verl data.custom_cls.path=examples/verl/dataset.py and "
        "data.custom_cls.name=RolloutDataset, as examples/verl/train.sh does."
    ]


def _prompt_warnings(report: PreprocessingReport) -> list[str]:
    """Prompts of several rollouts, or buckets: they train more than once, easy and hard."""
    if not report.repeated_prompts or report.source:
        return []
    found, shared = report.repeated_prompts, report.shared_prompts
    apart = f", {shared:,} of them in several buckets" if shared else ""
    count, places = report.truths.prompts, report.truth_places
    whose = f"of {report.record.input_dir} "
    truths = [truths_warning(count, whose, places, report.truths)] if count else []
    return [
        *truths,
        f"{plural(found, 'prompt')} of {report.record.input_dir} {are(found)} in several rollouts"
        f"{apart}. The rows of a prompt are all on one side of the split. To make one rollout of "
        "each prompt, bucket again with --group-by prompt.",
    ]


def _stage_warnings(report: PreprocessingReport) -> list[str]:
    """Cumulative sets over prompts that every response passes, or none."""
    if not report.options.cumulative:
        return []
    names = list(dict.fromkeys(name for facts in report.sets for name in facts.buckets))
    ends = [name for name in (SOLVED_NAME, UNSOLVED_NAME) if name in names]
    rest = [name for name in names if name not in ends]
    if not ends or not rest:
        return []
    return [
        f"the cumulative sets include {' and '.join(ends)}, the prompts that every response passes "
        "or none does: most of them have no advantage in GRPO. To leave them out, add --buckets "
        f"{' '.join(rest)}."
    ]


def _score_warnings(report: PreprocessingReport) -> list[str]:
    warnings = []
    if report.missing_scores:
        warnings.append(
            f"{report.missing_scores:,} of {plural(report.responses, 'score')} "
            f"{are(report.missing_scores)} missing (null, NaN, infinite or "
            "absent) and left out: a failed grader is not a wrong answer."
        )
    if report.unscored:
        where = report.output / UNSCORED_FILE
        warnings.append(
            f"{plural(report.unscored, 'rollout')} without any score "
            + (
                f"would become no row, and be in {where}."
                if report.dry_run
                else f"became no row; see {where} and the reasons beside it."
            )
        )
    if report.malformed:
        warnings.append(set_aside_warning(report.malformed, report.output, report.dry_run))
    return warnings


def _empty_warnings(report: PreprocessingReport) -> list[str]:
    files: dict[str, list[str]] = {}
    for facts in report.sets:
        for split, count in facts.rows.items():
            wanted = report.options.ratio and facts.control_of is None
            if not count and (split == "train" or wanted):
                name = f"{facts.name}_{split}.parquet"
                files.setdefault(_why_empty(facts, split), []).append(name)
    warnings = [
        f"{few(names)} would have no rows, so {_it_was(len(names), report.dry_run)} not "
        f"{'be ' if report.dry_run else ''}written: {reason}. verl cannot load an empty file: "
        f"leave {'it' if len(names) == 1 else 'them'} out."
        for reason, names in files.items()
    ]
    if report.moved and report.options.split_like:
        warnings.append(
            f"{plural(report.moved, 'prompt')} {have(report.moved)} the side that "
            f"{report.options.split_like} moved {'it' if report.moved == 1 else 'them'} to, not "
            "that of the hash; no other prompt was moved."
        )
    elif report.moved:
        warnings.append(
            f"{plural(report.moved, 'prompt')} moved to the other side of the split, to give a "
            "bucket rows on a side that had none; preprocessing.json "
            f"{'would list' if report.dry_run else 'lists'} them."
        )
    return warnings


def _it_was(count: int, dry_run: bool) -> str:
    was = "would" if dry_run else "was" if count == 1 else "were"
    return f"{'it' if count == 1 else 'they'} {was}"


def _why_empty(facts: SetFacts, split: str) -> str:
    """Why a set has no rows on a side."""
    if facts.control_of:
        return f"{facts.control_of} beside it has no train rows"
    rules = [step.rule for side, step in facts.steps if step.dropped and side in ("", split)]
    if rules:
        return f"{' and '.join(rules)} dropped all their rollouts"
    if not any(facts.rows.values()):
        return "the buckets are empty"
    return "there are too few different prompts for both sides"


def _val_rule(record: SetRecord) -> tuple[object, ...]:
    """What decides the side of a prompt."""
    return record.seed, record.val_ratio, record.val_rows


def _beside(record: SetRecord) -> str | None:
    """The name of the set that a control is beside."""
    if isinstance(record.choice, ChoiceRecord) and isinstance(record.choice.control_of, str):
        return record.choice.control_of
    return None


def _neighbour_warnings(report: PreprocessingReport) -> list[str]:
    """Warnings about sets of other runs in this directory that do not fit this run's."""
    mine, new = report.record, {facts.name for facts in report.sets}
    others = {name: r for name, r in report.manifest.sets.items() if name not in new}
    stages = {name for name in new if is_cumulative(name)}
    differing = {
        "by an earlier --cumulative, over other buckets or more of them: no stage of this run's": [
            name for name in others if stages and is_cumulative(name)
        ],
        "as random rows beside an earlier version of a set that is written anew": [
            name for name, record in others.items() if _beside(record) in new
        ],
        "from another bucketing: their index is another, and prompts that were moved may be on the "
        "other side": [n for n, r in others.items() if r.bucketing != mine.bucketing],
        "with another --seed, --val-ratio or --val-rows: val prompts of one may be train in the "
        "other": [name for name, record in others.items() if _val_rule(record) != _val_rule(mine)],
        "with another --ground-truth-format: verl cannot load them together": [
            n for n, r in others.items() if r.ground_truth_format != mine.ground_truth_format
        ],
    }
    return [
        f"{report.options.output_dir} also holds {', '.join(names)}, made {reason}. Remove them, "
        "or write them again with the same flags, if their buckets are still there."
        for reason, names in differing.items()
        if names
    ]
