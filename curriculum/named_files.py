"""Files that a flag names, such as a picture: written beside their place, and put there together
when the run is done. Only those that this toolkit wrote are replaced."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from curriculum.errors import InputError
from curriculum.manifests import REJECTED
from curriculum.outputs import check_writable
from curriculum.stores import AnyPath, move
from curriculum.version import NAME

HIDDEN = ".curriculum"
_LOOKED_AT = 1 << 16  # bytes at either end, where our name is
_STARTS = {".parquet": b"PAR1", ".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


def check_named(flag: str, path: AnyPath, output: AnyPath) -> None:
    """Raise InputError unless the file can be written, and replaces none of somebody else nor one
    of those that a run writes to `output`."""
    check_writable(path.parent)
    if path.is_dir():
        found = "this is a directory"
    elif path.name.startswith(HIDDEN) or path.parent.resolve() == (output / REJECTED).resolve():
        found = "the toolkit has files of its own there"
    elif path.exists() and not (path.is_file() and _is_ours(path)):
        found = "this file is there already, and no such flag wrote it"
    else:
        return
    raise InputError(
        found,
        where=str(path),
        expected=f"a new file for {flag}, or one that this flag wrote",
        fix="move it away, or name another; nothing was written",
    )


def _is_ours(path: AnyPath) -> bool:
    """Whether it is of the form that its name says, with our name in it."""
    with path.open("rb") as file:
        head = file.read(_LOOKED_AT)
        file.seek(max(path.stat().st_size - _LOOKED_AT, 0))
        named = NAME.encode() in head + file.read(_LOOKED_AT)
    return named and head.startswith(_STARTS[path.suffix])


class NamedFiles:
    """A context manager: what was staged and not put in place is removed at the end."""

    def __init__(self) -> None:
        self._staged: dict[AnyPath, AnyPath] = {}
        self._made: list[Path] = []

    def __enter__(self) -> NamedFiles:
        return self

    def __exit__(self, *error: object) -> None:
        for staged in self._staged:
            with suppress(OSError):
                staged.unlink(missing_ok=True)
        for directory in self._made:
            with suppress(OSError):  # it is not empty
                directory.rmdir()

    def stage(self, path: AnyPath) -> AnyPath:
        """Where to write a file until all are put in place; a killed run's is written over."""
        target = path.resolve()  # of a link, the file that it leads to
        if isinstance(target, Path):
            self._made += [parent for parent in target.parents if not parent.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = target.parent / f"{HIDDEN}-{path.name}"
        self._staged[staged] = target
        return staged

    def put_in_place(self, written: str) -> None:
        """Make the staged files those that were named; `written` says what is in place already.
        Raises InputError where the disk refuses."""
        for staged, path in self._staged.items():
            _put(staged, path, written)


def _put(staged: AnyPath, path: AnyPath, written: str) -> None:
    try:
        move(staged, path)
    except OSError as error:
        raise InputError(
            f"this file could not be put in place ({error.strerror or error})",
            where=str(path),
            expected="a directory with room",
            fix=f"mend the cause and run again; {written}",
        ) from error
