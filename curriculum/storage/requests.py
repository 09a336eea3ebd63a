"""Requests to an object store: retried when they fail, several at a time, files in ranges."""

from __future__ import annotations

import io
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

REQUESTS_AT_ONCE = 32
RANGE_BYTES = 16 << 20
WAIT_SECONDS = (0.1, 0.3, 1.0, 3.0)


def persist(request: Callable[..., Any], *what: Any) -> Any:
    """The result of a request, which is retried when it fails. pyarrow retries too, but gives up
    when S3 answers with more bytes than were requested, as it does with errors."""
    for seconds in WAIT_SECONDS:
        try:
            return request(*what)
        except (FileNotFoundError, NotADirectoryError, PermissionError):  # noqa: PERF203
            raise
        except OSError:
            time.sleep(seconds)
    return request(*what)


class RangeReader(io.RawIOBase):
    """A file read in ranges, one request each, up to `stop` (exclusive; None: its end).

    The first range has `step` bytes, each next one twice as many, up to RANGE_BYTES.
    """

    def __init__(self, file: Any, step: int, stop: int | None) -> None:
        self._file, self._step = file, step
        self.size: int = file.size()
        self._stop = self.size if stop is None else stop
        self._position = self._first = 0
        self._range = memoryview(b"")

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a byte offset, and return it."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}
        self._position = start[whence] + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read from the current range; request a new one if the position is outside it."""
        start = self._position - self._first
        if not 0 <= start < len(self._range):
            size = min(self._step, self._stop - self._position)
            data = self.read_at(self._position, size) if size > 0 else b""
            self._range, self._first, start = memoryview(data), self._position, 0
            self._step = min(2 * self._step, RANGE_BYTES)
        count = min(len(buffer), len(self._range) - start)
        buffer[:count] = self._range[start : start + count]
        self._position += count
        return count

    def read_at(self, offset: int, size: int) -> bytes:
        """Read `size` bytes at an offset, fewer at the end of the file, in one request."""
        data: bytes = persist(self._file.read_at, size, offset)
        return data

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._file.close()
        super().close()


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], most: int = REQUESTS_AT_ONCE
) -> Iterator[Result]:
    """The results of a function that mostly waits, in order, with `most` calls under way."""
    from concurrent.futures import ThreadPoolExecutor

    todo = iter(items)
    with ThreadPoolExecutor(most) as threads:
        running = deque(threads.submit(function, item) for item in islice(todo, most))
        while running:
            result = running.popleft().result()
            running.extend(threads.submit(function, item) for item in islice(todo, 1))
            yield result


def each(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    in_store: bool,
    most: int = REQUESTS_AT_ONCE,
) -> Iterator[Result]:
    """The results of a function, in order. In a store, where it mostly waits, `most` calls are
    under way at a time."""
    return ahead(function, items, most) if in_store else map(function, items)
