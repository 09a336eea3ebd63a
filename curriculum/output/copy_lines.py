"""Lines of all shards → files of an output directory, byte for byte, complete and checked.

Only a last line without a newline gets one. On a disk each line has an offset in its file. A store
cannot write at an offset: there a file is a set of parts, each written from beginning to end.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import numpy as np
from msgspec import Struct

from curriculum.arrays import CompactIntArray, IntArray, LengthArray
from curriculum.engines.workers import Workers
from curriculum.errors import InternalError
from curriculum.output.manifests import part_names
from curriculum.output.output_directory import OutputDirectory
from curriculum.reading.blocks import Block, read_blocks
from curriculum.reading.input_files import Shard, changed
from curriculum.storage.paths import AnyPath

NEWLINE = 0x0A
PIECES_PER_CALL = 1024  # the most buffers that POSIX systems take in one call


# A shard, the length of each line, and the number of the file it goes to (-1: none).
LinesToCopy: TypeAlias = tuple[Shard, LengthArray, CompactIntArray]
Pieces: TypeAlias = list["memoryview | bytes"]
PART_BYTES = 256 << 20  # bytes of input per part, at least


class CopyTask(Struct, frozen=True):
    """A shard's lines, the file each goes to (-1: none), and where in each file the first one goes.

    `locked` says to lock the bytes that are written. NFS needs this if several machines write to
    one file: it may otherwise write whole pages, with zeros in place of the bytes of others.
    """

    shard: Shard
    lengths: LengthArray
    destinations: CompactIntArray
    paths: Sequence[Path]
    offsets: IntArray
    locked: bool = False


class PartTask(Struct, frozen=True):
    """Shards whose lines go to new files; a path is None if no line goes to that file."""

    shards: Sequence[LinesToCopy]
    paths: Sequence[AnyPath | None]


def copied_bytes(lines: LinesToCopy, count: int) -> IntArray:
    """The bytes of a shard that go to each of `count` files, with a newline after each line."""
    _, lengths, destinations = lines
    copied = destinations >= 0
    whole = lengths[copied].astype(np.int64) + 1
    return np.bincount(destinations[copied], whole, minlength=count).astype(np.int64)


def copy_tasks(
    shards: Iterable[LinesToCopy], paths: Sequence[Path], sizes: IntArray, locked: bool = False
) -> Iterator[CopyTask]:
    """One task per shard, which copies its lines.

    Each line is followed by a newline, so its offset is known before anything is written. `sizes`
    holds the bytes in each file before the first shard, and grows in place to the final sizes.
    """
    for lines in shards:
        yield CopyTask(*lines, paths, sizes.copy(), locked)
        sizes += copied_bytes(lines, len(paths))


def copy_shard(task: CopyTask) -> None:
    """Copy each line, with a newline, to its offset in its file. Raises InputError if the input
    changed."""
    lines, offsets = (task.shard, task.lengths, task.destinations), task.offsets.tolist()
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("r+b", buffering=0)) for path in task.paths]
        descriptors = [file.fileno() for file in files]
        if task.locked:  # the locks last until the files are closed
            sizes = copied_bytes(lines, len(files)).tolist()
            for descriptor, offset, size in zip(descriptors, offsets, sizes, strict=True):
                if size:
                    fcntl.lockf(descriptor, fcntl.LOCK_EX, size, offset)
        for pieces in _pieces(lines, len(files)):
            for i, descriptor in enumerate(descriptors):
                offsets[i] += _write(descriptor, pieces[i], offsets[i])


def write_parts(task: PartTask) -> list[int]:
    """Write each line, with a newline, to the end of its file. Returns the sizes of the written
    files in bytes, 0 for no file. Raises InputError if an input changed."""
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


def _pieces(lines: LinesToCopy, count: int) -> Iterator[list[Pieces]]:
    """For each block, what goes to each of `count` files; valid until the next block."""
    shard, lengths, destinations = lines
    ends = np.cumsum(lengths.astype(np.int64) + 1)
    start = first = 0  # offset and first line of the block in the shard
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


def _sort(block: Block, ends: IntArray, destinations: CompactIntArray, count: int) -> list[Pieces]:
    """For each of `count` files, the runs of consecutive lines that go to it."""
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
    """Write the pieces one after another at `offset`, and return their size in bytes."""
    start = offset
    for first in range(0, len(pieces), PIECES_PER_CALL):
        some = pieces[first : first + PIECES_PER_CALL]
        size = sum(map(len, some))
        written = os.pwritev(descriptor, some, offset)
        if written < size:  # a partial write: write the rest, or get the error
            rest = memoryview(b"".join(some))
            while written < size:
                written += os.pwrite(descriptor, rest[written:], offset + written)
        offset += size
    return offset - start


class LineFile(Struct, frozen=True):
    """A written file: its size in bytes, and its number of parts (0: one whole file)."""

    bytes: int
    parts: int


class Copier(Struct, frozen=True):
    """Copies lines to files of an output directory."""

    outputs: OutputDirectory
    workers: Workers

    def copy(
        self,
        names: Sequence[str],
        shards: Iterable[LinesToCopy],
        done: Callable[[Shard], None] = lambda shard: None,
    ) -> list[LineFile]:
        """Stage a file for each name, even if no line goes to it. The lines' destinations number
        the names from 0. `done` is called after each shard. Raises InternalError if a file has
        the wrong size."""
        if self.outputs.in_store:
            return self._write_parts(names, list(shards), done)
        paths = [self.outputs.stage_file(name) for name in names]
        for path in paths:
            path.touch()
        sizes = np.zeros(len(paths), dtype=np.int64)
        tasks = copy_tasks(shards, paths, sizes, locked=self.workers.on_nodes)
        for task, _ in self.workers.map(copy_shard, tasks):
            done(task.shard)
        for path, size in zip(paths, sizes.tolist(), strict=True):
            _check(str(path), path.stat().st_size, size)
        return [LineFile(size, 0) for size in sizes.tolist()]

    def _write_parts(
        self, names: Sequence[str], shards: Sequence[LinesToCopy], done: Callable[[Shard], None]
    ) -> list[LineFile]:
        groups = list(_groups(shards))
        sizes = np.zeros((len(groups), len(names)), np.int64)
        for lines, row in zip(groups, sizes, strict=True):
            for of_shard in lines:
                row += copied_bytes(of_shard, len(names))
        parts = np.maximum(np.count_nonzero(sizes, axis=0), 1).tolist()
        tasks = self._part_tasks(names, parts, groups, sizes)
        for (task, written), row in zip(self.workers.map(write_parts, tasks), sizes, strict=True):
            for path, size, wanted in zip(task.paths, written, row.tolist(), strict=True):
                _check(str(path), size, wanted)
            for shard, _, _ in task.shards:
                done(shard)
        whole = sizes.sum(axis=0).tolist()
        for name, size in zip(names, whole, strict=True):
            if not size:
                self.outputs.stage(part_names(name, 1)[0]).write_bytes(b"")
        return [LineFile(*both) for both in zip(whole, parts, strict=True)]

    def _part_tasks(
        self,
        names: Sequence[str],
        parts: Sequence[int],
        groups: Sequence[Sequence[LinesToCopy]],
        sizes: IntArray,
    ) -> list[PartTask]:
        """One task per group of shards. It writes the next part of each file it has lines for."""
        free = [iter(part_names(name, count)) for name, count in zip(names, parts, strict=True)]
        return [
            PartTask(
                group,
                [
                    self.outputs.stage(next(names_left)) if size else None
                    for names_left, size in zip(free, row, strict=True)
                ],
            )
            for group, row in zip(groups, sizes.tolist(), strict=True)
        ]


def _groups(shards: Sequence[LinesToCopy]) -> Iterator[Sequence[LinesToCopy]]:
    """Groups of consecutive shards, of at least PART_BYTES each except the last."""
    group, size = list[LinesToCopy](), 0
    for lines in shards:
        group.append(lines)
        size += lines[0].stop - lines[0].start
        if size >= PART_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _check(path: str, size: int, wanted: int) -> None:
    if size != wanted:
        raise InternalError(f"{path} has {size:,} bytes instead of {wanted:,}")
