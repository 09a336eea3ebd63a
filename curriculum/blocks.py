"""A shard → blocks of whole lines."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

import numpy as np

from curriculum.arrays import IntArray
from curriculum.inputs import InputFile, Shard, changed, open_file, unreadable
from curriculum.store_requests import RANGE_BYTES, RangeReader

# What is decoded at once should lie in a processor's own cache: 4 MB take a third longer.
BLOCK_BYTES = 1 << 20
_OPEN, _CLOSE = b"{}"


@dataclass(frozen=True)
class Block:
    r"""Whole lines: the first `size` bytes of a buffer that is used again for the next block.

    Only `\n` ends a line, and only the last line of a file may lack it.
    """

    buffer: bytearray
    size: int

    @property
    def text(self) -> memoryview:
        """All lines together; valid until the next block."""
        return memoryview(self.buffer)[: self.size]

    @cached_property
    def ends(self) -> IntArray:
        """Where each line ends, before its newline."""
        find, size = self.buffer.find, self.size
        ends, start = [], 0
        while (end := find(b"\n", start, size)) >= 0:
            ends.append(end)
            start = end + 1
        if start < size:
            ends.append(size)
        return np.array(ends, dtype=np.int64)

    @cached_property
    def starts(self) -> IntArray:
        """Where each line starts."""
        return np.concatenate(([0], self.ends[:-1] + 1))

    @property
    def lengths(self) -> IntArray:
        """The bytes of each line, without its newline."""
        return self.ends - self.starts

    def line(self, number: int) -> memoryview:
        """One line, without its newline; valid until the next block."""
        return memoryview(self.buffer)[self.starts[number] : self.ends[number]]

    def lines(self) -> list[memoryview]:
        """All lines, one by one."""
        view, starts, ends = memoryview(self.buffer), self.starts.tolist(), self.ends.tolist()
        return [view[start:end] for start, end in zip(starts, ends, strict=True)]

    def parts_objects(self) -> bool:
        """Whether every line, as it stands, starts with `{` and ends with `}`.

        Where the text is a sequence of JSON objects, none then goes on from one line to the next:
        inside an object, `}` is never followed by `{`.
        """
        text = np.frombuffer(self.buffer, np.uint8, self.size)
        opened, closed = text[self.starts] == _OPEN, text[self.ends - 1] == _CLOSE
        return bool(opened.all() and closed.all())


def read_blocks(shard: Shard, block_bytes: int | None = None) -> Iterator[Block]:
    """The shard's lines in blocks of about `block_bytes` (BLOCK_BYTES).

    Memory is one buffer of that size, or of one line where a line is longer. Raises InputError
    where the file cannot be read or is not as long as it was.
    """
    buffer, kept = bytearray(block_bytes or BLOCK_BYTES), 0
    try:
        with open_file(shard.file, block_bytes or RANGE_BYTES, shard.stop) as stream:
            if not _is_as_found(stream, shard.file):
                raise changed(shard.file)
            left = _start(stream, shard)
            while count := _read(stream, buffer, kept, left):
                left -= count
                filled = kept + count
                size = buffer.rfind(b"\n", kept, filled) + 1
                if size:
                    yield Block(buffer, size)
                    buffer[: filled - size] = buffer[size:filled]
                kept = filled - size
                if kept == len(buffer):  # one line fills it
                    buffer = buffer + bytes(len(buffer))
            if left and shard.file.codec is None:
                raise changed(shard.file)
            if kept:
                yield Block(buffer, kept)
    except OSError as error:
        raise unreadable(shard.file.path, error) from error


def _is_as_found(stream: BinaryIO, file: InputFile) -> bool:
    """Whether an open file is the one that was found, perhaps on another machine."""
    if isinstance(stream, RangeReader):
        return stream.size == file.size
    if not isinstance(stream, io.FileIO):  # compressed
        return True
    status = os.fstat(stream.fileno())
    return status.st_size == file.size and file.modified_ns in (None, status.st_mtime_ns)


def _start(stream: BinaryIO, shard: Shard) -> int:
    """Go to the shard's first line; how many bytes to read from there."""
    if shard.file.codec is not None:
        stream.read(shard.file.bom_bytes)
        return sys.maxsize  # how much text a compressed file holds shows at its end
    stream.seek(shard.start)
    return shard.stop - shard.start


def _read(stream: BinaryIO, buffer: bytearray, start: int, most: int) -> int:
    with memoryview(buffer) as view, view[start : start + most] as free:
        return stream.readinto(free)  # type: ignore[attr-defined, no-any-return]
