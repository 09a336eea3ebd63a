"""Dumps, second pass: the lines of each rollout, read again from their places → files of rollouts.

Of lines that disagree no rollout is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import BinaryIO

import numpy as np

from curriculum.arrays import IntArray, LengthArray, PlaceArray
from curriculum.dump_assemble import Assembler
from curriculum.errors import InternalError
from curriculum.formats import OWN, Disagreement, Format
from curriculum.inputs import InputFile, changed, check_unchanged
from curriculum.merge import merge
from curriculum.rollouts import REFUSALS
from curriculum.stores import AnyPath, to_path

FILES_OPEN = 64


@dataclass(frozen=True)
class GatherTask:
    """Rollouts to put together, and where to write them.

    `files` are those of the dump that have these lines, `paths` says where the text of each is. Of
    each line, group by group, there is its number in the dump, the number of its file, its place
    and its bytes; `counts` is how many lines each rollout has.
    """

    form: Format
    files: Sequence[InputFile]
    paths: Sequence[str]
    responses: PlaceArray
    numbers: IntArray
    offsets: IntArray
    lengths: LengthArray
    counts: IntArray
    output: AnyPath


@dataclass(frozen=True)
class Found:
    """What was written, in bytes, and what the lines of a task show: those that disagree, and
    which two, by the first of their group (all are numbers in the dump); how many prompts were left
    unread; and how many rollouts have several prompts where they may."""

    bytes: int
    refused: dict[int, tuple[str, int, int]]
    unread_prompts: int
    several_prompts: int


def gather_rollouts(task: GatherTask) -> Found:
    """Write the rollouts of a task, one a line, in their order, but those whose lines disagree.
    Raises InputError if a file changed."""
    lines, assembler = _read_lines(task), Assembler(task.form)
    assemble: Callable[[Sequence[bytes]], bytes] = assembler
    if task.form.name == OWN:
        assemble = partial(merge, score_field=task.form.score)
    refused: dict[int, tuple[str, int, int]] = {}
    first = size = 0
    with task.output.open("wb") as output:
        for count in task.counts.tolist():
            some = list(islice(lines, count))
            try:
                size += output.write(assemble(some))
            except Disagreement as error:
                numbers = task.responses[first : first + count].tolist()
                one, other = error.pair
                refused[numbers[0]] = (error.kind, numbers[one], numbers[other])
            except (*REFUSALS, ValueError, InternalError):
                check_unchanged(task.files)  # every line was readable the first time
                raise
            first += count
    return Found(size, refused, assembler.unread, assembler.several_prompts)


def _read_lines(task: GatherTask) -> Iterator[bytes]:
    """The lines in their order; those that follow one another in a file are read at once."""
    lengths, offsets = task.lengths.astype(np.int64), task.offsets
    goes_on = offsets[1:] == offsets[:-1] + lengths[:-1] + 1
    goes_on &= task.numbers[1:] == task.numbers[:-1]
    first = np.flatnonzero(np.append(True, ~goes_on))
    counts = np.diff(first, append=len(lengths))
    last = first + counts - 1
    sizes = offsets[last] + lengths[last] - offsets[first]
    columns = (task.numbers[first], offsets[first], sizes, counts)
    left = iter(lengths.tolist())
    with _Files(task.paths) as files:
        for number, offset, size, count in zip(*(c.tolist() for c in columns), strict=True):
            text, start = files.read(number, offset, size), 0
            if len(text) != size:
                raise changed(task.files[number])
            for length in islice(left, count):
                yield text[start : start + length]
                start += length + 1


class _Files:
    """Files to read from in any order, of which a few are open at a time."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._open: dict[int, BinaryIO] = {}

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *error: object) -> None:
        for stream in self._open.values():
            stream.close()

    def read(self, number: int, offset: int, size: int) -> bytes:
        """What stands at a place of a file; less where the file ends before."""
        if number not in self._open:
            if len(self._open) == FILES_OPEN:
                self._open.pop(next(iter(self._open))).close()
            self._open[number] = to_path(self._paths[number]).open("rb")
        stream = self._open[number]
        stream.seek(offset)
        return stream.read(size)
