"""The prompt of a rollout: its messages, their hash, and prompts that occur more than once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from typing import Any, TypeAlias

import msgspec
import numpy as np

from curriculum.arrays import BoolArray, ByteArray, HashArray, LengthArray, compact_lengths
from curriculum.reading.chat_templates import names_speaker, read_template
from curriculum.reading.lines import Malformed, describe

NO_PROMPT_TEXT = "no prompt"  # a kind of malformed lines


class PromptNote(Enum):
    """What is counted of prompts."""

    LEFT_OUT = "message keys other than role and content, by key"
    ANSWER = "prompts that ended with an answer, which was left out"
    PREFILL = "prompts that end with an opening of the answer, which was kept"
    TEMPLATE = "prompts that were the text of a chat template, and were taken apart"
    OPENED = "those of them that ended with an opening of the answer, which was left out"
    UNREAD = "prompts that hold a chat template which was not taken apart"


PromptNotes: TypeAlias = "Counter[tuple[Enum, str]]"  # by note, and by key or ""

# Nothing but a tag, or an empty pair; or text that ends with <think>.
_PREFILL = re.compile(r"\s*<([A-Za-z][\w-]*)>\s*(</\1>\s*)?|.*<think>\s*", re.ASCII | re.DOTALL)


class Message(msgspec.Struct, gc=False):
    """One message of a prompt."""

    role: str
    content: str


def read_prompt(fields: Mapping[str, Any], notes: PromptNotes) -> list[Message]:
    """The messages of a rollout's prompt; at least one of them has text.

    They come from `prompt` (a string is one user message) or, if that is absent or empty, from
    `messages`, and are what `settle` makes of these. Message keys other than role and content are
    left out. What was changed or left out is counted in `notes`. Raises Malformed.
    """
    name, prompt = "prompt", fields["prompt"]
    if prompt is None or prompt in ("", []):
        name, prompt = "messages", fields["messages"]
    elif isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    if prompt is not None and not isinstance(prompt, list):
        raise Malformed(f"{name} is not a list", f"it is {describe(prompt)}")
    prompt = settle(prompt or [], notes)
    messages = [_read_message(f"{name}[{i}]", m, notes) for i, m in enumerate(prompt)]
    if not has_text(messages):
        raise Malformed(NO_PROMPT_TEXT, "neither prompt nor messages holds any text to answer")
    return messages


def settle(prompt: Any, notes: PromptNotes) -> Any:
    """What is asked, as a text or a list of messages, given a prompt that may be more than that.

    The text of a chat template, or a user message that is one, becomes its messages; a template
    that cannot be read exactly stays, and is counted. Trailing assistant turns are an answer and
    are left out, unless the last of them is a prefill, an opening that the answer is to continue.
    A prefill is nothing but a tag (`<think>`) or an empty pair of tags (`<think></think>`), or it
    is a text that ends with `<think>`; and something stands before it.

    A prompt that needs no change, or is of another form, is returned as it is.
    """
    text = prompt if isinstance(prompt, str) else _only_text(prompt)
    found = read_template(text) if text is not None else None
    if found:
        notes[PromptNote.TEMPLATE, ""] += 1
        if found.opened:
            notes[PromptNote.OPENED, ""] += 1
        prompt = [{"role": role, "content": said} for role, said in found.turns]
    elif any(map(names_speaker, _texts(prompt))):
        notes[PromptNote.UNREAD, ""] += 1
    asked = without_answers(prompt)
    if asked is not prompt:
        notes[PromptNote.ANSWER, ""] += 1
    elif isinstance(prompt, list) and prompt and _part(prompt[-1], "role") == "assistant":
        notes[PromptNote.PREFILL, ""] += 1
    return asked


def without_answers(prompt: Any) -> Any:
    """A list of messages without its trailing assistant turns, unless the last is a prefill (see
    `settle`); the prompt itself if there are none, or if it is of another form."""
    if not isinstance(prompt, list) or not prompt or _part(prompt[-1], "role") != "assistant":
        return prompt
    asked = len(prompt)
    while asked and _part(prompt[asked - 1], "role") == "assistant":
        asked -= 1
    last = _part(prompt[-1], "content")
    if asked and isinstance(last, str) and _PREFILL.fullmatch(last):
        return prompt
    return prompt[:asked]


def _part(message: Any, name: str) -> Any:
    return message.get(name) if isinstance(message, dict) else None


def _only_text(prompt: Any) -> str | None:
    """The text of a list of one user message; None for anything else."""
    if not isinstance(prompt, list) or len(prompt) != 1 or _part(prompt[0], "role") != "user":
        return None
    text = _part(prompt[0], "content")
    return text if isinstance(text, str) else None


def _texts(prompt: Any) -> list[str]:
    """The texts of a prompt."""
    parts = [_part(m, "content") for m in prompt] if isinstance(prompt, list) else [prompt]
    return [part for part in parts if isinstance(part, str)]


def has_text(messages: Sequence[Message]) -> bool:
    """Whether any message has text other than white space."""
    if messages and messages[-1].content.strip():  # nearly always
        return True
    return any(message.content.strip() for message in messages)


def _read_message(where: str, message: object, notes: PromptNotes) -> Message:
    if not isinstance(message, dict):
        raise Malformed(
            "a message is not an object", f"{where} is {describe(message)}, expected role, content"
        )
    role, content = message.get("role"), message.get("content")
    if isinstance(content, list):
        raise Malformed(
            "a message's content is a list of parts",
            f"{where}.content, expected a string: parts such as images stay in the rows of a data "
            "set that is named with --source",
        )
    for name, value in (("role", role), ("content", content)):
        if not isinstance(value, str):
            raise Malformed(
                f"a message's {name} is not a string", f"{where}.{name} is {describe(value)}"
            )
    if len(message) > 2:
        notes.update(
            (PromptNote.LEFT_OUT, key) for key in message if key not in ("role", "content")
        )
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
    seeded = blake2b(digest_size=8, key=str(seed).encode())
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


NO_PROMPT = 0  # in place of the hash of a prompt that is not there


@dataclass(frozen=True)
class PromptHashes:
    """For each prompt a hash of its messages, as the split hashes them; one of the text of its last
    message of the user; and how many characters it has. Both hashes are NO_PROMPT without a prompt.
    """

    prompts: HashArray
    texts: HashArray
    characters: LengthArray

    @staticmethod
    def of(prompts: Sequence[Any], seed: int) -> PromptHashes:
        """Hash prompts as JSON has them: texts or lists of messages. `seed` is the split's."""
        asked = [asked_messages(prompt) for prompt in prompts]
        there = np.array([bool(messages) for messages in asked], np.bool_)
        hashes = np.full(len(asked), NO_PROMPT, np.uint64)
        characters = np.zeros(len(asked), np.uint32)
        messages = Messages.of([some for some in asked if some])
        if messages.counts:
            hashes[there] = hash_prompts(messages, seed)
            characters[there] = messages.characters()
        texts = [last_text(some) for some in asked]
        found = [hash_of_text(text) if text else NO_PROMPT for text in texts]
        return PromptHashes(hashes, np.array(found, np.uint64), characters)


def first_prompt(values: Iterable[Any]) -> Any:
    """The first value that is not absent or empty; None if there is none."""
    return next((value for value in values if value not in (None, "", [])), None)


def asked_messages(prompt: Any) -> list[Message]:
    """The messages of a prompt without trailing answers; none if it is no prompt.

    Of content that is a list of parts, the text parts are taken; content that is null is empty.
    """
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}] if prompt else None
    prompt = settle(prompt, Counter())
    if not isinstance(prompt, list) or not all(isinstance(turn, dict) for turn in prompt):
        return []
    messages = [
        Message(_SURROGATE.sub("\ufffd", str(turn.get("role"))), _said(turn.get("content")))
        for turn in prompt
    ]
    return messages if any(message.content.strip() for message in messages) else []


_SURROGATE = re.compile("[\ud800-\udfff]")


def _said(content: Any) -> str:
    parts = content if isinstance(content, list) else [content]
    found = (part.get("text") if isinstance(part, dict) else part for part in parts)
    return _SURROGATE.sub("\ufffd", "".join(part for part in found if isinstance(part, str)))


def last_text(messages: Sequence[Message]) -> str:
    """The text of the last message of the user, its white space collapsed; empty without one."""
    asked = (message.content for message in reversed(messages) if message.role == "user")
    return " ".join(next(asked, "").split())


def hash_of_text(text: str) -> int:
    """A 64-bit hash of a text that is there; not NO_PROMPT."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


Turns: TypeAlias = list[tuple[Any, Any]]  # the role and the content of each message, unchecked


def read_turns(prompt: Any, messages: Callable[[], Any]) -> Turns:
    """What a rollout asks, from its JSON values, as far as they are a prompt; empty without one.

    As in `read_prompt`, an absent or empty `prompt` is `messages` without trailing answers; they
    are asked for only then. A text is one message of the user.
    """
    if prompt in (None, "", []):
        prompt = messages()
        while isinstance(prompt, list) and prompt and _part(prompt[-1], "role") == "assistant":
            prompt = prompt[:-1]
    if isinstance(prompt, list) and all(isinstance(message, dict) for message in prompt):
        return [(message.get("role"), message.get("content")) for message in prompt]
    if prompt in (None, ""):
        return []
    return [("user", prompt if isinstance(prompt, str) else repr(prompt))]


def hash_texts(prompts: Sequence[Turns]) -> HashArray:
    """A 64-bit hash of each prompt's roles and texts, unchecked; NO_PROMPT for one without any.

    It is BLAKE2b with a digest of 8 bytes (little-endian) over the text of a single message of the
    user, or else over `<role>:<bytes>:<content>:<bytes>:…`, in which a part that is not there is
    `-`. White space counts, unlike in `hash_prompts`, which takes twice as long.
    """
    texts = map(_text, prompts)
    hashes = [
        int.from_bytes(blake2b(text, digest_size=8).digest(), "little") if text else NO_PROMPT
        for text in texts
    ]
    return np.array(hashes, np.uint64)


def _text(turns: Turns) -> bytes:
    """What tells a prompt from others."""
    if len(turns) == 1 and turns[0][0] == "user" and isinstance(turns[0][1], str):
        return turns[0][1].encode("utf-8", "surrogatepass")
    return b"".join(_sized(part) for turn in turns for part in turn)


def _sized(part: Any) -> bytes:
    if part is None:
        return b"-"
    text = part if isinstance(part, str) else repr(part)
    encoded = text.encode("utf-8", "surrogatepass")
    return b"%b:%d:" % (encoded, len(encoded))


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
