"""Rollouts with the same prompt, from several generation jobs → one rollout with all responses.

For `--group-by prompt`. A rollout whose prompt no other rollout has keeps its bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from curriculum.dumps.formats import SEVERAL_TRUTHS, Disagreement
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
    two_that_differ,
)
from curriculum.dumps.values import Fields
from curriculum.grouping.groups import DumpNote, DumpNotes
from curriculum.messages.message import TOOL_CALLS, Message, calls_text
from curriculum.reading.lines import REFUSALS, Line, Malformed, load_object
from curriculum.reading.prompts import read_prompt
from curriculum.reading.rollouts import check_reward

_WANTED = ("prompt", "messages", "reward")
_Wanted = msgspec.defstruct("Wanted", [(name, Any, None) for name in _WANTED])
_decode = msgspec.json.Decoder(_Wanted).decode


class RolloutReader:
    """Reads the prompts by which rollouts of our own form are grouped."""

    names = ("prompt",)

    def __init__(self, score_field: str) -> None:
        self._score_field = score_field

    def read(self, line: Line) -> Fields:
        """The prompt's messages, with white space collapsed and with their tool calls. Raises
        Malformed, also for an invalid score."""
        try:
            rollout = msgspec.structs.asdict(_decode(line))
            check_reward(rollout, self._score_field)
        except (*REFUSALS, Malformed):
            given = load_object(line)
            check_reward(given, self._score_field)
            rollout = dict.fromkeys(_WANTED) | given
        return {"prompt": list(map(_asked, read_prompt(rollout, Counter())))}


def _asked(message: Message) -> list[str]:
    """What tells a message from others."""
    asked = [message.role, " ".join(message.text.split())]
    calls = message.kept.get(TOOL_CALLS) if message.kept else None
    return [*asked, calls_text(calls)] if calls else asked


class Merger:
    """Merges rollouts with one prompt. `notes` counts those that repeat another one."""

    def __init__(self, score_field: str) -> None:
        self.notes: DumpNotes = Counter()
        self._score_field = score_field

    def __call__(self, lines: Sequence[bytes]) -> tuple[bytes, int]:
        """Merge lines as `merge` does; return the rollout and how many lines it has."""
        merged = merge(lines, self._score_field)
        same = len(lines) - len(set(lines))
        if same:
            self.notes[DumpNote.SAME_LINES, ""] += same
        return merged, len(lines)


def merge(lines: Sequence[bytes], score_field: str) -> bytes:
    """Merge lines with one prompt into one rollout, as a line with its newline.

    All responses and rewards are kept, in order. Each field comes from the first line that has it.
    If a later line differs, its value goes into the reward entries of its responses, or into the
    rollout if it has none, as `source_<name>` if the name is taken. A response without a reward
    entry gets one without a score; an entry without a response gets a null response. Raises
    Disagreement if the ground truths differ.
    """
    if len(lines) == 1:
        return lines[0] + b"\n"
    raws = [raw_fields(line) for line in lines]
    pair = two_that_differ([from_json(raw.get("ground_truth", NULL)) for raw in raws])
    if pair:
        raise Disagreement(SEVERAL_TRUTHS, pair)
    parts = [_parts(raw) for raw in raws]
    whole: dict[str, Raw] = {}
    for raw in raws:
        whole |= {name: value for name, value in raw.items() if whole.get(name, NULL) == NULL}
    choices: list[Text] = []
    entries: list[Text] = []
    for raw, (own_choices, own_entries) in zip(raws, parts, strict=True):
        other = {name: value for name, value in raw.items() if value not in (whole[name], NULL)}
        count = max(len(own_choices), len(own_entries))
        choices += own_choices + [NULL] * (count - len(own_choices))
        own_entries += [as_json({})] * (count - len(own_entries))
        entries += [_with_fields(entry, other, score_field) for entry in own_entries]
        if not count:  # no reward entry to hold them
            whole = _with_free_names(whole, other)
    rollout: dict[str, Text] = whole | {"reward": json_list(entries)}
    if any(own_choices for own_choices, _ in parts):
        response = whole.get("response", NULL)
        rest: dict[str, Text] = dict(raw_fields(response)) if starts_with(response, b"{") else {}
        rest["choices"] = json_list(choices)
        rollout["response"] = json_object(rest.items())
    return json_object(rollout.items()) + b"\n"


def _parts(raw: dict[str, Raw]) -> tuple[list[Raw], list[Raw]]:
    """Remove the choices and reward entries of a rollout from `raw`, and return them."""
    entries = raw_items(raw.pop("reward"))
    response = raw.get("response", NULL)
    fields = raw_fields(response) if starts_with(response, b"{") else {}
    if starts_with(fields.get("choices", NULL), b"["):
        choices = raw_items(fields.pop("choices"))
        raw["response"] = Raw(json_object(fields.items()))
        return choices, entries
    if starts_with(raw.get("responses", NULL), b"["):
        texts = raw_items(raw.pop("responses"))
        return [Raw(b'{"message":{"content":%b}}' % text) for text in texts], entries
    return [], entries


def _with_fields(entry: Raw, fields: dict[str, Raw], score_field: str) -> Text:
    """A reward entry with more fields. A plain score becomes an object that holds it."""
    if not fields:
        return entry
    own = raw_fields(entry) if starts_with(entry, b"{") else {score_field: entry}
    return json_object(_with_free_names(own, fields).items())


def _with_free_names(fields: dict[str, Raw], added: dict[str, Raw]) -> dict[str, Raw]:
    """The fields with others added, as `source_<name>` if the name is taken."""
    fields = dict(fields)
    for name, value in added.items():
        while name in fields:
            name = f"source_{name}"
        fields[name] = value
    return fields
