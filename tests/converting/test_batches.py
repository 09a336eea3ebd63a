"""Lines that hold a batch of responses side by side: which are batches, and which rollouts are in
one."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.converting.convert_batch import BatchConverter
from curriculum.dumps.score_choices import batch_of
from curriculum.dumps.table import batch_form
from tests.converting.records import taken, user
from tests.dumps.dump_lines import held
from tests.helpers.rollouts import Script, rollout, words, write_jsonl


def batch(step: int, *groups: tuple[str, list[float]]) -> dict[str, Any]:
    """A line of ms-swift's completions.jsonl."""
    pairs = [(asked, score) for asked, scores in groups for score in scores]
    return {
        "step": [str(step)] * len(pairs),
        "messages": [[user(asked)] for asked, _ in pairs],
        "completion": [f"{asked} {score}" for asked, score in pairs],
        "reward": [score for _, score in pairs],
    }


BATCHES = [
    batch(1, ("2+2?", [1, 1, 1, 1]), ("17*23?", [0, 0, 0, 1])),
    batch(2, ("3+3?", [1, 1, 0, 1]), ("2+2?", [0, 0, 0, 0])),
]


def test_a_prompt_of_two_steps_is_two_rollouts(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "completions.jsonl", BATCHES)
    code, out, err = bucket("-i", source, "-o", tmp_path / "b")
    assert (code, "read 2 lines" in out) == (0, True)
    assert "4 rollouts with 16 responses" in words(out)
    assert "1 of 4 rollouts has the prompt of an earlier one" in err
    scores = {(r["step"], r["prompt"][0]["content"]): taken(r).scores for r in held(tmp_path / "b")}
    assert scores == {
        ("1", "2+2?"): [1, 1, 1, 1],
        ("1", "17*23?"): [0, 0, 0, 1],
        ("2", "3+3?"): [1, 1, 0, 1],
        ("2", "2+2?"): [0, 0, 0, 0],
    }


def test_some_steps_are_taken(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "completions.jsonl", BATCHES)
    code, out, _ = bucket("-i", source, "-o", tmp_path / "b", "--steps", "2:")
    assert (code, "1 of other steps skipped" in out) == (0, True)
    assert {r["step"] for r in held(tmp_path / "b")} == {"2"}
    code, _, err = bucket("-i", source, "-o", tmp_path / "c", "--steps", "7")
    assert (code, "no sound line is of the steps 7: 2 are of other steps" in err) == (1, True)


def test_the_score_table_says_where_each_rollout_is(tmp_path: Path, bucket: Script) -> None:
    pd = pytest.importorskip("pandas")
    source = write_jsonl(tmp_path / "completions.jsonl", BATCHES)
    table = tmp_path / "scores.parquet"
    assert bucket("-i", source, "-o", tmp_path / "b", "--scores", table)[0] == 0
    found = pd.read_parquet(table)
    assert found["line"].tolist() == [1, 1, 2, 2]
    assert found["mean_reward"].tolist() == [1, 0.25, 0.75, 0]
    assert set(found["file"]) == {str(source)}


def test_batches_beside_rollouts_are_refused(tmp_path: Path, bucket: Script) -> None:
    one = write_jsonl(tmp_path / "1.jsonl", [rollout(1, 0)])
    two = write_jsonl(tmp_path / "2.jsonl", BATCHES)
    code, _, err = bucket("-i", one, two, "-o", tmp_path / "b")
    told = f"these files are of several formats (rollouts in {one}, ms-swift in {two})"
    assert (code, told in err) == (1, True)


def test_malformed_batches_are_set_aside_as_they_are(tmp_path: Path, bucket: Script) -> None:
    broken = BATCHES[0] | {"reward": ["x"] * 8}
    source = write_jsonl(tmp_path / "d.jsonl", [BATCHES[0], broken, {"a": 1}, BATCHES[1]])
    flags = ("-o", tmp_path / "b", "--format", "ms-swift", "--on-malformed", "set-aside")
    code, _, err = bucket("-i", source, *flags)
    assert (code, "2 malformed lines set aside" in err) == (0, True)
    aside = (tmp_path / "b/rejected/malformed.jsonl").read_bytes().splitlines()
    assert aside == source.read_bytes().splitlines()[1:3]
    reasons = (tmp_path / "b/rejected/reasons.jsonl").read_text().splitlines()
    assert [json.loads(reason)["line"] for reason in reasons] == [2, 3]


ENTRY = st.tuples(st.sampled_from("abc"), st.sampled_from("12"), st.floats(0, 1) | st.none())


@given(st.lists(ENTRY, min_size=1, max_size=12))
def test_responses_go_to_the_prompt_of_their_step(entries: list[tuple[str, str, Any]]) -> None:
    line = {
        "step": [step for _, step, _ in entries], "prompt": [asked for asked, _, _ in entries],
        "completion": [str(i) for i in range(len(entries))],
        "Acc": [score for _, _, score in entries], "advantages": [0.5] * len(entries),
    }  # fmt: skip
    expected = defaultdict(list)
    for i, (asked, step, score) in enumerate(entries):
        expected[step, asked].append((str(i), score))
    text, count = BatchConverter(batch_form([line]))(json.dumps(line).encode())
    rollouts = [json.loads(one) for one in text.splitlines()]
    found = {
        (r["step"], r["prompt"]): list(zip(taken(r).responses, taken(r).scores, strict=True))
        for r in rollouts
    }
    assert (found, count) == (expected, len(expected))


@pytest.mark.parametrize(
    ("line", "scores"),
    [
        ({"prompt": ["<|im_start|>", "q"], "completion": ["a", "b"], "reward": [1, 0]}, ["reward"]),
        (
            {
                "step": ["1"], "prompt": ["q"], "completion": ["a"], "advantages": [0.5],
                "format": [1.0], "Accuracy": [0.0],
            },
            ["format", "Accuracy"],
        ),
        (
            {"prompt": ["q"], "completion": ["a"], "format": [1.0], "reward": [0.0], "x": [1, 2]},
            ["reward"],
        ),
        ({"gen_step": [1], "prompt": ["q"], "completion": ["a"], "Acc": [0.5]}, ["Acc"]),
        ({"prompt": ["q", "r"], "completion": ["a"], "reward": [0.0]}, None),
        (rollout(1, 0), None),
        (rollout(1, 0) | {"prompt": "q"}, None),
        ({"messages": [user("q")], "responses": ["a"], "reward": [1]}, None),
        ({"prompt": ["q", "r"], "generations": ["a", "b"], "reward": [1, 0]}, ["reward"]),
        ({"prompt": ["q", "r"], "generations": ["a", "b"], "scores": [1, 0]}, None),
        ({"prompt": ["q"], "reward": [1, 0]}, None),
        ({"prompt": ["q", "q"], "reward": ["x", "y"], "completion": ["a", "b"]}, None),
        ({"prompt": [], "reward": [], "completion": []}, None),
    ],
)  # fmt: skip
def test_what_is_a_batch(line: dict[str, Any], scores: list[str] | None) -> None:
    found = batch_of(json.loads(json.dumps(line)))
    assert (found and list(found.scores)) == scores


@pytest.mark.parametrize("prompt", ["", []])
def test_a_batch_with_a_response_to_nothing_is_malformed(
    tmp_path: Path, bucket: Script, prompt: object
) -> None:
    line = {"prompt": [prompt, "2+2?"], "response": ["4", "4"], "reward": [1, 0]}
    source = write_jsonl(tmp_path / "completions.jsonl", [line])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "--format", "ms-swift")
    told = f"{source}:1: nothing says which responses belong together: expected prompt"
    assert (code, told in words(err)) == (1, True), err
