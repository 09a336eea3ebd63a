"""Lines of all shards → files of an output directory, complete and checked.

On a disk each line has its place in its file. A store cannot write at places: there a file is a
set of parts, each written from beginning to end, which are the file one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

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
        groups: Sequence[Sequence[Lines]],
        sizes: IntArray,
    ) -> list[PartTask]:
        """A task per group of shards, which writes the next part of each file it has lines for."""
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


def _groups(shards: Sequence[Lines]) -> Iterator[Sequence[Lines]]:
    """Shards that follow one another, of at least PART_BYTES but for the last."""
    group, size = list[Lines](), 0
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
