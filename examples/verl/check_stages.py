#!/usr/bin/env python3
"""Say whether verl can train each set of a directory, before a cluster is up.

A stage needs at least one train batch of rows (what is left over after the last whole one is not
trained on) and one val row. With --reward, the reward function is called once for every row, with
a response of one letter: an error there does not stop verl 0.9.1, which then trains without the
row. Rows are counted before verl leaves out prompts longer than data.max_prompt_length, in tokens.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq

EPILOG = """examples:
  python examples/verl/check_stages.py easy medium hard
  python examples/verl/check_stages.py -d ./ordered --ordered --reward my_reward.py all
"""
NO_SIGNAL = "no instruction is known, so that every response gets the same reward"
DEFAULT_DATA_SOURCE = "bucketed_curriculum"  # for which verl has no reward function


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line per set; 1 if any of them cannot be trained on."""
    args = parser().parse_args(argv)
    if args.reward and not args.reward.is_file():
        print(f"error: {args.reward} is not there, expected a reward function", file=sys.stderr)
        return 2
    print(f"{'set':16} {'train rows':>10} {'steps an epoch':>14} {'val rows':>8} longest prompt")
    problems: list[str] = []
    reasons: Counter[str] = Counter()
    for name in args.sets:
        problems += check_set(name, args, reasons)
    problems += [f"{count:,} rows get no reward: {why}" for why, count in reasons.most_common(10)]
    if len(reasons) > 10:
        problems.append(f"and {len(reasons) - 10:,} more reasons why rows get no reward")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


def check_set(name: str, args: argparse.Namespace, reasons: Counter[str]) -> list[str]:
    """Print what a set has; what stops verl from training on it. Why rows get no reward, and how
    many, is added to `reasons`."""
    paths = [args.data / f"{name}_{split}.parquet" for split in ("train", "val")]
    missing = [path for path in paths if not path.is_file()]
    problems = [f"{path} is not there; {there(args.data)}" for path in missing]
    train, val = ([] if path in missing else read(path) for path in paths)
    longest = max((characters(row) for row in (*train, *val)), default=0)
    steps = len(train) // args.batch_size
    print(f"{name:16} {len(train):>10,} {steps:>14,} {len(val):>8,} {longest:>9,} chars")
    if not missing and not steps:
        problems.append(
            f"{paths[0]} has {len(train):,} rows, expected a batch of {args.batch_size:,} at "
            "least; lower the batch size, or combine the set with another (--combine)"
        )
    if args.ordered and not in_order(args.data, name):
        problems.append(f"{name} is in no order; make it with --combine --order easy-to-hard")
    found = unrewarded([*train, *val], args)
    if alike := found.pop(NO_SIGNAL, 0):
        print(f"warning: {name}: in {alike:,} rows {NO_SIGNAL}", file=sys.stderr)
    reasons.update(found)
    return problems


def parser() -> argparse.ArgumentParser:
    """The flags."""
    found = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument(
        "sets", nargs="+", metavar="SET", help="such as easy, for easy_train.parquet"
    )
    found.add_argument(
        "-d", "--data", type=Path, default=Path("preprocessed"), metavar="DIR",
        help="where the sets are (default: ./preprocessed)",
    )  # fmt: skip
    found.add_argument(
        "--batch-size", type=batch_size, default=64, metavar="ROWS",
        help="data.train_batch_size (default: 64)",
    )  # fmt: skip
    found.add_argument(
        "--reward", type=Path, metavar="FILE",
        help="a file with compute_score (default: verl's own, which go by data_source)",
    )  # fmt: skip
    found.add_argument(
        "--unknown", choices=("error", "skip"), default="error",
        help="what examples/verl/reward.py does with instructions it does not know",
    )  # fmt: skip
    found.add_argument("--ordered", action="store_true", help="the rows must lie easy to hard")
    return found


def batch_size(text: str) -> int:
    """A number of rows."""
    if (rows := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{rows} is not 1 or more")
    return rows


def there(directory: Path) -> str:
    """The sets of a directory, for a message."""
    names = sorted(p.name.removesuffix("_train.parquet") for p in directory.glob("*_train.parquet"))
    return f"the sets there are {', '.join(names)}" if names else f"{directory} holds no sets"


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, what the checks look at."""
    columns = ["data_source", "prompt", "reward_model", "extra_info"]
    found: list[dict[str, Any]] = pq.read_table(path, columns=columns).to_pylist()
    return found


def characters(row: dict[str, Any]) -> int:
    """How long a row's prompt is."""
    return sum(len(message["content"]) for message in row["prompt"])


def in_order(directory: Path, name: str) -> bool:
    """Whether preprocessing put the rows of a set in order."""
    manifest = directory / "preprocessing.json"
    sets = json.loads(manifest.read_text("utf-8"))["sets"] if manifest.is_file() else {}
    return bool(sets.get(name, {}).get("order") == "easy-to-hard")


def unrewarded(rows: list[dict[str, Any]], args: argparse.Namespace) -> Counter[str]:
    """What the reward function would make of the rows, where that is no reward, and how often."""
    if args.reward is None:
        why = f"verl has no reward function for data_source {DEFAULT_DATA_SOURCE}"
        return +Counter({why: sum(row["data_source"] == DEFAULT_DATA_SOURCE for row in rows)})
    keywords = {"unknown": "skip"} if args.unknown == "skip" else {}
    score = load(args.reward).compute_score
    return Counter(filter(None, (failure(score, row, keywords) for row in rows)))


def failure(score: Callable[..., Any], row: dict[str, Any], keywords: dict[str, Any]) -> str | None:
    """Why a row gets no reward; None where it gets one."""
    truth = row["reward_model"]["ground_truth"]
    try:
        result = score(row["data_source"], "x", truth, row["extra_info"], **keywords)
    except Exception as error:  # noqa: BLE001, a reward function may raise anything
        return f"{type(error).__name__}: {error}"
    if isinstance(result, dict) and result.get("judged") == 0:
        return NO_SIGNAL
    return None


def load(path: Path) -> ModuleType:
    """A Python file as a module."""
    module = ModuleType("reward")
    SourceFileLoader("reward", str(path)).exec_module(module)
    return module


if __name__ == "__main__":
    raise SystemExit(main())
