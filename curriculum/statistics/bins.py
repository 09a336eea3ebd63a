"""Metric values → the bars of a histogram, bucket by bucket."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from curriculum.arrays import FloatArray

FEW_VALUES = 16  # up to this many distinct values get a bar each
MOST_BARS = 15  # if there are more values; round starts may add one


@dataclass(frozen=True)
class Bar:
    """How many rollouts of a bucket have a value from `low` (inclusive) to `high` (exclusive, but
    inclusive in the last bar and in a bar of one value)."""

    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Bins:
    """The ascending `starts` of bars, each of which ends before the next start. With `single`, each
    bar holds one value, its start."""

    starts: FloatArray
    single: bool


def choose_bins(parts: Sequence[FloatArray]) -> Bins:
    """Bins for the values of all parts, each without duplicates. They start at round numbers unless
    the values are few."""
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
    # Round as metric values are rounded: 3 * 0.1 is above 0.3, so 0.3 would fall below its start.
    starts = np.array([float(f"{start:.12g}") for start in steps], np.float64)
    apart = np.isfinite(starts).all() and (starts[1:] > starts[:-1]).all()
    return Bins(starts if apart else np.array([low]), single=False)


def bars_of(ascending: FloatArray, bins: Bins) -> list[Bar]:
    """The bars of one bucket, whose values are sorted. The outer bars end at its lowest and highest
    value. Empty bars between them are kept, unless each bar holds one value."""
    if not len(ascending):
        return []
    first = np.searchsorted(ascending, bins.starts, side="left").tolist()
    first[0] = 0  # rounding may put the first start above the lowest value
    counts = np.diff([*first, len(ascending)])
    filled = np.flatnonzero(counts)
    if bins.single:
        values = bins.starts.tolist()
        return [Bar(values[i], values[i], int(counts[i])) for i in filled.tolist()]
    shown = np.arange(filled[0], filled[-1] + 1)
    inner = bins.starts[shown[1:]].tolist()
    ends = [float(ascending[0]), *inner, float(ascending[-1])]
    return [Bar(*both, int(counts[i])) for both, i in zip(pairwise(ends), shown, strict=True)]
