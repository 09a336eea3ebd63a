"""The ledger of a run: what every line of its input is, and what is wrong with malformed ones.

Each line has a length, one kind and, if it is malformed, a reason. Every count of lines that a run
reports is a count over its ledger, so no line is lost between two steps.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import BinaryIO

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from curriculum.arrays import (
    BoolArray,
    ByteArray,
    IntArray,
    LengthArray,
    compact_lengths,
    join_lengths,
)
from curriculum.errors import InputError, plural
from curriculum.reading.blocks import Block, ChosenLines
from curriculum.reading.input_files import Shard
from curriculum.reading.lines import Reason, is_blank
from curriculum.storage.paths import AnyPath

# The kinds of a line. Kinds from CONFLICT up are records: rollouts, or responses of a dump.
# SKIPPED: a response of a step that was not asked for. CONFLICT: a response whose group disagrees
# about its ground truth or prompt, which makes it malformed. NO_SCORE: a rollout without any score.
# UNDEFINED: a rollout with too few scores for the metric. DROPPED: one that was not to be kept.
BLANK, MALFORMED, SKIPPED, CONFLICT, NO_SCORE, UNDEFINED, DROPPED = range(7)
FIRST_RECORD = CONFLICT
# A record that is used. Bucketing adds bits that say whether any response passes, whether the
# scores differ, and whether all responses pass, so compare with `>= TAKEN`.
TAKEN = 0x80
PASSED, DIFFERS, SOLVED = 0x40, 0x20, 0x10

REASONS_SHOWN = 10


class Problems(Struct):
    """The first malformed lines of a shard, as (line from 0, reason), and counts by kind."""

    first: list[tuple[int, str]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)


class ShardLines(Struct, frozen=True):
    """The lines of one shard: `lengths` in bytes, without the newline, and `kinds`."""

    lengths: LengthArray
    kinds: ByteArray
    problems: Problems

    def count(self, *kinds: int) -> int:
        """How many lines have one of these kinds; TAKEN includes every kind above it."""
        taken = int((self.kinds >= TAKEN).sum()) if TAKEN in kinds else 0
        return taken + int(np.isin(self.kinds, [kind for kind in kinds if kind != TAKEN]).sum())

    def starts(self, shard: Shard) -> IntArray:
        """The byte offset of each line in the (uncompressed) file."""
        whole = self.lengths.astype(np.int64) + 1
        return shard.first_offset + np.cumsum(whole) - whole

    def chosen(self, shard: Shard, lines: IntArray) -> ChosenLines:
        """Some lines of the shard, from 0 and ascending, to be read again."""
        lengths = self.lengths[lines].astype(np.int64)
        return ChosenLines(shard, lines, self.starts(shard)[lines], lengths)


class LineRecorder:
    """Records the lines of a shard as they are read, block by block.

    The reason for each malformed line is written to the file `path`, one JSON string per line, in
    input order. Without any reason, or without a `path`, no file is written.
    """

    def __init__(self, path: AnyPath | None = None) -> None:
        self._path = path
        self._stream: BinaryIO | None = None
        self._problems = Problems()
        self._lengths: list[LengthArray] = []
        self._kinds: list[ByteArray] = [np.zeros(0, np.uint8)]
        self._count = 0  # lines so far

    def add_block(self, block: Block, refused: Iterable[tuple[int, Reason]]) -> ByteArray:
        """Record a block and return the kind of each line.

        Lines in `refused`, given by position, are BLANK or MALFORMED; all others are TAKEN.
        """
        kinds = np.full(len(block.ends), TAKEN, dtype=np.uint8)
        malformed = {}
        for position, reason in refused:
            kinds[position] = BLANK if is_blank(block.line(position)) else MALFORMED
            if kinds[position] == MALFORMED:
                malformed[position] = reason
        self.add(block, kinds, malformed)
        return kinds

    def add(self, block: Block, kinds: ByteArray, reasons: Mapping[int, Reason]) -> None:
        """Record a block, given the kind of each line and the reason for each malformed one."""
        for position in sorted(reasons):
            self._add_reason(self._count + position, reasons[position])
        self._lengths.append(compact_lengths(block.lengths))
        self._kinds.append(kinds)
        self._count += len(kinds)

    def add_taken(self, lengths: LengthArray) -> None:
        """Record lines of these lengths, all of them TAKEN."""
        self._lengths.append(lengths)
        self._kinds.append(np.full(len(lengths), TAKEN, np.uint8))
        self._count += len(lengths)

    def _add_reason(self, line: int, reason: Reason) -> None:
        self._problems.kinds[reason.kind] += 1
        if len(self._problems.first) < REASONS_SHOWN:
            self._problems.first.append((line, reason.text))
        if self._path is not None:
            self._stream = self._stream or self._path.open("wb")
            self._stream.write(json.dumps(reason.text).encode() + b"\n")

    def result(self, taken: ByteArray | None = None) -> ShardLines:
        """All lines. `taken` holds the final kinds of the lines recorded as TAKEN, in order."""
        kinds = np.concatenate(self._kinds)
        if taken is not None:
            kinds[kinds == TAKEN] = taken
        return ShardLines(join_lengths(self._lengths), kinds, self._problems)

    def close(self) -> None:
        """Close the file of reasons."""
        if self._stream is not None:
            self._stream.close()


class Ledger(Struct):
    """The lines of all shards of a run, in input order, and the first malformed ones.

    `reasons` holds the path that each shard's LineRecorder writes to, or None. `first` shows the
    first malformed lines as `file:line: reason`, and `lines_shown` is how many lines it covers.
    `reason_kinds` counts all malformed lines by kind of reason.
    """

    shards: Sequence[Shard]
    reasons: Sequence[AnyPath | None]
    shard_lines: list[ShardLines] = field(default_factory=list)
    first: list[str] = field(default_factory=list)
    lines_shown: int = 0
    reason_kinds: Counter[str] = field(default_factory=Counter)
    _lines_before: Counter[str] = field(default_factory=Counter)

    @staticmethod
    def of(shards: Iterable[Shard], reasons: AnyPath | None = None) -> Ledger:
        """An empty ledger. `reasons` is the path prefix of files of reasons; None keeps none."""
        found = list(shards)
        if reasons is None:
            return Ledger(found, [None] * len(found))
        names = (f"{reasons.name}-{number:06}" for number in range(len(found)))
        return Ledger(found, [reasons.parent / name for name in names])

    def add(self, lines: ShardLines) -> None:
        """Add the lines of the next shard."""
        path = self.shards[len(self.shard_lines)].file.name
        self.reason_kinds.update(lines.problems.kinds)
        for line, reason in lines.problems.first[: REASONS_SHOWN - len(self.first)]:
            self.first.append(f"{path}:{self._lines_before[path] + line + 1}: {reason}")
            self.lines_shown += 1
        self._lines_before[path] += len(lines.kinds)
        self.shard_lines.append(lines)

    def refuse_taken(self, wrong: BoolArray, reasons: Counter[str], first: Sequence[str]) -> None:
        """Turn TAKEN lines into CONFLICT, which makes them malformed.

        `wrong` has one entry per TAKEN line of the run. `reasons` counts these lines by kind of
        reason, and each entry of `first` tells of two of them.
        """
        for told in first[: max(REASONS_SHOWN - len(self.first), 0)]:
            self.first.append(told)
            self.lines_shown += 2
        self.reason_kinds.update(reasons)
        counts = [lines.count(TAKEN) for lines in self.shard_lines]
        parts = np.split(wrong, np.cumsum(counts)[:-1])
        for number, (lines, mine) in enumerate(zip(self.shard_lines, parts, strict=True)):
            kinds = lines.kinds.copy()
            kinds[np.flatnonzero(kinds >= TAKEN)[mine]] = CONFLICT
            self.shard_lines[number] = replace(lines, kinds=kinds)

    def count(self, *kinds: int) -> int:
        """How many lines have one of these kinds."""
        return sum(lines.count(*kinds) for lines in self.shard_lines)

    @property
    def malformed(self) -> int:
        """How many lines are malformed, including conflicts."""
        return self.count(MALFORMED, CONFLICT)

    @property
    def well_formed(self) -> int:
        """How many lines are neither blank nor malformed."""
        total = sum(len(lines.kinds) for lines in self.shard_lines)
        return total - self.count(BLANK) - self.malformed

    @property
    def all_alike(self) -> bool:
        """Whether all lines are malformed for one kind of reason, which is not a conflict."""
        return len(self.reason_kinds) == 1 and not (self.well_formed or self.count(CONFLICT))

    def by_file(self, *kinds: int) -> Counter[str]:
        """How many lines with one of these kinds each file has; all lines if no kind is given."""
        found: Counter[str] = Counter()
        for shard, lines in zip(self.shards, self.shard_lines, strict=True):
            found[shard.file.name] += lines.count(*kinds) if kinds else len(lines.kinds)
        return found

    def first_lines(self) -> list[int]:
        """For each shard, the number of its first line within its file, counted from 1."""
        before: Counter[str] = Counter()
        first = []
        for shard, lines in zip(self.shards, self.shard_lines, strict=True):
            first.append(before[shard.file.name] + 1)
            before[shard.file.name] += len(lines.kinds)
        return first

    def stop_if_malformed(self, fix: str, expected: str = "one rollout per line") -> None:
        """Raise InputError if any line is malformed.

        It lists the first malformed lines, only one if all lines are alike, and the totals by
        kind. `fix` says what to do.
        """
        total = self.reason_kinds.total()
        if not total:
            return
        found, first, count = plural(total, "malformed line"), self.first, self.lines_shown
        if self.all_alike and total > 1:
            found, first, count = f"all {total:,} lines are malformed", first[:1], 1
        shown = "\n  ".join(first)
        more = f"\n  … and {total - count:,} more" if total > count else ""
        raise InputError(
            f"{found} ({count_by_kind(self.reason_kinds)}), expected {expected}\n  {shown}{more}",
            fix=f"nothing was written; {fix}",
        )


def count_by_kind(kinds: Counter[str]) -> str:
    """How many malformed lines each kind of reason has, as text, the most common first."""
    return ", ".join(f"{count:,} × {kind}" for kind, count in kinds.most_common())
