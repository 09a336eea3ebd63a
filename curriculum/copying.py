"""A shard's lines → bytes in their output files, each line to the place known beforehand.

Lines are copied as they stand; only a last line without a newline gets one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curriculum.arrays import IntArray
from curriculum.inputs import Shard, changed, read_blocks


@dataclass(frozen=True)
class CopyTask:
    """A shard's lines, each with the file to copy it to (-1: none), and where in each file the
    shard's first line goes."""

    shard: Shard
    lengths: IntArray
    destinations: IntArray
    paths: Sequence[Path]
    offsets: IntArray


def copy_shard(task: CopyTask) -> None:
    """Copy each line, with a newline, to its place. Raises InputError if the file changed."""
    descriptors = [os.open(path, os.O_WRONLY) for path in task.paths]
    try:
        offsets = task.offsets.copy()
        first = 0
        for block in read_blocks(task.shard):
            count = _lines_in(block, task.lengths[first:])
            if count is None:
                raise changed(task.shard.file)
            lines = slice(first, first + count)
            _copy_lines(block, task.lengths[lines], task.destinations[lines], descriptors, offsets)
            first += count
        if first != len(task.lengths):
            raise changed(task.shard.file)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _lines_in(block: bytes, lengths: IntArray) -> int | None:
    """How many of the lines make up the block, None if they do not fit it."""
    ends = np.cumsum(lengths + 1)
    size = len(block) + (not block.endswith(b"\n"))
    count = int(np.searchsorted(ends, size)) + 1
    return count if count <= len(ends) and ends[count - 1] == size else None


def _copy_lines(
    block: bytes,
    lengths: IntArray,
    destinations: IntArray,
    descriptors: Sequence[int],
    offsets: IntArray,
) -> None:
    """Write each run of lines with one destination; moves `offsets` past what was written."""
    if not block.endswith(b"\n"):
        block += b"\n"
    ends = np.cumsum(lengths + 1)
    last_of_run = np.flatnonzero(np.append(destinations[1:] != destinations[:-1], True))
    pieces: list[list[memoryview]] = [[] for _ in descriptors]
    view, start = memoryview(block), 0
    for last in last_of_run.tolist():
        stop = int(ends[last])
        if destinations[last] >= 0:
            pieces[destinations[last]].append(view[start:stop])
        start = stop
    for i, (descriptor, parts) in enumerate(zip(descriptors, pieces, strict=True)):
        data = b"".join(parts)
        written = 0
        while written < len(data):
            written += os.pwrite(descriptor, data[written:], int(offsets[i]) + written)
        offsets[i] += len(data)
