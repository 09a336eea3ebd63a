"""What becomes of the prompts and tools of a dump."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.dumps.dump_lines import CASES, EPISODE, GOOD, GYM, TRACE, choices, user
from tests.helpers.rollouts import DATA, Script, lines, needs_data, rows, write_jsonl

AREAL = CASES["areal"][1][0][0]
CHATML = "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n"
THINK = {"role": "assistant", "content": "<think>\n"}
ANSWER = {"role": "assistant", "content": "It is 4."}


def one(tmp_path: Path, bucket: Script, line: dict[str, Any], *flags: str) -> tuple[Any, str]:
    """The rollout that a dump of one line becomes, and what is said of it."""
    source = write_jsonl(tmp_path / "d.jsonl", [line])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "-n", 1, *flags)
    assert code == 0, err
    (found,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    return found, err


def gym(asked: Any) -> dict[str, Any]:
    return {**GYM, "responses_create_params": {"input": asked}}


CUSTOM = {"response": "a", "score": 1.0}
FORMATS = [
    pytest.param(lambda asked: {**AREAL, "prompt": asked}, (), id="areal"),
    pytest.param(lambda asked: {**GOOD, "prompt": asked}, (), id="verifiers"),
    pytest.param(gym, (), id="nemo-gym"),
    pytest.param(lambda asked: {"input": asked, "output": "", "score": 1}, (), id="verl"),
    pytest.param(lambda a: {"task": {"key": "k", "data": {"prompt": a}}, "traces": [TRACE]}, (),
                 id="traces"),
    pytest.param(lambda asked: {**CUSTOM, "prompt": asked}, ("--format", "custom"), id="custom"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "flags"), FORMATS)
@pytest.mark.parametrize(
    ("asked", "prompt", "told"),
    [
        (CHATML, [user("2+2?")], None),
        ([user(CHATML)], [user("2+2?")], None),
        (f"{CHATML}<think>\n", [user("2+2?")], "at its end an opening of the answer"),
        ("[INST] 2+2? [/INST]", "[INST] 2+2? [/INST]", "in a form that is not known"),
        ([user(f"Is it {CHATML}?")], [user(f"Is it {CHATML}?")], "in a form that is not known"),
        ([user("2+2?"), ANSWER], [user("2+2?")], "a prompt that ends with an answer"),
        ([user("2+2?"), ANSWER, ANSWER], [user("2+2?")], "a prompt that ends with an answer"),
        ([user("2+2?"), THINK], [user("2+2?"), THINK], "ends with the opening of an answer"),
    ],
)
def test_prompts_of_every_format_are_settled(
    tmp_path: Path,
    bucket: Script,
    line: Any,
    flags: tuple[str, ...],
    asked: Any,
    prompt: Any,
    told: str | None,
) -> None:
    found, err = one(tmp_path, bucket, line(asked), *flags)
    assert found["prompt"] == prompt
    words = ("opening of", "not known", "with an answer")
    assert [word for word in words if word in err] == [w for w in words if told and w in told]
    assert told is None or "1 of 1 rollout has " in err


def test_prompts_that_differ_only_in_their_answers_are_one(tmp_path: Path, bucket: Script) -> None:
    talks = [[user("2+2?"), {"role": "assistant", "content": text}] for text in "45"]
    dump = [{**GOOD, "prompt": talk, "completion": talk[1]["content"]} for talk in talks]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1)[0] == 0
    (found,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    assert (found["prompt"], found["response"]) == ([user("2+2?")], choices("4", "5"))
    assert [entry["prompt"] for entry in found["reward"]] == talks


def test_a_prompt_that_needs_no_change_keeps_its_bytes(tmp_path: Path, bucket: Script) -> None:
    asked = '[ {"role": "user", "content": "\\u00e9", "n": 1.0E5} ]'
    line = json.dumps({**AREAL, "prompt": 0}).replace('"prompt": 0', f'"prompt": {asked}')
    (tmp_path / "d.jsonl").write_text(line + "\n")
    assert bucket("-i", tmp_path, "-o", tmp_path / "b", "-n", 1)[0] == 0
    (found,) = lines(tmp_path / "b/level_1.jsonl")
    assert f'"prompt":{asked},'.encode() in found


@pytest.mark.parametrize(
    ("field", "asked"),
    [("prompt", "Write it."), ("question", [user("Write it.")]), ("problem", "Write it.")],
)
def test_a_dump_without_prompts_names_the_flag_that_finds_them(
    tmp_path: Path, bucket: Script, field: str, asked: Any
) -> None:
    dump = [{**gym([]), "_ng_task_index": i, field: asked} for i in range(2)]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    flags = ("-i", source, "-o", tmp_path / "b", "-n", 1)
    code, _, err = bucket(*flags)
    told = f"{source}: no rollout of 2 has a prompt in responses_create_params.input, expected "
    assert (code, told in err, f"--prompt-field {field}\n" in err) == (1, True, True)
    assert not (tmp_path / "b/bucketing.json").exists()
    assert bucket(*flags, "--prompt-field", field)[0] == 0
    found = [json.loads(line)["prompt"] for line in lines(tmp_path / "b/level_1.jsonl")]
    assert found == [asked, asked]


@pytest.mark.parametrize("asked", [[], "", " ", [user(" \n")], None])
def test_prompts_that_are_nowhere_are_only_told(tmp_path: Path, bucket: Script, asked: Any) -> None:
    dump = [gym(asked), {**gym("2+2?"), "_ng_task_index": 1, "question": "2+2?"}]
    source = tmp_path / "d.jsonl"
    told = "has no prompt in responses_create_params.input, and preprocessing needs one."
    for count in (1, 2):
        write_jsonl(source, dump[:count])
        code, _, err = bucket("-i", source, "-o", tmp_path / "b", "-n", 1)
        assert (code, f"1 of {count} rollout" in err, told in err) == (0, True, True)
        assert "--prompt-field" in err
    write_jsonl(source, [{**dump[0], "question": "2+2?"}, dump[1]])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "-n", 1)
    assert (code, f"1 of 2 rollouts {told}" in err) == (0, True)


TOOLS = [{"type": "function", "name": "add", "parameters": {"properties": {}}, "strict": None}]


def with_tools(case: str, tools: Any) -> dict[str, Any]:
    """A line of a format with these tools."""
    return {
        "nemo-gym": {**GYM, "responses_create_params": {"input": "p", "tools": tools}},
        "verifiers": {**GOOD, "tool_defs": tools},
        "traces": {**EPISODE, "traces": [{**TRACE, "tools": tools}]},
    }[case]


@pytest.mark.parametrize("case", ["nemo-gym", "verifiers", "traces"])
def test_tools_are_kept_as_text_and_told(
    tmp_path: Path, bucket: Script, preprocess: Script, case: str
) -> None:
    line = with_tools(case, TOOLS)
    found, err = one(tmp_path, bucket, line)
    told = "1 of 1 rollout has tools, which verl does not read from its rows."
    assert (json.loads(found["extra_info"]["tools"]), told in err) == (TOOLS, True)
    flags = ("-i", tmp_path / "b", "-o", tmp_path / "p", "--val-ratio", 0)
    assert preprocess(*flags)[0] == 0
    (row,) = rows(tmp_path / "p/level_1_train.parquet")
    assert json.loads(row["extra_info"]["tools"]) == TOOLS
    own, err = one(tmp_path, bucket, {**line, "extra_info": {"split": "x", "n": 1}})
    assert own["extra_info"] == {"split": "x", "n": 1, "tools": found["extra_info"]["tools"]}
    own, err = one(tmp_path, bucket, {**line, "extra_info": {"tools": "mine"}})
    assert (own["extra_info"], told in err) == ({"tools": "mine"}, True)


@pytest.mark.parametrize("case", ["nemo-gym", "verifiers", "traces"])
@pytest.mark.parametrize("tools", [[], None])
def test_no_tools_are_nothing_to_tell(
    tmp_path: Path, bucket: Script, case: str, tools: Any
) -> None:
    found, err = one(tmp_path, bucket, with_tools(case, tools))
    assert ("extra_info" in found, "tools" in err) == (False, False)


def test_tools_of_a_later_line_count(tmp_path: Path, bucket: Script) -> None:
    dump = [with_tools("traces", []), with_tools("traces", TOOLS)]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1)[0] == 0
    (found,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    assert json.loads(found["extra_info"]["tools"]) == TOOLS


@needs_data
def test_tools_of_real_rollouts_are_counted(tmp_path: Path, bucket: Script) -> None:
    source = DATA / "flat/nemo_gym_rollouts_raw.jsonl"
    _, _, err = bucket("-i", source, "-o", tmp_path / "b", "-n", 1)
    found = [json.loads(line) for line in lines(tmp_path / "b/level_1.jsonl")]
    name = "responses_create_params"
    given = [(r.get(name) or r["reward"][0][name]).get("tools") or None for r in found]
    kept = [json.loads(r.get("extra_info", {}).get("tools", "null")) for r in found]
    assert (kept, len(kept) - kept.count(None)) == (given, 38)
    assert "38 of 124 rollouts have tools" in err
    assert "5 of 124 rollouts have no prompt in responses_create_params.input" in err
