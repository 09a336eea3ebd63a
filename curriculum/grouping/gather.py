"""Second pass over a dump: the lines of each rollout, read again by offset → files of rollouts.

Groups whose lines disagree, or are nested too deep to be put together, are left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from io import FileIO
from itertools import pairwise
from typing import BinaryIO, TypeAlias

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from curriculum.arrays import (
    CompactIntArray,
    IntArray,
    LengthArray,
    compact_lengths,
    join_lengths,
)
from curriculum.dumps.formats import OWN, Disagreement, Format
from curriculum.errors import InternalError
from curriculum.grouping.assemble import Assembler
from curriculum.grouping.groups import DumpNotes
from curriculum.grouping.merge import Merger
from curriculum.grouping.scanned_groups import GroupLines, GroupScanner, ScannedGroups
from curriculum.reading.blocks import Block
from curriculum.reading.input_files import InputFile, changed, check_unchanged
from curriculum.reading.lines import REFUSALS, TOO_DEEP
from curriculum.reading.rollouts import NONE, ReadScores, ScoreReader
from curriculum.storage.paths import AnyPath, StorePath
from curriculum.storage.requests import ahead

RUNS_AT_ONCE = 8  # concurrent reads of a file in an object store
PART_BYTES = 1 << 21  # of lines, about, that are read and put together at once
MOST_SKIPPED = 1 << 10  # bytes between two lines that are read together
SCORE_FIELD = "score"  # of the reward entries in a rollout that was put together


class GatherTask(Struct, frozen=True):
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


class GatheredBatch(Struct, frozen=True):
    """What a task wrote, in bytes, and what it found.

    `refused` has the kind of each disagreement and two lines that differ (one line twice if it is
    wrong by itself), by the first line of the group; all are numbers in the dump. `responses` is
    how many each rollout has. `notes` counts what was found in these rollouts. `lengths` is the
    bytes of each, without its newline, and `scores` what the scan of them would find.
    """

    bytes: int
    refused: dict[int, tuple[str, int, int]]
    responses: IntArray
    notes: DumpNotes
    lengths: LengthArray
    scores: ReadScores


Assemble: TypeAlias = Callable[[Sequence[bytes]], "tuple[bytes, int]"]  # rollout, its responses


def gather_rollouts(task: GatherTask) -> GatheredBatch:
    """Write the rollouts of a task in order, one per line, except those whose lines disagree.
    Raises InputError if a file changed."""
    scanner = GroupScanner(task.form)
    with task.output.open("wb") as output:
        parts = [_gather_part(part, scanner, output) for part in _parts(task)]
    scores = [part.scores for part in parts]
    return GatheredBatch(
        bytes=sum(part.bytes for part in parts),
        refused={first: pair for part in parts for first, pair in part.refused.items()},
        responses=np.concatenate([part.responses for part in parts]),
        notes=sum((part.notes for part in parts), Counter()),
        lengths=join_lengths([part.lengths for part in parts]),
        scores=ReadScores.join(scores),
    )


def _parts(task: GatherTask) -> Iterator[GatherTask]:
    """The task in parts of whole groups, which a core's own cache can hold."""
    ends = np.cumsum(task.counts)
    sizes = np.cumsum(task.lengths, dtype=np.int64)[ends - 1]
    cuts = (np.flatnonzero(np.diff(sizes // PART_BYTES)) + 1).tolist()
    for first, after in pairwise([0, *cuts, len(ends)]):
        some = slice(int(ends[first] - task.counts[first]), int(ends[after - 1]))
        yield replace(
            task,
            responses=task.responses[some],
            numbers=task.numbers[some],
            offsets=task.offsets[some],
            lengths=task.lengths[some],
            counts=task.counts[first:after],
        )


def _gather_part(task: GatherTask, scanner: GroupScanner, output: BinaryIO) -> GatheredBatch:
    lines = _read_lines(task)
    scanned = scanner.scan(lines, task.counts)
    apart = _Apart(task, lines)
    sizes, responses, ends = scanned.sizes.copy(), task.counts.copy(), np.cumsum(scanned.sizes)
    with memoryview(scanned.text) as text:
        start = 0
        for group in np.flatnonzero(scanned.sizes == 0).tolist():
            end = int(ends[group])
            output.write(text[start:end])
            start = end
            sizes[group], responses[group] = output.write(apart.add(group)), apart.responses
        output.write(text[start:])
    kept = sizes > 0
    return GatheredBatch(
        bytes=int(sizes.sum()),
        refused=apart.refused,
        responses=responses[kept],
        notes=scanned.notes + apart.notes,
        lengths=compact_lengths(sizes[kept] - 1),
        scores=_join_scores(scanned, sizes, task.counts, apart.scores()),
    )


def _join_scores(
    scanned: ScannedGroups, sizes: IntArray, counts: IntArray, others: ReadScores | None
) -> ReadScores:
    """The scores of all rollouts: of those that were scanned, and the `others`."""
    by_scanner = scanned.sizes > 0
    scores = ReadScores(scanned.scores, counts[by_scanner], scanned.prompts, [], [], NONE)
    if others is None:
        return scores
    places = np.append(np.flatnonzero(by_scanner), np.flatnonzero((sizes > 0) & ~by_scanner))
    return ReadScores.join([scores, others]).take(np.argsort(places))


class _Apart:
    """Puts groups together one by one, in Python. `refused` is what GatheredBatch says, `responses`
    how many the last rollout has."""

    def __init__(self, task: GatherTask, lines: GroupLines) -> None:
        own = task.form.name == OWN
        self._score_field = task.form.score if own else SCORE_FIELD
        self._assembler: Merger | Assembler = (
            Merger(task.form.score) if own else Assembler(task.form)
        )
        self._task, self._lines = task, lines
        self._firsts = np.cumsum(task.counts) - task.counts
        self._rollouts = bytearray()
        self.refused: dict[int, tuple[str, int, int]] = {}
        self.responses = 0

    @property
    def notes(self) -> DumpNotes:
        """What was found in these rollouts."""
        return self._assembler.notes

    def add(self, group: int) -> bytes:
        """The rollout of a group; empty if it is refused. Raises InputError if a file changed."""
        first, count = int(self._firsts[group]), int(self._task.counts[group])
        lines = [self._lines.line(number) for number in range(first, first + count)]
        try:
            rollout, self.responses = _assemble(self._task, self._assembler, lines)
        except Disagreement as error:
            numbers = self._task.responses[first : first + count].tolist()
            one, other = error.pair
            self.refused[numbers[0]] = (error.kind, numbers[one], numbers[other])
            return b""
        self._rollouts += rollout
        return rollout

    def scores(self) -> ReadScores | None:
        """The scores of these rollouts; None if there are none."""
        if not self._rollouts:
            return None
        block = Block(self._rollouts, len(self._rollouts))
        read = ScoreReader(self._score_field).read_block(block)
        if read.refused:
            raise InternalError("a rollout that was put together from a dump is malformed")
        return read


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


def _read_lines(task: GatherTask) -> GroupLines:
    """The lines of a task. Each file is read by ascending offset, and what lies near together is
    read together."""
    lengths = task.lengths.astype(np.int64)
    order = np.lexsort((task.offsets, task.numbers))
    numbers, offsets = task.numbers[order], task.offsets[order]
    ends = offsets + lengths[order]
    apart = (offsets[1:] - ends[:-1] > MOST_SKIPPED) | (numbers[1:] != numbers[:-1])
    first = np.flatnonzero(np.append(True, apart))  # lines of the runs that are read
    after = np.append(first[1:], len(order))
    sizes = ends[after - 1] - offsets[first]
    places = np.cumsum(sizes) - sizes  # in the buffer
    starts = np.empty(len(order), np.int64)
    starts[order] = offsets + np.repeat(places - offsets[first], after - first)
    buffer = bytearray(int(sizes.sum()))
    with memoryview(buffer) as view:
        into = [view[place : place + size] for place, size in zip(places, sizes, strict=True)]
        files = np.append(np.flatnonzero(np.append(True, np.diff(numbers[first]))), len(first))
        for one, other in pairwise(files.tolist()):
            number, runs = int(numbers[first[one]]), offsets[first[one:other]].tolist()
            if not _read_runs(task.paths[number], runs, into[one:other]):
                raise changed(task.files[number])
    return GroupLines(buffer, starts, lengths)


def _read_runs(path: AnyPath, offsets: Sequence[int], into: Sequence[memoryview]) -> bool:
    """Read what is at these offsets of a file; False if the file ends before."""
    if isinstance(path, StorePath):
        with path.open_range() as ranges:
            runs = zip(offsets, map(len, into), strict=True)
            texts = ahead(lambda run: ranges.read_at(*run), runs, RUNS_AT_ONCE)
            for text, piece in zip(texts, into, strict=True):
                if len(text) != len(piece):
                    return False
                piece[:] = text
        return True
    with path.open("rb", buffering=0) as stream:
        for offset, piece in zip(offsets, into, strict=True):
            stream.seek(offset)
            if _fill(stream, piece) != len(piece):
                return False
    return True


def _fill(stream: FileIO, piece: memoryview) -> int:
    """Read as many bytes as there are, up to the size of `piece`."""
    done = 0
    while done < len(piece) and (count := stream.readinto(piece[done:])):
        done += count
    return done
