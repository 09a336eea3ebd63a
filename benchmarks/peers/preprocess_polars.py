"""Polars: bucketed rollouts → verl's columns in parquet, train and val per bucket.

Decodes only the fields that the rows need. The split is by Polars' own seeded hash of the prompt.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

ROLLOUT = pl.Struct(
    {
        "key": pl.String,
        "prompt": pl.List(pl.Struct({"role": pl.String, "content": pl.String})),
        "response": pl.Struct(
            {"choices": pl.List(pl.Struct({"message": pl.Struct({"content": pl.String})}))}
        ),
        "reward": pl.List(pl.Struct({"score": pl.Float64, "V_i": pl.Float64})),
        "ground_truth": pl.String,
        "extra_info": pl.Struct({"topic": pl.String, "level": pl.Int64}),
    }
)
SCORES = pl.col("scores")
BEST = pl.col("best")
METRICS = pl.struct(
    metric=pl.lit("mean_reward"),
    value=SCORES.list.mean(),
    mean_score=SCORES.list.mean(),
    max_score=SCORES.list.max(),
    min_score=SCORES.list.min(),
    score_variance=SCORES.list.var(),
    success_rate=SCORES.list.eval((pl.element() >= 0.5).cast(pl.Float64)).list.mean(),
    num_responses=SCORES.list.len().cast(pl.Int64),
)
CHOICES = pl.col("response").struct.field("choices")
BEST_RESPONSE = pl.struct(
    index=BEST.cast(pl.Int64),
    score=SCORES.list.get(BEST),
    content=CHOICES.list.get(BEST).struct.field("message").struct.field("content"),
    reward=pl.col("reward").list.get(BEST).struct.json_encode(),
)
IS_VAL = pl.col("prompt").list.first().struct.field("content").hash(seed=42) % 20 == 0


def rows(path: Path, stage: str, stage_index: int, first_index: int) -> pl.LazyFrame:
    """The rows of one bucket."""
    extra_info = pl.struct(
        split="split",
        index=pl.col("index").cast(pl.Int64),
        key="key",
        curriculum_stage=pl.lit(stage),
        curriculum_stage_index=pl.lit(stage_index, dtype=pl.Int64),
        difficulty_metrics=METRICS,
        best_response=BEST_RESPONSE,
        level=pl.col("extra_info").struct.field("level"),
        topic=pl.col("extra_info").struct.field("topic"),
    )
    return (
        pl.scan_lines(path)
        .select(pl.col("line").str.json_decode(ROLLOUT))
        .unnest("line")
        .with_row_index("index", offset=first_index)
        .with_columns(
            scores=pl.col("reward").list.eval(pl.element().struct.field("score")),
            split=pl.when(IS_VAL).then(pl.lit("val")).otherwise(pl.lit("train")),
        )
        .with_columns(best=SCORES.list.arg_max())
        .select(
            data_source=pl.lit("bucketed_curriculum"),
            prompt="prompt",
            ability=pl.lit("instruction_following"),
            reward_model=pl.struct(style=pl.lit("rule"), ground_truth="ground_truth"),
            extra_info=extra_info,
        )
    )


def main(source: Path, target: Path) -> None:
    """Preprocess the buckets of a directory."""
    count = 0
    for i, stage in enumerate(("easy", "medium", "hard")):
        table = rows(source / f"{stage}.jsonl", stage, i, count)
        split = pl.col("extra_info").struct.field("split")
        paths = {side: target / f"{stage}_{side}.parquet" for side in ("train", "val")}
        writes = [
            table.filter(split == side).sink_parquet(
                path, compression="zstd", compression_level=1, lazy=True
            )
            for side, path in paths.items()
        ]
        pl.collect_all(writes, engine="streaming")
        count += pl.scan_parquet(list(paths.values())).select(pl.len()).collect().item()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
