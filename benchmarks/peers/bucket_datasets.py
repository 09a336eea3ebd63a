"""HF datasets: `load_dataset`, `map` for the means, `select` and `to_json` for the buckets.

Text that looks like a date becomes a timestamp, with `features` too. `double_precision=15`, the
most there is, still rounds scores; without it they keep ten decimals.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"

import numpy as np
from datasets import load_dataset

PROCESSES = os.cpu_count()


def mean_scores(rollouts: dict[str, list[Any]]) -> dict[str, list[float]]:
    """Mean score of each rollout of a batch."""
    return {"mean": [np.mean([r["score"] for r in reward]) for reward in rollouts["reward"]]}


def main(source: Path, target: Path) -> None:
    """Bucket the rollouts of a directory."""
    files = sorted(map(str, source.glob("*.jsonl")))
    with tempfile.TemporaryDirectory(dir=target) as cache:
        rollouts = load_dataset(
            "json", data_files=files, split="train", cache_dir=cache, num_proc=PROCESSES
        )
        means = rollouts.select_columns("reward").map(
            mean_scores, batched=True, remove_columns="reward", num_proc=PROCESSES
        )
        order = np.argsort(means.with_format("numpy")["mean"][:])[::-1]
        parts = np.array_split(order, 3)
        for name, part in zip(("easy", "medium", "hard"), parts, strict=True):
            rollouts.select(np.sort(part)).to_json(
                target / f"{name}.jsonl",
                num_proc=PROCESSES,
                force_ascii=False,
                double_precision=15,
            )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
