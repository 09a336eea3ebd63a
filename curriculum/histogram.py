"""The distribution of a metric, bucket by bucket: values → bars, and bars → lines of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from curriculum.arrays import FloatArray
from curriculum.text import number

FEW_VALUES = 16  # up to so many distinct values get a bar each
MOST_BARS = 15  # for more values, and perhaps one more
MOST_BUCKETS = 12  # more buckets than that get one bar each

WIDTH = 80
NAME_WIDTH = 14


@dataclass(frozen=True)
class Bar:
    """How many rollouts of a bucket have a value from `low` to `high`, both inclusive."""

    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Bins:
    """Where bars begin: ascending `starts`, each bar up to the next one. With `single` they are the
    values themselves."""

    starts: FloatArray
    single: bool


def choose_bins(parts: Sequence[FloatArray]) -> Bins:
    """Bins for the values in all parts, each of which has none twice: round numbers, unless the
    values are few."""
    parts = [part for part in parts if len(part)]
    if all(len(part) <= FEW_VALUES for part in parts):
        values = np.unique(np.concatenate(parts))
        if len(values) <= FEW_VALUES:
            return Bins(values, single=True)
    low, high = (float(end) for end in (min(map(np.min, parts)), max(map(np.max, parts))))
    least = max(high / MOST_BARS - low / MOST_BARS, 1e-300)
    power = 10.0 ** math.floor(math.log10(least))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= least)
    first, last = (math.floor(round(end / step, 9)) for end in (low, high))
    with np.errstate(over="ignore"):
        steps = ((first + np.arange(last - first + 1)) * step).tolist()
    # As metric values are: 3 * 0.1 is not 0.3, and a value of 0.3 would be on its other side.
    starts = np.array([float(f"{start:.12g}") for start in steps], np.float64)
    apart = np.isfinite(starts).all() and (starts[1:] > starts[:-1]).all()
    return Bins(starts if apart else np.array([low]), single=False)


def bars_of(ascending: FloatArray, bins: Bins) -> list[Bar]:
    """The bars of one bucket, whose values are sorted; the outer ones end at its lowest and
    highest value. Empty ones between them are there, unless the bins are single values."""
    if not len(ascending):
        return []
    first = np.searchsorted(ascending, bins.starts, side="left").tolist()
    first[0] = 0  # a start may be a rounding above the value that it was made from
    counts = np.diff([*first, len(ascending)])
    filled = np.flatnonzero(counts)
    if bins.single:
        values = bins.starts.tolist()
        return [Bar(values[i], values[i], int(counts[i])) for i in filled.tolist()]
    shown = np.arange(filled[0], filled[-1] + 1)
    inner = bins.starts[shown[1:]].tolist()
    ends = [float(ascending[0]), *inner, float(ascending[-1])]
    return [Bar(*both, int(counts[i])) for both, i in zip(pairwise(ends), shown, strict=True)]


def histogram_lines(
    names: Sequence[str],
    bars: Sequence[Sequence[Bar]],
    cuts: Sequence[str],
    higher_is_easier: bool,
) -> list[str]:
    """The bars of all buckets as text of at most WIDTH columns, easy to hard from the top, with
    the words `cuts` between one bucket and the next."""
    if len(names) > MOST_BUCKETS:
        bars = [[_whole(some)] if some else [] for some in bars]
    ordered = [list(reversed(some)) if higher_is_easier else list(some) for some in bars]
    labels = [[_label(bar) for bar in some] or ["empty"] for some in ordered]
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


def _whole(bars: Sequence[Bar]) -> Bar:
    return Bar(bars[0].low, bars[-1].high, sum(bar.count for bar in bars))


def _label(bar: Bar) -> str:
    low, high = number(bar.low), number(bar.high)
    return low if low == high else f"{low} to {high}"


def shorten(name: str) -> str:
    """A bucket's name in at most NAME_WIDTH columns."""
    return name if len(name) <= NAME_WIDTH else name[: NAME_WIDTH - 2] + ".."


def _length(count: int, largest: int, room: int) -> int:
    """How long a bar is: at least 1 where there is anything."""
    return max(round(count * room / max(largest, 1)), count > 0)
