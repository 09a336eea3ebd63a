"""The lines of a block → the values of their rows, checked.

Usual lines are scanned; a line that the scanner declines is read by itself. Either way a line
becomes the same row, whatever lines stand around it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from curriculum.arrays import IntArray
from curriculum.messages.chat_templates import MARKS
from curriculum.reading.blocks import Block, is_utf8
from curriculum.reading.lines import Malformed, Reason, find, load_object
from curriculum.reading.prompts import PromptNote
from curriculum.scanner.columns import Kind
from curriculum.scanner.row_lines import RowFields, RowLines, read_rows
from curriculum.storage.arrow_arrays import repeated, texts, validity
from curriculum.verl.ground_truth import read_ground_truths
from curriculum.verl.read_line import (
    LIKELY_TRUTHS,
    ReadOptions,
    keep_sources,
    likely_places,
    read_line,
)
from curriculum.verl.row_batch import Notes, OwnColumn, Row, RowBatch, Topic, prompt_lists
from curriculum.verl.values import Values, as_list, texts_of, values_of

Refused: TypeAlias = list[tuple[int, Reason]]  # the position of each line, and why

LOOKED_AT = 20  # rows without a ground truth, per shard; and its first lines
# The fields that the scanner reads by these names.
_KNOWN = ("reward", "prompt", "messages", "ground_truth", "reward_model", "key", "ability",
          "data_source", "extra_info", "response", "responses")  # fmt: skip
_OWN = "extra_info."


class RowReader:
    """Reads rows; `notes` counts by topic what was left out or replaced."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._fields = scanned_fields(options)
        self._looked_at = 0
        self._at_start = True
        self.notes: Notes = Counter()

    def read_block(self, block: Block) -> tuple[RowBatch, Refused]:
        """The rows of a block, and the position and reason of each line that is refused."""
        if not is_utf8(block):  # perhaps only in a field that no row takes
            return self._read_apart(block)
        scanned = read_rows(block.buffer, block.size, self._fields) if self._fields else None
        if scanned is None or self._has_odd_source(scanned):
            batch, refused = self._read_lines(block, range(len(block.ends)))
        else:
            block.found_ends = scanned.ends
            batch, refused = self._of_scanned(scanned), []
            if len(scanned.declined):
                others, refused = self._read_lines(block, scanned.declined.tolist())
                batch = RowBatch.concatenate([batch, others])
                batch = batch.take(np.argsort(batch.positions))
        batch.ground_truths = self._read_truths(block, batch)
        if self._at_start:
            self._note_tools(block, batch)
        return batch, refused

    def _note_tools(self, block: Block, batch: RowBatch) -> None:
        """Count the first rows whose line has tools at the top."""
        self._at_start = False
        for position in batch.positions[:LOOKED_AT].tolist():
            line = bytes(block.line(position))
            if b'"tools"' not in line:  # nearly always
                continue
            with suppress(Malformed):  # in a field that no row takes
                fields = load_object(line)
                if fields.get("tools") and find(fields, "extra_info.tools") is None:
                    self.notes[Topic.TOOLS, ""] += 1

    def _read_apart(self, block: Block) -> tuple[RowBatch, Refused]:
        """The same where some lines are not UTF-8, which makes them malformed."""
        lines = block.lines()
        invalid = [position for position, line in enumerate(lines) if not _is_utf8(line)]
        valid = np.setdiff1d(np.arange(len(lines)), invalid)
        text = b"".join(bytes(lines[position]) + b"\n" for position in valid.tolist())
        batch, refused = self.read_block(Block(bytearray(text), len(text)))
        batch.positions = valid[batch.positions]
        _, others = self._read_lines(block, invalid)
        refused = [(int(valid[position]), reason) for position, reason in refused]
        return batch, sorted(refused + others, key=lambda pair: pair[0])

    def _read_lines(self, block: Block, positions: Iterable[int]) -> tuple[RowBatch, Refused]:
        """The rows of the lines at these positions, and those of them that are refused."""
        rows: list[Row] = []
        refused: Refused = []
        for position in positions:
            try:
                rows.append(read_line(block.line(position), position, self._options, self.notes))
            except Malformed as error:  # noqa: PERF203, one bad line must not end the others
                refused.append((position, error.reason))
        return RowBatch.of(rows, self._options.seed), refused

    def _has_odd_source(self, scanned: RowLines) -> bool:
        """Whether a data_source in extra_info, which is to be kept, may be no string."""
        inner = scanned.own.get("data_source")
        if inner is None or not self._options.keep_data_source:
            return False
        found = values_of(inner)
        return isinstance(found, list) or str(found.type) not in ("string", "null")

    def _of_scanned(self, scanned: RowLines) -> RowBatch:
        """The rows of the lines that were scanned; what was left out of them is counted."""
        positions = np.delete(np.arange(len(scanned.ends)), scanned.declined)
        own = {
            name: OwnColumn(values_of(column), column.kinds != Kind.ABSENT)
            for name, column in scanned.own.items()
            if column.kinds.any()
        }
        answers = int(np.count_nonzero(scanned.answers))
        if answers:
            self.notes[PromptNote.ANSWER, ""] += answers
        best, best_contents = scanned.best_indexes, pa.nulls(len(positions), pa.string())
        best_rewards = best_contents
        if self._options.best_response:
            best_contents, best_rewards = map(texts_of, (scanned.best_text, scanned.best_reward))
            silent = best_contents.null_count - int((best < 0).sum())
            if silent:
                self.notes[Topic.NO_TEXT, ""] += silent
        else:
            best = np.full(len(positions), -1)
        return RowBatch(
            positions=positions,
            scores=scanned.scores,
            counts=scanned.counts,
            prompts=prompt_lists(
                texts_of(scanned.roles), texts_of(scanned.contents), scanned.turns
            ),
            kept=pa.nulls(len(positions)),  # a message with any more is declined
            hashes=scanned.hashes,
            characters=scanned.characters,
            ground_truths=self._scanned_truths(scanned, own),
            keys=texts_of(scanned.key),
            abilities=_or_default(texts_of(scanned.ability), self._options.ability),
            data_sources=self._data_sources(texts_of(scanned.source), own.get("data_source")),
            own=own,
            best_indexes=best,
            best_contents=best_contents,
            best_rewards=best_rewards,
        )

    def _scanned_truths(self, scanned: RowLines, own: dict[str, OwnColumn]) -> Values:
        place = self._options.places.ground_truth or ""
        if place.startswith(_OWN):
            found = own.get(place.removeprefix(_OWN))
            return pa.nulls(len(scanned.counts)) if found is None else found.values
        return values_of(scanned.truth)

    def _data_sources(self, top: pa.Array, inner: OwnColumn | None) -> pa.Array:
        """The data_source of each row, which is at the top of its line or in extra_info."""
        options = self._options
        if top.null_count == len(top) and inner is None and not options.keep_data_source:
            return repeated(options.data_source, len(top))  # nearly always
        inside = [None] * len(top) if inner is None else as_list(inner.values)
        own = [one or other for one, other in zip(top.to_pylist(), inside, strict=True)]
        return texts(keep_sources(own, options, self.notes))

    def _read_truths(self, block: Block, batch: RowBatch) -> Values:
        """The ground truths of a batch as the options ask for them. In the first rows without one,
        the fields that may well hold it are counted."""
        truths = batch.ground_truths
        without = [] if self._looked_at >= LOOKED_AT else _absent(truths).tolist()
        for row in without[: LOOKED_AT - self._looked_at]:
            self._looked_at += 1
            try:
                line = load_object(block.line(int(batch.positions[row])))
            except Malformed:  # in a field that no row takes
                continue
            for place in likely_places(LIKELY_TRUTHS, line):
                self.notes[Topic.LIKELY_TRUTH, place] += 1
        return read_ground_truths(truths, self._options.ground_truth_format, self.notes)


def scanned_fields(options: ReadOptions) -> RowFields | None:
    """What the scanner is to read; None if a field has a place where it does not look."""
    places = options.places
    prompt, messages = "prompt", "messages"
    if places.prompt == "messages":
        prompt = ""
    elif places.prompt is not None:
        prompt, messages = places.prompt, ""
    truth, reward_model = "ground_truth", "reward_model"
    if places.ground_truth is not None:
        truth, reward_model = places.ground_truth, ""
    own = truth.removeprefix(_OWN)
    if own != truth and "." not in own:  # it is among the fields of extra_info
        truth = ""
    asked = [name for name in (places.prompt, truth) if name not in (None, "", "messages")]
    custom = [name for name in asked if name != "ground_truth" or places.ground_truth]
    if any("." in str(name) or name in _KNOWN for name in custom) or len(set(asked)) < len(asked):
        return None
    seed = str(options.seed).encode()
    best = options.best_response
    return RowFields(options.score_field, prompt, messages, truth, reward_model, best, seed, MARKS)


def _is_utf8(line: memoryview) -> bool:
    try:
        str(line, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _or_default(given: pa.Array, default: str) -> pa.Array:
    """The texts that are given, with the default where one is absent or empty."""
    if given.null_count == len(given):  # nearly always
        return repeated(default, len(given))
    return texts([text or default for text in given.to_pylist()])


def _absent(values: Values) -> IntArray:
    """The rows without a value."""
    if isinstance(values, list):
        return np.array([row for row, value in enumerate(values) if value is None], np.int64)
    return np.flatnonzero(~validity(values))
