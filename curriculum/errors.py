"""Exceptions whose text is written for the person at the terminal.

Every message has four parts: where it went wrong, what was found, what was expected and what
to do about it. Only the scripts' `main` catches them and turns them into exit codes.
"""

from __future__ import annotations

from typing import Any


class CurriculumError(Exception):
    """Anything the user can act on; the text is complete and needs no traceback.

    `found` says what is wrong, `fix` what to do next; `where` (a path, `file:line` or flag) and
    `expected` are left out where the text says them already.
    """

    exit_code = 1

    def __init__(
        self, found: str, *, fix: str, where: object = None, expected: str | None = None
    ) -> None:
        text = f"{where}: {found}" if where else found
        if expected:
            text += f", expected {expected}"
        super().__init__(f"{text};\n{fix}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors come back from worker processes: rebuilt from their text alone."""
        return _rebuild, (type(self), *self.args)


def _rebuild(kind: type[CurriculumError], text: str) -> CurriculumError:
    error = kind.__new__(kind)
    error.args = (text,)
    return error


class InputError(CurriculumError):
    """The data or the disk said no: exit code 1."""


class UsageError(CurriculumError):
    """The flags are wrong by themselves, whatever the data: exit code 2."""

    exit_code = 2


class InternalError(CurriculumError):
    """A promise of the toolkit does not hold: a defect in it, never in the data."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"internal error: {found}",
            fix="nothing was written; please report this with the output of a run with --debug",
        )


class FinishedInterrupt(KeyboardInterrupt):
    """The run was interrupted when its outputs were in place already."""


def plural(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
