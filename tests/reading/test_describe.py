"""The fields of a line in words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from curriculum.reading.lines import FIELDS_SHOWN, describe_fields, describe_kind, shorten
from tests.helpers.strategies import LINE


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        (True, "bool"),
        (0, "number"),
        (0.5, "number"),
        ("a", "text"),
        ([], "empty list"),
        ({}, "empty object"),
        ({"a": 1, "b": 2}, "object (a, b)"),
        (dict.fromkeys("abcde"), "object (a, b, c, d, …)"),
        ([1, 0.5] * 4, "list of 8 numbers"),
        ([True], "list of 1 bool"),
        (["a", None], "list of 2 texts, 1 null"),
        ([None] * 3, "list of 3 nulls"),
        ([1, "a"], "list of 2 values of several kinds"),
        ([[1]] * 1200, "list of 1,200 lists"),
        ([{"V_i": 1, "S_i": 2}], "list of 1 object (V_i, S_i)"),
        ([{"role": "user", "content": "a"}], "list of 1 message"),
        ([{"role": "user", "content": "a", "name": "b"}] * 2, "list of 2 messages"),
    ],
)
def test_kinds_and_lengths(value: Any, expected: str) -> None:
    assert describe_kind(value) == expected


def test_fields_in_their_order() -> None:
    line = {"scores": [1] * 8, "question": "2+2?"}
    assert describe_fields(line) == "scores: list of 8 numbers, question: text"
    assert describe_fields({}) == "no fields"


def test_of_many_fields_the_known_ones_are_shown() -> None:
    line = {f"field_{i}": i for i in range(30)} | {"reward": 1.0}
    shown = describe_fields(line, first=("reward",))
    assert shown.startswith("field_0: number, ")
    assert shown.endswith("field_10: number, reward: number and 19 more")
    assert shown.count(":") == FIELDS_SHOWN


@given(LINE)
def test_a_description_is_short_and_on_one_line(line: Any) -> None:
    shown = describe_kind(line)
    assert "\n" not in shown
    assert len(shown) < 250


def test_long_and_odd_texts_are_shortened() -> None:
    assert shorten("a\n\tb\0c", 9) == "a b c"
    assert shorten("x" * 50) == "x" * 39 + "…"
