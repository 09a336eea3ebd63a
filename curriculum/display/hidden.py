"""Characters that are not seen, or that change how others are seen."""

from __future__ import annotations

import unicodedata

# What is not seen, or moves what is: control and format characters (zero-width ones, and those that
# turn the direction of writing), surrogates, characters that are private or not assigned, and
# separators of lines.
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_PLAIN = {"\n", "\t"}
# Letters, signs and marks without ink, such as those that choose another form of the one before.
_BLANK = dict.fromkeys(
    "\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5\u180b\u180c\u180d\u180f"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)


def is_hidden(char: str) -> bool:
    """Whether a character is not seen, or changes how others are seen."""
    if char.isascii():
        return not char.isprintable() and char not in _PLAIN
    return unicodedata.category(char) in _HIDDEN or char in _BLANK


def written_out(text: str) -> str:
    """A text for a terminal, with hidden characters as Python writes them, such as \\u202e."""
    return "".join(c.encode("unicode_escape").decode() if is_hidden(c) else c for c in text)
