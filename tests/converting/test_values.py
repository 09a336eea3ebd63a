"""Lines that carry a number, or counts of passes, in place of scores."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.converting.own_fields import reward_of_counts, reward_of_value
from curriculum.metrics import METRICS
from curriculum.reading.lines import Malformed
from tests.helpers.rollouts import SHARED, Script, lines, rows, words, write_jsonl

RATES = ("--value-field", "rate", "--value-direction", "easier")
NAME = "DeepSeek-R1-Distill-Qwen-1.5B"


def prompts(*rates: Any, name: str = "rate", **more: Any) -> list[dict[str, Any]]:
    return [
        {"prompt": f"{i}?", "answer": str(i), name: rate, **more} for i, rate in enumerate(rates)
    ]


def held(directory: Path) -> dict[str, list[Any]]:
    """The prompts of each bucket."""
    manifest = json.loads((directory / "bucketing.json").read_text())
    return {
        bucket["name"]: [json.loads(line)["prompt"] for line in lines(directory / bucket["file"])]
        for bucket in manifest["buckets"]
    }


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ("easier", {"easy": ["1?", "2?"], "medium": ["3?"], "hard": ["0?"]}),
        ("harder", {"easy": ["0?"], "medium": ["3?"], "hard": ["1?", "2?"]}),
    ],
)
def test_the_direction_is_as_it_is_said(
    tmp_path: Path, bucket: Script, direction: str, expected: dict[str, list[str]]
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", prompts(0.1, 0.9, 0.9, 0.5))
    flags = ("--value-field", "rate", "--value-direction", direction)
    code, out, err = bucket("-i", source, "-o", tmp_path / "b", *flags)
    assert (code, err) == (0, "")
    assert held(tmp_path / "b") == expected
    says = f"by rate (higher is {direction})"
    assert (says in words(out), "values from rate: 4 bucketed" in words(out)) == (True, True)
    assert "responses each" not in out and "mean value" in out
    metric = json.loads((tmp_path / "b/bucketing.json").read_text())["metric"]
    assert (metric["name"], metric["score_field"], metric["carried"]) == ("rate", "value", True)


def test_texts_and_what_stands_for_nothing_are_missing_not_zero(
    tmp_path: Path, bucket: Script
) -> None:
    rates = (0.5, "0.25", "n/a", None, -1, "-1", "NaN", 0)
    source = write_jsonl(tmp_path / "d.jsonl", [*prompts(*rates), {"prompt": "none"}])
    flags = (*RATES, "--value-missing", "-1", "-n", 3)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", *flags)
    assert (code, "6 of 9 rollouts are unscored and in no bucket" in err) == (0, True)
    assert held(tmp_path / "b") == {"easy": ["0?"], "medium": ["1?"], "hard": ["7?"]}
    reasons = lines(tmp_path / "b/rejected/reasons.jsonl")
    told = {json.loads(reason)["reason"] for reason in reasons}
    assert told == {"unscored: there is no number in rate"}
    assert [json.loads(reason)["line"] for reason in reasons] == [3, 4, 5, 6, 7, 9]


def test_a_place_may_hold_dots(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(
        tmp_path / "d.jsonl",
        [
            {"prompt": f"{wrong}?", "extra_info": {"model_difficulty": {NAME: wrong}}}
            for wrong in (3, 14, 9)
        ],
    )
    place = f"extra_info.model_difficulty.{NAME}"
    flags = ("--value-field", place, "--value-direction", "harder")
    assert bucket("-i", source, "-o", tmp_path / "b", *flags)[0] == 0
    assert held(tmp_path / "b") == {"easy": ["3?"], "medium": ["9?"], "hard": ["14?"]}


def test_rows_have_the_number_and_nothing_that_would_be_a_score(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", prompts(0.1, 0.9, 0.5, reward=7, responses=["x"]))
    flags = (*RATES, "--ground-truth-field", "answer")
    assert bucket("-i", source, "-o", tmp_path / "b", *flags)[0] == 0
    given = ("-i", tmp_path / "b", "-o", tmp_path / "p", "--val-ratio", "0")
    code, _, err = preprocess(*given, "--combine", "--order", "easy-to-hard")
    told = "these rollouts carry rate in place of scores: it is difficulty_metrics.value"
    assert (code, told in err) == (0, True)
    found = rows(tmp_path / "p/combined_train.parquet")
    metrics = [row["extra_info"].pop("difficulty_metrics") for row in found]
    nothing = dict.fromkeys(("mean_score", "max_score", "min_score", "score_variance"))
    assert metrics == [
        {"metric": "rate", "value": rate, **nothing, "success_rate": None, "num_responses": 0}
        for rate in (0.9, 0.5, 0.1)
    ]
    assert "best_response" not in found[0]["extra_info"]
    assert [row["reward_model"]["ground_truth"] for row in found] == ["1", "2", "0"]
    (record,) = json.loads((tmp_path / "p/preprocessing.json").read_text())["sets"].values()
    assert record["best_response"] is False
    for name in ("best_only", "passing_only", "informative_only"):
        code, _, err = preprocess(*given, "--filter", name)
        assert (code, "the filter goes by scores, and these rollouts carry rate" in err) == (
            1,
            True,
        )
    first = json.loads(lines(tmp_path / "b/easy.jsonl")[0])
    assert (first["reward"], first["source_reward"]) == ([{"value": 0.9}], 7)


def test_the_score_table_and_split_ties_work(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", prompts(0.5, 0.5, 0.5, 0.9, None, 0.5))
    table = tmp_path / "scores.parquet"
    flags = (*RATES, "--scores", table, "--ties", "split", "-n", 2)
    assert bucket("-i", source, "-o", tmp_path / "b", *flags)[0] == 0
    assert sorted(map(len, held(tmp_path / "b").values())) == [2, 3]
    found = pd.read_parquet(table)
    assert found["rate"].fillna(-1).tolist() == [0.5, 0.5, 0.5, 0.9, -1, 0.5]
    assert found["line"].tolist() == [1, 2, 3, 4, 5, 6]
    assert found[[*METRICS]].isna().all(axis=None)
    assert not found[["num_responses", "num_passes"]].any(axis=None)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--value-field", "rate"), "nothing says whether a higher rate is easier or harder"),
        (("--value-field", "rate", "--value-direction", "up"), "one of easier, harder"),
        (("--value-direction", "easier"), "there is no value that it is about"),
        (("--value-missing", "-1"), "there is no value that it is about"),
        ((*RATES, "--value-counts", "a:b"), "--value-field: --value-counts says how many"),
        (("--value-counts", "a"), "this is 'a', expected two places, PASSES:TOTAL"),
        (("--value-counts", "a:b:c"), "expected two places, PASSES:TOTAL"),
        ((*RATES, "-m", "max_reward"), "it is about scores, and rollouts are bucketed by the num"),
        ((*RATES, "--solved-unsolved"), "--solved-unsolved: it is about scores"),
        ((*RATES, "--score-map", "C=1"), "--score-map: it is about scores"),
        (("--score-map", "C"), "this is 'C', expected words with their scores"),
        (("--score-map", "C=1", "C=0"), "C has two scores, 1 and 0"),
        (("--score-map", "C=inf"), "expected words with their scores"),
        (("--score-reduce", "max"), "expected one of sum, last, mean"),
    ],
)
def test_wrong_flags_are_refused_before_anything_is_read(
    tmp_path: Path, bucket: Script, flags: tuple[str, ...], told: str
) -> None:
    code, _, err = bucket("-i", tmp_path / "none", "-o", tmp_path / "b", *flags)
    assert (code, told in words(err)) == (2, True)


@pytest.mark.parametrize(
    ("dump", "flags", "told"),
    [
        (prompts(True), RATES, "the value is not a number: it is bool"),
        (prompts([0.5]), RATES, "the value is not a number: it is list of 1 number"),
        (prompts("hard", "easy"), RATES, "none of the 2 rollouts has a number in rate"),
        (prompts(0.5, name="rates"), RATES, "Did you mean --value-field rates?"),
        (prompts(0.5, name="x"), RATES, "none of the 1 rollouts has a number in rate"),
        (
            [{"prompt": "a", "reward": [1], "rate": 0.5}],
            RATES,
            "this line has a reward, one score per response, which says more than a number",
        ),
        (
            [{"prompt": "a", "c": 5, "n": 4}],
            ("--value-counts", "c:n"),
            "no numbers of passes and responses: c is 5 and n 4, expected whole numbers",
        ),
        ([{"prompt": "a", "c": 0.5, "n": 4}], ("--value-counts", "c:n"), "c is 0.5 and n 4"),
    ],
)
def test_what_is_no_number_is_refused(
    tmp_path: Path, bucket: Script, dump: list[Any], flags: tuple[str, ...], told: str
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", *flags)
    assert (code, told in words(err)) == (1, True)


def test_counts_are_scores_and_everything_works_with_them(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    counts = [(0, 4), (1.0, 4), (4, 4.0), (None, 4)]
    dump = [{"problem": f"{c}?", "ok": c, "of": {"n": n}} for c, n in counts]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    flags = ("--value-counts", "ok:of.n", "--prompt-field", "problem", "--solved-unsolved", "-n", 1)
    code, out, _ = bucket("-i", source, "-o", tmp_path / "b", *flags)
    assert (code, "scores from ok of of.n: 3 bucketed, 1 unscored" in words(out)) == (0, True)
    assert held(tmp_path / "b") == {"solved": ["4?"], "level_1": ["1.0?"], "unsolved": ["0?"]}
    flags = ("--val-ratio", "0", "--filter", "informative_only", "--combine")
    assert preprocess("-i", tmp_path / "b", "-o", tmp_path / "p", *flags)[0] == 0
    (row,) = rows(tmp_path / "p/combined_train.parquet")
    metrics = row["extra_info"]["difficulty_metrics"]
    assert (metrics["success_rate"], metrics["num_responses"]) == (0.25, 4)


@settings(max_examples=200)
@given(st.integers(-2, 6) | st.none() | st.booleans(), st.integers(-2, 6) | st.floats(0, 3))
def test_counts_give_as_many_passes(passes: Any, total: Any) -> None:
    whole = all(type(n) is int or (type(n) is float and n % 1 == 0) for n in (passes, total))
    fine = whole and 0 <= passes <= total
    try:
        found = json.loads(bytes(reward_of_counts(passes, total, ("a", "b")).text))
    except Malformed:
        assert not fine and passes is not None
        return
    assert (sum(found), len(found)) == ((passes, total) if fine else (0, 0))
    assert fine or passes is None


@settings(max_examples=300)
@given(
    st.none() | st.integers() | st.floats() | st.text(max_size=3)
    | st.sampled_from(["0.5", "-1", "1e2", "n/a", "True", "3/8", "inf", "-INF", "nan", "1e999"]),
    st.lists(st.sampled_from(["-1", "n/a", "0.5"])),
)  # fmt: skip
def test_a_value_is_a_number_or_nothing(value: Any, missing: list[str]) -> None:
    try:
        expected = 0.375 if value == "3/8" else value if isinstance(value, int) else float(value)
    except (TypeError, ValueError):
        expected = None
    if isinstance(value, str) and (value != value.strip() or "_" in value or not value.isascii()):
        return  # Python's `float` takes more than JSON has
    if isinstance(expected, float) and not math.isfinite(expected):
        expected = None
    if expected is not None and any(expected == float(m) for m in missing if m != "n/a"):
        expected = None
    ((entry),) = json.loads(bytes(reward_of_value(value, missing).text))
    assert entry == {"value": expected}


@pytest.mark.skipif(not (SHARED / "cases").is_dir(), reason="needs ../shared/cases")
def test_a_small_input_that_was_refused(tmp_path: Path, bucket: Script) -> None:
    source = SHARED / "cases/19-rate-only.jsonl"
    code, _, err = bucket("-i", source, "-o", tmp_path / "b")
    told = "--value-field llama8b_solve_rate --value-direction easier"
    assert (code, told in words(err).replace("\\ ", "")) == (1, True)
    flags = ("--value-field", "llama8b_solve_rate", "--value-direction", "easier")
    assert bucket("-i", source, "-o", tmp_path / "b", *flags)[0] == 0
    assert [len(found) for found in held(tmp_path / "b").values()] == [3, 4, 3]
