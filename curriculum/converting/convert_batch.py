"""A line that holds a batch of responses side by side → the rollouts of its prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from curriculum.converting.convert_line import checked_fields
from curriculum.converting.own_fields import check_lengths, reward_of, value_at
from curriculum.dumps.formats import EMPTY, Disagreement, Format, read_group
from curriculum.dumps.json_values import Raw, canonical_json, json_object, raw_items, starts_with
from curriculum.grouping.assemble import Assembler
from curriculum.grouping.groups import DumpNotes, no_group
from curriculum.reading.lines import Line, Malformed


class BatchConverter:
    """Converts the lines of a format that hold batches. `notes` counts what was found."""

    def __init__(self, form: Format) -> None:
        self._form = form
        self._assembler = Assembler(form)

    @property
    def notes(self) -> DumpNotes:
        """What was found in the rollouts."""
        return self._assembler.notes

    def __call__(self, line: Line) -> tuple[bytes, int]:
        """The rollouts of a line in the order of their first responses, each with its newline, and
        how many there are. Raises Malformed."""
        before = self._assembler.notes.copy()
        groups: dict[bytes, list[bytes]] = {}
        for fields in self._responses(line):
            groups.setdefault(self._group(fields), []).append(json_object(fields.items()))
        try:
            rollouts = [self._assembler(lines)[0] for lines in groups.values()]
        except Disagreement as error:
            self._assembler.notes = before
            raise Malformed(error.kind) from error
        return b"".join(rollouts), len(rollouts)

    def _responses(self, line: Line) -> Iterator[dict[str, Raw]]:
        """The fields of each response: its entry of every list that has one for each, and all other
        fields of the line."""
        form, raws = self._form, checked_fields(self._form, line)
        lists = {n: raw_items(raw) for n, raw in raws.items() if starts_with(raw, b"[")}
        wanted = [name for name in (form.prompt, form.response, *form.scores) if name]
        check_lengths({name: len(lists.get(name, ())) for name in wanted})
        size = reward_of(form, raws, Counter()).entries  # it is malformed if one is no score
        each = {name: items for name, items in lists.items() if len(items) == size}
        for i in range(size):
            yield {name: each[name][i] if name in each else raw for name, raw in raws.items()}

    def _group(self, fields: dict[str, Raw]) -> bytes:
        """What the responses of one rollout have in common. Raises Malformed without it."""
        form = self._form
        parts = [read_group(form, p, [value_at(fields, p)])[0] for p in form.alternatives[0]]
        if any(part is None or part in EMPTY for part in parts):
            raise no_group(form)
        return canonical_json(parts)
