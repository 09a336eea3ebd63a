"""The report of a preprocessing run → the summary on stdout and warnings on stderr."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from curriculum.errors import plural
from curriculum.options import DEFAULT_DATA_SOURCE
from curriculum.output.manifests import (
    UNSCORED_FILE,
    PreprocessingManifest,
    SetRecord,
    is_cumulative,
)
from curriculum.preprocessing.parquet_sets import SetFacts
from curriculum.reports.text import set_aside_warning, share, size, table
from curriculum.storage.paths import AnyPath
from curriculum.verl.row_batch import Notes, Topic


@dataclass(frozen=True)
class PreprocessingReport:
    """A preprocessing run: its manifest and what else a person wants to know about it.

    `rows`, `unscored`, `malformed` (by kind), `responses` and `missing_scores` count over the
    whole bucket directory. With `dry_run` nothing was written.
    """

    manifest: PreprocessingManifest
    output_dir: str
    output: AnyPath
    sets: Sequence[SetFacts]
    moved: int
    notes: Notes
    rows: int
    unscored: int
    malformed: Counter[str]
    responses: int
    missing_scores: int
    warnings: Sequence[str]
    dry_run: bool = False

    @property
    def record(self) -> SetRecord:
        """The record of this run's first set; all its sets have the same flags."""
        return self.manifest.sets[self.sets[0].name]


def preprocessing_summary(report: PreprocessingReport) -> str:
    """The summary of a preprocessing run, for stdout."""
    record = report.record
    rows = [["set", "train", "val", "dropped", "size", "largest column"]]
    rows.extend(_set_row(facts) for facts in report.sets)
    prompts = [["set", "prompts", "in 2+ rollouts", "in 2+ buckets", "on both sides"]]
    prompts.extend(_prompt_row(facts) for facts in report.sets)
    lengths = [["set", "median", "90%", "99%", "longest"]]
    lengths.extend(_length_row(facts) for facts in report.sets)
    lines = [
        *(["Dry run: nothing was written.", ""] if report.dry_run else []),
        f"{plural(len(report.sets), 'set')} in {report.output_dir} "
        f"from {record.input_dir}, filter {record.filter}:",
        "",
        *table(rows, left=1),
        "",
        f"Split by prompt, val ratio {record.val_ratio:g}, seed {record.seed}:",
        "",
        *table(prompts, left=1),
        "",
        "Prompt lengths in characters (data.max_prompt_length, in tokens, must hold the longest):",
        "",
        *table(lengths, left=1),
        "",
        *(f"{'would write' if report.dry_run else 'wrote'} {path}" for path in _paths(report)),
    ]
    # A cumulative set repeats rows of its buckets' own sets.
    own = [facts for facts in report.sets if len(facts.buckets) == 1] or report.sets
    unknown = sum(facts.data_sources[DEFAULT_DATA_SOURCE] for facts in own)
    if unknown:
        lines += [
            "",
            f"{plural(unknown, 'row')} with data_source {DEFAULT_DATA_SOURCE}: verl has no reward "
            "function for it. Set",
            "reward.custom_reward_function.path in verl, or use --data-source or "
            "--keep-data-source.",
        ]
    return "\n".join(lines)


def _prompt_row(facts: SetFacts) -> list[str]:
    prompts = facts.prompts
    counts = (prompts.distinct, prompts.in_rollouts, prompts.in_buckets, prompts.both_sides)
    return [facts.name, *(f"{count:,}" for count in counts)]


def _length_row(facts: SetFacts) -> list[str]:
    lengths = facts.prompt_lengths
    values = (lengths.median, lengths.most, lengths.nearly_all, lengths.longest)
    return [facts.name, *("-" if value is None else f"{value:,}" for value in values)]


def _set_row(facts: SetFacts) -> list[str]:
    (column, largest), *_ = facts.columns.most_common(1) or [("-", 0)]
    weight = share(largest, sum(facts.columns.values()))
    return [
        facts.name,
        f"{facts.rows['train']:,}",
        f"{facts.rows['val']:,}",
        f"{sum(facts.dropped.values()):,}",
        "-" if facts.bytes is None else size(facts.bytes),
        f"{column} {weight}" if facts.columns else "-",
    ]


def _paths(report: PreprocessingReport) -> list[str]:
    files = [file for facts in report.sets for file in facts.files.values() if file]
    return [str(report.output / file) for file in files]


def preprocessing_warnings(report: PreprocessingReport) -> list[str]:
    """What a person should know before training on the files, each with a remedy."""
    return [
        *report.warnings,
        *_note_warnings(report),
        *_score_warnings(report),
        *_empty_warnings(report),
        *_neighbour_warnings(report),
    ]


def _note_warnings(report: PreprocessingReport) -> list[str]:
    texts = {
        Topic.MESSAGE_KEY: "message keys other than role and content left out: {by_key}.",
        Topic.TRUTH_KEY: "ground truth keys beyond instruction ids and kwargs left out: {by_key}. "
        "To keep them use --ground-truth-format string.",
        Topic.NO_TRUTH: "{who} have no ground truth, it is null: a reward "
        "function that compares with it will fail on them.",
        Topic.NO_DATA_SOURCE: "{who} have no data_source of their own and got --data-source.",
        Topic.NO_TEXT: "{who} have no text for their best response, it is null.",
        Topic.OTHER_COUNT: "{who} have another number of responses than of "
        "rewards; they were matched by position. Check what wrote them.",
        Topic.SURROGATES: "{who} hold lone surrogates, which parquet cannot; they "
        "were replaced by U+FFFD.",
    }
    warnings = []
    for topic, text in texts.items():
        found = {key: count for (at, key), count in report.notes.items() if at is topic}
        if found:
            by_key = ", ".join(f"{key} {count:,}" for key, count in sorted(found.items()))
            total = report.rows + report.unscored
            count = f"{sum(found.values()):,}"
            warnings.append(
                text.format(
                    by_key=by_key,
                    who=f"{count} of {plural(total, 'rollout')} in {report.record.input_dir}",
                )
            )
    return warnings


def _score_warnings(report: PreprocessingReport) -> list[str]:
    warnings = []
    if report.missing_scores:
        warnings.append(
            f"{report.missing_scores:,} of {plural(report.responses, 'score')} missing (null, NaN, "
            "infinite or absent) and left out: a failed grader is not a wrong answer."
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
    warnings = []
    ratio = report.record.val_ratio
    for facts in report.sets:
        dropped = sum(facts.dropped.values())
        for split, count in facts.rows.items():
            if count or (split == "val" and not ratio):
                continue
            if dropped:
                reason = f"--filter {report.record.filter} dropped {plural(dropped, 'rollout')}"
            elif not any(facts.rows.values()):
                reason = "its buckets are empty"
            else:
                reason = "there are too few different prompts for both sides"
            warnings.append(
                f"{facts.name} has no {split} rows, so {facts.name}_{split}.parquet "
                f"{'would not be' if report.dry_run else 'was not'} written: {reason}. verl cannot "
                "load an empty file; leave this one out."
            )
    if report.moved:
        warnings.append(
            f"{plural(report.moved, 'prompt')} moved to the other side of the split, to give a "
            "bucket rows on a side that had none; preprocessing.json "
            f"{'would list' if report.dry_run else 'lists'} them."
        )
    return warnings


def _neighbour_warnings(report: PreprocessingReport) -> list[str]:
    """Warnings about sets of other runs in this directory that do not fit this run's."""
    mine, new = report.record, {facts.name for facts in report.sets}
    others = {name: r for name, r in report.manifest.sets.items() if name not in new}
    stages = {name for name in new if is_cumulative(name)}
    differing = {
        "by an earlier --cumulative, over other buckets or more of them: no stage of this run's": [
            name for name in others if stages and is_cumulative(name)
        ],
        "from another bucketing: their index is another, and prompts that were moved may be on the "
        "other side": [n for n, r in others.items() if r.bucketing != mine.bucketing],
        "with another --seed or --val-ratio: val prompts of one may train in the other": [
            n for n, r in others.items() if (r.seed, r.val_ratio) != (mine.seed, mine.val_ratio)
        ],
        "with another --ground-truth-format: verl cannot load them together": [
            n for n, r in others.items() if r.ground_truth_format != mine.ground_truth_format
        ],
    }
    return [
        f"{report.output_dir} also holds {', '.join(names)}, made {reason}. Remove them, or write "
        "them again with the same flags, if their buckets are still there."
        for reason, names in differing.items()
        if names
    ]
