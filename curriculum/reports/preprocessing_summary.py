"""The report of a preprocessing run → the summary on stdout."""

from __future__ import annotations

from curriculum.display.histogram import shorten
from curriculum.errors import plural
from curriculum.preprocessing.parquet_sets import SetFacts
from curriculum.preprocessing.passes import SourceFacts
from curriculum.reports.preprocessing_report import PreprocessingReport
from curriculum.reports.text import bullets, share, size, table, wrapped, written_line
from curriculum.reports.verl_verdict import NOT_YET, READY, verl_verdict

NAME_WIDTH = 26  # of a set


def preprocessing_summary(report: PreprocessingReport, verbose: bool = False) -> str:
    """The summary of a preprocessing run, for stdout; its lines have at most WIDTH columns. With
    `verbose` a second table says more of each set."""
    return "\n".join(
        [
            *_dry_run(report),
            *wrapped(_heading(report)),
            *(wrapped(_matched(report.source)) if report.source else []),
            "",
            *_table(report),
            "",
            *(_details(report) if verbose else []),
            *(wrapped(_LENGTHS) if any(f.prompt_lengths.longest for f in report.sets) else []),
            *wrapped(_written(report)),
            *(wrapped(_annotated(report)) if report.options.annotate else []),
            *([] if report.source else ["", *_verdict(report)]),
        ]
    )


def _heading(report: PreprocessingReport) -> str:
    record = report.record
    filtered = "" if record.filter == "all" else f", filter {record.filter}"
    split = f"split by prompt (val ratio {record.val_ratio:g}, seed {record.seed})"
    if report.options.source_val:
        split = f"val rows those of {' '.join(report.options.source_val)}"
    rows = f"of the rows of {' '.join(report.options.source)} " if report.source else ""
    return f"{plural(len(report.sets), 'set')} {rows}from {record.input_dir}{filtered}, {split}:"


def _matched(source: SourceFacts) -> str:
    """How rows and rollouts were matched, and what had no counterpart."""
    return (
        f"{source.matched:,} of {plural(source.rows, 'row')} of the data set and "
        f"{source.rollouts - source.without_row:,} of {plural(source.rollouts, 'rollout')} matched "
        f"by {source.way}."
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


_LENGTHS = (
    "Prompt lengths are in characters; data.max_prompt_length, in tokens, must hold the longest."
)


def _dry_run(report: PreprocessingReport) -> list[str]:
    if not report.dry_run:
        return []
    return [f"Dry run: {'no set' if report.options.annotate else 'nothing'} was written.", ""]


def _annotated(report: PreprocessingReport) -> str:
    return f"wrote all rows of --source, with their difficulty, to {report.options.annotate}"


def _verdict(report: PreprocessingReport) -> list[str]:
    problems = verl_verdict(report)
    if not problems:
        return [READY]
    return [NOT_YET, *bullets(problems)]
