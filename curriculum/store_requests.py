"""Requests to an object store: made again where they fail, several at a time, files in ranges."""

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
    """What a request gives, which is made again where it fails. pyarrow does so itself, but an
    answer to S3 that is longer than what was asked for, as errors are, ends that."""
    for seconds in WAIT_SECONDS:
        try:
            return request(*what)
        except (FileNotFoundError, NotADirectoryError, PermissionError):  # noqa: PERF203
            raise
        except OSError:
            time.sleep(seconds)
    return request(*what)


class RangeReader(io.RawIOBase):
    """A file that is read in ranges, up to `stop`: a request each. The first has `step` bytes,
    each other twice as many, up to RANGE_BYTES."""

    def __init__(self, file: Any, step: int, stop: int | None) -> None:
        self._file, self._step = file, step
        self.size: int = file.size()
        self._stop = self.size if stop is None else stop
        self._position = self._first = 0
        self._range = memoryview(b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a byte."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}
        self._position = start[whence] + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read what there is of the range, which is asked for where there is none."""
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
        """What stands at a place: one request; less where the file ends before."""
        data: bytes = persist(self._file.read_at, size, offset)
        return data

    def close(self) -> None:
        """Let go of it."""
        if not self.closed:
            self._file.close()
        super().close()


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], most: int = REQUESTS_AT_ONCE
) -> Iterator[Result]:
    """What a function that mostly waits gives for each item, in order, with a few under way."""
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
    """What a function gives for each item, in order; in a store, where it mostly waits, with `most`
    under way at a time."""
    return ahead(function, items, most) if in_store else map(function, items)
