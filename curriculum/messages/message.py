"""What a message holds beside its role: its text, given as one or in parts, and its tool calls."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

# What rows keep of a message beside role and content, in the order of a row.
TOOL_CALLS = "tool_calls"
KEPT = (TOOL_CALLS, "tool_call_id", "name")
_SURROGATE = re.compile("[\ud800-\udfff]")
_TEXT_TYPES = ("text", "input_text", "output_text")


class Message(msgspec.Struct, gc=False):
    """One message of a prompt. `kept` are those of KEPT that it has, None for none; only a message
    with tool calls may have no content."""

    role: str
    content: str | None
    kept: dict[str, Any] | None = None

    @property
    def text(self) -> str:
        """The content, empty where there is none."""
        return self.content or ""


class Parts(NamedTuple):
    """Content that is a list of parts: the texts of it joined, the first part that is no text, as
    `[i] is what it is` (empty if there is none), and the other keys of the text parts."""

    text: str
    other: str
    keys: list[str]


def read_parts(parts: list[Any]) -> Parts:
    """What content in parts says.

    A part is text if it is a string, or an object of the type text, input_text or output_text (or
    of none, and with nothing else) whose `text` is a string.
    """
    texts: list[str] = []
    other, keys = "", list[str]()
    for number, part in enumerate(parts):
        if isinstance(part, str):
            texts.append(part)
            continue
        held = {k: v for k, v in part.items() if v is not None} if isinstance(part, dict) else {}
        kind, text = held.pop("type", None), held.pop("text", None)
        if isinstance(text, str) and (kind in _TEXT_TYPES or (kind is None and not held)):
            texts.append(text)
            keys += held
        else:
            other = other or f"[{number}] is {_name(part, kind)}"
    return Parts("".join(texts), other, keys)


def _name(part: Any, kind: Any) -> str:
    if isinstance(kind, str) and kind not in _TEXT_TYPES:
        return f"of type {json.dumps(kind[:40])}"
    return "not an object" if not isinstance(part, dict) else "without a text"


def has_calls(message: Mapping[str, Any]) -> bool:
    """Whether a message of JSON has tool calls."""
    calls = message.get(TOOL_CALLS)
    return isinstance(calls, list) and bool(calls)


def calls_text(calls: list[Any]) -> str:
    """What tells tool calls from others: JSON with sorted keys, without ids and nulls.

    Arguments count as what they say, whether they are an object or its JSON text. A lone surrogate
    counts as U+FFFD.
    """
    try:
        plain = [_plain_call(call) for call in calls]
        text = json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    except RecursionError:
        return "nested too deep"
    return _SURROGATE.sub("\ufffd", text)


def _plain_call(call: Any) -> Any:
    if not isinstance(call, dict):
        return call
    plain = {
        name: _plain_call(value) if name == "function" else value
        for name, value in call.items()
        if value is not None and name != "id"
    }
    arguments = plain.get("arguments")
    if isinstance(arguments, str) and arguments.lstrip().startswith("{"):
        with suppress(ValueError, RecursionError):  # or else it is a text like any other
            plain["arguments"] = json.loads(arguments)
    return plain
