"""What values look like over a whole run → the one Arrow type that holds them all.

A Shape gathers what was seen at one place, value by value, and two Shapes merge into the Shape of
all their values, so shards can be inspected apart. A Plan is the type chosen from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import pyarrow as pa

Place: TypeAlias = tuple[int, int]  # shard, line within it

_KINDS = {type(None): "null", bool: "boolean", str: "string", float: "number", list: "list",
          dict: "object", int: "integer"}  # fmt: skip
# So many values are looked at one by one before the rest are compared with what they showed.
KNOWN_AFTER = 20
DEEPEST = 40  # Arrow takes more, but not every reader of parquet does
_TOO_LARGE = "integer beyond int64"
_SCALARS = {"boolean": "bool", "string": "string", "number": "double", "integer": "int64"}


@dataclass
class Conflict(Exception):
    """Values at one place that no single type holds: the path, and where each kind was seen."""

    path: str
    kinds: dict[str, Place]


class Shape:
    """The kinds of values seen at one place, with the first place of each, and what is inside.

    `grow` tells whether dicts here may differ in their keys (the union becomes a struct); it
    holds for the items of lists, and with `deep` everywhere below. Where it does not,
    `keys_differ` stays set and the fields are forgotten: JSON text will hold the dict.
    """

    __slots__ = ("deep", "depth", "fields", "grow", "item", "keys_differ", "kinds")

    def __init__(self, grow: bool = True, deep: bool = False, depth: int = 0) -> None:
        self.grow, self.deep, self.depth = grow or deep, deep, depth
        self.kinds: dict[str, Place] = {}
        self.item: Shape | None = None
        self.fields: dict[str, Shape] | None = None
        self.keys_differ = False

    def add(self, value: Any, place: Place) -> None:
        """Take one value into account."""
        kind = _KINDS[type(value)]
        if kind == "integer" and not -(2**63) <= value < 2**63:
            kind = _TOO_LARGE
        self.kinds.setdefault(kind, place)
        if self.depth > DEEPEST:  # no type goes so deep, so it does not matter what is there
            return
        if kind == "list":
            if self.item is None:
                self.item = Shape(True, self.deep, self.depth + 1)
            for item in value:
                self.item.add(item, place)
        elif kind == "object":
            self._add_object(value, place)

    def _add_object(self, value: dict[str, Any], place: Place) -> None:
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
                self.fields[key] = Shape(False, self.deep, self.depth + 1)
            self.fields[key].add(item, place)

    def add_all(self, values: Sequence[Any], place_of: Callable[[int], Place]) -> bool:
        """Take many values into account, fast where they are like those seen before; whether
        they are not."""
        if self._covers(values):
            return False
        known = min(KNOWN_AFTER, len(values))
        for i in range(known):
            self.add(values[i], place_of(i))
        if not self._covers(values[known:]):
            for i in range(known, len(values)):
                self.add(values[i], place_of(i))
        return True

    def _covers(self, values: Sequence[Any]) -> bool:
        """Whether adding the values would change nothing, decided for all of them at once."""
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

    def merge(self, other: Shape) -> None:
        """Take into account all that `other` has seen, which came later."""
        for kind, place in other.kinds.items():
            self.kinds.setdefault(kind, place)
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


@dataclass(frozen=True)
class Plan:
    """A type, and what becomes of the values that it holds (arrow.py).

    `kind` is string, int64, double, bool, list or struct; `json`, a string that holds any value
    as JSON text; or `nothing`, a string for values that say nothing (null, or {}).
    """

    kind: str
    item: Plan | None = None
    fields: tuple[tuple[str, Plan], ...] = ()

    def arrow_type(self) -> pa.DataType:
        """The Arrow type: only string, int64, double, bool, list and struct."""
        import pyarrow as pa

        if self.item is not None:
            return pa.list_(self.item.arrow_type())
        if self.fields:
            return pa.struct([(name, plan.arrow_type()) for name, plan in self.fields])
        scalars = {"int64": pa.int64(), "double": pa.float64(), "bool": pa.bool_()}
        return scalars.get(self.kind, pa.string())


def plan_shape(shape: Shape, path: str, notes: list[str]) -> Plan | None:
    """The type for all that a Shape has seen; None if that is only empty dicts.

    Struct fields are sorted by name, so that two runs over the same values agree. Dicts written
    as JSON text are told in `notes`. Raises Conflict where values fit no one type.
    """
    kinds = {kind: place for kind, place in shape.kinds.items() if kind != "null"}
    if not kinds:
        return Plan("nothing")
    if path.count(".") + path.count("[]") > DEEPEST:
        raise Conflict(path[:60] + "…", {f"nested more than {DEEPEST} deep": min(kinds.values())})
    if len(kinds) > 1 or _TOO_LARGE in kinds:
        if not shape.deep:
            raise Conflict(path, kinds)
        notes.append(f"{path} holds {' and '.join(kinds)}: written as JSON text, for json.loads")
        return Plan("json")
    kind = next(iter(kinds))
    if kind in _SCALARS:
        return Plan(_SCALARS[kind])
    if kind == "list":
        item = plan_shape(shape.item or Shape(), f"{path}[]", notes)
        if item is None:
            notes.append(f"{path}[] holds only empty objects: written as null")
        return Plan("list", item or Plan("nothing"))
    if shape.keys_differ and not shape.grow:
        notes.append(
            f"{path} has other keys in other rollouts: written as JSON text, for json.loads"
        )
        return Plan("json")
    if shape.keys_differ and shape.deep:
        notes.append(f"{path} has other keys in other rollouts: where one is unset it is null")
    planned = [
        (name, plan_shape(inner, f"{path}.{name}", notes))
        for name, inner in sorted((shape.fields or {}).items())
    ]
    notes.extend(
        f"{path}.{name} holds only empty objects: left out" for name, plan in planned if not plan
    )
    fields = tuple((name, plan) for name, plan in planned if plan is not None)
    return Plan("struct", fields=fields) if fields else None
