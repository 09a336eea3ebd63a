"""A data set with columns of many types, rollouts of its prompts, and what a set should hold."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.helpers.rollouts import rollout, write_jsonl

ADDED = ("curriculum_stage", "curriculum_stage_index", "difficulty_metrics")
PROMPT = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SCHEMA = pa.schema(
    [
        ("data_source", pa.large_string()),
        ("prompt", PROMPT),
        ("ability", pa.dictionary(pa.int32(), pa.string())),
        ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
        ("extra_info", pa.struct([("index", pa.int64()), ("note", pa.string())])),
        ("images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))),
        ("embedding", pa.list_(pa.float32(), 3)),
        ("seen", pa.timestamp("us", tz="UTC")),
        ("nothing", pa.null()),
        ("weight", pa.float32()),
    ]
)


def row(number: int, prompt: str | None = None) -> dict[str, Any]:
    """A row; those with a number that three divides have no image."""
    image = {"bytes": bytes([number % 256]) * (number % 40), "path": None}
    return {
        "data_source": "openai/gsm8k",
        "prompt": [{"role": "user", "content": prompt or f"prompt {number}"}],
        "ability": ["math", "code", None][number % 3],
        "reward_model": {"style": "rule", "ground_truth": str(number)},
        "extra_info": {"index": number, "note": "n" * (number % 5) or None},
        "images": [image] if number % 3 else None,
        "embedding": [number, number / 2, -1],
        "seen": dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=number),
        "nothing": None,
        "weight": number / 3,
    }


def write_parquet(
    path: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema = SCHEMA, group: int = 7
) -> Path:
    """Write rows in row groups of `group`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema), path, row_group_size=group)
    return path


def write_rollouts(path: Path, numbers: Sequence[int]) -> Path:
    """Rollouts of the prompts of these rows: the higher the number, the fewer passes."""
    found = [
        rollout(*[float(i >= number % 9) for i in range(8)], prompt=f"prompt {number}",
                key=str(number), ground_truth=str(number))
        for number in numbers
    ]  # fmt: skip
    return write_jsonl(path, found)


def buckets_of(directory: Path) -> dict[str, tuple[str, int]]:
    """The name and the number of the bucket of each prompt."""
    manifest = json.loads((directory / "bucketing.json").read_bytes())
    return {
        json.loads(line)["prompt"][0]["content"]: (bucket["name"], bucket["order"])
        for bucket in manifest["buckets"]
        for line in (directory / bucket["file"]).read_text("utf-8").splitlines()
    }


def without_added(found: dict[str, Any]) -> dict[str, Any]:
    """A row as it was in the data set."""
    kept = {name: value for name, value in found.items() if name not in ADDED}
    if kept.get("extra_info"):
        info = kept["extra_info"].items()
        kept["extra_info"] = {name: value for name, value in info if name not in ADDED}
    return kept
