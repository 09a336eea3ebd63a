#!/usr/bin/env python3
"""Say whether verl can train each set of a directory, before a cluster is up.

A stage needs at least one train batch of rows (verl drops what is left of the last one) and one
val row. With --reward, the instructions that the reward function does not know are counted too.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line per set; 1 if any of them cannot be trained on."""
    args = parser().parse_args(argv)
    checker = load_checker(args.reward) if args.reward else None
    print(f"{'set':16} {'train rows':>10} {'steps an epoch':>14} {'val rows':>8}")
    problems = []
    for name in args.sets:
        train, val = (args.data / f"{name}_{split}.parquet" for split in ("train", "val"))
        rows = [pq.read_metadata(path).num_rows if path.is_file() else 0 for path in (train, val)]
        print(f"{name:16} {rows[0]:>10,} {rows[0] // args.batch_size:>14,} {rows[1]:>8,}")
        problems += too_small(train, val, rows, args.batch_size)
        if checker:
            problems += unknown_instructions([train, val], checker)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


def parser() -> argparse.ArgumentParser:
    """The flags."""
    found = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    found.add_argument(
        "sets", nargs="+", metavar="SET", help="such as easy, for easy_train.parquet"
    )
    found.add_argument("-d", "--data", type=Path, default=Path("preprocessed"), metavar="DIR")
    found.add_argument("--batch-size", type=int, default=64, metavar="ROWS")
    found.add_argument("--reward", type=Path, metavar="FILE", help="a file like reward.py")
    return found


def load_checker(path: Path) -> Callable[[str], object] | None:
    """The function `checker` of a reward file; None where it has none."""
    spec = importlib.util.spec_from_file_location("reward", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, "checker", None)


def too_small(train: Path, val: Path, rows: list[int], batch_size: int) -> list[str]:
    """What verl would stop at: a side without rows, or fewer train rows than one batch."""
    has = [f"has {rows[0]:,} rows", "has no rows"]
    has = [
        text if path.is_file() else "is not there"
        for text, path in zip(has, (train, val), strict=True)
    ]
    found = []
    if rows[0] < batch_size:
        found.append(
            f"{train} {has[0]}, expected a batch of {batch_size:,} at least; lower the batch size, "
            "or combine the stage with another (--combine)"
        )
    if rows[1] == 0:
        found.append(f"{val} {has[1]}, expected one row at least; raise --val-ratio")
    return found


def unknown_instructions(paths: list[Path], known: Callable[[str], object]) -> list[str]:
    """What the reward function would stop at: no instructions, or ones it does not know."""
    found: list[str] = []
    for path in filter(Path.is_file, paths):
        truths = pq.read_table(path, columns=["reward_model"])["reward_model"].to_pylist()
        unknown = Counter(name for row in truths for name in names(row) if not known(name))
        other = sum(1 for row in truths if not names(row))
        if unknown:
            found.append(
                f"{path}: the reward function knows no {', '.join(sorted(unknown))} "
                f"({unknown.total():,} of them); add them to it, or pass --unknown skip"
            )
        if other:
            found.append(
                f"{path}: {other:,} rows without instruction_id_list; take another reward function"
            )
    return found


def names(reward_model: dict[str, Any]) -> list[str]:
    """The instructions of a row."""
    truth = reward_model["ground_truth"]
    return (truth.get("instruction_id_list") or []) if isinstance(truth, dict) else []


if __name__ == "__main__":
    raise SystemExit(main())
