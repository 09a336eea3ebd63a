"""A figure → a file, the same bytes every time.

This is the only module that imports matplotlib (extra `[plot]`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from curriculum.storage.paths import AnyPath
from curriculum.version import NAME

SIZE = (8.0, 4.8)  # inches
DOTS_PER_INCH = 150
FONT_SIZE = 13


def save_figure(path: AnyPath, fill: Callable[[Any, Any], None]) -> None:
    """Draw a figure in the format of the path's suffix: .png, .svg or .pdf. `fill` is given the
    figure and colours: from 0 to 1, light to dark."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    metadata = {
        ".png": {"Software": NAME},
        ".svg": {"Creator": NAME, "Date": None},
        ".pdf": {"Creator": NAME, "CreationDate": None},
    }[path.suffix]
    style: Any = {"font.size": FONT_SIZE, "svg.hashsalt": NAME, "text.parse_math": False}
    with mpl.rc_context(style), warnings.catch_warnings(), path.open("wb") as file:
        warnings.filterwarnings("ignore", "Glyph .* missing")  # in a name that users choose
        figure = Figure(figsize=SIZE, layout="constrained")
        fill(figure, mpl.colormaps["cividis_r"])
        figure.savefig(
            file, format=path.suffix.removeprefix("."), dpi=DOTS_PER_INCH, metadata=metadata
        )
