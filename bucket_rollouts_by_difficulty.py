#!/usr/bin/env python3
"""Sort rollouts into buckets by difficulty: JSONL in, one JSONL file per bucket out."""

from __future__ import annotations

import signal
import sys

if (
    __name__ == "__main__" or sys.argv[0].endswith(f"/{__name__}")  # a script, an installed command
) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # while modules load, Ctrl-C just ends it

import argparse
from collections.abc import Sequence
from typing import Any

import curriculum
from curriculum.cli import add_common_flags, add_keep_flags, add_score_flags, run_script
from curriculum.flags import Parser, Thresholds, whole_number

REQUIRED = {
    "inputs": ("-i PATH [PATH …]", "./rollouts"),
    "output_dir": ("-o DIR", "./bucketed"),
}
EXAMPLES = (
    "-i ./rollouts -o ./bucketed -m mean_reward -n 3",
    """-i ./rollouts -o ./custom_buckets \\
      --thresholds 0.3 0.7 --bucket-names low medium high""",
)


def build_parser() -> Parser:
    """The flags of this script."""
    from curriculum.metrics import METRICS  # here, so that `main` can say if numpy is missing

    metrics = ", ".join(METRICS)
    script = "bucket_rollouts_by_difficulty"
    parser = Parser(script, __doc__, REQUIRED, EXAMPLES, other="preprocess_bucketed_rollouts")
    files = parser.add_argument_group("files")
    files.add_argument(
        "-i", "--input", "--input-dir", dest="inputs", nargs="+", action="extend",
        metavar="PATH", help="directories, files or globs of rollouts (.jsonl, .ndjson, .json, "
        "also .gz, .zst, .bz2, .lz4; .parquet, .eval), here or in a store (s3://, gs://); - is "
        "standard input",
    )  # fmt: skip
    files.add_argument(
        "--recursive", action="store_true",
        help="take what is in directories inside the directories given, too",
    )  # fmt: skip
    files.add_argument(
        "-o", "--output-dir", metavar="DIR",
        help="where the bucket files and bucketing.json go, here or in a store",
    )  # fmt: skip
    add_dump_flags(parser)
    how = parser.add_argument_group("difficulty")
    how.add_argument(
        "-m", "--metric", metavar="NAME", help=f"one of {metrics} (default: mean_reward)"
    )
    how.add_argument(
        "--k", type=whole_number("--k", "4"), metavar="K", help="k of pass_at_k (default: 1)"
    )
    add_score_flags(how, field="score", threshold="0.5", several=True)
    how.add_argument(
        "--score-map", nargs="+", metavar="WORD=SCORE",
        help="scores in words, such as C=1 P=0.5 I=0; another word is malformed",
    )  # fmt: skip
    how.add_argument(
        "--score-reduce", metavar="CHOICE",
        help="sum, last or mean: the score of a response that has a list of them, such as one for "
        "each turn (default: such a score is malformed)",
    )  # fmt: skip
    _add_value_flags(parser.add_argument_group("prompts with a number and without responses"))
    cuts = parser.add_argument_group("buckets")
    cuts.add_argument(
        "-n", "--num-buckets", type=whole_number("-n", "3"), metavar="N",
        help="number of buckets, as equal as ties allow (default: 3)",
    )  # fmt: skip
    cuts.add_argument(
        "--thresholds", action=Thresholds, nargs="+", metavar="VALUE",
        help="cut at these metric values instead, ascending; a value on a threshold is below it, "
        "on one written as 0.3- above it",
    )  # fmt: skip
    cuts.add_argument(
        "--bucket-names", nargs="+", metavar="NAME",
        help="names from easy to hard; words for values, such as low medium high, run from the "
        "lowest metric value up (default: easy medium hard, and the like)",
    )  # fmt: skip
    cuts.add_argument(
        "--ties", metavar="CHOICE",
        help="together: rollouts with one value share a bucket; split: exactly equal buckets, "
        "tied rollouts in a random but fixed order (default: together)",
    )  # fmt: skip
    cuts.add_argument(
        "--within", metavar="PLACE",
        help="cut the rollouts of each value of a field by themselves, such as data_source, so "
        "that every bucket has its share of each",
    )  # fmt: skip
    cuts.add_argument(
        "--solved-unsolved", action="store_true",
        help="put rollouts whose responses all pass, or all fail, into buckets of their own, "
        "solved and unsolved, before the others are cut",
    )  # fmt: skip
    add_keep_flags(parser.add_argument_group("which rollouts"))
    _add_earlier_flags(parser.add_argument_group("an earlier bucketing"))
    _add_look_flags(parser.add_argument_group("looking at the difficulty"))
    add_common_flags(parser)
    return parser


def _add_value_flags(value: argparse._ArgumentGroup) -> None:
    """Where lines carry a number in place of scores."""
    value.add_argument(
        "--value-field", metavar="PLACE",
        help="bucket by this number of a line, such as a rate of solving",
    )  # fmt: skip
    value.add_argument(
        "--value-direction", metavar="WAY", help="easier or harder: what a higher number means"
    )
    value.add_argument(
        "--value-missing", nargs="+", metavar="VALUE",
        help="numbers that stand for none, such as -1; a text that is no number is none anyway",
    )  # fmt: skip
    value.add_argument(
        "--value-counts", metavar="PASSES:TOTAL",
        help="two places instead: how many responses passed, and of how many",
    )  # fmt: skip


def _add_earlier_flags(earlier: argparse._ArgumentGroup) -> None:
    """What a run takes over from an earlier one, or is compared with."""
    earlier.add_argument(
        "--cut-like", metavar="DIR",
        help="the metric, the cut values and the names of the buckets in this directory, so that "
        "hard means the same in every round",
    )  # fmt: skip
    earlier.add_argument(
        "--compare-to", metavar="DIR",
        help="say what changed since the buckets in this directory: which prompts went from which "
        "bucket to which, whether the metric changed by more than chance, what got harder",
    )  # fmt: skip
    earlier.add_argument(
        "--match-key", metavar="PLACE",
        help="what a rollout there and here have in common, such as key (default: the prompt)",
    )  # fmt: skip


def _add_look_flags(look: argparse._ArgumentGroup) -> None:
    """What else to show."""
    look.add_argument(
        "--dry-run", action="store_true",
        help="do everything but write buckets; the files of --plot, --report and --scores are "
        "written, and -o may be left out",
    )  # fmt: skip
    look.add_argument(
        "--plot", metavar="FILE",
        help="draw the histogram, into a .png, .svg or .pdf (needs matplotlib)",
    )  # fmt: skip
    look.add_argument(
        "--report", metavar="FILE",
        help="write a page to look at, into an .html: what the summary says, and rollouts of every "
        "bucket with their texts (needs Jinja2)",
    )  # fmt: skip
    look.add_argument(
        "--compare-metrics", action="store_true",
        help="compare each pair of metrics: how similarly they order and cut the rollouts",
    )  # fmt: skip
    look.add_argument(
        "--scores", metavar="FILE",
        help="write the score table, into a .parquet: key, prompt, file, line, every metric, "
        "learnability, useful_group, numbers of responses and passes, and bucket of each rollout",
    )  # fmt: skip
    look.add_argument(
        "--more-responses", nargs=2, metavar=("N", "FILE"),
        help="write the prompts whose bucket N further responses would settle most, into a .jsonl "
        "that says how many to sample for each (with -m success_rate)",
    )  # fmt: skip


def add_dump_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that say what other people's files have where."""
    from curriculum.dumps.formats import OWN
    from curriculum.dumps.table import NAMES

    dumps = parser.add_argument_group(
        "other people's files",
        "A place is a field of a line, a.b inside one, or a[*].b in each item of a list; "
        "--score-field is one, too.",
    )
    dumps.add_argument(
        "--format", metavar="NAME",
        help=f"{OWN}, of the toolkit's own form, or {', '.join(NAMES)} (default: auto, by the "
        "fields)",
    )  # fmt: skip
    for name in ("prompt", "response", "ground truth"):
        flag = f"--{name.replace(' ', '-')}-field"
        dumps.add_argument(flag, metavar="PLACE", help=f"where the {name} is")
    dumps.add_argument(
        "--group-field", nargs="+", metavar="PLACE",
        help="what the responses of one rollout have in common (default: what the format has; for "
        "custom the prompt)",
    )  # fmt: skip
    dumps.add_argument(
        "--group-by", metavar="CHOICE",
        help="prompt: by the prompt alone, over ids and steps; also merges rollouts that repeat a "
        "prompt",
    )  # fmt: skip
    dumps.add_argument(
        "--filter-key", metavar="NAME",
        help="lm-evaluation-harness writes a line for each filter: the one to take",
    )  # fmt: skip
    dumps.add_argument("--steps", metavar="A:B", help="steps to take, A and B too (default: all)")
    dumps.add_argument(
        "--truncated", metavar="CHOICE",
        help="responses that were cut off. graded: their scores count as they were given; missing: "
        "they count as missing (default: graded)",
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; the exit code."""
    return run_script(build_parser, bucket, argv)


def bucket(flags: dict[str, Any], show_progress: bool) -> tuple[str, list[str]]:
    """Bucket as the flags say; the summary and the warnings."""
    options = curriculum.BucketOptions(**flags)
    report = curriculum.bucket_rollouts(options, show_progress)
    return curriculum.bucketing_summary(report), curriculum.bucketing_warnings(report)


if __name__ == "__main__":
    raise SystemExit(main())
