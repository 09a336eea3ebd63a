"""Values of a run → one type: merging in any cut, and what becomes of values that differ."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.verl.value_types import Conflict, Shape, ValueType, arrow_array, choose_type

VALUES = st.lists(
    st.recursive(
        st.sampled_from([None, True, 1, -(2**63), 2**63, 2.5, "a", "b"]),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=8,
)
CONTEXT = st.sampled_from([(True, False), (False, False), (False, True)])


def shape_of(values: list[Any], grow: bool = True, deep: bool = False, first: int = 0) -> Shape:
    shape = Shape(grow, deep)
    for i, value in enumerate(values):
        shape.add(value, (0, first + i))
    return shape


@given(values=VALUES, more=VALUES, context=CONTEXT)
def test_adding_many_equals_adding_each(values, more, context) -> None:
    values = values * 9 + more
    each, many = shape_of(values, *context), Shape(*context)
    many.add_all(values, lambda i: (0, i))
    assert planned(many) == planned(each)


def planned(shape: Shape) -> Any:
    notes: list[str] = []
    try:
        return choose_type(shape, "here", notes), notes
    except Conflict as conflict:
        return conflict.path, conflict.kinds


@given(values=VALUES, at=st.integers(0, 8), again=st.integers(0, 8), context=CONTEXT)
def test_merged_shapes_equal_one_shape(values, at, again, context) -> None:
    a, b = sorted((min(at, len(values)), min(again, len(values))))
    whole = shape_of(values, *context)
    left, middle, right = (
        shape_of(values[:a], *context),
        shape_of(values[a:b], *context, first=a),
        shape_of(values[b:], *context, first=b),
    )
    middle.merge(right)
    left.merge(middle)
    assert planned(left) == planned(whole)


def same(value: Any, found: Any) -> bool:
    """Whether a value came through, unset keys and {} being null and dicts JSON text at need."""
    if isinstance(value, dict):
        if isinstance(found, str):
            return json.loads(found) == value
        if not found:
            return all(inner in ({}, None) or same(inner, None) for inner in value.values())
        unset = set(found) - set(value)
        return all(found[key] is None for key in unset) and all(
            same(inner, found.get(key)) for key, inner in value.items()
        )
    if isinstance(value, list) and isinstance(found, list):
        return len(value) == len(found) and all(map(same, value, found))
    return type(value) is type(found) and value == found


@given(values=VALUES, context=CONTEXT)
def test_planned_values_survive_arrow(values: list[Any], context: tuple[bool, bool]) -> None:
    if context[1]:  # JSON text may stand for anything below tools_kwargs
        return
    try:
        plan = choose_type(shape_of(values, *context), "here", [])
    except Conflict:
        return
    if plan is None:
        assert all(value in (None, {}) or not any(value.values()) for value in values)
        return
    found = arrow_array(values, plan)
    found.validate(full=True)
    assert all(map(same, values, found.to_pylist()))
    assert found.equals(pa.array([converted(value, plan) for value in values], plan.arrow_type))


def converted(value: Any, plan: ValueType) -> Any:
    """A value as its plan's type holds it."""
    if value is None or plan.kind == "nothing":
        return None
    if plan.kind == "json":
        return json.dumps(value, ensure_ascii=False)
    if plan.item is not None:
        return [converted(item, plan.item) for item in value]
    if plan.fields:
        return {name: converted(value.get(name), inner) for name, inner in plan.fields}
    return value


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a", None], pa.string()),
        ([1], pa.int64()),
        ([2.5], pa.float64()),
        ([True], pa.bool_()),
        ([None], pa.string()),
        ([[]], pa.list_(pa.string())),
        ([[None], []], pa.list_(pa.string())),
        ([[[]]], pa.list_(pa.list_(pa.string()))),
        ([[{}]], pa.list_(pa.string())),
        ([["a"]], pa.list_(pa.string())),
        ([{"b": 1, "a": None}], pa.struct([("a", pa.string()), ("b", pa.int64())])),
        ([{"a": 1}, {"b": "x"}], pa.struct([("a", pa.int64()), ("b", pa.string())])),
        ([{"a": {}, "b": 1}], pa.struct([("b", pa.int64())])),
        ([[{"a": 1}, {"b": 2}]], pa.list_(pa.struct([("a", pa.int64()), ("b", pa.int64())]))),
        ([{"m": {"x": 1}}, {"m": {"x": 2}}], pa.struct([("m", pa.struct([("x", pa.int64())]))])),
        ([{"m": {"x": 1}}, {"m": {"y": 2}}], pa.struct([("m", pa.string())])),
        ([{"m": {"x": 1}}, {"m": {}}], pa.struct([("m", pa.string())])),
        ([{"m": {"x": 1}}, {"m": None}], pa.struct([("m", pa.struct([("x", pa.int64())]))])),
    ],
)
def test_types(values: list[Any], expected: pa.DataType) -> None:
    plan = choose_type(shape_of(values), "here", [])
    assert plan is not None
    assert plan.arrow_type == expected


def test_only_empty_dicts_are_left_out() -> None:
    assert choose_type(shape_of([{}, None]), "here", []) is None
    assert choose_type(shape_of([{"a": {}}]), "here", []) is None


@pytest.mark.parametrize(
    ("values", "path", "kinds"),
    [
        ([1, None, "a"], "here", {"integer": (0, 0), "string": (0, 2)}),
        ([1, 2.5], "here", {"integer": (0, 0), "number": (0, 1)}),
        ([True, 1], "here", {"boolean": (0, 0), "integer": (0, 1)}),
        ([2**63], "here", {"integer beyond int64": (0, 0)}),
        ([{"k": [{"n": 1}]}, {"k": [{"n": "a"}]}], "here.k[].n",
         {"integer": (0, 0), "string": (0, 1)}),
    ],
)  # fmt: skip
def test_values_of_no_one_type(values, path, kinds) -> None:
    with pytest.raises(Conflict) as caught:
        choose_type(shape_of(values), "here", [])
    assert (caught.value.path, caught.value.kinds) == (path, kinds)


def test_map_becomes_json_text_and_is_told() -> None:
    notes: list[str] = []
    values = [{"m": {"foo": 1}}, {"m": {"bar": [2]}}]
    plan = choose_type(shape_of(values), "kwargs[]", notes)
    assert plan is not None
    assert arrow_array(values, plan).to_pylist() == [{"m": '{"foo": 1}'}, {"m": '{"bar": [2]}'}]
    assert notes == [
        "kwargs[].m has other keys in other rollouts: written as JSON text, for json.loads"
    ]


def test_deep_structs_stay_structs() -> None:
    notes: list[str] = []
    values = [{"calc": {"create_kwargs": {"a": 1}}}, {"search": {"create_kwargs": {"b": "x"}}}]
    plan = choose_type(shape_of(values, False, True), "tools_kwargs", notes)
    assert plan is not None
    assert arrow_array(values, plan)[0].as_py() == {
        "calc": {"create_kwargs": {"a": 1}},
        "search": None,
    }
    assert plan.arrow_type.num_fields == 2
    assert any("other keys" in note for note in notes)


def test_deep_conflict_stays_small() -> None:
    plan = choose_type(shape_of([{"t": {"a": 1}}, {"t": {"a": "x"}}], False, True), "t", [])
    assert plan == ValueType(
        "struct", fields=(("t", ValueType("struct", fields=(("a", ValueType("json")),))),)
    )


def test_merge_looks_into_lists_and_remembers_that_keys_differ() -> None:
    left, right = shape_of([["a"]]), shape_of([[1]], first=1)
    left.merge(right)
    assert planned(left) == ("here[]", {"string": (0, 0), "integer": (0, 1)})
    left = shape_of([{"a": 1, "b": 2}], False, True)
    left.merge(shape_of([{"a": 1}, {"b": 2}], False, True))
    assert planned(left)[1] == [
        "here has other keys in other rollouts: where one is unset it is null"
    ]
