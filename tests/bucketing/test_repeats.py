"""Prompts that repeat: counted by their text, whatever the form they are written in."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.bucket import bucket_rollouts
from curriculum.options import BucketOptions
from tests.helpers.readers import without_scanner
from tests.helpers.rollouts import Script, rollout, write_jsonl

FORMS = {
    "messages": lambda text: {"prompt": [{"role": "user", "content": text}]},
    "text": lambda text: {"prompt": text},
    "conversation": lambda text: {
        "messages": [
            {"role": "user", "content": text},
            {"role": "assistant", "content": "an answer"},
        ]
    },
    "none": lambda text: {},
}


@given(
    asked=st.lists(
        st.tuples(st.sampled_from(["a", "b", "a ", "é"]), st.sampled_from(list(FORMS)),
                  st.sampled_from([0, 0.5, 1, None])),
        min_size=1, max_size=12,
    ).filter(lambda asked: any(score is not None for _, _, score in asked)),
    shard_bytes=st.sampled_from([1, 200, 1 << 24]),
)  # fmt: skip
def test_repeats_are_counted_as_one_would_by_hand(
    tmp_path_factory: pytest.TempPathFactory, asked: list[Any], shard_bytes: int
) -> None:
    directory = tmp_path_factory.mktemp("repeats")
    lines = [{**FORMS[form](text), "reward": [score]} for text, form, score in asked]
    path = write_jsonl(directory / "a.jsonl", lines)
    scored = [
        (i, text if form != "none" else None, score)
        for i, (text, form, score) in enumerate(asked, 1)
        if score is not None
    ]
    texts = Counter(text for _, text, _ in scored if text is not None)
    buckets = {text: {score for _, other, score in scored if other == text} for text in texts}
    firsts = [text for _, text, _ in scored if text and texts[text] > 1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curriculum.reading.input_files.SHARD_BYTES", shard_bytes)
        options = BucketOptions(
            [str(path)], str(directory / "out"), thresholds=[0.25, 0.75], dry_run=True, workers=1
        )
        report = bucket_rollouts(options)
    assert report.repeats.later == sum(texts.values()) - len(texts)
    assert report.repeats.absent == sum(text is None for _, text, _ in scored)
    assert report.in_several == sum(len(scores) > 1 for scores in buckets.values())
    assert (
        list(report.repeats.example)
        == [f"{path}:{i}" for i, text, _ in scored if firsts and text == firsts[0]][:2]
    )


def test_a_data_set_given_twice_is_told_with_the_flag_that_merges(
    tmp_path: Path, bucket: Script
) -> None:
    found = [rollout(i % 3 / 2, prompt=f"prompt {i}") for i in range(9)]
    one = write_jsonl(tmp_path / "in/a.jsonl", found)
    # The same prompts, other scores and other responses, as a later step writes them.
    again = [rollout(i % 2, i % 3, prompt=f"prompt {i}") for i in range(9)]
    other = write_jsonl(tmp_path / "in/b.jsonl", again)
    command = ("-i", tmp_path / "in", "-o", tmp_path / "out")
    code, out, err = bucket(*command)
    assert code == 0
    assert f"9 of 18 rollouts have the prompt of an earlier one (as {one}:1 and {other}:1" in err
    assert "prompts lie in more than one bucket" in err
    assert "add --group-by prompt" in err
    assert "Decide first:" in out
    code, out, err = bucket(*command, "--group-by", "prompt")
    assert code == 0
    assert "earlier one" not in err
    assert "9 rollouts in 3 buckets" in out


@pytest.mark.parametrize(
    "prompt",
    [
        {"a": 1},
        3,
        [1],
        [["x"], ["y"]],
        [{"role": 1, "content": {"b": None}}],
        "\ud800",
        True,
        [None],
    ],
)
def test_an_odd_prompt_is_bucketed_all_the_same(
    tmp_path: Path, bucket: Script, prompt: Any
) -> None:
    lines = [{"reward": [0], "prompt": prompt}, {"reward": [1], "prompt": prompt}]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, _, err = bucket("-i", path, "-o", tmp_path / "out", "-n", 2)
    assert code == 0
    assert "1 of 2 rollouts" in err


def test_rollouts_without_a_prompt_are_told(tmp_path: Path, bucket: Script) -> None:
    lines = [{"reward": [0], "question": "q"}, {"reward": [1], "prompt": "", "messages": []}]
    path = write_jsonl(tmp_path / "a.jsonl", lines)
    code, out, err = bucket("-i", path, "-o", tmp_path / "out", "-n", 2)
    assert code == 0
    assert "2 of 2 rollouts have no prompt" in err
    assert "earlier one" not in err
    assert "where the prompts are" in out


def agent(call: str, *scores: float) -> dict[str, Any]:
    """A rollout whose prompt has a tool call with these arguments."""
    calls = [{"id": "c1", "function": {"name": "f", "arguments": call}}]
    called = {"role": "assistant", "content": None, "tool_calls": calls}
    asked = [{"role": "user", "content": "q"}, called, {"role": "tool", "content": "12C"}]
    return {**rollout(*scores), "prompt": asked}


@pytest.mark.parametrize("scanner", [True, False])
def test_prompts_that_differ_in_tool_calls_are_no_repeats(
    tmp_path: Path, bucket: Script, scanner: bool
) -> None:
    found = [agent("1", 0), agent("2", 1), agent("1", 0.5), rollout(1, prompt="q")]
    path = write_jsonl(tmp_path / "a.jsonl", found)
    with nullcontext() if scanner else without_scanner():
        _, _, err = bucket("-i", path, "-o", tmp_path / "out", "-n", 1)
    assert f"1 of 4 rollouts has the prompt of an earlier one (as {path}:1 and {path}:3 do" in err


def test_a_prompt_in_text_parts_repeats_the_same_text(tmp_path: Path, bucket: Script) -> None:
    parts = [{"type": "text", "text": "2+"}, {"type": "text", "text": "2?"}]
    found = [rollout(0), {**rollout(1), "prompt": [{"role": "user", "content": parts}]}]
    path = write_jsonl(tmp_path / "a.jsonl", found)
    _, _, err = bucket("-i", path, "-o", tmp_path / "out", "-n", 1)
    assert "1 of 2 rollouts has the prompt of an earlier one" in err
    assert "with parts" not in err


def test_prompts_with_images_are_counted_in_all_lines(tmp_path: Path, bucket: Script) -> None:
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {}}]
    odd = [{**rollout(1), "prompt": [{"role": "user", "content": parts}], "key": i}
           for i in range(2)]  # fmt: skip
    found = [rollout(i % 3, prompt=f"{i}") for i in range(40)] + [{**odd[0], "reward": [None]}]
    path = write_jsonl(tmp_path / "a.jsonl", found + odd)
    code, out, err = bucket("-i", path, "-o", tmp_path / "out")
    assert code == 0
    told = "2 of 42 rollouts have a prompt with parts that are not text, such as images"
    assert f"{told} (the first is {path}:42)" in err
    assert "with --source" in err
    assert "where the rows come from (--source)" in out


CONFLICT = "1 prompt has several ground truths, such as {}:2 (4) and {}:4 (5): what is right"


@pytest.mark.parametrize("flags", [(), ("--dry-run",), ("--workers", 2)])
def test_a_prompt_with_several_ground_truths_is_told(
    tmp_path: Path, bucket: Script, flags: tuple
) -> None:
    truths = [None, "4", 4, 5]
    found = [rollout(i / 4, prompt="q", ground_truth=truth) for i, truth in enumerate(truths)]
    found[3] = {**found[3], "ground_truth": None, "reward_model": {"ground_truth": 5}}
    found += [rollout(1, prompt="one truth", ground_truth=truth) for truth in ("4", "4", None)]
    path = write_jsonl(tmp_path / "a.jsonl", found)
    code, out, err = bucket("-i", path, "-o", tmp_path / "out", *flags)
    assert code == 0
    assert CONFLICT.format(path, path) in err
    assert "which ground truth is right: 1 prompt has several" in out


def test_groups_of_a_dump_with_several_truths_are_told_by_their_lines(
    tmp_path: Path, bucket: Script
) -> None:
    dump = [
        {"input": "q", "output": "a", "score": step % 2, "step": step, "gts": str(step // 4)}
        for step in range(8)
    ]
    path = write_jsonl(tmp_path / "d.jsonl", dump)
    code, _, err = bucket("-i", path, "-o", tmp_path / "out", "-n", 1)
    assert code == 0
    assert f"1 prompt has several ground truths, such as {path}:1 (0) and {path}:5 (1)" in err
