"""The lines of a group, undecoded and field by field, and what is noted of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import Enum
from typing import Any, TypeAlias

from curriculum.dumps.formats import SEVERAL_RESPONSES, Disagreement, End, Format
from curriculum.dumps.json_values import NULL, Raw, canonical_json, from_json
from curriculum.dumps.values import Fields, top, within
from curriculum.reading.lines import Malformed

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


ENDED = {End.FAILED: DumpNote.FAILED, End.CUT_OFF: DumpNote.CUT_OFF}
DumpNotes: TypeAlias = "Counter[tuple[Enum, str]]"  # by note, and by field or ""


def note_counts(notes: DumpNotes) -> dict[str, int]:
    """How often each thing was noted, by its name. Repeats are counted elsewhere."""
    total = Counter[str]()
    for (note, _), count in notes.items():
        if note is not DumpNote.REPEATED:
            total[note.value] += count
    return dict(sorted(total.items()))


def how_scored(form: Format) -> dict[str, Any]:
    """What the manifest says of how scores were read, as fields of DumpRecord."""
    said = {
        "added": form.added,
        "score_map": dict(form.words),
        "score_reduce": form.reduce,
        "chosen": form.chosen,
        "counts": form.counts,
        "missing": form.missing,
    }
    return {name: value for name, value in said.items() if value}


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


def no_group(form: Format) -> Malformed:
    """What is wrong with a line that nothing puts into a group."""
    wanted = "; ".join(" and ".join(places) for places in form.alternatives)
    return Malformed("nothing says which responses belong together", f"expected {wanted}")


def without_repeats(form: Format, columns: GroupFields, count: int) -> tuple[GroupFields, int]:
    """The fields of `count` lines without those that repeat a response, and how many are left.

    Lines repeat a response because results were written or given twice. Only the first line with
    an id counts; a second one that differs is a disagreement, since nothing says which is right.
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
