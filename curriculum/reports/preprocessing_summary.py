"""The report of a preprocessing run → the summary on stdout."""

from __future__ import annotations

from curriculum.display.histogram import shorten
from curriculum.errors import plural
from curriculum.preprocessing.parquet_sets import SetFacts
from curriculum.reports.preprocessing_report import PreprocessingReport
from curriculum.reports.text import bullets, share, size, table, wrapped, written_line
from curriculum.reports.verl_verdict import NOT_YET, READY, verl_verdict

NAME_WIDTH = 26  # of a set


def preprocessing_summary(report: PreprocessingReport, verbose: bool = False) -> str:
    """The summary of a preprocessing run, for stdout; its lines have at most WIDTH columns. With
    `verbose` a second table says more of each set."""
    return "\n".join(
        [
            *(["Dry run: nothing was written.", ""] if report.dry_run else []),
            *wrapped(_heading(report)),
            "",
            *_table(report),
            "",
            *(_details(report) if verbose else []),
            *wrapped(
                "Prompt lengths are in characters; data.max_prompt_length, in tokens, must hold "
                "the longest."
            ),
            *wrapped(_written(report)),
            "",
            *_verdict(report),
        ]
    )


def _heading(report: PreprocessingReport) -> str:
    record = report.record
    filtered = "" if record.filter == "all" else f", filter {record.filter}"
    return (
        f"{plural(len(report.sets), 'set')} from {record.input_dir}{filtered}, split by prompt "
        f"(val ratio {record.val_ratio:g}, seed {record.seed}):"
    )


def _table(report: PreprocessingReport) -> list[str]:
    rows = [["set", "train", "val", "dropped", "size", "median prompt", "longest prompt"]]
    rows.extend(_set_row(facts) for facts in report.sets)
    if not any(sum(facts.dropped.values()) for facts in report.sets):
        rows = [row[:3] + row[4:] for row in rows]
    return table(rows, left=1)


def _set_row(facts: SetFacts) -> list[str]:
    return [
        shorten(facts.name, NAME_WIDTH),
        f"{facts.rows['train']:,}",
        f"{facts.rows['val']:,}",
        f"{sum(facts.dropped.values()):,}",
        "-" if facts.bytes is None else size(facts.bytes),
        _characters(facts.prompt_lengths.median),
        _characters(facts.prompt_lengths.longest),
    ]


def _characters(length: int | None) -> str:
    return "-" if length is None else f"{length:,}"


def _details(report: PreprocessingReport) -> list[str]:
    """How many prompts each set has, how long nearly all of them are, and its largest column."""
    rows = [["set", "prompts", "90% up to", "99% up to", "largest column"]]
    for facts in report.sets:
        (column, largest), *_ = facts.columns.most_common(1) or [("-", 0)]
        weight = share(largest, sum(facts.columns.values()))
        lengths = facts.prompt_lengths
        rows.append(
            [
                shorten(facts.name, NAME_WIDTH),
                f"{facts.prompts.distinct:,}",
                _characters(lengths.most),
                _characters(lengths.nearly_all),
                f"{column} {weight}" if facts.columns else "-",
            ]
        )
    return [*table(rows, left=1), ""]


def _written(report: PreprocessingReport) -> str:
    """Which files there are now, and where."""
    files = [file for facts in report.sets for file in facts.files.values() if file]
    names = [*files, report.manifest.file_name]
    return written_line(names, report.options.output_dir, report.dry_run)


def _verdict(report: PreprocessingReport) -> list[str]:
    problems = verl_verdict(report)
    if not problems:
        return [READY]
    return [NOT_YET, *bullets(problems)]
