"""A shard of lines in the form of another tool → staged rollouts of our own form, and their
scores."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from msgspec import Struct

from curriculum.arrays import IntArray, LengthArray, compact_lengths, join_lengths
from curriculum.converting.convert_batch import BatchConverter
from curriculum.converting.convert_line import LineConverter
from curriculum.converting.convert_own import OwnConverter
from curriculum.converting.rename_fields import renaming_of
from curriculum.dumps.formats import OWN, Format, Holds, Steps
from curriculum.dumps.json_values import from_json, raw_fields
from curriculum.dumps.values import top, within
from curriculum.errors import InternalError
from curriculum.grouping.groups import DumpNotes
from curriculum.reading.blocks import Block, read_blocks
from curriculum.reading.input_files import Shard
from curriculum.reading.ledger import BLANK, MALFORMED, SKIPPED, TAKEN, LineRecorder, ShardLines
from curriculum.reading.lines import TOO_DEEP, Line, Malformed, Reason, is_blank
from curriculum.reading.rollouts import ReadScores, ScoreReader
from curriculum.scanner.renamed_lines import RenamedLines, rename_lines
from curriculum.storage.paths import AnyPath


class ConvertTask(Struct, frozen=True):
    """A shard, the format of its lines, the steps wanted, and the file to write the rollouts to.
    The reasons for malformed lines go to `reasons` (None: nowhere)."""

    shard: Shard
    form: Format
    steps: Steps
    output: AnyPath
    reasons: AnyPath | None = None


class ConvertedShard(Struct, frozen=True):
    """The lines of a shard, and the rollouts that they became.

    `rollouts` is how many each line became that was taken. Of the rollouts there are the total of
    their `bytes`, the `lengths` without the newline, and `scores`, what a scan of them would find.
    `notes` counts what was found in them.
    """

    lines: ShardLines
    rollouts: IntArray
    bytes: int
    lengths: LengthArray
    scores: ReadScores
    notes: DumpNotes


def convert_shard(task: ConvertTask) -> ConvertedShard:
    """Write the rollouts of a shard's lines, in order, one per line."""
    with task.output.open("wb") as output:
        shard = _Converter(task, output)
        try:
            for block in read_blocks(task.shard):
                shard.add_block(block)
            return shard.result()
        finally:
            shard.close()


def _reason(error: ValueError | RecursionError) -> Reason:
    """What is wrong with a line. Python's json refuses integers of thousands of digits."""
    if isinstance(error, Malformed):
        return error.reason
    wrong = TOO_DEEP if isinstance(error, RecursionError) else "not valid JSON"
    return Malformed(wrong, "" if wrong == TOO_DEEP else str(error)).reason


def _converter_of(form: Format) -> LineConverter | OwnConverter | BatchConverter:
    if form.holds is Holds.BATCH:
        return BatchConverter(form)
    return OwnConverter(form) if form.name == OWN else LineConverter(form)


class _Converter:
    """Converts block by block and collects what is known of the rollouts."""

    def __init__(self, task: ConvertTask, output: BinaryIO) -> None:
        self._task, self._output = task, output
        self._line = _converter_of(task.form)
        self._renaming = renaming_of(task.form)
        self._recorder = LineRecorder(task.reasons)
        self._reader = ScoreReader(task.form.reward_field)
        self._bytes = 0
        self._rollouts = [np.zeros(0, np.int64)]
        self._lengths: list[LengthArray] = []
        self._scores: list[ReadScores] = []

    def add_block(self, block: Block) -> None:
        """Write the rollouts of a block's lines."""
        renamed = self._rename(block)
        count = len(block.ends)
        sizes = renamed.sizes if renamed else np.zeros(count, np.int64)
        text = renamed.text if renamed else bytearray()
        kinds, rollouts = np.full(count, TAKEN, np.uint8), np.ones(count, np.int64)
        reasons: dict[int, Reason] = {}
        written, start, ends = bytearray(), 0, np.cumsum(sizes).tolist()
        for position in np.flatnonzero(sizes == 0).tolist():
            written += text[start : ends[position]]
            start = ends[position]
            try:
                kind, rollout, rollouts[position] = self._convert(block.line(position))
            except (ValueError, RecursionError) as error:
                kind, rollout, reasons[position] = MALFORMED, b"", _reason(error)
            kinds[position] = kind
            written += rollout
        written += text[start:]
        self._rollouts.append(rollouts[kinds == TAKEN])
        self._recorder.add(block, kinds, reasons)
        self._add_rollouts(written)

    def _convert(self, line: Line) -> tuple[int, bytes, int]:
        """The kind of a line, and the rollouts that it becomes, with their number. Raises
        Malformed."""
        if is_blank(line):
            return BLANK, b"", 0
        if not self._is_wanted(line):
            return SKIPPED, b"", 0
        return TAKEN, *self._line(line)

    def _rename(self, block: Block) -> RenamedLines | None:
        """The usual lines of a block, if other names are all that they need."""
        if self._renaming is None or not self._task.steps.all:
            return None
        renamed = rename_lines(block.buffer, block.size, self._renaming)
        if renamed:
            block.found_ends = renamed.ends
        return renamed

    def _is_wanted(self, line: Line) -> bool:
        """Whether a line is of the steps asked for."""
        steps, place = self._task.steps, self._task.form.step
        if steps.all or place is None:
            return True
        raw = raw_fields(line).get(top(place))
        step = None if raw is None else within(from_json(raw), place)
        given = step if isinstance(step, list) else [step]  # a batch is of one step
        return bool(given) and steps.wanted(given[0])

    def _add_rollouts(self, rollouts: bytearray) -> None:
        if not rollouts:
            return
        block = Block(rollouts, len(rollouts))
        scores = self._reader.read_block(block)
        if scores.refused:
            raise InternalError("a rollout that was made of another line is malformed")
        self._scores.append(scores)
        self._lengths.append(compact_lengths(block.lengths))
        self._bytes += self._output.write(rollouts)

    def result(self) -> ConvertedShard:
        return ConvertedShard(
            self._recorder.result(),
            np.concatenate(self._rollouts),
            self._bytes,
            join_lengths(self._lengths),
            ReadScores.join(self._scores),
            self._line.notes,
        )

    def close(self) -> None:
        self._recorder.close()
