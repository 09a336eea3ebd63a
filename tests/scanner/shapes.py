"""Lines of every shape as bytes, for properties: what JSON may be, and what it may not be."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import strategies as st

from tests.helpers.strategies import JSON


def mostly(usual: Sequence[bytes], odd: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """One of the usual values, and once in about 25 times an odd one."""
    return st.sampled_from([*usual * (1 + 25 * len(odd) // len(usual)), *odd])


SPACE = mostly([b""] * 8 + [b" ", b"\t", b"\r", b" \r\t  "], [b"\f", b"\v", b"\xc2\xa0", b"\0"])
USUAL_PIECES = [
    b"a", b"user", b"some words ", "é".encode(), "😀".encode(), b"\\n", b'\\"', b"\\\\", b"\\/",
    b"\\u00e9", b"\\uD83D\\uDE00", b"\\ud83d\\ude00", b"\\u0000", b"x" * 15, b"x" * 63, b"\x7f",
    b"{", b"]", b",",
]  # fmt: skip
ODD_PIECES = [
    b"\\ud800", b"\\udc00", b"\\ud800\\ud800", b"\\ud800\\u0041", b"\\ud800\\", b"\\x", b"\\u12",
    b"\\u00g0", b"\\", b'"', b"\xff", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
    b"\xe2\x80", b"\0", b"\x1f", b"\x01", b"\n", b"\xef\xbb\xbf",
]  # fmt: skip
PIECES = mostly(USUAL_PIECES, ODD_PIECES)
TEXT = st.lists(PIECES, max_size=4).map(lambda pieces: b'"%b"' % b"".join(pieces))

USUAL_SCORES = [
    b"0", b"1", b"-0", b"-0.0", b"0.5", b"1e2", b"1E-3", b"-2.5e+1", b"0.1", b"true", b"false",
    b"null", b"9007199254740993", b"0.30000000000000004", b"0e0", b"0e9",
]  # fmt: skip
ODD_SCORES = [
    b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"1e-400", b"1e23", b"5e-324",
    b"18446744073709551615", b"18446744073709551616", b"123456789012345678901", b"0e99999999999",
    b"1e-99999999999", b"9" * 400, b"0." + b"0" * 60 + b"1", b"1" * 5000, b"01", b"1.", b".5",
    b"+1", b"-", b"1e", b"1e+", b"0x1", b"nul", b"nullx", b"True", b'"1"', b"{}", b"[1]", b"",
]  # fmt: skip
SCORE = mostly(USUAL_SCORES, ODD_SCORES)

DEEP = st.builds(
    lambda depth, pair: pair[0] * depth + pair[1] * depth,
    st.sampled_from([5, 197, 198, 199, 200, 201, 1100]),
    st.sampled_from([(b"[", b"]"), (b'{"a":', b"}"), (b'{"a":[', b"]}")]),
)
ANY = st.one_of(TEXT, SCORE, JSON.map(lambda value: json.dumps(value).encode()), DEEP)


def spaced(value: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """A value with white space around it."""
    return st.tuples(SPACE, value, SPACE).map(b"".join)


def items(value: st.SearchStrategy[bytes], most: int = 4) -> st.SearchStrategy[bytes]:
    """A list, its commas now and then at odd places."""
    comma = st.sampled_from([b","] * 30 + [b"", b",,"])
    parts = st.lists(st.tuples(comma, spaced(value)).map(b"".join), max_size=most)
    return parts.map(lambda parts: b"[%b]" % b"".join(parts).removeprefix(b","))


def field(name: bytes, value: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """A field, whose name is now and then written with an escape, or is another."""
    escaped = b'"\\u%04x%b"' % (name[0], name[1:])
    names = mostly([b'"%b"' % name], [escaped, b'"\\u0061"', b'"%b\xff"' % name, b'"\\ud800"'])
    return st.tuples(spaced(names), spaced(value)).map(b":".join)


def fields(*known: st.SearchStrategy[bytes], most: int = 4) -> st.SearchStrategy[bytes]:
    """An object of some of these fields, in any order, some of them repeated."""
    some = st.lists(st.one_of(*known), max_size=most)
    return some.map(lambda found: b"{%b}" % b",".join(found))


OTHER = field(b"other", ANY)
ENTRY = st.one_of(SCORE, fields(field(b"score", SCORE), field(b"V_i", SCORE), OTHER))
REWARD = st.one_of(items(ENTRY), items(ENTRY), items(ENTRY), ANY)
ROLE = mostly(
    [b'"user"', b'"user"', b'"assistant"', b'"system"'], [b'"\\u0075ser"', b"null", b'""']
)
CALLS = st.one_of(items(fields(field(b"id", TEXT), OTHER, most=2), most=2), st.just(b"[]"), ANY)
MESSAGE = fields(
    field(b"role", ROLE),
    field(b"content", TEXT | st.just(b"null")),
    field(b"tool_calls", CALLS),
    OTHER,
)
TURN = st.builds(lambda role, content: b'{"role":%b,"content":%b}' % (role, content), ROLE, TEXT)
PROMPT = st.one_of(TEXT, items(TURN), items(TURN), items(MESSAGE | ANY), st.just(b"null"), ANY)
RESPONSES = st.one_of(items(TEXT), ANY)
ANY_FIELD = st.one_of(
    field(b"prompt", PROMPT),
    field(b"messages", PROMPT),
    field(b"reward", REWARD),
    field(b"responses", RESPONSES),
    field(b"response", ANY),
    field(b"key", ANY),
    OTHER,
)
SOME_FIELDS = st.lists(ANY_FIELD, max_size=3)
RECORD = st.builds(
    lambda before, reward, after: b"{%b}" % b",".join([*before, reward, *after]),
    SOME_FIELDS,
    field(b"reward", items(ENTRY)),
    SOME_FIELDS,
)
BEFORE = mostly([b"", b"", b" "], [b"\xef\xbb\xbf", b"\t\r", b"\0", b","])
AFTER = mostly([b"", b"", b"\r"], [b" ", b" x", b"{}", b"\0", b"}", b",", b"\\"])
LINE = st.one_of(st.tuples(BEFORE, RECORD, AFTER).map(b"".join), RECORD, ANY)

# Lines that are nothing unusual, so the scanner must read them.
USUAL_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
USUAL_NUMBER = st.one_of(
    st.booleans(),
    st.none(),
    st.integers(-(10**15), 10**15),
    st.floats(-1e6, 1e6).filter(lambda score: score == 0 or abs(score) > 1e-8),
)
USUAL_MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system"]), "content": USUAL_TEXT},
        optional={"name": USUAL_TEXT, "tool_calls": st.lists(JSON.map(str))},
    ),
    max_size=3,
)
USUAL = st.fixed_dictionaries(
    {"reward": st.lists(USUAL_NUMBER | st.fixed_dictionaries({"score": USUAL_NUMBER}))},
    optional={
        "prompt": USUAL_MESSAGES | USUAL_TEXT | st.none(),
        "messages": USUAL_MESSAGES | st.none(),
        "response": st.fixed_dictionaries({"choices": st.lists(st.fixed_dictionaries(
            {"message": st.fixed_dictionaries({"content": USUAL_TEXT | st.none()})}))}),
        "responses": st.lists(USUAL_TEXT, max_size=3),
        "ground_truth": USUAL_TEXT | st.lists(st.dictionaries(USUAL_TEXT, USUAL_TEXT)),
        "key": USUAL_TEXT | USUAL_NUMBER,
        "uid": USUAL_TEXT,
        "extra_info": st.dictionaries(USUAL_TEXT, USUAL_TEXT | USUAL_NUMBER),
    },
)  # fmt: skip

# Lines for rows: with the other fields that a row is made of.
CHOICE = st.one_of(
    fields(field(b"message", MESSAGE | st.just(b"null")), field(b"text", TEXT), OTHER, most=2),
    st.just(b"null"),
    ANY,
)
TRUTH = st.one_of(TEXT, SCORE, st.just(b"\"{'instruction_id': ['a'], 'kwargs': [{}]}\""), ANY)
EXTRA_INFO = fields(
    field(b"a", ANY), field(b"split", TEXT), field(b"index", SCORE), field(b"data_source", TEXT)
)
ROW_FIELD = st.one_of(
    ANY_FIELD,
    field(b"response", fields(field(b"choices", items(CHOICE)), OTHER, most=2)),
    field(b"responses", items(TEXT | st.just(b"null"))),
    field(b"ground_truth", TRUTH),
    field(b"reward_model", fields(field(b"ground_truth", TRUTH), OTHER, most=2) | ANY),
    field(b"key", TEXT | SCORE),
    field(b"ability", TEXT | st.just(b"null")),
    field(b"data_source", TEXT | st.just(b"null")),
    field(b"extra_info", EXTRA_INFO | st.just(b"null") | ANY),
    field(b"label", ANY),
)
ROW = st.builds(
    lambda reward, prompt, others: b"{%b}" % b",".join([reward, *prompt, *others]),
    field(b"reward", items(ENTRY, most=2)),
    st.lists(field(b"prompt", PROMPT), min_size=1, max_size=1) | st.just([]),
    st.lists(ROW_FIELD, max_size=5),
)

USUAL_SCALAR = USUAL_TEXT | st.booleans() | st.none() | st.integers(-(10**15), 10**15)
USUAL_TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system"]), "content": USUAL_TEXT.map("q{}".format)}
)


@st.composite
def usual_row(draw: st.DrawFn) -> dict[str, object]:
    """A rollout as it usually is, with as many responses as rewards."""
    scores = draw(st.lists(USUAL_NUMBER, min_size=1, max_size=3))
    texts = [draw(USUAL_TEXT) for _ in scores]
    messages = [{"message": {"role": "assistant", "content": text}} for text in texts]
    responses = [
        {"response": {"id": draw(USUAL_TEXT), "choices": messages}},
        {"responses": texts},
        {"response": {"choices": [{"text": text} for text in texts]}},
        {},
    ]
    turns = draw(st.lists(USUAL_TURN, min_size=1, max_size=3))
    answer = {"role": "assistant", "content": draw(USUAL_TEXT) + "4"}
    prompts = [{"prompt": turns}, {"prompt": "q"}, {"messages": [*turns, answer]}]
    names = st.sampled_from(["split", "index", "x", "y z"])
    return {
        "reward": [{"score": score, "V_i": 0.5} for score in scores],
        **draw(st.sampled_from(responses)),
        **draw(st.sampled_from(prompts)),
        "key": draw(USUAL_TEXT | st.integers(0, 10**9)),
        "ground_truth": draw(USUAL_SCALAR),
        "extra_info": draw(st.dictionaries(names, USUAL_SCALAR)),
    }


USUAL_ROW = usual_row()
