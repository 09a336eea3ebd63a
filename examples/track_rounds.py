#!/usr/bin/env python3
"""Show how the share of each bucket moved over rounds of training on one prompt set.

A round is the directory that bucket_rollouts_by_difficulty.py wrote for a checkpoint. Rounds that
were cut at the same values (--cut-like) are compared by their manifests. Otherwise all of them are
cut again at the values of the first round, from a score table of each (--scores): shares of buckets
that every round cut for itself by percentiles are about equal, whatever the model has learned.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

# From a checkout the package is not installed; it lies one directory up.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from curriculum.bucketers import cut_thresholds
from curriculum.cli import run
from curriculum.comparing.cut_like import (
    metric_rule,
    thresholds_of,
    why_elsewhere,
    why_unknown,
)
from curriculum.comparing.earlier import load_earlier
from curriculum.display.figures import save_figure
from curriculum.display.histogram import shorten
from curriculum.display.picture import EASIEST, HARDEST
from curriculum.display.text import number, share, table, threshold
from curriculum.errors import InputError, UsageError, plural
from curriculum.option_checks import check_plot
from curriculum.output.manifests import BucketingManifest
from curriculum.output.report_files import check_report_file

EPILOG = """examples:
  python examples/track_rounds.py round1/bucketed round2/bucketed --plot rounds.png
  python examples/track_rounds.py r1 r2 --scores r1.parquet r2.parquet
"""
SCORES = "scores.parquet"  # a score table in a bucket directory is taken by itself
SCRIPT = "bucket_rollouts_by_difficulty.py"


@dataclass(frozen=True)
class Round:
    """A checkpoint's buckets: their directory, their manifest, and a row of `scores` for each
    rollout that --keep did not drop (None without a score table; `unused` says why one that is
    there is not used)."""

    directory: Path
    manifest: BucketingManifest
    scores: pd.DataFrame | None
    unused: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Show the rounds; the exit code."""
    debug = "--debug" in (sys.argv if argv is None else argv)
    return run(lambda: show(argv), quiet=False, debug=debug)


def show(argv: Sequence[str] | None) -> tuple[str, list[str]]:
    """What to print for these flags, and warnings. Raises InputError and UsageError."""
    flags = build_parser().parse_args(argv)
    if flags.plot is not None:
        check_plot(flags.plot)
        check_report_file("--plot", Path(flags.plot), None)
    rounds = read_rounds(flags.dirs, flags.scores)
    counts, told = count_buckets(rounds)
    if flags.plot is not None:
        save_figure(Path(flags.plot), partial(fill, rounds=rounds, counts=counts))
    warnings = [one.unused for one in rounds if one.unused] + list(differences(rounds))
    return "\n".join([told, "", *table(list(rows(rounds, counts)), 1)]), warnings


def build_parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument(
        "dirs", nargs="+", type=Path, metavar="DIR", help="bucket directories, the earliest first"
    )
    parser.add_argument(
        "--scores", nargs="+", type=Path, metavar="FILE", help="the score table of each DIR, in "
        f"their order (default: {SCORES} in it, if there is one)",
    )  # fmt: skip
    parser.add_argument(
        "--plot", metavar="FILE", help="draw the shares, into a .png, .svg or .pdf (needs "
        "matplotlib)",
    )  # fmt: skip
    parser.add_argument("--debug", action="store_true", help="show a traceback with an error")
    return parser


def read_rounds(directories: Sequence[Path], tables: Sequence[Path] | None) -> list[Round]:
    """The rounds, with their score tables. Raises InputError and UsageError."""
    if tables is not None and len(tables) != len(directories):
        raise UsageError(
            f"{plural(len(tables), 'table')} for {plural(len(directories), 'round')}",
            where="--scores", expected="one for each DIR, in their order", fix="name as many",
        )  # fmt: skip
    manifests = [load_earlier("DIR", directory) for directory in directories]
    check_metrics(directories, manifests)
    pairs = list(zip(directories, manifests, strict=True))
    if tables is None:
        return [read_round(directory, manifest) for directory, manifest in pairs]
    return [
        Round(directory, manifest, read_scores(path, manifest))
        for (directory, manifest), path in zip(pairs, tables, strict=True)
    ]


def read_round(directory: Path, manifest: BucketingManifest) -> Round:
    """A round, with the score table in its directory if there is one of the same rollouts."""
    path = directory / SCORES
    if not path.is_file():
        return Round(directory, manifest, None)
    try:
        return Round(directory, manifest, read_scores(path, manifest))
    except InputError as error:
        why, _, _ = str(error).partition(", expected")
        return Round(directory, manifest, None, f"{why}: it is not used.")


def check_metrics(directories: Sequence[Path], manifests: Sequence[BucketingManifest]) -> None:
    """Raise InputError unless all rounds have the metric of the first, and its parameters as far
    as its buckets follow from them."""
    first = manifests[0].metric
    field = f" --score-field {first.score_field}" if first.score_field != "score" else ""
    names = ["is_carried", *metric_rule(manifests[0]), "score_field"]
    for directory, manifest in zip(directories, manifests, strict=True):
        both = [(name, getattr(manifest.metric, name), getattr(first, name)) for name in names]
        other = [f"{name} is {here}, not {there}" for name, here, there in both if here != there]
        if other:
            raise InputError(
                f"its metric is not that of {directories[0]}: {', '.join(other)}",
                where=directory, expected="the same metric and parameters in all rounds",
                fix=f"bucket it again with --cut-like {directories[0]}{field}",
            )  # fmt: skip


def read_scores(path: Path, manifest: BucketingManifest) -> pd.DataFrame:
    """The rollouts in the score table of a round that were not dropped. Raises InputError if it is
    no score table, or not that of the round."""
    metric, counts = manifest.metric.name, manifest.counts
    types = {metric: pa.float64(), "bucket": pa.string(), "prompt_hash": pa.string()}
    types |= {"num_responses": pa.int64(), "num_passes": pa.int64()}
    try:
        with pq.ParquetFile(path) as file:
            if absent := [name for name in types if name not in file.schema_arrow.names]:
                raise no_table(path, f"it has no column {', '.join(absent)}")
            found = file.read(columns=list(types)).select(list(types)).cast(pa.schema(types))
    except (pa.ArrowException, OSError) as error:
        raise no_table(path, f"it cannot be read ({str(error).strip('. ')})") from error
    scores = found.to_pandas()
    scores = scores[scores["bucket"].notna() | scores[metric].isna()]  # the others were dropped
    values = dict(iter(scores.groupby("bucket")[metric]))
    held = [
        (len(some), some.min(), some.max()) if len(some) else (0, None, None)
        for some in (values.get(bucket.name, []) for bucket in manifest.buckets)
    ]
    told = [(bucket.count, bucket.lowest, bucket.highest) for bucket in manifest.buckets]
    if held != told or len(scores) != counts.bucketed + counts.unscored:
        raise no_table(path, "its rollouts are not those that the manifest counts")
    return scores


def no_table(path: Path, found: str) -> InputError:
    """The error for what is not the score table of a round."""
    return InputError(
        found, where=path, expected="the score table of this round",
        fix=f"write it with {SCRIPT} --scores, and name tables in the order of the directories",
    )  # fmt: skip


def counts_of(manifest: BucketingManifest) -> list[int]:
    """How many rollouts each bucket has."""
    return [bucket.count for bucket in manifest.buckets]


# Shares


def count_buckets(rounds: Sequence[Round]) -> tuple[list[list[int]], str]:
    """How many rollouts of each round are in each bucket of the first, all cut at the same values,
    and a sentence on it. Raises InputError if that is not known."""
    first = rounds[0]
    cuts = first_cuts(first)
    metric, values = first.manifest.metric.name, " and ".join(map(threshold, cuts)) or "no value"
    names = [bucket.name for bucket in first.manifest.buckets]
    other = [
        one for one in rounds
        if [bucket.name for bucket in one.manifest.buckets] != names
        or why_elsewhere("", first.manifest, one.manifest)
    ]  # fmt: skip
    if not other:
        told = f"Buckets by {metric}, cut at {values} in every round."
        return [counts_of(one.manifest) for one in rounds], told
    lacking = next((one.directory for one in rounds if one.scores is None), None)
    if lacking is not None:
        raise InputError(
            f"its buckets were cut at other values than those of {first.directory}, or have other "
            f"names, and there is no score table of {lacking}",
            where=other[0].directory, expected="rounds that were cut alike, or a table of each",
            fix=f"bucket the later rounds again with --cut-like {first.directory}, or all rounds "
            f"with --scores DIR/{SCORES}",
        )  # fmt: skip
    tables = [one.scores for one in rounds if one.scores is not None]
    told = (
        f"Buckets by {metric}, every round cut again at the values of {first.directory}: {values}."
    )
    return [cut_again(scores, first.manifest, cuts) for scores in tables], told


def first_cuts(first: Round) -> tuple[float, ...]:
    """The metric values at which the first round was cut, ascending. Raises InputError if there are
    no such values."""
    if why := why_unknown(first.manifest):
        raise InputError(
            why, where=first.directory, expected="buckets that values of the metric separate",
            fix="bucket it again with --thresholds, and the later rounds with --cut-like "
            f"{first.directory}",
        )  # fmt: skip
    return thresholds_of(str(first.directory), first.manifest)


def cut_again(scores: pd.DataFrame, first: BucketingManifest, cuts: Sequence[float]) -> list[int]:
    """How many rollouts are in each bucket of the first round, cut at its values. A value equal to
    a cut belongs below it; an unscored rollout is in no bucket."""
    scores = scores[scores["bucket"].notna()]
    values = scores[first.metric.name].to_numpy()
    found = cut_thresholds(values, cuts, first.metric.higher_is_easier)
    if first.method.solved_unsolved:
        passes, last = scores["num_passes"].to_numpy(), len(first.buckets) - 1
        solved = passes == scores["num_responses"].to_numpy()
        found = np.where(passes == 0, last, np.where(solved, 0, found + 1))
    counts: list[int] = np.bincount(found, minlength=len(first.buckets)).tolist()
    return counts


# Texts and the picture


def rows(rounds: Sequence[Round], counts: Sequence[Sequence[int]]) -> Iterator[list[str]]:
    """The table: a round per row, its buckets across, and the mean of the metric where known."""
    metric, names = rounds[0].manifest.metric.name, [b.name for b in rounds[0].manifest.buckets]
    unscored = any(one.manifest.counts.unscored for one in rounds)
    means = any(one.scores is not None for one in rounds)
    yield ["round", *names, "rollouts", *["unscored"] * unscored, *[f"mean {metric}"] * means]
    for one, held in zip(rounds, counts, strict=True):
        cells = [f"{share(count, sum(held))} ({count:,})" for count in held]
        cells += [f"{sum(held):,}", *[f"{one.manifest.counts.unscored:,}"] * unscored]
        mean = None if one.scores is None else one.scores[metric].mean()
        yield [str(one.directory), *cells, *[number(mean)] * means]


def differences(rounds: Sequence[Round]) -> Iterator[str]:
    """Warnings about rounds that have other prompts than the first."""
    reason = "Shares of different prompts differ without any learning."
    sizes = [one.manifest.counts.bucketed + one.manifest.counts.unscored for one in rounds]
    if len(set(sizes)) > 1:
        counts = ", ".join(f"{size:,}" for size in sizes)
        yield f"The rounds have different numbers of rollouts: {counts}. {reason}"
    found = [
        (r.directory, {*r.scores["prompt_hash"].dropna()}) for r in rounds if r.scores is not None
    ]
    for directory, prompts in found[1:]:
        first, before = found[0]
        if prompts != before:
            new, gone = plural(len(prompts - before), "prompt"), len(before - prompts)
            yield f"{directory} has {new} that {first} lacks, and lacks {gone:,} of its. {reason}"


def fill(figure: Any, colours: Any, rounds: Sequence[Round], counts: Sequence[list[int]]) -> None:
    """Draw a bar for each round, with easy at the bottom; darker is harder."""
    axes, places = figure.add_subplot(), range(len(rounds))
    shares = np.array([np.array(held) / max(sum(held), 1) for held in counts])
    bottoms = shares.cumsum(axis=1) - shares
    buckets, shades = rounds[0].manifest.buckets, np.linspace(EASIEST, HARDEST, shares.shape[1])
    for i, shade in enumerate(shades.tolist()):
        bars = axes.bar(places, shares[:, i], bottom=bottoms[:, i], color=colours(shade),
                        edgecolor="black", linewidth=0.6)  # fmt: skip
        texts = [f"{part:.0%}" if part >= 0.05 else "" for part in shares[:, i]]
        ink = "white" if shade > 0.5 else "black"
        axes.bar_label(bars, texts, label_type="center", color=ink, fontsize="small")
    axes.set_xticks(places, tell_apart([one.directory for one in rounds]))
    axes.tick_params(axis="x", labelrotation=45 if len(rounds) > 4 else 0)
    axes.set_yticks((0, 0.5, 1), ("0%", "50%", "100%"))
    axes.set_ylabel("share of rollouts")
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"Buckets by {rounds[0].manifest.metric.name}, cut at the same values")
    # Matplotlib leaves out labels that begin with _.
    names = [f" {shorten(bucket.name)}" for bucket in buckets]
    figure.legend(axes.containers, names, loc="outside lower center", ncols=4, frameon=False)


def tell_apart(paths: Sequence[Path]) -> list[str]:
    """Short names of paths: without what all of them begin and end with."""
    parts = [list(path.parts) or ["."] for path in paths]
    for end in (0, -1):
        while min(map(len, parts)) > 1 and len({names[end] for names in parts}) == 1:
            for names in parts:
                del names[end]
    return [shorten("/".join(names), 20) for names in parts]


if __name__ == "__main__":
    raise SystemExit(main())
