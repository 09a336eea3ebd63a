"""pandas: records with `read_json`, ranks, records with `to_json`.

`dtype=False` and `precise_float` keep texts and numbers as they are on the way in;
`double_precision=15`, the most there is, still rounds scores on the way out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd


def mean_score(reward: list[dict[str, float]]) -> float:
    """Mean score of one rollout."""
    return sum(entry["score"] for entry in reward) / len(reward)


def main(source: Path, target: Path) -> None:
    """Bucket the rollouts of a directory."""
    files = sorted(source.glob("*.jsonl"))
    parts = [pd.read_json(path, lines=True, dtype=False, precise_float=True) for path in files]
    rollouts = pd.concat(parts, ignore_index=True)
    rank = rollouts["reward"].map(mean_score).rank(method="first", ascending=False) - 1
    buckets = rank * 3 // len(rollouts)
    for i, name in enumerate(("easy", "medium", "hard")):
        rollouts[buckets == i].to_json(
            target / f"{name}.jsonl",
            orient="records",
            lines=True,
            force_ascii=False,
            double_precision=15,
        )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
