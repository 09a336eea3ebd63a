"""The prompt of a rollout: its messages, their hash, and prompts that occur more than once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from curriculum.arrays import BoolArray, ByteArray, HashArray, LengthArray, compact_lengths
from curriculum.reading.lines import Malformed, describe


class Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One message of a prompt."""

    role: str
    content: str


def read_prompt(fields: Mapping[str, Any], left_out: Counter[str]) -> list[Message]:
    """The messages of a rollout's prompt; at least one of them has text.

    They come from `prompt` (a string is one user message) or, if that is absent or empty, from
    `messages` without its trailing assistant turns. Message keys other than role and content are
    left out and counted in `left_out`. Raises Malformed.
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
    """Whether any message has text other than white space."""
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
    """The messages of several prompts in flat lists; `counts` is how many each prompt has."""

    roles: list[str]
    contents: list[str]
    counts: list[int]

    @staticmethod
    def of(prompts: Sequence[Sequence[Message]]) -> Messages:
        """Flatten the messages of these prompts."""
        messages = [message for prompt in prompts for message in prompt]
        roles = [message.role for message in messages]
        contents = [message.content for message in messages]
        return Messages(roles, contents, list(map(len, prompts)))

    def characters(self) -> LengthArray:
        """How many characters the message contents of each prompt have in total."""
        ends = np.cumsum([0, *map(len, self.contents)])
        last = np.cumsum([0, *self.counts])
        return compact_lengths(np.diff(ends[last]))


def hash_prompts(messages: Messages, seed: int) -> HashArray:
    """A seeded 64-bit hash of each prompt's roles and whitespace-collapsed contents.

    It is BLAKE2b with a digest of 8 bytes (little-endian), keyed with the seed's decimal digits,
    over `<length>:<role><length>:<content>…`. The lengths, in characters, keep the parts apart.
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
    if len(contents) == len(messages.counts):  # one message per prompt, as usual
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
    """The distinct hashes, ascending. Sorts `hashes` in place."""
    # `np.unique` takes ten times as long for integers.
    hashes.sort()
    first = np.append(True, hashes[1:] != hashes[:-1])[: len(hashes)]
    return np.asarray(hashes[first], np.uint64)


def repeated_prompts(hashes: HashArray) -> HashArray:
    """Each hash that occurs more than once, listed once, ascending. Sorts `hashes` in place."""
    hashes.sort()
    return distinct_prompts(hashes[1:][hashes[1:] == hashes[:-1]])


def shared_prompts(ascending: HashArray, others: HashArray) -> HashArray:
    """Each hash in both arrays, listed once, ascending. Only `others` may be unsorted."""
    found = distinct_prompts(others.copy())
    at = np.searchsorted(ascending, found)
    inside = at < len(ascending)
    inside[inside] = ascending[at[inside]] == found[inside]
    return np.asarray(found[inside], np.uint64)


# What str.split() takes as white space, in ASCII and beyond.
ASCII_SPACE = " \t\n\v\f\r\x1c\x1d\x1e\x1f"
WIDE_SPACE = (
    "\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028"
    "\u2029\u202f\u205f\u3000"
)
_SPACE, _PART = b" \0"
_TO_SPACE = bytes(_SPACE if chr(byte) in ASCII_SPACE else byte for byte in range(256))


def _collapse(texts: Sequence[str]) -> tuple[list[bytes], list[int]]:
    """Apply `" ".join(text.split())` to many texts at once.

    Returns the results as UTF-8, and their lengths in characters.
    """
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
    """Whether UTF-8 text has white space beyond ASCII."""
    if text.isascii():
        return False
    data = np.frombuffer(text + b"\0\0", np.uint8)
    # Every character of WIDE_SPACE begins with one of these bytes.
    first = np.flatnonzero((data == 0xC2) | ((data >= 0xE1) & (data <= 0xE3)))
    codes = (data[first].astype(np.uint32) << 16) | (data[first + 1].astype(np.uint32) << 8)
    two, three = codes, codes | data[first + 2]
    return bool(np.isin(two, _WIDE_TWO).any() or np.isin(three, _WIDE_THREE).any())


_WIDE = [char.encode() for char in WIDE_SPACE]
_WIDE_TWO = [int.from_bytes(char + b"\0", "big") for char in _WIDE if len(char) == 2]
_WIDE_THREE = [int.from_bytes(char, "big") for char in _WIDE if len(char) == 3]
