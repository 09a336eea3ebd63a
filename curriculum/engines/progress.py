"""Progress of a run on stderr: bytes done out of a total, rate, and time left."""

from __future__ import annotations

import sys
import time
from typing import Any

LINE_EVERY_SECONDS = 30.0


class Progress:
    """Shows bytes done out of a total on stderr: a bar on a terminal, else a line every 30 s.

    A context manager; without `show` nothing is shown.
    """

    def __init__(self, total: int, show: bool = True) -> None:
        terminal = sys.stderr.isatty()
        self._bar = _bar(total) if show and terminal else None
        self._lines = show and not terminal
        self._total, self._done, self._started = total, 0, time.monotonic()
        self._last_line = self._started

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def expect(self, more: int) -> None:
        """Add to the total."""
        self._total += more
        if self._bar is not None:
            self._bar.total += more

    def step(self, name: str) -> None:
        """Name the pass that is running now."""
        if self._bar is not None:
            self._bar.set_description(name, refresh=False)

    def add(self, done: int) -> None:
        """Count `done` more bytes."""
        self._done += done
        if self._bar is not None:
            self._bar.update(done)
        now = time.monotonic()
        if self._lines and now - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = now
            rate = self._done / (now - self._started)
            left = (self._total - self._done) / rate
            print(
                f"{self._done / 1e9:.1f} of {self._total / 1e9:.1f} GB, "
                f"{rate / 1e6:.0f} MB/s, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )


def _bar(total: int) -> Any:
    from tqdm import tqdm  # slow to load, and only a terminal needs it

    tqdm.monitor_interval = 0  # its thread would run while workers are forked
    return tqdm(
        total=total,
        unit="B",
        unit_scale=True,
        unit_divisor=1000,
        dynamic_ncols=True,
        leave=False,
        file=sys.stderr,
    )
