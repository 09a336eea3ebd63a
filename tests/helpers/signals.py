"""Signals as a command in the foreground of a terminal has them.

`nohup` and the background of a script have a process ignore some, and its children with it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

HANDLERS = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
    signal.SIGQUIT: signal.SIG_DFL,
}


@contextmanager
def as_in_the_foreground() -> Iterator[None]:
    """Handle the signals that this process ignores; processes that it starts meanwhile do, too."""
    ignored = [number for number in HANDLERS if signal.getsignal(number) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, HANDLERS[number])
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
