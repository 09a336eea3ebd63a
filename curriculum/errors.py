"""Exceptions whose text is written for the person at the terminal.

Every message has four parts: where it went wrong, what was found, what was expected and what
to do about it. Only the scripts' `main` catches them and turns them into exit codes.
"""

from __future__ import annotations

from collections.abc import Iterable
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
    """A problem with the data or the disk: exit code 1."""


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


def check_choice(flag: str, value: str, choices: Iterable[str]) -> None:
    """Raise UsageError, which names the likeliest choice, unless the value is one of `choices`."""
    names = list(choices)
    if value not in names:
        raise UsageError(
            f"there is no {value!r}",
            where=flag,
            expected="one of " + ", ".join(names) if len(names) > 1 else names[0],
            fix=did_you_mean(value, names) or "choose one of them",
        )


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`did you mean success_rate?`; nothing if no choice is like the word."""
    found = closest(word, choices)
    return f"did you mean {' or '.join(found)}?" if found else ""


def closest(word: str, choices: Iterable[str], enough: float = 0.6) -> list[str]:
    """The choices that `word` may have been meant to be, at most four: the one that is spelled
    most like it, if it is `enough`, and those that begin or end with it."""
    spelled = {_plain(choice): choice for choice in choices}
    asked = _plain(word)
    if asked in spelled:
        return [spelled[asked]]
    parts = [
        name
        for name in spelled
        if len(asked) > 1 and (name.startswith(asked) or name.endswith(f"-{asked}"))
    ]
    likeness = {name: _likeness(asked, name) for name in spelled}
    best = max(likeness, key=likeness.__getitem__, default="")
    enough = 0.85 if parts else enough
    found = [best, *parts] if likeness.get(best, 0) > enough else parts
    return [spelled[name] for name in dict.fromkeys(found)][:4]


def _likeness(word: str, name: str) -> float:
    """How alike two spellings are, up to 1. The name may go on after what the word is like."""
    from difflib import SequenceMatcher  # only mistakes need it

    whole = SequenceMatcher(None, word, name).ratio()
    start = SequenceMatcher(None, word, name[: len(word) + 1]).ratio()
    return max(whole, start if start > 0.8 and len(word) > 3 else 0)


def _plain(name: str) -> str:
    """A name as it is compared: case, leading dashes and what separates its parts do not count."""
    return name.casefold().lstrip("-").replace("@", "-at-").replace("_", "-")
