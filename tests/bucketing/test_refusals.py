"""What a run says when it cannot go on, although all lines are rollouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import curriculum
from curriculum.arrays import FloatArray
from curriculum.errors import InputError
from curriculum.metrics import Metric
from tests.helpers.rollouts import Script, rollout, write_jsonl


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            ("-m", "pass_at_k", "--k", 3),
            "pass_at_k is undefined for all 2 rollouts with a score, expected at least k = 3 "
            "scores per rollout;\nlower --k, or sample more responses\n",
        ),
        (
            ("-m", "variance"),
            "variance is undefined for all 2 rollouts with a score, expected at least two scores "
            "per rollout;\nchoose another metric, or sample more responses\n",
        ),
    ],
)
def test_a_metric_undefined_for_all_says_what_it_needs(
    tmp_path: Path, bucket: Script, flags: tuple[object, ...], told: str
) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [rollout(1), rollout(0)])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", *flags)
    assert (code, err) == (1, f"error: {source}: {told}")


def undefined(scores: curriculum.Scores, _: curriculum.MetricParameters) -> FloatArray:
    return np.full(len(scores.counts), np.nan)


def highest(scores: curriculum.Scores, _: curriculum.MetricParameters) -> FloatArray:
    return scores.highest


def test_a_metric_of_ones_own_that_is_nan_is_not_said_to_lack_scores(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [rollout(1, 0)])
    metric = Metric("mine", undefined, higher_is_easier=True, meaning="none")
    options = curriculum.BucketOptions([str(source)], str(tmp_path / "b"), metric)
    with pytest.raises(InputError) as caught:
        curriculum.bucket_rollouts(options)
    assert str(caught.value) == (
        f"{source}: mine is undefined for the only rollout with a score, expected a number for "
        "some of them;\ncheck the function of this metric: it gives NaN"
    )


@pytest.mark.parametrize("flag", ["--scores", "--plot"])
def test_a_report_that_cannot_be_written_names_its_own_flag(
    tmp_path: Path, bucket: Script, flag: str
) -> None:
    pytest.importorskip("matplotlib", reason="--plot needs it")
    source = write_jsonl(tmp_path / "a.jsonl", [rollout(1, 0)])
    name = "x.parquet" if flag == "--scores" else "x.png"
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", flag, source / name)
    assert (code, err) == (
        1,
        f"error: {source}: this is a file, expected a directory to write to;\n"
        f"choose another {flag} file\n",
    )


def test_no_order_by_a_metric_of_ones_own(tmp_path: Path, preprocess: Script) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [rollout(1, 0), rollout(0, 0)])
    metric, buckets = Metric("mine", highest, True, meaning="the best"), tmp_path / "b"
    curriculum.bucket_rollouts(curriculum.BucketOptions([str(source)], str(buckets), metric))
    flags = ("-i", buckets, "-o", tmp_path / "p", "--order", "easy-to-hard")
    code, _, err = preprocess(*flags)
    assert (code, err) == (
        1,
        "error: --order: there is no difficulty to order the rows by: the buckets were cut by "
        "mine, for which there is no formula here, expected the metric that the buckets were cut "
        "by;\nbucket again by a metric of the toolkit, or leave out --order\n",
    )
    (buckets / "bucketing.json").unlink()
    assert "the directory has no bucketing.json" in preprocess(*flags)[2]


def test_no_order_by_another_score(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    lines = [{"prompt": "q", "reward": [{"score": i, "V_i": i}]} for i in range(2)]
    source = write_jsonl(tmp_path / "a.jsonl", lines)
    bucket("-i", source, "-o", tmp_path / "b")
    flags = ("--order", "easy-to-hard", "--score-field", "V_i")
    code, _, err = preprocess("-i", tmp_path / "b", "-o", tmp_path / "p", *flags)
    assert (code, "--score-field is not the one that the buckets were cut by" in err) == (1, True)


@pytest.mark.parametrize("other", [1, "1", True, {"score": 1}])
def test_looking_for_scores_passes_over_lines_whose_reward_is_no_list(
    tmp_path: Path, bucket: Script, other: object
) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"reward": []}, {"reward": [None]}])
    write_jsonl(tmp_path / "b.jsonl", [{"reward": other}])
    flags = ("--on-malformed", "set-aside", "--workers", 1)
    code, _, err = bucket("-i", tmp_path, "-o", tmp_path / "out", *flags)
    assert (code, "none of the 2 rollouts has a score in reward[i].score" in err) == (1, True), err
