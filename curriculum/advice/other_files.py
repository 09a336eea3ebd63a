"""Paths of the input → rollout files, or the command that makes rollout files of what is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from msgspec import Struct

from curriculum.advice.commands import (
    beside_others,
    command,
    converting,
    new_name,
    renaming,
    unpacking,
    with_inputs,
)
from curriculum.advice.field_names import PROMPTS, RESPONSES, SCORES, Advice, advise
from curriculum.advice.inner_lists import open_lists
from curriculum.advice.rows import rows_of
from curriculum.advice.text import COPY_FIRST, Advised, fields_of
from curriculum.containers.file_kinds import TORCH
from curriculum.containers.pipes import spool
from curriculum.dumps.table import CUSTOM, fitting
from curriculum.dumps.values import top
from curriculum.errors import InputError
from curriculum.options import BucketOptions
from curriculum.reading.expand_paths import EXPECTED, is_piped
from curriculum.reading.find_files import OtherInput, find_inputs, find_paths, find_piped
from curriculum.reading.input_files import InputFile
from curriculum.storage.paths import AnyPath, any_in_store

# Columns of parquet without which there is no rollout, or another one.
ASKED = (*SCORES, *PROMPTS, *RESPONSES, "choices", "ground_truth", "key")
# What slime saves (save_debug_rollout_data in slime/ray/rollout.py): samples, each of a group.
_SLIME = Advice(
    "If you trust who wrote it, convert it where PyTorch is installed, then bucket:",
    flags={
        "format": CUSTOM,
        "score_field": "reward",
        "prompt_field": "prompt",
        "response_field": "response",
        "ground_truth_field": "label",
        "group_field": ["rollout_id", "group_index"],
    },
)


class Input(Struct, frozen=True):
    """The rollout files of the input, and what to tell about them."""

    files: Sequence[InputFile]
    warnings: Sequence[str] = ()


def has_pipes(options: BucketOptions) -> bool:
    """Whether any input is standard input, or another pipe."""
    return any(is_piped(given, path) for given, path in options.input_paths.items())


def find_rollouts(options: BucketOptions, scratch: Callable[[], AnyPath] | None = None) -> Input:
    """The rollout files of the input. What comes through a pipe is written to the directory that
    `scratch` gives. Raises InputError, or Advised if it is known what the input is instead."""
    try:
        found = find_paths(options.input_paths, options.recursive)
        files = find_inputs(list(found.paths.values()))
        for number, (given, path) in enumerate(found.pipes.items()):
            files.append(_keep(path, given, number, scratch))
    except OtherInput as other:
        raise _other_input(options, other) from other
    opened, notes = open_lists(options, files), list(found.notes)
    kept = [one.file for one in opened if not one.holds_none or one.file.name not in found.chosen]
    others = [one.file.name for one in opened if one.file not in kept and one.holds_none]
    if others and not kept:
        raise InputError(
            "it holds one JSON object, which is no rollout and has no list of any",
            where=others[0],
            expected=EXPECTED,
            fix="check the path; if it is one, name it itself with -i",
        )
    if others:
        notes.append(
            f"{others[0]}{' and others' if len(others) > 1 else ''}: one JSON object that is no "
            "rollout and has no list of any was left alone."
        )
    return Input(kept, [*notes, *_about_columns(options, kept)])


def _keep(path: Path, given: str, number: int, scratch: Callable[[], AnyPath] | None) -> InputFile:
    """Write what comes through a pipe to a file, because input is read more than once."""
    if scratch is None:
        raise InputError(
            "this is a pipe, and it has to be read twice here",
            where=given,
            expected="files",
            fix="write it to a file first",
        )
    return find_piped(spool(path, given, scratch() / f"piped-{number}"), given)


def _about_columns(options: BucketOptions, files: Sequence[InputFile]) -> list[str]:
    """Warnings about columns of parquet whose values JSON cannot hold, or holds as text. Raises
    InputError if such a column is one that is asked for."""
    places = options.dump_flags.places
    asked = {*ASKED, *(top(place) for place in places.values() if isinstance(place, str))}
    left_out, times = dict[tuple[str, str], str](), []
    for file in files:
        for name, why in file.container.left_out if file.container else ():
            if name in asked:
                raise InputError(
                    f"its column {name} has {why}",
                    where=file.name,
                    expected="what JSON can hold: text, numbers, lists and objects of these",
                    fix="write the file again with text in this column; images are for --source of "
                    "preprocess_bucketed_rollouts.py, which keeps rows as they are",
                )
            left_out.setdefault((name, why), file.name)
        if file.container and file.container.times:
            times.append(file.name)
    warnings = [
        f"{file}: the column {name} is left out of the rollouts: it has {why}, which JSON cannot "
        "hold."
        for (name, why), file in left_out.items()
    ]
    if times:
        warnings.append(
            f"{times[0]}{' and others' if len(times) > 1 else ''}: dates and times became text, "
            "such as 2026-08-01T12:00:00."
        )
    return warnings


def _other_input(options: BucketOptions, other: OtherInput) -> Advised:
    """The error for input in another place, with other names, or of another kind."""
    says: Sequence[str] = [other.fix]
    commands: Sequence[str] = []
    if other.deeper:
        says, commands = ["take these, too:"], [command(replace(options, recursive=True))]
    elif other.instead:
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
    if other.kind == TORCH:
        advice = _SLIME
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
