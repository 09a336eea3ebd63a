"""The preprocessing script end to end: sets, rows, split, schema, summary, warnings, errors."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from curriculum.plan import plan_rows
from curriculum.prompts import Message, PromptHasher, Split
from tests.support import ROOT, Script, lines, rollout, rows, tree, write_jsonl

CUT = int(0.05 * 2**64)


def side(prompt: str, ratio: float = 0.05, seed: int = 42) -> str:
    """The side of a prompt by its hash alone."""
    return "val" if PromptHasher(seed)([Message("user", prompt)]) < int(ratio * 2**64) else "train"


def some_prompts(split: str, count: int) -> list[str]:
    """Prompts that fall on one side by their hash."""
    return [p for p in (f"prompt {i}" for i in range(5_000)) if side(p) == split][:count]


TRAIN, VAL = some_prompts("train", 60), some_prompts("val", 9)


def buckets(directory: Path, **found: list[dict[str, Any]]) -> Path:
    """A bucket directory without a manifest."""
    for name, rollouts in found.items():
        write_jsonl(directory / f"{name}.jsonl", rollouts)
    return directory


def bucketed(tmp_path: Path, bucket: Script, rollouts: list[dict[str, Any]], *flags: Any) -> Path:
    """A bucket directory as the first script writes it."""
    write_jsonl(tmp_path / "in/a.jsonl", rollouts)
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "bucketed", *flags)[0] == 0
    return tmp_path / "bucketed"


def three_stages() -> list[dict[str, Any]]:
    """Ten rollouts per default bucket, two of each in val."""
    return [
        rollout(score, score, 0, 1, prompt=prompt, key=f"{score}-{i}")
        for score, at in ((1, 0), (0.5, 1), (0, 2))
        for i, prompt in enumerate(TRAIN[at * 8 : at * 8 + 8] + VAL[at * 2 : at * 2 + 2])
    ]


def test_row_in_full(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    one = rollout(
        0, 1.25, 0, 0, 0, 1.25, 0, 0,
        prompt=TRAIN[0], key="k1", ability="maths", extra_info={"topic": "sums", "index": 7},
    )  # fmt: skip
    source = bucketed(tmp_path, bucket, [one, rollout(1, 1, prompt=VAL[0])], "-n", 1)
    assert preprocess("-i", source, "-o", tmp_path / "out")[0] == 0
    assert rows(tmp_path / "out/level_1_train.parquet") == [
        {
            "data_source": "bucketed_curriculum",
            "prompt": [{"role": "user", "content": TRAIN[0]}],
            "ability": "maths",
            "reward_model": {"style": "rule", "ground_truth": "4"},
            "extra_info": {
                "split": "train",
                "index": 0,
                "key": "k1",
                "curriculum_stage": "level_1",
                "curriculum_stage_index": 0,
                "difficulty_metrics": {
                    "metric": "mean_reward",
                    "value": 0.3125,
                    "mean_score": 0.3125,
                    "max_score": 1.25,
                    "min_score": 0.0,
                    "score_variance": 0.334821428571,
                    "success_rate": 0.25,
                    "num_responses": 8,
                },
                "best_response": {
                    "index": 1,
                    "score": 1.25,
                    "content": "answer 1",
                    "reward": '{"score": 1.25}',
                },
                "source_index": 7,
                "topic": "sums",
            },
        }
    ]


def test_separate_sets(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    source = bucketed(tmp_path, bucket, three_stages())
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    assert sorted(tree(tmp_path / "out")) == [
        "easy_train.parquet", "easy_val.parquet", "hard_train.parquet", "hard_val.parquet",
        "medium_train.parquet", "medium_val.parquet", "preprocessing.json",
    ]  # fmt: skip
    for at, name in enumerate(("easy", "medium", "hard")):
        for split, count in (("train", 8), ("val", 2)):
            found = [r["extra_info"] for r in rows(tmp_path / f"out/{name}_{split}.parquet")]
            assert len(found) == count
            assert {(r["curriculum_stage"], r["curriculum_stage_index"], r["split"])
                    for r in found} == {(name, at, split)}  # fmt: skip
    indexes = [
        row["extra_info"]["index"]
        for path in (tmp_path / "out").glob("*.parquet")
        for row in rows(path)
    ]
    assert sorted(indexes) == list(range(30))


def test_combined_set_is_the_union_of_its_buckets(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    source = bucketed(tmp_path, bucket, three_stages())
    assert preprocess("-i", source, "-o", tmp_path / "out")[0] == 0
    flags = ("--combine", "--output-name", "phase2", "--buckets", "medium", "easy")
    assert preprocess("-i", source, "-o", tmp_path / "out", *flags)[0] == 0
    for split in ("train", "val"):
        parts = [rows(tmp_path / f"out/{name}_{split}.parquet") for name in ("easy", "medium")]
        assert rows(tmp_path / f"out/phase2_{split}.parquet") == parts[0] + parts[1]
    manifest = json.loads((tmp_path / "out/preprocessing.json").read_text())
    assert list(manifest["sets"]) == ["easy", "hard", "medium", "phase2"]
    assert manifest["sets"]["phase2"]["buckets"] == ["easy", "medium"]
    assert manifest["sets"]["phase2"]["rows"] == {"train": 16, "val": 4}


def test_combine_takes_all_buckets_by_default(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    source = bucketed(tmp_path, bucket, three_stages())
    assert preprocess("-i", source, "-o", tmp_path / "out", "--combine")[0] == 0
    found = rows(tmp_path / "out/combined_train.parquet")
    indexes = [row["extra_info"]["index"] for row in found]
    assert len(found) == 24
    assert indexes == sorted(indexes)


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


def told_prompts(out: str) -> dict[str, list[str]]:
    """The table of prompts in a summary: set → its cells."""
    table = [line.split() for line in out.splitlines()]
    at = next(i for i, cells in enumerate(table) if cells[:2] == ["set", "prompts"])
    end = next(i for i, cells in enumerate(table[at:], at) if not cells)
    return {cells[0]: cells[1:] for cells in table[at + 1 : end]}


def test_prompt_is_on_one_side_everywhere(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    again = [rollout(0, prompt=" ".join(p.split()) + " ") for p in TRAIN[:4] + VAL[:4]]
    source = bucketed(tmp_path, bucket, three_stages() + again, "-n", 5)

    def texts(found: list[dict[str, Any]]) -> list[str]:
        return [" ".join(one["prompt"][0]["content"].split()) for one in found]

    in_buckets = Counter(
        text
        for path in source.glob("*.jsonl")
        for text in set(texts([json.loads(line) for line in lines(path)]))
    )
    assert max(in_buckets.values()) > 1
    sides: dict[str, set[str]] = {}
    for i, flags in enumerate(((), ("--combine",), ("--filter", "informative_only"))):
        code, out, _ = preprocess("-i", source, "-o", tmp_path / f"out{i}", *flags)
        assert code == 0
        told = told_prompts(out)
        assert {p.stem.rpartition("_")[0] for p in (tmp_path / f"out{i}").glob("*.p*")} <= set(told)
        for name, cells in told.items():
            held = Counter[str]()
            for path in (tmp_path / f"out{i}").glob(f"{name}_*.parquet"):
                split = path.stem.rpartition("_")[2]
                held.update(texts(rows(path)))
                assert {row["extra_info"]["split"] for row in rows(path)} == {split}
                for text in texts(rows(path)):
                    sides.setdefault(text, set()).add(split)
            repeated = sum(count > 1 for count in held.values())
            shared = sum(in_buckets[text] > 1 for text in held)
            assert cells == [str(len(held)), str(repeated), str(shared), "0"]
    assert {text: {side(text)} for text in sides} == sides


def test_floor_gives_every_bucket_two_sides(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    rollouts = [rollout(1, prompt=p) for p in TRAIN[:5]] + [rollout(0, prompt=p) for p in VAL[:3]]
    source = bucketed(tmp_path, bucket, rollouts, "-n", 2)
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out")
    assert code == 0
    hasher = PromptHasher(42)

    def distance(prompt: str) -> int:
        return abs(hasher([Message("user", prompt)]) - CUT)

    (to_val,) = rows(tmp_path / "out/easy_val.parquet")
    (to_train,) = rows(tmp_path / "out/hard_train.parquet")
    assert to_val["prompt"][0]["content"] == min(TRAIN[:5], key=distance)
    assert to_train["prompt"][0]["content"] == min(VAL[:3], key=distance)
    manifest = json.loads((tmp_path / "out/preprocessing.json").read_text())
    assert [(m["index"], m["to"], m["prompt_hash"])
            for m in manifest["sets"]["easy"]["moved_prompts"]] == [
        (row["extra_info"]["index"], to,
         f"{hasher([Message('user', row['prompt'][0]['content'])]):016x}")
        for row, to in ((to_val, "val"), (to_train, "train"))
    ]  # fmt: skip
    assert "2 prompts moved to the other side of the split" in err


def test_bucket_with_one_prompt_is_train(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    rollouts = [rollout(1, prompt=VAL[0]), rollout(1, prompt=VAL[0]), *three_stages()[10:]]
    source = bucketed(tmp_path, bucket, rollouts)
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out")
    assert code == 0
    assert len(rows(tmp_path / "out/easy_train.parquet")) == 2
    assert not (tmp_path / "out/easy_val.parquet").exists()
    assert "easy has no val rows" in err
    assert "too few different prompts" in err


def test_no_val_files_without_a_ratio(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    source = bucketed(tmp_path, bucket, three_stages())
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out", "--val-ratio", 0)
    assert (code, err) == (0, "")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.parquet")) == [
        "easy_train.parquet", "hard_train.parquet", "medium_train.parquet",
    ]  # fmt: skip
    assert sum(len(rows(path)) for path in (tmp_path / "out").glob("*.parquet")) == 30


FILTERED = [(1, 1), (0.4, 0.4), (0, 0), (0.5, 0), (-1, 0), (0.3, 0.1)]


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        (("all",), [0, 1, 2, 3, 4, 5]),
        (("best_only",), [0, 1, 3, 5]),
        (("passing_only",), [0, 3]),
        (("passing_only", "--pass-threshold", 0.4), [0, 1, 3]),
        (("informative_only",), [3, 4, 5]),
    ],
)
def test_filters(tmp_path: Path, bucket: Script, preprocess: Script, flags, kept) -> None:
    rollouts = [
        rollout(*scores, prompt=prompts[i], num=i, extra_info={"num": i})
        for prompts in (TRAIN, VAL)
        for i, scores in enumerate(FILTERED)
    ]
    source = bucketed(tmp_path, bucket, rollouts, "-n", 1)
    code, _out, _ = preprocess("-i", source, "-o", tmp_path / "out", "--filter", *flags)
    assert code == 0
    for split in ("train", "val"):
        found = rows(tmp_path / f"out/level_1_{split}.parquet")
        assert [row["extra_info"]["num"] for row in found] == kept
    dropped = json.loads((tmp_path / "out/preprocessing.json").read_text())["sets"]["level_1"]
    assert dropped["dropped"] == {"level_1": 12 - 2 * len(kept)}


def test_set_that_the_filter_empties_is_not_written(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    rollouts = three_stages()
    for one in rollouts[20:]:
        one["reward"] = [{"score": 0}] * 4
    source = bucketed(tmp_path, bucket, rollouts)
    assert preprocess("-i", source, "-o", tmp_path / "out")[0] == 0
    flags = ("--filter", "passing_only")
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out", *flags)
    assert code == 0
    assert not list((tmp_path / "out").glob("hard_*"))
    assert "hard has no train rows" in err
    assert "--filter passing_only dropped 10 rollouts" in err
    manifest = json.loads((tmp_path / "out/preprocessing.json").read_text())
    assert manifest["sets"]["hard"]["files"] == {"train": None, "val": None}
    before = tree(tmp_path / "out")
    code, out, err = preprocess("-i", source, "-o", tmp_path / "out", *flags, "--buckets", "hard")
    assert (code, out) == (1, "")
    assert "--filter passing_only drops all 10 rollouts" in err
    assert "use --filter all" in err
    assert tree(tmp_path / "out") == before


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
    assert preprocess("-i", source, "-o", tmp_path / "out", "--val-ratio", 0)[0] == 0
    found = [
        r["reward_model"]["ground_truth"] for r in rows(tmp_path / "out/level_1_train.parquet")
    ]
    assert repr(found) == repr(truths)


MIXED = {
    "string and number": (["4", 4], "string at {0}:1, integer at {0}:2"),
    "whole and fraction": ([1, 2.5], "integer at {0}:1, number at {0}:2"),
    "too large": ([1, 2**63], "integer at {0}:1, integer beyond int64 at {0}:2"),
    "text and dict": (["a", {"a": 1}], "string at {0}:1, object at {0}:2"),
    "inside": ([{"a": [1]}, {"a": ["x"]}], "ground_truth.a[] is integer at {0}:1, string at {0}:2"),
}


@pytest.mark.parametrize(("truths", "message"), MIXED.values(), ids=MIXED)
def test_mixed_ground_truths_name_the_way_out(
    tmp_path: Path, bucket: Script, preprocess: Script, truths: list[Any], message: str
) -> None:
    rollouts = [rollout(1, prompt=p, ground_truth=t) for p, t in zip(TRAIN, truths, strict=False)]
    source = bucketed(tmp_path, bucket, rollouts, "-n", 1)
    code, out, err = preprocess("-i", source, "-o", tmp_path / "out")
    assert (code, out) == (1, "")
    assert message.format(source / "level_1.jsonl") in err
    assert "--ground-truth-format string" in err
    assert not (tmp_path / "out").exists()
    flags = ("--ground-truth-format", "string", "--val-ratio", 0)
    assert preprocess("-i", source, "-o", tmp_path / "out", *flags)[0] == 0
    found = [
        r["reward_model"]["ground_truth"] for r in rows(tmp_path / "out/level_1_train.parquet")
    ]
    assert found == [t if isinstance(t, str) else json.dumps(t) for t in truths]


def test_absent_ground_truth_is_null_and_told(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    source = bucketed(tmp_path, bucket, [rollout(1, ground_truth=None)], "-n", 1)
    _, _, err = preprocess("-i", source, "-o", tmp_path / "out")
    (row,) = rows(tmp_path / "out/level_1_train.parquet")
    assert row["reward_model"] == {"style": "rule", "ground_truth": None}
    assert "have no ground truth" in err


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


def test_data_source_and_ability(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    own = [
        {"data_source": "top", "extra_info": {"data_source": "inner"}, "ability": "maths"},
        {"extra_info": {"data_source": "inner"}},
        {},
    ]
    rollouts = [rollout(1, prompt=p, **f) for p, f in zip(TRAIN, own, strict=False)]
    source = bucketed(tmp_path, bucket, rollouts, "-n", 1)

    def found(*flags: str) -> tuple[list[tuple[str, str]], str, str]:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        code, out, err = preprocess("-i", source, "-o", tmp_path / "out", "--val-ratio", 0, *flags)
        assert code == 0
        table = rows(tmp_path / "out/level_1_train.parquet")
        return [(row["data_source"], row["ability"]) for row in table], out, err

    pairs, out, _ = found()
    assert pairs == [("bucketed_curriculum", a) for a in ("maths", *["instruction_following"] * 2)]
    assert "3 rows with data_source bucketed_curriculum: verl has no reward function" in out
    pairs, out, err = found("--keep-data-source", "--data-source", "mine", "--ability", "chat")
    assert pairs == [("top", "maths"), ("inner", "chat"), ("mine", "chat")]
    assert "no reward function" not in out
    assert "have no data_source of their own" in err


def test_no_best_response(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    source = bucketed(tmp_path, bucket, [rollout(1)], "-n", 1)
    assert preprocess("-i", source, "-o", tmp_path / "out", "--no-best-response")[0] == 0
    assert "best_response" not in rows(tmp_path / "out/level_1_train.parquet")[0]["extra_info"]


def test_what_is_left_out_or_replaced_is_told(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    message = {"role": "user", "content": TRAIN[1], "name": "bob"}
    rollouts = [
        rollout(1, 1, prompt=TRAIN[0], responses=[]),
        {**rollout(1, 1), "prompt": [message], "response": {"choices": [{"text": "a"}]}},
        {**rollout(1, None), "prompt": f"{TRAIN[2]}\ud800", "response": None},
    ]
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rollouts))
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "bucketed", "-n", 1)[0] == 0
    _, _, err = preprocess("-i", tmp_path / "bucketed", "-o", tmp_path / "out", "--val-ratio", 0)
    told = [
        line.removeprefix("warning: ")
        .replace(f"1 of 3 rollouts in {tmp_path / 'bucketed'} ", "")
        .split(",")[0]
        .split(";")[0]
        for line in err.splitlines()
    ]
    assert told == [
        "message keys other than role and content left out: name 1.",
        "have no text for their best response",
        "have another number of responses than of rewards",
        "hold lone surrogates",
        "1 of 6 scores missing (null",
    ]
    found = rows(tmp_path / "out/level_1_train.parquet")
    assert [row["prompt"][0]["content"] for row in found] == [*TRAIN[:2], f"{TRAIN[2]}\ufffd"]


def test_rollouts_without_a_score_are_set_aside(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    source = buckets(
        tmp_path / "b", easy=three_stages()[:5], hard=[rollout(None, prompt=TRAIN[50])]
    )
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out", "--val-ratio", 0)
    assert code == 0
    unscored = tmp_path / "out/rejected/unscored.jsonl"
    assert unscored.read_bytes() == (source / "hard.jsonl").read_bytes()
    reason = json.loads((tmp_path / "out/rejected/reasons.jsonl").read_text())
    assert (reason["file"], reason["line"]) == (str(source / "hard.jsonl"), 1)
    assert "1 rollout without any score became no row" in err
    assert "hard has no train rows" in err


def test_without_a_manifest_the_order_is_guessed(tmp_path: Path, preprocess: Script) -> None:
    stages = three_stages()
    source = buckets(tmp_path / "b", medium=stages[10:20], zzz=stages[20:], easy=stages[:10])
    (source / ".x.jsonl").write_text("not a bucket")
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out", "--combine")
    assert code == 0
    found = [row["extra_info"] for row in rows(tmp_path / "out/combined_train.parquet")]
    assert list(dict.fromkeys(r["curriculum_stage"] for r in found)) == ["easy", "medium", "zzz"]
    assert {r["difficulty_metrics"]["value"] for r in found} == {None}
    assert {r["difficulty_metrics"]["metric"] for r in found} == {None}
    assert "has no bucketing.json" in err
    assert "(easy medium zzz)" in err


def test_manifest_decides_metric_threshold_and_field(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    rollouts = [
        {**rollout(), "prompt": p, "reward": [{"score": 9, "V_i": v} for v in (0.2, 0.3, 0)]}
        for p in TRAIN[:3]
    ]
    flags = ("-m", "pass_at_k", "--k", 2, "--score-field", "V_i", "--pass-threshold", 0.3, "-n", 1)
    source = bucketed(tmp_path, bucket, rollouts, *flags)

    def metrics(*flags: Any) -> dict[str, Any]:
        out = tmp_path / f"out{len(flags)}"
        assert preprocess("-i", source, "-o", out, "--val-ratio", 0, *flags)[0] == 0
        found: dict[str, Any] = rows(out / "level_1_train.parquet")[0]["extra_info"]
        return found["difficulty_metrics"]

    found = metrics()
    assert (found["metric"], found["value"], found["max_score"]) == (
        "pass_at_k", 0.666666666667, 0.3,
    )  # fmt: skip
    assert found["success_rate"] == 0.333333333333
    found = metrics("--pass-threshold", 0.1)
    assert (found["value"], found["success_rate"]) == (0.666666666667, 0.666666666667)
    found = metrics("--score-field", "score", "--quiet")
    assert (found["metric"], found["value"], found["max_score"]) == (None, None, 9.0)


def test_edited_and_unknown_files_are_told(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    source = bucketed(tmp_path, bucket, three_stages())
    with (source / "hard.jsonl").open("ab") as file:
        file.write(b"\n" + lines(source / "easy.jsonl")[0])
    write_jsonl(source / "old.jsonl", three_stages()[:1])
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out")
    assert code == 0
    assert f"{source}/hard.jsonl was edited since bucketing: it has 11 rollouts" in err
    assert "old.jsonl in" in err
    assert "left alone" in err
    assert not list((tmp_path / "out").glob("old*"))


def test_other_splits_in_the_same_directory_are_told(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    source = bucketed(tmp_path, bucket, three_stages())
    flags = ("-i", source, "-o", tmp_path / "out")
    assert preprocess(*flags, "--combine", "--output-name", "phase2")[2] == ""
    _, _, err = preprocess(*flags, "--combine", "--output-name", "phase3", "--seed", 7)
    assert "also holds phase2, made with another --seed" in err


def test_same_input_same_bytes(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    source = bucketed(tmp_path, bucket, three_stages())
    for name in ("one", "two"):
        assert preprocess("-i", source, "-o", tmp_path / name)[0] == 0
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


@pytest.mark.parametrize("shard_bytes", [1, 700, 5_000])
def test_files_do_not_depend_on_shards(
    tmp_path: Path,
    bucket: Script,
    preprocess: Script,
    monkeypatch: pytest.MonkeyPatch,
    shard_bytes: int,
) -> None:
    rng = np.random.default_rng(1)
    rollouts = [
        rollout(*rng.integers(0, 2, 4).tolist(), prompt=p, extra_info={"i": i, f"x{i % 3}": i})
        for i, p in enumerate(TRAIN + VAL)
    ]
    source = bucketed(tmp_path, bucket, rollouts)
    assert preprocess("-i", source, "-o", tmp_path / "one")[0] == 0
    monkeypatch.setattr("curriculum.inputs.SHARD_BYTES", shard_bytes)
    monkeypatch.setattr("curriculum.inputs.BLOCK_BYTES", 300)
    assert preprocess("-i", source, "-o", tmp_path / "two")[0] == 0
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_malformed_lines_stop_the_run(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    rollouts = three_stages()
    del rollouts[3]["prompt"]
    rollouts[25]["extra_info"] = [1]
    source = bucketed(tmp_path, bucket, rollouts)
    code, out, err = preprocess("-i", source, "-o", tmp_path / "out", "--buckets", "medium")
    assert (code, out) == (1, "")
    assert f"{source}/easy.jsonl:4: no prompt" in err
    assert f"{source}/hard.jsonl:6: extra_info is not an object: it is a list" in err
    assert not (tmp_path / "out").exists()


USAGE = {
    "filter": (("--filter", "some"), "--filter: there is no 'some', expected one of all, best"),
    "format": (("--ground-truth-format", "x"), "--ground-truth-format: there is no 'x'"),
    "ratio": (("--val-ratio", 1), "--val-ratio: the ratio is 1.0, expected 0 or more and below 1"),
    "negative": (("--val-ratio", -0.1), "--val-ratio: the ratio is -0.1"),
    "no ratio": (("--val-ratio", "nan"), "--val-ratio: the ratio is nan"),
    "name": (("--output-name", "x"), "--output-name: it names the combined set, and there is none"),
    "bad name": (("--combine", "--output-name", "a[1]"), "--output-name: the name 'a[1]' holds"),
    "threshold": (("--pass-threshold", "inf"), "--pass-threshold: the score is inf"),
    "seed": (("--seed", 2**64), "--seed: the seed is 18446744073709551616"),
    "source": (("--data-source", ""), "--data-source: the name is empty"),
}


@pytest.mark.parametrize(("flags", "message"), USAGE.values(), ids=USAGE)
def test_wrong_flags_exit_2(tmp_path: Path, preprocess: Script, flags: tuple, message: str) -> None:
    code, out, err = preprocess("-i", tmp_path / "gone", "-o", tmp_path / "out", *flags)
    assert (code, out) == (2, "")
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_what_the_disk_says_exits_1(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    out = tmp_path / "out"

    def refused(message: str, *flags: Any) -> None:
        code, stdout, err = preprocess(*flags)
        assert (code, stdout) == (1, "")
        assert message in err
        assert ", expected " in err

    source = bucketed(tmp_path, bucket, three_stages())
    refused(f"{tmp_path}/gone: no such directory", "-i", tmp_path / "gone", "-o", out)
    refused("this is not a directory", "-i", source / "easy.jsonl", "-o", out)
    (tmp_path / "none").mkdir()
    refused("there are no bucket files here", "-i", tmp_path / "none", "-o", out)
    refused("there is no bucket 'esy', expected one of easy, medium, hard",
            "-i", source, "-o", out, "--buckets", "esy")  # fmt: skip
    refused("'easy' is the name of a bucket", "-i", source, "-o", out, "--combine",
            "--output-name", "easy")  # fmt: skip
    refused("the output directory is the input directory", "-i", source, "-o", source)
    refused("has a score in reward[i].V_i", "-i", source, "-o", out, "--score-field", "V_i")
    (source / "medium.jsonl").unlink()
    refused("medium.jsonl: bucketing.json names this bucket file", "-i", source, "-o", out)
    buckets(tmp_path / "odd", **{"a[1]": three_stages()[:1]})
    refused("the bucket's name holds '['", "-i", tmp_path / "odd", "-o", out)
    assert not out.exists()


def test_files_of_others_are_not_replaced(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    source = bucketed(tmp_path, bucket, three_stages())
    (tmp_path / "out").mkdir()
    (tmp_path / "out/hard_val.parquet").write_text("mine")
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out")
    assert code == 1
    assert f"{tmp_path}/out/hard_val.parquet: this file is there already" in err
    assert tree(tmp_path / "out") == {"hard_val.parquet": b"mine"}


def test_row_groups(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    rollouts = [rollout(1, prompt=f"p{i}") for i in range(2_300)]
    source = bucketed(tmp_path, bucket, rollouts, "-n", 1)
    assert preprocess("-i", source, "-o", tmp_path / "out", "--val-ratio", 0)[0] == 0
    metadata = pq.read_metadata(tmp_path / "out/level_1_train.parquet")
    groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert groups == [1000, 1000, 300]


def test_index_counts_unscored_rollouts_but_not_blank_lines(
    tmp_path: Path, preprocess: Script
) -> None:
    good = [rollout(1, prompt=p) for p in TRAIN[:4]]
    source = buckets(tmp_path / "b", easy=[good[0], rollout(None), good[1]], hard=good[2:])
    easy = source / "easy.jsonl"
    easy.write_bytes(b"\n" + easy.read_bytes())
    assert preprocess("-i", source, "-o", tmp_path / "out", "--combine", "--val-ratio", 0)[0] == 0
    found = rows(tmp_path / "out/combined_train.parquet")
    assert [(row["extra_info"]["index"], row["prompt"][0]["content"]) for row in found] == [
        (0, TRAIN[0]), (2, TRAIN[1]), (3, TRAIN[2]), (4, TRAIN[3]),
    ]  # fmt: skip


def test_moved_prompt_is_listed_with_its_first_row(tmp_path: Path, preprocess: Script) -> None:
    source = buckets(
        tmp_path / "b",
        easy=[rollout(None), *[rollout(1, prompt=p) for p in (VAL[0], VAL[0], VAL[0])]],
        hard=[rollout(0, prompt=p) for p in TRAIN[:8] + VAL[1:3]],
    )
    easy = source / "easy.jsonl"
    easy.write_bytes(b"\n" + easy.read_bytes())
    assert preprocess("-i", source, "-o", tmp_path / "out")[0] == 0
    manifest = json.loads((tmp_path / "out/preprocessing.json").read_text())
    (moved,) = manifest["sets"]["hard"]["moved_prompts"]
    assert (moved["index"], moved["to"]) == (1, "train")


def test_places_are_right_in_later_shards(
    tmp_path: Path, bucket: Script, preprocess: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts = [rollout(1, prompt=p, ground_truth="4") for p in TRAIN[:9]]
    rollouts[7]["ground_truth"] = 4
    source = bucketed(tmp_path, bucket, rollouts, "-n", 1)
    monkeypatch.setattr("curriculum.inputs.SHARD_BYTES", 300)
    _, _, err = preprocess("-i", source, "-o", tmp_path / "out")
    assert f"string at {source}/level_1.jsonl:1, integer at {source}/level_1.jsonl:8" in err


def test_own_fields_are_sorted_by_their_name_in_the_row(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    one = rollout(1, extra_info={"z": 1, "index": 2, "p": 3})
    source = bucketed(tmp_path, bucket, [one], "-n", 1)
    assert preprocess("-i", source, "-o", tmp_path / "out")[0] == 0
    (row,) = rows(tmp_path / "out/level_1_train.parquet")
    assert list(row["extra_info"])[-3:] == ["p", "source_index", "z"]


def test_own_files_under_rejected_are_not_touched(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    mine = tmp_path / "out/rejected/reasons.jsonl"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    source = bucketed(tmp_path, bucket, three_stages())
    for script, given in ((bucket, tmp_path / "in"), (preprocess, source)):
        code, _, err = script("-i", given, "-o", tmp_path / "out")
        assert code == 1
        assert f"{mine}: this file is there already" in err
    assert tree(tmp_path / "out") == {"rejected/reasons.jsonl": b"mine"}


def test_each_script_has_its_own_directory(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    source = bucketed(tmp_path, bucket, three_stages())
    shutil.copytree(source, tmp_path / "other")
    assert preprocess("-i", source, "-o", tmp_path / "out")[0] == 0
    before = tree(tmp_path)
    code, _, err = preprocess("-i", source, "-o", tmp_path / "other")
    assert (code, "it holds bucketing.json" in err) == (1, True)
    code, _, err = bucket("-i", tmp_path / "in", "-o", tmp_path / "out")
    assert (code, "it holds preprocessing.json" in err) == (1, True)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("in_the_way", ["easy_train.parquet/x", "rejected"])
def test_what_is_in_the_way_is_found_before_anything_is_written(
    tmp_path: Path, bucket: Script, preprocess: Script, in_the_way: str
) -> None:
    source = bucketed(tmp_path, bucket, three_stages())
    assert preprocess("-i", source, "-o", tmp_path / "out")[0] == 0
    path = tmp_path / "out" / in_the_way
    path.parent.unlink(missing_ok=True) if path.parent != tmp_path / "out" else None
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    before = tree(tmp_path / "out")
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out", "--seed", 7)
    assert (code, "directory" in err) == (1, True)
    assert tree(tmp_path / "out") == before


def test_sets_of_another_bucketing_or_format_are_told(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    source = bucketed(tmp_path, bucket, three_stages(), "-n", 5)
    out = tmp_path / "out"
    assert preprocess("-i", source, "-o", out)[0] == 0
    flags = ("--combine", "--output-name", "all")
    _, _, err = preprocess("-i", source.resolve(), "-o", out, *flags)
    assert "also holds" not in err
    _, _, err = preprocess("-i", source, "-o", out, *flags, "--ground-truth-format", "string")
    assert "made with another --ground-truth-format: verl cannot load them together" in err
    bucketed(tmp_path, bucket, three_stages(), "-n", 3)
    _, _, err = preprocess("-i", source, "-o", out)
    assert "also holds all, very_easy, very_hard, made from another bucketing" in err


def test_sets_whose_files_are_gone_leave_the_manifest(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    source = bucketed(tmp_path, bucket, three_stages())
    assert preprocess("-i", source, "-o", tmp_path / "out")[0] == 0
    (tmp_path / "out/easy_val.parquet").unlink()
    assert preprocess("-i", source, "-o", tmp_path / "out", "--buckets", "hard")[0] == 0
    manifest = json.loads((tmp_path / "out/preprocessing.json").read_text())
    assert list(manifest["sets"]) == ["hard", "medium"]


def test_kept_data_sources_are_counted_from_the_rows(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    rollouts = [rollout(1, prompt=p, data_source="openai/gsm8k") for p in TRAIN[:3]]
    source = bucketed(tmp_path, bucket, rollouts, "-n", 1)
    _, out, _ = preprocess("-i", source, "-o", tmp_path / "out", "--keep-data-source")
    assert "no reward function" not in out
    del rollouts[0]["data_source"]
    bucketed(tmp_path, bucket, rollouts, "-n", 1)
    _, out, _ = preprocess("-i", source, "-o", tmp_path / "out", "--keep-data-source")
    assert "1 row with data_source bucketed_curriculum: verl has no reward function" in out


def test_rows_without_tools_kwargs_have_a_struct_of_nulls(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    infos = [{"tools_kwargs": {"calc": {"x": 1}}}, {}, {"tools_kwargs": None}]
    rollouts = [rollout(1, prompt=p, extra_info=i) for p, i in zip(TRAIN, infos, strict=False)]
    source = bucketed(tmp_path, bucket, rollouts, "-n", 1)
    assert preprocess("-i", source, "-o", tmp_path / "out", "--val-ratio", 0)[0] == 0
    found = [r["extra_info"]["tools_kwargs"] for r in rows(tmp_path / "out/level_1_train.parquet")]
    assert found == [{"calc": {"x": 1}}, {"calc": None}, {"calc": None}]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"extra_info": {"tools_kwargs": "calc"}}, "extra_info.tools_kwargs is string"),
        ({"ground_truth": {}}, "ground_truth is an empty object at"),
        ({"ground_truth": eval("[" * 60 + "]" * 60)}, "nested more than 40 deep at"),
    ],
)
def test_what_parquet_or_verl_cannot_hold_is_refused(
    tmp_path: Path, bucket: Script, preprocess: Script, fields: dict, message: str
) -> None:
    source = bucketed(tmp_path, bucket, [rollout(1, **fields)], "-n", 1)
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out")
    assert code == 1
    assert message in err
    assert not (tmp_path / "out").exists()


def test_deep_extra_info_is_json_text(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    deep: Any = 1
    for _ in range(300):
        deep = {"a": deep}
    source = bucketed(tmp_path, bucket, [rollout(1, extra_info={"deep": deep})], "-n", 1)
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out")
    assert code == 0
    assert "extra_info.deep is written as JSON text" in err
    (row,) = rows(tmp_path / "out/level_1_train.parquet")
    assert json.loads(row["extra_info"]["deep"]) == deep


def test_invalid_utf8_is_malformed_even_where_no_row_takes_it(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    good = b'{"prompt": "x", "reward": [1]}\n'
    source = tmp_path / "a.jsonl"
    source.write_bytes(good + b'{"prompt": "y", "reward": [1], "parameters": "\xff"}\n' + good)
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1)[0] == 0
    code, _, err = preprocess("-i", tmp_path / "b", "-o", tmp_path / "out")
    assert code == 1
    assert "level_1.jsonl:2: invalid UTF-8: byte 46 of the line" in err
    assert "1 malformed line (" in err


def test_file_that_changes_during_the_run_is_refused(
    tmp_path: Path, bucket: Script, preprocess: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = bucketed(tmp_path, bucket, three_stages())

    def touch_and_plan(*given: Any) -> Any:
        path = source / "hard.jsonl"
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
        return plan_rows(*given)

    monkeypatch.setattr("curriculum.preprocess.plan_rows", touch_and_plan)
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out")
    assert (code, "hard.jsonl: the file changed while it was read" in err) == (1, True)
    assert not (tmp_path / "out").exists()


def test_prompt_on_both_sides_is_an_internal_error(
    tmp_path: Path, bucket: Script, preprocess: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = bucketed(tmp_path, bucket, [rollout(1, prompt=TRAIN[0])] * 4, "-n", 1)

    class Coin(Split):
        def is_val(self, hashes: Any) -> Any:
            return np.arange(len(hashes)) % 2 == 0

    monkeypatch.setattr("curriculum.preprocess.split_prompts", lambda *_: Coin(1))
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out")
    assert (code, "internal error: 1 prompts are on both sides of the split" in err) == (1, True)
    assert not (tmp_path / "out").exists()
