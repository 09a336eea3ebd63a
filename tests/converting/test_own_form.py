"""Lists of any line → a rollout, by flags: the same from the scanner and from Python, and what a
plain reading of the line gives."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from curriculum.converting.convert_line import LineConverter
from curriculum.converting.rename_fields import renaming_of
from curriculum.dumps.formats import End, Format, Holds
from curriculum.dumps.table import FORMATS
from curriculum.scanner.compiled import scanner
from curriculum.scanner.renamed_lines import rename_lines
from tests.scanner.compare import simd_kinds
from tests.torture.mutate import mutate

FORM = Format(
    name="custom", title="custom rollouts", marks=frozenset({"outputs", "grades"}),
    holds=Holds.ROLLOUT, score="grades", prompt="question", response="outputs",
    ground_truth="gold", groups=(("id",),),
)  # fmt: skip

# Each form for which other names may be enough, in the fields of FORM.
FORMS = {
    "all": FORM,
    "added": replace(FORM, added=("more",)),
    "the better of two": replace(FORM, added=("more",), combine=max),
    "status": replace(
        FORM, status=("status",), cut_off=lambda line: line.get("status") is False,
        unscored=frozenset({End.CUT_OFF}),
    ),
    "key": replace(FORM, groups=(("key",),)),
    "no key": replace(FORM, groups=()),
    "own prompt and truth": replace(FORM, prompt=None, ground_truth=None),
    "no responses": replace(FORM, response=None, marks=frozenset({"grades"})),
    "own names": replace(FORM, prompt="prompt", response="responses", score="reward",
                         marks=frozenset({"reward"})),
}  # fmt: skip

TEXT = st.text(max_size=6) | st.sampled_from(
    [
        "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n",
        "\u2003",
        'é"\\',
        "\ud83d",
        "[INST]a",
    ]
)
SCORE = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.just("1")
ANYTHING = st.recursive(SCORE | TEXT, lambda inside: st.lists(inside, max_size=2))
VALUES = {
    "question": TEXT | st.lists(st.fixed_dictionaries({"role": TEXT, "content": TEXT}), max_size=2),
    "outputs": st.lists(TEXT, max_size=3) | ANYTHING,
    "grades": st.lists(SCORE, max_size=3) | ANYTHING,
    "gold": ANYTHING,
    "id": TEXT | st.integers(-5, 10**20) | ANYTHING,
}
NAMES = [
    "reward", "responses", "prompt", "key", "response", "other", "ünï", "source_reward", "",
    "ground_truth", "source_prompt",
]  # fmt: skip
LISTS = {"more": st.lists(SCORE, max_size=3) | ANYTHING, "status": st.lists(SCORE, max_size=3)}


@st.composite
def line(draw: st.DrawFn) -> bytes:
    """A line of the form, which may lack fields, hold others, or be written in any way."""
    fields = {name: draw(kind) for name, kind in VALUES.items() if draw(st.integers(0, 7))}
    fields |= draw(st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=2))
    fields |= {name: draw(kind) for name, kind in LISTS.items() if draw(st.booleans())}
    names = draw(st.permutations(list(fields)))
    spaces = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " : ")]))
    escaped = draw(st.booleans())
    text = json.dumps(
        {name: fields[name] for name in names}, ensure_ascii=escaped, separators=spaces
    )
    return text.encode("utf-8", "surrogatepass")


def plain(text: bytes) -> dict[str, Any] | None:
    """What a rollout of this line holds; None if it is malformed."""
    fields = json.loads(text.decode("utf-8"))
    outputs, grades = fields.get("outputs"), fields.get("grades")
    if not isinstance(grades, list):
        return None
    if not all(g is None or isinstance(g, int | float) for g in grades):
        return None
    if outputs is not None:
        if not isinstance(outputs, list) or len(outputs) != len(grades):
            return None
        if not all(isinstance(o, str) for o in outputs):
            return (
                {"reward": grades}
                if all(o is None or isinstance(o, str) for o in outputs)
                else None
            )
    if "outputs" not in fields:
        return None
    return {"reward": grades} | ({} if outputs is None else {"responses": outputs})


def converted(text: bytes, form: Format = FORM) -> bytes | None:
    try:
        return LineConverter(form)(text)[0]
    except (ValueError, RecursionError):
        return None


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, and NaN is NaN."""
    return json.dumps(one) == json.dumps(other)


@settings(max_examples=400)
@given(line())
def test_a_line_becomes_what_a_plain_reading_gives(text: bytes) -> None:
    try:
        expected = plain(text)
    except UnicodeDecodeError:  # a lone surrogate, written as it is
        expected = None
    found = converted(text)
    lists = json.loads(text) if expected is None and found else {}
    if any(isinstance(item, list | dict) for item in lists.get("outputs") or ()):
        return  # conversations and objects, which have tests of their own
    assert (found is None) == (expected is None)
    if found is None or expected is None:
        return
    rollout = json.loads(found)
    assert all(same(rollout[name], value) for name, value in expected.items())
    for name, value in json.loads(text).items():
        own = {"question": "prompt", "outputs": "responses", "grades": "reward"}.get(name)
        own = "ground_truth" if name == "gold" else own
        places = [name, own, *(f"{'source_' * n}{name}" for n in (1, 2, 3))]
        assert any(p in rollout and same(rollout[p], value) for p in places), (name, rollout)


def compare(texts: list[bytes], form: Format = FORM) -> list[int]:
    """Rename lines with every kind of SIMD: as LineConverter does, or not at all; which were."""
    buffer = bytearray(b"\n".join(texts) + b"\n" + b'"rest"}')
    size = sum(map(len, texts)) + len(texts)
    renaming = renaming_of(form)
    assert renaming
    taken: list[int] = []
    for kind in simd_kinds():
        scanner().simd(kind)
        found = rename_lines(buffer, size, renaming)
        assert found is not None
        assert found.ends.tolist() == [end for end in range(size) if buffer[end] == 0x0A]
        at = 0
        for text, length in zip(texts, found.sizes.tolist(), strict=True):
            assert not length or bytes(found.text[at : at + length]) == converted(text, form)
            at += length
        assert at == len(found.text)
        taken = [i for i, length in enumerate(found.sizes.tolist()) if length]
    return taken


needs_scanner = pytest.mark.skipif(scanner() is None, reason="the scanner is not built, or is off")
USUAL = [
    b'{"id":"a","question":"q","outputs":["x","y"],"grades":[1,0.5],"gold":"4"}',
    b' { "grades" : [ true , null ] , "outputs" : [ "\\u00e9", "\\ud83d\\ude00" ] , '
    b'"question":"q"}\r',
    b'{"question":"q","outputs":[],"grades":[],"gold":{"a":[1]},"other":"\\u00fc","id":7}',
    b'{"question":"q","outputs":["a"],"grades":[1e400]}',
]
LEFT = [
    b'{"question":"q","outputs":["x"],"grades":[1,0]}',
    b'{"question":"q","outputs":["x"],"grades":[NaN]}',
    b'{"question":"q","outputs":["x"],"grades":["1"]}',
    b'{"question":"q","outputs":[{"text":"x"}],"grades":[1]}',
    b'{"question":"q","outputs":["x"],"grades":[1],"gold":null}',
    b'{"question":"q","outputs":["x"],"grades":[1],"reward":2}',
    b'{"question":"q","outputs":["x"],"grades":[1],"other":1,"other":2}',
    b'{"question":"q","outputs":["x"],"grades":[1],"grades":[1]}',
    b'{"question":"q","outputs":["x"],"grades":[1],"\xc3\xbc":1}',
    b'{"question":"q","outputs":["x"],"grades":[1],"n":' + b"1" * 5000 + b"}",
    b'{"question":"q","outputs":["x"],"grades":[1],"id":""}',
    b'{"question":"q","outputs":["x"],"grades":[1],"id":"\\u0061"}',
    b'{"question":" ","outputs":["x"],"grades":[1]}',
    b'{"question":"<|im_start|>","outputs":["x"],"grades":[1]}',
    b'{"question":"\\u003c|","outputs":["x"],"grades":[1]}',
    b'{"question":"q","outputs":["x"],"grades":[1],"other":"\xff"}',
    b'{"question":"q","outputs":["x"]}',
    b'{"outputs":["x"],"grades":[1]}',
    b'{"question":"q","outputs":["x"],"grades":[1]} x',
    b'{"question":"q","outputs":["\\ud800"],"grades":[1]}',
    b"[]", b"", b"{}", b"{",
]  # fmt: skip


@needs_scanner
def test_usual_lines_are_renamed_and_others_are_left() -> None:
    assert compare(USUAL) == list(range(len(USUAL)))
    assert compare(LEFT) == []
    assert compare([USUAL[0], LEFT[0], USUAL[1], LEFT[-1]]) == [0, 2]


@needs_scanner
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@settings(max_examples=80)
@given(texts=st.lists(line(), max_size=4), chosen=st.randoms(use_true_random=False))
def test_the_scanner_renames_as_python_does(
    form: Format, texts: list[bytes], chosen: Random
) -> None:
    compare(texts, form)
    broken = [mutate([*texts, *USUAL], chosen) for _ in range(8)]
    compare([part for one in broken for part in one.split(b"\n")], form)


@pytest.mark.parametrize("name", FORMATS)
def test_formats_that_need_more_than_other_names_are_not_renamed(name: str) -> None:
    form = FORMATS[name]
    usual = {"open-r1", "open-r1-pass-rate", "livecodebench", "qwen-math", "skillfactory"}
    assert (renaming_of(form) is not None) == (name in usual)
