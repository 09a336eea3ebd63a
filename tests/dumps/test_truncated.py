"""Responses that were cut off: told, and graded or missing as `--truncated` says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.dumps.dump_lines import BUCKETS, CASES, EPISODE, GOOD, GYM, TRACE, held
from tests.helpers.rollouts import Script, lines, rollout, write_jsonl

CUT_OFF = {"output": [], "incomplete_details": {"reason": "max_output_tokens"}}
CUSTOM = {"prompt": "q", "response": "a", "score": 1.0}
STOPS = ("max_turns", "max_input_tokens", "max_output_tokens", "max_total_tokens", "context_length")


def calls(*reasons: str | None) -> list[dict[str, Any]]:
    return [
        {"finish_reason": reason, "error": None if reason else {"type": "ProviderError"}}
        for reason in reasons
    ]


@pytest.mark.parametrize(
    ("line", "cut_off"),
    [
        (GOOD, {"is_truncated": True}),
        (GYM, {"response": CUT_OFF}),
        (GYM, {"response": {"output": [], "status": "incomplete"}}),
        (CUSTOM, {"finish_reason": "length"}),
        (CUSTOM, {"is_truncated": True}),
        (EPISODE, {"traces": [{**TRACE, "calls": calls("stop", "length")}]}),
        (EPISODE, {"traces": [{**TRACE, "calls": calls("length", None)}]}),
        *((EPISODE, {"traces": [{**TRACE, "stop_condition": stop}]}) for stop in STOPS),
    ],
)
@pytest.mark.parametrize(
    ("flags", "score", "told"),
    [
        ((), 1.0, "1 of 2 responses was cut off, and the scores count as they were given."),
        (("--truncated", "graded"), 1.0, "was cut off, and the scores count as they were given."),
        (("--truncated", "missing"), None, "was cut off, and --truncated missing leaves out the"),
    ],
)
def test_a_response_that_was_cut_off(
    tmp_path: Path,
    bucket: Script,
    line: dict[str, Any],
    cut_off: dict[str, Any],
    flags: tuple[str, ...],
    score: float | None,
    told: str,
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", [line, {**line, **cut_off}])
    format = ("--format", "custom") if line is CUSTOM else ()
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "-n", 1, *format, *flags)
    assert (code, told in err, "null, NaN" in err) == (0, True, False)
    (found,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    assert [entry["score"] for entry in found["reward"]] == [1.0, score]
    record = json.loads((tmp_path / "b/bucketing.json").read_text())["dump"]
    assert record["notes"]["responses that were cut off"] == 1
    assert record["truncated"] == ("missing" if score is None else "graded")


@pytest.mark.parametrize(
    ("line", "ended"),
    [
        (GOOD, {"is_truncated": False, "stop_condition": "max_turns_reached"}),
        (EPISODE, {"traces": [{**TRACE, "stop_condition": "agent_completed"}]}),
        (EPISODE, {"traces": [{**TRACE, "calls": calls("length", "stop")}]}),
        (GYM, {"response": {"output": [], "status": "completed", "incomplete_details": None}}),
        (CUSTOM, {"finish_reason": "stop"}),
    ],
)
def test_a_response_that_ended_by_itself(
    tmp_path: Path, bucket: Script, line: dict[str, Any], ended: dict[str, Any]
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", [line, {**line, **ended}])
    format = ("--format", "custom") if line is CUSTOM else ()
    flags = ("-n", 1, "--truncated", "missing", *format)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", *flags)
    told = "no line says that its response was cut off, so --truncated missing changes nothing."
    assert (code, told in err, "was cut off, and" in err) == (0, True, False)
    (found,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    assert [entry["score"] for entry in found["reward"]] == [1.0, 1.0]


def gym(task: int, index: int, reward: float, cut_off: bool = False) -> dict[str, Any]:
    answer = CUT_OFF if cut_off else {"output": [], "incomplete_details": None}
    return {
        "_ng_task_index": task,
        "_ng_rollout_index": index,
        "responses_create_params": {"input": f"question {task}"},
        "response": answer,
        "reward": reward,
    }


def verl(task: int, reward: float) -> dict[str, Any]:
    return {
        "input": f"user\nquestion {task}\nassistant\n",
        "output": "",
        "score": reward,
        "step": 1,
    }


PASSES = (1, 6, 8)  # of 8 responses to each of three prompts


def test_one_prompt_lands_in_one_bucket_whatever_wrote_it_down(
    tmp_path: Path, bucket: Script
) -> None:
    all_ = [(task, i, float(i < passes)) for task, passes in enumerate(PASSES) for i in range(8)]
    dumps = {
        "gym": [gym(*line, cut_off=line[0] == 0 and not line[2]) for line in all_],
        "verl": [verl(task, reward) for task, _, reward in all_],
        "own": [rollout(*(r for t, _, r in all_ if t == task)) for task in range(3)],
    }
    for name, dump in dumps.items():
        source = write_jsonl(tmp_path / f"{name}.jsonl", dump)
        assert bucket("-i", source, "-o", tmp_path / name)[0] == 0
        for name_, passes in zip(BUCKETS, reversed(PASSES), strict=True):
            (found,) = map(json.loads, lines(tmp_path / name / f"{name_}.jsonl"))
            assert sum(entry["score"] for entry in found["reward"]) == passes
    _, _, err = bucket("-i", tmp_path / "gym.jsonl", "-o", tmp_path / "b")
    assert "7 of 24 responses were cut off" in err
    assert "--truncated missing" in err
    missing = ("--truncated", "missing")
    assert bucket("-i", tmp_path / "gym.jsonl", "-o", tmp_path / "b", *missing)[0] == 0
    (easy,) = map(json.loads, lines(tmp_path / "b/easy.jsonl")[:1])
    assert [entry["score"] for entry in easy["reward"]] == [1.0, *[None] * 7]


@pytest.mark.parametrize("failed", [[], [{**GYM, "_ng_rollout_index": 2, "response": None}]])
@pytest.mark.parametrize("flags", [(), ("--truncated", "missing")])
def test_a_dump_in_which_all_was_cut_off_is_refused(
    tmp_path: Path, bucket: Script, flags: tuple[str, ...], failed: list[dict[str, Any]]
) -> None:
    dump = [gym(0, 0, 0.0, True), gym(0, 1, 1.0, True), *failed]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", *flags)
    counted = "every response was cut off (2)" + " or failed (1)" * len(failed) + ", so the scores"
    assert (code, f"{source}: {counted}" in err, "--score-field" in err) == (1, True, False)
    assert not (tmp_path / "b/bucketing.json").exists()
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "--truncated", "graded")
    assert (code, "2 of " in err) == (0, True)
    (found,) = held(tmp_path / "b")
    assert [entry["score"] for entry in found["reward"]] == [0.0, 1.0, *[None] * len(failed)]


def test_a_dump_in_which_all_failed_is_refused(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", [{**GOOD, "error": "timeout"}] * 2)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b")
    told = f"{source}: no rollout of 1 has a score: every response failed"
    assert (code, told in err, "--score-field" in err) == (1, True, False)
    write_jsonl(source, [{**GOOD, "error": "timeout"}, {**GOOD, "reward": None}])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b")
    assert (code, "name the right field with --score-field" in err) == (1, True)


@pytest.mark.parametrize("case", ["verl", "areal", "humaneval"])
def test_formats_that_do_not_say_what_was_cut_off(
    tmp_path: Path, bucket: Script, case: str
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", CASES[case][1][0])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "--truncated", "missing")
    assert (code, "nothing in it says which responses were cut off" in err) == (1, True)
    assert bucket("-i", source, "-o", tmp_path / "b", "--truncated", "graded")[0] == 0


def test_rollouts_that_do_not_say_what_was_cut_off(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "r.jsonl", [rollout(1, 0)])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "--truncated", "missing")
    assert (code, "--truncated: these are rollouts" in err) == (1, True)
    assert bucket("-i", source, "-o", tmp_path / "b", "--truncated", "graded")[0] == 0


def test_a_cut_off_response_without_a_score_is_counted_once(tmp_path: Path, bucket: Script) -> None:
    dump = [gym(0, 0, 1.0), {**gym(0, 1, 0.0, True), "reward": None}]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    for flags, missing in (((), 1), (("--truncated", "missing"), 0)):
        code, _, err = bucket("-i", source, "-o", tmp_path / "b", *flags)
        assert (code, "1 of 2 scores is missing (null, NaN" in err) == (0, bool(missing))
