"""Long texts in a few lines that fit a terminal."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from curriculum.display.excerpts import columns, shorten, wrap

TEXT = st.text(st.sampled_from("ab  \n\t-日本ｱe\u0301😀\x1b\x07"), max_size=200)


@given(TEXT, st.integers(2, 40))
def test_lines_fit_and_hold_the_whole_text(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert max(map(columns, lines)) <= width
    written = text.replace("\x1b", "\\x1b").replace("\x07", "\\x07")
    assert re.sub(r"\s", "", "".join(lines)) == re.sub(r"\s", "", written)


@given(st.lists(st.text("ab日", min_size=1, max_size=9), min_size=1), st.integers(20, 40))
def test_words_that_fit_are_not_broken(words: list[str], width: int) -> None:
    assert " ".join(wrap(" ".join(words), width)).split() == words


def test_lines_and_their_indentation_stay() -> None:
    assert wrap("a\n\n    b\tc\n", 20) == ["a", "", "    b   c"]
    assert wrap("", 20) == [""]


def test_wide_characters_take_two_columns_and_accents_none() -> None:
    assert [columns(text) for text in ("ab", "日本", "e\u0301", "😀")] == [2, 4, 1, 2]
    assert wrap("日本語", 4) == ["日本", "語"]


def test_terminal_is_not_told_anything() -> None:
    assert wrap("a\x1b[31mb", 40) == ["a\\x1b[31mb"]


@given(st.lists(st.text(max_size=5), max_size=30), st.integers(1, 12))
def test_first_and_last_lines_stay_and_the_rest_is_counted(lines: list[str], most: int) -> None:
    found = shorten(lines, most)
    if len(lines) <= most + 1:
        assert found == lines
        return
    assert len(found) == most + 1
    (at,) = [i for i, line in enumerate(found) if line.startswith("[… ")]
    head, tail = found[:at], found[at + 1 :]
    assert len(tail) <= len(head)
    left_out = lines[len(head) : len(lines) - len(tail)]
    assert [*head, *left_out, *tail] == lines
    assert found[at] == f"[… {sum(map(len, left_out)):,} characters left out …]"
