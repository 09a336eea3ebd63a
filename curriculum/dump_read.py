"""Lines of a dump → the fields that say what each is and where it belongs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from curriculum.arrow import is_utf8
from curriculum.blocks import Block
from curriculum.dump_values import Fields, top, tops, within
from curriculum.formats import Format
from curriculum.raw_json import from_json
from curriculum.rollouts import REFUSALS, Line, Malformed, decode_block, invalid_utf8, load_object

Columns: TypeAlias = Mapping[str, list[Any]]  # the values of some lines, by top-level field


class LineReader:
    """Reads of a dump's lines the fields that say where they belong; a prompt, which may be long,
    is decoded only where it is asked for."""

    def __init__(self, form: Format) -> None:
        self._form = form
        places = [form.score, form.better_score, form.step, *form.status]
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

    def read_block(self, block: Block) -> Columns | None:
        """All lines at once; None where each must be looked at for itself."""
        rows = decode_block(self._lines, block) if is_utf8(block) else None
        if rows is None:
            return None
        columns = {
            top: [getattr(row, name) for row in rows]
            for name, top in zip(self._ids, self.names, strict=True)
        }
        if any(msgspec.UNSET in columns[mark] for mark in self._form.marks):
            return None
        return {name: _without_unset(column) for name, column in columns.items()}

    def read(self, line: Line) -> Fields:
        """One line. Raises Malformed."""
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


def _without_unset(column: list[Any]) -> list[Any]:
    if msgspec.UNSET in column:
        return [None if value is msgspec.UNSET else value for value in column]
    return column


def column_at(columns: Columns, place: str | None, count: int) -> list[Any]:
    """What stands at a place in each of `count` lines, None where nothing does."""
    if place is None:
        return [None] * count
    column = columns[top(place)]
    if msgspec.Raw in set(map(type, column)):
        column = [from_json(v) if isinstance(v, msgspec.Raw) else v for v in column]
    return [within(value, place) for value in column] if "." in place else column
