"""The values of single options → nothing, or what is wrong with one.

Each function raises UsageError, which names the flag and says what to write instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import PurePosixPath

from curriculum.errors import UsageError, check_choice, plural
from curriculum.metrics import METRICS
from curriculum.packages import how_to_install

PLOT_SUFFIXES = (".png", ".svg", ".pdf")


def check_metric(name: str) -> None:
    """Raise UsageError for a name that no metric has; it may be another word for one of them."""
    pass_at = re.fullmatch(r"pass[@_-]+(?:at[_-]?)?(\d+)", name)
    meant = f"pass_at_k --k {pass_at[1]}" if pass_at else _SYNONYMS.get(name)
    if name not in METRICS and meant:
        raise UsageError(
            f"there is no {name!r}",
            where="--metric",
            expected="one of " + ", ".join(METRICS),
            fix=f"did you mean --metric {meant}?",
        )
    check_choice("--metric", name, METRICS)


_SYNONYMS = dict.fromkeys(("pass_rate", "solve_rate", "accuracy", "acc"), "success_rate")


def check_group_by(value: str) -> None:
    """Raise UsageError for anything but the prompt."""
    if value != "prompt":
        raise UsageError(
            f"the value is {value!r}",
            where="--group-by",
            expected="prompt, the only choice",
            fix=f"write --group-by prompt; to group by a field of the lines, --group-field {value}",
        )


def check_at_least_one(flag: str, value: int | None, fix: str) -> None:
    """Raise UsageError for a number below 1."""
    if value is not None and value < 1:
        raise UsageError(f"the number is {value}", where=flag, expected="1 or more", fix=fix)


def check_workers(value: int | None) -> None:
    """Raise UsageError for a number of workers below 1."""
    fix = "give the number of processes, such as --workers 4, or leave it out for one per core"
    check_at_least_one("--workers", value, fix)


def check_finite(flag: str, value: float | None) -> None:
    """Raise UsageError for NaN and infinity."""
    if value is not None and not math.isfinite(value):
        raise UsageError(
            f"the score is {value}",
            where=flag,
            expected="a finite number",
            fix="give the lowest score that passes, such as 0.5",
        )


def check_path(flag: str, name: str | None, wanted: str) -> None:
    """Raise UsageError for an empty path."""
    if name == "":
        raise UsageError(
            "the path is empty",
            where=flag,
            expected=wanted,
            fix="write it out, or look whether the variable that holds it is set",
        )


def check_output(name: str | None, dry_run: bool, engine: str) -> None:
    """Raise UsageError unless there is an output directory or none is needed."""
    if name is not None:
        check_path("--output-dir", name, "a directory to write to")
    elif not dry_run:
        raise UsageError(
            "there is no output directory",
            where="--output-dir",
            expected="a directory to write to",
            fix="name one with -o, or look first with --dry-run, which needs none",
        )
    elif engine == "ray":
        raise UsageError(
            "there is no output directory",
            where="--output-dir",
            expected="with Ray one for temporary files, which all nodes see, in a dry run too",
            fix="name one with -o, or leave out --engine ray",
        )


def check_text(flag: str, value: str | None) -> None:
    """Raise UsageError for an empty name."""
    if value == "":
        raise UsageError(
            "the name is empty",
            where=flag,
            expected="a name",
            fix="give one, or leave the flag out for the default",
        )


def check_place(flag: str, place: str | None) -> None:
    """Raise UsageError for a place with an empty part."""
    if place is not None and not all(place.split(".")):
        raise UsageError(
            f"the place is {place!r}",
            where=flag,
            expected="a field of a line, or a.b inside one",
            fix="give one, or leave the flag out for the default",
        )


def check_score_field(name: str | None) -> None:
    """Raise UsageError for a name that cannot be the field of a score."""
    check_text("--score-field", name)
    if name is not None and (not name.isprintable() or set(name) & {'"', "\\"}):
        raise UsageError(
            f"the name is {name!r}",
            where="--score-field",
            expected="a name without quotes, backslashes and control characters",
            fix="rename the field",
        )


def check_thresholds(thresholds: Sequence[float], num_buckets: int | None, ties: str) -> None:
    """Raise UsageError for thresholds that make no cuts, or not as many as are asked for."""
    finite = all(math.isfinite(value) for value in thresholds)
    if not thresholds or not finite or not all(a < b for a, b in pairwise(thresholds)):
        raise UsageError(
            f"the thresholds are {' '.join(f'{value:g}' for value in thresholds) or 'none'}",
            where="--thresholds",
            expected="finite metric values, strictly ascending",
            fix="write them from low to high, each once, such as --thresholds 0.3 0.7",
        )
    if num_buckets not in (None, len(thresholds) + 1):
        raise UsageError(
            f"{plural(len(thresholds), 'threshold')} beside --num-buckets {num_buckets}",
            where="--thresholds",
            expected=f"--num-buckets {len(thresholds) + 1}, one bucket more than thresholds",
            fix="leave out --num-buckets",
        )
    if ties == "split":
        raise UsageError(
            "--ties split makes equal parts, thresholds make parts by value",
            where="--thresholds",
            expected="one of the two",
            fix="leave out --ties or --thresholds",
        )


def check_parquet(flag: str, name: str | None) -> None:
    """Raise UsageError for a name that does not end like a parquet file."""
    if name is not None and not name.endswith(".parquet"):
        raise UsageError(
            f"the file is {name!r}",
            where=flag,
            expected="a name that ends in .parquet",
            fix=f"write {flag} {_ending_in('.parquet', name)}",
        )


def check_more_responses(values: Sequence[str], metric: str, within: str | None) -> None:
    """Raise UsageError unless the values of --more-responses are a number of responses and a file,
    and the buckets follow from the pass rate."""
    flag = "--more-responses"
    if len(values) != 2 or not values[0].isdecimal() or not int(values[0]):
        raise UsageError(
            f"the value is {' '.join(values)!r}",
            where=flag,
            expected="a number of responses and a file, such as --more-responses 5000 more.jsonl",
            fix="write both",
        )
    if not values[1].endswith(".jsonl"):
        raise UsageError(
            f"the file is {values[1]!r}",
            where=flag,
            expected="a name that ends in .jsonl",
            fix=f"write {flag} {values[0]} {_ending_in('.jsonl', values[1])}",
        )
    if metric != "success_rate":
        raise UsageError(
            f"what a further response would settle is known of pass rates, not of {metric}",
            where=flag,
            expected="-m success_rate beside it",
            fix="add it; for scores of 0 and 1 it cuts as mean_reward does",
        )
    if within is not None:
        raise UsageError(
            "each group has cuts of its own",
            where=flag,
            expected="cuts that are the same for all rollouts",
            fix="leave out --within, or bucket the files of each group by themselves",
        )


def check_plot(name: str) -> None:
    """Raise UsageError unless such a picture can be drawn here."""
    if PurePosixPath(name).suffix not in PLOT_SUFFIXES:
        raise UsageError(
            f"the file is {name!r}",
            where="--plot",
            expected="a name that ends in " + ", ".join(PLOT_SUFFIXES),
            fix=f"write --plot {_ending_in('.png', name)}",
        )
    if find_spec("matplotlib") is None:
        raise UsageError(
            "matplotlib, which draws the picture, is not installed",
            where="--plot",
            fix=how_to_install(["matplotlib"], extra="plot"),
        )


def check_report(name: str) -> None:
    """Raise UsageError unless such a page can be written here."""
    check_path("--report", name, "a file, such as --report page.html")
    if PurePosixPath(name).suffix != ".html":
        raise UsageError(
            f"the file is {name!r}",
            where="--report",
            expected="a name that ends in .html",
            fix=f"write --report {_ending_in('.html', name)}",
        )
    if find_spec("jinja2") is None:
        raise UsageError(
            "Jinja2, which the page is made with, is not installed",
            where="--report",
            fix=how_to_install(["jinja2"], extra="report"),
        )


def _ending_in(suffix: str, name: str) -> str:
    """The name with this suffix instead of its own."""
    stem, _, rest = name.rpartition(".")
    return (name if "/" in rest or not stem else stem) + suffix
