"""One line → its row, or the reason why it is none, in plain Python.

This is what a line means. The compiled scanner reads usual lines in its place, with the same rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from curriculum.messages.message import Message
from curriculum.reading.lines import Line, Malformed, describe, find
from curriculum.reading.prompts import PromptNotes, read_prompt
from curriculum.reading.rollouts import Rollout, key_text, read_rollout
from curriculum.verl.row_batch import Notes, Row, Topic

# Where people keep a ground truth that this toolkit does not look for.
LIKELY_TRUTHS = ("answer", "label", "solution", "target", "gts", "expected_answer")


class Places(Struct, frozen=True):
    """Where prompt and ground truth are: a field of a line, or `a.b` inside one.

    None means: the prompt is `prompt` or else `messages` without its last answers; the ground truth
    is `ground_truth` or else `reward_model.ground_truth`.
    """

    prompt: str | None = None
    ground_truth: str | None = None

    def changed(self) -> dict[str, str]:
        """The fields that are not where their name says."""
        where = {"prompt": self.prompt, "ground_truth": self.ground_truth}
        return {name: place for name, place in where.items() if place is not None}


class ReadOptions(Struct, frozen=True):
    """Which fields go into a row, where they are, and the values of those that a rollout lacks.
    `seed` is that of the split, which the hashes of prompts depend on."""

    places: Places
    score_field: str
    best_response: bool
    ground_truth_format: str
    data_source: str
    keep_data_source: bool
    ability: str
    seed: int


def read_line(line: Line, position: int, options: ReadOptions, notes: Notes) -> Row:
    """The row of one line, with its ground truth as it is in the line. Raises Malformed.

    What was left out or replaced is counted in `notes`, unless the line is malformed.
    """
    rollout = read_rollout(
        line, options.score_field, options.best_response, options.places.changed()
    )
    given = rollout.fields
    found: Notes = Counter()
    prompt = _read_prompt(rollout, options.places.prompt, found)
    extra_info = given["extra_info"]
    if extra_info is not None and not isinstance(extra_info, dict):
        raise Malformed("extra_info is not an object", f"it is {describe(extra_info)}")
    ability = _string("ability", given["ability"]) or options.ability
    source = keep_sources([_own_source(given, options.keep_data_source)], options, found)[0]
    truth = given["ground_truth"]
    if truth is None and options.places.ground_truth is None:
        truth = find(given["reward_model"], "ground_truth")
    if rollout.replaced:
        found[Topic.SURROGATES, ""] += 1
    if rollout.best is not None and rollout.best.content is None:
        found[Topic.NO_TEXT, ""] += 1
    if rollout.response_count not in (None, len(rollout.scores)):
        found[Topic.OTHER_COUNT, ""] += 1
    notes.update(found)
    return Row(
        position=position,
        scores=rollout.scores,
        prompt=prompt,
        ground_truth=truth,
        key=key_text(given["key"]),
        ability=ability,
        data_source=source,
        extra_info=extra_info or {},
        best=rollout.best,
    )


def keep_sources(own: Sequence[Any], options: ReadOptions, notes: Notes) -> list[str]:
    """The data_source of each row, given what its rollout has as its own. Those are counted in
    `notes`, kept or not."""
    for source, count in Counter(filter(_is_name, own)).items():
        notes[Topic.OWN_DATA_SOURCE, source] += count
    if not options.keep_data_source:
        return [options.data_source] * len(own)
    absent = len(own) - sum(map(bool, own))
    if absent:
        notes[Topic.NO_DATA_SOURCE, ""] += absent
    return [source or options.data_source for source in own]


def likely_places(names: Sequence[str], line: Any) -> list[str]:
    """Those of `names` that the line has, at the top or in `extra_info`, and that are not null."""
    places = [*names, *(f"extra_info.{name}" for name in names)]
    return [place for place in places if find(line, place) not in (None, "", [])]


def _own_source(given: Mapping[str, Any], keep: bool) -> Any:
    """A rollout's own data_source, or else that of its extra_info. Raises Malformed if it is to be
    kept and is no string."""
    own, inner = given["data_source"], (given["extra_info"] or {}).get("data_source")
    if not keep:
        return own or inner
    return _string("data_source", own) or _string("extra_info.data_source", inner)


def _read_prompt(rollout: Rollout, place: str | None, notes: PromptNotes) -> list[Message]:
    """The messages of a rollout's prompt. Raises Malformed."""
    fields = rollout.fields
    if place == "messages":
        fields = {**fields, "prompt": None}
    elif place is not None:
        fields = {**fields, "messages": None}
    return read_prompt(fields, notes)


def _is_name(source: Any) -> bool:
    return isinstance(source, str) and bool(source)


def _string(name: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    raise Malformed(f"{name} is not a string", f"it is {describe(value)}")
