"""The messages of many prompts → a 64-bit hash of each, and which hashes occur more than once."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct

from curriculum.arrays import (
    BoolArray,
    ByteArray,
    HashArray,
    IntArray,
    LengthArray,
    compact_lengths,
    first_of_equals,
)
from curriculum.messages.message import TOOL_CALLS, Message, calls_text

NO_PROMPT = 0  # in place of the hash of a prompt that is not there


class Messages(Struct, frozen=True):
    """The messages of several prompts in flat lists; `counts` is how many each prompt has. `calls`
    has what tells the tool calls of each message from others, "" for none; it is empty where no
    message has any."""

    roles: list[str]
    contents: list[str | None]
    counts: list[int]
    calls: list[str]

    @staticmethod
    def of(prompts: Sequence[Sequence[Message]]) -> Messages:
        """Flatten the messages of these prompts."""
        messages = [message for prompt in prompts for message in prompt]
        roles = [message.role for message in messages]
        contents = [message.content for message in messages]
        calls = [_calls_of(message) for message in messages]
        counts = list(map(len, prompts))
        return Messages(roles, contents, counts, calls if any(calls) else [])

    def texts(self) -> list[str]:
        """The contents, empty where there is none."""
        return [content or "" for content in self.contents]

    def characters(self) -> LengthArray:
        """How many characters the message contents of each prompt have in total."""
        ends = np.cumsum([0, *map(len, self.texts())])
        last = np.cumsum([0, *self.counts])
        return compact_lengths(np.diff(ends[last]))


def _calls_of(message: Message) -> str:
    calls = message.kept.get(TOOL_CALLS) if message.kept else None
    return calls_text(calls) if calls else ""


def hash_prompts(messages: Messages, seed: int) -> HashArray:
    """A seeded 64-bit hash of each prompt's roles, whitespace-collapsed contents and tool calls.

    It is BLAKE2b with a digest of 8 bytes (little-endian), keyed with the seed's decimal digits,
    over `<length>:<role><length>:<content>…`. The lengths, in characters, keep the parts apart.
    Content that is not there counts as empty. The content of a message with tool calls is followed
    by `tool_calls:<length>:<calls>`, where calls are what `calls_text` makes of them; no length
    begins with a letter, so a prompt without tool calls has no such hash.
    """
    seeded = blake2b(digest_size=8, key=str(seed).encode())
    started = {role: seeded.copy() for role in set(messages.roles)}
    for role, digest in started.items():
        digest.update(f"{len(role)}:{role}".encode())
    contents = [
        b"%d:%b" % (length, content)
        for content, length in zip(*_collapse(messages.texts()), strict=True)
    ]
    for i, calls in enumerate(messages.calls):
        if calls:
            contents[i] += f"{TOOL_CALLS}:{len(calls)}:{calls}".encode()
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


def hash_of_text(text: str) -> int:
    """A 64-bit hash of a text that is there; not NO_PROMPT."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


class Turn(NamedTuple):
    """A message as JSON has it, unchecked; `calls` is the JSON of its tool calls, None without."""

    role: Any
    content: Any
    calls: bytes | None = None


def hash_texts(prompts: Sequence[Sequence[Turn]]) -> HashArray:
    """A 64-bit hash of each prompt's roles, texts and tool calls, unchecked; NO_PROMPT for one
    without any.

    It is BLAKE2b with a digest of 8 bytes (little-endian) over the text of a single message of the
    user, or else over `<role>:<bytes>:<content>:<bytes>:…`, in which a part that is not there is
    `-`, and with `tool_calls:<JSON>:<bytes>:` after the content of a message that has some. White
    space counts, and how JSON is written, unlike in `hash_prompts`, which takes twice as long.
    """
    texts = map(_text, prompts)
    hashes = [
        int.from_bytes(blake2b(text, digest_size=8).digest(), "little") if text else NO_PROMPT
        for text in texts
    ]
    return np.array(hashes, np.uint64)


def _text(turns: Sequence[Turn]) -> bytes:
    """What tells a prompt from others."""
    if len(turns) == 1:
        role, content, calls = turns[0]
        if role == "user" and isinstance(content, str) and calls is None:
            return content.encode("utf-8", "surrogatepass")
    return b"".join(
        _sized(turn.role)
        + _sized(turn.content)
        + (b"" if turn.calls is None else b"tool_calls:%b:%d:" % (turn.calls, len(turn.calls)))
        for turn in turns
    )


def _sized(part: Any) -> bytes:
    if part is None:
        return b"-"
    text = part if isinstance(part, str) else repr(part)
    encoded = text.encode("utf-8", "surrogatepass")
    return b"%b:%d:" % (encoded, len(encoded))


def distinct_prompts(hashes: HashArray) -> HashArray:
    """The distinct hashes, ascending. Sorts `hashes` in place."""
    hashes.sort()
    return np.asarray(hashes[first_of_equals(hashes)], np.uint64)


def repeated_prompts(hashes: HashArray) -> HashArray:
    """Each hash that occurs more than once, listed once, ascending. Sorts `hashes` in place."""
    hashes.sort()
    return distinct_prompts(hashes[1:][hashes[1:] == hashes[:-1]])


def positions_among(prompts: HashArray, ascending: HashArray) -> IntArray:
    """Where the prompts are that are among others, which ascend."""
    if not len(ascending):
        return np.zeros(0, np.int64)
    at = np.minimum(np.searchsorted(ascending, prompts), len(ascending) - 1)
    return np.flatnonzero(ascending[at] == prompts)


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
