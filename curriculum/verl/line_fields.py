"""The fields of a line that a row is made of → a type for msgspec, and how to reach each of them.

Only these fields are decoded; of the responses only what the best one needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from curriculum.reading.lines import find
from curriculum.reading.prompts import Message
from curriculum.reading.rollouts import NULL

# Where people keep a ground truth that this toolkit does not look for.
LIKELY_TRUTHS = ("answer", "label", "solution", "target", "gts", "expected_answer")


class _Text(msgspec.Struct, gc=False):
    content: str | None = None


class Choice(msgspec.Struct, gc=False):
    """A response as OpenAI's API gives it."""

    message: _Text | None = None
    text: str | None = None


class _Choices(msgspec.Struct, gc=False):
    choices: list[msgspec.Raw] | None = None


@dataclass(frozen=True)
class Places:
    """Where prompt and ground truth are: a field of a line, or `a.b` inside one.

    None means: the prompt is `prompt` or else `messages` without its last answers; the ground truth
    is `ground_truth` or else `reward_model.ground_truth`.
    """

    prompt: str | None = None
    ground_truth: str | None = None


class LineFields:
    """The fields of a usual line. `type` is what msgspec decodes; the rest reads from that.

    No line is usual if `any_usual` is false, because a place is inside a field that is not decoded.
    """

    def __init__(self, places: Places, keep_data_source: bool, best_response: bool) -> None:
        self._places = places
        names: list[Any] = [
            ("reward", list[msgspec.Raw]),
            ("key", Any, None),
            ("ability", str | None, None),
            ("data_source", str | None if keep_data_source else Any, None),
            ("extra_info", dict[str, Any] | None, None),
            ("reward_model", dict[str, Any] | None, None),
            ("ground_truth", Any, None),
        ]
        if places.prompt in (None, "messages"):
            names.append(("messages", msgspec.Raw, NULL))
        if places.prompt is None:
            names.append(("prompt", list[Message] | str | None, None))
        if best_response:
            names.append(("response", _Choices | None, None))
            names.append(("responses", list[msgspec.Raw] | None, None))
        undecoded = {"reward", "messages", "response", "responses"}
        heads = {(place or "").split(".")[0] for place in (places.ground_truth, places.prompt)}
        self.any_usual = not heads & undecoded or places == Places(prompt="messages")
        self._attributes = {name[0]: name[0] for name in names}
        for place in (places.prompt, places.ground_truth):
            field = (place or "reward").split(".")[0]
            if field not in self._attributes:
                self._attributes[field] = f"field_{len(names)}"
                kind = list[Message] | str | None if field == places.prompt else Any
                names.append((self._attributes[field], kind, None))
        renamed = {attribute: field for field, attribute in self._attributes.items()}
        self.type: type[Any] = msgspec.defstruct("Line", names, rename=renamed, gc=False)

    def prompts(self, rows: Sequence[Any]) -> list[Any]:
        """What each row has as its prompt; None for one that may have it in `messages`."""
        if self._places.prompt == "messages":
            return [None] * len(rows)
        return self._values(rows, self._places.prompt or "prompt")

    def ground_truths(self, rows: Sequence[Any]) -> list[Any]:
        """The ground truth of each row; None for one without any."""
        values = self._values(rows, self._places.ground_truth or "ground_truth")
        if self._places.ground_truth is None and None in values:
            pairs = zip(values, rows, strict=True)
            values = [own_truth(value, row.reward_model) for value, row in pairs]
        return values

    def _values(self, rows: Sequence[Any], place: str) -> list[Any]:
        field, dot, rest = place.partition(".")
        attribute = self._attributes[field]
        values = [getattr(row, attribute) for row in rows]
        return [find(value, rest) for value in values] if dot else values


def own_truth(value: Any, reward_model: Any) -> Any:
    """A rollout's ground truth, or else that of its `reward_model`, where verl has it."""
    return find(reward_model, "ground_truth") if value is None else value


def likely_places(names: Sequence[str], line: Any) -> list[str]:
    """Those of `names` that the line has, at the top or in `extra_info`, and that are not null."""
    places = [*names, *(f"extra_info.{name}" for name in names)]
    return [place for place in places if find(line, place) not in (None, "", [])]
