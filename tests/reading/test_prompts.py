"""Which prompt: what counts as one, its hash, and the side it falls on."""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.messages.hashes import (
    ASCII_SPACE,
    WIDE_SPACE,
    Messages,
    distinct_prompts,
    hash_prompts,
    repeated_prompts,
    shared_prompts,
)
from curriculum.messages.message import Message
from curriculum.preprocessing.split import Split, split_prompts
from curriculum.reading.lines import Malformed
from curriculum.reading.prompts import (
    OTHER_PARTS,
    PromptHashes,
    PromptNote,
    PromptNotes,
    has_other_parts,
    read_prompt,
    read_turns,
    settle,
)
from curriculum.verl.read_line import Places, ReadOptions
from curriculum.verl.read_rows import RowReader
from tests.helpers.bucket_directories import hash_prompt
from tests.helpers.readers import values_of
from tests.helpers.rollouts import rollout
from tests.helpers.strategies import block

USER = {"role": "user", "content": "2+2?"}
ANSWER = {"role": "assistant", "content": "4"}


READ = ReadOptions(Places(), "score", False, "auto", "source", False, "ability", 42)


def pairs(messages: list[Message]) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in messages]


def settled(**fields: object) -> tuple[list[tuple[str, str]], dict[PromptNote, int]]:
    """The prompt of a line, and what was noted of it."""
    line = json.dumps({"reward": [1], "ground_truth": "4", **fields}).encode()
    reader = RowReader(READ)
    found: PromptNotes = Counter()
    columns, refused = reader.read_block(block(line))
    plain = {"prompt": None, "messages": None, **fields}
    if refused:
        with pytest.raises(Malformed) as caught:
            read_prompt(plain, Counter())
        assert str(caught.value) == refused[0][1].text
        assert not reader.notes
        raise caught.value
    (messages,) = values_of(columns)["prompts"]
    assert messages == pairs(read_prompt(plain, found))
    assert found == reader.notes
    return messages, {note: count for (note, _), count in found.items()}


def prompt_of(**fields: object) -> list[tuple[str, str]]:
    return settled(**fields)[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": [USER]},
        {"prompt": "2+2?"},
        {"prompt": [USER], "messages": [{"role": "user", "content": "other"}]},
        {"messages": [USER]},
        {"messages": [USER, ANSWER, ANSWER]},
        {"prompt": None, "messages": [USER, ANSWER]},
        {"prompt": [], "messages": [USER]},
        {"prompt": "", "messages": [USER]},
        {"prompt": [{**USER, "name": "bob"}]},
    ],
)
def test_where_the_prompt_is_taken_from(fields: dict) -> None:
    assert prompt_of(**fields) == [("user", "2+2?")]


def test_assistant_turns_inside_the_messages_stay() -> None:
    found = prompt_of(messages=[USER, ANSWER, {"role": "user", "content": "sure?"}, ANSWER])
    assert found == [("user", "2+2?"), ("assistant", "4"), ("user", "sure?")]


def test_prompt_is_passed_on_unchanged() -> None:
    text = "  Zwölf  \n\t Boxkämpfer 🥊 \u2028 \r\n"
    assert prompt_of(prompt=[{"role": "user", "content": text}, ANSWER])[0] == ("user", text)


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


PREFILLS = (
    "<think>", "<think>\n", " <think> ", "<reasoning>\n", "<answer>", "<think>\n\n</think>\n\n",
    "Let me solve this step by step.\n<think>",
)  # fmt: skip
ANSWERS = (
    "4", "", "It is <b>", "a < b", "<think>\nWell.\n</think>\n4", "<think>Well</think>", "<a></b>",
    "The answer is", "<think", "< think >", "<think> 4", "</think>",
)  # fmt: skip


@pytest.mark.parametrize("name", ["prompt", "messages"])
@pytest.mark.parametrize("text", PREFILLS)
def test_a_prefill_is_kept_and_noted(name: str, text: str) -> None:
    found = settled(**{name: [USER, said(text)]})
    assert found == ([("user", "2+2?"), ("assistant", text)], {PromptNote.PREFILL: 1})


@pytest.mark.parametrize("name", ["prompt", "messages"])
@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_is_no_part_of_the_prompt(name: str, text: str) -> None:
    found = settled(**{name: [USER, said(text)]})
    assert found == ([("user", "2+2?")], {PromptNote.ANSWER: 1})
    assert settled(**{name: [USER, said("<think>"), said(text)]}) == found


def test_a_prefill_needs_a_question() -> None:
    with pytest.raises(Malformed, match="no prompt"):
        prompt_of(prompt=[said("<think>")])


def test_what_an_answer_holds_is_no_matter() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{}]}
    parts = {"role": "assistant", "content": [{"type": "text", "text": "4"}], "name": "n"}
    for answer in (call, parts):
        assert settled(prompt=[USER, answer]) == ([("user", "2+2?")], {PromptNote.ANSWER: 1})


CHATML = "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("prompt", "expected", "notes"),
    [
        (CHATML, [("user", "2+2?")], {PromptNote.TEMPLATE: 1}),
        ([{"role": "user", "content": CHATML}], [("user", "2+2?")], {PromptNote.TEMPLATE: 1}),
        ("user\n2+2?\nassistant\n", [("user", "2+2?")], {PromptNote.TEMPLATE: 1}),
        (f"{CHATML}<think>\n", [("user", "2+2?")],
         {PromptNote.TEMPLATE: 1, PromptNote.OPENED: 1}),
        (f"{CHATML}4<|im_end|>\n", [("user", "2+2?")],
         {PromptNote.TEMPLATE: 1, PromptNote.ANSWER: 1}),
        (f"{CHATML}So\n<think>", [("user", "2+2?"), ("assistant", "So\n<think>")],
         {PromptNote.TEMPLATE: 1, PromptNote.PREFILL: 1}),
        ("[INST] 2+2? [/INST]", [("user", "[INST] 2+2? [/INST]")], {PromptNote.UNREAD: 1}),
        ([{"role": "system", "content": CHATML}, USER], [("system", CHATML), ("user", "2+2?")],
         {PromptNote.UNREAD: 1}),
        ("2 <| 3 |> 4", [("user", "2 <| 3 |> 4")], {}),
    ],
)  # fmt: skip
def test_chat_templates_are_taken_apart_or_noted(
    prompt: object, expected: list, notes: dict
) -> None:
    assert settled(prompt=prompt) == (expected, notes)


ROLES = st.sampled_from(["system", "user", "assistant"])
TEXTS = st.sampled_from([*PREFILLS, *ANSWERS, "2+2?", CHATML])


@given(st.lists(st.tuples(ROLES, TEXTS), min_size=1, max_size=4))
def test_trailing_assistant_turns_by_the_plain_rule(turns: list[tuple[str, str]]) -> None:
    asked = list(turns)
    while asked and asked[-1][0] == "assistant":
        asked.pop()
    if asked != turns and asked and turns[-1][1] in PREFILLS:
        asked = list(turns)
    messages = [{"role": role, "content": content} for role, content in turns]
    if turns == [("user", CHATML)]:
        asked = [("user", "2+2?")]
    if not "".join(content for _, content in asked).strip():
        with pytest.raises(Malformed, match="no prompt"):
            prompt_of(prompt=messages)
    else:
        assert prompt_of(prompt=messages) == asked


def test_a_prompt_of_another_form_stays() -> None:
    for prompt in (None, 3, [], [3], [["assistant", "4"]], {"role": "assistant"}, ""):
        found: PromptNotes = Counter()
        assert (settle(prompt, found), found) == (prompt, {})


def test_other_message_keys_are_counted() -> None:
    found: PromptNotes = Counter()
    message = {"role": "user", "content": "x", "name": "b", "id": 1, "tool_calls": None, "n": None}
    read_prompt({"prompt": [message, message]}, found)
    assert found == {(PromptNote.LEFT_OUT, "n"): 2, (PromptNote.LEFT_OUT, "id"): 2}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "no prompt"),
        ({"prompt": []}, "no prompt"),
        ({"messages": [ANSWER]}, "no prompt"),
        ({"prompt": [{"role": "user", "content": " \n"}]}, "no prompt"),
        ({"prompt": 3}, "prompt is not a list: it is 3"),
        ({"prompt": ["2+2?"]}, r'a message is not an object: prompt\[0\] is "2\+2\?"'),
        ({"prompt": [{"role": "user"}]}, r"content is not a string: prompt\[0\].content is null"),
        ({"prompt": [{"content": "x"}]}, r"role is not a string: prompt\[0\].role is null"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            r"parts that are not text: messages\[0\].content\[0\] is without a text, .*--source",
        ),
    ],
)
def test_what_is_no_prompt(fields: dict, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        prompt_of(**fields)


CALL = {"id": "c1", "type": "function", "function": {"name": "w", "arguments": "{}"}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
TOOL = {"role": "tool", "tool_call_id": "c1", "name": "w", "content": "12C"}


def read(*prompt: object) -> list[Message]:
    return read_prompt({"prompt": list(prompt), "messages": None}, Counter())


def test_tool_calls_ids_and_names_are_kept() -> None:
    assert read(USER, CALLED, TOOL) == [
        Message("user", "2+2?"),
        Message("assistant", None, {"tool_calls": [CALL]}),
        Message("tool", "12C", {"tool_call_id": "c1", "name": "w"}),
    ]
    spoken = {**CALLED, "content": "Let me see.", "name": None}
    assert read(USER, spoken, TOOL)[1] == Message(
        "assistant", "Let me see.", {"tool_calls": [CALL]}
    )


def test_content_may_be_absent_beside_tool_calls_alone() -> None:
    absent = {name: value for name, value in CALLED.items() if name != "content"}
    assert read(USER, absent, TOOL) == read(USER, CALLED, TOOL)
    assert read(USER, {**CALLED, "content": []}, TOOL)[1].content == ""
    for wrong in ({**CALLED, "tool_calls": []}, {**CALLED, "tool_calls": None}, ANSWER | {
        "content": None, "tool_call_id": "c1"}, {**CALLED, "role": "user"}):  # fmt: skip
        with pytest.raises(Malformed, match=r"not a string: prompt\[1\].content is null"):
            read(USER, wrong, TOOL)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"tool_calls": "x"}, r'tool_calls is not a list: prompt\[0\].tool_calls is "x"'),
        ({"tool_calls": [3]}, r"a tool call is not an object .*: prompt\[0\].tool_calls\[0\] is 3"),
        ({"tool_calls": [CALL, {}]}, r"prompt\[0\].tool_calls\[1\] is an empty object"),
        ({"tool_call_id": 7}, r"tool_call_id is not a string: prompt\[0\].tool_call_id is 7"),
        ({"name": ["b"]}, r"name is not a string: prompt\[0\].name is a list"),
    ],
)
def test_what_is_kept_has_its_form(keys: dict, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        read({**USER, **keys})


def test_text_parts_are_joined_and_their_other_keys_told() -> None:
    parts = ["2", {"type": "text", "text": "+2", "cache_control": {}}, {"text": "?"}]
    found = settled(prompt=[{"role": "user", "content": parts}])
    assert found == ([("user", "2+2?")], {PromptNote.LEFT_OUT: 1})
    template = [{"type": "text", "text": CHATML}]
    found = settled(prompt=[{"role": "user", "content": template}])
    assert found == ([("user", "2+2?")], {PromptNote.TEMPLATE: 1})


def test_any_other_part_is_refused_unless_it_is_of_an_answer() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image", "image": "a.png"}]
    with pytest.raises(Malformed, match=r'content\[1\] is of type "image", .*--source') as caught:
        read({"role": "user", "content": parts})
    assert caught.value.kind == OTHER_PARTS
    assert read(USER, {"role": "assistant", "content": parts}) == [Message("user", "2+2?")]
    for turns, other in (
        ([USER, {"role": "user", "content": parts}], True),
        ([USER, {"role": "assistant", "content": parts}], False),
        ([{"role": "user", "content": parts[:1]}], False),
    ):
        assert has_other_parts(read_turns(turns, lambda: None)) == other


KEPT = st.fixed_dictionaries(
    {},
    optional={
        "tool_calls": st.lists(st.sampled_from([CALL, {**CALL, "id": "c2"}, {"name": "w"}])),
        "name": st.sampled_from(["a", "b"]),
    },
)
TURN = st.builds(
    lambda role, content, kept: {"role": role, "content": content, **kept},
    st.sampled_from(["user", "tool"]),
    st.sampled_from(["a", "a ", "b", [], ["a"], [{"type": "text", "text": "b"}]]),
    KEPT,
)


@given(prompt=st.lists(TURN, min_size=1, max_size=3), seed=st.sampled_from([42, 7]))
def test_all_who_hash_a_prompt_agree_with_the_plain_rule(prompt: list[dict], seed: int) -> None:
    digest = hashlib.blake2b(digest_size=8, key=str(seed).encode())
    said = ""
    for message in prompt:
        role, content, calls = message["role"], message["content"], message.get("tool_calls")
        parts = [content] if isinstance(content, str) else content
        texts = [part if isinstance(part, str) else part["text"] for part in parts]
        said += (text := " ".join("".join(texts).split()))
        digest.update(f"{len(role)}:{role}{len(text)}:{text}".encode())
        if calls:
            plain = [
                {name: value for name, value in call.items() if name != "id"} for call in calls
            ]
            told = json.dumps(plain, sort_keys=True, separators=(",", ":"))
            told = told.replace('"arguments":"{}"', '"arguments":{}')
            digest.update(f"tool_calls:{len(told)}:{told}".encode())
    if not said:
        return
    expected = int.from_bytes(digest.digest(), "little")
    messages = read_prompt({"prompt": prompt}, Counter())
    assert hash_prompts(Messages.of([messages]), seed).tolist() == [expected]
    assert PromptHashes.of([prompt], seed).prompts.tolist() == [expected]


def hash_all(*prompts: list[tuple[str, str]], seed: int = 42) -> list[int]:
    messages = Messages.of([[Message(*message) for message in prompt] for prompt in prompts])
    return hash_prompts(messages, seed).tolist()


def test_hash_ignores_white_space_but_not_where_messages_part() -> None:
    one, same = hash_all([("user", " a  b\n")], [("user", "a b")])
    assert one == same
    different = [
        [("user", "ab")],
        [("user", "a b")],
        [("system", "a b")],
        [("user", "a"), ("user", "b")],
        [("user", "a"), ("userb", "")],
    ]
    assert len(set(hash_all(*different))) == len(different)
    assert hash_all([("user", "a b")], seed=7) != [same]


def test_hash_is_the_same_on_every_machine_and_day() -> None:
    assert hash_all([("user", "2+2?")]) == [0x3964DC983525E272]
    assert hash_all() == []


WORDS = st.one_of(
    st.text("ab \n", max_size=6),
    st.text(" aé≤🙂’\t", max_size=6),
    st.text(ASCII_SPACE + WIDE_SPACE + "a\0", max_size=6),
    st.text(max_size=6),
)
MESSAGE = st.tuples(st.sampled_from(["user", "system", "é", ""]), WORDS)


@given(prompts=st.lists(st.lists(MESSAGE, min_size=1, max_size=3), max_size=4))
def test_hash_equals_the_rule(prompts: list[list[tuple[str, str]]]) -> None:
    assert hash_all(*prompts) == [hash_prompt(*prompt) for prompt in prompts]


def test_white_space_is_what_split_takes_for_it() -> None:
    every = {char for char in map(chr, range(sys.maxunicode + 1)) if char.isspace()}
    assert set(ASCII_SPACE + WIDE_SPACE) == every


@given(parts=st.lists(st.lists(st.integers(0, 5) | st.just(2**64 - 1), max_size=5), max_size=3))
def test_distinct_and_repeated_prompts(parts: list[list[int]]) -> None:
    arrays = [np.array(part, np.uint64) for part in parts]
    every = [prompt for part in parts for prompt in part]
    whole = np.array(every, np.uint64)
    assert repeated_prompts(whole).tolist() == sorted({p for p in every if every.count(p) > 1})
    assert [distinct_prompts(a).tolist() for a in arrays] == [sorted(set(p)) for p in parts]
    for some, others in itertools.product(parts, repeat=2):
        found = shared_prompts(np.sort(np.array(some, np.uint64)), np.array(others, np.uint64))
        assert found.tolist() == sorted(set(some) & set(others))


HASHES = st.lists(
    st.lists(st.integers(0, 40).map(lambda i: i * 2**58), max_size=6), min_size=1, max_size=4
)


@given(buckets=HASHES, ratio=st.sampled_from([0.0, 0.05, 0.3, 0.9]))
def test_split_keeps_its_promises(buckets: list[list[int]], ratio: float) -> None:
    arrays = [np.array(hashes, np.uint64) for hashes in buckets]
    split = split_prompts(arrays, ratio)
    side = {h: bool(split.is_val(np.array([h], np.uint64))[0]) for b in buckets for h in b}
    if ratio == 0:
        assert not any(side.values())
        return
    moved = {h for h, val in side.items() if val != (h < int(ratio * 2**64))}
    assert moved == set(split.moved)
    for hashes in buckets:
        prompts = set(hashes)
        if len(prompts) == 1:
            assert not side[hashes[0]]
        elif len(prompts) > 1 and len({side[h] for h in prompts}) == 1:
            # Only prompts that other buckets have pinned may leave a side empty.
            others = [set(other) for other in buckets if set(other) != prompts]
            assert all(any(h in other for other in others) for h in prompts)


def test_floor_moves_the_prompt_nearest_the_cut() -> None:
    cut = int(0.05 * 2**64)
    low, high = [cut - 30, cut - 10, cut - 20], [cut + 30, cut, cut + 20]
    split = split_prompts([np.array(low, np.uint64), np.array(high, np.uint64)], 0.05)
    assert split.moved == {cut - 10: False, cut: True}


def test_moved_prompt_moves_in_every_bucket() -> None:
    cut = int(0.5 * 2**64)
    buckets = [[cut + 1, cut + 2], [cut + 1, 5, cut + 9]]
    split = split_prompts([np.array(b, np.uint64) for b in buckets], 0.5)
    assert split.is_val(np.array(buckets[1], np.uint64)).tolist() == [True, True, False]


def test_share_of_val_is_the_ratio() -> None:
    hashes = np.array(hash_all(*([("user", f"prompt {i}")] for i in range(20_000))), np.uint64)
    val = split_prompts([hashes], 0.05).is_val(hashes).mean()
    assert abs(val - 0.05) < 0.007  # four and a half standard deviations


def test_split_without_moves_is_the_hash_alone() -> None:
    assert Split(10).is_val(np.array([9, 10, 11], np.uint64)).tolist() == [True, False, False]


def test_rollout_helper_writes_what_the_reader_reads() -> None:
    assert prompt_of(**rollout(1)) == [("user", "2+2?")]


def test_prompt_pinned_by_a_bucket_of_one_is_not_moved() -> None:
    cut = int(0.5 * 2**64)
    nearest, other = cut + 1, cut + 9
    buckets = [[nearest], [nearest, other]]
    split = split_prompts([np.array(b, np.uint64) for b in buckets], 0.5)
    assert split.moved == {other: True}
