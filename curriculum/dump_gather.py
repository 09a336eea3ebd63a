"""Dumps, second pass: the lines of each rollout, read again from their places → files of rollouts.

Of lines that disagree no rollout is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np

from curriculum.arrays import IntArray, LengthArray, PlaceArray
from curriculum.dump_assemble import Assembler
from curriculum.errors import InternalError
from curriculum.formats import OWN, Disagreement, Format
from curriculum.inputs import InputFile, changed, check_unchanged
from curriculum.merge import merge
from curriculum.rollouts import REFUSALS
from curriculum.store_requests import ahead
from curriculum.stores import AnyPath, StorePath, to_path

RUNS_AT_ONCE = 8  # that are read of a file in a store


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
    lines, assembler = iter(_read_lines(task)), Assembler(task.form)
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


def _read_lines(task: GatherTask) -> list[bytes]:
    """The lines in their order, read file by file as they lie there."""
    lines = [b""] * len(task.offsets)
    for number, (path, file) in enumerate(zip(task.paths, task.files, strict=True)):
        mine = np.flatnonzero(task.numbers == number)
        mine = mine[np.argsort(task.offsets[mine], kind="stable")]
        found = _lines_at(path, task.offsets[mine], task.lengths[mine].astype(np.int64))
        for place, line in zip(mine.tolist(), found, strict=True):
            if line is None:
                raise changed(file)
            lines[place] = line
    return lines


def _lines_at(path: str, offsets: IntArray, lengths: IntArray) -> Iterator[bytes | None]:
    """The lines at these places of a file, in ascending order; those that follow one another are
    read at once. None for one that is not there any more."""
    first = np.flatnonzero(np.append(True, offsets[1:] != (offsets + lengths + 1)[:-1]))
    counts = np.diff(first, append=len(offsets))
    last = first + counts - 1
    sizes = (offsets[last] + lengths[last] - offsets[first]).tolist()
    texts = _read_runs(to_path(path), offsets[first].tolist(), sizes)
    left = iter(lengths.tolist())
    for text, size, count in zip(texts, sizes, counts.tolist(), strict=True):
        start = 0
        for length in islice(left, count):
            yield text[start : start + length] if len(text) == size else None
            start += length + 1


def _read_runs(path: AnyPath, offsets: Sequence[int], sizes: Sequence[int]) -> Iterator[bytes]:
    """What stands at places of a file; less where it ends before."""
    if isinstance(path, StorePath):
        with path.open_range() as ranges:
            runs = zip(offsets, sizes, strict=True)
            yield from ahead(lambda run: ranges.read_at(*run), runs, RUNS_AT_ONCE)
        return
    with path.open("rb") as stream:
        for offset, size in zip(offsets, sizes, strict=True):
            stream.seek(offset)
            yield stream.read(size)
