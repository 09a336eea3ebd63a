"""One line → its fields: the fast reader equals the plain one, and reasons say what is wrong."""

from __future__ import annotations

import json
import math
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.reading.lines import Malformed, is_blank, load_object
from curriculum.reading.rollouts import ScoreReader, check_reward, key_text
from tests.helpers.strategies import LINE, ROLLOUT, block


def read_scores(line: bytes, field: str = "score") -> list:
    """The scores of one line, as bucketing reads them among others."""
    good = b'{"reward": [7, 7]}'
    read = ScoreReader(field).read_block(block(good, line, good))
    flat, counts = read.flat.tolist(), read.counts.tolist()
    if read.refused:
        ((position, reason),) = read.refused
        assert (flat, counts, position) == ([7, 7, 7, 7], [2, 2], 1)
        raise Malformed(reason.text)
    assert (flat[:2], flat[-2:], counts[0], counts[2]) == ([7, 7], [7, 7], 2, 2)
    assert len(flat) == sum(counts)
    return flat[2:-2]


def floats(scores: list) -> list[float | None]:
    """Scores with every kind of missing one as None."""
    return [None if s is None or not math.isfinite(s) else float(s) for s in scores]


@given(line=LINE)
def test_score_reader_equals_the_plain_one(line: object) -> None:
    text = json.dumps(line).encode()
    try:
        expected = floats(check_reward(load_object(text), "score"))
    except Malformed as error:
        with pytest.raises(Malformed) as caught:
            read_scores(text)
        assert str(caught.value) == str(error)
        return
    assert floats(read_scores(text)) == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"reward": [1]', "not valid JSON: Expecting ',' delimiter (column 15)"),
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
        (b'{"reward": [1], "a": "\x00"}', "NUL bytes: byte 22 of the line"),
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


def test_score_field_of_another_name() -> None:
    line = b'{"reward": [{"score": 1, "V_i": 0.25}, {"V_i": true}, {"score": 1}, 3]}'
    assert floats(read_scores(line, "V_i")) == [0.25, 1.0, None, 3.0]


@pytest.mark.parametrize(
    ("line", "blank"), [(b"", True), (b" \t\r", True), (b"\x0b", False), (b"{}", False)]
)
def test_blank_lines(line: bytes, blank: bool) -> None:
    assert is_blank(line) == blank


def plain_prompt(line: dict[str, Any]) -> Any:
    """What a rollout asks, so that two that ask the same are equal; None without a prompt."""
    prompt = line.get("prompt")
    if prompt in (None, "", []):
        prompt = line.get("messages")
        while isinstance(prompt, list) and prompt and prompt[-1].get("role") == "assistant":
            prompt = prompt[:-1]
    if isinstance(prompt, str) and prompt:
        prompt = [{"role": "user", "content": prompt}]
    turns = [(m.get("role"), m.get("content")) for m in prompt or []]
    return None if turns in ([], [("user", "")]) else turns


@given(lines=st.lists(ROLLOUT, min_size=2, max_size=6))
def test_prompts_that_read_alike_have_one_hash(lines: list[dict[str, Any]]) -> None:
    lines = [{**line, "reward": [1]} for line in lines]
    texts = [json.dumps(line).encode() for line in lines]
    hashes = ScoreReader("score").read_block(block(*texts)).prompts.tolist()
    asked = [plain_prompt(line) for line in lines]
    for (one, first), (other, second) in combinations(zip(asked, hashes, strict=True), 2):
        assert (one == other) == (first == second)
    assert [prompt is None for prompt in asked] == [number == 0 for number in hashes]


@given(lines=st.lists(LINE | ROLLOUT, min_size=1, max_size=5))
def test_the_hash_of_a_prompt_depends_on_its_line_alone(lines: list[Any]) -> None:
    texts = [json.dumps(line).encode() for line in lines]
    reader = ScoreReader("score")
    together = reader.read_block(block(*texts)).prompts.tolist()
    apart = [reader.read_block(block(text)).prompts.tolist() for text in texts]
    assert together == [number for numbers in apart for number in numbers]


# Pieces of lines that reading many at once might put together wrongly.
PIECES = st.sampled_from([
    b'{"reward": [1]}', b'{"reward": [0, 1]}', b'{"reward"', b": [5]}", b'{"a": {}', b'{"a": "}',
    b'{b", "reward": [2]}', b', "reward": [3]}', b" ", b"\r", b"", b"[]", b"}", b"{",
])  # fmt: skip


@given(lines=st.lists(st.lists(PIECES, max_size=3).map(b"".join), min_size=1, max_size=5))
def test_a_block_is_read_as_its_lines_are(lines: list[bytes]) -> None:
    reader = ScoreReader("score")
    together, apart = reader.read_block(block(*lines)), [reader.read_block(block(x)) for x in lines]
    for name in ("flat", "counts", "prompts"):
        one_by_one = [number for read in apart for number in getattr(read, name).tolist()]
        assert getattr(together, name).tolist() == one_by_one
    refused = [(i, reason) for i, read in enumerate(apart) for _, reason in read.refused]
    assert together.refused == refused


@pytest.mark.parametrize("depth", [150, 400, 900, 20_000])
def test_a_key_that_is_nested_too_deep_is_its_own_text(depth: int) -> None:
    key = b'["\\ud83d\\ude00",' * depth + b"0" + b"]" * depth
    reader = ScoreReader("score", with_keys=True)
    read = reader.read_block(
        block(b'{"reward": [1], "key": 7}', b'{"reward": [1], "key": %b}' % key)
    )
    if read.refused:  # nested too deep for any reader of JSON
        assert (depth, read.keys) == (20_000, ["7"])
        return
    loaded = key_text(json.loads(key)) if depth < 500 else None
    assert read.keys[0] == "7"
    assert read.keys[1] in (loaded, key.decode())
