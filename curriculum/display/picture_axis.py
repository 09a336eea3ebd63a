"""Where bars, cuts and numbers stand in the picture of a histogram.

Positions grow with the metric. Bars that are to scale are about 1 wide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from curriculum.display.histogram import tell_apart
from curriculum.statistics.bins import Bar, Bins

BAR = 0.85  # the width of a bar that is not to scale
BESIDE = 0.85, 1.3  # how far beside the scale: a single value, and a bar of values far away
TICK_DIGITS = 3
CHARACTERS = 60  # fit side by side below the axis


class PictureAxis:
    """Where bars stand. Single values have a place each, at their true distances if these are even;
    other bars are to scale and about 1 wide, with those of single values beside the scale."""

    def __init__(self, bins: Bins) -> None:
        self._bins = bins
        slots = np.arange(len(bins.starts)) if bins.slots is None else bins.slots
        self.middles = slots.astype(np.float64)
        self.lefts, self.rights = self.middles - BAR / 2, self.middles + BAR / 2
        if not bins.single:
            self._to_scale()

    def _to_scale(self) -> None:
        """Put those bars to scale that can be, and the others beside them."""
        bins, scaled = self._bins, self._bins.scaled
        count, first = int(scaled.sum()), int(scaled.argmax())
        self._edges = np.append(bins.starts[scaled], bins.ends[scaled][-1])
        self._unit = float(self._edges[-1] / count - self._edges[0] / count)
        places = self._edges / self._unit - self._edges[0] / self._unit
        far = [BESIDE[int(end > start)] for start, end in zip(bins.starts, bins.ends, strict=True)]
        self.middles = np.concatenate(
            [
                -np.cumsum(far[:first][::-1])[::-1],
                (places[1:] + places[:-1]) / 2,
                count + np.cumsum(far[first + count :]),
            ]
        )
        self.lefts, self.rights = self.middles - BAR / 2, self.middles + BAR / 2
        self.lefts[scaled], self.rights[scaled] = places[:-1], places[1:]

    @property
    def ends(self) -> tuple[float, float]:
        """Where the axis begins and ends: with some room, so that few bars are not broad ones."""
        middle, width = (self.lefts[0] + self.rights[-1]) / 2, self.rights[-1] - self.lefts[0]
        half = max(1.06 * width, 4.0) / 2
        return float(middle - half), float(middle + half)

    def bin_of(self, bar: Bar) -> int:
        """The number of a bar's bin."""
        return int(np.searchsorted(self._bins.starts, bar.low, side="right")) - 1

    def at(self, value: float) -> float:
        """Where a value is on the part that is to scale, or the nearer end of it."""
        place = value / self._unit - self._edges[0] / self._unit
        return float(np.clip(place, 0, len(self._edges) - 1))

    def cut(self, value: float) -> float | None:
        """Where a cut is drawn; between two bars if each holds a single value. None beyond the
        bars, and for a cut in a single value."""
        if not self._bins.single:
            inside = self._edges[0] <= value <= self._edges[-1]
            return self.at(value) if inside else None
        values, after = self._bins.starts, int(np.searchsorted(self._bins.starts, value))
        if not 0 < after < len(values) or values[after] == value:
            return None
        low, high = self.middles[after - 1], self.middles[after]
        if self._bins.slots is None:
            return float(low + high) / 2
        place = np.interp(value, values[after - 1 : after + 1], (low, high))
        return float(np.clip(place, low + 0.5, high - 0.5))

    def ticks(self) -> tuple[list[float], list[str]]:
        """Where values are written, and how. Those of several values that are far away are written
        on two lines."""
        bins = self._bins
        if bins.single:
            return self.middles.tolist(), tell_apart(bins.starts.tolist(), TICK_DIGITS)
        edges = self._edges.tolist()
        beside = np.flatnonzero(~bins.scaled).tolist()
        held = [(float(bins.starts[i]), float(bins.ends[i])) for i in beside]
        values = sorted({*edges, *(value for both in held for value in both)})
        text_of = dict(zip(values, tell_apart(values, TICK_DIGITS), strict=True))
        chosen = self._scale_ticks([text_of[value] for value in edges])
        for i, (low, high) in zip(beside, held, strict=True):
            text = text_of[low] if low == high else f"{text_of[low]}\nto {text_of[high]}"
            chosen[float(self.middles[i])] = text
        return list(chosen), list(chosen.values())

    def _scale_ticks(self, texts: Sequence[str]) -> dict[float, str]:
        """As many of the round numbers as there is room for, and the ends of the scale."""
        room = (max(map(len, texts)) + 2) * self._character
        places = [self.at(value) for value in self._edges.tolist()]
        every, last = math.ceil(room), len(places) - 1
        step = float(self._edges[2] - self._edges[1]) if last > 2 else 0.0
        steps = self._edges[1] / step if step else 0.0
        first = -round(steps) % every if math.isfinite(steps) else 0
        chosen = {places[i]: texts[i] for i in range(1 + first, last, every)}
        for i in (0, last):
            if all(abs(place - places[i]) >= room for place in chosen):
                chosen[places[i]] = texts[i]
        return chosen

    @property
    def _character(self) -> float:
        """About how wide a character is."""
        return (self.ends[1] - self.ends[0]) / CHARACTERS

    def have_room(self, places: Sequence[float], texts: Sequence[str]) -> bool:
        """Whether texts at these places, in order, are side by side without touching."""
        both = zip(pairwise(places), pairwise(texts), strict=True)
        return all(
            after - before > (len(one + other) / 2 + 1) * self._character
            for (before, after), (one, other) in both
        )
