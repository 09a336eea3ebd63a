#!/usr/bin/env python3
"""Say whether verl can train each set of a directory, before a cluster is up.

A stage needs at least one train batch of rows (what is left over after the last whole one is not
trained on) and one val row. With --reward, the reward function is called once for every row, with
a response of one letter: an error there does not stop verl 0.9.1, which then trains without the
row. Rows are counted before verl leaves out prompts longer than data.max_prompt_length, in tokens.

It needs pyarrow alone, so it runs wherever verl does.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

EPILOG = """examples:
  python examples/verl/check_stages.py easy cumulative/stage1_and_2 hard
  python examples/verl/check_stages.py -d ./ordered --ordered --reward my_reward.py all
"""
NO_SIGNAL = "no instruction is known, so that every response gets the same reward"
DEFAULT_DATA_SOURCE = "bucketed_curriculum"  # for which verl has no reward function
Score: TypeAlias = Callable[..., Any]  # compute_score


COLUMNS = ["data_source", "prompt", "reward_model", "extra_info"]  # what the checks look at


class Refused(Exception):
    """Why nothing can be checked, and the exit code."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


class Parser(argparse.ArgumentParser):
    """A parser that raises Refused where flags are wrong."""

    def error(self, message: str) -> NoReturn:
        """Raise Refused."""
        text = message.removeprefix("argument ")
        raise Refused(f"{text};\n{self.prog} --help lists the flags", 2)


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line per set; 1 if any of them cannot be trained on."""
    try:
        problems = check(parser().parse_args(argv))
    except Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


def check(args: argparse.Namespace) -> list[str]:
    """Print a table of the sets; what stops verl from training on them. Raises Refused."""
    check_directory(args.data)
    score = load_reward(args.reward) if args.reward else None
    there = names_in(args.data)
    sets = [name for name in args.sets if name in there]
    problems = [absent(name, args.data, there) for name in args.sets if name not in there]
    reasons: Counter[str] = Counter()
    if sets:
        width = max(map(len, ["set", *sets]))
        print(f"{'set':{width}} train rows  steps an epoch  val rows  longest prompt")
    for name in sets:
        try:
            problems += check_set(name, args, score, reasons, width)
        except Refused as error:  # noqa: PERF203, one odd file must not hide the others
            problems.append(str(error))
    problems += [f"{count:,} rows get no reward: {why}" for why, count in reasons.most_common(10)]
    if len(reasons) > 10:
        problems.append(f"and {len(reasons) - 10:,} more reasons why rows get no reward")
    return problems


def check_directory(path: Path) -> None:
    """Raise Refused unless the directory holds sets."""
    if path.is_dir() and names_in(path):
        return
    found = "this directory holds no sets" if path.is_dir() else "no such directory"
    if path.is_file():
        found = "this is a file"
    raise Refused(
        f"{path}: {found}, expected the output directory of preprocess_bucketed_rollouts.py;\n"
        "check the path given with -d"
    )


def check_set(
    name: str, args: argparse.Namespace, score: Score | None, reasons: Counter[str], width: int
) -> list[str]:
    """Print what a set has; what stops verl from training on it. Why rows get no reward, and how
    many, is added to `reasons`. Raises Refused for a file that cannot be read."""
    paths = [args.data / f"{name}_{split}.parquet" for split in ("train", "val")]
    missing = [path for path in paths if not path.is_file()]
    problems = [f"{path} is not there; verl needs train and val rows" for path in missing]
    train, val = ([] if path in missing else read(path) for path in paths)
    longest = max((characters(row) for row in (*train, *val)), default=0)
    steps = len(train) // args.batch_size
    print(
        f"{name:{width}} {len(train):>10,} {steps:>15,} {len(val):>9,} {longest:>9,} chars",
        flush=True,
    )
    if paths[0] not in missing and not steps:
        problems.append(
            f"{paths[0]} has {len(train):,} rows, expected a batch of {args.batch_size:,} at "
            "least; lower the batch size, or combine the set with another (--combine)"
        )
    problems += out_of_order(args.data, name, args.batch_size) if args.ordered else []
    found = unrewarded([*train, *val], score, args.unknown)
    if alike := found.pop(NO_SIGNAL, 0):
        print(f"warning: {name}: in {alike:,} rows {NO_SIGNAL}", file=sys.stderr)
    reasons.update(found)
    return problems


def parser() -> Parser:
    """The flags."""
    found = Parser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )  # fmt: skip
    found.add_argument(
        "sets", nargs="+", metavar="SET",
        help="such as easy, for easy_train.parquet, or cumulative/stage1_and_2",
    )  # fmt: skip
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
    found.add_argument(
        "--ordered", action="store_true", help="the rows must be in order, or scheduled"
    )
    return found


def batch_size(text: str) -> int:
    """A number of rows."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 up")
    return int(text)


def names_in(directory: Path) -> list[str]:
    """The sets of a directory, those in its cumulative/ last."""
    names: dict[str, None] = {}
    for place in ("", "cumulative/"):
        for file in sorted((directory / place).glob("*_*.parquet")):
            name, _, split = file.stem.rpartition("_")
            names |= {place + name: None} if split in ("train", "val") else {}
    return list(names)


def absent(name: str, directory: Path, there: Sequence[str]) -> str:
    """That a set is not there, and which one may be meant."""
    close = get_close_matches(name, there, 1, 0.5)
    hint = f"did you mean {close[0]}?" if close else f"the sets there are {', '.join(there)}"
    return f"there is no set {name} in {directory}; {hint}"


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file. Raises Refused."""
    try:
        file = pq.ParquetFile(path)
        missing = [name for name in COLUMNS if name not in file.schema_arrow.names]
        if missing:
            raise Refused(f"{path} has no {', '.join(missing)}, which verl needs")
        found: list[dict[str, Any]] = file.read(columns=COLUMNS).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise Refused(f"{path} cannot be read as parquet ({str(error).strip('. ')})") from error
    return found


def characters(row: dict[str, Any]) -> int:
    """How long a row's prompt is."""
    return sum(len(message["content"] or "") for message in row["prompt"])


def out_of_order(directory: Path, name: str, batch_size: int) -> list[str]:
    """Why the rows of a set are in no order that a run with batches of this size would keep."""
    manifest = (directory / name).parent / "preprocessing.json"
    sets = json.loads(manifest.read_text("utf-8"))["sets"] if manifest.is_file() else {}
    record = sets.get(Path(name).name, {})
    scheduled = record.get("choice", {}).get("schedule")
    if scheduled is None and record.get("order") != "easy-to-hard":
        return [
            f"{name} is in no order; make it with --combine --order easy-to-hard, or with "
            f"--combine --schedule linear --batch-size {batch_size}"
        ]
    if scheduled and scheduled["batch_size"] != batch_size:
        size = scheduled["batch_size"]
        return [
            f"{name} is scheduled for batches of {size:,} rows, and these have {batch_size:,}; "
            f"train with --batch-size {size}, or make it again with --batch-size {batch_size}"
        ]
    return []


def unrewarded(rows: list[dict[str, Any]], score: Score | None, unknown: str) -> Counter[str]:
    """What the reward function would make of the rows, where that is no reward, and how often."""
    if score is None:
        why = (
            f"verl has no reward function for data_source {DEFAULT_DATA_SOURCE}; pass --reward, or "
            "preprocess with --data-source or --keep-data-source"
        )
        return +Counter({why: sum(row["data_source"] == DEFAULT_DATA_SOURCE for row in rows)})
    keywords = {"unknown": "skip"} if unknown == "skip" else {}
    return Counter(filter(None, (failure(score, row, keywords) for row in rows)))


def failure(score: Score, row: dict[str, Any], keywords: dict[str, Any]) -> str | None:
    """Why a row gets no reward; None where it gets one."""
    truth = row["reward_model"]["ground_truth"]
    try:
        result = score(row["data_source"], "x", truth, row["extra_info"], **keywords)
    except Exception as error:  # noqa: BLE001, a reward function may raise anything
        return f"{type(error).__name__}: {error}"
    if isinstance(result, dict) and result.get("judged") == 0:
        return NO_SIGNAL
    return None


def load_reward(path: Path) -> Score:
    """The reward function in a Python file. Raises Refused if there is none."""
    fix = "check the path given with --reward"
    if not path.is_file():
        raise Refused(f"{path}: no such file, expected a reward function;\n{fix}")
    module = ModuleType("reward")
    try:
        SourceFileLoader("reward", str(path)).exec_module(module)
    except Exception as error:
        raise Refused(
            f"{path}: {type(error).__name__}: {error};\nfix the file, or {fix}"
        ) from error
    found: Score | None = getattr(module, "compute_score", None)
    if found is None:
        raise Refused(f"{path}: there is no compute_score, expected verl's function;\n{fix}")
    return found


if __name__ == "__main__":
    raise SystemExit(main())
