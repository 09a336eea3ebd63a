"""Prompts of agents: what messages keep, in the one type of the run, and all else as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.options import BucketOptions
from curriculum.preprocess_options import PreprocessOptions
from tests.helpers.bucket_directories import TRAIN, bucketed, buckets
from tests.helpers.readers import without_scanner
from tests.helpers.rollouts import (
    SHARED,
    Script,
    lines,
    needs_data,
    rollout,
    rows,
    tree,
    write_jsonl,
)

CASES = SHARED / "cases"
NO_VAL = ("--val-ratio", 0)


def call(arguments: Any = "{}", name: str = "w", **fields: Any) -> dict[str, Any]:
    return {
        "id": "c1",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    } | fields


def agent(text: str, *calls: Any, **answer: Any) -> dict[str, Any]:
    """A rollout whose prompt has these calls, and what a tool said."""
    called = {"role": "assistant", "content": None, "tool_calls": list(calls)}
    said = {"role": "tool", "content": "12C", "tool_call_id": "c1", **answer}
    return rollout(1, 0) | {"prompt": [{"role": "user", "content": text}, called, said]}


def padded(message: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: message.get(name) for name in ("role", "content", *names)}


def calls_of(path: Path) -> list[Any]:
    """The tool calls of each row of a set."""
    return [[m["tool_calls"] for m in row["prompt"] if m["tool_calls"]] for row in rows(path)]


@needs_data
def test_the_case_of_a_tool_prompt(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    assert bucket("-i", CASES / "01-tool-prompt.jsonl", "-o", tmp_path / "b")[0] == 0
    code, _, err = preprocess("-i", tmp_path / "b", "-o", tmp_path / "p", *NO_VAL)
    assert code == 0
    assert "messages of the prompts have tool_calls, tool_call_id and name" in err
    assert "left out" not in err
    given = [json.loads(line)["prompt"] for path in sorted((tmp_path / "b").glob("*.jsonl"))
             for line in lines(path)]  # fmt: skip
    found = [row["prompt"] for path in sorted((tmp_path / "p").glob("*.parquet"))
             for row in rows(path)]  # fmt: skip
    names = ("tool_calls", "tool_call_id", "name")
    assert found == [[padded(message, *names) for message in prompt] for prompt in given]


@needs_data
def test_the_case_of_parts(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    source = CASES / "02-content-parts.jsonl"
    code, out, err = bucket("-i", source, "-o", tmp_path / "b")
    assert (code, "12 of 12 rollouts have a prompt with parts" in err) == (0, True)
    assert f"{source}:1" in err
    assert "where the rows come from (--source)" in out
    code, _, err = preprocess("-i", tmp_path / "b", "-o", tmp_path / "p")
    assert (code, (tmp_path / "p").exists()) == (1, False)
    assert 'prompt[0].content[1] is of type "image", expected text' in err
    assert "with --source, which writes its rows as they are" in err


@needs_data
def test_the_case_of_two_truths(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    source = CASES / "10-same-prompt-two-truths.jsonl"
    _, _, err = bucket("-i", source, "-o", tmp_path / "b", "-n", 2)
    assert f"1 prompt has several ground truths, such as {source}:1 (0) and {source}:2 (1)" in err
    code, _, err = preprocess("-i", tmp_path / "b", "-o", tmp_path / "p", *NO_VAL)
    assert code == 0
    easy, hard = tmp_path / "b/easy.jsonl", tmp_path / "b/hard.jsonl"
    told = f"1 prompt of {tmp_path}/b has several ground truths, such as {easy}:1 (1) and {hard}:1"
    assert f"{told} (0): what is right for one rollout" in err
    code, _, err = bucket("-i", source, "-o", tmp_path / "g", "--group-by", "prompt")
    assert (code, "several ground truths" in err) == (1, True)


def test_truths_are_those_of_the_field_that_is_named(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    found = [rollout(i / 2, prompt="q", label=str(i // 2)) for i in range(3)]
    source = bucketed(tmp_path, bucket, found, "-n", 1)
    _, _, err = preprocess("-i", source, "-o", tmp_path / "p")
    assert "several ground truths" not in err
    _, _, err = preprocess("-i", source, "-o", tmp_path / "p", "--ground-truth-field", "label")
    assert "such as {0}:1 (0) and {0}:3 (1)".format(source / "level_1.jsonl") in err


def test_every_set_has_what_any_prompt_of_the_directory_has(
    tmp_path: Path, preprocess: Script
) -> None:
    plain = rollout(1, prompt=TRAIN[0])
    named = rollout(1) | {"prompt": [{"role": "user", "content": TRAIN[1], "name": "bob"}]}
    source = buckets(tmp_path / "b", easy=[plain], medium=[named], hard=[agent(TRAIN[2], call())])
    for flags in ((), ("--buckets", "easy")):
        out = tmp_path / f"p{len(flags)}"
        assert preprocess("-i", source, "-o", out, *NO_VAL, *flags)[0] == 0
        (message,) = rows(out / "easy_train.parquet")[0]["prompt"]
        names = ("tool_calls", "tool_call_id", "name")
        assert message == padded(plain["prompt"][0], *names)
    schemas = {str(pq.read_schema(path)) for path in (tmp_path / "p0").glob("*.parquet")}
    assert len(schemas) == 1


def test_prompts_without_any_keep_their_schema(tmp_path: Path, preprocess: Script) -> None:
    empty = {
        "role": "user",
        "content": TRAIN[0],
        "name": None,
        "tool_calls": [],
        "tool_call_id": None,
    }
    with_nulls = buckets(tmp_path / "b", easy=[rollout(1) | {"prompt": [empty]}])
    plain = buckets(tmp_path / "c", easy=[rollout(1, prompt=TRAIN[0])])
    for source in (with_nulls, plain):
        code, _, err = preprocess("-i", source, "-o", source / "out", *NO_VAL)
        assert (code, "left out" in err, "messages of" in err) == (0, False, False)
    one, other = (path / "out/easy_train.parquet" for path in (with_nulls, plain))
    assert one.read_bytes() == other.read_bytes()
    assert str(pq.read_schema(one).field("prompt").type) == (
        "list<element: struct<role: string, content: string>>"
    )


ARGUMENTS = {
    "texts": (['{"a":1}', "{}"], None, None),
    "objects with the same keys": ([{"b": 1, "a": "x"}, {"b": 2, "a": None}], None, None),
    "nested": ([{"a": {"b": [1, 2], "c": []}}, {"a": {"b": [], "c": ["x"]}}], None, None),
    "other keys": ([{"a": 1}, {"b": 2}], ['{"a": 1}', '{"b": 2}'], "arguments differs in form"),
    "other keys within": (
        [{"a": [{"b": 1}, {"c": 2}]}] * 2,
        ['{"a": [{"b": 1}, {"c": 2}]}'] * 2,
        "arguments differs",
    ),
    "other types": ([{"a": 1}, {"a": "é"}], ['{"a": 1}', '{"a": "é"}'], "arguments differs"),
    "whole and fraction": ([{"a": 1}, {"a": 1.5}], ['{"a": 1}', '{"a": 1.5}'], "arguments differs"),
    "objects and texts": ([{"a": 1}, '{"a":2}'], ['{"a": 1}', '{"a":2}'], "arguments differs"),
    "empty objects": ([{}, {}], ["{}", "{}"], "arguments differs"),
    "beyond int64": ([{"a": 2**70}] * 2, [f'{{"a": {2**70}}}'] * 2, "arguments differs"),
    "none": ([None, None], None, None),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_are_given_back_or_are_json_text(
    tmp_path: Path, bucket: Script, preprocess: Script, name: str
) -> None:
    given, expected, told = ARGUMENTS[name]
    found = [agent(TRAIN[i], call(arguments)) for i, arguments in enumerate(given)]
    source = bucketed(tmp_path, bucket, found, "-n", 1)
    code, _, err = preprocess("-i", source, "-o", tmp_path / "p", *NO_VAL)
    assert code == 0
    got = calls_of(tmp_path / "p/level_1_train.parquet")
    assert [one["function"]["arguments"] for ((one,),) in got] == (expected or given)
    assert [list(one["function"]) for ((one,),) in got] == [["name", "arguments"]] * 2
    assert (f"prompt[].tool_calls[].function.{told}" in err) if told else "differs" not in err
    assert "written as JSON text" in err or not told


def test_calls_and_functions_may_have_keys_of_their_own(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    one = call("{}", index=0)
    other = {"function": {"arguments": "{}", "name": "w", "description": "d"}}
    flat = {"name": "w", "arguments": {"a": 1}}
    source = bucketed(
        tmp_path, bucket, [agent(TRAIN[0], one, other), agent(TRAIN[1], flat)], "-n", 1
    )
    _, _, err = preprocess("-i", source, "-o", tmp_path / "p", *NO_VAL)
    assert "prompt[].tool_calls[] has other keys in other tool calls" in err
    assert "prompt[].tool_calls[].function has other keys in other tool calls" in err
    found = [found for (some,) in calls_of(tmp_path / "p/level_1_train.parquet") for found in some]
    nothing = dict.fromkeys(("id", "type", "function", "index", "name", "arguments"))
    function = {"name": "w", "arguments": "{}", "description": None}
    assert found == [
        nothing | one | {"function": function},
        nothing | {"function": {**function, "description": "d"}},
        nothing | flat,
    ]


CALLS = st.lists(
    st.fixed_dictionaries(
        {"function": st.fixed_dictionaries(
            {"name": st.just("f")},
            optional={"arguments": st.none() | st.text(max_size=2) | st.dictionaries(
                st.sampled_from("ab"), st.none() | st.integers(0, 2) | st.just("x") | st.lists(
                    st.integers(0, 1) | st.just("y"), max_size=2), max_size=2)},
        )},
        optional={"id": st.sampled_from(["c1", "c2"]), "index": st.integers(0, 2) | st.none()},
    ),
    max_size=2,
)  # fmt: skip


def same(given: Any, got: Any) -> bool:
    """Whether calls are what they were, but for nulls in unset keys and JSON text of objects."""
    if isinstance(given, dict) and isinstance(got, dict):
        return all(
            same(given.get(name), value) if name in ("function", "arguments") or value is None
            else given.get(name) == value
            for name, value in got.items()
        ) and given.keys() <= got.keys()  # fmt: skip
    if isinstance(given, list) and isinstance(got, list):
        return len(given) == len(got) and all(map(same, given, got))
    return bool(given == got or (isinstance(got, str) and json.loads(got) == given))


@given(
    asked=st.lists(CALLS, min_size=1, max_size=4), shard_bytes=st.sampled_from([1, 400, 1 << 24])
)
def test_any_calls_survive_whatever_the_shards(
    tmp_path_factory: pytest.TempPathFactory, asked: list[Any], shard_bytes: int
) -> None:
    from curriculum.bucket import bucket_rollouts
    from curriculum.preprocess import preprocess_buckets

    directory = tmp_path_factory.mktemp("calls")
    found = [agent(f"q {i}", *some, name="w") for i, some in enumerate(asked)]
    for one, some in zip(found, asked, strict=True):
        one["prompt"][1]["content"] = None if some else "nothing to call"
    path = write_jsonl(directory / "a.jsonl", found)
    bucket_rollouts(BucketOptions([str(path)], str(directory / "b"), num_buckets=1, workers=1))
    for out, size in (("p", 1 << 24), ("q", shard_bytes)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("curriculum.reading.input_files.SHARD_BYTES", size)
            preprocess_buckets(
                PreprocessOptions(
                    str(directory / "b"), str(directory / out), val_ratio=0, workers=1
                )
            )
    assert tree(directory / "p") == tree(directory / "q")
    got = [
        row["prompt"][1].get("tool_calls") for row in rows(directory / "p/level_1_train.parquet")
    ]
    for some, calls in zip(asked, got, strict=True):
        assert same(some, calls or []), (some, calls)


@pytest.mark.parametrize(
    "flags", [("--workers", 2), ("--order", "easy-to-hard", "--filter", "all")]
)
def test_without_the_scanner_the_bytes_are_the_same(
    tmp_path: Path, bucket: Script, preprocess: Script, flags: tuple
) -> None:
    found = [agent(TRAIN[i], call({"a": i})) if i % 2 else rollout(i / 9, prompt=TRAIN[i])
             for i in range(9)]  # fmt: skip
    source = bucketed(tmp_path, bucket, found)
    preprocess("-i", source, "-o", tmp_path / "one", *flags)
    with without_scanner():
        bucket("-i", tmp_path / "in", "-o", tmp_path / "again", "--workers", 1)
        preprocess("-i", tmp_path / "again", "-o", tmp_path / "two", *flags)
    assert tree(source) == tree(tmp_path / "again")
    one, two = (
        {n: b for n, b in tree(tmp_path / d).items() if n.endswith(".parquet")}
        for d in ("one", "two")
    )
    assert one == two


def test_tools_that_no_row_holds_are_told(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    tools = [{"type": "function", "function": {"name": "w"}}]
    held = rollout(1, prompt=TRAIN[0], tools=tools, extra_info={"tools": json.dumps(tools)})
    for found, told in ((rollout(1, prompt=TRAIN[0], tools=tools), True), (held, False)):
        source = bucketed(tmp_path, bucket, [found], "-n", 1)
        _, _, err = preprocess("-i", source, "-o", tmp_path / "p", *NO_VAL)
        assert ("rollouts have tools, which no row holds" in err) == told


def test_prompts_of_dumps_keep_their_tool_calls(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    prompt = agent("q", call())["prompt"]
    verifiers = {"example_id": 1, "prompt": prompt, "completion": [], "task": "t", "info": {}}
    answer = {"type": "message", "role": "assistant", "content": [{"text": "a"}]}
    nemo_gym = {
        "_ng_task_index": 1,
        "agent_ref": {"name": "x"},
        "responses_create_params": {"input": prompt},
        "response": {"output": [answer]},
    }
    for name, line in (("verifiers", verifiers), ("nemo-gym", nemo_gym)):
        path = write_jsonl(tmp_path / f"{name}.jsonl", [{**line, "reward": i} for i in range(2)])
        code, out, err = bucket("-i", path, "-o", tmp_path / name, "-n", 1)
        assert (code, f"--format {name}" in out, "refuse" in err) == (0, True, False)
        (found,) = map(json.loads, lines(tmp_path / name / "level_1.jsonl"))
        assert found["prompt"] == prompt
        assert preprocess("-i", tmp_path / name, "-o", tmp_path / f"p-{name}")[0] == 0
        ((calls,),) = calls_of(tmp_path / f"p-{name}/level_1_train.parquet")
        assert calls == [call()]


def test_items_that_are_no_messages_are_named(tmp_path: Path, bucket: Script) -> None:
    items = [{"role": "user", "content": "q"}, {"type": "function_call", "name": "w"}]
    line = {
        "_ng_task_index": 1,
        "agent_ref": {"name": "x"},
        "responses_create_params": {"input": items},
        "response": {"output": [{"type": "message", "content": [{"text": "a"}]}]},
        "reward": 1,
    }
    path = write_jsonl(tmp_path / "a.jsonl", [line, line | {"reward": 0}])
    code, out, err = bucket("-i", path, "-o", tmp_path / "b", "-n", 1)
    assert code == 0
    assert 'prompt[1] is of type "function_call", expected a message with a role' in err
    assert "what to do about rollouts that preprocessing would refuse" in out


def test_rows_of_a_data_set_are_matched_by_their_tool_calls(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    found = [agent(TRAIN[0], call({"a": i}), name="w") | {"reward": [i % 2]} for i in range(4)]
    source = bucketed(tmp_path, bucket, found, "-n", 2)
    data = [{"prompt": one["prompt"], "number": i} for i, one in enumerate(found)]
    write_jsonl(tmp_path / "train.jsonl", data)
    code, _, err = preprocess(
        "-i", source, "-o", tmp_path / "p", "--source", tmp_path / "train.jsonl", *NO_VAL
    )
    assert (code, err) == (0, "")
    for name, numbers in (("easy", [1, 3]), ("hard", [0, 2])):
        written = map(json.loads, lines(tmp_path / f"p/{name}_train.jsonl"))
        assert [row["number"] for row in written] == numbers
