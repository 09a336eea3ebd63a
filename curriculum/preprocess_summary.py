"""What the user reads of a preprocessing run: its facts → summary and warnings, in plain words.

Summaries go to stdout, warnings to stderr; a warning says what was found and what to do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curriculum.arrays import HashArray
from curriculum.manifests import PreprocessingManifest, SetRecord
from curriculum.options import DEFAULT_DATA_SOURCE
from curriculum.outputs import UNSCORED_FILE
from curriculum.rows import Notes, Topic
from curriculum.text import plural, share, size, table


@dataclass(frozen=True)
class PromptFacts:
    """How many different prompts a bucket directory has, and how many occur more than once."""

    distinct: int
    in_rollouts: int
    in_buckets: int

    @staticmethod
    def of(buckets: Sequence[HashArray]) -> PromptFacts:
        """Count from the prompt hashes of each bucket's rows."""
        _, rollouts = np.unique(np.concatenate(buckets), return_counts=True)
        once_a_bucket = np.concatenate([np.unique(hashes) for hashes in buckets])
        _, spread = np.unique(once_a_bucket, return_counts=True)
        return PromptFacts(len(rollouts), int((rollouts > 1).sum()), int((spread > 1).sum()))


@dataclass(frozen=True)
class SetFacts:
    """One set as written: files and rows by side, rollouts dropped by bucket, bytes on disk and
    compressed bytes by column."""

    name: str
    buckets: Sequence[str]
    files: dict[str, str | None]
    rows: dict[str, int]
    dropped: dict[str, int]
    bytes: int
    columns: Counter[str]


@dataclass(frozen=True)
class PreprocessingReport:
    """A preprocessing run: its manifest and what else a person wants to know of it.

    `rows`, `unscored`, `responses` and `missing_scores` count over the whole bucket directory.
    """

    manifest: PreprocessingManifest
    output_dir: str
    sets: Sequence[SetFacts]
    prompts: PromptFacts
    moved: int
    both_sides: int
    notes: Notes
    rows: int
    unscored: int
    responses: int
    missing_scores: int
    warnings: Sequence[str]

    @property
    def record(self) -> SetRecord:
        """The record of this run's first set: its flags are those of all."""
        return self.manifest.sets[self.sets[0].name]


def preprocessing_summary(report: PreprocessingReport) -> str:
    """What a preprocessing run made, for stdout."""
    record, prompts = report.record, report.prompts
    rows = [["set", "train", "val", "dropped", "size", "largest column"]]
    rows.extend(_set_row(facts) for facts in report.sets)
    lines = [
        f"{plural(len(report.sets), 'set')} in {report.output_dir} "
        f"from {record.input_dir}, filter {record.filter}:",
        "",
        *table(rows, left=1),
        "",
        *(f"wrote {path}" for path in _paths(report)),
        "",
        f"prompts: {prompts.distinct:,} different, {prompts.in_rollouts:,} in more than one "
        f"rollout, {prompts.in_buckets:,} in more than one bucket",
        f"split: by prompt, val ratio {record.val_ratio:g}, seed {record.seed}; "
        f"{report.both_sides:,} prompts on both sides",
    ]
    if record.data_source == DEFAULT_DATA_SOURCE:
        lines += [
            f"reward: data_source is {DEFAULT_DATA_SOURCE}, for which verl has no reward function:",
            "  set custom_reward_function.path in verl, or use --data-source or --keep-data-source",
        ]
    return "\n".join(lines)


def _set_row(facts: SetFacts) -> list[str]:
    (column, largest), *_ = facts.columns.most_common(1) or [("-", 0)]
    weight = share(largest, sum(facts.columns.values()))
    return [
        facts.name,
        f"{facts.rows['train']:,}",
        f"{facts.rows['val']:,}",
        f"{sum(facts.dropped.values()):,}",
        size(facts.bytes),
        f"{column} {weight}",
    ]


def _paths(report: PreprocessingReport) -> list[str]:
    files = [file for facts in report.sets for file in facts.files.values() if file]
    return [str(Path(report.output_dir, file)) for file in files]


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
        Topic.NO_TRUTH: "{count} of {rollouts} have no ground truth, it is null: a reward "
        "function that compares with it will fail on them.",
        Topic.NO_DATA_SOURCE: "{count} of {rollouts} have no data_source of their own and got "
        "--data-source.",
        Topic.NO_TEXT: "{count} of {rollouts} have no text for their best response, it is null.",
        Topic.OTHER_COUNT: "{count} of {rollouts} have another number of responses than of "
        "rewards; they were matched by position. Check what wrote them.",
        Topic.MENDED: "{count} of {rollouts} hold lone surrogates, which parquet cannot; they "
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
                text.format(by_key=by_key, count=count, rollouts=plural(total, "rollout"))
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
        where = Path(report.output_dir, UNSCORED_FILE)
        warnings.append(
            f"{plural(report.unscored, 'rollout')} without any score became no row; see {where} "
            "and the reasons beside it."
        )
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
                f"{facts.name} has no {split} rows, so {facts.name}_{split}.parquet was not "
                f"written: {reason}. verl cannot load an empty file; leave this one out."
            )
    if report.moved:
        warnings.append(
            f"{plural(report.moved, 'prompt')} moved to the other side of the split, so that "
            "every bucket has train and val rows; preprocessing.json lists them."
        )
    return warnings


def _neighbour_warnings(report: PreprocessingReport) -> list[str]:
    """Sets of other runs in the same directory whose split is not this run's."""
    mine, new = report.record, {facts.name for facts in report.sets}
    others = [
        name
        for name, record in report.manifest.sets.items()
        if name not in new
        and (record.seed, record.val_ratio, record.input_dir)
        != (mine.seed, mine.val_ratio, mine.input_dir)
    ]
    if not others:
        return []
    return [
        f"{report.output_dir} also holds {', '.join(others)}, made with another --seed, "
        "--val-ratio or input: val prompts of one may train in the other. Do not mix them, or "
        "write them again with the same flags."
    ]
