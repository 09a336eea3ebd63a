"""Polars, whole records: rollouts → three equal parts, decoded and written again.

Decoding lines with a given type is about four times as fast on nested records as `read_ndjson`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

SCORES = pl.col("reward").list.eval(pl.element().struct.field("score"))


def main(source: Path, target: Path) -> None:
    """Bucket the rollouts of a directory."""
    files = sorted(source.glob("*.jsonl"))
    record = pl.Struct(pl.scan_ndjson(files[0], infer_schema_length=1_000).collect_schema())
    rank = SCORES.list.mean().rank("ordinal", descending=True) - 1
    rollouts = (
        pl.scan_lines(files)
        .select(pl.col("line").str.json_decode(record))
        .unnest("line")
        .with_columns(bucket=rank * 3 // pl.len())
        .collect(engine="streaming")
    )
    for i, name in enumerate(("easy", "medium", "hard")):
        part = rollouts.filter(pl.col("bucket") == i).drop("bucket")
        part.write_ndjson(target / f"{name}.jsonl")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
