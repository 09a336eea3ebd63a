"""HF datasets: bucketed rollouts → verl's columns in parquet, train and val per bucket.

`load_dataset`, one batched `map`, and the library's own seeded `train_test_split`, which is by row.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"

import numpy as np
from datasets import Dataset, load_dataset

PROCESSES = os.cpu_count()
STAGES = ("easy", "medium", "hard")


def row(rollout: dict[str, Any], index: int, stage: str) -> dict[str, Any]:
    """One row in verl's form."""
    scores = [reward["score"] for reward in rollout["reward"]]
    best = int(np.argmax(scores))
    mean = float(np.mean(scores))
    metrics = {
        "metric": "mean_reward",
        "value": mean,
        "mean_score": mean,
        "max_score": scores[best],
        "min_score": min(scores),
        "score_variance": float(np.var(scores, ddof=1)),
        "success_rate": sum(score >= 0.5 for score in scores) / len(scores),
        "num_responses": len(scores),
    }
    best_response = {
        "index": best,
        "score": scores[best],
        "content": rollout["response"]["choices"][best]["message"]["content"],
        "reward": json.dumps(rollout["reward"][best]),
    }
    extra_info = {
        "split": "train",
        "index": index,
        "key": rollout["key"],
        "curriculum_stage": stage,
        "curriculum_stage_index": STAGES.index(stage),
        "difficulty_metrics": metrics,
        "best_response": best_response,
        **rollout["extra_info"],
    }
    return {
        "data_source": "bucketed_curriculum",
        "prompt": rollout["prompt"],
        "ability": "instruction_following",
        "reward_model": {"style": "rule", "ground_truth": rollout["ground_truth"]},
        "extra_info": extra_info,
    }


def rows(
    rollouts: dict[str, list[Any]], positions: list[int], stage: str, first_index: int
) -> dict[str, list[Any]]:
    """A batch of rows."""
    names = list(rollouts)
    made = [
        row(dict(zip(names, values, strict=True)), first_index + position, stage)
        for position, *values in zip(positions, *rollouts.values(), strict=True)
    ]
    return {name: [row[name] for row in made] for name in made[0]}


def mark_val(row: dict[str, Any]) -> dict[str, Any]:
    """A row that says it is held out."""
    return {"extra_info": {**row["extra_info"], "split": "val"}}


def write(stage: str, table: Dataset, target: Path) -> None:
    """Write the two sides of one bucket."""
    parts = table.train_test_split(test_size=0.05, seed=42)
    parts["train"].to_parquet(target / f"{stage}_train.parquet")
    parts["test"].map(mark_val).to_parquet(target / f"{stage}_val.parquet")


def main(source: Path, target: Path) -> None:
    """Preprocess the buckets of a directory."""
    count = 0
    with tempfile.TemporaryDirectory(dir=target) as cache:
        for stage in STAGES:
            rollouts = load_dataset(
                "json", data_files=str(source / f"{stage}.jsonl"), split="train", cache_dir=cache
            ).select_columns(["key", "prompt", "response", "reward", "ground_truth", "extra_info"])
            table = rollouts.map(
                rows, batched=True, with_indices=True, num_proc=PROCESSES,
                remove_columns=rollouts.column_names,
                fn_kwargs={"stage": stage, "first_index": count},
            )  # fmt: skip
            count += len(table)
            write(stage, table, target)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
