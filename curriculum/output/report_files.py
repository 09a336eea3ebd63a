"""The score table, the picture, the page and other files beside the outputs: staged beside their
target, and moved there when the run is done.

Only files that this toolkit wrote are replaced.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from curriculum.errors import InputError
from curriculum.output.manifests import REJECTED
from curriculum.output.output_directory import check_writable
from curriculum.storage.paths import AnyPath, move
from curriculum.version import NAME

HIDDEN = ".curriculum"
ANNOTATED = f"{NAME} --annotate"  # in the files of that flag
_LOOKED_AT = 1 << 16  # bytes searched for our name, at either end of a file
_STARTS = {
    ".html": b"<!doctype html>",
    ".parquet": b"PAR1",
    ".png": b"\x89PNG",
    ".svg": b"<?xml",
    ".pdf": b"%PDF",
}
FURTHER = "more_responses"  # a field of every line that --more-responses writes


def check_report_file(flag: str, path: AnyPath, output: AnyPath | None) -> None:
    """Raise InputError unless the file can be written. It must not replace a file that the toolkit
    did not write, nor one that the run writes to `output`."""
    check_writable(path.parent, f"{flag} file")
    rejected = output and (output / REJECTED).resolve()
    if path.is_dir():
        found = "this is a directory"
    elif path.name.startswith(HIDDEN) or path.parent.resolve() == rejected:
        found = "the toolkit has files of its own there"
    elif path.exists() and not (path.is_file() and _is_ours(path, flag)):
        found = "this file is there already, and no such flag wrote it"
    else:
        return
    raise InputError(
        found,
        where=str(path),
        expected=f"a new file for {flag}, or one that this flag wrote",
        fix="move it away, or name another; nothing was written",
    )


def _is_ours(path: AnyPath, flag: str) -> bool:
    """Whether the file has the format of its suffix, and our name in it as this flag writes it."""
    with path.open("rb") as file:
        head = file.read(_LOOKED_AT)
        if flag == "--more-responses":
            return not head or (head.startswith(b"{") and f'"{FURTHER}"'.encode() in head)
        file.seek(max(path.stat().st_size - _LOOKED_AT, 0))
        text = head + file.read(_LOOKED_AT)
    fits = (ANNOTATED.encode() in text) == (flag == "--annotate")
    return fits and NAME.encode() in text and head.startswith(_STARTS[path.suffix])


class ReportFiles:
    """Stages report files. A context manager: files not put in place are removed at the end."""

    def __init__(self) -> None:
        self._staged: dict[AnyPath, AnyPath] = {}
        self._made: list[Path] = []

    def __enter__(self) -> ReportFiles:
        return self

    def __exit__(self, *error: object) -> None:
        for staged in self._staged:
            with suppress(OSError):
                staged.unlink(missing_ok=True)
        for directory in self._made:
            with suppress(OSError):  # it is not empty
                directory.rmdir()

    def stage(self, path: AnyPath) -> AnyPath:
        """Where to write a file until all are put in place; a killed run's file is overwritten."""
        target = path.resolve()  # a link is followed to its file
        if isinstance(target, Path):
            self._made += [parent for parent in target.parents if not parent.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = target.parent / f"{HIDDEN}-{path.name}"
        self._staged[staged] = target
        return staged

    def put_in_place(self, written: str) -> None:
        """Move the staged files into place. Raises InputError if the disk refuses; its text ends
        with `written`, which says what is in place already."""
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
            fix=f"fix the cause and run again; {written}",
        ) from error
