"""A page as a reader sees it: its texts, its tables, and the elements it has."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "link", "br", "rect", "line", "polyline", "img", "base", "input"}


class Page(HTMLParser):
    """What is in a page: `tags` counts its elements, `tables` has the rows of each by its caption,
    `rollouts` the texts of each rollout, and `text` is all that is shown."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text, self.titles = "", list[str]()
        self.blocks: list[str] = []  # texts in <pre>
        self.items: list[str] = []  # of lists
        self.summaries: list[str] = []
        self._open: list[str] = []
        self._caption, self._rows = "", list[list[str]]()
        self.source = path.read_text("utf-8")
        self.feed(self.source)
        if self._open:
            raise ValueError(f"these are not closed: {self._open}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag in VOID:
            return
        self._open.append(tag)
        if tag == "table":
            self._caption, self._rows = "", []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("th", "td"):
            self._rows[-1].append("")
        for one, found in (("pre", self.blocks), ("li", self.items), ("title", self.titles)):
            if tag == one:
                found.append("")
        if tag == "summary":
            self.summaries.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if self._open.pop() != tag:
            raise ValueError(f"</{tag}> closes another element, line {self.getpos()[0]}")
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        inside = set(self._open)
        if inside & {"style"}:
            return
        self.text += data
        if "caption" in inside:
            self._caption += data
        elif inside & {"th", "td"} and "title" not in inside:
            self._rows[-1][-1] += data
        for one, found in (("pre", self.blocks), ("li", self.items), ("title", self.titles)):
            if one in inside:
                found[-1] += data
        if "summary" in inside:
            self.summaries[-1] += data
