"""A shard's lines → bytes in their output files, each line to the place known beforehand.

Lines are copied as they stand; only a last line without a newline gets one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curriculum.arrays import IntArray, LengthArray, PlaceArray
from curriculum.inputs import Block, Shard, changed, read_blocks

NEWLINE = 0x0A
PIECES_PER_CALL = 1024  # the most that POSIX systems take at once


@dataclass(frozen=True)
class CopyTask:
    """A shard's lines, each with the file to copy it to (-1: none), and where in each file the
    shard's first line goes."""

    shard: Shard
    lengths: LengthArray
    destinations: PlaceArray
    paths: Sequence[Path]
    offsets: IntArray


def copy_tasks(
    shards: Iterable[tuple[Shard, LengthArray, PlaceArray]], paths: Sequence[Path], sizes: IntArray
) -> Iterator[CopyTask]:
    """Per shard, with its lines' lengths and destinations, the copy of its lines.

    Each line is followed by a newline, so where it goes is known before anything is written;
    `sizes`, of what goes to each path before the first shard, grow to those of the files.
    """
    for shard, lengths, destinations in shards:
        yield CopyTask(shard, lengths, destinations, paths, sizes.copy())
        copied = destinations >= 0
        whole = lengths[copied].astype(np.int64) + 1
        sizes += np.bincount(destinations[copied], whole, minlength=len(paths)).astype(np.int64)


def copy_shard(task: CopyTask) -> None:
    """Copy each line, with a newline, to its place. Raises InputError if the file changed."""
    ends = np.cumsum(task.lengths.astype(np.int64) + 1)
    offsets = task.offsets.tolist()
    start = first = 0  # of the block: its place among the bytes, and its first line
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("r+b", buffering=0)) for path in task.paths]
        descriptors = [file.fileno() for file in files]
        for block in read_blocks(task.shard):
            stop = start + block.size + (block.buffer[block.size - 1] != NEWLINE)
            after = int(np.searchsorted(ends, stop)) + 1
            if after > len(ends) or ends[after - 1] != stop:
                raise changed(task.shard.file)
            lines = slice(first, after)
            _copy_lines(block, ends[lines] - start, task.destinations[lines], descriptors, offsets)
            start, first = stop, after
        if first != len(ends):
            raise changed(task.shard.file)


def _copy_lines(
    block: Block,
    ends: IntArray,
    destinations: PlaceArray,
    descriptors: Sequence[int],
    offsets: list[int],
) -> None:
    """Write each run of lines with one destination; moves `offsets` past what was written."""
    last_of_run = np.flatnonzero(np.append(destinations[1:] != destinations[:-1], True))
    stops = ends[last_of_run].tolist()
    pieces: list[list[memoryview | bytes]] = [[] for _ in descriptors]
    text, start = block.text, 0
    for stop, destination in zip(stops, destinations[last_of_run].tolist(), strict=True):
        if destination >= 0:
            pieces[destination].append(text[start:stop])
        start = stop
    if stops[-1] > block.size and destinations[-1] >= 0:
        pieces[destinations[-1]].append(b"\n")
    for i, descriptor in enumerate(descriptors):
        offsets[i] += _write(descriptor, pieces[i], offsets[i])


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
