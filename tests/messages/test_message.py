"""Content in parts, and what tells tool calls from others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.messages.message import calls_text, read_parts
from tests.helpers.strategies import JSON

TEXT = {"type": "text", "text": "a"}


@pytest.mark.parametrize(
    ("parts", "text", "other", "keys"),
    [
        ([], "", "", []),
        ([TEXT, TEXT], "aa", "", []),
        (["a ", {"type": "input_text", "text": "b"}, {"type": "output_text", "text": "c"}], "a bc",
         "", []),
        ([{"text": "a"}], "a", "", []),
        ([{**TEXT, "image": None, "cache_control": {}, "id": 1}], "a", "", ["cache_control", "id"]),
        ([TEXT, {"type": "image"}, {"type": "audio"}], "a", '[1] is of type "image"', []),
        ([{"type": "image_url", "text": "a"}], "", '[0] is of type "image_url"', []),
        ([{"text": "a", "image_url": "x"}], "", "[0] is without a text", []),
        ([{"type": "text", "text": None}], "", "[0] is without a text", []),
        ([{"type": "text", "text": 3}], "", "[0] is without a text", []),
        ([TEXT, 3], "a", "[1] is not an object", []),
        ([None], "", "[0] is not an object", []),
    ],
)  # fmt: skip
def test_what_content_in_parts_says(parts: list, text: str, other: str, keys: list) -> None:
    assert read_parts(parts) == (text, other, keys)


def call(arguments: Any = "{}", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "arguments": arguments}, **fields}


def test_calls_are_the_same_whatever_their_ids_nulls_order_and_form() -> None:
    one = [call('{"a": 1, "b": 2}', id="c1")]
    turned = {"arguments": {"b": 2, "a": 1}, "description": None, "name": "f"}
    for same in (
        [call('{"b":2,"a":1}')],
        [call({"a": 1, "b": 2}, id="c7", index=None)],
        [{"function": turned, "type": "function"}],
    ):
        assert calls_text(same) == calls_text(one)
    for other in (
        [call('{"a": 1, "b": 3}')],
        [call('{"a": 1, "b": 2}', index=0)],
        [*one, *one],
        [call({"a": 1, "b": 2, "c": None})],
        [{**call(), "function": {"name": "g", "arguments": {"a": 1, "b": 2}}}],
    ):
        assert calls_text(other) != calls_text(one)


def test_arguments_that_are_no_object_are_a_text() -> None:
    assert json.loads(calls_text([call("3")]))[0]["function"]["arguments"] == "3"
    assert json.loads(calls_text([call("{3")]))[0]["function"]["arguments"] == "{3"
    assert "\ufffd" in calls_text([call("\ud800")])


def test_calls_that_are_nested_too_deep_are_no_error() -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    assert calls_text([call(deep)]) == "nested too deep"


@given(st.lists(JSON | st.dictionaries(st.sampled_from(["id", "function", "arguments"]), JSON)))
def test_any_list_has_a_text(calls: list[Any]) -> None:
    calls_text(calls).encode()
