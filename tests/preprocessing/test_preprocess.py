"""The preprocessing script end to end: sets, rows, split, filters, the same bytes again."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curriculum.preprocess import preprocess_buckets
from curriculum.preprocess_options import PreprocessOptions
from curriculum.preprocessing.parquet_sets import PromptFacts
from tests.helpers.bucket_directories import (
    CUT,
    TRAIN,
    VAL,
    bucketed,
    buckets,
    hash_prompt,
    side,
    three_stages,
)
from tests.helpers.rollouts import Script, lines, rollout, rows, tree, write_jsonl


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


def test_prompt_is_on_one_side_everywhere(tmp_path: Path, bucket: Script) -> None:
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
    for i, flags in enumerate(({}, {"combine": True}, {"filter": "informative_only"})):
        output = tmp_path / f"out{i}"
        report = preprocess_buckets(PreprocessOptions(str(source), str(output), **flags))
        told = {facts.name: facts.prompts for facts in report.sets}
        assert {p.stem.rpartition("_")[0] for p in (tmp_path / f"out{i}").glob("*.p*")} <= set(told)
        for name, prompts in told.items():
            held = Counter[str]()
            for path in (tmp_path / f"out{i}").glob(f"{name}_*.parquet"):
                split = path.stem.rpartition("_")[2]
                held.update(texts(rows(path)))
                assert {row["extra_info"]["split"] for row in rows(path)} == {split}
                for text in texts(rows(path)):
                    sides.setdefault(text, set()).add(split)
            repeated = sum(count > 1 for count in held.values())
            shared = sum(in_buckets[text] > 1 for text in held)
            assert prompts == PromptFacts(len(held), repeated, shared, 0)
    assert {text: {side(text)} for text in sides} == sides


def test_floor_gives_every_bucket_two_sides(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    rollouts = [rollout(1, prompt=p) for p in TRAIN[:5]] + [rollout(0, prompt=p) for p in VAL[:3]]
    source = bucketed(tmp_path, bucket, rollouts, "-n", 2)
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out")
    assert code == 0

    def distance(prompt: str) -> int:
        return abs(hash_prompt(("user", prompt)) - CUT)

    (to_val,) = rows(tmp_path / "out/easy_val.parquet")
    (to_train,) = rows(tmp_path / "out/hard_train.parquet")
    assert to_val["prompt"][0]["content"] == min(TRAIN[:5], key=distance)
    assert to_train["prompt"][0]["content"] == min(VAL[:3], key=distance)
    manifest = json.loads((tmp_path / "out/preprocessing.json").read_text())
    assert [(m["index"], m["to"], m["prompt_hash"])
            for m in manifest["sets"]["easy"]["moved_prompts"]] == [
        (row["extra_info"]["index"], to,
         f"{hash_prompt(('user', row['prompt'][0]['content'])):016x}")
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
    assert "easy_val.parquet would have no rows, so it was not written: there are too few" in err
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
    assert "hard_train.parquet, hard_val.parquet would have no rows" in err
    assert "--filter passing_only dropped all their rollouts" in err
    manifest = json.loads((tmp_path / "out/preprocessing.json").read_text())
    assert manifest["sets"]["hard"]["files"] == {"train": None, "val": None}
    before = tree(tmp_path / "out")
    code, out, err = preprocess("-i", source, "-o", tmp_path / "out", *flags, "--buckets", "hard")
    assert (code, out) == (1, "")
    assert "--filter passing_only drops all 10 rollouts" in err
    assert "use --filter all" in err
    assert tree(tmp_path / "out") == before


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
    assert "no reward function for data_source bucketed_curriculum:" in out
    pairs, out, err = found("--keep-data-source", "--data-source", "mine", "--ability", "chat")
    assert pairs == [("top", "maths"), ("inner", "chat"), ("mine", "chat")]
    assert "no reward function for data_source top, inner, mine:" in out
    assert "1 of 3 rollouts in " in err
    assert "has no data_source of their own" in err


def test_no_best_response(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    source = bucketed(tmp_path, bucket, [rollout(1)], "-n", 1)
    assert preprocess("-i", source, "-o", tmp_path / "out", "--no-best-response")[0] == 0
    assert "best_response" not in rows(tmp_path / "out/level_1_train.parquet")[0]["extra_info"]


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
    monkeypatch.setattr("curriculum.reading.input_files.SHARD_BYTES", shard_bytes)
    monkeypatch.setattr("curriculum.reading.blocks.BLOCK_BYTES", 300)
    assert preprocess("-i", source, "-o", tmp_path / "two")[0] == 0
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


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


def test_sets_whose_files_are_gone_leave_the_manifest(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    source = bucketed(tmp_path, bucket, three_stages())
    assert preprocess("-i", source, "-o", tmp_path / "out")[0] == 0
    (tmp_path / "out/easy_val.parquet").unlink()
    assert preprocess("-i", source, "-o", tmp_path / "out", "--buckets", "hard")[0] == 0
    manifest = json.loads((tmp_path / "out/preprocessing.json").read_text())
    assert list(manifest["sets"]) == ["hard", "medium"]


def test_moved_prompts_are_told_in_the_order_of_their_rows(
    tmp_path: Path, bucket: Script, preprocess: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [[f"{name} {k}" for name in ("one", "other")] for k in range(3)]
    easy = [rollout(0.9, prompt=prompt) for pair in reversed(pairs) for prompt in pair]
    scores = (0.5, 0.3, 0.1)
    harder = [
        rollout(score, prompt=prompt)
        for score, pair in zip(scores, pairs, strict=True)
        for prompt in pair
    ]
    write_jsonl(tmp_path / "in/a.jsonl", [*easy, *harder])
    cuts = ("--thresholds", 0.2, 0.4, 0.6, "--bucket-names", "b0", "b1", "b2", "b3")
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "b", *cuts)[0] == 0
    found = []
    for shard_bytes in (1 << 24, 1):
        monkeypatch.setattr("curriculum.reading.input_files.SHARD_BYTES", shard_bytes)
        assert preprocess("-i", tmp_path / "b", "-o", tmp_path / "p")[0] == 0
        sets = json.loads((tmp_path / "p/preprocessing.json").read_text())["sets"]
        found.append([prompt["index"] for prompt in sets["b0"]["moved_prompts"]])
    assert found[0] == found[1] == sorted(found[0])
    assert len(found[0]) > 2
