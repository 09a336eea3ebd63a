"""What rows and rollouts are matched by → a 64-bit hash of each, whatever file it comes from."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from curriculum.arrays import HashArray
from curriculum.messages.hashes import NO_PROMPT, hash_of_text
from curriculum.reading.prompts import asked_messages, last_text
from curriculum.reading.rollouts import key_text

SHOWN_CHARACTERS = 60
NOTHING = NO_PROMPT  # in place of the hash of what is not there
# Where a data set may have its prompts; the first of these fields that it has is taken.
PROMPT_FIELDS = ("prompt", "messages", "question", "problem", "instruction", "query", "input")

# The ways to match, the surest first: by a field of both, by the messages of the prompt, by the
# text of its last message of the user.
KEY, PROMPT, TEXT = WAYS = ("key", "prompt", "text")
Hashes: TypeAlias = dict[str, HashArray]  # by way, one per row or rollout


def join_hashes(parts: Sequence[Hashes]) -> Hashes:
    """The hashes of all parts."""
    return {way: np.concatenate([part[way] for part in parts]) for way in WAYS}


def hash_keys(values: Sequence[Any]) -> HashArray:
    """A hash of each key as text: a string itself, anything else as JSON, or else as Python has it
    (dates, for one). A whole number with a decimal point is one without; NaN is no key."""
    keys = [_text(value) for value in values]
    return np.array([NOTHING if key is None else hash_of_text(key) for key in keys], np.uint64)


def _text(value: Any) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    try:
        return key_text(value)
    except TypeError:
        return str(value)


def excerpt(value: Any) -> str:
    """The start of a key or a prompt, for a message."""
    messages = asked_messages(value)
    text = last_text(messages) if messages else _text(value)
    return "null" if text is None else json.dumps(_cut(text), ensure_ascii=False)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"
