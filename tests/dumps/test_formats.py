"""Each format of dumps: how it is known, and what is taken from a line."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from curriculum.dumps.values import written_number
from tests.dumps.dump_lines import (
    ASKED,
    BUCKETS,
    CASES,
    EPISODE,
    GOOD,
    GYM,
    TRACE,
    UIDS,
    check_nothing_lost,
    choices,
    held,
    user,
    verl_uid,
)
from tests.helpers.rollouts import (
    DATA,
    Script,
    lines,
    needs_data,
    rollout,
    rows,
    words,
    write_jsonl,
)


def by_key(rollouts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rollouts, key=lambda rollout: json.dumps(rollout, sort_keys=True))


@pytest.mark.parametrize("flag", ["auto", "by name"])
@pytest.mark.parametrize("case", CASES)
def test_every_format_as_it_is_documented(
    tmp_path: Path, bucket: Script, case: str, flag: str
) -> None:
    name, (dump, expected) = CASES[case]
    source = write_jsonl(tmp_path / "dump.jsonl", dump)
    format = () if flag == "auto" else ("--format", name)
    code, out, _ = bucket("-i", source, "-o", tmp_path / "b", *format)
    found = f"(--format {name}): 4 responses, 0 malformed grouped by "
    assert (code, found in words(out)) == (0, True)
    assert "into 2 rollouts of 2 responses, scores from" in words(out)
    assert by_key(held(tmp_path / "b")) == by_key(expected)
    record = json.loads((tmp_path / "b/bucketing.json").read_text())
    assert (record["metric"]["score_field"], record["dump"]["format"]) == ("score", name)
    assert record["counts"]["read"] == 2


@pytest.mark.parametrize("case", sorted(CASES.keys() - {"humaneval"}))
def test_the_second_script_takes_what_every_format_became(
    tmp_path: Path, bucket: Script, preprocess: Script, case: str
) -> None:
    _, (dump, expected) = CASES[case]
    source = write_jsonl(tmp_path / "dump.jsonl", dump)
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1)[0] == 0
    flags = ("-i", tmp_path / "b", "-o", tmp_path / "p", "--val-ratio", "0")
    assert preprocess(*flags)[0] == 0
    found = rows(next((tmp_path / "p").glob("*_train.parquet")))
    assert [row["reward_model"]["ground_truth"] for row in found] == [
        rollout["ground_truth"] for rollout in expected
    ]
    prompts = [rollout["prompt"] for rollout in expected]
    assert [row["prompt"] for row in found] == [
        [user(prompt)] if isinstance(prompt, str) else prompt for prompt in prompts
    ]


def test_templates_that_are_not_known_are_told(tmp_path: Path, bucket: Script) -> None:
    asked = (ASKED, "user\n1\nassistant\n2\nuser\n3\nassistant\n", "[INST] 2+2? [/INST]", "a")
    dump = [{"input": text, "output": "x", "score": 1, "step": 1} for text in asked]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b")
    told = "3 of 4 rollouts have the text of a chat template in the prompt, in a form that is not"
    assert (code, told in err) == (0, True)
    prompts = [r["prompt"] for r in held(tmp_path / "b")]
    assert sorted(map(str, prompts)) == sorted([str([user("2+2?")]), *asked[1:]])
    write_jsonl(source, dump[:1])
    assert "chat template" not in bucket("-i", source, "-o", tmp_path / "b")[2]


def test_scores_that_older_verl_wrote_as_text_are_numbers(tmp_path: Path, bucket: Script) -> None:
    texts = ("1.0", "True", "False", "-0.5", "no score")
    dump = [
        {"input": f"user\n{i}\nassistant\n", "output": "", "score": text, "step": 1}
        for i, text in enumerate(texts)
    ]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b")
    told = 'd.jsonl:5: a score is not a number: score is "no score"'
    assert (code, told in err, "expected one response per line" in err) == (1, True, True)
    write_jsonl(source, dump[:4])
    assert bucket("-i", source, "-o", tmp_path / "b")[0] == 0
    found = {r["score"]: r["reward"][0]["score"] for r in held(tmp_path / "b")}
    assert found == {"1.0": 1.0, "True": True, "False": False, "-0.5": -0.5}


@pytest.mark.parametrize(
    ("dump", "told"),
    [
        ([{**CASES["areal"][1][0][0], **CASES["humaneval"][1][0][0]}], "areal or humaneval"),
        ([CASES["verl"][1][0][0], CASES["traces"][1][0][0]], "verl in {0}, traces in {0}"),
        ([CASES["verl"][1][0][0], rollout(1)], "verl in {0}, rollouts in {0}"),
    ],
)
def test_two_formats_are_not_guessed_between(
    tmp_path: Path, bucket: Script, dump: list[dict[str, Any]], told: str
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b")
    assert (code, told.format(source) in err, "--format" in err) == (1, True, True)
    assert not (tmp_path / "b/bucketing.json").exists()


def test_a_first_line_that_is_nothing_does_not_hide_the_format(
    tmp_path: Path, bucket: Script
) -> None:
    source = tmp_path / "d.jsonl"
    good = b"".join(json.dumps(line).encode() + b"\n" for line in CASES["verl"][1][0])
    source.write_bytes(b'{"a": 1}\n\n{"cut off": \n' + b"junk\n" * 9 + good)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b")
    assert code == 1
    assert f"{source}:1: no input: expected in every line (verl trainer dump)" in err
    assert f"{source}:3: not valid JSON" in err
    flags = ("-i", source, "-o", tmp_path / "b", "--on-malformed", "set-aside")
    code, out, _ = bucket(*flags)
    assert (code, "11 malformed; 1 blank line skipped" in words(out)) == (0, True)
    assert (tmp_path / "b/rejected/malformed.jsonl").read_bytes() == (
        b'{"a": 1}\n{"cut off": \n' + b"junk\n" * 9
    )
    assert len(held(tmp_path / "b")) == 2


@pytest.mark.parametrize("size", [70_000, 99_000, 130_000, 400_000])
def test_a_dump_is_known_by_lines_that_come_late(tmp_path: Path, bucket: Script, size: int) -> None:
    others = b'{"event": "log", "text": "a server that wrote to the same file"}\n' * 900
    assert 55_000 < len(others) < 60_000  # and 64 kB of every file are looked at
    asked = {"input": ASKED, "output": "4", "score": 1.0, "step": 1}
    dump = b"".join(
        json.dumps({**asked, "input": f"user\n{i}?\nassistant\n"}).encode() + b"\n"
        for i in range((size - len(others)) // 75)
    )
    source = tmp_path / "d.jsonl"
    source.write_bytes(others + dump)
    code, out, _ = bucket("-i", source, "-o", tmp_path / "b", "--on-malformed", "set-aside")
    assert (code, "(--format verl)" in words(out), "900 malformed" in words(out)) == (0, True, True)


def test_another_place_for_the_prompt_of_a_known_format(tmp_path: Path, bucket: Script) -> None:
    dump = [
        {"input": ASKED, "question": f"{ASKED}{i // 2}", "output": "", "score": i, "step": 1}
        for i in range(4)
    ]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, out, _ = bucket("-i", source, "-o", tmp_path / "b", "--prompt-field", "question")
    assert (code, "grouped by step and question" in out) == (0, True)
    assert sorted(r["prompt"] for r in held(tmp_path / "b")) == [f"{ASKED}0", f"{ASKED}1"]


@pytest.mark.parametrize(
    ("line", "failed"),
    [
        (GOOD, {"error": "timeout"}),
        (GOOD, {"is_completed": False}),
        (GOOD, {"error": "timeout", "is_truncated": True}),
        (EPISODE, {"ok": False}),
        (EPISODE, {"errors": ["lost"]}),
        (EPISODE, {"traces": [{**TRACE, "ok": False}]}),
        (EPISODE, {"traces": [{**TRACE, "errors": ["lost"]}]}),
        (EPISODE, {"traces": [{**TRACE, "is_completed": False}]}),
        (GYM, {"response": None}),
        (GYM, {"response": {"output": [], "error": {"code": 500}}}),
        (GYM, {"response": {"output": [], "status": "failed"}}),
        (
            GYM,
            {
                "response": {
                    "status": "incomplete",
                    "incomplete_details": {"reason": "content_filter"},
                }
            },
        ),
    ],
)
@pytest.mark.parametrize("flags", [(), ("--truncated", "graded"), ("--truncated", "missing")])
def test_a_failed_response_has_no_score(
    tmp_path: Path,
    bucket: Script,
    line: dict[str, Any],
    failed: dict[str, Any],
    flags: tuple[str, ...],
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", [line, {**line, **failed}])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "-n", 1, *flags)
    told = "1 of 2 responses failed (an error, or no response), and the scores are left out."
    assert (code, told in err, "null, NaN" in err) == (0, True, False)
    (found,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    assert [entry["score"] for entry in found["reward"]] == [1.0, None]


def test_an_episode_without_traces_has_no_score(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", [EPISODE, {**EPISODE, "traces": []}])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "-n", 1)
    assert (code, "1 of 2 scores is missing (null, NaN, infinite or absent)" in err) == (0, True)


@pytest.mark.parametrize(
    ("traces", "found"),
    [
        (5, "traces is not a list: it is 5"),
        ([{"rewards": [1.0]}], "the rewards of a trace are no object: they are a list"),
        ([{"rewards": {"r": 1.0}}], "a reward is no score and weight: there is 1.0"),
        ([{"rewards": {"r": {"score": ""}}}], 'no score and weight: there is ""'),
        ([{"rewards": {"r": {"score": "x"}}}], 'no score and weight: there is "x"'),
        ([{"rewards": {"r": {"score": 1, "weight": "a"}}}], 'weight: there is "a"'),
    ],
)
def test_traces_of_another_form_are_malformed(
    tmp_path: Path, bucket: Script, traces: Any, found: str
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", [EPISODE, {**EPISODE, "traces": traces}])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b")
    assert (code, f"{source}:2: " in err, found in err) == (1, True, True)


def test_the_better_score_is_taken_only_if_all_responses_have_it(
    tmp_path: Path, bucket: Script
) -> None:
    dump = [
        {"input": str(i // 2), "output": "x", "score": i % 2, "step": 1, "acc": 1 - i % 2}
        for i in range(40)
    ]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    flags = ("-i", source, "-o", tmp_path / "b", "-n", 1)
    assert "scores from acc" in bucket(*flags)[1]
    del dump[33]["acc"]
    write_jsonl(source, dump)
    _, out, err = bucket(*flags)
    assert "scores from score" in out
    assert "39 responses with a score in acc, which would be taken if all had one" in err
    found = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    assert [[e["score"] for e in r["reward"]] for r in found] == [[0, 1]] * 20


def test_a_format_by_name_takes_what_refines_it(tmp_path: Path, bucket: Script) -> None:
    dump = [{"input": "a", "output": "x", "score": 1, "reward": 1}]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, out, _ = bucket("-i", source, "-o", tmp_path / "b", "--format", "verl", "-n", 1)
    assert (code, "scores from score" in out) == (0, True)


def test_an_answer_is_the_last_assistant_turn(tmp_path: Path, bucket: Script) -> None:
    said = {"role": "assistant", "content": [{"type": "text", "text": "4"}]}
    first = {"role": "assistant", "content": "not yet"}
    talk = [first, user("and?"), said, user("done")]
    dump = [{**GOOD, "completion": talk}, {**GOOD, "completion": [user("no")]}]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1)[0] == 0
    (found,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    messages = [choice["message"] for choice in found["response"]["choices"]]
    assert messages == [{"role": "assistant", "content": "4"}, {"content": None}]
    assert [e["completion"] for e in found["reward"]] == [line["completion"] for line in dump]


def test_a_message_keeps_its_bytes(tmp_path: Path, bucket: Script) -> None:
    message = '{"role": "assistant", "content": "x", "n": 1.0E5}'
    line = json.dumps(GOOD).replace('"c"', f"[ {message} ]")
    (tmp_path / "d.jsonl").write_text(line + "\n")
    assert bucket("-i", tmp_path, "-o", tmp_path / "b", "-n", 1)[0] == 0
    (found,) = lines(tmp_path / "b/level_1.jsonl")
    assert f'"choices":[{{"message":{message}}}]' in found.decode()
    assert b"completion" not in found


def test_instructions_of_nemo_gym_are_the_system_message(tmp_path: Path, bucket: Script) -> None:
    asked = {"input": [user("2+2?")], "instructions": "Be brief."}
    plain = {"input": "3+3?", "instructions": "Be brief."}
    dump = [{**GYM, "responses_create_params": asked}]
    dump += [{**GYM, "_ng_task_index": 1, "responses_create_params": plain}]
    nothing = {"input": [], "instructions": "Be brief."}
    dump += [{**GYM, "_ng_task_index": 2, "responses_create_params": nothing}]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1)[0] == 0
    system = {"role": "system", "content": "Be brief."}
    prompts = [json.loads(line)["prompt"] for line in lines(tmp_path / "b/level_1.jsonl")]
    assert prompts == [[system, user("2+2?")], [system, user("3+3?")], []]


def test_parts_that_are_no_text_stay_what_they_are(tmp_path: Path, bucket: Script) -> None:
    parts = [{"type": "input_text", "text": "What is it?"}, {"type": "input_image"}]
    asked = [{"role": "user", "content": parts}]
    source = write_jsonl(
        tmp_path / "d.jsonl", [{**GYM, "responses_create_params": {"input": asked}}]
    )
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1)[0] == 0
    (found,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    assert found["prompt"] == asked


def test_the_last_message_is_the_response(tmp_path: Path, bucket: Script) -> None:
    said = [{"type": "message", "content": [{"type": "output_text", "text": t}]} for t in "ab"]
    nodes = [{"sampled": True, "message": {"content": text}} for text in "ab"]
    gym = {**GYM, "response": {"output": said}}
    episode = {**EPISODE, "traces": [{**TRACE, "nodes": nodes}]}
    for name, line in (("gym", gym), ("traces", episode)):
        source = write_jsonl(tmp_path / f"{name}.jsonl", [line])
        assert bucket("-i", source, "-o", tmp_path / name, "-n", 1)[0] == 0
        (found,) = map(json.loads, lines(tmp_path / name / "level_1.jsonl"))
        assert found["response"] == choices("b")


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1.0), ("-2.5e-1", -0.25), ("True", True), ("1_0", "1_0"), (" 1", " 1"), ("٣", "٣"),
     ("", ""), (3, 3), ("0x1", "0x1")],
)  # fmt: skip
def test_written_numbers(text: Any, value: Any) -> None:
    found = written_number(text)
    assert (found, type(found)) == (value, type(value))


def test_a_place_of_the_format_itself_is_read_as_ever(tmp_path: Path, bucket: Script) -> None:
    dump = [
        {"input": ASKED, "output": "4", "score": "1.0", "step": "3", "uid": verl_uid(0, i)}
        for i in range(2)
    ]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    flags = ("--score-field", "score", "--prompt-field", "input", "--group-field", "uid")
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "-n", 1, "--steps", "3", *flags)
    (found,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    assert (code, found["prompt"], found["key"]) == (0, [user("2+2?")], UIDS[0])
    assert [entry["score"] for entry in found["reward"]] == [1.0, 1.0]
    write_jsonl(source, [{**line, "asked": "2+2?"} for line in dump])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "-n", 1, "--prompt-field", "asked")
    assert (code, "chat templates" in err) == (0, False)


@needs_data
@pytest.mark.parametrize(
    ("name", "format", "rollouts"),
    [("verl_dev_step1", "verl", 128), ("nemo_gym_rollouts_raw", "nemo-gym", 124)],
)
def test_real_dumps(
    tmp_path: Path, bucket: Script, preprocess: Script, name: str, format: str, rollouts: int
) -> None:
    source = DATA / f"flat/{name}.jsonl"
    code, out, _ = bucket("-i", source, "-o", tmp_path / "b")
    assert (code, f"--format {format}" in out) == (0, True)
    found, given_ = held(tmp_path / "b"), [json.loads(line) for line in lines(source)]
    assert len(found) == rollouts
    scores = [entry["score"] for r in found for entry in r["reward"]]
    expected = [line["score" if format == "verl" else "reward"] for line in given_]
    assert Counter(scores) == Counter(expected)
    if format == "verl":
        for r, line in zip(
            sorted(found, key=lambda r: str(r["input"])),
            sorted(given_, key=lambda line: str(line["input"])),
            strict=True,
        ):
            check_nothing_lost(r, [line])
            assert [m["role"] for m in r["prompt"]] == ["system", "user"]
    flags = ("-i", tmp_path / "b", "-o", tmp_path / "p", "--on-malformed", "set-aside")
    code, _, err = preprocess(*flags)
    assert (code, "5 × no prompt" in err) == (0, format == "nemo-gym")


def flat_lines(rollouts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """verl's dump of some rollouts: the first response to every prompt, then the second, …"""
    return [
        {
            "input": f"user\n{one['prompt'][0]['content']}\nassistant\n",
            "output": one["response"]["choices"][i]["message"]["content"],
            "gts": one["ground_truth"],
            "score": one["reward"][i]["score"],
            "step": 1,
            "uid": f"{UUID(int=number, version=4)}_{i}_0",
        }
        for i in range(6)
        for number, one in enumerate(rollouts)
    ]


@needs_data
def test_real_rollouts_and_the_same_as_a_dump_are_bucketed_alike(
    tmp_path: Path, bucket: Script
) -> None:
    (source,) = (DATA / "gsm8k_mixed6").glob("*.jsonl")
    dump = flat_lines([json.loads(line) for line in lines(source)])
    for i in range(2):
        write_jsonl(tmp_path / f"dump/{i}.jsonl", dump[i * 4000 : (i + 1) * 4000])
    assert bucket("-i", source, "-o", tmp_path / "own")[0] == 0
    assert bucket("-i", tmp_path / "dump", "-o", tmp_path / "flat")[0] == 0
    for name in BUCKETS:
        own, flat = (
            [json.loads(line) for line in lines(tmp_path / where / f"{name}.jsonl")]
            for where in ("own", "flat")
        )
        for one in (*own, *flat):
            one["reward"] = [entry["score"] for entry in one["reward"]]
            one["response"] = [
                choice["message"]["content"] for choice in one["response"]["choices"]
            ]
        fields = ("prompt", "response", "reward", "ground_truth")
        assert [[r[f] for f in fields] for r in flat] == [[r[f] for f in fields] for r in own]
        assert len(own) > 300
