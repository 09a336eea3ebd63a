"""A line that holds one rollout in the form of another tool → the same line in our own form.

Its fields get the names that our form has for them, and keep their order and their bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from curriculum.converting.own_fields import (
    Field,
    check_lengths,
    responses_of,
    reward_of,
    reward_of_counts,
    reward_of_value,
    value_at,
)
from curriculum.dumps.formats import EMPTY, Format, Holds
from curriculum.dumps.json_values import (
    NULL,
    Raw,
    Text,
    as_json,
    as_text,
    json_object,
    raw_fields,
)
from curriculum.grouping.assemble import first_value, prompt_of
from curriculum.grouping.groups import DumpNotes, GroupFields
from curriculum.reading.lines import Line, Malformed, invalid_utf8


class LineConverter:
    """Converts the lines of a format. `notes` counts what was found in their prompts."""

    def __init__(self, form: Format) -> None:
        self.notes: DumpNotes = Counter()
        self._form = form

    def __call__(self, line: Line) -> tuple[bytes, int]:
        """The rollout of a line, with its newline, and 1, the number of rollouts. Raises Malformed.

        A whole field that is a prompt, a list of responses or scores, or a ground truth, is renamed
        if it needs no change. Otherwise it stays, and what was made of it comes after all fields.
        """
        raws = checked_fields(self._form, line)
        found: DumpNotes = Counter()
        own = dict(self._own_fields(raws, found))
        self.notes.update(found)
        return json_object(_with_own_names(raws, own).items()) + b"\n", 1

    def _own_fields(self, raws: dict[str, Raw], found: DumpNotes) -> Iterator[tuple[str, Field]]:
        """The fields of our own form, by the places that they come from."""
        form = self._form
        columns: GroupFields = {name: [raw] for name, raw in raws.items()}
        prompt = prompt_of(form, columns, found)
        truth = first_value(columns, form.ground_truth, None)
        for place, name, text in (
            (form.prompt, "prompt", prompt),
            (form.ground_truth, "ground_truth", truth),
        ):
            if place and text != NULL:
                yield place, Field(name, text, 1, text == raws.get(place))
        reward = self._reward(raws, found)
        yield reward
        place = form.response
        if place and (given := value_at(raws, place)) is not None:
            responses = responses_of(place, given, raws.get(place))
            if form.holds is Holds.ROLLOUT:
                check_lengths({place: responses.entries, form.score: reward[1].entries})
            yield place, responses
        if key := self._key(raws):
            yield "", Field("key", key, 1, False)

    def _reward(self, raws: dict[str, Raw], found: DumpNotes) -> tuple[str, Field]:
        form = self._form
        if form.counts:
            passes, total = (value_at(raws, place) for place in form.counts)
            return "", reward_of_counts(passes, total, form.counts)
        if form.holds is Holds.VALUE:
            return "", reward_of_value(value_at(raws, form.score), form.missing)
        return form.score, reward_of(form, raws, found)

    def _key(self, raws: dict[str, Raw]) -> Raw | None:
        """What names the rollout: the first of the format's places that the line has."""
        for places in self._form.groups:
            if places == ("key",):
                return None  # it is there already
            values = [value_at(raws, place) for place in places]
            if all(value is not None and value not in EMPTY for value in values):
                return as_json(values[0] if len(values) == 1 else as_text(values))
        return None


def _with_own_names(raws: dict[str, Raw], own: dict[str, Field]) -> dict[str, Text]:
    """The fields of a line with those of our own form, which are given by their places."""
    renamed = {place: field for place, field in own.items() if place in raws and field.kept}
    names = {field.name for field in own.values()}
    if names & {"response", "responses"}:  # rollouts may have theirs in either
        names |= {"response", "responses"}
    fields: dict[str, Text] = {}
    for name, raw in raws.items():
        if name in renamed:
            fields[renamed[name].name] = renamed[name].text
            continue
        free = name
        while free in names or free in fields or (free != name and free in raws):
            free = f"source_{free}"
        fields[free] = raw
    added = (field for place, field in own.items() if place not in renamed)
    return fields | {field.name: field.text for field in added}


def checked_fields(form: Format, line: Line) -> dict[str, Raw]:
    """The fields of a line, undecoded. Raises Malformed, also if one is missing."""
    try:
        str(line, "utf-8")
    except UnicodeDecodeError as error:
        raise invalid_utf8(error) from error
    raws = raw_fields(line)
    for name in sorted(form.marks.difference(raws)):
        raise Malformed(f"no {name}", f"expected in every line ({form.title})")
    return raws
