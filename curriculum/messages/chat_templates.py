"""The text of a decoded chat template → the turns in it, exactly or not at all.

verl puts the chat template of the model around the messages of every row, so a prompt that is the
text of a template already would get it twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple, TypeAlias

from msgspec import Struct

Turn: TypeAlias = "tuple[str, str]"  # role, content


class Conversation(NamedTuple):
    """The turns in the text of a chat template. `opened` says that an opening of the answer such
    as `<think>` followed, which is no turn: the templates of reasoning models write it."""

    turns: list[Turn]
    opened: bool


class Template(Struct, frozen=True, dict=True):
    """A chat template: what every text of it holds (`mark`), what it begins with, and the texts
    around what each role says.

    A role with no text before it can only speak first. `preamble` is what the template writes into
    every system message.
    """

    mark: str
    begin: str
    around: Mapping[str, tuple[str, str]]
    preamble: re.Pattern[str] = re.compile("")

    @cached_property
    def header(self) -> re.Pattern[str]:
        """Matches what stands before a turn."""
        return re.compile(f"({'|'.join(re.escape(text) for text in self.roles if text)})")

    @cached_property
    def roles(self) -> dict[str, str]:
        """The role by its header."""
        return {header: role for role, (header, _) in self.around.items()}


_ROLES = ("system", "user", "assistant")
_QWEN = Template(
    "<|im_start|>", "", {role: (f"<|im_start|>{role}\n", "<|im_end|>\n") for role in _ROLES}
)
_LLAMA_3 = Template(
    "<|start_header_id|>",
    "<|begin_of_text|>",
    {r: (f"<|start_header_id|>{r}<|end_header_id|>\n\n", "<|eot_id|>") for r in _ROLES},
    re.compile(r"Cutting Knowledge Date: [^\n]*\nToday Date: [^\n]*\n\n"),
)
_GEMMA = Template(
    "<start_of_turn>",
    "<bos>",
    {
        "user": ("<start_of_turn>user\n", "<end_of_turn>\n"),
        "assistant": ("<start_of_turn>model\n", "<end_of_turn>\n"),
    },
)
_DEEPSEEK = Template(
    "<｜",
    "<｜begin▁of▁sentence｜>",
    {
        "system": ("", ""),
        "user": ("<｜User｜>", ""),
        "assistant": ("<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
    },
)
TEMPLATES = (_QWEN, _LLAMA_3, _GEMMA, _DEEPSEEK)

_OPENINGS = ("<think>\n\n</think>\n\n", "<think>\n")  # as Qwen's templates write them
_ANSWER = "\nassistant\n"  # what follows the prompt in verl's dumps, without special tokens
MARKS = ("<|", "<｜", "<start_of_turn>", "[INST]", _ANSWER)  # of all these texts
_SPEAKER = re.compile(
    r"<\|(?:im_start|start_header_id|start_of_role|start|im_system|im_user|system|user|assistant)"
    r"\|>|<｜(?:User|Assistant)｜>|<start_of_turn>|\[INST\]"
)
_SPECIAL = re.compile(r"<\|\w+\|>|<｜[^<>]+｜>|<(?:start|end)_of_turn>|<bos>|\[/?INST\]", re.ASCII)


def may_hold_template(text: str) -> bool:
    """Whether a text is worth a closer look: nearly always False, and fast."""
    return any(mark in text for mark in MARKS)


def names_speaker(text: str) -> bool:
    """Whether a text has a special token that says who speaks, such as `<|im_start|>`."""
    return may_hold_template(text) and _SPEAKER.search(text) is not None


def read_template(text: str) -> Conversation | None:
    """The conversation in the text of a chat template; None if it is none, or not exactly one.

    The template around these turns gives the text again, but for an opening of the answer, a line
    end after the last turn, and the preamble of a system message. Only a last turn of the
    assistant may be without its end.
    """
    if not may_hold_template(text):
        return None
    for template in TEMPLATES:
        if template.mark in text:
            return _read_tokens(template, text)
    return _read_plain(text)


def _read_tokens(template: Template, text: str) -> Conversation | None:
    """The conversation in the text of a template that marks its turns with special tokens."""
    first, *pieces = template.header.split(text.removeprefix(template.begin))
    headers, contents = pieces[::2], pieces[1::2]
    if not headers:
        return None
    if first:  # text before any header
        headers, contents = ["", *headers], [first, *contents]
    turns: list[Turn] = []
    for number, (header, content) in enumerate(zip(headers, contents, strict=True), start=1):
        role = template.roles.get(header)
        said = role and _said(template, role, content, number == len(headers))
        if role is None or said is None or _SPECIAL.search(said):
            return None
        if role != "system" or said or content == template.around[role][1]:
            turns.append((role, said))
    opened = bool(turns) and turns[-1][0] == "assistant" and _opens(turns[-1][1])
    if opened or turns[-1:] == [("assistant", "")]:
        turns.pop()
    return Conversation(turns, opened) if turns else None


def _said(template: Template, role: str, content: str, last: bool) -> str | None:
    """What a role says in a turn, without the turn's end; None if that is missing."""
    end = template.around[role][1]
    if last and not content.endswith(end) and f"{content}\n".endswith(end):
        content += "\n"
    if not content.endswith(end):
        return content if last and role == "assistant" else None
    preamble = template.preamble.match(content) if role == "system" else None
    return content[preamble.end() if preamble else 0 :].removesuffix(end)


def _read_plain(text: str) -> Conversation | None:
    """The conversation in the text of a Qwen template without its special tokens, as verl's dumps
    have it: one user turn, and perhaps a system turn before it. With more, the text may be read in
    several ways."""
    asked = text
    for opening in _OPENINGS:
        asked = asked.removesuffix(opening)
    if not asked.endswith(_ANSWER):
        return None
    system, user, content = asked.removesuffix(_ANSWER).partition("user\n")
    if system.startswith("system\n"):
        system, user, content = asked.removesuffix(_ANSWER).partition("\nuser\n")
    if not user or _ANSWER in content or "\nuser\n" in content:
        return None
    turns = [("user", content)]
    if system:
        if not system.startswith("system\n") or _ANSWER in system:
            return None
        turns.insert(0, ("system", system.removeprefix("system\n")))
    return Conversation(turns, asked != text)


def _opens(content: str) -> bool:
    """Whether the assistant says no more than an opening that the template may have written."""
    return content.strip() in [opening.strip() for opening in _OPENINGS]


# One of these in a text, or across its ends, may change how a template around it is read.
SHAPE_MARKS = (*MARKS, "<end_of_turn>", "<bos>", "[/INST]", "\nuser\n")


class Shape(NamedTuple):
    """The texts around the user's last words in the text of a chat template.

    Between them, any other words that none of SHAPE_MARKS touches are read the same way: they are
    what the user says last, and all else stays. `turns` are the turns before that.
    """

    before: str
    after: str
    turns: list[Turn]
    opened: bool


def shape_of(text: str) -> Shape | None:
    """The shape of the text of a chat template; None for any other text, or if the user does not
    speak last."""
    found = read_template(text)
    if found is None or found.turns[-1][0] != "user":
        return None
    words, probe = found.turns[-1][1], "?"
    before, _, after = text.rpartition(words) if words else ("", "", text)
    turns = found.turns[:-1]
    if read_template(f"{before}{probe}{after}") != ([*turns, ("user", probe)], found.opened):
        return None
    return Shape(before, after, turns, found.opened)
