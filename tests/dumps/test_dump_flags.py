"""What flags say of a dump: its format, where it has what, which steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.dumps.dump_lines import (
    ASKED,
    CASES,
    choices,
    held,
    step_dump,
    user,
)
from tests.helpers.rollouts import Script, lines, rollout, words, write_jsonl


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--steps", "1:2"), "--steps: these are rollouts"),
        (("--prompt-field", "q"), "--prompt-field: these are rollouts"),
        (("--group-field", "q"), "--group-field: these are rollouts"),
    ],
)
def test_flags_of_dumps_are_not_ignored_for_rollouts(
    tmp_path: Path, bucket: Script, flags: tuple[str, ...], told: str
) -> None:
    source = write_jsonl(tmp_path / "r.jsonl", [rollout(1, 0)])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", *flags)
    assert (code, told in err) == (1, True)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--format", "verl2"), "--format: there is no 'verl2', expected one of auto, rollouts, v"),
        (("--steps", "7:3"), "--steps: the steps are '7:3'"),
        (("--steps", "a"), "--steps: the steps are 'a'"),
        (("--truncated", "no"), "--truncated: there is no 'no', expected one of graded, missing"),
        (("--group-by", "id"), "--group-by: the value is 'id', expected prompt, the only choice"),
        (("--group-by", "prompt", "--group-field", "id"), "--group-field: --group-by prompt"),
        (("--response-field", ""), "--response-field: the place is ''"),
        (("--group-field", ""), "--group-field: the place is ''"),
        (("--prompt-field", "a..b"), "--prompt-field: the place is 'a..b'"),
        (
            ("--prompt-field", "m", "--response-field", "m"),
            "--response-field: the place is that of",
        ),
    ],
)
def test_wrong_flags(bucket: Script, flags: tuple[str, ...], told: str) -> None:
    code, _, err = bucket("-i", "not read", "-o", "not written", *flags)
    assert (code, told in err) == (2, True)


def test_steps_of_a_dump_without_them_are_refused(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", CASES["verifiers"][1][0])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "--steps", "1")
    assert (code, "--steps: verifiers results have no steps" in err) == (1, True)


@pytest.mark.parametrize(
    ("wanted", "expected"), [("2:3", [2, 3]), (":1", [0, 1]), ("3:", [3, 4]), ("2", [2])]
)
def test_only_the_steps_asked_for(
    tmp_path: Path, bucket: Script, wanted: str, expected: list[int]
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", step_dump(5))
    code, out, err = bucket("-i", source, "-o", tmp_path / "b", "--steps", wanted)
    skipped = 10 - 2 * len(expected)
    assert (code, f"{skipped} of other steps skipped" in words(out)) == (0, True)
    assert ("several policies" in err) == (len(expected) > 1)
    assert sorted(r["step"] for r in held(tmp_path / "b")) == expected


def test_no_line_of_the_steps_asked_for(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", step_dump(2))
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "--steps", "7:")
    assert (code, "no sound line is of the steps 7:: 4 are of other" in err) == (1, True)


def test_steps_are_policies_and_the_prompt_alone_merges_them(
    tmp_path: Path, bucket: Script
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", step_dump(3))
    code, _, err = bucket("-i", source, "-o", tmp_path / "b")
    assert (code, "several policies wrote these responses, those of steps 0 to 2" in err) == (0, 1)
    assert sorted(len(r["reward"]) for r in held(tmp_path / "b")) == [2, 2, 2]
    assert bucket("-i", source, "-o", tmp_path / "b", "--group-by", "prompt")[0] == 0
    (merged,) = held(tmp_path / "b")
    assert merged["reward"] == [{"score": s, "step": s} for s in (0, 0, 1, 1, 2, 2)]


CUSTOM = [
    {"q": {"text": "2+2?"}, "a": "4", "r": {"total": 1}, "id": 7, "want": "4"},
    {"q": {"text": "2+3?"}, "a": "4", "r": {"total": 0}, "id": 8, "want": "5"},
    {"q": {"text": "2+2?"}, "a": "5", "r": {"total": 0}, "id": 7, "want": "4"},
]


FIELDS = (
    "--format", "custom", "--prompt-field", "q.text", "--response-field", "a",
    "--score-field", "r.total", "--ground-truth-field", "want",
)  # fmt: skip


@pytest.mark.parametrize("group", [(), ("--group-field", "id"), ("--group-field", "id", "want")])
def test_a_custom_dump_by_flags(tmp_path: Path, bucket: Script, group: tuple[str, ...]) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", CUSTOM)
    code, out, err = bucket("-i", source, "-o", tmp_path / "b", "-n", 2, *FIELDS, *group)
    assert (code, "scores from r.total" in out) == (0, True)
    assert ("nothing but the prompt says" in err) == (not group)
    record = json.loads((tmp_path / "b/bucketing.json").read_text())
    assert (record["metric"]["score_field"], record["dump"]["score"]) == ("score", "r.total")
    found = [r for r in held(tmp_path / "b") if len(r["reward"]) == 2]
    assert found == [
        {
            "key": {0: None, 2: 7, 3: '[7,"4"]'}[len(group)],
            "prompt": "2+2?",
            "response": choices("4", "5"),
            "reward": [{"score": 1, "r": {"total": 1}}, {"score": 0, "r": {"total": 0}}],
            "ground_truth": "4",
            "q": {"text": "2+2?"},
            "id": 7,
        }
    ]


def test_ids_of_ones_own_are_taken_as_they_are(tmp_path: Path, bucket: Script) -> None:
    dump = [
        {"input": ASKED, "output": "x", "score": i % 2, "uid": "a_0_0", "id": f"a_{i // 2}_0"}
        for i in range(4)
    ]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    flags = ("--group-field", "id", "--score-field", "score")
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1, *flags)[0] == 0
    found = [json.loads(line)["key"] for line in lines(tmp_path / "b/level_1.jsonl")]
    assert found == ["a_0_0", "a_1_0"]


def test_a_custom_dump_has_what_its_flags_name(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", [*CUSTOM, {"q": {"text": "?"}, "r": {}}])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", *FIELDS)
    assert (code, f"{source}:4: no a: expected in every line (custom dump)" in err) == (1, True)
    flags = ("--format", "custom", "--response-field", "q.text", "--group-field", "nr")
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", *flags, "--score-field", "r.total")
    told = f"{source}:1: nothing says which responses belong together: expected nr"
    assert (code, told in err) == (1, True)


@pytest.mark.parametrize("empty", ["", [], None])
def test_an_empty_prompt_says_of_no_responses_that_they_belong_together(
    tmp_path: Path, bucket: Script, empty: Any
) -> None:
    dump = [{"prompt": empty, "response": "x", "score": 1}] * 2
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "--format", "custom")
    told = f"{source}:1: nothing says which responses belong together: expected prompt"
    assert (code, told in err) == (1, True)


def test_an_answer_at_the_end_of_a_prompt_is_no_part_of_it(tmp_path: Path, bucket: Script) -> None:
    talks = [[user("2+2?"), {"role": "assistant", "content": text}] for text in ("4", "5")]
    dump = [{"talk": talk, "score": 1, "response": talk[1]["content"]} for talk in talks]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    flags = ("-i", source, "-o", tmp_path / "b", "--format", "custom", "--prompt-field", "talk")
    code, _, err = bucket(*flags, "-n", 1)
    assert (code, "1 of 1 rollout has a prompt that ends with an answer." in err) == (0, True)
    (found,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    assert found["prompt"] == [user("2+2?")]
    assert found["response"] == choices("4", "5")
    assert [entry["talk"] for entry in found["reward"]] == talks


def test_steps_and_what_is_wrong_with_the_rest_are_told_apart(
    tmp_path: Path, bucket: Script
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", [*step_dump(1), {"step": 7}])
    flags = ("-i", source, "-o", tmp_path / "b", "--on-malformed", "set-aside")
    code, _, err = bucket(*flags, "--steps", "5:")
    assert (code, "no sound line is of the steps 5:: 2 are of other steps" in err) == (1, True)
    assert ", 1 malformed, expected" in err


def test_a_bad_score_of_another_step_is_no_matter(tmp_path: Path, bucket: Script) -> None:
    bad = {"input": "p", "output": "", "score": "x", "step": 1}
    source = write_jsonl(tmp_path / "d.jsonl", [*step_dump(1), bad])
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1, "--steps", "0")[0] == 0
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1)[0] == 1


def test_a_dump_without_prompts_cannot_be_grouped_by_them(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", CASES["humaneval"][1][0])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "--group-by", "prompt")
    assert (code, "--group-by: HumanEval results have no prompts" in err) == (1, True)


@pytest.mark.parametrize("flag", ["--prompt-field", "--response-field", "--score-field"])
def test_a_mistyped_place_is_not_taken(tmp_path: Path, bucket: Script, flag: str) -> None:
    dump = [{"input": "a", "output": "x", "score": 1, "step": 1, "uid": "a_0_0"}]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", flag, "nope")
    assert (code, f"{source}:1: no nope: expected in every line" in err) == (1, True)


def test_responses_one_a_line_without_a_score_get_a_hint(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", [{"prompt": "q", "completion": "a"}])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b")
    assert (code, "--format custom what it has where" in err) == (1, True)


@pytest.mark.parametrize("flags", [(), ("--group-by", "prompt")])
def test_a_prompt_that_says_the_group_is_not_shortened_like_a_uid(
    tmp_path: Path, bucket: Script, flags: tuple[str, ...]
) -> None:
    step = {"step": 1} if flags else {}
    dump = [
        {"input": f"solve x_1 + {name}_2", "output": "o", "score": score, **step}
        for name, score in (("y", 1), ("z", 0), ("y", 1), ("z", 0))
    ]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    assert bucket("-i", source, "-o", tmp_path / "b", *flags)[0] == 0
    found = {r["prompt"]: [e["score"] for e in r["reward"]] for r in held(tmp_path / "b")}
    assert found == {"solve x_1 + y_2": [1, 1], "solve x_1 + z_2": [0, 0]}
