"""The first lines of the input → its format, or None if the lines are rollouts already.

Nothing is guessed: where lines fit two formats, the error names the flag that decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from curriculum.dumps.formats import (
    FORMATS,
    OWN,
    End,
    Format,
    Steps,
    adapt,
    fitting,
    own_form,
)
from curriculum.dumps.values import Fields
from curriculum.errors import InputError
from curriculum.reading.blocks import read_blocks
from curriculum.reading.input_files import InputFile, Shard
from curriculum.reading.lines import REFUSALS, Line, Malformed, is_blank, load_object
from curriculum.storage.paths import AnyPath

AUTO = "auto"
LINES_LOOKED_AT = 8  # that fit a format, in the first file; one in each other file
FILES_LOOKED_AT = 256
BYTES_LOOKED_AT = 1 << 16  # of each file, or one line if that is longer


@dataclass(frozen=True)
class DumpFlags:
    """What the flags say about the input.

    `format` is the name of a format or AUTO, `places` overrides fields of Format by name, and
    `steps` are the steps wanted. With `by_prompt`, the prompt alone identifies a group. `truncated`
    says what becomes of responses that were cut off: "graded", "missing", or None for the default.
    """

    format: str = AUTO
    places: dict[str, Any] = field(default_factory=dict)
    steps: Steps = field(default_factory=Steps)
    by_prompt: bool = False
    truncated: str | None = None


@dataclass(frozen=True)
class Dump:
    """Input whose lines must be grouped: its format, the steps wanted, and whether the prompt
    alone identifies a group."""

    form: Format
    steps: Steps
    by_prompt: bool


@dataclass(frozen=True)
class FirstLines:
    """The first lines of a file that are objects, with their numbers (from 1), up to those that
    show its format.

    `others` is how many lines among them are no objects, and `other` the first of those. `is_whole`
    says that the file has no more lines.
    """

    file: InputFile
    lines: Sequence[tuple[int, Fields]]
    others: int = 0
    other: bytes = b""
    is_whole: bool = False

    @property
    def known(self) -> list[Fields]:
        """The lines that fit a format."""
        return [line for _, line in self.lines if fitting(line)]


def find_dump(seen: Sequence[FirstLines], flags: DumpFlags, score_field: str) -> Dump | None:
    """The dump whose files begin with these lines; None for rollouts of our own form that need no
    grouping.

    Raises InputError if the lines fit two formats, or if a flag asks for what the format lacks.
    """
    name = flags.format
    if name == AUTO:
        name = _choose([(first.file, line) for first in seen for line in first.known])
    if name == OWN:
        _refuse_flags_of_dumps(flags)
        return Dump(own_form(score_field), Steps(), True) if flags.by_prompt else None
    form = adapt(FORMATS[name], flags.places)
    if flags.by_prompt:
        form = replace(form, groups=())
    if not form.alternatives:
        raise InputError(
            f"{form.title} have no prompts",
            where="--group-by",
            expected="a format with them",
            fix="leave it out, or say where the prompt is with --prompt-field",
        )
    if form.step is None and not flags.steps.all:
        raise InputError(
            f"{form.title} have no steps",
            where="--steps",
            expected="a dump of a training run",
            fix="leave it out",
        )
    if flags.truncated == "missing":
        form = _leave_out_cut_off(form)
    return Dump(form, flags.steps, flags.by_prompt)


def _leave_out_cut_off(form: Format) -> Format:
    """The format without the scores of responses that were cut off. Raises InputError if it does
    not say which were."""
    if form.cut_off is None:
        raise InputError(
            f"{form.title}: nothing in it says which responses were cut off",
            where="--truncated",
            expected="a format that says it",
            fix="leave it out: the scores count as they were given",
        )
    return replace(form, unscored=form.unscored | {End.CUT_OFF})


def _choose(seen: Sequence[tuple[InputFile, Fields]]) -> str:
    """The name of the one format that all these lines fit; OWN if there are no lines."""
    first: dict[tuple[str, ...], AnyPath] = {}
    for file, line in seen:
        first.setdefault(fitting(line), file.path)
    if not first:
        return OWN
    if len(first) > 1:
        found = ", ".join(f"{' or '.join(fit)} in {path}" for fit, path in first.items())
        raise InputError(
            f"these files are of several formats ({found})",
            where=next(iter(first.values())),
            expected="lines of one format",
            fix="bucket them apart: give -i the files of one format. Of files that mix them, "
            "--format NAME --on-malformed set-aside takes one",
        )
    ((fit, path),) = first.items()
    if len(fit) > 1:
        raise InputError(
            f"these lines may be {' or '.join(fit)}",
            where=path,
            expected="lines of one format",
            fix="say which with --format",
        )
    return fit[0]


def _refuse_flags_of_dumps(flags: DumpFlags) -> None:
    given = [_FLAGS[name] for name in flags.places if name in _FLAGS]
    if not flags.steps.all:
        given.append("--steps")
    if flags.truncated == "missing":
        given.append("--truncated")
    if given:
        fix = "leave the flag out, or name the format with --format"
        if set(given) <= {_FLAGS["prompt"], _FLAGS["ground_truth"]}:
            fix = "leave it out here, and give it to preprocess_bucketed_rollouts.py"
        raise InputError(
            "these are rollouts, each with all its responses",
            where=", ".join(given),
            expected="a dump with one response a line",
            fix=fix,
        )


_FLAGS = {
    "prompt": "--prompt-field",
    "response": "--response-field",
    "ground_truth": "--ground-truth-field",
    "groups": "--group-field",
}


def first_lines(files: Sequence[InputFile]) -> list[FirstLines]:
    """The first lines of the first files."""
    looked = files[:FILES_LOOKED_AT]
    return [
        _look(file, LINES_LOOKED_AT if file is looked[0] else 1) for file in looked if file.size
    ]


def _look(file: InputFile, wanted: int) -> FirstLines:
    """The first lines of a file, up to the `wanted` number of lines that fit a format."""
    blocks = read_blocks(Shard(file, file.bom_bytes, file.size), BYTES_LOOKED_AT)
    block = next(blocks, None)
    lines = block.lines() if block else []
    found: list[tuple[int, Fields]] = []
    others = []
    for number, line in enumerate(lines, 1):
        fields = _fields(line)
        if fields is not None:
            found.append((number, fields))
            wanted -= bool(fitting(fields))
        elif not is_blank(line):
            others.append(number - 1)
        if not wanted:
            break
    other = bytes(lines[others[0]][:BYTES_LOOKED_AT]) if others else b""
    is_whole = block is not None and block.size == file.size
    return FirstLines(file, found, len(others), other, is_whole)


def _fields(line: Line) -> Fields | None:
    """All fields of a line; None if it is malformed, which is reported when all lines are read."""
    try:
        return _decode(line)
    except REFUSALS:
        with suppress(Malformed):
            return load_object(line)
    return None


_decode = msgspec.json.Decoder(dict[str, Any]).decode
