"""Numbers, sizes and tables as people read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from curriculum.errors import plural
from curriculum.output.manifests import MALFORMED_FILE
from curriculum.reading.ledger import count_by_kind
from curriculum.storage.paths import AnyPath


def number(value: float | None) -> str:
    """A metric value with four significant digits; - for None."""
    return "-" if value is None else f"{value:.4g}"


def share(part: int, whole: int) -> str:
    """A part of a whole in percent; - if the whole is 0."""
    return f"{100 * part / whole:.1f}%" if whole else "-"


def size(count: int) -> str:
    """A number of bytes in the unit that fits."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"


def table(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Rows as aligned lines; the first `left` columns are flush left, the others flush right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def set_aside_warning(kinds: Counter[str], output: AnyPath, dry_run: bool) -> str:
    """The warning about malformed lines that were set aside, or would be."""
    aside = "would be set aside" if dry_run else "set aside"
    return (
        f"{plural(kinds.total(), 'malformed line')} {aside} ({count_by_kind(kinds)}): in "
        f"{output / MALFORMED_FILE}, the reasons beside them. Fix them and run "
        "again if they should count."
    )
