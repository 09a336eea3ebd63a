"""The first bytes of a file: signs of another kind, and none that JSON lines have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.containers.file_kinds import (
    CSV,
    HEAD_BYTES,
    JSON_ARRAY,
    JSON_OBJECT,
    PYTHON,
    TAR,
    TSV,
    UTF16,
    FileKind,
    kind_of,
)
from tests.helpers.rollouts import Script, rollout, write_jsonl
from tests.helpers.strategies import LINE, ROLLOUT


def kind(text: str | bytes) -> FileKind | None:
    data = text.encode() if isinstance(text, str) else text
    return kind_of(data[:HEAD_BYTES], whole=len(data) < HEAD_BYTES)


@given(st.lists(LINE | ROLLOUT, max_size=4), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_json_lines_are_of_no_other_kind(lines: list[Any], newline: str, bom: bool) -> None:
    objects = [line for line in lines if isinstance(line, dict)]
    text = newline.join(json.dumps(line, ensure_ascii=False) for line in objects)
    assert kind(("\ufeff" if bom else "") + text) is None


@given(st.lists(ROLLOUT, min_size=1, max_size=4), st.none() | st.integers(0, 3))
def test_an_array_is_one_however_it_is_written(lines: list[Any], indent: int | None) -> None:
    assert kind(json.dumps(lines, indent=indent)) is JSON_ARRAY
    parts = ",\n".join(map(json.dumps, lines))
    assert kind(f"\ufeff [{parts}]\n") is JSON_ARRAY


@given(st.lists(ROLLOUT.filter(bool), min_size=1, max_size=4), st.integers(0, 3))
def test_indented_objects_are_not_lines(lines: list[Any], indent: int) -> None:
    assert kind("\n".join(json.dumps(line, indent=indent) for line in lines)) is JSON_OBJECT


LONG = "x" * HEAD_BYTES


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("\n\n", None),
        ("{}\n[]\n", None),
        ("[]\n{}\n", None),
        ("[1, 2]\n[3]\n", None),
        ("[1, 2]\n", None),
        ("[[1], [2]]\n[[3]]\n", None),
        ("[[1], [2]]\n", None),
        ("[]", None),
        ("[[]]", None),
        ('["a", 1]\n', None),
        ("[INFO] 12:00 start\n{}\n", None),
        (f'[{{"a": "{LONG}"}}]', JSON_ARRAY),
        (f'{{"a": "{LONG}"}}\n', None),
        ('{"a": 1, "b": [\n', None),
        ('{"a": 1, "b": [1,\n{"a": 1}\n', None),  # a line cut off
        ('{"cut off": \n{"a": 1}\n', None),
        ('{"a": 1,\n "b": 2}', JSON_OBJECT),
        ('{"a": {\n"b": 2}}', JSON_OBJECT),
        ("{\n}\n", JSON_OBJECT),
        ("{'a': 1}\n", PYTHON),
        ("prompt,reward\na,1\n", CSV),
        ('"prompt","reward"\r\na,1\r\n', CSV),
        ("id\tprompt\n1\ta\n", TSV),
        ("prompt,reward", None),  # a header and nothing else
        ("Dear all, the prompt is\nhere\n", None),
        ("name,age\na,1\n", None),
        ("\ufeffprompt,reward\na,1\n", CSV),
        ("{}".encode("utf-16"), UTF16),
        (b"\xff\xfe{}", None),
        (b"a.jsonl".ljust(257, b"\0") + b"ustar\0" + b"\0" * 249, TAR),
        ("<p>", None),
        (b"\0" * 99, None),
    ],
)
def test_signs_of_another_kind(text: str | bytes, expected: FileKind | None) -> None:
    assert kind(text) is expected


@given(st.binary(max_size=40))
def test_any_bytes_have_a_kind_or_none(data: bytes) -> None:
    assert kind(data) is None or isinstance(kind(data), FileKind)


def test_an_empty_array_is_a_line_that_holds_no_rollout(tmp_path: Path, bucket: Script) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jsonl").write_text(" \n[]\n")
    write_jsonl(tmp_path / "in/b.jsonl", [rollout(1, 0)])
    flags = ("-i", tmp_path / "in", "-o", tmp_path / "out", "-n", 1)
    code, _, err = bucket(*flags)
    assert (code, "a.jsonl:2: not a JSON object: the line is a list" in err) == (1, True)
    assert bucket(*flags, "--on-malformed", "set-aside")[0] == 0
    assert (tmp_path / "out/rejected/malformed.jsonl").read_text() == "[]\n"
