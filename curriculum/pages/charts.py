"""Numbers → the shapes of a chart, for a template that draws them as SVG.

Lengths are in units of the chart, whose width is WIDTH. Easy is on the left and lighter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from curriculum.arrays import FloatArray
from curriculum.display.histogram import tell_apart
from curriculum.display.picture import Picture, blocks
from curriculum.display.picture_axis import PictureAxis

WIDTH, HEIGHT = 760.0, 260.0
LEFT, TOP, BOTTOM = 64.0, 12.0, 40.0  # room for numbers beside, above and below the bars
MOST_TICKS = 5
# Colours from easy to hard, between which those of many buckets lie.
SHADES = ((0xF4, 0xD5, 0x8D), (0xD9, 0x7B, 0x4F), (0x6A, 0x2C, 0x70))


class Box(Struct, frozen=True):
    """A rectangle, its colour, and what it says when it is pointed at."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    title: str


class Tick(Struct, frozen=True):
    """A number on an axis."""

    at: float
    text: str


class Chart(Struct, frozen=True):
    """A histogram: its bars, where it is cut, and the numbers on both axes."""

    boxes: Sequence[Box]
    cuts: Sequence[float]
    below: Sequence[Tick]
    beside: Sequence[Tick]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    top: float = TOP
    floor: float = HEIGHT - BOTTOM


def shade(number: int, count: int) -> str:
    """The colour of bucket `number` of `count`, as #rrggbb."""
    place = number / max(count - 1, 1) * (len(SHADES) - 1)
    at = min(int(place), len(SHADES) - 2)
    pairs = zip(SHADES[at], SHADES[at + 1], strict=True)
    return "#" + "".join(f"{round(a + (b - a) * (place - at)):02x}" for a, b in pairs)


def histogram(picture: Picture, names: Sequence[str]) -> Chart:
    """The distribution of a metric with its cuts; `names` are those of the buckets."""
    axis, drawn = PictureAxis(picture.bins), list(blocks(picture))
    first, last = axis.ends
    highest = max((block.bottom + block.height for block in drawn), default=1.0)
    floor = HEIGHT - BOTTOM

    def across(place: float) -> float:
        part = (place - first) / (last - first)
        part = 1 - part if picture.higher_is_easier else part
        return round(LEFT + part * (WIDTH - LEFT), 2)

    def up(count: float) -> float:
        return round(floor - count / highest * (floor - TOP), 2)

    boxes = []
    for block in drawn:
        sides = sorted((across(block.left), across(block.right)))
        top, foot = up(block.bottom + block.height), up(block.bottom)
        boxes.append(
            Box(
                sides[0],
                top,
                round(sides[1] - sides[0], 2),
                round(foot - top, 2),
                shade(block.bucket, len(names)),
                f"{_values(picture, block.column)}: {block.count:,} in {names[block.bucket]}",
            )
        )
    found = {axis.cut(value) for value in picture.cuts.tolist()} - {None}
    cuts = sorted(across(place) for place in found if place is not None)
    places, texts = axis.ticks()
    below = [
        Tick(across(place), text.replace("\n", " "))
        for place, text in zip(places, texts, strict=True)
    ]
    beside = [Tick(up(count), f"{count:,}") for count in _round_numbers(highest)]
    return Chart(boxes, cuts, _with_room(below), beside)


def _values(picture: Picture, column: int) -> str:
    low, high = (float(part[column]) for part in (picture.bins.starts, picture.bins.ends))
    texts = tell_apart([low, high])
    return texts[0] if low == high else f"{texts[0]} to {texts[1]}"


def _round_numbers(highest: float) -> list[int]:
    """Round counts from 0 up to the highest."""
    power = 10 ** max(int(np.floor(np.log10(max(highest, 1)))) - 1, 0)
    steps = (size * power for size in (1, 2, 5, 10, 20, 50, 100))
    step = next(step for step in steps if highest / step <= MOST_TICKS)
    return list(range(0, int(highest) + 1, step))


def _with_room(ticks: Sequence[Tick]) -> list[Tick]:
    """The numbers that do not touch the one before them; about 7 units a character."""
    kept = list[Tick]()
    for tick in sorted(ticks, key=lambda tick: tick.at):
        if not kept or tick.at - kept[-1].at > 3.7 * (len(tick.text) + len(kept[-1].text)) + 6:
            kept.append(tick)
    return kept


def line(values: Sequence[float]) -> str:
    """The points of a line over all of WIDTH, for values from 0 (below) to 1."""
    last, floor = max(len(values) - 1, 1), HEIGHT - BOTTOM
    places = (LEFT + i / last * (WIDTH - LEFT) for i in range(len(values)))
    heights = (floor - value * (floor - TOP) for value in values)
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(places, heights, strict=True))


class Flow(Struct, frozen=True):
    """Where the prompts of an earlier bucket are now, as parts of a line from 0 to 100."""

    name: str
    count: int
    boxes: Sequence[Box]


def flows(moves: Sequence[Sequence[int]], old: Sequence[str], new: Sequence[str]) -> list[Flow]:
    """A line for each earlier bucket, with a part for each bucket of now, easiest first."""
    found = []
    for name, row in zip(old, moves, strict=True):
        total, boxes, at = sum(row), list[Box](), 0.0
        for number, count in enumerate(row):
            width = 100 * count / total if total else 0.0
            if count:
                title = f"from {name} to {new[number]}: {count:,} of {total:,}"
                fill = shade(number, len(new))
                boxes.append(Box(round(at, 2), 0, round(width, 2), 10, fill, title))
            at += width
        found.append(Flow(name, total, boxes))
    return found


class Spread(Struct, frozen=True):
    """Lengths, as a line on a scale from 0 to 100: from the 10th to the 90th percentile, with the
    median; and these as numbers."""

    low: float
    middle: float
    high: float
    numbers: tuple[int, int, int]


def spreads(parts: Sequence[Sequence[float]]) -> list[Spread | None]:
    """The lengths of each part, on one scale; None for a part without any."""
    found = [_percentiles(np.asarray(part, np.float64)) for part in parts]
    highest = max((some[2] for some in found if some is not None), default=0) or 1
    return [None if some is None else _spread(some, highest) for some in found]


def _percentiles(lengths: FloatArray) -> tuple[int, int, int] | None:
    there = lengths[~np.isnan(lengths)]
    if not len(there):
        return None
    low, middle, high = np.percentile(there, (10, 50, 90), method="nearest").tolist()
    return round(low), round(middle), round(high)


def _spread(numbers: tuple[int, int, int], highest: int) -> Spread:
    low, middle, high = (round(100 * number / highest, 1) for number in numbers)
    return Spread(low, middle, high, numbers)
