"""The distribution of a metric with its cuts, as text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from curriculum.statistics.bins import Bar, Bins, merge_bars
from curriculum.storage.paths import AnyPath, printable

WIDTH = 80
NAME_WIDTH = 14
DATASET_WIDTH = 40
MOST_BUCKETS = 12  # with more buckets, each gets one bar
SUFFIX = re.compile(r"\.(jsonl|ndjson|json|parquet)(\.(gz|zst|bz2|lz4))?$")
PLAIN = 1e6  # numbers below are written without an exponent
DIGITS = 4, 12  # the fewest and the most that tell values apart


def histogram_lines(
    names: Sequence[str],
    bars: Sequence[Sequence[Bar]],
    cuts: Sequence[str],
    higher_is_easier: bool,
) -> list[str]:
    """The bars of all buckets as text of at most WIDTH columns, easiest first. `cuts` has the words
    between each bucket and the next."""
    if len(names) > MOST_BUCKETS:
        bars = [[merge_bars(some)] if some else [] for some in bars]
    ordered = [list(reversed(some)) if higher_is_easier else list(some) for some in bars]
    labels = _labels(ordered)
    counts = [[f"{bar.count:,}" for bar in some] or [""] for some in ordered]
    name_width = min(max(map(len, names)), NAME_WIDTH)
    label_width = max(len(label) for some in labels for label in some)
    count_width = max(len(count) for some in counts for count in some)
    room = max(WIDTH - name_width - label_width - count_width - 6, 10)
    largest = max((bar.count for some in bars for bar in some), default=0)
    lines = []
    for i, name in enumerate(names):
        if i and len(names) <= MOST_BUCKETS:
            lines.append(f"---- {cuts[i - 1]} ".ljust(WIDTH, "-"))
        heads = [shorten(name), *[""] * len(labels[i])]
        lengths = [_length(bar.count, largest, room) for bar in ordered[i]] or [0]
        for head, label, count, length in zip(heads, labels[i], counts[i], lengths, strict=False):
            line = f"{head:{name_width}}  {label:>{label_width}}  {'#' * length} {count}"
            lines.append(line.rstrip())
    return lines


def scale_note(bins: Bins, buckets: int = 1) -> str:
    """What to know about an axis that is not to scale; empty if it is."""
    if buckets > MOST_BUCKETS:
        return "one bar per bucket, not to scale"
    if bins.to_scale:
        return ""
    if bins.single:
        return "one bar per value, not to scale"
    return "the outer bars are not to scale"


def tell_apart(values: Sequence[float], digits: int = DIGITS[0]) -> list[str]:
    """The values with so many significant digits, or as many more as tell them apart."""
    for wanted in range(digits, DIGITS[1]):
        texts = [_rounded(value, wanted) for value in values]
        if len(set(texts)) == len(set(values)):
            return texts
    return [_rounded(value, DIGITS[1]) for value in values]


def _rounded(value: float, digits: int) -> str:
    text = f"{value:.{digits}g}"
    return f"{float(text):.0f}" if "e" in text and 1 <= abs(value) < PLAIN else text


def _labels(bars: Sequence[Sequence[Bar]]) -> list[list[str]]:
    """What values each bar holds, bucket by bucket."""
    values = sorted({value for some in bars for bar in some for value in (bar.low, bar.high)})
    texts = dict(zip(values, tell_apart(values), strict=True))
    return [
        [
            texts[bar.low] if bar.low == bar.high else f"{texts[bar.low]} to {texts[bar.high]}"
            for bar in some
        ]
        or ["empty"]
        for some in bars
    ]


def shorten(name: str, width: int = NAME_WIDTH) -> str:
    """A name in at most `width` columns: its beginning and its end, which tell names apart."""
    if len(name) <= width:
        return name
    tail = (width - 2) // 2
    return f"{name[: width - 2 - tail]}..{name[len(name) - tail :]}"


def dataset_name(inputs: Sequence[AnyPath]) -> str:
    """What to call the data of these input paths, which are files, directories or globs: the name
    of the first without its suffix, in DATASET_WIDTH columns, and how many more there are."""
    first = inputs[0]
    while set(first.name) & set("*?["):
        first = first.parent
    name = first.name if first.name not in ("", "..") else first.resolve().name or str(first)
    name = "stdin" if name == "-" else name
    name = shorten(SUFFIX.sub("", printable(name)), DATASET_WIDTH)
    return name if len(inputs) == 1 else f"{name} and {len(inputs) - 1:,} more"


def _length(count: int, largest: int, room: int) -> int:
    """The length of a bar: at least 1 unless the count is 0."""
    return max(round(count * room / max(largest, 1)), count > 0)
