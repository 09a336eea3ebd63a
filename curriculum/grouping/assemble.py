"""The lines of one group → one rollout of our own form, with every field of the lines.

A value that goes into the rollout unchanged keeps its bytes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from curriculum.dumps.formats import (
    EMPTY,
    SEVERAL_PROMPTS,
    SEVERAL_TRUTHS,
    Disagreement,
    Format,
    end_of,
    read_group,
    score_of,
)
from curriculum.dumps.json_values import (
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
from curriculum.dumps.plan import LEADING_NAMES, TAKEN_NAMES
from curriculum.dumps.values import Reader, is_inside, top, tops, within
from curriculum.errors import InternalError
from curriculum.grouping.groups import (
    ENDED,
    Column,
    DumpNote,
    DumpNotes,
    GroupFields,
    by_field,
    decoded,
    decoded_line,
    distinct,
    without_repeats,
)
from curriculum.reading.lines import find
from curriculum.reading.prompts import PromptNote, settle


class Assembler:
    """Assembles the lines of a group into a rollout. `notes` counts what was found in those that
    became one."""

    def __init__(self, form: Format) -> None:
        self.notes: DumpNotes = Counter()
        self._form = form
        self._found: DumpNotes = Counter()  # in the group at hand
        self._status = tops(form.status)
        self._of_score = tops([*form.scores, *form.status])

    def __call__(self, lines: Sequence[bytes]) -> tuple[bytes, int]:
        """Return the rollout of a group's lines, given in input order, as a line with its newline,
        and the number of its responses.

        A line that repeats a response is left out. The rollout keeps every field of the others. A
        value that all lines share goes beside `reward`, any other into the reward entry of its
        response; a field named score becomes `source_score`. Values that our form holds unchanged
        are not repeated. Prompt and ground truth come from the first line that has them. Raises
        Disagreement if the lines differ in these, or if lines with the id of one response differ.
        """
        self._found.clear()
        form, columns = self._form, by_field([raw_fields(line) for line in lines])
        key = self._key(columns)
        self._check(columns)
        columns, count = without_repeats(form, columns, len(lines))
        if count < len(lines):
            self._found[DumpNote.REPEATED, ""] = len(lines) - count
        prompt = prompt_of(form, columns, self._found)
        truth = first_value(columns, form.ground_truth, None)
        tools = self._tools(columns)
        scores = self._scores(columns, count)
        messages = _messages(form, columns, count)
        shared, own = _sorted_out(columns, count)
        if tools:
            shared["extra_info"] = _with_tools(shared.get("extra_info", NULL), tools)
        own = {"score": scores} | own
        choices = [part for text in messages for part in (b',{"message":', text, b"}")]
        choices[:1] = [b'{"message":']
        if self._found:
            self.notes.update(self._found)
        rollout = b"".join((
            b'{"key":', key, b',"prompt":', prompt, b',"response":{"choices":[', *choices,
            b']},"reward":', json_list(_entries(own, count)), b',"ground_truth":', truth,
            *(part for name, raw in shared.items() for part in (b",", json_name(name), raw)),
            b"}\n",
        ))  # fmt: skip
        return rollout, count

    def _key(self, columns: GroupFields) -> Raw:
        """The id of the group, as JSON text if it has several parts; null if the prompt is one of
        them. Raises InternalError if the lines are not of one group."""
        form = self._form
        for places in form.alternatives:
            parts = [read_group(form, place, distinct(columns, place)) for place in places]
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
            pair = two_that_differ(read_group(form, place, distinct(columns, place)))
            if pair and kind == SEVERAL_PROMPTS and form.prompts_vary:
                self._found[DumpNote.SEVERAL_PROMPTS, ""] += 1
            elif pair:
                raise Disagreement(kind, pair)

    def _tools(self, columns: GroupFields) -> Any:
        """The first tools that the lines have; None if there are none."""
        form, place = self._form, self._form.tools or ""
        column = columns.get(top(place), [None])
        for raw in column[:1] if column.count(column[0]) == len(column) else column:
            if raw is None or (raw != NULL and is_inside(place) and not _SOME_TOOLS.search(raw)):
                continue
            tools = within(from_json(raw), place)
            tools = form.read_tools(tools) if form.read_tools else tools
            if tools:
                self._found[DumpNote.TOOLS, ""] = 1
                return tools
        return None

    def _scores(self, columns: GroupFields, count: int) -> Column:
        """The score of each line. Scores that keep their bytes are removed from `columns`."""
        form, given = self._form, columns.get(self._form.score, [None])
        silent = form.failed is None and columns.keys().isdisjoint(self._status)
        if (
            silent
            and form.scores_as_they_are
            and all(raw and starts_with(raw, _PLAIN) for raw in given)
        ):
            return columns.pop(form.score)
        scores: Column = []
        for i in range(count):
            line = decoded_line(columns, i, self._of_score)
            end = end_of(form, line)
            if end:
                self._found[ENDED[end], ""] += 1
            score, raw = score_of(form, line, end), columns.get(form.score, [None] * count)[i]
            if raw and score is line[form.score]:
                scores.append(raw)
                columns[form.score][i] = None
            else:
                scores.append(as_json(score))
        return scores


# Where else a prompt may be.
_LIKELY = ("prompt", "question", "problem", "instruction", "query", "messages")
_SOME_TOOLS = re.compile(rb'"tools"\s*:\s*\[\s*[^\]\s]')
_PLAIN = b"-0123456789tfnNI"  # what numbers, true, false and null begin with


def prompt_of(form: Format, columns: GroupFields, found: DumpNotes) -> Raw:
    """The prompt of the lines of a rollout; null if there is none. What was changed of it, or is
    wrong with it, is counted in `found`."""
    asked = []

    def read(given: Any) -> Any:
        asked.append(settle(form.read_prompt(given) if form.read_prompt else given, found))
        return asked[-1]

    prompt = first_value(columns, form.prompt, read)
    if form.templates and asked and isinstance(asked[0], str):
        found[PromptNote.UNREAD, ""] = 1
    if form.prompt and not (asked and _has_text(asked[0])):
        names = (name for name in _LIKELY if _may_be_prompt(columns.get(name, [None])[0]))
        found[DumpNote.NO_PROMPT, next(names, "")] = 1
    return _with_system(first_value(columns, form.system, None), prompt) if form.system else prompt


def _sorted_out(columns: GroupFields, count: int) -> tuple[dict[str, Raw], GroupFields]:
    """The fields to put beside `reward`, and those for the reward entries, by their names there."""
    shared: dict[str, Raw] = {}
    own: GroupFields = {}
    for name, column in columns.items():
        value = next(filter(None, column), None)
        if value is None:
            continue
        same = column.count(value) == count
        if name in LEADING_NAMES or (same and name not in TAKEN_NAMES):
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


def _with_tools(extra_info: Raw, tools: Any) -> Raw:
    """The extra_info with the tools as JSON text, unless it has a field of that name already."""
    given = from_json(extra_info)
    if not isinstance(given, dict | None) or "tools" in (given or {}):
        return extra_info
    fields: dict[str, Text] = dict(raw_fields(extra_info)) if given else {}
    return Raw(json_object((fields | {"tools": as_json(as_text(tools))}).items()))


def _has_text(prompt: Any) -> bool:
    """Whether a prompt says anything; one that is not a text always does."""
    parts = [find(m, "content") for m in prompt] if isinstance(prompt, list) else [prompt]
    return any(part.strip() if isinstance(part, str) else part for part in parts)


def _may_be_prompt(raw: Raw | None) -> bool:
    """Whether a value is a text or a list of messages."""
    given = decoded(raw)
    return isinstance(given, str | list) and _has_text(given)


def first_value(columns: GroupFields, place: str | None, read: Reader | None) -> Raw:
    """The first value at a place, in our form; null if there is none. If it is a whole field kept
    as it is, equal values are removed from `columns`."""
    if place is None:
        return NULL
    name = top(place)
    if name not in columns and place in columns:  # a name with dots
        name = place
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
