"""Which prompt: a rollout's messages, their hash, and the side of the split they fall on.

A prompt is on one side of the split in every bucket, set and run with the same seed, because its
side follows from its own text.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from curriculum.arrays import BoolArray, HashArray
from curriculum.rollouts import Malformed, describe

SPLITS = ("train", "val")


class Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One message of a prompt."""

    role: str
    content: str


def read_prompt(fields: Mapping[str, Any], left_out: Counter[str]) -> list[Message]:
    """The messages of a rollout's prompt, at least one, with text in at least one.

    They are those of `prompt` (a string is one user message), else those of `messages` without
    its trailing assistant turns. Message keys other than role and content are left out and
    counted in `left_out`. Raises Malformed.
    """
    name, prompt = "prompt", fields["prompt"]
    if prompt is None or prompt in ("", []):
        name, prompt = "messages", fields["messages"]
    elif isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    if prompt is not None and not isinstance(prompt, list):
        raise Malformed(f"{name} is not a list", f"it is {describe(prompt)}")
    messages = [_read_message(f"{name}[{i}]", m, left_out) for i, m in enumerate(prompt or [])]
    if name == "messages":
        strip_answers(messages)
    if not has_text(messages):
        raise Malformed("no prompt", "neither prompt nor messages holds any text to answer")
    return messages


def strip_answers(messages: list[Message]) -> None:
    """Remove the trailing assistant turns of a conversation."""
    while messages and messages[-1].role == "assistant":
        messages.pop()


def has_text(messages: Sequence[Message]) -> bool:
    """Whether there is anything to answer."""
    if messages and messages[-1].content.strip():  # nearly always
        return True
    return any(message.content.strip() for message in messages)


def _read_message(where: str, message: object, left_out: Counter[str]) -> Message:
    if not isinstance(message, dict):
        raise Malformed(
            "a message is not an object", f"{where} is {describe(message)}, expected role, content"
        )
    role, content = message.get("role"), message.get("content")
    if isinstance(content, list):
        raise Malformed(
            "a message's content is a list of parts",
            f"{where}.content; images, audio and other parts are not supported, only a string",
        )
    for name, value in (("role", role), ("content", content)):
        if not isinstance(value, str):
            raise Malformed(
                f"a message's {name} is not a string", f"{where}.{name} is {describe(value)}"
            )
    if len(message) > 2:
        left_out.update(key for key in message if key not in ("role", "content"))
    return Message(str(role), str(content))


class PromptHasher:
    """Messages → a seeded 64-bit hash of roles and whitespace-collapsed contents."""

    def __init__(self, seed: int) -> None:
        self._seeded = hashlib.blake2b(digest_size=8, key=str(seed).encode())

    def __call__(self, messages: Sequence[Message]) -> int:
        """Equal for messages that differ only in white space; lengths keep parts apart."""
        digest = self._seeded.copy()
        for message in messages:
            role, content = message.role, " ".join(message.content.split())
            digest.update(f"{len(role)}:{role}{len(content)}:{content}".encode())
        return int.from_bytes(digest.digest(), "little")


@dataclass(frozen=True)
class Split:
    """Which prompts are `val`: those whose hash lies below `cut`, `moved` ones excepted.

    `moved` maps the prompts that the floor put on the other side to whether they are val.
    """

    cut: int
    moved: Mapping[int, bool] = field(default_factory=dict)

    def is_val(self, hashes: HashArray) -> BoolArray:
        """Whether each prompt is val; `hashes` and the result have one entry per rollout."""
        val: BoolArray = hashes < np.uint64(self.cut)
        for prompt, side in self.moved.items():
            val[hashes == np.uint64(prompt)] = side
        return val


def split_prompts(buckets: Sequence[HashArray], val_ratio: float) -> Split:
    """Decide the split for one bucket directory: the cut by hash, and the floor.

    `buckets` holds the prompt hashes of each bucket, repeats allowed. A prompt is val when its
    hash is below `val_ratio` (0 ≤ ratio < 1) of the hash range. The floor: a bucket with one
    prompt has it in train; one with more and an empty side gets the prompt nearest the cut moved
    over. A moved prompt moves in every bucket and once only, so where buckets share so few
    prompts that both cannot be had, a side stays empty.
    """
    if val_ratio == 0:
        return Split(0)
    cut = max(1, int(val_ratio * 2**64))
    distinct = [np.unique(hashes) for hashes in buckets]
    moved = {int(prompts[0]): False for prompts in distinct if len(prompts) == 1}
    while True:
        split = Split(cut, dict(moved))
        for prompts in distinct:
            nearest = _prompt_to_move(prompts, split)
            if nearest is not None:
                moved[nearest] = not bool(split.is_val(np.array([nearest], np.uint64))[0])
                break
        else:
            by_hash = {prompt: prompt < cut for prompt in moved}
            return Split(cut, {p: side for p, side in moved.items() if side != by_hash[p]})


def _prompt_to_move(prompts: HashArray, split: Split) -> int | None:
    """The prompt nearest the cut that may fill this bucket's empty side; None if none need."""
    val = split.is_val(prompts)
    if len(prompts) < 2 or val.any() != val.all():
        return None
    free = prompts[~np.isin(prompts, np.array(list(split.moved), np.uint64))]
    if not len(free):
        return None
    cut = np.uint64(split.cut)
    return int(free[np.argmin(np.where(free < cut, cut - free, free - cut))])
