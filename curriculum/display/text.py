"""Numbers, sizes and tables as people read them."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum

from curriculum.display.hidden import written_out
from curriculum.errors import plural
from curriculum.output.manifests import MALFORMED_FILE
from curriculum.reading.ledger import count_by_kind
from curriculum.reading.prompts import PromptNote
from curriculum.reading.truths import SeveralTruths
from curriculum.storage.paths import AnyPath

WIDTH = 100  # columns of what is printed
MOST_SHOWN = 3  # names of a list
# What both scripts say of prompts that are not what they seem. `who` counts the rollouts, `have` is
# the verb for as many.
PROMPT_WARNINGS: dict[Enum, str] = {
    PromptNote.ANSWER: "{who} {have} a prompt that ends with an answer. Trailing assistant turns "
    "are no part of a prompt and were left out.",
    PromptNote.PREFILL: "{who} {have} a prompt that ends with the opening of an answer, such as "
    "<think>. It is kept, but verl's chat template ends that turn and starts another: take it out "
    "of the prompts if the chat template of your model writes it anyway.",
    PromptNote.OPENED: "{who} {have} the text of a chat template for a prompt, and at its end an "
    "opening of the answer, such as <think>. That was left out: check that the chat template of "
    "your model writes it.",
    PromptNote.UNREAD: "{who} {have} the text of a chat template in the prompt, in a form that is "
    "not known. It stays, and verl will put a template around it once more: before training, make "
    "messages of these prompts, from the data set that they came from.",
}


def number(value: float | None) -> str:
    """A metric value with four significant digits; - for None."""
    return "-" if value is None else f"{value:.4g}"


def threshold(value: float) -> str:
    """A threshold as it is written: `0.3-` is the highest number below 0.3."""
    above = math.nextafter(value, math.inf) + 0.0
    if float(f"{above:.12g}") == above and len(repr(above)) < len(repr(value)):
        return f"{above:.12g}-"
    return f"{value:g}"


def share(part: int, whole: int) -> str:
    """A part of a whole in percent; - if the whole is 0."""
    return f"{100 * part / whole:.1f}%" if whole else "-"


def size(count: int) -> str:
    """A number of bytes in the unit that fits."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"


def few(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    if len(names) <= MOST_SHOWN + 1:
        return ", ".join(names)
    return f"{', '.join(names[:MOST_SHOWN])} and {len(names) - MOST_SHOWN:,} more"


def page_written(path: str | None) -> str:
    """Where the page of --report is; empty without it."""
    return f"wrote {path}, a page to look at" if path is not None else ""


def written_line(files: Sequence[str], directory: str | None, dry_run: bool) -> str:
    """Which files were written, or would be, and where; of many only the first and the last two."""
    *most, last = files if len(files) <= 8 else [*files[:3], "…", *files[-2:]]
    names = f"{', '.join(most)} and {last}"
    return f"{'would write' if dry_run else 'wrote'} {names}" + (
        f" to {directory}" if directory else ""
    )


def bullets(items: Sequence[str]) -> list[str]:
    """Sentences as a list, wrapped."""
    lines = []
    for item in items:
        first, *more = wrapped(item, indent=2)
        lines += [f"- {first}", *more]
    return lines


def wrapped(text: str, indent: int = 0) -> list[str]:
    """A text in lines of at most WIDTH columns; those after the first are indented. No word is
    broken, so paths and commands stay whole."""
    return textwrap.wrap(
        written_out(text),
        WIDTH,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def table(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Rows as aligned lines; the first `left` columns are flush left, the others flush right."""
    rows = [[written_out(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def truths_warning(prompts: int, whose: str, places: Sequence[str], found: SeveralTruths) -> str:
    """The warning about prompts with several ground truths, of which `places` has two."""
    shown = " and ".join(
        f"{place} ({at.text})" for place, at in zip(places, found.example, strict=True)
    )
    return (
        f"{plural(prompts, 'prompt')} {whose}{have(prompts)} several ground truths, such as "
        f"{shown}: what is right for one rollout is wrong for another. Correct the ground truths, "
        "add to the prompts what tells them apart, or leave these rollouts out."
    )


def have(count: int) -> str:
    """The verb of a count: 1 has, 2 have."""
    return "has" if count == 1 else "have"


def are(count: int) -> str:
    """The verb of a count: 1 is, 2 are."""
    return "is" if count == 1 else "are"


def set_aside_warning(kinds: Counter[str], output: AnyPath, dry_run: bool) -> str:
    """The warning about malformed lines that were set aside, or would be."""
    aside = "would be set aside" if dry_run else "set aside"
    return (
        f"{plural(kinds.total(), 'malformed line')} {aside} ({count_by_kind(kinds)}): in "
        f"{output / MALFORMED_FILE}, with the reasons beside them. If they should count, fix them "
        "and run again."
    )


def absent_warnings(absent: Mapping[str, tuple[int, int]]) -> list[str]:
    """That rollouts, so many of so many, have nothing at a place that a condition is about."""
    return [
        f"{count:,} of {plural(total, 'rollout')} {have(count)} nothing in {place}. They meet no "
        "condition on it, and --keep leaves them out."
        for place, (count, total) in absent.items()
    ]
