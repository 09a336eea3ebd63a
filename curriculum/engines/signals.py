"""The signals that end a run: answered after clean-up, or once the commit is through."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interrupt_on_signals() -> Iterator[None]:
    """Turn every ending signal into KeyboardInterrupt, so that the run cleans up before it ends.

    Signals that the parent process ignores, as nohup does, stay ignored.
    """
    if not _in_main_thread():
        yield  # Python lets only the main thread set handlers
        return
    numbers = [number for number in ENDING_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        _restore(before)


@contextmanager
def delay_signals() -> Iterator[None]:
    """Hold back ending signals until the block is done. If it raises, they are dropped."""
    if not _in_main_thread():
        yield  # signals interrupt only the main thread
        return
    waiting: list[int] = []
    before = {
        number: signal.signal(number, lambda caught, _: waiting.append(caught))
        for number in ENDING_SIGNALS
    }
    try:
        yield
    finally:
        _restore(before)
    for caught in dict.fromkeys(waiting):
        signal.raise_signal(caught)


@contextmanager
def keep_handlers() -> Iterator[None]:
    """Restore the signal handlers after the block: importing Ray replaces some of them."""
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        if _in_main_thread():
            _restore(before)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _restore(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
