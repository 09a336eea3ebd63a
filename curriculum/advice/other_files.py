"""Paths of the input → rollout files, or the command that makes rollout files of what is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from curriculum.advice.commands import (
    beside_others,
    command,
    converting,
    new_name,
    renaming,
    unpacking,
    with_inputs,
)
from curriculum.advice.field_names import Advice, advise
from curriculum.advice.rows import rows_of
from curriculum.advice.text import COPY_FIRST, Advised, fields_of
from curriculum.dumps.formats import fitting
from curriculum.options import BucketOptions
from curriculum.reading.find_files import OtherInput, find_files
from curriculum.reading.input_files import InputFile
from curriculum.storage.paths import any_in_store


def find_rollouts(options: BucketOptions) -> list[InputFile]:
    """The rollout files of the input. Raises InputError, or Advised if it is known what the
    input is instead."""
    try:
        return find_files(options.input_paths)
    except OtherInput as other:
        raise _other_input(options, other) from other


def _other_input(options: BucketOptions, other: OtherInput) -> Advised:
    """The error for input in another place, with other names, or of another kind."""
    says: Sequence[str] = [other.fix]
    commands: Sequence[str] = []
    if other.instead:
        says = ["give these instead:"]
        commands = [command(with_inputs(options, {other.given: other.instead}))]
    elif other.names and not any_in_store(other.files):
        says = [f"rename {'it' if len(other.files) == 1 else 'them'}, then bucket:"]
        pairs = zip(other.files, other.names, strict=True)
        renamed = {str(path): [str(path.parent / name)] for path, name in pairs}
        commands = [renaming(other.files, other.names), command(with_inputs(options, renamed))]
    elif other.kind and not other.kind.fix:
        says, commands = _convert(options, other)
    return Advised(
        other.found, where=other.where, expected=other.expected, says=says, commands=commands
    )


def _convert(options: BucketOptions, other: OtherInput) -> tuple[Sequence[str], Sequence[str]]:
    """What to do with files of another kind, and the commands."""
    path = other.files[0]
    first = [COPY_FIRST] if any_in_store([path]) else []
    if archive := unpacking(path, other.kind):
        unpack, made = archive
        inputs, _ = _inputs(options, other, made)
        then = replace(options, inputs=inputs)
        return [*first, "unpack it, then bucket:"], [unpack, command(then)]
    rows = rows_of(path, other.kind)
    if rows is None:
        return [other.fix], []
    row = next((row for row in rows.first if isinstance(row, dict)), None)
    advice = None if row is None or fitting(row) else advise(row, options)
    says = [] if row is None else [f"it begins with {fields_of(row)}."]
    advice = advice or Advice("Convert it, then bucket:")
    target = new_name("converted", ".jsonl")
    inputs, move = _inputs(options, other, [target])
    then = replace(options, inputs=inputs, **advice.flags)
    convert = converting(rows, advice.changes, other.files, target)
    return [*says, *first, advice.to_do], [convert, *move, command(then)]


def _inputs(
    options: BucketOptions, other: OtherInput, made: Sequence[str]
) -> tuple[Sequence[str], Sequence[str]]:
    """The inputs with what was made of the files in their place, and the command for those that
    are in the way."""
    if other.given:
        return with_inputs(options, {other.given: made}).inputs, []
    return beside_others(options, other.files, made) if other.others else (made, [])
