"""The values of one field over a whole run → the one Arrow type that holds them all.

A Shape collects what was seen in a field, and Shapes of different shards merge. A ValueType is the
type chosen from a Shape.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from msgspec import Struct

from curriculum.storage.arrow_arrays import (
    integers,
    lists,
    numbers,
    repeated,
    structs,
    texts,
    truths,
    validity,
)
from curriculum.verl.values import Values

if TYPE_CHECKING:
    import pyarrow as pa


LineOfShard: TypeAlias = tuple[int, int]  # shard, line within it

_KINDS = {type(None): "null", bool: "boolean", str: "string", float: "number", list: "list",
          dict: "object", int: "integer"}  # fmt: skip
# This many values are added one by one before the rest are compared with what they showed.
KNOWN_AFTER = 20
DEEPEST = 40  # levels; Arrow takes more, but not every parquet reader does
TOO_LARGE = "integer beyond int64"
SCALARS = {"boolean": "bool", "string": "string", "number": "double", "integer": "int64"}


@dataclass
class Conflict(Exception):
    """The values of the field at `path` fit no single type; `kinds` has the first line of each."""

    path: str
    kinds: dict[str, LineOfShard]


class Shape:
    """The kinds of values seen in one field, the first line of each, and the shapes inside.

    `grow` is at how many levels dicts may differ in their keys; the struct then has all of them. It
    is at least 1 for the items of lists, and with `deep` it is every level. Below, dicts whose keys
    differ set `keys_differ` and lose their fields: they become JSON text.
    """

    __slots__ = ("deep", "depth", "fields", "grow", "item", "keys_differ", "kinds")

    def __init__(self, grow: int = 1, deep: bool = False, depth: int = 0) -> None:
        self.grow, self.deep, self.depth = max(grow, int(deep)), deep, depth
        self.kinds: dict[str, LineOfShard] = {}
        self.item: Shape | None = None
        self.fields: dict[str, Shape] | None = None
        self.keys_differ = False

    def add(self, value: Any, line: LineOfShard) -> None:
        """Add one value."""
        kind = _KINDS[type(value)]
        if kind == "integer" and not -(2**63) <= value < 2**63:
            kind = TOO_LARGE
        self.kinds.setdefault(kind, line)
        if self.depth > DEEPEST:  # too deep for any type, so what is inside does not matter
            return
        if kind == "list":
            if self.item is None:
                self.item = Shape(max(self.grow, 1), self.deep, self.depth + 1)
            for item in value:
                self.item.add(item, line)
        elif kind == "object":
            self._add_object(value, line)

    def _add_object(self, value: dict[str, Any], line: LineOfShard) -> None:
        if self.fields is None:
            self.fields = {}
        elif self.fields.keys() != value.keys():
            self.keys_differ = True
            if not self.grow:
                self.fields = {}
        if self.keys_differ and not self.grow:
            return
        for key, item in value.items():
            if key not in self.fields:
                self.fields[key] = Shape(max(self.grow - 1, 0), self.deep, self.depth + 1)
            self.fields[key].add(item, line)

    def add_all(self, values: Values, place_of: Callable[[int], LineOfShard]) -> bool:
        """Add many values and return whether they showed anything new. Fast if they did not."""
        if not isinstance(values, list):
            return self._add_array(values, place_of)
        if self._covers(values):
            return False
        known = min(KNOWN_AFTER, len(values))
        for i in range(known):
            self.add(values[i], place_of(i))
        if not self._covers(values[known:]):
            for i in range(known, len(values)):
                self.add(values[i], place_of(i))
        return True

    def _add_array(self, values: pa.Array, place_of: Callable[[int], LineOfShard]) -> bool:
        """Add values of one scalar kind: what the first of them shows, and the first null."""
        new, valid = False, validity(values)
        for kind in (valid, ~valid):
            if kind.any():
                first = int(kind.argmax())
                value = values[first].as_py()
                new |= _KINDS[type(value)] not in self.kinds
                self.add(value, place_of(first))
        return new

    def _covers(self, values: Sequence[Any]) -> bool:
        """Whether adding the values would change nothing, checked for all of them at once."""
        types = set(map(type, values))
        if not all(_KINDS[type_] in self.kinds for type_ in types):
            return False
        if int in types:
            whole = [value for value in values if type(value) is int]
            if min(whole) < -(2**63) or max(whole) >= 2**63:
                return False
        if self.depth > DEEPEST:
            return True
        if list in types:
            items = [item for value in values if type(value) is list for item in value]
            if items and (self.item is None or not self.item._covers(items)):
                return False
        if dict in types and not (self.keys_differ and not self.grow):
            objects = [value for value in values if type(value) is dict]
            return self._covers_objects(objects)
        return True

    def _covers_objects(self, objects: Sequence[dict[str, Any]]) -> bool:
        fields = self.fields or {}
        for keys in set(map(tuple, objects)):
            same = len(keys) == len(fields) and all(key in fields for key in keys)
            if not same and not (self.keys_differ and all(key in fields for key in keys)):
                return False
        return all(
            shape._covers([value[key] for value in objects if key in value])
            for key, shape in fields.items()
        )

    def copy(self) -> Shape:
        """A copy that shares nothing with this one."""
        copied = Shape(self.grow, self.deep, self.depth)
        copied.kinds, copied.keys_differ = dict(self.kinds), self.keys_differ
        copied.item = self.item and self.item.copy()
        if self.fields is not None:
            copied.fields = {name: shape.copy() for name, shape in self.fields.items()}
        return copied

    def merge(self, other: Shape) -> None:
        """Add all that `other` has seen; its lines come later."""
        for kind, line in other.kinds.items():
            self.kinds.setdefault(kind, line)
        if other.item is not None:
            if self.item is None:
                self.item = other.item
            else:
                self.item.merge(other.item)
        if other.fields is None:
            return
        if self.fields is None:
            self.fields, self.keys_differ = other.fields, other.keys_differ
            return
        self.keys_differ |= other.keys_differ or self.fields.keys() != other.fields.keys()
        if self.keys_differ and not self.grow:
            self.fields = {}
            return
        for key, shape in other.fields.items():
            if key in self.fields:
                self.fields[key].merge(shape)
            else:
                self.fields[key] = shape


class ValueType(Struct, frozen=True, dict=True):
    """A type, and how `arrow_array` writes the values of that type.

    `kind` is string, int64, double, bool, list or struct; `json`, a string that holds any value
    as JSON text; `text`, the same but for strings, which stay; or `nothing`, a string that is
    always null, for values that are null or {}.
    """

    kind: str
    item: ValueType | None = None
    fields: tuple[tuple[str, ValueType], ...] = ()

    @cached_property
    def arrow_type(self) -> pa.DataType:
        """The Arrow type: only string, int64, double, bool, list and struct."""
        import pyarrow as pa

        if self.item is not None:
            return pa.list_(self.item.arrow_type)
        if self.fields:
            return pa.struct([(name, inner.arrow_type) for name, inner in self.fields])
        scalars = {"int64": pa.int64(), "double": pa.float64(), "bool": pa.bool_()}
        return scalars.get(self.kind, pa.string())


def choose_type(shape: Shape, path: str, notes: list[str]) -> ValueType | None:
    """The type for all values that a Shape has seen; None if they are only empty dicts.

    Struct fields are sorted by name, so that two runs over the same values agree. Adds a note to
    `notes` where values are written as JSON text, as null, or left out. Raises Conflict if the
    values fit no single type.
    """
    kinds = {kind: line for kind, line in shape.kinds.items() if kind != "null"}
    if not kinds:
        return ValueType("nothing")
    if path.count(".") + path.count("[]") > DEEPEST:
        raise Conflict(path[:60] + "…", {f"nested more than {DEEPEST} deep": min(kinds.values())})
    if len(kinds) > 1 or TOO_LARGE in kinds:
        if not shape.deep:
            raise Conflict(path, kinds)
        notes.append(f"{path} holds {' and '.join(kinds)}: written as JSON text, for json.loads")
        return ValueType("json")
    kind = next(iter(kinds))
    if kind in SCALARS:
        return ValueType(SCALARS[kind])
    if kind == "list":
        item = choose_type(shape.item or Shape(), f"{path}[]", notes)
        if item is None:
            notes.append(f"{path}[] holds only empty objects: written as null")
        return ValueType("list", item or ValueType("nothing"))
    if shape.keys_differ and not shape.grow:
        notes.append(
            f"{path} has other keys in other rollouts: written as JSON text, for json.loads"
        )
        return ValueType("json")
    if shape.keys_differ and shape.deep:
        notes.append(f"{path} has other keys in other rollouts: where one is unset it is null")
    found = [
        (name, choose_type(inner, f"{path}.{name}", notes))
        for name, inner in sorted((shape.fields or {}).items())
    ]
    notes.extend(
        f"{path}.{name} holds only empty objects: left out" for name, inner in found if not inner
    )
    fields = tuple((name, inner) for name, inner in found if inner is not None)
    return ValueType("struct", fields=fields) if fields else None


def exact_type(shape: Shape) -> ValueType | None:
    """The type that gives back each value that a Shape has seen as it was; None if none does.

    Struct fields keep the order in which they were seen.
    """
    kinds = set(shape.kinds) - {"null"}
    if not kinds:
        return ValueType("nothing")
    kind = kinds.pop()
    if kinds or kind == TOO_LARGE or shape.depth >= DEEPEST:
        return None
    if kind in SCALARS:
        return ValueType(SCALARS[kind])
    if kind == "list":
        item = exact_type(shape.item) if shape.item else ValueType("nothing")
        return item and ValueType("list", item=item)
    if shape.keys_differ or not shape.fields:
        return None
    fields = [(name, exact_type(inner)) for name, inner in shape.fields.items()]
    held = tuple((name, inner) for name, inner in fields if inner is not None)
    return ValueType("struct", fields=held) if len(held) == len(fields) else None


def arrow_array(values: Values, kind: ValueType) -> pa.Array:
    """Values as an Arrow array of this type. None and unset keys become null."""
    if isinstance(values, list):
        return _array_of_list(values, kind)
    if values.type == kind.arrow_type and kind.kind in SCALARS.values():
        return values
    return _array_of_list(values.to_pylist(), kind)


def _array_of_list(values: Sequence[Any], kind: ValueType) -> pa.Array:
    if kind.kind == "nothing":
        return repeated(None, len(values))
    if kind.kind == "json" or (kind.kind == "text" and not all(type(v) is str for v in values)):
        kept = (type(None), str) if kind.kind == "text" else type(None)
        return texts(
            [v if isinstance(v, kept) else json.dumps(v, ensure_ascii=False) for v in values]
        )
    if kind.kind in ("string", "text"):
        return texts(values)
    valid = None
    if None in values:
        valid = np.array([value is not None for value in values], dtype=np.bool_)
    if kind.item is not None:
        some = [value or [] for value in values]
        items = _array_of_list([item for value in some for item in value], kind.item)
        return lists([len(value) for value in some], items, valid)
    if kind.fields:
        objects = [value or {} for value in values]
        children = [
            _array_of_list([value.get(name) for value in objects], inner)
            for name, inner in kind.fields
        ]
        return structs(kind.arrow_type, children, valid)
    filled = values if valid is None else [0 if value is None else value for value in values]
    if kind.kind == "int64":
        return integers(np.array(filled, np.int64), valid)
    if kind.kind == "double":
        return numbers(np.array(filled, np.float64), valid)
    return truths(np.array(filled, np.bool_), valid)
