"""Metric values → the bars of a histogram, bucket by bucket."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from msgspec import Struct

from curriculum.arrays import BoolArray, FloatArray, IntArray, distinct

FEW_VALUES = 20  # up to this many distinct values get a bar each
MOST_BARS = 15  # if there are more values; round starts may add one
SLIVER = 0.25  # an outer bar narrower than this part of a step joins the next one
FAR = 3  # an axis this many times as long as most values need leaves out the few others
MOST_SLOTS = 30  # on an axis of single values to scale


class Bar(Struct, frozen=True):
    """How many rollouts of a bucket have a value from `low` (inclusive) to `high` (exclusive, but
    inclusive in the last bar and in a bar of one value)."""

    low: float
    high: float
    count: int


class Bins(Struct, frozen=True):
    """The ascending `starts` of bars, and their `ends`. A bar ends before the next start; the last
    one holds its end, and so does a bar of a single value, whose end is its start.

    No bar reaches beyond the lowest or the highest value. Either all bars hold a single value, or
    most are `scaled`: those may have one beside them on either side for values that are far away,
    and one for the value of `solved` or `unsolved`.
    """

    starts: FloatArray
    ends: FloatArray
    scaled: BoolArray

    @property
    def single(self) -> bool:
        """Whether every bar holds a single value."""
        return not self.scaled.any()

    @property
    def slots(self) -> IntArray | None:
        """Where single values stand if they are evenly spaced: 0, 1 and so on, some of which may
        be left out. None if they are not, or if there would be too many places."""
        values = self.starts
        if len(values) < 2:
            return np.zeros(len(values), np.int64)
        with np.errstate(over="ignore", invalid="ignore"):
            steps = np.diff(values)
            places = np.concatenate([np.zeros(1), np.cumsum(steps / steps.min())])
        slots = np.rint(places)
        if not (np.isfinite(places).all() and slots[-1] < MOST_SLOTS):
            return None
        return slots.astype(np.int64) if np.abs(places - slots).max() < 1e-6 else None

    @property
    def to_scale(self) -> bool:
        """Whether values on an axis with these bars can be as far apart as they are."""
        return self.slots is not None if self.single else bool(self.scaled.all())


class MainRange(Struct, frozen=True):
    """Most values lie from `start` to `stop`. The few others are far away: those down from `below`
    and those up from `above`, which are `start` and `stop` if there are none."""

    below: float
    start: float
    stop: float
    above: float


def main_range(values: FloatArray) -> MainRange:
    """Where most of these values lie. They are put into another order: no copy is made of them."""
    few = len(values) // 100
    values.partition([few, len(values) - 1 - few])
    first, last = float(values[few]), float(values[len(values) - 1 - few])
    low, high, near = float(values.min()), float(values.max()), last / 2 - first / 2
    if not 0 < FAR * near < high / 2 - low / 2:
        return MainRange(low, low, high, high)
    start = float(values[values >= first - near].min())
    stop = float(values[values <= last + near].max())
    below = float(values[values < start].max()) if low < start else start
    above = float(values[values > stop].min()) if stop < high else stop
    return MainRange(below, start, stop, above)


def choose_bins(
    inner: FloatArray, apart: FloatArray | None = None, main: MainRange | None = None
) -> Bins:
    """Bins for values without duplicates: those of the buckets that are cut, and those `apart`, of
    `solved` and `unsolved`. `main` is the range of most of them. Bars start at round numbers unless
    the values are few."""
    apart = np.zeros(0) if apart is None else apart
    every = distinct(np.concatenate([inner, apart]))
    if len(every) <= FEW_VALUES:
        return Bins(every, every, np.zeros(len(every), np.bool_))
    low, high = _alone(inner, apart)
    rest = every[len(low) : len(every) - len(high)]
    first, last = float(rest[0]), float(rest[-1])
    main = main or MainRange(first, first, last, last)
    start, stop = max(main.start, first), min(main.stop, last)
    if start >= stop:  # nearly all values have the bars beside the scale
        start, stop = first, last
    bars = [(value, value) for value in low.tolist()] + [(first, main.below)] * int(first < start)
    beneath = len(bars)
    bars += pairwise(_edges(start, stop).tolist())
    places = np.arange(beneath, len(bars))
    bars += [(main.above, last)] * int(stop < last)
    bars += [(value, value) for value in high.tolist()]
    starts, ends = np.array(bars, np.float64).T
    return Bins(starts, ends, np.isin(np.arange(len(bars)), places))


def _alone(inner: FloatArray, apart: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The values apart that get a bar of their own, below the others and above them."""
    none = apart[:0]
    if not len(inner):
        return none, none
    below, above = apart[apart < inner.min()], apart[apart > inner.max()]
    if len(below) + len(above) < len(apart):
        return none, none
    return below if len(below) == 1 else none, above if len(above) == 1 else none


def _edges(low: float, high: float) -> FloatArray:
    """Round numbers between the lowest and the highest value, and these two."""
    least = max(high / MOST_BARS - low / MOST_BARS, 1e-300)
    power = 10.0 ** math.floor(math.log10(least))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= least)
    first, last = (math.floor(round(end / step, 9)) for end in (low, high))
    with np.errstate(over="ignore"):
        steps = ((first + np.arange(1, last - first + 1)) * step).tolist()
    # Round as metric values are rounded: 3 * 0.1 is above 0.3, so 0.3 would fall below its start.
    inner = np.array([float(f"{start:.12g}") for start in steps], np.float64)
    if len(inner) and inner[0] - low < SLIVER * step:
        inner = inner[1:]
    if len(inner) and high - inner[-1] < SLIVER * step:
        inner = inner[:-1]
    edges = np.concatenate([[low], inner, [high]])
    apart = np.isfinite(edges).all() and (edges[1:] > edges[:-1]).all()
    return edges if apart else np.array([low, high])


def bars_of(ascending: FloatArray, bins: Bins) -> list[Bar]:
    """The bars of one bucket, whose values are sorted. The outer bars end at its lowest and highest
    value. Empty bars between them are kept if they are to scale."""
    if not len(ascending):
        return []
    bounds = np.append(np.searchsorted(ascending, bins.starts, side="left"), len(ascending))
    counts = np.diff(bounds)
    filled = np.flatnonzero(counts)
    shown = np.arange(filled[0], filled[-1] + 1)
    shown = shown[(counts[shown] > 0) | bins.scaled[shown]]
    lows = np.maximum(bins.starts[shown], ascending[0])
    highs = np.minimum(bins.ends[shown], ascending[-1])
    beside = np.flatnonzero(~bins.scaled[shown])
    lows[beside] = ascending[bounds[shown[beside]]]
    highs[beside] = ascending[bounds[shown[beside] + 1] - 1]
    bars = zip(lows.tolist(), highs.tolist(), counts[shown].tolist(), strict=True)
    return [Bar(*bar) for bar in bars]


def merge_bars(bars: Sequence[Bar]) -> Bar:
    """One bar that holds what some bars hold."""
    return Bar(bars[0].low, bars[-1].high, sum(bar.count for bar in bars))
