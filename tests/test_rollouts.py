"""One line → its fields: the fast reader equals the plain one, and reasons say what is wrong."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.rollouts import Malformed, RolloutReader, ScoreReader, is_blank, load_object

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
SCORE = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3))
ENTRY = st.one_of(SCORE, st.fixed_dictionaries({}, optional={"score": SCORE, "V_i": JSON}))
CHOICE = st.one_of(
    st.fixed_dictionaries({}, optional={"message": st.fixed_dictionaries({}, optional={
        "content": st.none() | st.text(max_size=4) | JSON}), "text": st.text(max_size=4)}),
    st.none(),
)  # fmt: skip
LINE = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {},
        optional={
            "reward": st.lists(ENTRY, max_size=4) | JSON,
            "prompt": JSON,
            "messages": JSON,
            "ground_truth": JSON,
            "key": JSON,
            "extra_info": JSON,
            "response": st.fixed_dictionaries({}, optional={"choices": st.lists(CHOICE)}) | JSON,
            "responses": st.lists(st.text(max_size=4)) | JSON,
            "other": JSON,
        },
    ),
)


def read_scores(line: bytes, field: str = "score") -> list:
    """The scores of one line, as bucketing reads them among others."""
    good = b'{"reward": [7, 7]}'
    flat, counts, refused = ScoreReader(field).read_lines([good, memoryview(line), good])
    if refused:
        ((position, error),) = refused
        assert (flat, counts, position) == ([7, 7, 7, 7], [2, 2], 1)
        raise error
    assert (flat[:2], flat[-2:], counts[0], counts[2]) == ([7, 7], [7, 7], 2, 2)
    assert len(flat) == sum(counts)
    return flat[2:-2]


def floats(scores: list) -> list[float | None]:
    """Scores with every kind of missing one as None."""
    return [None if s is None or not math.isfinite(s) else float(s) for s in scores]


@given(line=LINE)
def test_score_reader_equals_the_plain_one(line: object) -> None:
    text = json.dumps(line).encode()
    reader = ScoreReader("score")
    try:
        expected = floats(reader.check(load_object(text)))
    except Malformed as error:
        with pytest.raises(Malformed) as caught:
            read_scores(text)
        assert str(caught.value) == str(error)
        return
    assert floats(read_scores(text)) == expected


@given(line=LINE, with_best=st.booleans())
def test_rollout_reader_equals_the_plain_one(line: object, with_best: bool) -> None:
    text = json.dumps(line).encode()
    reader = RolloutReader("score", with_best)
    try:
        expected = reader._read_plain(load_object(text))
    except Malformed as error:
        with pytest.raises(Malformed) as caught:
            reader.read(text)
        assert str(caught.value) == str(error)
        return
    found = reader.read(text)
    assert floats(found.scores) == floats(expected.scores)
    for name in ("prompt", "ground_truth", "key", "extra_info", "response_count"):
        assert repr(getattr(found, name)) == repr(getattr(expected, name)), name
    if found.prompt in (None, "", []):
        assert repr(found.messages) == repr(expected.messages)
    if with_best and expected.best is not None:
        assert found.best is not None
        assert (found.best.index, found.best.content) == (
            expected.best.index,
            expected.best.content,
        )
        assert repr(json.loads(found.best.reward)) == repr(json.loads(expected.best.reward))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"reward": [1]', "not valid JSON: Expecting ',' delimiter at column 15"),
        (b'{"reward": [1], "a": "b', "not valid JSON: Unterminated string"),
        (b'{"reward": [1]} x', "not valid JSON: Extra data"),
        (b"[1, 2]", "not a JSON object: the line is a list"),
        (b"3", "not a JSON object: the line is 3"),
        (b"{}", 'no "reward"'),
        (b'{"reward": null}', "reward is not a list: it is null"),
        (b'{"reward": {"score": 1}}', "reward is not a list: it is an object"),
        (b'{"reward": [{"score": 1}, {"score": "n/a"}]}', 'reward[1].score is "n/a"'),
        (b'{"reward": [1, "1"]}', 'reward[1] is "1"'),
        (b'{"reward": [{"score": {"acc": 1}}]}', "reward[0].score is an object"),
        (b'{"reward": [[1]]}', "reward[0] is a list"),
        (b'{"reward": ["\xff"]}', "invalid UTF-8: byte 13 of the line"),
        (b'{"reward": [1], "a": ' + b"[" * 100_000, "nested too deep"),
        (b'\xef\xbb\xbf{"reward": [1]}', "not valid JSON: Unexpected UTF-8 BOM"),
        (b'{"reward": [1], "a": "\x00"}', "not valid JSON: Invalid control character"),
        (b'{"reward": ["x' + b"y" * 100 + b'"]}', '…"'),
        (b'{"reward": [1], "n": NaN, "i": ' + b"1" * 5000 + b"}", "not valid JSON: Exceeds"),
    ],
)
def test_reasons(line: bytes, reason: str) -> None:
    with pytest.raises(Malformed) as caught:
        read_scores(line)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        ("[1, 0.5, true, false]", [1.0, 0.5, 1.0, 0.0]),
        ('[{"score": 1}, 0, {"V_i": 2}]', [1.0, 0.0, None]),
        ("[null, NaN, Infinity, -Infinity, 1e400]", [None] * 5),
        ('[{"score": null}, {"score": NaN}, {}]', [None] * 3),
        ("[123456789012345678901234567890]", [1.2345678901234568e29]),
        (f"[{10**400}, NaN]", [None, None]),
        ("[]", []),
    ],
)
def test_what_scores_may_be(reward: str, expected: list) -> None:
    line = f'{{"reward": {reward}, "other": "\\ud800"}}'.encode()
    assert floats(read_scores(line)) == expected
    assert floats(RolloutReader("score", True).read(line).scores) == expected


def test_score_field_of_another_name() -> None:
    line = b'{"reward": [{"score": 1, "V_i": 0.25}, {"V_i": true}, {"score": 1}, 3]}'
    assert floats(read_scores(line, "V_i")) == [0.25, 1.0, None, 3.0]


def test_what_is_skipped_may_be_no_utf8_in_bucketing_only() -> None:
    line = b'{"reward": [1], "prompt": "\xff"}'
    assert read_scores(line) == [1.0]
    with pytest.raises(Malformed, match="invalid UTF-8: byte 27"):
        RolloutReader("score", True).read(line)


def test_lone_surrogates_are_replaced_and_told() -> None:
    line = rb'{"reward": [1], "prompt": "a\ud800b", "extra_info": {"\udfff": ["\ud83d\ude00"]}}'
    found = RolloutReader("score", True).read(line)
    assert (found.prompt, found.extra_info, found.mended) == ("a\ufffdb", {"\ufffd": ["😀"]}, True)


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        ('"response": {"choices": [{"message": {"content": "a"}}, {"text": "b"}]}', "b"),
        ('"response": {"choices": [{"text": "a"}, {"message": {"content": "b", "x": 1}}]}', "b"),
        ('"responses": ["a", "b"]', "b"),
        ('"responses": ["a"]', None),
        ('"responses": ["a", null]', None),
        ('"response": null, "responses": ["a", "b"]', "b"),
        ('"response": {"choices": [null, {"message": {"content": null}}]}', None),
        ('"response": {"choices": [3, "b"]}', "b"),
    ],
)
def test_best_response(fields: str, content: str | None) -> None:
    line = f'{{"reward": [0, {{"score": 1, "note": "é"}}, 1], {fields}}}'.encode()
    best = RolloutReader("score", True).read(line).best
    assert best is not None
    assert (best.index, best.content, best.reward) == (1, content, '{"score": 1, "note": "é"}')


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ('"response": "text"', 'response is not an object: it is "text"'),
        ('"response": {"choices": 3}', "response.choices is not a list: it is 3"),
        ('"responses": "text"', "responses is not a list"),
        ('"responses": [3]', r"responses\[0\] is 3, expected a string"),
        (
            '"response": {"choices": [{"message": {"content": [1]}}]}',
            r"content is a list, expected",
        ),
    ],
)
def test_responses_that_are_none(fields: str, reason: str) -> None:
    line = f'{{"reward": [1], {fields}}}'.encode()
    with pytest.raises(Malformed, match=reason):
        RolloutReader("score", True).read(line)
    assert RolloutReader("score", False).read(line).best is None


@pytest.mark.parametrize(
    ("line", "blank"), [(b"", True), (b" \t\r", True), (b"\x0b", False), (b"{}", False)]
)
def test_blank_lines(line: bytes, blank: bool) -> None:
    assert is_blank(line) == blank
