"""Lines of a group that repeat a response, because results were written or given twice.

A response has an id where its format has one. Only the first line with an id counts; a second line
with it that differs is a disagreement, since nothing says which of them is right.
"""

from __future__ import annotations

from typing import Any

from curriculum.dumps.formats import SEVERAL_RESPONSES, Disagreement, Format
from curriculum.grouping.groups import GroupFields, decoded
from curriculum.grouping.json_values import NULL, canonical_json


def without_repeats(form: Format, columns: GroupFields, count: int) -> tuple[GroupFields, int]:
    """The fields of `count` lines without those that repeat a response, and how many are left.

    Lines that have no id never repeat one. Raises Disagreement if two lines have one id and differ,
    unless the prompt alone groups them, which then may have been asked in several runs.
    """
    own = next((columns[ids[-1]] for ids in form.ids if ids[-1] in columns), None)
    if own is None or len({None if raw is None else bytes(raw) for raw in own}) == count:
        return columns, count  # the usual cases
    seen: dict[Any, list[int]] = {}
    kept: list[int] = []
    for line in range(count):
        response = _id(form, columns, line)
        others = seen.setdefault(response, []) if response else []
        if any(_same(columns, other, line) for other in others):
            continue
        if others and form.groups:
            raise Disagreement(SEVERAL_RESPONSES, (others[0], line))
        others.append(line)
        kept.append(line)
    if len(kept) < count:
        columns = {name: [column[line] for line in kept] for name, column in columns.items()}
    return columns, len(kept)


def _id(form: Format, columns: GroupFields, line: int) -> tuple[object, ...] | None:
    """What identifies the response of a line; None if nothing does."""
    for places in form.ids:
        raws = [columns[place][line] if place in columns else None for place in places]
        found = [bytes(raw) for raw in raws if raw is not None and raw != NULL]
        read = form.read_id.get(places[-1])
        if len(found) == len(places) and (read is None or read(decoded(raws[-1])) is not None):
            return (places, *found)
    return None


def _same(columns: GroupFields, one: int, other: int) -> bool:
    """Whether two lines have the same fields, whatever the order of keys in them."""
    return all(
        column[one] == column[other]
        or canonical_json(decoded(column[one])) == canonical_json(decoded(column[other]))
        for column in columns.values()
    )
