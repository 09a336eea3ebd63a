"""The lines of one group → one rollout of our own form, with every field of the lines.

A value that goes into the rollout unchanged keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from curriculum.dumps.formats import (
    EMPTY,
    SEVERAL_PROMPTS,
    SEVERAL_TRUTHS,
    Disagreement,
    Format,
    read_group,
    score_of,
)
from curriculum.dumps.values import Fields, Reader, top, tops, within
from curriculum.errors import InternalError
from curriculum.reading.json_values import (
    NULL,
    Raw,
    Text,
    as_json,
    as_text,
    from_json,
    json_list,
    json_name,
    json_object,
    raw_fields,
    raw_items,
    starts_with,
    two_that_differ,
)

Column: TypeAlias = list[Raw | None]
GroupFields: TypeAlias = dict[str, Column]  # by field, its value in each line of a group


class Assembler:
    """Assembles the lines of a group into a rollout.

    `unread` counts the prompts that stayed text, and `several_prompts` the rollouts with several
    prompts in a format that allows them.
    """

    def __init__(self, form: Format) -> None:
        self._form, self.unread, self.several_prompts = form, 0, 0
        self._of_score = tops([form.score, *form.status])

    def __call__(self, lines: Sequence[bytes]) -> bytes:
        """Return the rollout of a group's lines, given in input order, as a line with its newline.

        The rollout keeps every field. A value that all lines share goes beside `reward`, any other
        into the reward entry of its response; a field named score becomes `source_score`. Values
        that our form holds unchanged are not repeated. Prompt and ground truth come from the first
        line that has them. Raises Disagreement if the lines differ in these.
        """
        form, columns = self._form, _columns([raw_fields(line) for line in lines])
        key = self._key(columns)
        self._check(columns)
        prompt = _first(columns, form.prompt, form.read_prompt)
        if form.system:
            prompt = _with_system(_first(columns, form.system, None), prompt)
        self.unread += form.unread is not None and starts_with(prompt, b'"')
        truth = _first(columns, form.ground_truth, None)
        scores = self._scores(columns, len(lines))
        messages = _messages(form, columns, len(lines))
        shared, own = _sorted_out(columns, len(lines))
        own = {"score": scores} | own
        choices = [part for text in messages for part in (b',{"message":', text, b"}")]
        choices[:1] = [b'{"message":']
        return b"".join((
            b'{"key":', key, b',"prompt":', prompt, b',"response":{"choices":[', *choices,
            b']},"reward":', json_list(_entries(own, len(lines))), b',"ground_truth":', truth,
            *(part for name, raw in shared.items() for part in (b",", json_name(name), raw)),
            b"}\n",
        ))  # fmt: skip

    def _key(self, columns: GroupFields) -> Raw:
        """The id of the group, as JSON text if it has several parts; null if the prompt is one of
        them. Raises InternalError if the lines are not of one group."""
        form = self._form
        for places in form.alternatives:
            parts = [read_group(form, place, _distinct(columns, place)) for place in places]
            if any(part[0] is None or part[0] in EMPTY for part in parts):
                continue
            if any(part.count(part[0]) != len(part) for part in parts):
                raise InternalError(f"two groups have one hash: {places} are {parts}")
            if form.prompt in places:
                return NULL
            values = [part[0] for part in parts]
            return as_json(values[0] if len(values) == 1 else as_text(values))
        raise InternalError("a group has no mark")

    def _check(self, columns: GroupFields) -> None:
        """Raise Disagreement if the lines have several ground truths or prompts."""
        form = self._form
        for place, kind in ((form.ground_truth, SEVERAL_TRUTHS), (form.prompt, SEVERAL_PROMPTS)):
            column = columns.get(top(place), []) if place else []
            if not place or not column or column.count(column[0]) == len(column):
                continue  # the usual case
            pair = two_that_differ(_distinct(columns, place))
            if pair and kind == SEVERAL_PROMPTS and form.prompts_vary:
                self.several_prompts += 1
            elif pair:
                raise Disagreement(kind, pair)

    def _scores(self, columns: GroupFields, count: int) -> Column:
        """The score of each line. Scores that keep their bytes are removed from `columns`."""
        form, given = self._form, columns.get(self._form.score, [None])
        if form.failed is None and all(raw and starts_with(raw, _PLAIN) for raw in given):
            return columns.pop(form.score)
        scores: Column = []
        for i in range(count):
            line = _decoded(columns, i, self._of_score)
            score, raw = score_of(form, line), columns.get(form.score, [None] * count)[i]
            if raw and score is line[form.score]:
                scores.append(raw)
                columns[form.score][i] = None
            else:
                scores.append(as_json(score))
        return scores


_PLAIN = b"-0123456789tfnNI"  # what numbers, true, false and null begin with

# Fields of our own form. A dump's field with such a name goes into the reward entries.
_TAKEN = frozenset(
    {"prompt", "messages", "response", "responses", "reward", "ground_truth", "key", "num"}
)


# Fields that preprocessing reads. If the lines differ, the first value is the rollout's.
_LEADING = frozenset({"ability", "data_source", "extra_info"})


def _sorted_out(columns: GroupFields, count: int) -> tuple[dict[str, Raw], GroupFields]:
    """The fields to put beside `reward`, and those for the reward entries, by their names there."""
    shared: dict[str, Raw] = {}
    own: GroupFields = {}
    for name, column in columns.items():
        value = next(filter(None, column), None)
        if value is None:
            continue
        same = column.count(value) == count
        if name in _LEADING or (same and name not in _TAKEN):
            shared[name] = value
        if not same or name not in shared:
            free = name
            while free == "score" or (free != name and free in columns):
                free = f"source_{free}"
            own[free] = column
    return shared, own


def _with_system(system: Raw, prompt: Raw) -> Raw:
    """The prompt, with the system message before it if there is one."""
    text, given = from_json(system), from_json(prompt)
    if not isinstance(text, str) or not text or given is None or given in EMPTY:
        return prompt
    messages = given if isinstance(given, list) else [{"role": "user", "content": given}]
    return as_json([{"role": "system", "content": text}, *messages])


def _columns(raws: Sequence[dict[str, Raw]]) -> GroupFields:
    """For each field, its value in each line; None if a line lacks it."""
    names = raws[0]
    if any(raw.keys() != names.keys() for raw in raws):
        names = {name: value for raw in raws for name, value in raw.items()}
    return {name: [raw.get(name) for raw in raws] for name in names}


def _distinct(columns: GroupFields, place: str) -> list[Any]:
    """The value at a place in each line; only one value if all lines share the field."""
    column = columns.get(top(place), [None])
    if column.count(column[0]) == len(column):
        column = column[:1]
    return [None if raw is None else within(from_json(raw), place) for raw in column]


def _decoded(columns: GroupFields, line: int, names: Sequence[str]) -> Fields:
    found = {name: columns[name][line] for name in names if name in columns}
    return {name: from_json(raw) for name, raw in found.items() if raw}


def _first(columns: GroupFields, place: str | None, read: Reader | None) -> Raw:
    """The first value at a place, in our form; null if there is none. If it is a whole field kept
    as it is, equal values are removed from `columns`."""
    if place is None:
        return NULL
    name = top(place)
    column = columns.get(name, [])
    for raw in column:
        if raw is None or raw == NULL:
            continue
        if name != place or read:
            given = within(from_json(raw), place)
            if given is None:
                continue
            own = read(given) if read else given
            if name != place or own is not given:
                return as_json(own)
        columns[name] = [None if other == raw else other for other in column]
        return raw
    return NULL


def _messages(form: Format, columns: GroupFields, count: int) -> list[Text]:
    """The message of each response. Values that one holds in full are removed from `columns`."""
    place = form.response or ""
    name = top(place)
    column = columns.get(name, [None] * count)
    if name == place and form.read_response is None:
        columns.pop(name, None)
        return [b'{"content":%b}' % (raw or NULL) for raw in column]
    messages: list[Text] = []
    for i, raw in enumerate(column):
        given = within(from_json(raw or NULL), place)
        own = form.read_response(given) if form.read_response else given
        is_message = isinstance(own, dict)
        text = own if isinstance(own, str) else None
        held = raw and name == place and (given == [own] if is_message else text is given)
        if raw and held and is_message:
            messages.append(raw_items(raw)[0])
        else:
            messages.append(as_json(own if is_message else {"content": text}))
        if held:
            column[i] = None
    return messages


def _entries(own: dict[str, Column], count: int) -> list[bytes]:
    """The reward entry of each response, with those of the fields that it has."""
    if all(all(column) for column in own.values()):
        rows = zip(*own.values(), strict=True)
        return [json_object(zip(own, row, strict=True)) for row in rows]
    return [
        json_object((name, raw) for name, column in own.items() if (raw := column[i]))
        for i in range(count)
    ]
