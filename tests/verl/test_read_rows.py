"""Lines → rows: the scanner gives what plain Python gives, whatever stands in the lines."""

from __future__ import annotations

import json
import math
from collections import Counter
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.reading.prompts import PromptNote
from curriculum.reading.rollouts import best_index
from curriculum.verl.read_line import Places, ReadOptions
from curriculum.verl.read_rows import RowReader
from curriculum.verl.row_batch import Topic
from tests.helpers.readers import values_of, without_scanner
from tests.helpers.strategies import LINE, ROLLOUT, block


def options(**changes: Any) -> ReadOptions:
    given = {
        "places": Places(), "score_field": "score", "best_response": True,
        "ground_truth_format": "auto",
        "data_source": "default", "keep_data_source": False, "ability": "any", "seed": 42,
        **changes,
    }  # fmt: skip
    return ReadOptions(**given)


ANSWER = {"role": "assistant", "content": "4"}


Read: TypeAlias = tuple[SimpleNamespace, list[str], dict[Topic, int]]


def read(*lines: bytes, **changes: Any) -> Read:
    """The values of some lines, the reasons of the others, and what was noted."""
    reader = RowReader(options(**changes))
    columns, refused = reader.read_block(block(*lines))
    notes = {topic: count for (topic, _), count in reader.notes.items()}
    assert 0 not in notes.values()
    reasons = [f"{position}: {reason.text}" for position, reason in refused]
    return SimpleNamespace(**values_of(columns)), reasons, notes


def read_plainly(*lines: bytes, **changes: Any) -> Read:
    """The same in plain Python."""
    with without_scanner():
        return read(*lines, **changes)


@given(
    lines=st.lists(LINE | ROLLOUT, min_size=1, max_size=4),
    best=st.booleans(),
    keep=st.booleans(),
    form=st.sampled_from(["auto", "string", "typed"]),
    prompt=st.sampled_from([None, "messages", "question", "meta.a", "extra_info.a", "key"]),
    truth=st.sampled_from([None, "question", "meta.b", "extra_info.a", "reward_model", "messages"]),
)
def test_rows_equal_their_plain_version(lines, best, keep, form, prompt, truth) -> None:
    texts = [json.dumps(line).encode() for line in lines]
    changes = {
        "best_response": best, "keep_data_source": keep, "ground_truth_format": form,
        "places": Places(prompt, truth),
    }  # fmt: skip
    assert repr(read(*texts, **changes)) == repr(read_plainly(*texts, **changes))


@given(lines=st.lists(LINE | ROLLOUT, min_size=1, max_size=4), best=st.booleans())
def test_what_a_line_becomes_depends_on_that_line_alone(lines, best) -> None:
    texts = [json.dumps(line).replace("1.5", "1.50").encode() for line in lines]
    together, refused, notes = read(*texts, best_response=best)
    apart = [read(text, best_response=best) for text in texts]
    for position, (columns, _, _) in enumerate(apart):
        columns.positions = [position] * len(columns.positions)
    for name in set(vars(together)) - {"own"}:
        alone = [value for columns, _, _ in apart for value in getattr(columns, name)]
        assert repr(getattr(together, name)) == repr(alone)
    for name, values in together.own.items():
        alone = [v for c, _, _ in apart for v in c.own.get(name, [None] * len(c.positions))]
        assert repr(values) == repr(alone)
    assert [r.split(": ", 1)[1] for r in refused] == [
        r.split(": ", 1)[1] for _, some, _ in apart for r in some
    ]
    assert Counter(notes) == sum((Counter(some) for _, _, some in apart), Counter())


def plain_place(line: dict[str, Any], place: str) -> Any:
    found: Any = line
    for name in place.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


@given(
    line=ROLLOUT,
    place=st.sampled_from([None, "question", "meta.b", "meta", "extra_info.a", "key", "messages"]),
)
def test_the_ground_truth_is_taken_from_its_place(line: dict[str, Any], place: str | None) -> None:
    expected = plain_place(line, place or "ground_truth")
    if place is None and expected is None:
        expected = plain_place(line, "reward_model.ground_truth")
    columns, _, _ = read(
        json.dumps({**line, "prompt": "x", "extra_info": line.get("extra_info")}).encode(),
        places=Places(None, place),
        ground_truth_format="string",
    )
    for truth in columns.ground_truths:
        assert truth == (
            expected
            if expected is None or isinstance(expected, str)
            else json.dumps(expected, ensure_ascii=False)
        )


@pytest.mark.parametrize(
    ("place", "fields", "text"),
    [
        ("question", {"question": "q"}, "q"),
        ("question", {"question": [{"role": "user", "content": "q"}]}, "q"),
        ("meta.q", {"meta": {"q": "q"}}, "q"),
        ("meta.q", {"meta": {"q": [{"role": "user", "content": "q"}]}}, "q"),
        ("extra_info.question", {"extra_info": {"question": "q"}}, "q"),
        ("messages", {"messages": [{"role": "user", "content": "q"}, ANSWER]}, "q"),
        ("question", {"messages": [{"role": "user", "content": "q"}]}, None),
        ("messages", {"question": "q"}, None),
    ],
)
def test_the_prompt_is_taken_from_its_place_and_no_other(place, fields, text) -> None:
    line = json.dumps({"prompt": "an id", "reward": [1], **fields}).encode()
    columns, refused, _ = read(line, places=Places(place, None))
    assert [p[0][1] for p in columns.prompts] == ([text] if text else [])
    assert [r for r in refused if "no prompt" in r] == ([] if text else refused)
    assert bool(refused) == (text is None)


def test_fields_that_may_hold_the_ground_truth_are_counted() -> None:
    reader = RowReader(options())
    lines = [{"answer": "4"}, {"answer": None, "extra_info": {"solution": "5"}}, {"gts": ""}, {}]
    texts = [json.dumps({"prompt": "x", "reward": [1], **fields}).encode() for fields in lines]
    reader.read_block(block(*texts))
    likely = {key: n for (topic, key), n in reader.notes.items() if topic is Topic.LIKELY_TRUTH}
    assert likely == {"answer": 1, "extra_info.solution": 1}


def test_own_data_sources_are_counted_kept_or_not() -> None:
    lines = [{"data_source": "a"}, {"extra_info": {"data_source": "b"}}, {"data_source": "a"}, {}]
    texts = [json.dumps({"prompt": "x", "reward": [1], **fields}).encode() for fields in lines]
    for keep, sources in ((True, ["a", "b", "a", "default"]), (False, ["default"] * 4)):
        reader = RowReader(options(keep_data_source=keep))
        columns, _ = reader.read_block(block(*texts))
        assert columns.data_sources.to_pylist() == sources
        own = {key: n for (at, key), n in reader.notes.items() if at is Topic.OWN_DATA_SOURCE}
        assert own == {"a": 2, "b": 1}


def test_text_of_a_reward_entry_does_not_depend_on_the_lines_beside_it() -> None:
    entry = b'{"score":1,  "n":1e2}'
    good = b'{"prompt": "x", "reward": [' + entry + b'], "responses": ["a"]}'
    odd = b'{"prompt": "x", "reward": [1], "response": {"choices": ["b"]}}'
    for lines in ((good,), (good, odd), (odd, good), (b"[]", good, odd)):
        assert entry.decode() in read(*lines)[0].best_rewards


GOOD = b'{"prompt": "x", "reward": [1]}'


def test_unusual_lines_keep_their_place() -> None:
    odd = b'{"prompt": [{"role": "user", "content": "y", "mood": "n"}], "reward": [NaN, 0]}'
    columns, refused, notes = read(GOOD, odd, b"[]", GOOD, best_response=False)
    assert columns.positions == [0, 1, 3]
    assert [p[0][1] for p in columns.prompts] == ["x", "y", "x"]
    assert refused == ["2: not a JSON object: the line is a list"]
    assert notes == {PromptNote.LEFT_OUT: 1, Topic.NO_TRUTH: 3}


def test_bad_score_is_named_and_the_others_stand() -> None:
    bad = b'{"prompt": "x", "reward": [{"score": 1}, {"score": "n/a"}]}'
    columns, refused, _ = read(GOOD, bad, GOOD)
    assert columns.positions == [0, 2]
    assert refused == ['1: a score is not a number: reward[1].score is "n/a", expected a number']


def test_invalid_utf8_in_a_field_that_is_read() -> None:
    _, refused, _ = read(b'{"reward": [1], "prompt": "\xff"}')
    assert refused == ["0: invalid UTF-8: byte 27 of the line"]


def test_invalid_utf8_where_nothing_is_read() -> None:
    choices = b'{"choices": [{"text": "\xff"}, {"text": "a"}]}'
    columns, refused, notes = read(
        GOOD, b'{"reward": [0, 1], "prompt": "x", "response": ' + choices + b"}", b"", GOOD
    )
    assert columns.positions == [0, 3]
    assert [reason.split(": ")[:2] for reason in refused] == [
        ["1", "invalid UTF-8"], ["2", "not valid JSON"]
    ]  # fmt: skip
    assert notes == {Topic.NO_TRUTH: 2, Topic.NO_TEXT: 2}


def test_lone_surrogates_are_replaced_and_told() -> None:
    line = rb'{"reward": [1], "prompt": "a\ud800b", "extra_info": {"\udfff": ["\ud83d\ude00"]}}'
    columns, _, notes = read(line)
    assert columns.prompts[0][0][1] == "a\ufffdb"
    assert columns.own == {"\ufffd": [["😀"]]}
    assert notes[Topic.SURROGATES] == 1


@pytest.mark.parametrize(
    ("given", "content"),
    [
        ('"response": {"choices": [{"message": {"content": "a"}}, {"text": "b"}]}', "b"),
        ('"response": {"choices": [{"text": "a"}, {"message": {"content": "b", "x": 1}}]}', "b"),
        ('"responses": ["a", "b"]', "b"),
        ('"responses": ["a"]', None),
        ('"responses": ["a", null]', None),
        ('"response": null, "responses": ["a", "b"]', "b"),
        ('"response": {}, "responses": ["a", "b"]', "b"),
        ('"response": {"choices": [null, {"message": {"content": null}}]}', None),
        ('"response": {"choices": [3, "b"]}', "b"),
    ],
)
def test_best_response(given: str, content: str | None) -> None:
    line = f'{{"prompt": "x", "reward": [0, {{"score": 1, "note": "é"}}, 1], {given}}}'.encode()
    rows = read(line)[0]
    assert rows.best_indexes == [1]
    assert rows.best_contents == [content]
    assert rows.best_rewards == ['{"score": 1, "note": "é"}']


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ('"response": "text"', 'response is not an object: it is "text"'),
        ('"response": {"choices": 3}', "response.choices is not a list: it is 3"),
        ('"responses": "text"', "responses is not a list"),
        ('"responses": [3]', "responses[0] is 3, expected a string"),
        ('"response": {"choices": [{"message": {"content": [1]}}]}', "content is a list, expected"),
    ],
)
def test_responses_that_are_none(given: str, reason: str) -> None:
    line = f'{{"prompt": "x", "reward": [1], {given}}}'.encode()
    _, refused, _ = read(line)
    assert reason in refused[0]
    assert read(line, best_response=False)[0].best_contents == [None]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([], None), ([None], None), ([0.0, 1.0, 1.0], 1), ([None, -2.0, math.nan, -1.0], 3),
     ([math.inf, -math.inf, 0.0], 2), ([True, 1.0], 0)],
)  # fmt: skip
def test_best_index_is_the_first_highest(scores: list, expected: int | None) -> None:
    assert best_index(scores) == expected


def test_nothing_is_noted_twice() -> None:
    other_count = b'{"prompt": "x", "reward": [1, 0], "responses": ["a"]}'
    odd = b'{"prompt": "x", "reward": [1], "responses": [3]}'
    _, refused, notes = read(other_count, odd)
    assert len(refused) == 1
    assert notes == {Topic.NO_TRUTH: 1, Topic.OTHER_COUNT: 1}
