#!/usr/bin/env python3
"""Show how many prompts each bucket held, round after round, from manifests and score tables alone.

Buckets that are cut in parts are about as large in every round, whatever the model learned, so
rounds are counted at the cut values of the first one. They are if each was bucketed with
`--cut-like` of it. If not, their score tables are cut at these values: `scores.parquet` in each
directory, as `bucket_rollouts_by_difficulty.py --scores DIR/scores.parquet` writes it, or --scores.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

# From a checkout the package is not installed; it lies one directory up.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from curriculum.bucketers import cut_thresholds, inner_buckets
from curriculum.cli import run
from curriculum.comparing.cut_like import thresholds_of, why_elsewhere
from curriculum.comparing.earlier import load_earlier
from curriculum.display.figures import save_figure
from curriculum.display.histogram import shorten
from curriculum.display.text import number, share, table
from curriculum.errors import InputError, UsageError
from curriculum.option_checks import check_plot
from curriculum.output.manifests import BucketingManifest

EPILOG = """examples:
  python examples/track_rounds.py round1 round2 round3
  python examples/track_rounds.py round1 round2 --plot rounds.png
"""


@dataclass(frozen=True)
class Round:
    """A round: its name, how many prompts each bucket holds, and the mean of the metric (None: it
    is not known)."""

    name: str
    counts: Sequence[int]
    mean: float | None = None


@dataclass(frozen=True)
class Scores:
    """What is taken of a score table: the metric, responses and passes of each rollout, NaN where
    the metric is undefined, and the hashes of the prompts."""

    values: np.ndarray[Any, Any]
    responses: np.ndarray[Any, Any]
    passes: np.ndarray[Any, Any]
    prompts: frozenset[str | None]


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError where flags are wrong."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(
            message.removeprefix("argument "), fix=f"{self.prog} --help lists the flags"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Show the rounds; the exit code."""
    debug = "--debug" in (sys.argv if argv is None else argv)
    return run(lambda: show(argv), quiet=False, debug=debug)


def build_parser() -> Parser:
    """The flags."""
    parser = Parser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("rounds", nargs="+", metavar="DIR", help="directories of buckets, in order")
    parser.add_argument(
        "--scores", nargs="+", metavar="FILE",
        help="the score table of each round (default: scores.parquet in its directory)",
    )  # fmt: skip
    parser.add_argument("--plot", metavar="FILE", help="draw the shares, into a .png, .svg or .pdf")
    parser.add_argument("--debug", action="store_true", help="show a traceback with an error")
    return parser


def show(argv: Sequence[str] | None) -> tuple[str, list[str]]:
    """What to print for these flags, and warnings. Raises InputError and UsageError."""
    flags = build_parser().parse_args(argv)
    if flags.scores and len(flags.scores) != len(flags.rounds):
        raise UsageError(
            f"{len(flags.scores)} files for {len(flags.rounds)} rounds",
            where="--scores",
            expected="one for each round, in their order",
            fix="name as many",
        )
    if flags.plot:
        check_plot(flags.plot)
    manifests = [load_earlier("round", Path(name)) for name in flags.rounds]
    tables = flags.scores or [str(Path(name) / "scores.parquet") for name in flags.rounds]
    names = [bucket.name for bucket in manifests[0].buckets]
    rounds, warnings = track(flags.rounds, manifests, tables, bool(flags.scores))
    if flags.plot:
        draw(rounds, names, Path(flags.plot))
    metric = manifests[0].metric.name
    head = [
        "round",
        *map(shorten, names),
        "prompts",
        *([f"mean {metric}"] if rounds[0].mean is not None else []),
    ]
    return "\n".join(table([head, *map(row_of, rounds)], left=1)), warnings


def row_of(round: Round) -> list[str]:
    """A round as a row of the table."""
    total = sum(round.counts)
    cells = [f"{share(count, total)} ({count:,})" for count in round.counts]
    return [
        round.name,
        *cells,
        f"{total:,}",
        *([number(round.mean)] if round.mean is not None else []),
    ]


def track(
    names: Sequence[str],
    manifests: Sequence[BucketingManifest],
    tables: Sequence[str],
    asked: bool = False,
) -> tuple[list[Round], list[str]]:
    """The rounds, all at the cut values of the first, and warnings; `asked` says that the tables
    were named. Raises InputError if they cannot be counted so."""
    first = manifests[0]
    there = asked or all(Path(file).is_file() for file in tables)
    pairs = list(zip(names, manifests, strict=True))
    elsewhere = [
        name for name, m in pairs if why_elsewhere("", first, m) or named(m) != named(first)
    ]
    if elsewhere and not there:
        raise InputError(
            f"{', '.join(elsewhere)}: cut at other values than {names[0]}, so their buckets are "
            "not the same ones",
            where=names[0],
            expected=f"rounds that were bucketed with --cut-like {names[0]}, or score tables",
            fix="bucket them so, or write their tables with --scores DIR/scores.parquet",
        )
    if not there:
        rounds = [
            Round(name, [bucket.count for bucket in manifest.buckets])
            for name, manifest in zip(names, manifests, strict=True)
        ]
        return rounds, warn(names, [sum(round.counts) for round in rounds])
    every = [read_scores(file, first) for file in tables]
    cuts = thresholds_of(names[0], first)
    rounds = [
        Round(name, count(scores, first, cuts), float(np.nanmean(scores.values)))
        for name, scores in zip(names, every, strict=True)
    ]
    return rounds, warn(names, [scores.prompts for scores in every])


def named(manifest: BucketingManifest) -> list[str]:
    """The names of the buckets."""
    return [bucket.name for bucket in manifest.buckets]


def warn(names: Sequence[str], held: Sequence[object]) -> list[str]:
    """That rounds have other prompts than the first, by what they hold."""
    others = [name for name, some in zip(names, held, strict=True) if some != held[0]]
    if not others:
        return []
    return [f"{', '.join(others)}: not the prompts of {names[0]}, so shares may differ by these."]


def read_scores(file: str, manifest: BucketingManifest) -> Scores:
    """A score table. Raises InputError if it is none, or lacks the metric."""
    import pandas as pd

    columns = [manifest.metric.name, "num_responses", "num_passes", "prompt_hash"]
    try:
        found = pd.read_parquet(file, columns=columns)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise InputError(
            f"this cannot be read as a score table ({str(error).splitlines()[0]})",
            where=file,
            expected=f"a file of --scores, with {manifest.metric.name}",
            fix="write it again with bucket_rollouts_by_difficulty.py --scores",
        ) from error
    values, responses, passes, prompts = (found[column] for column in columns)
    return Scores(
        values.to_numpy(np.float64),
        responses.to_numpy(np.int64),
        passes.to_numpy(np.int64),
        frozenset(prompts),
    )


def count(scores: Scores, manifest: BucketingManifest, cuts: Sequence[float]) -> list[int]:
    """How many rollouts each bucket of the first round would hold."""
    there = ~np.isnan(scores.values)
    values, passes = scores.values[there], scores.passes[there]
    numbers = cut_thresholds(values, cuts, manifest.metric.higher_is_easier)
    apart = manifest.method.solved_unsolved
    numbers = numbers + (inner_buckets(apart).start or 0)
    if apart:
        numbers = np.where(passes == scores.responses[there], 0, numbers)
        numbers = np.where(passes == 0, len(manifest.buckets) - 1, numbers)
    return list(map(int, np.bincount(numbers, minlength=len(manifest.buckets))))


def draw(rounds: Sequence[Round], names: Sequence[str], path: Path) -> None:
    """Draw the share of each bucket over the rounds: easy at the bottom, harder is darker."""

    def fill(figure: Any, colours: Any) -> None:
        axes, below = figure.add_subplot(), np.zeros(len(rounds))
        shades = np.linspace(0.08, 0.95, len(names))
        totals = np.array([max(sum(round.counts), 1) for round in rounds])
        for i, name in enumerate(names):
            part = 100 * np.array([round.counts[i] for round in rounds]) / totals
            axes.bar(
                range(len(rounds)), part, bottom=below, width=0.7, label=shorten(name),
                color=colours(shades[i]), edgecolor="black", linewidth=0.6,
            )  # fmt: skip
            below += part
        axes.set_xticks(range(len(rounds)), [shorten(Path(round.name).name) for round in rounds])
        axes.set_ylabel("share of the prompts, %")
        axes.spines[["top", "right"]].set_visible(False)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside right upper", frameon=False)

    save_figure(path, fill)


if __name__ == "__main__":
    raise SystemExit(main())
