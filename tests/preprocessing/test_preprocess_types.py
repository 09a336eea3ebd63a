"""The preprocessing script end to end: the one schema, and values that come through it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.helpers.bucket_directories import TRAIN, VAL, bucketed, three_stages
from tests.helpers.rollouts import ROOT, Script, rollout, rows


def test_every_file_of_a_directory_has_one_schema(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    rollouts = three_stages()
    rollouts[0]["extra_info"] = {"only_here": [{"a": 1}], "gone": None}
    source = bucketed(tmp_path, bucket, rollouts)
    runs = [
        ("--buckets", "hard"),
        ("--buckets", "easy", "--filter", "passing_only"),
        ("--combine", "--val-ratio", 0.5, "--seed", 7),
    ]
    for i, flags in enumerate(runs):
        assert preprocess("-i", source, "-o", tmp_path / f"out{i}", *flags)[0] == 0
    schemas = {pq.read_schema(path).to_string() for path in tmp_path.glob("out*/*.parquet")}
    assert len(list(tmp_path.glob("out*/*.parquet"))) == 6
    assert len(schemas) == 1
    assert "only_here" in schemas.pop()


def test_golden_schema(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    truth = {"instruction_id": ["a:b"], "kwargs": [{"n": 3, "words": ["x"], "ratio": 0.5}]}
    rollouts = [
        rollout(i % 3, 1, prompt=p, ground_truth=repr([truth]), extra_info={"topic": "x"})
        for i, p in enumerate(TRAIN[:9] + VAL[:3])
    ]
    source = bucketed(tmp_path, bucket, rollouts)
    assert preprocess("-i", source, "-o", tmp_path / "out")[0] == 0
    golden = (ROOT / "tests/golden/schema.txt").read_text()
    for path in (tmp_path / "out").glob("*.parquet"):
        file = pq.ParquetFile(path)
        found = "".join(f"{field.name}: {field.type}\n" for field in file.schema_arrow)
        assert found == golden
        assert file.metadata.metadata is None


@pytest.mark.parametrize(
    "truths",
    [
        ["007", "1e5", "0.10", "2024-01-01", "[1, 2]", "", "ä\u2028"],
        [1, -(2**63), 2**63 - 1],
        [0.1, 1e300, -0.5],
        [True, False],
        [["a", "b"], [], ["c"]],
        [{"target": ["a"]}, {"target": []}],
        [{"a": 1, "b": "x"}] * 2,
        ["x", None, "y"],
    ],
)
def test_ground_truths_are_not_changed(
    tmp_path: Path, bucket: Script, preprocess: Script, truths: list[Any]
) -> None:
    rollouts = [rollout(1, prompt=p, ground_truth=t) for p, t in zip(TRAIN, truths, strict=False)]
    source = bucketed(tmp_path, bucket, rollouts, "-n", 1)
    flags = ("--val-ratio", 0, "--ground-truth-format", "typed")
    assert preprocess("-i", source, "-o", tmp_path / "out", *flags)[0] == 0
    found = [
        r["reward_model"]["ground_truth"] for r in rows(tmp_path / "out/level_1_train.parquet")
    ]
    assert repr(found) == repr(truths)


@pytest.mark.parametrize(
    ("truths", "told"),
    [
        ([56, -1, 2**70], "3 of 3 rollouts"),
        (["56", 56, None], "1 of 3 rollouts"),
        ([5.0, 0.5, -0.0], "2 of them are whole numbers with a decimal point"),
        ([[1], [2]], None),
        ([True, False], None),
    ],
)
def test_numbers_are_written_as_text_and_told(
    tmp_path: Path, bucket: Script, preprocess: Script, truths: list[Any], told: str | None
) -> None:
    rollouts = [rollout(1, prompt=p, ground_truth=t) for p, t in zip(TRAIN, truths, strict=False)]
    source = bucketed(tmp_path, bucket, rollouts, "-n", 1)
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out", "--val-ratio", 0)
    found = [
        r["reward_model"]["ground_truth"] for r in rows(tmp_path / "out/level_1_train.parquet")
    ]
    assert found == [json.dumps(t) if type(t) in (int, float) else t for t in truths]
    assert (code, "--ground-truth-format typed" in err) == (0, told is not None)
    assert told is None or told in err


def test_absent_ground_truth_is_null_and_told(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    source = bucketed(tmp_path, bucket, [rollout(1, ground_truth=None)], "-n", 1)
    _, _, err = preprocess("-i", source, "-o", tmp_path / "out")
    (row,) = rows(tmp_path / "out/level_1_train.parquet")
    assert row["reward_model"] == {"style": "rule", "ground_truth": None}
    assert "1 of 1 rollout" in err
    assert "has no ground truth" in err


def test_extra_info_of_differing_types_is_json_text_and_told(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    infos = [{"a": 1, "m": {"x": 1}, "s": "t"}, {"a": "b", "m": {"y": 2}, "e": {}}]
    rollouts = [rollout(1, prompt=p, extra_info=i) for p, i in zip(TRAIN, infos, strict=False)]
    source = bucketed(tmp_path, bucket, rollouts, "-n", 1)
    _, _, err = preprocess("-i", source, "-o", tmp_path / "out", "--val-ratio", 0)
    found = [r["extra_info"] for r in rows(tmp_path / "out/level_1_train.parquet")]
    assert [{k: f.get(k) for k in ("a", "m", "s")} for f in found] == [
        {"a": "1", "m": '{"x": 1}', "s": "t"},
        {"a": '"b"', "m": '{"y": 2}', "s": None},
    ]
    assert "e" not in found[0]
    assert "extra_info.a holds integer and string: extra_info.a is written as JSON text" in err
    assert "extra_info.m has other keys in other rollouts: written as JSON text" in err


def test_tools_kwargs_stay_structs(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    infos = [{"tools_kwargs": {"calc": {"create_kwargs": {"x": 1}}}}, {"tools_kwargs": {"web": {}}}]
    rollouts = [rollout(1, prompt=p, extra_info=i) for p, i in zip(TRAIN, infos, strict=False)]
    source = bucketed(tmp_path, bucket, rollouts, "-n", 1)
    _, _, err = preprocess("-i", source, "-o", tmp_path / "out", "--val-ratio", 0)
    found = [r["extra_info"]["tools_kwargs"] for r in rows(tmp_path / "out/level_1_train.parquet")]
    assert found == [{"calc": {"create_kwargs": {"x": 1}}}, {"calc": None}]
    assert "extra_info.tools_kwargs has other keys in other rollouts" in err


@pytest.mark.parametrize(
    ("key", "expected"), [("k", "k"), (7, "7"), (None, None), (["a", 1], '["a", 1]')]
)
def test_keys_are_strings(
    tmp_path: Path, bucket: Script, preprocess: Script, key, expected
) -> None:
    source = bucketed(tmp_path, bucket, [rollout(1, key=key)], "-n", 1)
    assert preprocess("-i", source, "-o", tmp_path / "out")[0] == 0
    assert rows(tmp_path / "out/level_1_train.parquet")[0]["extra_info"]["key"] == expected


def test_row_groups(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    rollouts = [rollout(1, prompt=f"p{i}") for i in range(2_300)]
    source = bucketed(tmp_path, bucket, rollouts, "-n", 1)
    assert preprocess("-i", source, "-o", tmp_path / "out", "--val-ratio", 0)[0] == 0
    metadata = pq.read_metadata(tmp_path / "out/level_1_train.parquet")
    groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert groups == [1000, 1000, 300]


def test_own_fields_are_sorted_by_their_name_in_the_row(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    one = rollout(1, extra_info={"z": 1, "index": 2, "p": 3})
    source = bucketed(tmp_path, bucket, [one], "-n", 1)
    assert preprocess("-i", source, "-o", tmp_path / "out")[0] == 0
    (row,) = rows(tmp_path / "out/level_1_train.parquet")
    assert list(row["extra_info"])[-3:] == ["p", "source_index", "z"]


def test_rows_without_tools_kwargs_have_a_struct_of_nulls(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    infos = [{"tools_kwargs": {"calc": {"x": 1}}}, {}, {"tools_kwargs": None}]
    rollouts = [rollout(1, prompt=p, extra_info=i) for p, i in zip(TRAIN, infos, strict=False)]
    source = bucketed(tmp_path, bucket, rollouts, "-n", 1)
    assert preprocess("-i", source, "-o", tmp_path / "out", "--val-ratio", 0)[0] == 0
    found = [r["extra_info"]["tools_kwargs"] for r in rows(tmp_path / "out/level_1_train.parquet")]
    assert found == [{"calc": {"x": 1}}, {"calc": None}, {"calc": None}]


def test_deep_extra_info_is_json_text(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    deep: Any = 1
    for _ in range(300):
        deep = {"a": [deep]}
    source = bucketed(tmp_path, bucket, [rollout(1, extra_info={"deep": deep})], "-n", 1)
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out")
    assert code == 0
    assert "extra_info.deep is written as JSON text" in err
    (row,) = rows(tmp_path / "out/level_1_train.parquet")
    assert json.loads(row["extra_info"]["deep"]) == deep
