"""The open fields of all rollouts → the one form that the rows of a run have.

The form follows from the values alone, whatever the order and the parts in which they were seen.
"""

from __future__ import annotations

from msgspec import Struct, field

from curriculum.messages.message import KEPT, TOOL_CALLS
from curriculum.verl.row_batch import RowBatch
from curriculum.verl.rows import STRUCT_FIELDS, OwnField, RowForm, name_own_fields
from curriculum.verl.value_types import (
    Conflict,
    LineOfShard,
    Shape,
    ValueType,
    choose_type,
    exact_type,
)

# Messages, tool calls and functions may each have keys that others lack.
MESSAGE_LEVELS = 3


class Shapes(Struct):
    """Shapes of the fields whose type is open: ground_truth, extra_info's fields by name, and what
    messages keep beside role and content, as an object."""

    ground_truth: Shape = field(default_factory=Shape)
    extra_info: dict[str, Shape] = field(default_factory=dict)
    kept: Shape = field(default_factory=lambda: Shape(MESSAGE_LEVELS))

    def add(self, rows: RowBatch, first: LineOfShard) -> bool:
        """Add some rows, whose positions count from the line `first`.

        Returns whether they showed anything new.
        """
        number, line = first
        new = self.ground_truth.add_all(
            rows.ground_truths, lambda i: (number, line + int(rows.positions[i]))
        )
        for name, (values, _) in rows.own.items():
            if name not in self.extra_info:
                self.extra_info[name] = Shape(False, deep=name in STRUCT_FIELDS)
            # No message says where these were seen, so `first` stands for every line.
            new |= self.extra_info[name].add_all(values, lambda _: first)
        if isinstance(rows.kept, list):
            kept = [keys for some in rows.kept for keys in some or ()]
            new |= self.kept.add_all(kept, lambda _: first)
        return new

    def merge(self, other: Shapes) -> None:
        """Add what later rows have shown; `other` must not be used afterwards."""
        self.ground_truth.merge(other.ground_truth)
        self.kept.merge(other.kept)
        for name, shape in other.extra_info.items():
            if name in self.extra_info:
                self.extra_info[name].merge(shape)
            else:
                self.extra_info[name] = shape

    def with_more(self, other: Shapes) -> Shapes:
        """What both have shown together; neither is changed."""
        both = self.copy()
        both.merge(other.copy())
        return both

    def copy(self) -> Shapes:
        """A copy that shares nothing with this one."""
        own = {name: shape.copy() for name, shape in self.extra_info.items()}
        return Shapes(self.ground_truth.copy(), own, self.kept.copy())


def choose_form(shapes: Shapes, best_response: bool) -> tuple[RowForm, list[str]]:
    """The form of a run's rows, and notes about it for the user.

    An extra_info field whose values fit no single type becomes JSON text. Raises Conflict if the
    ground truths fit none or are only empty objects, or if a field that verl needs as a struct is
    not one.
    """
    notes: list[str] = []
    truth = choose_type(shapes.ground_truth, "ground_truth", notes)
    if truth is None:
        raise Conflict("ground_truth", {"an empty object": shapes.ground_truth.kinds["object"]})
    own = []
    names = name_own_fields(shapes.extra_info)
    for source, name in sorted(names.items(), key=lambda pair: pair[1]):
        shape, path = shapes.extra_info[source], f"extra_info.{source}"
        if source in STRUCT_FIELDS and set(shape.kinds) - {"object", "null"}:
            raise Conflict(path, shape.kinds)
        inner: list[str] = []
        try:
            type_ = choose_type(shape, path, inner)
        except Conflict as conflict:
            kinds = " and ".join(conflict.kinds)
            found_there = f"{conflict.path} holds {kinds}"
            inner = [f"{found_there}: {path} is written as JSON text, for json.loads"]
            type_ = ValueType("json")
        notes.extend(inner)
        if type_ is not None:
            own.append(OwnField(source, name, type_))
        else:
            notes.append(f"{path} holds only empty objects: left out")
    return RowForm(truth, tuple(own), best_response, _kept_types(shapes.kept, notes)), notes


def _kept_types(shape: Shape, notes: list[str]) -> tuple[tuple[str, ValueType], ...]:
    """The types of what messages keep beside role and content, in the order of KEPT."""
    fields = shape.fields or {}
    strings = {name: ValueType("string") for name in KEPT if name in fields}
    if TOOL_CALLS in fields:
        calls = fields[TOOL_CALLS].item
        assert calls is not None  # a message without calls keeps none
        call = _call_type(calls, f"prompt[].{TOOL_CALLS}[]", notes)
        strings[TOOL_CALLS] = ValueType("list", item=call)
    return tuple(strings.items())


def _call_type(shape: Shape, path: str, notes: list[str]) -> ValueType:
    """The type of a tool call, or of the function that it calls. A value that no type gives back as
    it was, such as arguments with other keys in other calls, is text: JSON, unless it was text."""
    if shape.keys_differ:
        notes.append(f"{path} has other keys in other tool calls: where one is unset it is null")
    fields = []
    for name, inner in (shape.fields or {}).items():
        inside, type_ = f"{path}.{name}", exact_type(inner)
        if name == "function" and inner.fields and set(inner.kinds) <= {"object", "null"}:
            type_ = _call_type(inner, inside, notes)
        if type_ is None:
            type_ = ValueType("text")
            notes.append(
                f"{inside} differs in form or keys between tool calls: written as JSON text, which "
                "is how OpenAI writes arguments"
            )
        fields.append((name, type_))
    return ValueType("struct", fields=tuple(fields))


class FormGuess:
    """The form that fits a shard's rows so far and the Shapes `known` from other shards.

    It nearly always is the form of the run: other shards rarely show anything new.
    """

    def __init__(self, known: Shapes, best_response: bool) -> None:
        self._known, self._best_response = known, best_response
        self._form: RowForm | None = None
        self.shapes = Shapes()

    def add(self, rows: RowBatch, first: LineOfShard) -> RowForm | None:
        """Add rows and return the form; None if the values fit no single type."""
        if self.shapes.add(rows, first) or self._form is None:
            try:
                both = self._known.with_more(self.shapes)
                self._form, _ = choose_form(both, self._best_response)
            except Conflict:
                self._form = None
        return self._form
