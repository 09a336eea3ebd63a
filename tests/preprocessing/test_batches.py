"""Rows in several blocks and batches of a shard: the same rows, each with its own values."""

from __future__ import annotations

import gc
import json
import math
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curriculum.preprocessing.write_sets import OUR_BYTES_PER_ROW
from curriculum.reading.rollouts import ScoreReader
from curriculum.verl.read_rows import RowReader
from tests.helpers.rollouts import Script, rollout, rows, tree, write_jsonl
from tests.helpers.strategies import block
from tests.verl.test_read_rows import options

LEVELS = [0, 0.25, 1, None]


def hostile_lines(chosen: random.Random, count: int) -> list[bytes]:
    """Rollouts that differ in everything, among lines of every other kind."""
    lines = []
    for i in range(count):
        scores = chosen.choices(LEVELS, k=chosen.randrange(1, 4))
        rollout: dict[str, Any] = {
            "prompt": f"prompt {chosen.randrange(40)} " + "long " * chosen.choice([0, 0, 60]),
            "reward": [{"score": score, "n": i} for score in scores],
            "responses": [f"{i}.{j}" for j in range(len(scores))],
            "key": f"key {i}",
            "ground_truth": chosen.choice([-0.0, 0.5, None]),
            "extra_info": {"i": i, **({"late": [i]} if i > count // 2 else {})},
        }
        other = chosen.random()
        if other < 0.05:
            lines.append(b" ")
        elif other < 0.1:
            lines.append(b'{"reward": [1], "prompt": "\xff"}')
        elif other < 0.15:
            lines.append(json.dumps({**rollout, "prompt": ""}).encode())
        elif other < 0.2:
            rollout["responses"] = {"odd": 1} if i % 2 else None
            lines.append(json.dumps(rollout).encode())
        elif other < 0.25:
            message = {"role": "user", "content": rollout["prompt"], "name": "n"}
            rollout["reward"].append({"score": math.nan, "n": i})
            lines.append(json.dumps({**rollout, "prompt": [message]}).encode())
        else:
            lines.append(json.dumps(rollout).encode())
    return lines


def plain_rows(path: Path, keep: Any) -> list[dict[str, Any]]:
    """What a row must hold, from its line alone; `keep` is the filter."""
    found = []
    rollouts = [line for line in path.read_bytes().split(b"\n") if line.strip()]
    for index, line in enumerate(rollouts):
        try:
            rollout = json.loads(line.decode())
        except UnicodeDecodeError:
            continue
        scores = [entry["score"] for entry in rollout["reward"]]
        scores = [score for score in scores if score is not None and score == score]
        prompt = rollout["prompt"]
        if not prompt or not scores or not keep(scores):
            continue
        if isinstance(rollout["responses"], dict):  # malformed
            continue
        found.append({
            "index": index,
            "key": rollout["key"],
            "prompt": prompt if isinstance(prompt, str) else prompt[0]["content"],
            "mean": sum(scores) / len(scores),
            "count": len(scores),
            "best": max(scores),
            "i": rollout["extra_info"]["i"],
            "late": rollout["extra_info"].get("late"),
            "truth": repr(rollout["ground_truth"]),
            "no text": rollout["responses"] is None,
        })  # fmt: skip
    return found


def found_rows(directory: Path) -> list[dict[str, Any]]:
    """The same of the rows that were written, by index."""
    paths = sorted(directory.glob("*.parquet"))
    found = []
    for row in (row for path in paths for row in rows(path)):
        info = row["extra_info"]
        measures, best = info["difficulty_metrics"], info["best_response"]
        assert best["content"] in (None, f"{info['i']}.{best['index']}")
        assert json.loads(best["reward"])["n"] == info["i"]
        found.append({
            "index": info["index"],
            "key": info["key"],
            "prompt": row["prompt"][0]["content"],
            "mean": measures["mean_score"],
            "count": measures["num_responses"],
            "best": best["score"],
            "i": info["i"],
            "late": info["late"],
            "truth": repr(row["reward_model"]["ground_truth"]),
            "no text": best["content"] is None,
        })  # fmt: skip
    return sorted(found, key=lambda row: row["index"])


def test_row_groups_follow_from_the_lines_that_are_kept(
    tmp_path: Path, preprocess: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts = [
        rollout(i % 2, 0, prompt=f"{i}", ground_truth="x" * (3_000 if i % 4 == 1 else 10))
        for i in range(40)
    ]
    source = write_jsonl(tmp_path / "b/only.jsonl", rollouts)
    monkeypatch.setattr("curriculum.storage.parquet_files.GROUP_BYTES", 10_000)
    flags = ("--filter", "best_only", "--val-ratio", 0)
    assert preprocess("-i", tmp_path / "b", "-o", tmp_path / "out", *flags)[0] == 0
    expected, filled = [0], 0
    for line in source.read_bytes().splitlines()[1::2]:
        if filled + len(line) + OUR_BYTES_PER_ROW > 10_000:
            expected.append(0)
            filled = 0
        expected[-1] += 1
        filled += len(line) + OUR_BYTES_PER_ROW
    metadata = pq.read_metadata(tmp_path / "out/only_train.parquet")
    groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert groups == expected
    assert len(groups) > 3


def test_place_of_a_conflict_in_a_later_block_of_a_batch(
    tmp_path: Path, preprocess: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    truths = ["a"] * 31 + [["a"]] + ["a"] * 9
    rollouts = [rollout(1, prompt=f"{i}", ground_truth=truth) for i, truth in enumerate(truths)]
    write_jsonl(tmp_path / "b/only.jsonl", rollouts)
    monkeypatch.setattr("curriculum.reading.blocks.BLOCK_BYTES", 700)
    code, _, err = preprocess("-i", tmp_path / "b", "-o", tmp_path / "out")
    assert code == 1
    assert f"string at {tmp_path}/b/only.jsonl:1, list at {tmp_path}/b/only.jsonl:32" in err


FILTERS = {
    "all": lambda scores: True,
    "best_only": lambda scores: max(scores) > 0,
    "informative_only": lambda scores: max(scores) > min(scores),
}


@pytest.mark.parametrize("batch_bytes", [1, 700, 1 << 23])
@pytest.mark.parametrize("shard_bytes", [2_500, 1 << 24])
@pytest.mark.parametrize("filter_name", FILTERS)
def test_rows_have_their_own_values_whatever_the_batches(
    tmp_path: Path,
    preprocess: Script,
    monkeypatch: pytest.MonkeyPatch,
    batch_bytes: int,
    shard_bytes: int,
    filter_name: str,
) -> None:
    source = tmp_path / "b/only.jsonl"
    source.parent.mkdir()
    source.write_bytes(b"\n".join(hostile_lines(random.Random(7), 160)))
    typed = ("--ground-truth-format", "typed")
    flags = (
        "-i",
        source.parent,
        "--filter",
        filter_name,
        "--workers",
        1,
        "--val-ratio",
        0.2,
        *typed,
    )
    aside = ("--on-malformed", "set-aside")
    told = [preprocess(*flags, "-o", tmp_path / "one")]
    assert preprocess(*flags, "-o", tmp_path / "one", *aside)[0] == 0
    monkeypatch.setattr("curriculum.preprocessing.convert.BATCH_BYTES", batch_bytes)
    monkeypatch.setattr("curriculum.reading.input_files.SHARD_BYTES", shard_bytes)
    monkeypatch.setattr("curriculum.reading.blocks.BLOCK_BYTES", 600)
    told.append(preprocess(*flags, "-o", tmp_path / "two"))
    assert told[0] == told[1]
    assert "malformed lines" in told[0][2]
    code, _, warned = preprocess(*flags, "-o", tmp_path / "two", *aside)
    assert code == 0
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    expected = plain_rows(source, FILTERS[filter_name])
    found = found_rows(tmp_path / "two")
    for row, wanted in zip(found, expected, strict=True):
        assert row.pop("mean") == pytest.approx(wanted.pop("mean"))
        assert row == wanted
    assert (tmp_path / "two/rejected/unscored.jsonl").read_bytes().count(b"\n") > 3
    without_text = sum(wanted["no text"] for wanted in plain_rows(source, FILTERS["all"]))
    assert f"warning: {without_text} of " in warned.partition("have no text")[0].split("\n")[-1]


@pytest.mark.parametrize("reader", [ScoreReader("score"), RowReader(options())])
def test_refused_lines_leave_nothing_for_the_cycle_collector(
    reader: ScoreReader | RowReader,
) -> None:
    """It rests while a task runs: what it would have to find stays in memory."""
    lines = block(*[b'{"reward": [1], "prompt": "a"}', b"", b"{}", b"[", b'{"reward": 1}'] * 20)
    gc.collect()
    gc.disable()
    try:
        reader.read_block(lines)
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("block_bytes", "batch_bytes", "shard_bytes", "workers"),
    [
        (1 << 16, 1 << 18, 1 << 24, 1),
        (1 << 22, 1 << 23, 1 << 20, 2),
        (1 << 20, 1 << 10, 1 << 19, 3),
    ],
)
@pytest.mark.parametrize("how", [(), ("--combine",), ("--combine", "--order", "easy-to-hard")])
def test_pages_of_long_texts_do_not_depend_on_blocks_and_shards(
    tmp_path: Path,
    bucket: Script,
    preprocess: Script,
    monkeypatch: pytest.MonkeyPatch,
    block_bytes: int,
    batch_bytes: int,
    shard_bytes: int,
    workers: int,
    how: tuple[str, ...],
) -> None:
    """Texts fill several pages of a row group, and there are several row groups."""
    rollouts = [rollout(0, i % 7, prompt=f"{i} " * 999, key=f"{i} " * 50_000) for i in range(50)]
    write_jsonl(tmp_path / "a.jsonl", rollouts)
    source = tmp_path / "bucketed"
    assert bucket("-i", tmp_path / "a.jsonl", "-o", source, "-n", 2)[0] == 0
    monkeypatch.setattr("curriculum.storage.parquet_files.GROUP_ROWS", 15)
    flags = ("-i", source, "--val-ratio", 0.2, *how)
    assert preprocess(*flags, "-o", tmp_path / "one", "--workers", 1)[0] == 0
    monkeypatch.setattr("curriculum.preprocessing.convert.BATCH_BYTES", batch_bytes)
    monkeypatch.setattr("curriculum.reading.input_files.SHARD_BYTES", shard_bytes)
    monkeypatch.setattr("curriculum.reading.blocks.BLOCK_BYTES", block_bytes)
    assert preprocess(*flags, "-o", tmp_path / "two", "--workers", workers)[0] == 0
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
