"""What a page says → HTML that can do nothing: no scripts, no requests, every text escaped.

This is the only module that imports Jinja2 (extra `[report]`).
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from msgspec import Struct

from curriculum.pages.visible import Excerpt, pieces, plain
from curriculum.storage.paths import AnyPath
from curriculum.version import NAME, __version__

TEMPLATES = Path(__file__).parent / "templates"
MOST_BYTES = 2_900_000  # a page is below 3 MB
# Characters of a text, and of a ground truth. The next pair is tried if a page is too large.
LINE = 160  # characters of a text that is shown in one line, or as many as the pair has
LIMITS = ((6_000, 2_000), (2_000, 800), (600, 300), (150, 100), (20, 20))
MOST_CELLS, MOST_COLUMNS = 12_000, 60  # of a table
LONGEST = 2_000  # characters of a name, or of whatever else is not cut to such a limit


class Page(Struct, frozen=True):
    """A page: its template, and what that is given."""

    template: str
    facts: Mapping[str, Any]


def write_page(page: Page, path: AnyPath) -> None:
    """Write a page of at most MOST_BYTES: texts are shortened as far as that needs. There are few
    of all else: tables and names have limits of their own."""
    for limits in LIMITS:
        text = render(page, *limits).encode("utf-8", "replace")
        if len(text) <= MOST_BYTES:
            break
    path.write_bytes(text)


def render(page: Page, most: int = LIMITS[0][0], most_of_truth: int = LIMITS[0][1]) -> str:
    """The HTML of a page, with at most so many characters of each text and of each truth."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def finalize(value: Any) -> Any:
        """Everything that is printed is shown as it is, whoever wrote it."""
        return value if isinstance(value, Markup) else _seen(_short(str(value), most), Markup)

    def attribute(value: Any) -> Any:
        return Markup.escape(plain(_short(str(value), 0)))

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["attribute"] = attribute
    environment.filters["in_line"] = lambda given: _seen(_in_line(given, min(LINE, most)), Markup)
    environment.filters["few"] = few
    environment.filters["score"] = _score
    environment.filters["text"] = lambda given: _cut(given, most)
    environment.filters["truth"] = lambda given: _cut(given, most_of_truth)
    style = (TEMPLATES / "page.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template(page.template).render(
        page.facts, style=Markup(style), style_hash=digest, tool=NAME, version=__version__
    )


def few(rows: Sequence[Sequence[str]]) -> Sequence[Sequence[str]]:
    """A table of at most about MOST_CELLS cells: the first rows and columns and the last ones."""
    columns = len(rows[0])
    if columns > MOST_COLUMNS:
        gap = f"({columns - MOST_COLUMNS + 1:,} more)"
        rows = [[*row[: MOST_COLUMNS - 2], gap if row is rows[0] else "…", row[-1]] for row in rows]
    most = MOST_CELLS // len(rows[0])
    if len(rows) <= most:
        return rows
    gap = f"({len(rows) - most + 1:,} more)"
    return [*rows[: most - 2], [gap, *[""] * (len(rows[0]) - 1)], rows[-1]]


def _short(text: str, most: int) -> str:
    """A text that is no excerpt, without its end if that is very long."""
    most = max(most, LONGEST)
    return text if len(text) <= most else f"{text[:most]}…"


def _seen(text: str, markup: Callable[[str], Any]) -> Any:
    """A text as HTML: hidden characters are marks that can be seen."""
    mark = '<span class="hidden" title="{}">{}</span>'
    parts = (
        escape(piece.text)
        if piece.name is None
        else mark.format(escape(piece.name), escape(piece.text))
        for piece in pieces(text)
    )
    return markup("".join(parts))


def _in_line(given: str, most: int) -> str:
    """The beginning of a text in one line of at most so many characters."""
    text = re.sub("[ \n\t]+", " ", given[: 2 * most]).strip(" ")
    return (text if len(text) <= most else f"{text[: most - 1]}…") or "(blank)"


def _score(given: float | None) -> str:
    return "-" if given is None or not math.isfinite(given) else f"{given:.4g}"


def _cut(given: Excerpt | str, most: int) -> Excerpt:
    return given.shorter(most) if isinstance(given, Excerpt) else Excerpt.of(given, most)
