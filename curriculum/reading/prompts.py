"""The prompt of a rollout, as JSON has it → its messages, or what is wrong with it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct

from curriculum.arrays import HashArray, LengthArray
from curriculum.messages.chat_templates import names_speaker, read_template
from curriculum.messages.hashes import (
    NO_PROMPT,
    Messages,
    Turn,
    hash_of_text,
    hash_prompts,
)
from curriculum.messages.message import KEPT, TOOL_CALLS, Message, has_calls, read_parts
from curriculum.reading.lines import Malformed, describe

# Kinds of malformed lines.
NO_PROMPT_TEXT = "no prompt"
OTHER_PARTS = "a message has parts that are not text"


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


def read_prompt(fields: Mapping[str, Any], notes: PromptNotes) -> list[Message]:
    """The messages of a rollout's prompt; at least one of them has text.

    They come from `prompt` (a string is one user message) or, if that is absent or empty, from
    `messages`, and are what `settle` makes of these. Content that is a list of text parts is their
    text, one after another. Tool calls, the id of the call that is answered, and names are kept;
    other message keys are left out. What was changed or left out is counted in `notes`. Raises
    Malformed.
    """
    name, prompt = "prompt", fields["prompt"]
    if prompt is None or prompt in ("", []):
        name, prompt = "messages", fields["messages"]
    elif isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    if prompt is not None and not isinstance(prompt, list):
        raise Malformed(f"{name} is not a list", f"it is {describe(prompt)}")
    joined = _join_parts(prompt or [])
    asked = settle(joined, notes)
    messages = [_read_message(f"{name}[{i}]", m, notes) for i, m in enumerate(asked)]
    if not has_text(messages):
        raise Malformed(NO_PROMPT_TEXT, "neither prompt nor messages holds any text to answer")
    if joined is not prompt:
        notes.update(
            (PromptNote.LEFT_OUT, f"content[].{key}")
            for message in (prompt or [])[: len(asked)]
            if isinstance(parts := _part(message, "content"), list)
            for key in read_parts(parts).keys
        )
    return messages


def _join_parts(prompt: Any) -> Any:
    """A list of messages with the text parts of each joined; the prompt itself if there are none.
    A message that has other parts stays as it is."""
    if not isinstance(prompt, list):
        return prompt
    if not any(isinstance(_part(message, "content"), list) for message in prompt):
        return prompt  # nearly always
    return [_with_text(message) for message in prompt]


def _with_text(message: Any) -> Any:
    content = _part(message, "content")
    if not isinstance(content, list):
        return message
    parts = read_parts(content)
    return message if parts.other else {**message, "content": parts.text}


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
    if messages and messages[-1].text.strip():  # nearly always
        return True
    return any(message.text.strip() for message in messages)


def _read_message(where: str, message: object, notes: PromptNotes) -> Message:
    if not isinstance(message, dict):
        raise Malformed(
            "a message is not an object", f"{where} is {describe(message)}, expected role, content"
        )
    role, content = message.get("role"), message.get("content")
    if isinstance(content, list):
        raise Malformed(
            OTHER_PARTS,
            f"{where}.content{read_parts(content).other}, expected text; with --source, rows that "
            "hold images stay as they are",
        )
    if role is None and isinstance(message.get("type"), str):
        raise Malformed(
            "an item of a prompt is no message",
            f"{where} is of type {describe(message['type'])}, expected a message with a role: the "
            "items of OpenAI's Responses API are no messages for a chat template",
        )
    silent = content is None and role == "assistant" and has_calls(message)
    for name, value in (("role", role), ("content", content)):
        if not isinstance(value, str) and not (silent and name == "content"):
            raise Malformed(
                f"a message's {name} is not a string", f"{where}.{name} is {describe(value)}"
            )
    kept = None
    if len(message) > 2 or silent:
        kept = _read_kept(where, message)
        notes.update(
            (PromptNote.LEFT_OUT, key)
            for key in message
            if key not in ("role", "content") and key not in KEPT
        )
    return Message(str(role), None if silent else str(content), kept)


def _read_kept(where: str, message: Mapping[str, Any]) -> dict[str, Any] | None:
    """What rows keep of a message beside role and content; nulls and empty tool calls are not
    there. Raises Malformed."""
    kept = {}
    for name in KEPT:
        value = message.get(name)
        if value is None or (name == TOOL_CALLS and value == []):
            continue
        if name == TOOL_CALLS:
            _check_calls(f"{where}.{name}", value)
        elif not isinstance(value, str):
            raise Malformed(
                f"a message's {name} is not a string", f"{where}.{name} is {describe(value)}"
            )
        kept[name] = value
    return kept or None


def _check_calls(where: str, calls: object) -> None:
    if not isinstance(calls, list):
        raise Malformed("a message's tool_calls is not a list", f"{where} is {describe(calls)}")
    for number, call in enumerate(calls):
        if not isinstance(call, dict) or not call:
            what = "an empty object" if call == {} else describe(call)
            raise Malformed(
                "a tool call is not an object that says anything", f"{where}[{number}] is {what}"
            )


class PromptHashes(Struct, frozen=True):
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

    Of content that is a list of parts, the text parts are taken; content that is null is empty. Of
    what rows keep beside it, the messages have the tool calls.
    """
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}] if prompt else None
    prompt = settle(_join_parts(prompt), Counter())
    if not isinstance(prompt, list) or not all(isinstance(turn, dict) for turn in prompt):
        return []
    messages = [
        Message(
            _SURROGATE.sub("\ufffd", str(turn.get("role"))),
            _said(turn.get("content")),
            {TOOL_CALLS: turn[TOOL_CALLS]} if has_calls(turn) else None,
        )
        for turn in prompt
    ]
    return messages if has_text(messages) else []


_SURROGATE = re.compile("[\ud800-\udfff]")


def _said(content: Any) -> str:
    parts = content if isinstance(content, list) else [content]
    found = (part.get("text") if isinstance(part, dict) else part for part in parts)
    return _SURROGATE.sub("\ufffd", "".join(part for part in found if isinstance(part, str)))


def last_text(messages: Sequence[Message]) -> str:
    """The text of the last message of the user, its white space collapsed; empty without one."""
    asked = (message.text for message in reversed(messages) if message.role == "user")
    return " ".join(next(asked, "").split())


def read_turns(prompt: Any, messages: Callable[[], Any]) -> list[Turn]:
    """What a rollout asks, from its JSON values, as far as they are a prompt; empty without one.

    As in `read_prompt`, an absent or empty `prompt` is `messages` without trailing answers (they
    are asked for only then), a text is one message of the user, and text parts are their text. The
    tool calls are written as JSON anew.
    """
    if prompt in (None, "", []):
        prompt = messages()
        while isinstance(prompt, list) and prompt and _part(prompt[-1], "role") == "assistant":
            prompt = prompt[:-1]
    if isinstance(prompt, list) and all(isinstance(message, dict) for message in prompt):
        return [_turn(message) for message in _join_parts(prompt)]
    if prompt in (None, ""):
        return []
    return [Turn("user", prompt if isinstance(prompt, str) else repr(prompt))]


def _turn(message: Mapping[str, Any]) -> Turn:
    calls = json.dumps(message[TOOL_CALLS]).encode() if has_calls(message) else None
    return Turn(message.get("role"), message.get("content"), calls)


def has_other_parts(turns: Iterable[Turn]) -> bool:
    """Whether a message before the last answers holds a part that is not text, such as an image:
    `read_prompt` refuses it."""
    asked = list(turns)
    while asked and asked[-1].role == "assistant":
        asked.pop()
    return any(isinstance(turn.content, list) for turn in asked)
