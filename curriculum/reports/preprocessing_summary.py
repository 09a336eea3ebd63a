"""The report of a preprocessing run → the summary on stdout."""

from __future__ import annotations

from msgspec import UNSET

from curriculum.choosing.schedule_facts import ScheduleFacts
from curriculum.display.histogram import shorten
from curriculum.display.schedule_picture import SchedulePicture
from curriculum.display.text import (
    bullets,
    few,
    page_written,
    share,
    size,
    table,
    wrapped,
    written_line,
)
from curriculum.errors import plural
from curriculum.preprocess_options import PreprocessOptions
from curriculum.preprocessing.parquet_sets import SetFacts
from curriculum.preprocessing.passes import SourceFacts
from curriculum.preprocessing.settings import DATA_SOURCE
from curriculum.reports.preprocessing_report import PreprocessingReport
from curriculum.reports.verl_verdict import NOT_YET, READY, verl_verdict

NAME_WIDTH = 26  # of a set
RULE_WIDTH = 40


def preprocessing_summary(report: PreprocessingReport, verbose: bool = False) -> str:
    """The summary of a preprocessing run, for stdout; its lines have at most WIDTH columns. With
    `verbose` a second table says more of each set."""
    return "\n".join(
        [
            *_dry_run(report),
            *wrapped(heading(report)),
            *(wrapped(matched(report.source)) if report.source else []),
            "",
            *table(set_rows(report, NAME_WIDTH), left=1),
            "",
            *_choices(report),
            *(wrapped(scheduled(report, report.schedule)) if report.schedule else []),
            *([*table(detail_rows(report, NAME_WIDTH), left=1), ""] if verbose else []),
            *(wrapped(LENGTHS) if any(f.prompt_lengths.longest for f in report.sets) else []),
            *wrapped(_written(report)),
            *wrapped(page_written(report.options.report)),
            *(wrapped(_annotated(report)) if report.options.annotate else []),
            *([] if report.source else ["", *_verdict(report)]),
        ]
    )


def heading(report: PreprocessingReport) -> str:
    """Which sets there are, of what, and how they are split."""
    record = report.record
    filtered = "" if record.filter == "all" else f", filter {record.filter}"
    val = f"{record.val_rows} val rows of each bucket"
    if record.val_ratio is not None:
        val = f"val ratio {record.val_ratio:g}"
    split = f"split by prompt ({val}, seed {record.seed})"
    if report.options.source_val:
        split = f"val rows those of {' '.join(report.options.source_val)}"
    rows = f"of the rows of {' '.join(report.options.source)} " if report.source else ""
    return f"{plural(len(report.sets), 'set')} {rows}from {record.input_dir}{filtered}, {split}:"


def matched(source: SourceFacts) -> str:
    """How rows and rollouts were matched, and what had no counterpart."""
    return (
        f"{source.matched:,} of {plural(source.rows, 'row')} of the data set and "
        f"{source.rollouts - source.without_row:,} of {plural(source.rollouts, 'rollout')} matched "
        f"by {source.way}."
    )


def set_rows(report: PreprocessingReport, width: int) -> list[list[str]]:
    """The sets as a table, with names of at most `width` columns."""
    rows = [["set", "train", "val", "dropped", "size", "median prompt", "longest prompt"]]
    rows.extend(_set_row(facts, width) for facts in report.sets)
    if not any(sum(facts.dropped.values()) for facts in report.sets):
        rows = [row[:3] + row[4:] for row in rows]
    return rows


def _set_row(facts: SetFacts, width: int) -> list[str]:
    return [
        shorten(facts.name, width),
        f"{facts.rows['train']:,}",
        f"{facts.rows['val']:,}",
        f"{sum(facts.dropped.values()):,}",
        "-" if facts.bytes is None else size(facts.bytes),
        _characters(facts.prompt_lengths.median),
        _characters(facts.prompt_lengths.longest),
    ]


def _characters(length: int | None) -> str:
    return "-" if length is None else f"{length:,}"


def detail_rows(report: PreprocessingReport, width: int) -> list[list[str]]:
    """How many prompts each set has, how long nearly all of them are, and its largest column, as a
    table."""
    rows = [["set", "prompts", "90% up to", "99% up to", "largest column"]]
    for facts in report.sets:
        (column, largest), *_ = facts.columns.most_common(1) or [("-", 0)]
        weight = share(largest, sum(facts.columns.values()))
        lengths = facts.prompt_lengths
        rows.append(
            [
                shorten(facts.name, width),
                f"{facts.prompts.distinct:,}",
                _characters(lengths.most),
                _characters(lengths.nearly_all),
                f"{column} {weight}" if facts.columns else "-",
            ]
        )
    return rows


def choice_rows(report: PreprocessingReport) -> list[list[str]]:
    """What each flag that chooses rows left out of each set, as a table; only its head without such
    a flag."""
    rows = [["set", "flag", "side", "rows", "left out", "left"]]
    for facts in report.sets if report.record.choice is not UNSET else ():
        name = shorten(facts.name, NAME_WIDTH)
        steps = [at for at in facts.steps if at[1].dropped or at[1].rule.startswith("--")]
        for side, step in steps:
            numbers = [f"{count:,}" for count in (step.before, step.dropped, step.after)]
            rows.append([name, shorten(step.rule, RULE_WIDTH), side or "both", *numbers])
            name = ""
    return rows


def _choices(report: PreprocessingReport) -> list[str]:
    rows = choice_rows(report)
    lines = [*table(rows, left=3), ""] if len(rows) > 1 else []
    return [*lines, *wrapped(controls_sentence(report))]


def controls_sentence(report: PreprocessingReport) -> str:
    """What the sets of random rows are for; empty if there are none."""
    controls = [facts.name for facts in report.sets if facts.control_of]
    if not controls:
        return ""
    return (
        f"{few(controls)}: as many random train rows of all buckets, without these choices, to "
        "train on for comparison. Measure both on the same val rows, of all buckets."
    )


def scheduled(report: PreprocessingReport, facts: ScheduleFacts) -> str:
    """How the rows follow the schedule, and how to train on them."""
    schedule, means = facts.schedule, facts.epoch
    first, middle, last = (means[at] for at in (0, len(means) // 2, -1))
    batches = f"{len(facts.means):,} batch{'' if len(facts.means) == 1 else 'es'}"
    epochs, of = "", ""
    if schedule.epochs > 1:
        epochs, of = f", each row {schedule.epochs} times", " of the first epoch"
    text = (
        f"Schedule {schedule.kind}: {batches} of {schedule.batch_size:,} rows{epochs}. Mean "
        f"difficulty (0 the easiest row, 1 the hardest, by rank) is {first:.2f} in the first batch"
        f"{of}, {middle:.2f} in the middle one and {last:.2f} in the last. Train with "
        f"data.shuffle=False, data.train_batch_size={schedule.batch_size} and "
        "trainer.total_epochs=1."
    )
    if facts.last < schedule.batch_size:
        whole = facts.rows // schedule.batch_size * schedule.batch_size
        text += (
            f" The last batch has {plural(facts.last, 'row')}, among the hardest, and verl leaves "
            f"out one that is not full; --max-rows {whole} would leave out as many by chance."
        )
    return text


def schedule_picture(
    options: PreprocessOptions, name: str, facts: ScheduleFacts
) -> SchedulePicture:
    """What to draw of a scheduled set."""
    schedule = facts.schedule
    return SchedulePicture(
        title=f"{name}: {schedule.kind} schedule, batches of {schedule.batch_size:,} rows",
        of=f"share of each\n{_mixed_of(options, facts)}",
        facts=facts,
    )


def _mixed_of(options: PreprocessOptions, facts: ScheduleFacts) -> str:
    balance = options.choice.balance
    return "bucket" if not facts.of_groups else balance.place if balance else DATA_SOURCE


def _written(report: PreprocessingReport) -> str:
    """Which files there are now, and where."""
    files = [file for facts in report.sets for file in facts.files.values() if file]
    names = [*files, report.manifest.file_name]
    return written_line(names, report.options.output_dir, report.dry_run)


LENGTHS = (
    "Prompt lengths are in characters; data.max_prompt_length, in tokens, must hold the longest."
)


def _dry_run(report: PreprocessingReport) -> list[str]:
    if not report.dry_run:
        return []
    others = report.options.annotate or report.options.report
    return [f"Dry run: {'no set' if others else 'nothing'} was written.", ""]


def _annotated(report: PreprocessingReport) -> str:
    return f"wrote all rows of --source, with their difficulty, to {report.options.annotate}"


def _verdict(report: PreprocessingReport) -> list[str]:
    problems = verl_verdict(report)
    if not problems:
        return [READY]
    return [NOT_YET, *bullets(problems)]
