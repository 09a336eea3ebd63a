"""The lines of a group, undecoded and field by field, and what is noted of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import Enum
from typing import Any, TypeAlias

from curriculum.dumps.values import Fields, top, within
from curriculum.grouping.json_values import Raw, from_json

Column: TypeAlias = list[Raw | None]
GroupFields: TypeAlias = dict[str, Column]  # by field, its value in each line of a group


class DumpNote(Enum):
    """What is counted while rollouts are put together, besides what `PromptNote` names."""

    FAILED = "responses that failed"
    CUT_OFF = "responses that were cut off"
    REPEATED = "lines that repeat a response"
    SEVERAL_PROMPTS = "rollouts with responses to several prompts"
    NO_PROMPT = "rollouts without a prompt, by the field that may hold it"
    TOOLS = "rollouts with tools"
    SAME_LINES = "rollouts that repeat another one byte for byte"


DumpNotes: TypeAlias = "Counter[tuple[Enum, str]]"  # by note, and by field or ""


def by_field(raws: Sequence[dict[str, Raw]]) -> GroupFields:
    """For each field, its value in each line; None if a line lacks it."""
    names = raws[0]
    if any(raw.keys() != names.keys() for raw in raws):
        names = {name: value for raw in raws for name, value in raw.items()}
    return {name: [raw.get(name) for raw in raws] for name in names}


def decoded(raw: Raw | None) -> Any:
    """The value; None if there is none."""
    return None if raw is None else from_json(raw)


def decoded_line(columns: GroupFields, line: int, names: Sequence[str]) -> Fields:
    """Some fields of a line, of those that it has."""
    found = {name: columns[name][line] for name in names if name in columns}
    return {name: from_json(raw) for name, raw in found.items() if raw}


def distinct(columns: GroupFields, place: str) -> list[Any]:
    """The value at a place in each line; only one value if all lines share the field."""
    column = columns.get(top(place), [None])
    if column.count(column[0]) == len(column):
        column = column[:1]
    return [None if raw is None else within(from_json(raw), place) for raw in column]
