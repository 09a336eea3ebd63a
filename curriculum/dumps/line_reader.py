"""A line of a dump → its fields that grouping needs, decoded, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from curriculum.dumps.formats import Format
from curriculum.dumps.json_values import from_json
from curriculum.dumps.values import Fields, is_inside, top, tops, within
from curriculum.reading.lines import REFUSALS, Line, Malformed, invalid_utf8, load_object

FieldColumns: TypeAlias = Mapping[str, list[Any]]  # by field, its value in each of some lines


class LineReader:
    """Reads the fields of a dump's lines that the index needs. A prompt, which may be long, is
    decoded only when it is used."""

    def __init__(self, form: Format) -> None:
        self._form = form
        places = [*form.scores, form.better_score, form.step, form.choice, *form.status]
        places += [place for group in form.alternatives for place in group]
        read = set(tops(place for place in places if place != form.prompt))
        self.names = tuple(sorted({*read, *tops([form.prompt]), *form.marks}))
        self._ids = tuple(f"f{i}" for i in range(len(self.names)))
        fields = [
            (name, Any if top in read else msgspec.Raw, msgspec.UNSET)
            for name, top in zip(self._ids, self.names, strict=True)
        ]
        rename = dict(zip(self._ids, self.names, strict=True))
        kind = msgspec.defstruct("Line", fields, rename=rename, gc=False)
        self._lines: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind)

    def read(self, line: Line) -> Fields:
        """Read one line. Raises Malformed."""
        try:
            str(line, "utf-8")
            row = self._lines.decode(line)
        except UnicodeDecodeError as error:
            raise invalid_utf8(error) from error
        except REFUSALS:
            fields = load_object(line)
        else:
            values = (getattr(row, name) for name in self._ids)
            pairs = zip(self.names, values, strict=True)
            fields = {name: value for name, value in pairs if value is not msgspec.UNSET}
        for name in sorted(self._form.marks.difference(fields)):
            raise Malformed(f"no {name}", f"expected in every line ({self._form.title})")
        return fields


def column_at(columns: FieldColumns, place: str | None, count: int) -> list[Any]:
    """The value at a place in each of `count` lines, None where there is none."""
    if place is None:
        return [None] * count
    column = columns[top(place)]
    if msgspec.Raw in set(map(type, column)):
        column = [from_json(v) if isinstance(v, msgspec.Raw) else v for v in column]
    return [within(value, place) for value in column] if is_inside(place) else column
