"""Whether verl can train on the sets as they are: said at the end of the summary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curriculum.verl.reward_sources import has_reward_function
from tests.helpers.bucket_directories import TRAIN, VAL, buckets
from tests.helpers.rollouts import Script, rollout, write_jsonl

PROMPTS = [*TRAIN[:6], *VAL[:3]]
KNOWN = ("--data-source", "openai/gsm8k")
MATHS = {"data_source": "openai/gsm8k"}
IF = {"ground_truth": {"instruction_id_list": ["a"], "kwargs": [None]}}
SEARCH = {"ground_truth": {"target": ["x"]}}


def rollouts(prompts: list[str] = PROMPTS, **fields: Any) -> list[dict[str, Any]]:
    return [rollout(1, 0, prompt=prompt, **fields) for prompt in prompts]


VERDICTS = {
    "known": (rollouts(), KNOWN, []),
    "kept": (rollouts(**MATHS), ("--keep-data-source",), []),
    "prefix": (rollouts(), ("--data-source", "aime_2024"), []),
    "all name one": (
        rollouts(**MATHS), (),
        ["no reward function for data_source bucketed_curriculum: all 9 rollouts name "
         "openai/gsm8k: use --keep-data-source"],
    ),
    "in extra_info": (
        rollouts(extra_info=MATHS), (),
        ["no reward function for data_source bucketed_curriculum: all 9 rollouts name "
         "openai/gsm8k: use --keep-data-source"],
    ),
    "some name one": (
        rollouts(PROMPTS[:7]) + rollouts(PROMPTS[7:], data_source="math_dapo"), (),
        ["no reward function for data_source bucketed_curriculum: of 9 rollouts 2 name math_dapo: "
         "use --keep-data-source"],
    ),
    "none names one": (
        rollouts(data_source="mine"), (),
        ["no reward function for data_source bucketed_curriculum: set "
         "reward.custom_reward_function.path in verl, or say with --data-source which data set of "
         "verl's this is (openai/gsm8k)"],
    ),
    "instruction following": (
        rollouts(**IF), (),
        ["no reward function for data_source bucketed_curriculum: set "
         "reward.custom_reward_function.path in verl, to examples/verl/reward.py for instruction "
         "following"],
    ),
    "wrong truth": (
        rollouts(**IF), KNOWN,
        ["verl's reward function for openai/gsm8k wants ground truths that are text: set "
         "reward.custom_reward_function.path in verl, or name another --data-source"],
    ),
    "search": (rollouts(**SEARCH), ("--data-source", "searchR1_nq"), []),
    "search without target": (
        rollouts(), ("--data-source", "searchR1_nq"),
        ["verl's reward function for searchR1_nq wants ground truths that are an object with "
         "target: set reward.custom_reward_function.path in verl, or name another --data-source"],
    ),
    "no truth": (
        rollouts(PROMPTS[:8]) + rollouts(PROMPTS[8:], ground_truth=None), KNOWN,
        ["1 of 9 rollouts have no ground truth to compare with"],
    ),
    "no val": (rollouts(PROMPTS[:1]), KNOWN, ["only has no val rows, and verl needs some"]),
    "no val wanted": (
        rollouts(), (*KNOWN, "--val-ratio", 0),
        ["there are no val rows (--val-ratio 0), and verl needs some: give it data.val_files"],
    ),
    "one val row": (
        rollouts(PROMPTS[:7]), KNOWN,
        ["only_val has 1 row, which measures nothing: use a larger --val-ratio"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("found", "flags", "problems"), VERDICTS.values(), ids=VERDICTS)
def test_the_verdict_names_what_keeps_verl_from_training(
    tmp_path: Path, preprocess: Script, found: list[Any], flags: tuple, problems: list[str]
) -> None:
    source = buckets(tmp_path / "b", only=found)
    command = ("-i", source, "-o", tmp_path / "out", *flags)
    for extra in ((), ("--dry-run",)):
        code, out, _ = preprocess(*command, *extra)
        assert code == 0
        verdict = out.rpartition("\n\n")[2]
        if not problems:
            assert verdict == "verl: ready\n"
            continue
        first, *items = " ".join(verdict.split()).split(" - ")
        assert (first, items) == ("verl: not yet:", problems)


def test_sets_without_rows_are_told_together(tmp_path: Path, preprocess: Script) -> None:
    source = buckets(tmp_path / "b", easy=rollouts(), medium=[], hard=rollouts(TRAIN[20:21]))
    code, out, err = preprocess("-i", source, "-o", tmp_path / "out", *KNOWN)
    assert code == 0
    assert out.endswith(
        "verl: not yet:\n- medium has no rows\n- hard has no val rows, and verl needs some\n"
    )
    assert "medium_train.parquet, medium_val.parquet would have no rows, so they were not" in err


def test_a_likely_ground_truth_is_named_and_read_by_the_flag(
    tmp_path: Path, preprocess: Script
) -> None:
    found = [{**one, "ground_truth": None, "answer": "42"} for one in rollouts()]
    source = buckets(tmp_path / "b", only=found)
    _, out, err = preprocess("-i", source, "-o", tmp_path / "out", *KNOWN)
    assert "- 9 of 9 rollouts have no ground truth to compare with" in out
    assert "They do have answer: if that is the ground truth, read it with" in err
    assert "--ground-truth-field answer." in err
    flags = (*KNOWN, "--ground-truth-field", "answer")
    _, out, err = preprocess("-i", source, "-o", tmp_path / "out", *flags)
    assert (out.endswith("verl: ready\n"), "ground truth" in err) == (True, False)


def test_a_ground_truth_field_that_no_rollout_has_is_refused(
    tmp_path: Path, preprocess: Script
) -> None:
    found = [{**one, "ground_truth": None, "answer": "42"} for one in rollouts()]
    source = buckets(tmp_path / "b", only=found)
    flags = ("--ground-truth-field", "anwser")
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out", *flags)
    assert (code, "none of the 9 rollouts has anything in anwser" in err) == (1, True)
    assert "they do have answer" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("buckets_named", "told"), [((), True), (("--buckets", "a", "b"), False)])
def test_cumulative_sets_over_solved_prompts_are_told(
    tmp_path: Path, bucket: Script, preprocess: Script, buckets_named: tuple, told: bool
) -> None:
    scores = [(1, 1), (0, 1, 1), (0, 0, 1), (0, 0)]
    found = [rollout(*scores[i % 4], prompt=f"{i}") for i in range(80)]
    path = write_jsonl(tmp_path / "a.jsonl", found)
    flags = ("--solved-unsolved", "-n", 2, "--bucket-names", "a", "b")
    assert bucket("-i", path, "-o", tmp_path / "b", *flags)[0] == 0
    command = ("-i", tmp_path / "b", "-o", tmp_path / "out", "--cumulative", *buckets_named)
    code, _, err = preprocess(*command)
    assert (code, "the cumulative sets include solved and unsolved" in err) == (0, told)
    assert not told or "add --buckets a b." in err


def test_prompts_of_several_rollouts_are_told_once(tmp_path: Path, preprocess: Script) -> None:
    twice = rollouts(PROMPTS[:3])
    source = buckets(tmp_path / "b", easy=[*twice, *rollouts(TRAIN[20:30])], hard=twice)
    _, out, err = preprocess("-i", source, "-o", tmp_path / "out", "--cumulative")
    assert "3 prompts of" in err
    assert "are in several rollouts, 3 of them in several buckets" in err
    assert "both sides" not in out
    assert "with --group-by prompt" in err


def test_sources_are_compared_whole() -> None:
    assert has_reward_function("openai/gsm8k")
    assert has_reward_function("aime2025")
    assert not has_reward_function("openai/gsm8k-train")
    assert not has_reward_function("bucketed_curriculum")
