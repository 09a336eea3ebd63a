"""Polars: a dump with one response a line → rollouts in three equal parts."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl


def main(source: Path, target: Path) -> None:
    """Group the responses of a directory by their uid and step, and bucket them."""
    rank = pl.col("reward").list.mean().rank("ordinal", descending=True) - 1
    rollouts = (
        pl.scan_ndjson(sorted(source.glob("*.jsonl")))
        .with_columns(key=pl.col("uid").str.replace(r"_\d+_\d+$", ""))
        .group_by("key", "step", maintain_order=True)
        .agg(
            pl.col("input").first().alias("prompt"),
            pl.struct(message=pl.struct(content="output")).alias("choices"),
            pl.col("score").alias("reward"),
            pl.col("gts").first().alias("ground_truth"),
        )
        .with_columns(bucket=rank * 3 // pl.len(), response=pl.struct("choices"))
        .drop("choices")
        .collect(engine="streaming")
        .lazy()
    )
    writes = [
        rollouts.filter(pl.col("bucket") == i)
        .with_columns(reward=pl.col("reward").list.eval(pl.struct(score=pl.element())))
        .drop("bucket")
        .sink_ndjson(target / f"{name}.jsonl", lazy=True)
        for i, name in enumerate(("easy", "medium", "hard"))
    ]
    pl.collect_all(writes, engine="streaming")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
