"""Real responses with real scores: every value of every row against its source line."""

from __future__ import annotations

import ast
import json
import statistics
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from curriculum.metrics import METRICS
from tests.helpers.rollouts import DATA, Script, lines, needs_data, rows, tree

pytestmark = [needs_data, pytest.mark.slow]

SETS = ["gsm8k_mixed6", "mifeval_es_fr_ja"]
SPLITS = ("train", "val")


def stripped(value: Any) -> Any:
    """A value without the null keys that the one schema adds."""
    if isinstance(value, dict):
        return {k: stripped(v) for k, v in value.items() if v is not None} or None
    if isinstance(value, list):
        return [stripped(item) for item in value]
    return value


def unmapped(kwargs: list[Any]) -> list[Any]:
    """kwargs with the one map they hold as JSON text, as rows have it."""
    return [
        entry
        and {k: json.dumps(v, ensure_ascii=False) if isinstance(v, dict) else v
             for k, v in entry.items()}
        for entry in kwargs
    ]  # fmt: skip


def plain_truth(text: str) -> Any:
    if not text.startswith("[{'instruction_id'"):
        return text
    (truth,) = ast.literal_eval(text)
    ids, kwargs = truth["instruction_id"], unmapped(truth["kwargs"])
    return stripped({"instruction_id_list": ids, "kwargs": kwargs})


def plain_extra(extra: dict[str, Any]) -> dict[str, Any]:
    renamed = {f"source_{k}" if k in ("split", "index", "key") else k: v for k, v in extra.items()}
    if "kwargs" in renamed:
        renamed["kwargs"] = unmapped(renamed["kwargs"])
    return stripped(renamed)


def close(found: float, expected: float) -> bool:
    return found == float(f"{expected:.12g}") or abs(found - expected) <= 1e-11 * abs(expected)


def check_row(row: dict[str, Any], rollout: dict[str, Any], stage: tuple[str, int]) -> None:
    scores = [float(entry["score"]) for entry in rollout["reward"]]
    best = scores.index(max(scores))
    extra = row["extra_info"]
    assert row["data_source"] == "bucketed_curriculum"
    assert row["ability"] == "instruction_following"
    assert row["prompt"] == rollout["prompt"]
    assert row["reward_model"]["style"] == "rule"
    assert stripped(row["reward_model"]["ground_truth"]) == plain_truth(rollout["ground_truth"])
    assert extra.pop("key") == rollout["key"]
    assert (extra.pop("curriculum_stage"), extra.pop("curriculum_stage_index")) == stage
    found = extra.pop("best_response")
    assert json.loads(found.pop("reward")) == rollout["reward"][best]
    content = rollout["response"]["choices"][best]["message"]["content"]
    assert found == {"index": best, "score": scores[best], "content": content}
    metrics = extra.pop("difficulty_metrics")
    assert (metrics["metric"], metrics["value"]) == ("mean_reward", metrics["mean_score"])
    assert (metrics["max_score"], metrics["min_score"]) == (max(scores), min(scores))
    assert metrics["num_responses"] == len(scores)
    assert close(metrics["mean_score"], statistics.fmean(scores))
    assert close(metrics["score_variance"], statistics.variance(scores))
    assert close(metrics["success_rate"], sum(s >= 0.5 for s in scores) / len(scores))
    assert extra.pop("split") in SPLITS
    extra.pop("index")
    assert stripped(extra) == plain_extra(rollout["extra_info"])


@pytest.mark.parametrize("name", SETS)
def test_every_value_of_every_row(
    tmp_path: Path, bucket: Script, preprocess: Script, name: str
) -> None:
    assert bucket("-i", DATA / name, "-o", tmp_path / "b")[0] == 0
    assert preprocess("-i", tmp_path / "b", "-o", tmp_path / "p")[0] == 0
    index = 0
    for at, stage in enumerate(("easy", "medium", "hard")):
        found = chain(*(rows(tmp_path / f"p/{stage}_{split}.parquet") for split in SPLITS))
        by_index = {row["extra_info"]["index"]: row for row in found}
        source = lines(tmp_path / f"b/{stage}.jsonl")
        assert sorted(by_index) == list(range(index, index + len(source)))
        for line in source:
            check_row(by_index[index], json.loads(line), (stage, at))
            index += 1
    assert index == sum(len(lines(path)) for path in (DATA / name).glob("*.jsonl"))


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("cuts", [("-n", 3), ("-n", 5), ("-n", 7), ("--thresholds", 0.3, 0.7)])
def test_every_metric_keeps_every_line_in_order_of_difficulty(
    tmp_path: Path, bucket: Script, name: str, metric: str, cuts: tuple[Any, ...]
) -> None:
    k = ("--k", 2) if metric == "pass_at_k" else ()
    assert bucket("-i", DATA / name, "-o", tmp_path / "b", "-m", metric, *k, *cuts)[0] == 0
    manifest = json.loads((tmp_path / "b/bucketing.json").read_text())
    held = [lines(tmp_path / "b" / record["file"]) for record in manifest["buckets"]]
    source = [line for path in sorted((DATA / name).glob("*.jsonl")) for line in lines(path)]
    assert sorted(chain(*held)) == sorted(source)
    ends = [(r["lowest"], r["highest"]) for r in manifest["buckets"] if r["count"]]
    turned = ends if metric == "variance" else [(-high, -low) for low, high in ends]
    assert all(a[1] < b[0] for a, b in pairwise(turned))


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("filter", ["all", "best_only", "passing_only", "informative_only"])
def test_filters_and_combined_sets(
    tmp_path: Path, bucket: Script, preprocess: Script, name: str, filter: str
) -> None:
    keep = {
        "all": lambda scores: True,
        "best_only": lambda scores: max(scores) > 0,
        "passing_only": lambda scores: max(scores) >= 0.5,
        "informative_only": lambda scores: len(set(scores)) > 1,
    }[filter]
    assert bucket("-i", DATA / name, "-o", tmp_path / "b", "-n", 5)[0] == 0
    flags = ("-i", tmp_path / "b", "-o", tmp_path / "p", "--filter", filter)
    assert preprocess(*flags)[0] == 0
    assert preprocess(*flags, "--combine", "--buckets", "very_easy", "hard", "easy")[0] == 0
    single = []
    for stage in ("very_easy", "easy", "hard"):
        kept = [
            rollout["key"]
            for rollout in map(json.loads, lines(tmp_path / f"b/{stage}.jsonl"))
            if keep([entry["score"] for entry in rollout["reward"]])
        ]
        paths = [tmp_path / f"p/{stage}_{split}.parquet" for split in SPLITS]
        found = [rows(path) if path.exists() else [] for path in paths]
        assert sorted(row["extra_info"]["key"] for part in found for row in part) == sorted(kept)
        single.append(found)
    for side, split in enumerate(SPLITS):
        combined = rows(tmp_path / f"p/combined_{split}.parquet")
        assert combined == [row for found in single for row in found[side]]


def test_real_prompts_that_all_models_solve_or_none(tmp_path: Path, bucket: Script) -> None:
    source = DATA / "gsm8k_mixed6/gsm8k_mixed6.jsonl"
    table = tmp_path / "scores.parquet"
    flags = ("--solved-unsolved", "--scores", table, "--compare-metrics", "--dry-run")
    assert bucket("-i", source, "-o", tmp_path / "out", *flags)[0] == 0
    found = pd.read_parquet(table)
    loaded = [json.loads(line) for line in lines(source)]
    scores = [[float(entry["score"]) for entry in rollout["reward"]] for rollout in loaded]
    assert found["key"].tolist() == [rollout["key"] for rollout in loaded]
    assert found["line"].tolist() == list(range(1, len(loaded) + 1))
    assert found["num_passes"].tolist() == [sum(some) for some in scores]
    for name, wanted in (("solved", 1.0), ("unsolved", 0.0)):
        all_alike = [set(some) == {wanted} for some in scores]
        assert (found["bucket"] == name).tolist() == all_alike
    assert found["bucket"].value_counts()[["solved", "unsolved"]].tolist() == [153, 109]


@pytest.mark.parametrize("name", SETS)
def test_real_cumulative_sets_equal_combined_ones(
    tmp_path: Path, bucket: Script, preprocess: Script, name: str
) -> None:
    assert bucket("-i", DATA / name, "-o", tmp_path / "b")[0] == 0
    assert preprocess("-i", tmp_path / "b", "-o", tmp_path / "once", "--cumulative")[0] == 0
    apart = ("-i", tmp_path / "b", "-o", tmp_path / "apart")
    assert preprocess(*apart)[0] == 0
    for stage, buckets in (("and_2", ["easy", "medium"]), ("to_3", ["easy", "medium", "hard"])):
        flags = ("--combine", "--output-name", f"stage1_{stage}", "--buckets", *buckets)
        assert preprocess(*apart[:3], tmp_path / "apart/cumulative", *flags)[0] == 0
    assert tree(tmp_path / "once") == tree(tmp_path / "apart")
