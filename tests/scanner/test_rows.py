"""Rows: what the scanner reads is what plain Python reads, and usual lines it does read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.verl.read_line import Places
from tests.helpers.rollouts import DATA, needs_data
from tests.scanner.compare import compare_rows
from tests.scanner.shapes import ROW, USUAL_ROW

CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "best_response": st.booleans(),
        "keep_data_source": st.booleans(),
        "ground_truth_format": st.sampled_from(["auto", "typed", "string"]),
        "score_field": st.sampled_from(["score", "V_i", "é"]),
        "seed": st.sampled_from([0, 7, 10**63]),
        "places": st.builds(
            Places,
            st.sampled_from([None, "messages", "other", "key", "a.b"]),
            st.sampled_from([None, "other", "label", "extra_info.a", "extra_info.a.b", "reward"]),
        ),
    },
)


@settings(max_examples=500)
@given(lines=st.lists(ROW, min_size=1, max_size=4), changes=CHANGES)
def test_lines_of_every_shape_are_read_alike_or_declined(lines, changes) -> None:
    compare_rows(b"\n".join(lines), **changes)


@given(lines=st.lists(USUAL_ROW, min_size=1, max_size=4), ascii_only=st.booleans())
def test_usual_lines_are_not_declined(lines: list[dict[str, Any]], ascii_only: bool) -> None:
    texts = [json.dumps(line, ensure_ascii=ascii_only).encode() for line in lines]
    assert compare_rows(b"\n".join(texts)) == []


def line(**fields: bytes) -> bytes:
    """A line with these fields besides a prompt, a reward and a response."""
    given = {"prompt": b'"x"', "reward": b"[0, 1]", "responses": b'["a", "b"]'}
    given |= fields
    return b"{%b}" % b", ".join(b'"%b": %b' % (n.encode(), v) for n, v in given.items() if v)


MESSAGES = b'[{"role": "user", "content": "q"}, {"role": "assistant", "content": %b}]'


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": b"", "messages": MESSAGES % b'"4"'},
        {"prompt": b"null", "messages": MESSAGES % b'"<think>a</think> <answer>4</answer>"'},
        {"prompt": b"[]", "messages": MESSAGES % '"a\\u3002 b。"'.encode()},
        {"prompt": '"a\\u00a0 b\\u3000c\\t\\n d\u2028e é"'.encode()},
        {"responses": b"", "response": b'{"choices": [null, {"message": {"content": "b"}}]}'},
        {"responses": b"", "response": b'{"choices": [3, {"text": "b", "message": null}]}'},
        {"responses": b"null", "response": b'{"choices": null}'},
        {"responses": b""},
        {"reward": b'[{"score": 0.1, "x": "\\u00e9"}, {"score": 0.3}]'},
        {"reward": b"[null, null]"},
        {"key": b"12", "ability": b'""', "data_source": b"null"},
        {"extra_info": b'{"a": 1, "b": 2.50, "c": [1, {"d": null}], "g": true, "h": null}'},
        {"extra_info": b"null", "ground_truth": b"null", "reward_model": b'{"ground_truth": 4}'},
        {"ground_truth": b'{"a": [1, 2.5, "x"]}'},
        {"ground_truth": b'"[{\'instruction_id\': [\'a\'], \'kwargs\': [None]}]"'},
        {"extra_info": b'{"n": 12345678901234567890, "z": -0, "e": 1e5, "m": 1e400}'},
        {"other": b'"\xff"'},
    ],
)  # fmt: skip
def test_lines_that_must_be_read(fields: dict[str, bytes]) -> None:
    assert compare_rows(line(**fields)) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": b"3"},
        {"prompt": b'" \\t"'},
        {"prompt": b'[{"role": "user", "content": "q", "name": "n"}]'},
        {"prompt": b'[{"role": "user", "content": null}]'},
        {"prompt": b'[{"role": "user", "content": "q", "tool_calls": [{"name": "f"}]}]'},
        {"prompt": b'[{"role": "user", "content": [{"type": "text", "text": "q"}]}]'},
        {"prompt": b'"<|im_start|>user\\nq<|im_end|>\\n"'},
        {"prompt": b'"user\\nq\\nassistant\\n"'},
        {"prompt": b'"\\ud800"'},
        {"prompt": b'"\xff"'},
        {"prompt": b"", "messages": MESSAGES % b'"<think>"'},
        {"prompt": b"", "messages": MESSAGES % b'" <think>\\n\\n</think>\\u000a"'},
        {"prompt": b"", "messages": MESSAGES % b'"a <think> \\u3000\\n"'},
        {"prompt": b"", "messages": MESSAGES % b'"\\u003cthink\\u003e"'},
        {"prompt": b"", "messages": MESSAGES % b"null"},
        {"responses": b'["a"]'},
        {"responses": b'["a", 3]'},
        {"responses": b'"a"'},
        {"responses": b"", "response": b'{"choices": [{"text": "a"}, "b"]}'},
        {"responses": b"", "response": b'{"choices": [null, {"text": "a", "text": "b"}]}'},
        {"responses": b"", "response": b'{"choices": [null, {"message": {"content": [1]}}]}'},
        {"responses": b"", "response": b'{"choices": [], "choices": []}'},
        {"reward": b"[NaN, 1]"},
        {"reward": b'["1", 1]'},
        {"key": b'{"a": 1}'},
        {"key": b"1.5"},
        {"ability": b"3"},
        {"data_source": b"[]"},
        {"extra_info": b"[]"},
        {"extra_info": b'{"a": 1, "a": 2}'},
        {"extra_info": b'{"\\u0061": 1}'},
        {"extra_info": b'{"\xff": 1}'},
        {"extra_info": b"{%b}" % b", ".join(b'"f%d": %d' % (i, i) for i in range(65))},
        {"reward_model": b"[]", "ground_truth": b"null"},
        {"ground_truth": b'"\\udc00"'},
    ],
)  # fmt: skip
def test_lines_that_must_be_declined(fields: dict[str, bytes]) -> None:
    lines = [line(extra_info=b'{"s": 1}'), line(**fields), line(extra_info=b'{"t": "u"}')]
    assert compare_rows(b"\n".join(lines)) == [1]


@needs_data
def test_real_lines_are_read_alike_and_none_is_declined() -> None:
    for path in sorted(DATA.glob("*/*.jsonl")):
        if path.parent.name != "flat":
            lines = path.read_bytes().splitlines()[:60]
            assert compare_rows(b"\n".join(lines)) == []
