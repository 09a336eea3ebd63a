"""Rollouts that repeat a prompt become one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum import BucketOptions, bucket_rollouts
from tests.dumps.dump_lines import (
    choices,
    held,
    user,
)
from tests.helpers.rollouts import Script, lines, rollout, rows, write_jsonl


def test_rollouts_that_repeat_a_prompt_become_one(tmp_path: Path, bucket: Script) -> None:
    alone = rollout(1, 0, prompt="alone", num=3)
    first = rollout(1, 0, prompt="twice", num=1, key="a", parameters={"t": 1})
    again = rollout(0, prompt=" twice\n", num=2, key="a", parameters={"t": 1})
    third = {
        "messages": [user("twice"), {"role": "assistant", "content": "4"}],
        "responses": ["third", "ungraded"],
        "reward": [0.5],
        "key": "c",
        "ground_truth": None,
    }
    one = write_jsonl(tmp_path / "1.jsonl", [alone, first])
    two = write_jsonl(tmp_path / "2.jsonl", [again, third])
    flags = ("-i", one, two, "-o", tmp_path / "b", "-n", 2, "--group-by", "prompt")
    code, out, _ = bucket(*flags)
    told = "grouped by prompt into 2 rollouts of 1 to 3 lines, scores from score: 2 bucketed"
    assert (code, "(--format rollouts): 4 rollouts" in out, told in out) == (0, True, True)
    record = json.loads((tmp_path / "b/bucketing.json").read_text())
    assert (record["dump"]["format"], record["metric"]["score_field"]) == ("rollouts", "score")
    assert (tmp_path / "b/easy.jsonl").read_bytes() == lines(one)[0]
    (merged,) = map(json.loads, lines(tmp_path / "b/hard.jsonl"))
    prompt = [user(" twice\n")]
    assert merged == {
        **first,
        "messages": third["messages"],
        "response": choices("answer 0", "answer 1", "answer 0", "third", "ungraded"),
        "reward": [
            {"score": 1},
            {"score": 0},
            {"score": 0, "prompt": prompt, "num": 2},
            {"score": 0.5, "key": "c"},
            {"key": "c"},
        ],
    }


def test_merged_rollouts_keep_their_score_field_and_plain_scores(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    graded = {"prompt": "p", "reward": [{"V_i": 1}], "num": 1, "responses": ["x"]}
    graded["ground_truth"] = None
    plain = {"prompt": "p", "reward": [{"V_i": 0.25, "num": 9}, None, 0.25], "num": 2}
    plain["ground_truth"] = "4"
    source = write_jsonl(tmp_path / "r.jsonl", [graded, plain])
    flags = ("--group-by", "prompt", "--score-field", "V_i", "-n", 1)
    assert bucket("-i", source, "-o", tmp_path / "b", *flags)[0] == 0
    (merged,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    assert merged["reward"] == [
        {"V_i": 1},
        {"V_i": 0.25, "num": 9, "source_num": 2},
        {"V_i": None, "num": 2},
        {"V_i": 0.25, "num": 2},
    ]
    assert merged["response"]["choices"] == [{"message": {"content": "x"}}, None, None, None]
    assert (merged["num"], merged["ground_truth"]) == (1, "4")
    assert preprocess("-i", tmp_path / "b", "-o", tmp_path / "p", "--val-ratio", 0)[0] == 0
    (row,) = rows(tmp_path / "p/level_1_train.parquet")
    metrics, best = row["extra_info"]["difficulty_metrics"], row["extra_info"]["best_response"]
    assert (metrics["mean_score"], metrics["num_responses"]) == (0.5, 3)
    assert (best["index"], best["content"]) == (0, "x")


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (rollout(1, ground_truth="5"), "r.jsonl:1 and {0}:2: responses of one group with differ"),
        ({"reward": [1]}, "{0}:2: no prompt"),
        ({"prompt": "a", "reward": ["x"]}, '{0}:2: a score is not a number: reward[0] is "x"'),
        ({"prompt": "a"}, '{0}:2: no "reward"'),
    ],
)
def test_what_cannot_be_merged_is_malformed(
    tmp_path: Path, bucket: Script, other: dict[str, Any], told: str
) -> None:
    source = write_jsonl(tmp_path / "r.jsonl", [rollout(1), other])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "--group-by", "prompt")
    assert (code, told.format(source) in err, "one rollout per line" in err) == (1, True, True)


REPEATING = st.lists(
    st.tuples(st.sampled_from("abc"), st.lists(st.sampled_from([0, 1, None]), max_size=3)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40)
@given(repeating=REPEATING)
def test_merging_keeps_every_score_in_order(
    tmp_path_factory: pytest.TempPathFactory, repeating: list[tuple[str, list[Any]]]
) -> None:
    tmp_path = tmp_path_factory.mktemp("m")
    made = [rollout(*scores, prompt=p, num=i) for i, (p, scores) in enumerate(repeating)]
    expected: dict[str, list[Any]] = {}
    for prompt, scores in repeating:
        expected.setdefault(prompt, []).extend(scores)
    if all(score is None for scores in expected.values() for score in scores):
        return
    source = write_jsonl(tmp_path / "r.jsonl", made)
    options = BucketOptions([str(source)], str(tmp_path / "b"), group_by="prompt", workers=1)
    bucket_rollouts(options)
    found = held(tmp_path / "b")
    assert {r["prompt"][0]["content"]: [e["score"] for e in r["reward"]] for r in found} == expected
    assert all(len(r["response"]["choices"]) == len(r["reward"]) for r in found if r["reward"])


def test_other_fields_of_a_response_stay_when_rollouts_are_merged(
    tmp_path: Path, bucket: Script
) -> None:
    one, other = rollout(1), rollout(0)
    one["response"]["id"], other["response"]["id"] = "x", "y"
    source = write_jsonl(tmp_path / "r.jsonl", [one, other])
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1, "--group-by", "prompt")[0] == 0
    (found,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    assert found["response"]["id"] == "x"
    assert found["reward"] == [{"score": 1}, {"score": 0, "response": {"id": "y"}}]


def test_what_rollouts_without_responses_say_is_kept(tmp_path: Path, bucket: Script) -> None:
    made = [rollout(1, note="a"), *(rollout(note=note) for note in "bc")]
    source = write_jsonl(tmp_path / "r.jsonl", made)
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1, "--group-by", "prompt")[0] == 0
    (found,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    notes = (found["note"], found["source_note"], found["source_source_note"])
    assert (notes, found["reward"]) == (("a", "b", "c"), [{"score": 1}])


def test_prompts_that_differ_in_tool_calls_stay_apart(tmp_path: Path, bucket: Script) -> None:
    def asked(arguments: str, number: int) -> dict[str, Any]:
        calls = [{"id": f"c{number}", "function": {"name": "f", "arguments": arguments}}]
        called = {"role": "assistant", "content": None, "tool_calls": calls}
        answer = {"role": "tool", "content": "12C", "tool_call_id": f"c{number}"}
        return rollout(number % 2) | {"prompt": [user("q"), called, answer]}

    found = [asked('{"a": 1}', 0), asked('{"a":1}', 1), asked('{"a": 2}', 2)]
    path = write_jsonl(tmp_path / "a.jsonl", found)
    flags = ("-i", path, "-o", tmp_path / "b", "-n", 1, "--group-by", "prompt")
    assert bucket(*flags)[0] == 0
    merged = list(map(json.loads, lines(tmp_path / "b/level_1.jsonl")))
    assert [len(one["reward"]) for one in merged] == [2, 1]
    assert merged[0]["prompt"] == found[0]["prompt"]
