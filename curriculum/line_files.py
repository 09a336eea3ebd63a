"""Lines of all shards → files of an output directory, complete and checked.

On a disk each line has its place in its file. A store cannot write at places: there a file is a
set of parts, each written from beginning to end, which are the file one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from curriculum.arrays import IntArray
from curriculum.copying import Lines, PartTask, copied_bytes, copy_shard, copy_tasks, write_parts
from curriculum.errors import InternalError
from curriculum.inputs import Shard
from curriculum.manifests import part_names
from curriculum.outputs import Outputs
from curriculum.workers import Workers

PART_BYTES = 256 << 20  # of input whose lines go to one part of each file


@dataclass(frozen=True)
class LineFile:
    """A file that was written: its size in bytes, and how many parts it has (0: it is whole)."""

    bytes: int
    parts: int


@dataclass(frozen=True)
class Copier:
    """Copies lines to files of an output directory."""

    outputs: Outputs
    workers: Workers

    def copy(
        self,
        names: Sequence[str],
        shards: Iterable[Lines],
        done: Callable[[Shard], None] = lambda shard: None,
    ) -> list[LineFile]:
        """Stage files of these names, which the destinations of the lines count from 0; empty
        ones too. `done` is told of each shard. Raises InternalError where a file has other bytes
        than it should."""
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
        self, names: Sequence[str], shards: Sequence[Lines], done: Callable[[Shard], None]
    ) -> list[LineFile]:
        groups = list(_groups(shards))
        sizes = np.array([_bytes(group, len(names)) for group in groups], dtype=np.int64)
        sizes = sizes.reshape(len(groups), len(names))
        parts = np.maximum(np.count_nonzero(sizes, axis=0), 1).tolist()
        free = [iter(part_names(name, count)) for name, count in zip(names, parts, strict=True)]
        tasks = [
            PartTask(group, [self.outputs.stage(next(free[i])) if n else None for i, n in row])
            for group, row in zip(groups, map(enumerate, sizes.tolist()), strict=True)
        ]
        for number, (task, written) in enumerate(self.workers.map(write_parts, tasks)):
            for path, size, wanted in zip(task.paths, written, sizes[number].tolist(), strict=True):
                _check(str(path), size, wanted)
            for shard, _, _ in task.shards:
                done(shard)
        for name, size in zip(names, sizes.sum(axis=0).tolist(), strict=True):
            if not size:
                self.outputs.stage(part_names(name, 1)[0]).write_bytes(b"")
        return [LineFile(*both) for both in zip(sizes.sum(axis=0).tolist(), parts, strict=True)]


def _groups(shards: Sequence[Lines]) -> Iterator[Sequence[Lines]]:
    """Shards that follow one another, of about PART_BYTES."""
    ends = np.cumsum([shard.stop - shard.start for shard, _, _ in shards])
    numbers = iter(((ends - 1) // PART_BYTES).tolist())
    for _, group in groupby(shards, lambda _: next(numbers)):
        yield list(group)


def _bytes(group: Sequence[Lines], count: int) -> IntArray:
    """How many bytes of some shards go to each of `count` files."""
    return sum((copied_bytes(lines, count) for lines in group), np.zeros(count, np.int64))


def _check(path: str, size: int, wanted: int) -> None:
    if size != wanted:
        raise InternalError(f"{path} has {size:,} bytes instead of {wanted:,}")
