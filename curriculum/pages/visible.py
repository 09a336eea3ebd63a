"""A text from anywhere → pieces in which nothing is hidden, and long texts without their middle."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from msgspec import Struct

from curriculum.display.hidden import is_hidden

MOST_MARKS = 4  # drawn over one letter; more would run over other lines
_MARKS = {"Mn", "Me"}
_COLOUR, _NO_COLOUR = "\ufe0f", "\ufe0e"  # of the sign before


class Piece(NamedTuple):
    """Some text as it is, or a character's code such as U+202E, with its `name`."""

    text: str
    name: str | None = None


def pieces(text: str) -> Iterator[Piece]:
    """The text in pieces. A run of one hidden character is one piece, which says how many. Marks
    that are drawn over a letter are hidden where there are more than MOST_MARKS."""
    text = text.replace("\r\n", "\n")
    start = at = marks = 0
    while at < len(text):
        marks = marks + 1 if unicodedata.category(text[at]) in _MARKS else 0
        if marks <= MOST_MARKS and (not is_hidden(text[at]) or _colours(text, at)):
            at += 1
            continue
        if start < at:
            yield Piece(text[start:at])
        char, first = text[at], at
        while at < len(text) and text[at] == char:
            at += 1
        times = f" ×{at - first:,}" if at - first > 1 else ""
        yield Piece(f"U+{ord(char):04X}{times}", _name(char))
        start = at
    if start < len(text):
        yield Piece(text[start:])


def _colours(text: str, at: int) -> bool:
    """Whether a character only says that the sign before it is drawn with or without colour."""
    is_one = text[at] in (_COLOUR, _NO_COLOUR)
    return is_one and at > 0 and unicodedata.category(text[at - 1]).startswith("S")


def plain(text: str) -> str:
    """The text in one line, each hidden character as its code."""
    return " ".join("".join(piece.text for piece in pieces(text)).split())


def _name(char: str) -> str:
    names = {"\0": "NULL", "\x1b": "ESCAPE", "\x7f": "DELETE", "\r": "CARRIAGE RETURN"}
    return names.get(char) or unicodedata.name(char, "a character without a name").lower()


class Excerpt(Struct, frozen=True):
    """A text, or its beginning and its end with the number of characters between them."""

    head: str
    left_out: int = 0
    tail: str = ""

    @staticmethod
    def of(text: str, most: int) -> Excerpt:
        """At most `most` characters of a text, two thirds of them from its beginning."""
        if len(text) <= most:
            return Excerpt(text)
        last = most // 3
        return Excerpt(text[: most - last], len(text) - most, text[len(text) - last :])

    def shorter(self, most: int) -> Excerpt:
        """At most `most` characters of what there is."""
        if not self.left_out:
            return Excerpt.of(self.head, most)
        last = most // 3
        head, tail = self.head[: most - last], self.tail[max(len(self.tail) - last, 0) :]
        return Excerpt(head, self.characters - len(head) - len(tail), tail)

    @property
    def characters(self) -> int:
        """How many characters the whole text has."""
        return len(self.head) + self.left_out + len(self.tail)
