"""The distribution of a metric with its cuts, as text and as a picture.

In the picture easier is lighter, so that it can be read in grey. This is the only module that
imports matplotlib (extra `[plot]`).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import numpy as np

from curriculum.arrays import FloatArray
from curriculum.reports.text import number
from curriculum.statistics.bins import Bar, Bins
from curriculum.storage.paths import AnyPath
from curriculum.version import NAME

SIZE = (8.0, 4.8)  # inches
DOTS_PER_INCH = 150
FONT_SIZE = 13
EASIEST, HARDEST = 0.08, 0.95  # positions in the colour map, from light to dark
MOST_IN_LEGEND = 12
MOST_IN_TICKS = 45  # characters
LINE_WIDTH = 76
WIDTH = 80
NAME_WIDTH = 14
MOST_BUCKETS = 12  # with more buckets, each gets one bar


@dataclass(frozen=True)
class Picture:
    """What is drawn. `subtitle` is a line below the title, and `label` names the metric. `buckets`
    has the legend text and the bars of each bucket, easiest first. `cuts` are the metric values at
    which buckets are cut."""

    title: str
    subtitle: str
    label: str
    buckets: Sequence[tuple[str, Sequence[Bar]]]
    bins: Bins
    cuts: FloatArray


def draw(picture: Picture, path: AnyPath) -> None:
    """Draw a picture in the format of the path's suffix: .png, .svg or .pdf."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    metadata = {
        ".png": {"Software": NAME},
        ".svg": {"Creator": NAME, "Date": None},
        ".pdf": {"Creator": NAME, "CreationDate": None},
    }[path.suffix]
    style: Any = {"font.size": FONT_SIZE, "svg.hashsalt": NAME, "text.parse_math": False}
    with mpl.rc_context(style), warnings.catch_warnings(), path.open("wb") as file:
        warnings.filterwarnings("ignore", "Glyph .* missing")  # in a bucket's name
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
        columns = np.array([axis.bin_of(bar) for bar in bars], np.int64)
        heights = np.zeros(len(beneath))
        heights[columns] = [bar.count for bar in bars]
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
    # Matplotlib leaves out labels that begin with _.
    labels = [f" {words}" if words.startswith("_") else words for _, words in legend]
    _add_legend(figure, [handle for handle, _ in legend], labels)


def _add_legend(figure: Any, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Add a legend below the picture, in as many columns as fit."""
    for columns in (3, 2, 1):
        legend = figure.legend(
            handles, labels, ncols=columns, loc="outside lower center", frameon=False
        )
        figure.draw_without_rendering()
        if legend.get_window_extent().width <= figure.bbox.width or columns == 1:
            return
        legend.remove()


class _Axis:
    """The positions of bars: single values side by side at 0, 1, …; other bins to scale."""

    def __init__(self, bins: Bins) -> None:
        self._bins = bins
        if bins.single:
            self.middles, self.width = np.arange(len(bins.starts), dtype=np.float64), 0.85
        else:
            self.width = float(bins.starts[1] - bins.starts[0]) if len(bins.starts) > 1 else 1.0
            self.middles = bins.starts + self.width / 2

    def bin_of(self, bar: Bar) -> int:
        """The number of a bar's bin."""
        middle = bar.low if self._bins.single else bar.low / 2 + bar.high / 2
        return max(int(np.searchsorted(self._bins.starts, middle, side="right")) - 1, 0)

    def shows(self, value: float) -> bool:
        """Whether a value is in the range of the bars."""
        starts = self._bins.starts
        return bool(starts[0] <= value <= starts[-1] + (0 if self._bins.single else self.width))

    def at(self, value: float) -> float:
        """The position of a value on the axis."""
        if not self._bins.single:
            return value
        return float(np.interp(value, self._bins.starts, self.middles))


def histogram_lines(
    names: Sequence[str],
    bars: Sequence[Sequence[Bar]],
    cuts: Sequence[str],
    higher_is_easier: bool,
) -> list[str]:
    """The bars of all buckets as text of at most WIDTH columns, easiest first. `cuts` has the words
    between each bucket and the next."""
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
    """The length of a bar: at least 1 unless the count is 0."""
    return max(round(count * room / max(largest, 1)), count > 0)
