#!/usr/bin/env python3
"""Turn bucketed rollouts into parquet files that verl trains on: train and val, set by set."""

from __future__ import annotations

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # while modules load, Ctrl-C just ends it

import argparse
from collections.abc import Sequence

import curriculum
from curriculum.cli import add_common_flags, add_score_flags, given, run
from curriculum.filters import FILTERS

EPILOG = """examples:
  python preprocess_bucketed_rollouts.py -i ./bucketed -o ./preprocessed
  python preprocess_bucketed_rollouts.py -i ./bucketed -o ./progressive \\
      --buckets easy medium --combine --output-name phase2
"""


def build_parser() -> argparse.ArgumentParser:
    """The flags of this script."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    files = parser.add_argument_group("files")
    files.add_argument(
        "-i", "--input-dir", required=True, metavar="DIR",
        help="directory of bucket files, as bucket_rollouts_by_difficulty.py wrote it, here or in "
        "a store (s3://, gs://)",
    )  # fmt: skip
    files.add_argument(
        "-o", "--output-dir", required=True, metavar="DIR",
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
        help="beside the set of each bucket, write one of the first two, stage1_and_2, one of the "
        "first three, stage1_to_3, and so on",
    )  # fmt: skip
    filters = "; ".join(f"{name}: {filter.meaning}" for name, filter in FILTERS.items())
    sets.add_argument(
        "--filter", metavar="NAME", help=f"which rollouts to keep. {filters} (default: all)"
    )
    sets.add_argument(
        "--order", metavar="CHOICE",
        help="order of the rows of a set. input: as they were read, bucket by bucket; "
        "easy-to-hard: by difficulty (default: input)",
    )  # fmt: skip
    sets.add_argument(
        "--val-ratio", type=float, metavar="RATIO",
        help="share of prompts held out for val, 0 for none (default: 0.05)",
    )  # fmt: skip
    sets.add_argument("--seed", type=int, metavar="N", help="which prompts those are (default: 42)")
    sets.add_argument(
        "--dry-run", action="store_true", help="everything but writing: what the sets would hold"
    )
    _add_row_flags(parser.add_argument_group("rows"))
    add_common_flags(parser)
    return parser


def _add_row_flags(rows: argparse._ArgumentGroup) -> None:
    """What a row holds."""
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
        "others stay; string: each is a string, JSON text where it was none (default: auto)",
    )  # fmt: skip
    rows.add_argument(
        "--no-best-response", dest="best_response", action="store_false",
        help="leave out extra_info.best_response, often the largest column",
    )  # fmt: skip
    add_score_flags(rows, field="the manifest's", threshold="the manifest's")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; the exit code."""
    flags = vars(build_parser().parse_args(argv))
    quiet, debug = flags.pop("quiet"), flags.pop("debug")

    def action() -> tuple[str, list[str]]:
        options = curriculum.PreprocessOptions(**given(flags))
        report = curriculum.preprocess_buckets(options, show_progress=not quiet)
        return curriculum.preprocessing_summary(report), curriculum.preprocessing_warnings(report)

    return run(action, quiet, debug)


if __name__ == "__main__":
    raise SystemExit(main())
