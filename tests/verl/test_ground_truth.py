"""What the reward function compares with: one form for instruction following, the rest as is."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from curriculum.reading.lines import SurrogateReplacer
from curriculum.verl.ground_truth import as_string, read_ground_truth

KWARGS = [{"keywords": ["a", "b"], "n": 3, "x": 0.5, "ok": True, "no": None}, None]
TRUTH = {"instruction_id": ["keywords:existence", "title"], "kwargs": KWARGS}
EXPECTED = {"instruction_id_list": TRUTH["instruction_id"], "kwargs": KWARGS}


def read(value: Any) -> Any:
    return read_ground_truth(value, SurrogateReplacer(), Counter())


@pytest.mark.parametrize(
    "value",
    [
        TRUTH,
        [TRUTH],
        EXPECTED,
        json.dumps(TRUTH),
        json.dumps([TRUTH]),
        json.dumps([EXPECTED], ensure_ascii=False, indent=1),
        repr(TRUTH),
        repr([TRUTH]),
        " " + repr([TRUTH]) + "\n",
        repr({"instruction_id": tuple(TRUTH["instruction_id"]), "kwargs": tuple(KWARGS)}),
    ],
)
def test_instruction_following_has_one_form(value: Any) -> None:
    assert read(value) == EXPECTED


@pytest.mark.parametrize(
    "value",
    [
        "42", "007", "1e5", "0.10", "2024-01-01", "", " ", "[1, 2]", "{}", "null",
        "instruction_id", "[instruction_id", "['instruction_id'", "[{'instruction_id': set()}]",
        "[{'instruction_id': ['a'], 'kwargs': [{1: 2}]}]",
        "[{'instruction_id': ['a'], 'kwargs': [b'x']}]",
        "[{'instruction_id': ['a'], 'kwargs': []}]",
        "[{'instruction_id': ['a'], 'kwargs': ['{}']}]",
        "[{'instruction_id': 'a', 'kwargs': [None]}]",
        "[{'instruction_id': [3], 'kwargs': [None]}]",
        "[{'instruction_id': ['a']}]",
        repr([TRUTH, TRUTH]),
        "[{'instruction_id': " + "[" * 10_000,
        "[{'instruction_id': ['\x00'], 'kwargs': [None]}]",
        42, 2.5, True, None, [], ["a"], {}, {"target": ["a"]}, [TRUTH, TRUTH],
    ],
)  # fmt: skip
def test_anything_else_stays_what_it_is(value: Any) -> None:
    found = read(value)
    assert found is value


def test_escapes_in_a_literal_do_not_warn() -> None:
    text = r"[{'instruction_id': ['a'], 'kwargs': [{'pattern': '\d'}]}]"
    assert read(text) == {"instruction_id_list": ["a"], "kwargs": [{"pattern": r"\d"}]}


def test_other_keys_are_left_out_and_counted() -> None:
    left_out: Counter[str] = Counter()
    assert read_ground_truth({**TRUTH, "key": 7}, SurrogateReplacer(), left_out) == EXPECTED
    assert left_out == {"key": 1}


def test_surrogates_inside_a_literal_are_replaced() -> None:
    replace_surrogates = SurrogateReplacer()
    text = r"[{'instruction_id': ['\ud800'], 'kwargs': [None]}]"
    assert read_ground_truth(text, replace_surrogates, Counter())["instruction_id_list"] == [
        "\ufffd"
    ]
    assert replace_surrogates.happened


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0.10", "0.10"),
        (repr([TRUTH]), repr([TRUTH])),
        (1, "1"),
        (10**30, str(10**30)),
        ({"ä": [None, True]}, '{"ä": [null, true]}'),
        (None, None),
    ],
)
def test_as_string(value: Any, expected: str | None) -> None:
    assert as_string(value) == expected
