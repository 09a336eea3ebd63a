"""What the fields that rollouts leave open look like over a whole run → the form of its rows.

The form follows from the values alone, in whatever order and in however many parts they were seen.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field

from curriculum.columns import Columns
from curriculum.shapes import Conflict, Place, Plan, Shape, plan_shape
from curriculum.verl import STRUCT_FIELDS, OwnField, RowForm, name_own_fields


@dataclass
class Shapes:
    """Shapes of the fields whose type is open: ground_truth, and extra_info's fields by name."""

    ground_truth: Shape = field(default_factory=Shape)
    extra_info: dict[str, Shape] = field(default_factory=dict)

    def add(self, rows: Columns, place: Place) -> bool:
        """Take some rows into account, `place` being that of their first line; whether they
        showed anything new."""
        number, line = place
        positions = rows.positions
        new = self.ground_truth.add_all(rows.ground_truths, lambda i: (number, line + positions[i]))
        for name, values in rows.own_fields.items():
            if name not in self.extra_info:
                self.extra_info[name] = Shape(False, deep=name in STRUCT_FIELDS)
            # Where these were seen no message tells.
            new |= self.extra_info[name].add_all(values, lambda _: place)
        return new

    def merge(self, other: Shapes) -> None:
        """Take into account what later rows have shown; `other` is not to be used any more."""
        self.ground_truth.merge(other.ground_truth)
        for name, shape in other.extra_info.items():
            if name in self.extra_info:
                self.extra_info[name].merge(shape)
            else:
                self.extra_info[name] = shape

    def with_more(self, other: Shapes) -> Shapes:
        """What both have shown; neither changes."""
        both = deepcopy(self)
        both.merge(deepcopy(other))
        return both


def choose_form(shapes: Shapes, best_response: bool) -> tuple[RowForm, list[str]]:
    """The types of the fields that rollouts leave open, and what a person should know of them.

    An extra_info field whose values fit no one type becomes JSON text. Raises Conflict where the
    ground truths do, or where a field that verl needs as a struct is none.
    """
    notes: list[str] = []
    truth = plan_shape(shapes.ground_truth, "ground_truth", notes)
    if truth is None:
        raise Conflict("ground_truth", {"an empty object": (0, 0)})
    own = []
    names = name_own_fields(shapes.extra_info)
    for source, name in sorted(names.items(), key=lambda pair: pair[1]):
        shape, path = shapes.extra_info[source], f"extra_info.{source}"
        if source in STRUCT_FIELDS and set(shape.kinds) - {"object", "null"}:
            raise Conflict(path, shape.kinds)
        inner: list[str] = []
        try:
            plan = plan_shape(shape, path, inner)
        except Conflict as conflict:
            kinds = " and ".join(conflict.kinds)
            found_there = f"{conflict.path} holds {kinds}"
            inner = [f"{found_there}: {path} is written as JSON text, for json.loads"]
            plan = Plan("json")
        notes.extend(inner)
        if plan is not None:
            own.append(OwnField(source, name, plan))
        else:
            notes.append(f"{path} holds only empty objects: left out")
    return RowForm(truth, tuple(own), best_response), notes


class FormGuess:
    """The form that a shard's rows suggest so far, together with what other shards have `known`.

    It is the run's form if no other shard shows anything new, and nearly always it is.
    """

    def __init__(self, known: Shapes, best_response: bool) -> None:
        self._known, self._best_response = known, best_response
        self._form: RowForm | None = None
        self.shapes = Shapes()

    def add(self, rows: Columns, place: Place) -> RowForm | None:
        """The form after some more rows; None while the values fit no one type."""
        if self.shapes.add(rows, place) or self._form is None:
            try:
                both = self._known.with_more(self.shapes)
                self._form, _ = choose_form(both, self._best_response)
            except Conflict:
                self._form = None
        return self._form
