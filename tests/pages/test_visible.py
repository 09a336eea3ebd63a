"""Nothing in a text is hidden, and a text that is shortened says by how much."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.pages.visible import Excerpt, Piece, pieces, plain

ODD = "\u202e\u200b\ufeff\0\x1b\ud800\ue000\u2028\u3164\r"


@given(st.text(st.characters() | st.sampled_from(ODD + "\n\t a<é"), max_size=30))
def test_every_character_is_shown_once(text: str) -> None:
    found = list(pieces(text))
    back = ""
    for piece in found:
        if piece.name is None:
            back += piece.text
            continue
        code, _, times = piece.text.partition(" ×")
        back += chr(int(code.removeprefix("U+"), 16)) * int(times.replace(",", "") or 1)
    assert back == text.replace("\r\n", "\n")
    shown = "".join(piece.text for piece in found) + "".join(piece.name or "" for piece in found)
    assert not [c for c in shown if c not in "\n\t" and unicodedata.category(c)[0] in "C"]
    assert not set(shown) & set(ODD)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abc", [Piece("abc")]),
        ("", []),
        ("a\u202eb", [Piece("a"), Piece("U+202E", "right-to-left override"), Piece("b")]),
        ("\0\0\0", [Piece("U+0000 ×3", "NULL")]),
        ("a\r\nb", [Piece("a\nb")]),
        ("שלום مرحبا 日本", [Piece("שלום مرحبا 日本")]),
        ("e\u0301", [Piece("e\u0301")]),
        (
            "e" + 9 * "\u0301" + "f",
            [Piece("e" + 4 * "\u0301"), Piece("U+0301 ×5", "combining acute accent"), Piece("f")],
        ),
        (
            "x" + 30 * "\u20dd",
            [Piece("x" + 4 * "\u20dd"), Piece("U+20DD ×26", "combining enclosing circle")],
        ),
        ("a\ufe0f", [Piece("a"), Piece("U+FE0F", "variation selector-16")]),
        ("❤\ufe0f", [Piece("❤\ufe0f")]),
        (
            "❤\ufe0f\ufe0f\U000e0155",
            [
                Piece("❤\ufe0f"),
                Piece("U+FE0F", "variation selector-16"),
                Piece("U+E0155", "variation selector-102"),
            ],
        ),
        ("a\u034fb", [Piece("a"), Piece("U+034F", "combining grapheme joiner"), Piece("b")]),
        ("क्षि", [Piece("क्षि")]),
    ],
)
def test_pieces(text: str, expected: list[Piece]) -> None:
    assert list(pieces(text)) == expected


def test_a_line_has_no_breaks() -> None:
    assert plain("a\n b\t\u200bc") == "a b U+200Bc"


@given(st.text("abcdef", max_size=80), st.integers(3, 40), st.integers(3, 40))
def test_an_excerpt_is_the_beginning_and_the_end(text: str, most: int, fewer: int) -> None:
    for found in (Excerpt.of(text, most), Excerpt.of(text, most).shorter(fewer)):
        assert found.characters == len(text)
        assert text.startswith(found.head)
        assert text.endswith(found.tail)
        assert found.left_out or found.head == text
    assert len(found.head + found.tail) <= fewer
    assert bool(found.left_out) == (len(text) > min(most, fewer))


def test_the_pattern_of_a_code() -> None:
    (piece,) = pieces("\U000e0041")
    assert re.fullmatch(r"U\+[0-9A-F]{4,6}", piece.text)
