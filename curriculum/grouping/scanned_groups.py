"""The lines of groups → their rollouts, as far as the scanner puts them together."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from curriculum.arrays import FloatArray, HashArray, IntArray
from curriculum.dumps.formats import Format
from curriculum.dumps.json_values import as_json, from_json, raw_fields
from curriculum.dumps.plan import plan_of
from curriculum.grouping.groups import DumpNote, DumpNotes
from curriculum.messages.chat_templates import Shape, shape_of
from curriculum.reading.lines import REFUSALS
from curriculum.reading.prompts import PromptNote
from curriculum.scanner.dump_lines import TEXT_AS_IS, Assembled, assemble

PROMPTS_LOOKED_AT = 16  # for the shapes of a batch


class GroupLines(NamedTuple):
    """The lines of some groups, group by group: where each starts in `buffer`, and its length."""

    buffer: bytearray
    starts: IntArray
    lengths: IntArray

    def line(self, number: int) -> bytes:
        """One line."""
        start = int(self.starts[number])
        return bytes(memoryview(self.buffer)[start : start + int(self.lengths[number])])


class ScannedGroups(Struct, frozen=True):
    """The rollouts that the scanner put together, one after another, each with its newline.

    `sizes` is how many bytes each group has there, 0 for those that must be put together in Python.
    `scores` has one entry per response, NaN where missing, and `prompts` one hash per rollout.
    `notes` counts what was found in them.
    """

    text: bytearray
    sizes: IntArray
    scores: FloatArray
    prompts: HashArray
    notes: DumpNotes


class GroupScanner:
    """Puts groups together with the scanner. The shapes of prompts are found on the way: in the
    first groups, and in one of any later call."""

    def __init__(self, form: Format) -> None:
        self._form, self._plan = form, plan_of(form)
        self._shapes: dict[tuple[str, str], Shape] = {}
        self._left = PROMPTS_LOOKED_AT

    def scan(self, lines: GroupLines, counts: IntArray) -> ScannedGroups:
        """Put groups of so many lines each together."""
        found = None
        if self._plan is not None:
            self._find_shapes(lines, np.cumsum(counts) - counts)
            shapes = list(self._shapes.values())
            told = [part for shape in shapes for part in _as_bytes(shape)]
            places = (lines.starts, lines.lengths)
            found = assemble(lines.buffer, places, counts, self._plan, told)
        if found is None:
            sizes = np.zeros(len(counts), np.int64)
            return ScannedGroups(bytearray(), sizes, np.zeros(0), np.zeros(0, np.uint64), Counter())
        notes = _notes(self._form, found, shapes)
        return ScannedGroups(found.text, found.sizes, found.scores, found.prompts, notes)

    def _find_shapes(self, lines: GroupLines, firsts: IntArray) -> None:
        """Look at the prompts of some lines that are the first of their groups."""
        chosen = firsts[:: max(len(firsts) // self._left, 1)][: self._left]
        self._left = 1
        for number in chosen.tolist():
            try:
                raw = raw_fields(lines.line(number)).get(self._form.prompt or "")
                prompt = from_json(raw) if raw else None
                shape = shape_of(prompt) if isinstance(prompt, str) and prompt.encode() else None
            except (*REFUSALS, ValueError):  # lone surrogates, or a file that changed
                continue
            if shape and len(self._shapes) < PROMPTS_LOOKED_AT:
                self._shapes[shape.before, shape.after] = shape


def _as_bytes(shape: Shape) -> tuple[bytes, ...]:
    """What is around the words in the text, and in the JSON of the messages."""
    turns = [*shape.turns, ("user", "")]
    messages = bytes(as_json([{"role": role, "content": said} for role, said in turns]))
    end = b'"}]'
    return shape.before.encode(), shape.after.encode(), messages.removesuffix(end), end


def _notes(form: Format, found: Assembled, shapes: list[Shape]) -> DumpNotes:
    counts = np.bincount(found.shapes[found.shapes >= 0], minlength=len(shapes)).tolist()
    notes: DumpNotes = Counter({
        (PromptNote.TEMPLATE, ""): sum(counts),
        (PromptNote.OPENED, ""): sum(
            count for count, shape in zip(counts, shapes, strict=True) if shape.opened
        ),
        (PromptNote.UNREAD, ""): int((found.shapes == TEXT_AS_IS).sum()) * form.templates,
        (DumpNote.FAILED, ""): found.failed,
        (DumpNote.CUT_OFF, ""): found.cut_off,
    })  # fmt: skip
    return +notes  # without what was not found
