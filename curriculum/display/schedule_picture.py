"""How difficulty and mix change over the batches of a scheduled set, as a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct

from curriculum.choosing.schedule_facts import ScheduleFacts
from curriculum.display.figures import save_figure
from curriculum.display.histogram import shorten
from curriculum.storage.paths import AnyPath

MOST_IN_LEGEND = 10
NAME_WIDTH = 24
LIGHT, DARK = 0.08, 0.95  # positions in the colour map


class SchedulePicture(Struct, frozen=True):
    """What is drawn: `title` is above it, `of` says what the mix is of."""

    title: str
    of: str
    facts: ScheduleFacts


def draw_schedule(picture: SchedulePicture, path: AnyPath) -> None:
    """Draw a picture in the format of the path's suffix: .png, .svg or .pdf."""
    save_figure(path, lambda figure, colours: _fill(figure, colours, picture))


def _fill(figure: Any, colours: Any, picture: SchedulePicture) -> None:
    facts = picture.facts
    steps = np.arange(len(facts.means))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    figure.suptitle(picture.title, fontsize="medium")
    above.plot(steps, facts.means, color=colours(0.75), label="rows of the batch")
    above.plot(steps, facts.meant, color="black", linestyle=":", label="schedule")
    above.set_ylim(0, 1)
    above.set_yticks((0, 0.5, 1), ("easiest", "", "hardest"))
    above.set_ylabel("mean difficulty")
    above.legend(loc="upper left", frameon=False, fontsize="small")
    names = [shorten(name, NAME_WIDTH) for name in facts.names]
    shades = [colours(at) for at in np.linspace(LIGHT, DARK, max(len(names), 1))]
    below.stackplot(steps, facts.shares.T, colors=shades, labels=names, linewidth=0)
    below.set_ylim(0, 1)
    below.set_yticks((0, 0.5, 1), ("0%", "50%", "100%"))
    below.set_ylabel(picture.of)
    below.set_xlabel("batch")
    below.margins(x=0)
    handles, labels = below.get_legend_handles_labels()
    figure.legend(
        handles[:MOST_IN_LEGEND], labels[:MOST_IN_LEGEND], loc="outside lower center",
        ncols=4, frameon=False, fontsize="small",
    )  # fmt: skip
