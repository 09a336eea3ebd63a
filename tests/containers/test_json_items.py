"""Arrays, values one after another, and the outline of an object, wherever a block ends."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.containers.json_items import Broken, Inner, outline, read_items

TEXT = st.text('"\\[]{},:\n é', max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
INDENT = st.sampled_from([None, 0, 1, 3])
BLOCK = st.sampled_from([1, 2, 3, 7, 50, 4096])


def items(text: str, in_array: bool = True, block: int = 4096, alone: bool = True) -> list[Any]:
    found = read_items(io.BytesIO(text.encode()), in_array, alone, block)
    return [json.loads(line) for part in found for line in bytes(part).split(b"\n")[:-1]]


@settings(max_examples=300)
@given(st.lists(JSON, max_size=4), INDENT, st.booleans(), BLOCK)
def test_the_items_of_an_array(
    values: list[Any], indent: int | None, ascii: bool, block: int
) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=ascii)
    assert items(f" \n{text}\n ", block=block) == values


@settings(max_examples=300)
@given(st.lists(JSON, max_size=4), INDENT, BLOCK)
def test_values_one_after_another(values: list[Any], indent: int | None, block: int) -> None:
    text = "\n".join(json.dumps(value, indent=indent) for value in values)
    assert items(text, in_array=False, block=block) == values


def test_an_item_keeps_its_bytes_but_for_line_ends() -> None:
    text = b'[ {"a" :\r\n 1.50,\n\t"b": "\\u00e9\\n" } ,\n{}]'
    assert b"".join(read_items(io.BytesIO(text), True)) == (
        b'{"a" :\r  1.50, \t"b": "\\u00e9\\n" }\n{}\n'
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('[{"a": 1}', "the array is not closed: it ends after item 1"),
        ("[", "the array is not closed: it ends before item 1"),
        ('[{"a": 1}, {"a"', "it ends inside item 2, which begins at byte 11"),
        ('[{"a": "x', "it ends inside item 1, which begins at byte 1"),
        ('[{"a": "x\\', "it ends inside item 1, which begins at byte 1"),
        ('[{"a": 1}]\n[{"a": 2}]', "after its end there is more: '[{\"a\": 2}]'"),
        ('[{"a": 1},]', "before the end of the array, at byte 9, there is ',', not nothing"),
        ('[{"a": 1} {"a": 2}]', "between the items, at byte 9, there is '', not one comma"),
        ('[, {"a": 1}]', "between the items, at byte 1, there is ',', not nothing"),
        ('[{"a": 1}, x y, {}]', "between the items, at byte 9, there is ', x y,', not one comma"),
        ('[{"a": 1}}', "there is a } at byte 9 that closes nothing"),
        ('[{"a": "x\ny"}]', "there is a line end inside a string, at byte 9"),
    ],
)
@pytest.mark.parametrize("block", [1, 3, 4096])
def test_what_is_no_array(text: str, found: str, block: int) -> None:
    with pytest.raises(Broken) as caught:
        items(text, block=block)
    assert caught.value.found.startswith(found)


def test_what_follows_a_list_in_an_object_is_not_read() -> None:
    assert items('[1, {"a": 2}], "b": [3]}', alone=False) == [1, {"a": 2}]


@settings(max_examples=300)
@given(st.dictionaries(TEXT, JSON, max_size=4), INDENT, BLOCK, st.sampled_from(["", "\n", "\n{}"]))
def test_the_outline_of_an_object(
    value: dict[str, Any], indent: int | None, block: int, after: str
) -> None:
    text = json.dumps(value, indent=indent).encode()
    found = outline(io.BytesIO(text + after.encode()), block)
    assert found is not None
    assert found.alone == (after != "\n{}")
    for (name, inside), (key, expected) in zip(found.fields.items(), value.items(), strict=True):
        assert name == key
        if not isinstance(expected, list | dict):
            assert inside == expected
            continue
        is_list = isinstance(expected, list)
        assert isinstance(inside, Inner)
        assert text[inside.start : inside.start + 1] == (b"[" if is_list else b"{")
        has_objects = is_list and bool(expected) and isinstance(expected[0], dict)
        assert (inside.is_list, inside.has_objects) == (is_list, has_objects)
        if is_list:
            stream = io.BytesIO(text[inside.start :])
            lines = b"".join(read_items(stream, True, alone=False, block_bytes=block))
            assert [json.loads(line) for line in lines.split(b"\n")[:-1]] == expected


@pytest.mark.parametrize("text", ["", "[1]", "x", '{"a" 1}', '{"a": 1,}'])
def test_what_has_no_outline(text: str) -> None:
    assert outline(io.BytesIO(text.encode())) is None


def test_an_object_that_is_not_closed() -> None:
    with pytest.raises(Broken, match="it ends inside the object"):
        outline(io.BytesIO(b'{"a": [{"b": 1}'))
