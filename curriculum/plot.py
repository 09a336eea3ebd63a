"""The distribution of a metric as a picture: bars in the colours of their buckets, cuts marked,
shares in the legend. Easier is lighter, so that it can be read in grey.

This is the only place that imports matplotlib (extra `[plot]`).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import PurePosixPath
from textwrap import wrap
from typing import Any

import numpy as np

from curriculum.arrays import FloatArray
from curriculum.errors import UsageError
from curriculum.histogram import Bar, Bins
from curriculum.stores import AnyPath
from curriculum.version import NAME

SUFFIXES = (".png", ".svg", ".pdf")
SIZE = (8.0, 4.8)  # inches
DOTS_PER_INCH = 150
FONT_SIZE = 13
EASIEST, HARDEST = 0.08, 0.95  # of the colour map, from light to dark
MOST_IN_LEGEND = 12
MOST_IN_TICKS = 45  # characters
LINE_WIDTH = 76


@dataclass(frozen=True)
class Picture:
    """What is drawn: a title and a line below it; the metric, by its label; `buckets`, easiest
    first, each with the words for the legend and its bars; their bins; and the values at which
    buckets are cut."""

    title: str
    subtitle: str
    label: str
    buckets: Sequence[tuple[str, Sequence[Bar]]]
    bins: Bins
    cuts: FloatArray


def check_plot(name: str) -> None:
    """Raise UsageError unless such a picture can be drawn here."""
    if PurePosixPath(name).suffix not in SUFFIXES:
        raise UsageError(
            f"the file is {name!r}",
            where="--plot",
            expected="a name that ends in " + ", ".join(SUFFIXES),
            fix="name the picture so",
        )
    if find_spec("matplotlib") is None:
        raise UsageError(
            "matplotlib is not installed here",
            where="--plot",
            expected="the extra that brings it",
            fix="pip install 'rollout-curriculum[plot]', or in a clone pip install -e '.[plot]'",
        )


def draw(picture: Picture, path: AnyPath) -> None:
    """Draw a picture; the end of the path's name says in which format."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    metadata = {
        ".png": {"Software": NAME},
        ".svg": {"Creator": NAME, "Date": None},
        ".pdf": {"Creator": NAME, "CreationDate": None},
    }[path.suffix]
    style: Any = {"font.size": FONT_SIZE, "svg.hashsalt": NAME, "text.parse_math": False}
    with mpl.rc_context(style), warnings.catch_warnings(), path.open("wb") as file:
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a bucket's name
        figure = Figure(figsize=SIZE, layout="constrained")
        _fill(figure, picture, mpl.colormaps["cividis_r"])
        figure.savefig(
            file, format=path.suffix.removeprefix("."), dpi=DOTS_PER_INCH, metadata=metadata
        )


def _fill(figure: Any, picture: Picture, colours: Any) -> None:
    axes = figure.add_subplot()
    axis = _Axis(picture.bins)
    count = len(picture.buckets)
    beneath = np.zeros(len(picture.bins.starts))
    handles = []
    for shade, (_, bars) in zip(np.linspace(EASIEST, HARDEST, count), picture.buckets, strict=True):
        places = np.array([axis.place(bar) for bar in bars], np.int64)
        heights = np.zeros(len(beneath))
        heights[places] = [bar.count for bar in bars]
        handles.append(
            axes.bar(
                axis.middles, heights, axis.width, beneath,
                color=colours(shade), edgecolor="black", linewidth=0.6,
            )[0]
        )  # fmt: skip
        beneath += heights
    for cut in filter(axis.shows, np.unique(picture.cuts).tolist()):
        axes.axvline(axis.at(cut), color="white", linewidth=3)
        axes.axvline(axis.at(cut), color="black", linestyle="--", linewidth=1.5)
    if picture.bins.single:
        ticks = [f"{value:.3g}" for value in picture.bins.starts.tolist()]
        axes.set_xticks(axis.middles, ticks)
        if sum(map(len, ticks)) > MOST_IN_TICKS:
            axes.tick_params(axis="x", labelrotation=45)
    axes.set_xlabel(picture.label)
    axes.set_ylabel("rollouts")
    axes.set_ylim(0, 1.06 * beneath.max())
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(picture.title, fontsize=FONT_SIZE + 2)
    axes.set_title("\n".join(wrap(picture.subtitle, LINE_WIDTH)), fontsize=FONT_SIZE - 1)
    legend = list(zip(handles, (words for words, _ in picture.buckets), strict=True))
    if count > MOST_IN_LEGEND:
        legend = [legend[0], legend[-1]]
    # What begins with _ would be left out.
    labels = [f" {words}" if words.startswith("_") else words for _, words in legend]
    _add_legend(figure, [handle for handle, _ in legend], labels)


def _add_legend(figure: Any, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Below the picture, in as many columns as fit."""
    for columns in (3, 2, 1):
        legend = figure.legend(
            handles, labels, ncols=columns, loc="outside lower center", frameon=False
        )
        figure.draw_without_rendering()
        if legend.get_window_extent().width <= figure.bbox.width or columns == 1:
            return
        legend.remove()


class _Axis:
    """Where bars stand: single values side by side, at 0, 1, …; else to scale."""

    def __init__(self, bins: Bins) -> None:
        self._bins = bins
        if bins.single:
            self.middles, self.width = np.arange(len(bins.starts), dtype=np.float64), 0.85
        else:
            self.width = float(bins.starts[1] - bins.starts[0]) if len(bins.starts) > 1 else 1.0
            self.middles = bins.starts + self.width / 2

    def place(self, bar: Bar) -> int:
        """The number of a bar's bin."""
        middle = bar.low if self._bins.single else bar.low / 2 + bar.high / 2
        return max(int(np.searchsorted(self._bins.starts, middle, side="right")) - 1, 0)

    def shows(self, value: float) -> bool:
        """Whether a value is among the bars."""
        starts = self._bins.starts
        return bool(starts[0] <= value <= starts[-1] + (0 if self._bins.single else self.width))

    def at(self, value: float) -> float:
        """Where a value stands."""
        if not self._bins.single:
            return value
        return float(np.interp(value, self._bins.starts, self.middles))
