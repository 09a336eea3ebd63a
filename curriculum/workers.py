"""A function over shards: results in order, progress in bytes, the first error wins."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from tqdm import tqdm

Task = TypeVar("Task")
Result = TypeVar("Result")

LINE_EVERY_SECONDS = 30.0


class Progress:
    """Bytes done out of a total, on stderr: a bar on a terminal, else a line every 30 s.

    A context manager; without `show` nothing is shown.
    """

    def __init__(self, total: int, show: bool = True) -> None:
        terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            unit="B",
            unit_scale=True,
            unit_divisor=1000,
            dynamic_ncols=True,
            leave=False,
            file=sys.stderr,
            disable=not (show and terminal),
        )
        self._lines = show and not terminal
        self._total, self._done, self._started = total, 0, time.monotonic()
        self._last_line = self._started

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def step(self, name: str) -> None:
        """Name the pass that now runs."""
        self._bar.set_description(name, refresh=False)

    def add(self, done: int) -> None:
        """Count `done` more bytes."""
        self._done += done
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


def map_tasks(function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
    """`function` of each task, in order, in this process; tasks are taken as they are needed."""
    return map(function, tasks)
