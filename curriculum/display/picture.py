"""The distribution of a metric with its cuts, as a picture.

Easy is on the left. Easier is lighter, so that the picture can be read in grey.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Any

import numpy as np
from msgspec import Struct

from curriculum.arrays import FloatArray
from curriculum.display.figures import FONT_SIZE, save_figure
from curriculum.display.picture_axis import PictureAxis
from curriculum.statistics.bins import Bar, Bins
from curriculum.storage.paths import AnyPath

EASIEST, HARDEST = 0.08, 0.95  # positions in the colour map, from light to dark
MOST_IN_LEGEND = 12
TITLE_WIDTH, LINE_WIDTH = 60, 76  # characters
LABEL_WIDTH = 30


class PictureBucket(Struct, frozen=True):
    """A bucket: its text in the legend, its bars, and between which metric values it was cut out;
    None for buckets that no cut makes, whose values may lie among those of others."""

    legend: str
    bars: Sequence[Bar]
    region: tuple[float, float] | None


class Picture(Struct, frozen=True):
    """What is drawn. `subtitle` is below the title, `label` names the metric, and `note` says how
    to read the axis. `buckets` are the easiest first. `cuts` are the metric values at which buckets
    are cut."""

    title: str
    subtitle: str
    label: str
    note: str
    higher_is_easier: bool
    buckets: Sequence[PictureBucket]
    bins: Bins
    cuts: FloatArray


def draw(picture: Picture, path: AnyPath) -> None:
    """Draw a picture in the format of the path's suffix: .png, .svg or .pdf."""
    save_figure(path, lambda figure, colours: _fill(figure, picture, colours))


class Block(Struct, frozen=True):
    """A rectangle: part of bar number `column`, for the `count` rollouts of a bucket in it."""

    bucket: int
    column: int
    count: int
    left: float
    right: float
    bottom: float
    height: float


def blocks(picture: Picture) -> Iterator[Block]:
    """The rectangles of all bars, in positions on the axis.

    A bar with cuts in it is as high as all rollouts in it, and has the colour of each bucket where
    its values lie. Rollouts of buckets that no cut makes are stacked on top, and so are those whose
    single value is cut.
    """
    axis = PictureAxis(picture.bins)
    counts = np.zeros((len(picture.buckets), len(axis.lefts)))
    for i, bucket in enumerate(picture.buckets):
        for bar in bucket.bars:
            counts[i, axis.bin_of(bar)] += bar.count
    for column in range(len(axis.lefts)):
        yield from _column(picture, axis, counts[:, column], column)


def _column(
    picture: Picture, axis: PictureAxis, counts: FloatArray, column: int
) -> Iterator[Block]:
    left, right = float(axis.lefts[column]), float(axis.rights[column])
    slices, whole = {}, []
    for i in np.flatnonzero(counts).tolist():
        region = picture.buckets[i].region
        if region is not None and picture.bins.scaled[column]:
            low, high = (min(max(axis.at(value), left), right) for value in region)
            if high > low:
                slices[i] = low, high
                continue
        whole.append(i)
    top = float(counts[list(slices)].sum())
    for i, (low, high) in slices.items():
        yield Block(i, column, int(counts[i]), low, high, 0.0, top)
    for i in whole:
        yield Block(i, column, int(counts[i]), left, right, top, float(counts[i]))
        top += float(counts[i])


def _fill(figure: Any, picture: Picture, colours: Any) -> None:
    axes, axis = figure.add_subplot(), PictureAxis(picture.bins)
    shades = [colours(shade) for shade in np.linspace(EASIEST, HARDEST, len(picture.buckets))]
    for block in blocks(picture):
        axes.bar(
            block.left, block.height, block.right - block.left, block.bottom, align="edge",
            color=shades[block.bucket], edgecolor="black", linewidth=0.6,
        )  # fmt: skip
    cuts = {axis.cut(value) for value in picture.cuts.tolist()} - {None}
    width = 1.5 if len(cuts) <= MOST_IN_LEGEND else 0.8
    for place in cuts:
        axes.axvline(place, color="white", linewidth=2 * width)
        axes.axvline(place, color="black", linestyle="--", linewidth=width)
    _label(figure, axes, picture, axis)
    legend = [(shade, bucket.legend) for shade, bucket in zip(shades, picture.buckets, strict=True)]
    if len(legend) > MOST_IN_LEGEND:
        between = f"{len(legend) - 2:,} buckets between"
        legend = [legend[0], (shades[len(legend) // 2], between), legend[-1]]
    _add_legend(figure, legend)


def _label(figure: Any, axes: Any, picture: Picture, axis: PictureAxis) -> None:
    """Write the titles, and what is on either axis."""
    places, texts = axis.ticks()
    axes.set_xticks(places, texts)
    axes.set_xlim(*axis.ends)
    if picture.bins.single and not axis.have_room(places, texts):
        axes.tick_params(axis="x", labelrotation=45)
    if picture.higher_is_easier:
        axes.invert_xaxis()
    label = f"← easier     {picture.label}     harder →"
    axes.set_xlabel(f"{label}\n{picture.note}" if picture.note else label)
    axes.set_ylabel("rollouts")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.margins(y=0.06)
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle("\n".join(wrap(picture.title, TITLE_WIDTH)), fontsize=FONT_SIZE + 2)
    axes.set_title("\n".join(wrap(picture.subtitle, LINE_WIDTH)), fontsize=FONT_SIZE - 1)


def _add_legend(figure: Any, legend: Sequence[tuple[Any, str]]) -> None:
    """Add a legend below the picture, row by row, in as many columns as fit."""
    from matplotlib.patches import Patch

    # Matplotlib leaves out labels that begin with _.
    handles = [
        Patch(facecolor=shade, edgecolor="black", linewidth=0.6, label=re.sub("^_", " _", text))
        for shade, text in legend
    ]
    for columns in (3, 2, 1):
        by_row = [handle for first in range(columns) for handle in handles[first::columns]]
        drawn = figure.legend(
            handles=by_row, ncols=columns, loc="outside lower center", frameon=False
        )
        figure.draw_without_rendering()
        if drawn.get_window_extent().width <= figure.bbox.width or columns == 1:
            return
        drawn.remove()
