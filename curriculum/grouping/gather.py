"""Second pass over a dump: the lines of each rollout, read again by offset → files of rollouts.

Groups whose lines disagree, or are nested too deep to be put together, are left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import numpy as np

from curriculum.arrays import CompactIntArray, IntArray, LengthArray
from curriculum.dumps.formats import OWN, Disagreement, Format
from curriculum.errors import InternalError
from curriculum.grouping.assemble import Assembler
from curriculum.grouping.groups import DumpNotes
from curriculum.grouping.merge import Merger
from curriculum.reading.input_files import InputFile, changed, check_unchanged
from curriculum.reading.lines import REFUSALS, TOO_DEEP
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

    `refused` has the kind of each disagreement and two lines that differ (one line twice if it is
    wrong by itself), by the first line of the group; all are numbers in the dump. `responses` is
    how many each rollout has. `notes` counts what was found in these rollouts.
    """

    bytes: int
    refused: dict[int, tuple[str, int, int]]
    responses: IntArray
    notes: DumpNotes


Assemble: TypeAlias = Callable[[Sequence[bytes]], "tuple[bytes, int]"]  # rollout, its responses


def gather_rollouts(task: GatherTask) -> GatheredBatch:
    """Write the rollouts of a task in order, one per line, except those whose lines disagree.
    Raises InputError if a file changed."""
    lines, own = iter(_read_lines(task)), task.form.name == OWN
    assembler: Merger | Assembler = Merger(task.form.score) if own else Assembler(task.form)
    refused: dict[int, tuple[str, int, int]] = {}
    responses: list[int] = []
    first = size = 0
    with task.output.open("wb") as output:
        for count in task.counts.tolist():
            try:
                rollout, kept = _assemble(task, assembler, list(islice(lines, count)))
            except Disagreement as error:
                numbers = task.responses[first : first + count].tolist()
                one, other = error.pair
                refused[numbers[0]] = (error.kind, numbers[one], numbers[other])
            else:
                size += output.write(rollout)
                responses.append(kept)
            first += count
    return GatheredBatch(size, refused, np.array(responses, np.int64), assembler.notes)


def _assemble(task: GatherTask, assemble: Assemble, lines: Sequence[bytes]) -> tuple[bytes, int]:
    """The rollout of a group. Raises Disagreement, and InputError if a file changed: every line
    was readable the first time. Only a deeply nested line may have been just about readable."""
    try:
        return assemble(lines)
    except Disagreement:
        raise
    except (*REFUSALS, ValueError, InternalError) as error:
        check_unchanged(task.files)
        if not isinstance(error, RecursionError) and str(error) != TOO_DEEP:
            raise
        deep = next((i for i, line in enumerate(lines) if _too_deep(line)), 0)
        raise Disagreement(TOO_DEEP, (deep, deep)) from error


def _too_deep(line: bytes) -> bool:
    try:
        json.loads(line)
    except RecursionError:
        return True
    except ValueError:
        return False
    return False


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
