"""Files that a flag names, such as a picture: written beside their place, and put there together
when the run is done. Only those that this toolkit wrote are replaced."""

from __future__ import annotations

import os
from contextlib import suppress

from curriculum.errors import InputError
from curriculum.outputs import check_writable
from curriculum.stores import AnyPath, move
from curriculum.version import NAME

_LOOKED_AT = 1 << 16  # bytes at either end, where our name is


def check_named(flag: str, path: AnyPath) -> None:
    """Raise InputError unless the file can be written, and replaces none of somebody else."""
    check_writable(path.parent)
    if path.is_dir():
        found = "this is a directory"
    elif path.exists() and not _is_ours(path):
        found = "this file is there already, and the toolkit did not write it"
    else:
        return
    raise InputError(
        found,
        where=str(path),
        expected=f"a new file for {flag}, or one that this flag wrote",
        fix="move it away, or name another; nothing was written",
    )


def _is_ours(path: AnyPath) -> bool:
    with path.open("rb") as file:
        head = file.read(_LOOKED_AT)
        file.seek(max(path.stat().st_size - _LOOKED_AT, 0))
        return NAME.encode() in head + file.read(_LOOKED_AT)


class NamedFiles:
    """A context manager: what was staged and not put in place is removed at the end."""

    def __init__(self) -> None:
        self._staged: dict[AnyPath, AnyPath] = {}

    def __enter__(self) -> NamedFiles:
        return self

    def __exit__(self, *error: object) -> None:
        for staged in self._staged:
            with suppress(OSError):
                staged.unlink(missing_ok=True)

    def stage(self, path: AnyPath) -> AnyPath:
        """Where to write a file until all are put in place."""
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.parent / f".curriculum-{os.urandom(4).hex()}{path.suffix}"
        self._staged[staged] = path
        return staged

    def put_in_place(self) -> None:
        """Make the staged files those that were named."""
        for staged, path in self._staged.items():
            move(staged, path)
