"""The report of a preprocessing run, and a row of each set → a page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from msgspec import Struct

from curriculum.display.text import share, size
from curriculum.errors import plural
from curriculum.options import DEFAULT_SEED
from curriculum.output.output_directory import OutputDirectory
from curriculum.pages.charts import BOTTOM, HEIGHT, LEFT, TOP, WIDTH, line
from curriculum.pages.render import LIMITS, Page
from curriculum.pages.visible import Excerpt
from curriculum.preprocessing.parquet_sets import SetFacts
from curriculum.reports.preprocessing_report import PreprocessingReport
from curriculum.reports.preprocessing_summary import (
    LENGTHS,
    choice_rows,
    controls_sentence,
    detail_rows,
    heading,
    matched,
    scheduled,
    set_rows,
)
from curriculum.reports.preprocessing_warnings import preprocessing_warnings
from curriculum.reports.verl_verdict import NOT_YET, READY, verl_verdict
from curriculum.storage.paths import AnyPath

NAME_WIDTH = 60
MOST_SETS = 24  # of which a row is shown
MOST_SOURCES = 10  # of a set
MOST_POINTS = 2_000  # of the line of a schedule
CHARACTERS_A_TOKEN = 4  # of English, about


class ShownRow(Struct, frozen=True):
    """A row of a set: the file and the number of the row, its messages, and all other fields."""

    file: str
    number: int
    of: int
    prompt: list[tuple[str, Excerpt]]
    fields: list[tuple[str, Excerpt]]


def preprocessing_page(report: PreprocessingReport, output: OutputDirectory) -> Page:
    """The page of a run whose sets are staged, not yet in place."""
    problems = [] if report.source else verl_verdict(report)
    source = "matched with a data set: whether verl can train on it is for its own rows to say"
    choices, details = choice_rows(report), detail_rows(report, NAME_WIDTH)
    facts: dict[str, Any] = {
        "kind": ", preprocessing",
        "title": f"{plural(len(report.sets), 'set')} from {report.record.input_dir}",
        "dry_run": report.dry_run,
        "heading": heading(report).rstrip(":") + ".",
        "matched": matched(report.source) if report.source else "",
        "ready": source if report.source else READY,
        "decide_first": NOT_YET.rstrip(":"),
        "questions": problems,
        "warnings": preprocessing_warnings(report),
        "sets": set_rows(report, NAME_WIDTH),
        "details": details,
        "choices": choices if len(choices) > 1 else [],
        "dropped": _dropped(report),
        "controls": controls_sentence(report),
        "sources": _sources(report),
        "lengths": _lengths(report),
        "lengths_note": _lengths_note(report),
        "schedule": _schedule(report),
        "schema": [] if report.dry_run else _schema(report, output),
        "rows": [] if report.dry_run else list(_rows(report, output)),
        "more_sets": max(len(report.sets) - MOST_SETS, 0),
    }
    return Page("preprocessing.html", {**facts, "contents": _contents(facts)})


def _contents(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    sections = {
        "warnings": "Warnings", "sets": "Sets", "dropped": "Left out", "lengths": "Prompt lengths",
        "schedule": "Schedule", "schema": "Schema", "rows": "Rows",
    }  # fmt: skip
    there = {**facts, "dropped": facts["dropped"] or facts["choices"]}
    return [(name, title) for name, title in sections.items() if there[name]]


def _dropped(report: PreprocessingReport) -> list[list[str]]:
    """What --filter and --keep dropped, bucket by bucket, as a table."""
    rows = [["set", "bucket", "dropped"]]
    for facts in report.sets:
        rows += [[facts.name, name, f"{n:,}"] for name, n in facts.dropped.items() if n]
    return rows if len(rows) > 1 else []


def _sources(report: PreprocessingReport) -> list[list[str]]:
    rows = [
        [facts.name, name, f"{count:,}", share(count, facts.data_sources.total())]
        for facts in report.sets
        for name, count in facts.data_sources.most_common(MOST_SOURCES)
    ]
    return [["set", "data_source", "rows", "share"], *rows] if rows else []


def _lengths(report: PreprocessingReport) -> list[list[str]]:
    rows = [["set", "median", "90% up to", "99% up to", "longest", "longest, in tokens (about)"]]
    for facts in report.sets:
        found = facts.prompt_lengths
        if found.longest is not None:
            lengths = (found.median, found.most, found.nearly_all, found.longest)
            tokens = -(-found.longest // CHARACTERS_A_TOKEN)
            rows.append([facts.name, *(f"{length:,}" for length in lengths), f"{tokens:,}"])
    return rows if len(rows) > 1 else []


def _lengths_note(report: PreprocessingReport) -> str:
    return (
        f"{LENGTHS} The last column takes {CHARACTERS_A_TOKEN} characters for a token, as English "
        "has about; Chinese and Japanese have one or two, and the chat template adds some. Count "
        "with the tokenizer of your model where it is close."
    )


def _schedule(report: PreprocessingReport) -> dict[str, Any] | None:
    """How the batches of the only set follow their schedule."""
    facts = report.schedule
    if facts is None:
        return None
    every = np.linspace(0, len(facts.means) - 1, min(len(facts.means), MOST_POINTS)).astype(int)
    return {
        "text": scheduled(report, facts),
        "means": line(facts.means[every].tolist()),
        "meant": line(facts.meant[every].tolist()),
        "batches": len(facts.means),
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "floor": HEIGHT - BOTTOM,
        "marks": [(TOP, "1"), ((TOP + HEIGHT - BOTTOM) / 2, "0.5"), (HEIGHT - BOTTOM, "0")],
    }


def _files(facts: SetFacts) -> list[str]:
    return [file for file in facts.files.values() if file]


def _schema(report: PreprocessingReport, output: OutputDirectory) -> list[list[str]]:
    """The columns of the sets, which all have one schema, and what they weigh; none for other files
    than parquet."""
    names = [name for facts in report.sets for name in _files(facts) if name.endswith(".parquet")]
    if not names:
        return []
    from curriculum.storage.parquet_reading import open_parquet

    weights = Counter[str]()
    for facts in report.sets:
        for column, weight in facts.columns.items():
            in_info = column.startswith("extra_info.")
            weights["extra_info" if in_info else column] += weight
    schema = open_parquet(output.staged(names[0])).schema_arrow
    rows = [[f.name, str(f.type), share(weights[f.name], weights.total())] for f in schema]
    return [["column", "type", "of the bytes"], *rows]


def _rows(report: PreprocessingReport, output: OutputDirectory) -> Iterator[ShownRow]:
    """A row of each set, drawn by a fixed seed."""
    for facts in report.sets[:MOST_SETS]:
        for name in _files(facts)[:1]:
            path = output.staged(name)
            count = facts.rows["train"] or facts.rows["val"]
            number = int(np.random.Generator(np.random.PCG64(DEFAULT_SEED)).integers(count))
            row = _parquet_row(path, number) if name.endswith(".parquet") else _line(path, number)
            yield _shown(name, number, count, row)


def _parquet_row(path: AnyPath, number: int) -> dict[str, Any]:
    from curriculum.storage.parquet_reading import open_parquet

    file, first = open_parquet(path), 0
    for group in range(file.num_row_groups):
        last = first + file.metadata.row_group(group).num_rows
        if number < last:
            (row,) = file.read_row_group(group).slice(number - first, 1).to_pylist()
            return dict(row)
        first = last
    return {}


def _line(path: AnyPath, number: int) -> dict[str, Any]:
    with path.open("rb") as file:
        for at, line_of_file in enumerate(file):
            if at == number:
                return dict(json.loads(line_of_file))
    return {}


def _shown(name: str, number: int, count: int, row: dict[str, Any]) -> ShownRow:
    prompt = row.get("prompt")
    messages = prompt if isinstance(prompt, list) else []
    whole = bool(messages) and all(isinstance(message, dict) for message in messages)
    fields = {key: value for key, value in row.items() if not (whole and key == "prompt")}
    return ShownRow(
        name,
        number,
        count,
        [_message(message) for message in messages] if whole else [],
        [(key, Excerpt.of(_as_text(value), LIMITS[0][0])) for key, value in fields.items()],
    )


def _message(message: Mapping[str, Any]) -> tuple[str, Excerpt]:
    others = {k: v for k, v in message.items() if k not in ("role", "content") and v is not None}
    content = message.get("content")
    texts = [_as_text(part) for part in (content, others) if part not in (None, {})]
    return str(message.get("role")), Excerpt.of("\n".join(texts), LIMITS[0][0])


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return f"{size(len(value))} of binary data"
    return json.dumps(value, ensure_ascii=False, indent=2, default=_other)


def _other(value: object) -> str:
    return f"{size(len(value))} of binary data" if isinstance(value, bytes) else str(value)
