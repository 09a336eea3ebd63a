"""A JSON file that begins with an object → the rollouts in it: this object and those after it, or
the items of one list inside it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from curriculum.containers.container import Container, broken
from curriculum.containers.file_kinds import HEAD_BYTES, JSON_ARRAY, JSON_OBJECT
from curriculum.containers.json_items import Broken, Inner, Outline, outline
from curriculum.dumps.table import fitting
from curriculum.dumps.values import top
from curriculum.errors import InputError
from curriculum.options import BucketOptions
from curriculum.reading.expand_paths import JSON_SUFFIXES, LINE_SUFFIXES
from curriculum.reading.input_files import InputFile, open_file, unreadable
from curriculum.storage.paths import any_in_store
from curriculum.storage.requests import each

FILES_LOOKED_AT = 256
# Lists of objects that a rollout has itself, such as its messages.
_PARTS = frozenset({
    *("prompt", "messages", "conversations", "input", "completion", "turns", "tools", "tool_calls"),
    *("choices", "reward", "rewards", "scores"),
})  # fmt: skip
# inspect_ai's log has its samples beside other lists: EvalLog in src/inspect_ai/log/_log.py there.
_KNOWN_LISTS = {"samples": {"eval", "samples"}}


_NO_ROLLOUTS = _PARTS | {"reductions"}  # of such a log, whose samples may have been left out


class Opened(Struct, frozen=True):
    """A file as it is to be read. `holds_none` says that it is one object that is no rollout and
    has no list of any."""

    file: InputFile
    holds_none: bool = False


def open_lists(options: BucketOptions, files: Sequence[InputFile]) -> list[Opened]:
    """Find the list of rollouts in each file that is one JSON object. Raises InputError if it has
    several such lists, or is not closed."""
    looked = list(enumerate(files))

    def look(numbered: tuple[int, InputFile]) -> Opened:
        number, file = numbered
        try:
            wanted = _may_be_one_object(file, number < FILES_LOOKED_AT)
            return _open(options, file) if wanted else Opened(file)
        except OSError as error:
            raise unreadable(file.path, error) from error

    return list(each(look, looked, any_in_store(file.path for file in files)))


def _may_be_one_object(file: InputFile, look: bool) -> bool:
    """Whether a file may be one object. JSON lines of which the first ends soon are not looked at
    any further."""
    if file.container is not None:
        return file.container.kind == JSON_OBJECT
    if not look or not file.size:
        return False
    if file.path.name.endswith(JSON_SUFFIXES) or file.given:
        return True
    if file.path.name.endswith(LINE_SUFFIXES):
        return False  # its only line is a record
    with open_file(file, step=HEAD_BYTES) as stream:
        return b"\n" not in stream.read(HEAD_BYTES).rstrip()


def _open(options: BucketOptions, file: InputFile) -> Opened:
    plain = replace(file, container=None)
    try:
        with open_file(plain) as stream:
            stream.read(file.bom_bytes)
            found = outline(stream)
    except Broken as error:
        if file.container is None:  # the line is malformed, which its reader says
            return Opened(file)
        raise broken(file.path, file.container, error) from error
    if found is None or not found.alone or _is_record(options, found):
        return Opened(file)
    name = _choose(file, found)
    if name is None:
        return Opened(file, holds_none=True)
    start = file.bom_bytes + found.lists[name].start
    return Opened(replace(file, container=Container(JSON_ARRAY, start, name)))


def _is_record(options: BucketOptions, found: Outline) -> bool:
    """Whether an object is a rollout, or a response of a dump, judging by its fields."""
    line: dict[str, Any] = {
        name: ([] if value.is_list else {}) if isinstance(value, Inner) else value
        for name, value in found.fields.items()
    }
    places = options.dump_flags.places
    tops = {top(place) for place in (places.get("score"), places.get("response")) if place}
    with suppress(TypeError):
        if fitting(line):
            return True
    return bool(tops) and tops <= line.keys()


def _choose(file: InputFile, found: Outline) -> str | None:
    """The field that has the rollouts; None if none may."""
    for name, marks in _KNOWN_LISTS.items():
        if marks <= found.fields.keys() and name in found.lists:
            return name
    known = _NO_ROLLOUTS if "eval" in found.fields else _PARTS
    names = [name for name in found.lists if name not in known]
    if len(names) < 2:
        return names[0] if names else None
    raise InputError(
        f"several of its fields are lists of objects: {', '.join(names)}",
        where=file.name,
        expected="one list of rollouts",
        fix=f"write the one that has the rollouts to a file of its own, such as with "
        f"jq -c '.{names[0]}[]' {file.name} > rollouts.jsonl",
    )
