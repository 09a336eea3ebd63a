"""Which prompt: a rollout's messages, their hash, and the side of the split they fall on.

A prompt is on one side of the split in every bucket, set and run with the same seed, because its
side follows from its own text.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from curriculum.arrays import BoolArray, ByteArray, HashArray, LengthArray, compact_lengths
from curriculum.rollouts import Malformed, describe

SPLITS = ("train", "val")
TRAIN, VAL = range(2)  # sides, as places in SPLITS


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


@dataclass(frozen=True)
class Messages:
    """The messages of some prompts one after another, and how many each prompt has."""

    roles: list[str]
    contents: list[str]
    counts: list[int]

    @staticmethod
    def of(prompts: Sequence[Sequence[Message]]) -> Messages:
        """Those of the prompts."""
        messages = [message for prompt in prompts for message in prompt]
        roles = [message.role for message in messages]
        contents = [message.content for message in messages]
        return Messages(roles, contents, list(map(len, prompts)))

    def characters(self) -> LengthArray:
        """How many characters the messages of each prompt have, all together."""
        ends = np.cumsum([0, *map(len, self.contents)])
        last = np.cumsum([0, *self.counts])
        return compact_lengths(np.diff(ends[last]))


def hash_prompts(messages: Messages, seed: int) -> HashArray:
    """A seeded 64-bit hash of each prompt's roles and whitespace-collapsed contents.

    Equal for prompts that differ only in white space; lengths, in characters, keep parts apart:
    the first 8 bytes (little-endian) of BLAKE2b over `<length>:<role><length>:<content>…`, keyed
    with the seed's decimal digits.
    """
    seeded = hashlib.blake2b(digest_size=8, key=str(seed).encode())
    started = {role: seeded.copy() for role in set(messages.roles)}
    for role, digest in started.items():
        digest.update(f"{len(role)}:{role}".encode())
    contents = [
        b"%d:%b" % (length, content)
        for content, length in zip(*_collapse(messages.contents), strict=True)
    ]
    digests = []
    if len(contents) == len(messages.counts):  # one message a prompt, as usual
        for role, content in zip(messages.roles, contents, strict=True):
            digest = started[role].copy()
            digest.update(content)
            digests.append(digest.digest())
    else:
        at = 0
        for count in messages.counts:
            digest = started[messages.roles[at]].copy()
            digest.update(contents[at])
            for i in range(at + 1, at + count):
                role = messages.roles[i]
                digest.update(b"%b%b" % (f"{len(role)}:{role}".encode(), contents[i]))
            digests.append(digest.digest())
            at += count
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def distinct_prompts(hashes: HashArray) -> HashArray:
    """The distinct hashes, ascending; `hashes` are sorted in place."""
    # numpy's own `unique` takes ten times as long for whole numbers.
    hashes.sort()
    first = np.append(True, hashes[1:] != hashes[:-1])[: len(hashes)]
    return np.asarray(hashes[first], np.uint64)


def repeated_prompts(hashes: HashArray) -> HashArray:
    """The hashes that are there more than once, each once, ascending; sorted in place."""
    hashes.sort()
    return distinct_prompts(hashes[1:][hashes[1:] == hashes[:-1]])


def shared_prompts(ascending: HashArray, others: HashArray) -> HashArray:
    """Those of `others`, each once, that `ascending` holds too; only `others` may be unsorted."""
    found = distinct_prompts(others.copy())
    at = np.searchsorted(ascending, found)
    inside = at < len(ascending)
    inside[inside] = ascending[at[inside]] == found[inside]
    return np.asarray(found[inside], np.uint64)


# White space as str.split() has it, in ASCII and beyond.
ASCII_SPACE = " \t\n\v\f\r\x1c\x1d\x1e\x1f"
WIDE_SPACE = (
    "\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028"
    "\u2029\u202f\u205f\u3000"
)
_SPACE, _PART = b" \0"
_TO_SPACE = bytes(_SPACE if chr(byte) in ASCII_SPACE else byte for byte in range(256))


def _collapse(texts: Sequence[str]) -> tuple[list[bytes], list[int]]:
    """Each text with every run of white space as one space and none at its ends, as UTF-8; and
    its length in characters. What `" ".join(text.split())` gives, for many texts at once."""
    whole = "\0".join(texts).encode()
    if whole.count(_PART) != len(texts) - 1 or _has_wide_space(whole):
        collapsed = [" ".join(text.split()) for text in texts]
        return [text.encode() for text in collapsed], list(map(len, collapsed))
    text = np.frombuffer(whole.translate(_TO_SPACE), np.uint8)
    space, part = text == _SPACE, text == _PART
    after = np.append(True, (space | part)[:-1])
    text = _without(text, space & after)
    space, part = text == _SPACE, text == _PART
    text = _without(text, space & np.append(part[1:], True))
    parts = text.tobytes().split(b"\0")
    if whole.isascii():
        return parts, list(map(len, parts))
    return parts, [len(part.decode()) for part in parts]


def _without(text: ByteArray, dropped: BoolArray) -> ByteArray:
    return text[~dropped] if dropped.any() else text


def _has_wide_space(text: bytes) -> bool:
    """Whether UTF-8 text holds white space beyond ASCII."""
    if text.isascii():
        return False
    data = np.frombuffer(text + b"\0\0", np.uint8)
    # All of WIDE_SPACE begin with one of these.
    first = np.flatnonzero((data == 0xC2) | ((data >= 0xE1) & (data <= 0xE3)))
    codes = (data[first].astype(np.uint32) << 16) | (data[first + 1].astype(np.uint32) << 8)
    two, three = codes, codes | data[first + 2]
    return bool(np.isin(two, _WIDE_TWO).any() or np.isin(three, _WIDE_THREE).any())


_WIDE = [char.encode() for char in WIDE_SPACE]
_WIDE_TWO = [int.from_bytes(char + b"\0", "big") for char in _WIDE if len(char) == 2]
_WIDE_THREE = [int.from_bytes(char, "big") for char in _WIDE if len(char) == 3]


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


def split_prompts(buckets: Iterable[HashArray], val_ratio: float) -> Split:
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
    distinct = [distinct_prompts(hashes.copy()) for hashes in buckets]
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
