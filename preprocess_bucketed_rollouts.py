#!/usr/bin/env python3
"""Turn bucketed rollouts into parquet files that verl trains on: train and val, set by set."""

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
from curriculum.flags import Parser, number, whole_number

REQUIRED = {
    "input_dir": ("-i DIR", "./bucketed"),
    "output_dir": ("-o DIR", "./preprocessed"),
}
EXAMPLES = (
    "-i ./bucketed -o ./preprocessed",
    """-i ./bucketed -o ./progressive \\
      --buckets easy medium --combine --output-name phase2""",
)


def build_parser() -> Parser:
    """The flags of this script."""
    from curriculum.filters import FILTERS  # here, so that `main` can say if numpy is missing

    script = "preprocess_bucketed_rollouts"
    parser = Parser(script, __doc__, REQUIRED, EXAMPLES, other="bucket_rollouts_by_difficulty")
    files = parser.add_argument_group("files")
    files.add_argument(
        "-i", "--input-dir", metavar="DIR",
        help="directory of bucket files, as bucket_rollouts_by_difficulty.py wrote it, here or in "
        "a store (s3://, gs://)",
    )  # fmt: skip
    files.add_argument(
        "-o", "--output-dir", metavar="DIR",
        help="where the parquet files and preprocessing.json go, here or in a store",
    )  # fmt: skip
    sets = parser.add_argument_group("sets")
    sets.add_argument(
        "--buckets", nargs="+", action="extend", metavar="NAME",
        help="the buckets to use (default: all)",
    )  # fmt: skip
    sets.add_argument(
        "--combine", action="store_true",
        help="write one set of all these buckets instead of one set each",
    )  # fmt: skip
    sets.add_argument(
        "--output-name", metavar="NAME", help="name of the combined set (default: combined)"
    )
    sets.add_argument(
        "--cumulative", action="store_true",
        help="besides the set of each bucket, write one of the first two, cumulative/stage1_and_2, "
        "one of the first three, cumulative/stage1_to_3, and so on",
    )  # fmt: skip
    filters = "; ".join(f"{name}: {filter.meaning}" for name, filter in FILTERS.items())
    sets.add_argument(
        "--filter", metavar="NAME", help=f"which rollouts to keep. {filters} (default: all)"
    )
    add_keep_flags(sets)
    sets.add_argument(
        "--order", metavar="CHOICE",
        help="order of the rows of a set. input: as they were read, bucket by bucket; "
        "easy-to-hard: by difficulty (default: input)",
    )  # fmt: skip
    sets.add_argument(
        "--val-ratio", type=number("--val-ratio", "0.05"), metavar="RATIO",
        help="share of prompts held out for val, 0 for none (default: 0.05)",
    )  # fmt: skip
    sets.add_argument(
        "--val-rows", type=whole_number("--val-rows", "500"), metavar="N",
        help="hold out N rows of each bucket instead of a ratio; --filter and --keep may leave "
        "fewer",
    )  # fmt: skip
    sets.add_argument(
        "--seed", type=whole_number("--seed", "42"), metavar="N",
        help="seed that decides which prompts are held out and which rows are chosen (default: 42)",
    )  # fmt: skip
    sets.add_argument(
        "--split-like", metavar="DIR",
        help="the split of the sets in this directory, of an earlier round: their seed and ratio, "
        "and the prompts that were moved stay moved, so that val stays val",
    )  # fmt: skip
    sets.add_argument(
        "--dry-run", action="store_true",
        help="write no set, and show what the sets would hold; -o may be left out",
    )  # fmt: skip
    sets.add_argument(
        "--report", metavar="FILE",
        help="write a page to look at, into an .html: what the summary says, the schema, and a row "
        "of each set (needs Jinja2)",
    )  # fmt: skip
    _add_choice_flags(parser.add_argument_group("which train rows"))
    _add_schedule_flags(parser.add_argument_group("schedule"))
    _add_source_flags(parser.add_argument_group("your own data set"))
    _add_row_flags(parser.add_argument_group("rows"))
    messages = add_common_flags(parser)
    messages.add_argument("-v", "--verbose", action="store_true", help="say more of each set")
    return parser


def _add_choice_flags(group: argparse._ArgumentGroup) -> None:
    """Which of the train rows of a set are written."""
    group.add_argument(
        "--max-rows", type=whole_number("--max-rows", "1000"), metavar="N",
        help="at most N train rows of each set, or of each bucket of a cumulative one, chosen by "
        "prompt: those of a smaller N are among those of a larger one",
    )  # fmt: skip
    group.add_argument(
        "--top", nargs=2, metavar=("N", "METRIC"),
        help="the N train rows of each set, or of each bucket of a cumulative one, with the "
        "highest values of a metric, such as 1000 learnability",
    )  # fmt: skip
    group.add_argument(
        "--balance", nargs="+", metavar=("PLACE", "GROUP=SHARE"),
        help="the same number of train rows for each value of a field, such as data_source, or "
        "shares of them, such as data_source gsm8k=0.5 math=0.3; groups that are not named share "
        "what is left in proportion to their rows",
    )  # fmt: skip
    group.add_argument(
        "--replay", type=number("--replay", "0.1"), metavar="SHARE",
        help="in a set of several buckets, only this share of the prompts in every bucket but the "
        "hardest",
    )  # fmt: skip
    group.add_argument(
        "--control", action="store_true",
        help="write NAME_control beside each set: the same number of train rows, drawn at random "
        "from all buckets",
    )  # fmt: skip


def _add_schedule_flags(group: argparse._ArgumentGroup) -> None:
    """The order of the train rows, batch by batch."""
    from curriculum.choosing.schedule import KINDS

    group.add_argument(
        "--schedule", metavar="KIND",
        help=f"with --combine, order the train rows so that batch after batch becomes harder: "
        f"{', '.join(KINDS)}",
    )  # fmt: skip
    group.add_argument(
        "--batch-size", type=whole_number("--batch-size", "256"), metavar="N",
        help="rows in a batch: data.train_batch_size of verl",
    )  # fmt: skip
    group.add_argument(
        "--epochs", type=whole_number("--epochs", "2"), metavar="N",
        help="write each row N times, once in each part of the file (default: 1)",
    )  # fmt: skip
    group.add_argument(
        "--sigma", type=number("--sigma", "0.15"), metavar="WIDTH",
        help="width of gaussian, where all difficulties are from 0 to 1 (default: 0.15)",
    )  # fmt: skip
    group.add_argument(
        "--start", type=number("--start", "0"), metavar="DIFFICULTY",
        help="difficulty that the schedule starts at, 0 for the easiest row (default: 0)",
    )  # fmt: skip
    group.add_argument(
        "--end", type=number("--end", "1"), metavar="DIFFICULTY",
        help="difficulty that it ends at, 1 for the hardest row (default: 1)",
    )  # fmt: skip
    group.add_argument(
        "--plot", metavar="FILE",
        help="draw difficulty and mix over the batches, into a .png, .svg or .pdf (needs "
        "matplotlib)",
    )  # fmt: skip


def _add_source_flags(group: argparse._ArgumentGroup) -> None:
    """The rows of a data set instead of rows made from rollouts."""
    group.add_argument(
        "--source", nargs="+", action="extend", metavar="FILE",
        help="write the rows of this data set, each where the rollouts of its prompt are: parquet "
        "or JSON lines, files or globs, here or in a store",
    )  # fmt: skip
    group.add_argument(
        "--source-val", nargs="+", action="extend", metavar="FILE",
        help="the data set's own val rows: val holds these, by difficulty, and train none of their "
        "prompts",
    )  # fmt: skip
    group.add_argument(
        "--source-key", metavar="PLACE[=PLACE]",
        help="match rows and rollouts by this field of both, or by a field of the rows and another "
        "of the rollouts, such as extra_info.index=key (default: by the prompt)",
    )  # fmt: skip
    group.add_argument(
        "--unmatched", metavar="CHOICE",
        help="rows that match no rollout. drop: leave them out; keep: write them to a set of their "
        "own, unseen; stop: write nothing (default: drop, but stop if they are most of the rows)",
    )  # fmt: skip
    group.add_argument(
        "--annotate", metavar="FILE",
        help="write all rows of --source, in their order and with their difficulty, to this "
        "parquet file: besides the sets, or with --dry-run instead of them",
    )  # fmt: skip
    group.add_argument(
        "--no-annotate", action="store_true",
        help="do not add the difficulty to the rows of parquet files",
    )  # fmt: skip


def _add_row_flags(rows: argparse._ArgumentGroup) -> None:
    """What a row holds."""
    for name, default in (
        ("prompt", "prompt, or else messages without its last answers"),
        ("ground truth", "ground_truth, or else reward_model.ground_truth"),
    ):
        rows.add_argument(
            f"--{name.replace(' ', '-')}-field", metavar="PLACE",
            help=f"where the {name} is: a field of a rollout, or a.b inside one (default: "
            f"{default})",
        )  # fmt: skip
    rows.add_argument(
        "--data-source", metavar="NAME",
        help="data_source of every row, by which verl chooses the reward function "
        "(default: bucketed_curriculum)",
    )  # fmt: skip
    rows.add_argument(
        "--keep-data-source", action="store_true",
        help="use the rollout's own data_source where it has one",
    )  # fmt: skip
    rows.add_argument(
        "--ability", metavar="NAME",
        help="ability of rows whose rollout has none (default: instruction_following)",
    )  # fmt: skip
    rows.add_argument(
        "--ground-truth-format", metavar="CHOICE",
        help="auto: instruction-following ground truths become {instruction_id_list, kwargs}, "
        "numbers become text, others stay; typed: the same, but numbers stay numbers; string: each "
        "is a string, JSON text where it was none (default: auto)",
    )  # fmt: skip
    rows.add_argument(
        "--no-best-response", dest="best_response", action="store_false",
        help="leave out extra_info.best_response, often the largest column",
    )  # fmt: skip
    add_score_flags(rows, field="the manifest's", threshold="the manifest's")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; the exit code."""
    return run_script(build_parser, preprocess, argv)


def preprocess(flags: dict[str, Any], show_progress: bool) -> tuple[str, list[str]]:
    """Preprocess as the flags say; the summary and the warnings."""
    verbose = flags.pop("verbose")
    options = curriculum.PreprocessOptions(**flags)
    report = curriculum.preprocess_buckets(options, show_progress)
    summary = curriculum.preprocessing_summary(report, verbose)
    return summary, curriculum.preprocessing_warnings(report)


if __name__ == "__main__":
    raise SystemExit(main())
