"""Every cumulative set from one pass: the same bytes as a run for each."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.rollouts import Script, rollout, tree, write_jsonl


@pytest.fixture
def buckets(tmp_path: Path, bucket: Script) -> Path:
    """Five of them, the first two with nothing that a filter keeps."""
    rng = random.Random(0)
    scores = [(1.25, 1.25), (1.0, 1.0), (1, 0.5), (1, 0, 0), (0, 0)]  # the first two all alike
    rollouts = [
        rollout(*scores[i % 5], prompt=f"prompt {i % 120}", extra_info={"n": i, f"x{i % 3}": "y"})
        for i in range(150)
    ]
    rng.shuffle(rollouts)
    source = write_jsonl(tmp_path / "a.jsonl", rollouts)
    assert bucket("-i", source, "-o", tmp_path / "buckets", "-n", 5)[0] == 0
    return tmp_path / "buckets"


def sets_of(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "preprocessing.json").read_text())["sets"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--filter", "informative_only"),
        ("--order", "easy-to-hard", "--val-ratio", 0.3),
        ("--keep-data-source", "--no-best-response", "--val-ratio", 0, "--seed", 7),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_cumulative_sets_equal_combined_ones(
    tmp_path: Path,
    buckets: Path,
    preprocess: Script,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[Any, ...],
    workers: int,
) -> None:
    monkeypatch.setattr("curriculum.reading.input_files.SHARD_BYTES", 4_000)
    names = ["very_easy", "easy", "medium", "hard", "very_hard"]
    apart, once = tmp_path / "apart", tmp_path / "once"
    command = ("-i", buckets, "--workers", workers, *flags)
    assert preprocess(*command, "-o", apart)[0] == 0
    for last, name in enumerate(("and_2", "to_3", "to_4", "to_5"), 2):
        combined = ("--combine", "--output-name", f"stage1_{name}", "--buckets", *names[:last])
        code, _, err = preprocess(*command, "-o", apart, *combined)
        assert code == 0 or "drops all" in err
    assert preprocess(*command, "-o", once, "--cumulative")[0] == 0
    one, other = tree(once), tree(apart)
    if "informative_only" in flags:  # no run makes a set without rows, and its record
        assert sets_of(once).pop("stage1_and_2")["rows"] == {"train": 0, "val": 0}
        del one["preprocessing.json"], other["preprocessing.json"]
    assert one == other
    assert len(sets_of(once)) == 9


def test_stages_are_the_buckets_asked_for(
    tmp_path: Path, buckets: Path, preprocess: Script
) -> None:
    flags = ("--cumulative", "--buckets", "hard", "easy", "medium")
    assert preprocess("-i", buckets, "-o", tmp_path / "out", *flags)[0] == 0
    assert {name: record["buckets"] for name, record in sets_of(tmp_path / "out").items()} == {
        "easy": ["easy"],
        "medium": ["medium"],
        "hard": ["hard"],
        "stage1_and_2": ["easy", "medium"],
        "stage1_to_3": ["easy", "medium", "hard"],
    }


def test_rows_without_a_reward_function_are_counted_once(
    tmp_path: Path, buckets: Path, preprocess: Script
) -> None:
    _, out, _ = preprocess("-i", buckets, "-o", tmp_path / "out", "--cumulative")
    assert "150 rows with data_source bucketed_curriculum" in out


def test_a_cumulative_set_without_rows_is_told(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    scores = [(1, 1), (0.9, 0.9), (1, 0)]
    rollouts = [rollout(*scores[i % 3], prompt=str(i)) for i in range(60)]
    write_jsonl(tmp_path / "a.jsonl", rollouts)
    assert bucket("-i", tmp_path / "a.jsonl", "-o", tmp_path / "buckets")[0] == 0
    flags = ("--cumulative", "--filter", "informative_only")
    code, _, err = preprocess("-i", tmp_path / "buckets", "-o", tmp_path / "out", *flags)
    assert code == 0
    assert "stage1_and_2 has no train rows" in err
    assert sorted(name for name in tree(tmp_path / "out") if name.endswith(".parquet")) == [
        "hard_train.parquet", "hard_val.parquet",
        "stage1_to_3_train.parquet", "stage1_to_3_val.parquet",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["stage1_and_2", "Stage1_to_3"])
def test_a_bucket_of_that_name_is_in_the_way(
    tmp_path: Path, bucket: Script, preprocess: Script, name: str
) -> None:
    write_jsonl(tmp_path / "a.jsonl", [rollout(i, prompt=str(i)) for i in range(9)])
    names = ("--bucket-names", "a", "b", name)
    assert bucket("-i", tmp_path / "a.jsonl", "-o", tmp_path / "buckets", *names)[0] == 0
    code, _, err = preprocess("-i", tmp_path / "buckets", "-o", tmp_path / "out", "--cumulative")
    assert (code, "is the name of a bucket" in err) == (1, True)
    assert not (tmp_path / "out").exists()


def test_combined_or_cumulative(tmp_path: Path, buckets: Path, preprocess: Script) -> None:
    flags = ("--combine", "--cumulative")
    code, _, err = preprocess("-i", buckets, "-o", tmp_path / "out", *flags)
    assert (code, "leave out one of them" in err) == (2, True)


def test_stages_of_an_earlier_series_are_told(
    tmp_path: Path, buckets: Path, preprocess: Script
) -> None:
    command = ("-i", buckets, "-o", tmp_path / "out", "--cumulative")
    assert "earlier --cumulative" not in preprocess(*command)[2]
    assert "earlier --cumulative" not in preprocess(*command)[2]
    _, _, err = preprocess(*command, "--buckets", "easy", "hard")
    assert "stage1_to_3, stage1_to_4, stage1_to_5, made by an earlier --cumulative" in err


def test_staged_rows_go_when_the_last_set_that_has_them_is_written(
    tmp_path: Path, buckets: Path, preprocess: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[Path] = []

    def look(files: Any) -> None:
        left.extend((tmp_path / "out").rglob("*.arrow"))

    monkeypatch.setattr("curriculum.preprocess.check_unchanged", look)
    assert preprocess("-i", buckets, "-o", tmp_path / "out", "--cumulative")[0] == 0
    assert left == []
