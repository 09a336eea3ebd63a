"""A shard → blocks of whole lines, all of them or those that hold some chosen lines."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from curriculum.arrays import IntArray
from curriculum.containers.container import read_container
from curriculum.reading.input_files import (
    InputFile,
    Shard,
    changed,
    check_unchanged,
    open_file,
    unreadable,
)
from curriculum.storage.requests import RANGE_BYTES, RangeReader

# A block should fit into a core's own cache: blocks of 4 MB take up to a fifth longer.
BLOCK_BYTES = 1 << 20
FEW = 0.2  # lines that are less than this part of a shard are read one by one
# The buffer of the last shard that was read: a new one is filled with zeros, page by page.
_spare: list[bytearray] = []


class Block(Struct, dict=True):
    r"""Whole lines: the first `size` bytes of a buffer that the next block reuses.

    Only `\n` ends a line, and only the last line of a file may lack it. Who reads the lines may set
    `found_ends`, the `ends` that it found.
    """

    buffer: bytearray
    size: int
    found_ends: IntArray | None = None

    @property
    def text(self) -> memoryview:
        """The bytes of all lines; valid until the next block."""
        return memoryview(self.buffer)[: self.size]

    @cached_property
    def ends(self) -> IntArray:
        """The offset of each line's end (exclusive), before its newline."""
        if self.found_ends is not None:
            return self.found_ends
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
        """The offset of each line's start."""
        return np.concatenate(([0], self.ends[:-1] + 1))

    @property
    def lengths(self) -> IntArray:
        """The length of each line in bytes, without its newline."""
        return self.ends - self.starts

    def line(self, number: int) -> memoryview:
        """One line, without its newline; valid until the next block."""
        return memoryview(self.buffer)[self.starts[number] : self.ends[number]]

    def lines(self) -> list[memoryview]:
        """All lines, without their newlines; valid until the next block."""
        view, starts, ends = memoryview(self.buffer), self.starts.tolist(), self.ends.tolist()
        return [view[start:end] for start, end in zip(starts, ends, strict=True)]


def read_blocks(shard: Shard, block_bytes: int | None = None) -> Iterator[Block]:
    """The shard's lines in blocks of about `block_bytes` (default BLOCK_BYTES), or of up to twice
    that; a smaller shard is one block.

    Memory is one buffer of up to 2.5 times `block_bytes`, which doubles until it holds the longest
    line; a larger one that another shard left is used, and long lines may end other blocks then. A
    block is valid until the next one is read, of this shard or of another. Lines that are made of
    records are made here, unless they are kept. Raises InputError if the file cannot be read or has
    changed since it was found.
    """
    if shard.file.container and shard.text is None:
        yield from _made_blocks(shard, block_bytes or BLOCK_BYTES)
        return
    shard = _kept(shard)
    asked = block_bytes or BLOCK_BYTES
    # Smaller blocks are for a look at the first lines, which needs no large range of a store.
    most = RANGE_BYTES if asked >= BLOCK_BYTES else asked
    try:
        with open_file(shard.file, most, shard.stop) as stream:
            if not _is_as_found(stream, shard.file):
                raise changed(shard.file)
            left = _start(stream, shard)
            # As large as each other, for a last one of a few lines costs as much as a full one.
            step = asked if shard.file.codec else -(-left // max(1, left // asked))
            buffer, kept = _take_buffer(step, asked), 0
            while count := _read(stream, buffer, kept, min(left, step)):
                left -= count
                filled = kept + count
                size = buffer.rfind(b"\n", kept, filled) + 1
                if size:
                    yield Block(buffer, size)
                    buffer[: filled - size] = buffer[size:filled]
                kept = filled - size
                if kept == len(buffer):  # one line fills the buffer
                    buffer = buffer + bytes(len(buffer))
            if left and shard.file.codec is None:
                raise changed(shard.file)
            if kept:
                yield Block(buffer, kept)
            _keep_buffer(buffer, asked)
    except OSError as error:
        raise unreadable(shard.file.path, error) from error


class ChosenLines(Struct, frozen=True):
    """Some lines of a shard that are to be read again: their numbers from 0, ascending, their
    offsets in the (uncompressed) file and their lengths in bytes, without the newlines."""

    shard: Shard
    lines: IntArray
    starts: IntArray
    lengths: IntArray

    def blocks(self) -> Iterator[tuple[Block, IntArray]]:
        """Blocks that hold the lines, each with the positions of these lines in it."""
        shard = self.shard
        place = shard.file.path if shard.file.is_plain else shard.text
        few = int(self.lengths.sum()) < FEW * (shard.stop - shard.start)
        if few and isinstance(place, Path):  # elsewhere, reading at a place takes long
            for block in self._gather(place):
                yield block, np.arange(len(block.ends))
            return
        first = 0
        for block in read_blocks(shard):
            start, stop = np.searchsorted(self.lines, [first, first + len(block.ends)])
            yield block, self.lines[start:stop] - first
            first += len(block.ends)

    def texts(self) -> Iterator[memoryview]:
        """The lines, one by one; each is valid until the next."""
        for block, positions in self.blocks():
            for position in positions.tolist():
                yield block.line(position)

    def _gather(self, place: Path) -> Iterator[Block]:
        """The lines, read one by one."""
        cuts = np.flatnonzero(np.diff(np.cumsum(self.lengths) // BLOCK_BYTES)) + 1
        with place.open("rb", buffering=0) as stream:
            for starts, lengths in zip(
                np.split(self.starts, cuts), np.split(self.lengths, cuts), strict=True
            ):
                text = bytearray()
                for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
                    stream.seek(start)
                    text += stream.read(length) + b"\n"
                yield Block(text, len(text))


def _kept(shard: Shard) -> Shard:
    """The shard itself, or the file of the lines that were made of its records."""
    if shard.text is None:
        return shard
    size = shard.text.stat().st_size
    return Shard(InputFile(shard.text, size, None, None, 0), 0, size)


def _made_blocks(shard: Shard, block_bytes: int) -> Iterator[Block]:
    """The lines made of a shard's records. Raises InputError if the file has changed."""
    file = shard.file
    assert file.container is not None
    plain = replace(file, container=None)
    if file.modified_ns is not None:
        check_unchanged([file])
    try:
        made = read_container(
            file.path, file.container, partial(open_file, plain), shard.groups, block_bytes
        )
        for lines, ends in made:
            yield Block(lines, len(lines), ends)
    except OSError as error:
        raise unreadable(file.path, error) from error


def _is_as_found(stream: BinaryIO, file: InputFile) -> bool:
    """Whether an open file is unchanged since it was found, perhaps by another machine."""
    if isinstance(stream, RangeReader):
        return stream.size == file.size
    if not isinstance(stream, io.FileIO):  # compressed
        return True
    status = os.fstat(stream.fileno())
    return status.st_size == file.size and file.modified_ns in (None, status.st_mtime_ns)


def _start(stream: BinaryIO, shard: Shard) -> int:
    """Seek to the shard's first line and return how many bytes to read from there."""
    if shard.file.codec is not None:
        stream.read(shard.file.bom_bytes)
        return sys.maxsize  # the length of compressed text is known only at its end
    stream.seek(shard.start)
    return shard.stop - shard.start


def _take_buffer(step: int, asked: int) -> bytearray:
    """A buffer for `step` bytes and the beginning of a line: the spare one if it is large enough.
    Shards of about the same size share one size."""
    quarter = max(1, asked // 4)
    size = (step // quarter + 2) * quarter
    if _spare and len(_spare[0]) >= size:
        return _spare.pop()
    drop_buffer()  # before there is another
    return bytearray(size)


def _keep_buffer(buffer: bytearray, asked: int) -> None:
    """Keep a buffer for the next shard, unless a long line made it large."""
    if len(buffer) <= 3 * asked:
        _spare[:] = [buffer]


def drop_buffer() -> None:
    """Free the buffer that is kept for the next shard: after the last one it is not needed."""
    _spare.clear()


def _read(stream: BinaryIO, buffer: bytearray, start: int, most: int) -> int:
    with memoryview(buffer) as view, view[start : start + most] as free:
        return stream.readinto(free)  # type: ignore[attr-defined, no-any-return]


def is_utf8(block: Block) -> bool:
    """Whether a block is valid UTF-8."""
    import pyarrow as pa  # slow to load, and bucketing needs it only for dumps

    offsets = pa.py_buffer(np.array([0, block.size], dtype=np.int64))
    text = pa.LargeStringArray.from_buffers(1, offsets, pa.py_buffer(block.buffer))
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
