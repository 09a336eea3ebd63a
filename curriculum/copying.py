"""A shard's lines → bytes in their output files, each line to the place known beforehand, or to
a file that is written from beginning to end.

Lines are copied as they stand; only a last line without a newline gets one.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from curriculum.arrays import IntArray, LengthArray, PlaceArray
from curriculum.blocks import Block, read_blocks
from curriculum.inputs import Shard, changed
from curriculum.stores import AnyPath

NEWLINE = 0x0A
PIECES_PER_CALL = 1024  # the most that POSIX systems take at once


# A shard, its lines' lengths, and by number the file each goes to (-1: none).
Lines: TypeAlias = tuple[Shard, LengthArray, PlaceArray]
Pieces: TypeAlias = list["memoryview | bytes"]


@dataclass(frozen=True)
class CopyTask:
    """A shard's lines, each with the file to copy it to (-1: none), and where in each file the
    shard's first line goes; whether to lock what is written, which NFS needs where several machines
    write to one file: else it may write whole pages, with zeros where others' bytes are."""

    shard: Shard
    lengths: LengthArray
    destinations: PlaceArray
    paths: Sequence[Path]
    offsets: IntArray
    locked: bool = False


@dataclass(frozen=True)
class PartTask:
    """Shards whose lines go to new files, written from beginning to end; None where none goes."""

    shards: Sequence[Lines]
    paths: Sequence[AnyPath | None]


def copied_bytes(lines: Lines, count: int) -> IntArray:
    """How many bytes of a shard, with a newline after each line, go to each of `count` files."""
    _, lengths, destinations = lines
    copied = destinations >= 0
    whole = lengths[copied].astype(np.int64) + 1
    return np.bincount(destinations[copied], whole, minlength=count).astype(np.int64)


def copy_tasks(
    shards: Iterable[Lines], paths: Sequence[Path], sizes: IntArray, locked: bool = False
) -> Iterator[CopyTask]:
    """Per shard, with its lines' lengths and destinations, the copy of its lines.

    Each line is followed by a newline, so where it goes is known before anything is written;
    `sizes`, of what goes to each path before the first shard, grow to those of the files.
    """
    for lines in shards:
        yield CopyTask(*lines, paths, sizes.copy(), locked)
        sizes += copied_bytes(lines, len(paths))


def copy_shard(task: CopyTask) -> None:
    """Copy each line, with a newline, to its place. Raises InputError if the file changed."""
    lines, offsets = (task.shard, task.lengths, task.destinations), task.offsets.tolist()
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("r+b", buffering=0)) for path in task.paths]
        descriptors = [file.fileno() for file in files]
        if task.locked:  # until they are closed
            sizes = copied_bytes(lines, len(files)).tolist()
            for descriptor, offset, size in zip(descriptors, offsets, sizes, strict=True):
                if size:
                    fcntl.lockf(descriptor, fcntl.LOCK_EX, size, offset)
        for pieces in _pieces(lines, len(files)):
            for i, descriptor in enumerate(descriptors):
                offsets[i] += _write(descriptor, pieces[i], offsets[i])


def write_parts(task: PartTask) -> list[int]:
    """Write each line, with a newline, to the end of its file; the sizes of the files in bytes, as
    they stand there. Raises InputError if an input changed."""
    with ExitStack() as stack:
        streams = [
            None if path is None else stack.enter_context(path.open("wb")) for path in task.paths
        ]
        for lines in task.shards:
            for pieces in _pieces(lines, len(streams)):
                for stream, some in zip(streams, pieces, strict=True):
                    if stream is not None and some:
                        stream.write(b"".join(some))
    return [path.stat().st_size if path else 0 for path in task.paths]


def _pieces(lines: Lines, count: int) -> Iterator[list[Pieces]]:
    """Block by block what goes to each of `count` files; valid until the next block."""
    shard, lengths, destinations = lines
    ends = np.cumsum(lengths.astype(np.int64) + 1)
    start = first = 0  # of the block: its place among the bytes, and its first line
    for block in read_blocks(shard):
        stop = start + block.size + (block.buffer[block.size - 1] != NEWLINE)
        after = int(np.searchsorted(ends, stop)) + 1
        if after > len(ends) or ends[after - 1] != stop:
            raise changed(shard.file)
        some = slice(first, after)
        yield _sort(block, ends[some] - start, destinations[some], count)
        start, first = stop, after
    if first != len(ends):
        raise changed(shard.file)


def _sort(block: Block, ends: IntArray, destinations: PlaceArray, count: int) -> list[Pieces]:
    """Each run of lines with one destination."""
    last_of_run = np.flatnonzero(np.append(destinations[1:] != destinations[:-1], True))
    stops = ends[last_of_run].tolist()
    pieces: list[Pieces] = [[] for _ in range(count)]
    text, start = block.text, 0
    for stop, destination in zip(stops, destinations[last_of_run].tolist(), strict=True):
        if destination >= 0:
            pieces[destination].append(text[start:stop])
        start = stop
    if stops[-1] > block.size and destinations[-1] >= 0:
        pieces[destinations[-1]].append(b"\n")
    return pieces


def _write(descriptor: int, pieces: Sequence[memoryview | bytes], offset: int) -> int:
    """Write the pieces one after another at `offset`; how many bytes they have."""
    start = offset
    for first in range(0, len(pieces), PIECES_PER_CALL):
        some = pieces[first : first + PIECES_PER_CALL]
        size = sum(map(len, some))
        written = os.pwritev(descriptor, some, offset)
        if written < size:  # the disk took only a part: write the rest, or learn why not
            rest = memoryview(b"".join(some))
            while written < size:
                written += os.pwrite(descriptor, rest[written:], offset + written)
        offset += size
    return offset - start
