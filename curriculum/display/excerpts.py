"""Long texts in a few lines that fit a terminal, and how much of them is left out."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def shorten(lines: Sequence[str], most: int) -> list[str]:
    """The first and the last of the lines, and between them how many characters are left out; all
    of them if there are at most `most`, or one more."""
    if len(lines) <= most + 1:
        return list(lines)
    last = most // 3
    first, end = most - last, len(lines) - last
    left_out = sum(map(len, lines[first:end]))
    return [*lines[:first], f"[… {left_out:,} characters left out …]", *lines[end:]]


def wrap(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` columns (2 or more), broken at a blank, else anywhere.

    It keeps its own lines and their indentation. Characters that are not printable, such as those
    that a terminal would obey, are written out.
    """
    lines = []
    for paragraph in text.expandtabs(4).splitlines() or [""]:
        rest = "".join(char if char.isprintable() else repr(char)[1:-1] for char in paragraph)
        while (fitting := _fit(rest, width)) < len(rest):
            blank = rest.rfind(" ", 0, fitting + 1)
            at = blank if rest[: max(blank, 0)].strip() else fitting
            lines.append(rest[:at].rstrip())
            rest = rest[at:].lstrip()
        lines.append(rest)
    return lines


def columns(text: str) -> int:
    """How many columns of a terminal the text takes: two for a wide character, as of Japanese, none
    for one that is drawn over the one before it."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


def _fit(text: str, width: int) -> int:
    """How many of the first characters take at most `width` columns."""
    taken = 0
    for number, char in enumerate(text):
        taken += columns(char)
        if taken > width:
            return number
    return len(text)
