"""A rollout of our own form whose scores are words or lists → the same with numbers."""

from __future__ import annotations

from collections import Counter

from curriculum.converting.convert_line import checked_fields
from curriculum.dumps.formats import REWARD, Format, read_score
from curriculum.dumps.json_values import (
    NULL,
    Raw,
    Text,
    as_json,
    from_json,
    json_list,
    json_object,
    raw_fields,
    raw_items,
    starts_with,
)
from curriculum.dumps.values import is_number
from curriculum.grouping.groups import DumpNotes
from curriculum.reading.lines import Line, Malformed, describe


class OwnConverter:
    """Converts rollouts of our own form; `notes` stays empty."""

    def __init__(self, form: Format) -> None:
        self.notes: DumpNotes = Counter()
        self._form = form

    def __call__(self, line: Line) -> tuple[bytes, int]:
        """The rollout, with its newline, and 1, the number of rollouts. Raises Malformed."""
        raws = checked_fields(self._form, line)
        raws[REWARD] = _reward(self._form, raws)
        return json_object(raws.items()) + b"\n", 1


def _reward(form: Format, raws: dict[str, Raw]) -> Raw:
    """The reward of a rollout with its scores as numbers. What was in place of a score is kept as
    `source_<name>` of an entry that is an object. Raises Malformed."""
    name = form.reward_field
    if not starts_with(raws[REWARD], b"["):
        raise Malformed("reward is not a list", f"it is {describe(from_json(raws['reward']))}")
    entries: list[Text] = []
    for i, entry in enumerate(raw_items(raws[REWARD])):
        fields = raw_fields(entry) if starts_with(entry, b"{") else {name: entry}
        where = f"reward[{i}]" + f".{name}" * starts_with(entry, b"{")
        given = from_json(fields.get(name, NULL))
        score = read_score(form, where, given)
        if score is not None and not is_number(score):
            raise Malformed("a score is not a number", f"{where} is {describe(score)}")
        if score is given:
            entries.append(entry)
        elif starts_with(entry, b"{"):
            kept = f"source_{name}"
            while kept in fields:
                kept = f"source_{kept}"
            others = {kept if key == name else key: raw for key, raw in fields.items()}
            entries.append(json_object([(name, as_json(score)), *others.items()]))
        else:
            entries.append(as_json(score))
    return Raw(json_list(entries))
