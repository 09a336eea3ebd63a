"""Polars, whole records: rollouts → three equal parts, decoded and written again.

Decoding lines by a given type takes a quarter of the CPU time of `scan_ndjson` on short records.
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
        .lazy()
    )
    writes = [
        rollouts.filter(pl.col("bucket") == i)
        .drop("bucket")
        .sink_ndjson(target / f"{name}.jsonl", lazy=True)
        for i, name in enumerate(("easy", "medium", "hard"))
    ]
    pl.collect_all(writes, engine="streaming")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
