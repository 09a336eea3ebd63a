"""The first lines of the input → its format, or None if the lines are rollouts already.

Nothing is guessed: where lines fit two formats, the error names the flag that decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import msgspec

from curriculum.dumps.formats import FORMATS, OWN, Format, Steps, adapt, fitting, own_form
from curriculum.dumps.values import Fields
from curriculum.errors import InputError
from curriculum.reading.blocks import read_blocks
from curriculum.reading.input_files import InputFile, Shard
from curriculum.reading.lines import REFUSALS, Line, Malformed, load_object
from curriculum.storage.paths import AnyPath

AUTO = "auto"
LINES_LOOKED_AT = 8  # that fit a format, in the first file; one in each other file
FILES_LOOKED_AT = 256
BYTES_LOOKED_AT = 1 << 16  # of each file, or one line if that is longer


@dataclass(frozen=True)
class DumpFlags:
    """What the flags say about the input.

    `format` is the name of a format or AUTO, `places` overrides fields of Format by name, and
    `steps` are the steps wanted. With `by_prompt`, the prompt alone identifies a group.
    """

    format: str = AUTO
    places: dict[str, Any] = field(default_factory=dict)
    steps: Steps = field(default_factory=Steps)
    by_prompt: bool = False


@dataclass(frozen=True)
class Dump:
    """Input whose lines must be grouped: its format, the steps wanted, and whether the prompt
    alone identifies a group."""

    form: Format
    steps: Steps
    by_prompt: bool


def find_dump(files: Sequence[InputFile], flags: DumpFlags, score_field: str) -> Dump | None:
    """The dump in these files; None for rollouts of our own form that need no grouping.

    Raises InputError if the lines fit two formats, or if a flag asks for what the format lacks.
    """
    name = _choose(list(_first_lines(files))) if flags.format == AUTO else flags.format
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
    return Dump(form, flags.steps, flags.by_prompt)


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
            fix="bucket them apart, or say which with --format",
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
    if given:
        raise InputError(
            "these are rollouts, each with all its responses",
            where=", ".join(given),
            expected="a dump with one response a line",
            fix="leave the flag out, or name the format with --format",
        )


_FLAGS = {
    "prompt": "--prompt-field",
    "response": "--response-field",
    "ground_truth": "--ground-truth-field",
    "groups": "--group-field",
}


def _first_lines(files: Sequence[InputFile]) -> Iterator[tuple[InputFile, Fields]]:
    """The first lines that fit a format, from the first files."""
    for number, file in enumerate(files[:FILES_LOOKED_AT]):
        if not file.size:
            continue
        whole = Shard(file, file.bom_bytes, file.size)
        block = next(read_blocks(whole, BYTES_LOOKED_AT), None)
        known = filter(fitting, map(_fields, block.lines() if block else ()))
        for line in islice(known, 1 if number else LINES_LOOKED_AT):
            yield file, line


def _fields(line: Line) -> Fields:
    """All fields of a line; none if it is malformed, which is reported when all lines are read."""
    try:
        return _decode(line)
    except REFUSALS:
        with suppress(Malformed):
            return load_object(line)
    return {}


_decode = msgspec.json.Decoder(dict[str, Any]).decode
