"""Second pass over a dump: the lines of each rollout, read again by offset → files of rollouts.

Groups whose lines disagree are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np

from curriculum.arrays import CompactIntArray, IntArray, LengthArray
from curriculum.dumps.assemble import Assembler
from curriculum.dumps.formats import OWN, Disagreement, Format
from curriculum.dumps.merge import merge
from curriculum.errors import InternalError
from curriculum.reading.input_files import InputFile, changed, check_unchanged
from curriculum.reading.lines import REFUSALS
from curriculum.storage.paths import AnyPath, StorePath
from curriculum.storage.requests import ahead

RUNS_AT_ONCE = 8  # concurrent reads of a file in an object store


@dataclass(frozen=True)
class GatherTask:
    """Rollouts to assemble, and where to write them.

    `files` are those of the dump that have the lines, and `paths` is where the text of each is. For
    each line, group by group, there is its number in the dump (`responses`), its index in `files`
    (`numbers`), and its offset and length in bytes. `counts` is the lines per rollout.
    """

    form: Format
    files: Sequence[InputFile]
    paths: Sequence[AnyPath]
    responses: CompactIntArray
    numbers: IntArray
    offsets: IntArray
    lengths: LengthArray
    counts: IntArray
    output: AnyPath


@dataclass(frozen=True)
class GatheredBatch:
    """What a task wrote, in bytes, and what it found.

    `refused` has the kind of each disagreement and two lines that differ, by the first line of the
    group; all are numbers in the dump. The counts are of prompts left unread, and of rollouts with
    several prompts in a format that allows them.
    """

    bytes: int
    refused: dict[int, tuple[str, int, int]]
    unread_prompts: int
    several_prompts: int


def gather_rollouts(task: GatherTask) -> GatheredBatch:
    """Write the rollouts of a task in order, one per line, except those whose lines disagree.
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
    return GatheredBatch(size, refused, assembler.unread, assembler.several_prompts)


def _read_lines(task: GatherTask) -> list[bytes]:
    """The lines in the order of the task. Each file is read by ascending offset."""
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


def _lines_at(path: AnyPath, offsets: IntArray, lengths: IntArray) -> Iterator[bytes | None]:
    """The lines at these ascending offsets of a file, None for a line that is no longer there.
    Adjacent lines are read together."""
    first = np.flatnonzero(np.append(True, offsets[1:] != (offsets + lengths + 1)[:-1]))
    counts = np.diff(first, append=len(offsets))
    last = first + counts - 1
    sizes = (offsets[last] + lengths[last] - offsets[first]).tolist()
    texts = _read_runs(path, offsets[first].tolist(), sizes)
    left = iter(lengths.tolist())
    for text, size, count in zip(texts, sizes, counts.tolist(), strict=True):
        start = 0
        for length in islice(left, count):
            yield text[start : start + length] if len(text) == size else None
            start += length + 1


def _read_runs(path: AnyPath, offsets: Sequence[int], sizes: Sequence[int]) -> Iterator[bytes]:
    """The bytes at these offsets of a file; fewer if the file ends there."""
    if isinstance(path, StorePath):
        with path.open_range() as ranges:
            runs = zip(offsets, sizes, strict=True)
            yield from ahead(lambda run: ranges.read_at(*run), runs, RUNS_AT_ONCE)
        return
    with path.open("rb") as stream:
        for offset, size in zip(offsets, sizes, strict=True):
            stream.seek(offset)
            yield stream.read(size)
