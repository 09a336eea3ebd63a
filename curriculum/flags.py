"""The command line of a script → its flags.

A command line that cannot be understood raises UsageError, which says what was probably meant.
"""

from __future__ import annotations

import argparse
import math
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from itertools import pairwise
from pathlib import PurePath
from typing import Any

from curriculum.errors import UsageError, closest

_PURPOSES = {"-i": "what to read", "-o": "where to write"}


class Parser(argparse.ArgumentParser):
    """Reads the flags of a script, the module `script`.

    `required` maps the names of values that must be given to how the usage shows their flag and
    to an example; with --dry-run the output directory may be left out. `other` is the module of
    the other script, whose flags a user may have meant.
    """

    def __init__(
        self,
        script: str,
        text: str | None,
        required: Mapping[str, tuple[str, str]],
        examples: Iterable[str],
        other: str,
    ) -> None:
        prog, self.command = how_it_was_started(script)
        super().__init__(
            prog=prog,
            usage=" ".join(["%(prog)s", *(shown for shown, _ in required.values()), "[options]"]),
            description=text,
            epilog="\n".join(["examples:", *(f"  {self.command} {line}" for line in examples)]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            exit_on_error=False,
        )
        self._other = other
        self._required = {
            name: f"{shown.split()[0]} {example}" for name, (shown, example) in required.items()
        }
        self._help = f"All flags: {self.command} --help"

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """The value of each flag; None for one that was not given. Raises UsageError."""
        words = sys.argv[1:] if args is None else list(args)
        self._check_dashes(words)
        try:
            flags, rest = self.parse_known_args(words, namespace)
        except argparse.ArgumentError as error:
            raise self._wrong_value(error, words) from error
        if rest:
            raise self._unknown_flags(rest) or self._stray_words(words, rest)
        self._check_required(flags, words)
        return flags

    def _check_dashes(self, words: Sequence[str]) -> None:
        """Refuse `-metric`, which argparse would take for `-m` with the value `etric`."""
        for word in words:
            name = word.partition("=")[0]
            if re.match("-[^-]", name) and f"-{name}" in self._option_string_actions:
                raise UsageError(
                    "there is no such flag",
                    where=name,
                    fix=f"did you mean -{name}, with two dashes? {self._help}",
                )

    def _wrong_value(self, error: argparse.ArgumentError, words: Sequence[str]) -> UsageError:
        """The error for a flag without its value, or with a value that it does not take."""
        names = error.argument_name or ""
        action = self._option_string_actions.get(names.split("/")[0])
        if action is None:
            return UsageError(str(error), fix=self._help)
        name = action.option_strings[-1]
        if action.nargs == 0:
            return UsageError(
                "this flag takes no value", where=names, fix=f"write {name} alone. {self._help}"
            )
        several = isinstance(action.nargs, int)
        fix = "write all of it after the flag" if several else "write it after the flag"
        for flag, value in pairwise(words):
            known = value in self._option_string_actions
            if flag in action.option_strings and not known and not several:
                fix = f"write {name}={value} if {value} is the value, which begins with a dash"
        return UsageError(
            "a value is missing" if several else "the value is missing",
            where=names,
            expected=_shown(action),
            fix=f"{fix}. {self._help}",
        )

    def _unknown_flags(self, rest: Sequence[str]) -> UsageError | None:
        """The error for flags that this script does not have; None if there are none."""
        names = [word.partition("=")[0] for word in rest if re.match("-[^0-9.]", word)]
        unknown = [name for name in dict.fromkeys(names) if name != "--"]
        if not unknown:
            return None
        theirs = self._of_other(unknown)
        hints = [*self._told_of_other(theirs), *self._meant(unknown, theirs)]
        return UsageError(
            "there is no such flag" if len(unknown) == 1 else "there are no such flags",
            where=" and ".join(unknown),
            fix=f"{_sentence(hints)} {self._help}",
        )

    def _meant(self, unknown: Sequence[str], theirs: Sequence[str]) -> Iterator[str]:
        """Which flags were probably meant, as a question; less is guessed of the other script's."""
        known = self._option_string_actions
        found = {n: closest(n, known, 0.85) if n in theirs else closest(n, known) for n in unknown}
        meant = {name: " or ".join(flags) for name, flags in found.items() if flags}
        if len(unknown) == 1:
            yield from (f"did you mean {flag}?" for flag in meant.values())
        elif meant:
            pairs = (f"{flag} for {name}" for name, flag in meant.items())
            yield f"did you mean {' and '.join(pairs)}?"

    def _of_other(self, unknown: Sequence[str]) -> list[str]:
        """Which flags are of the other script."""
        with suppress(ImportError):
            parser = import_module(self._other).build_parser()
            return [name for name in unknown if name in parser._option_string_actions]
        return []

    def _told_of_other(self, theirs: Sequence[str]) -> Iterator[str]:
        if theirs:
            are = "is a flag" if len(theirs) == 1 else "are flags"
            yield f"{' and '.join(theirs)} {are} of {self._other}.py"

    def _stray_words(self, words: Sequence[str], rest: Sequence[str]) -> UsageError:
        """The error for words that are no flag's value."""
        before, more = words[: words.index(rest[0])], shlex.join(rest)
        known = self._option_string_actions
        flag = next((word for word in reversed(before) if word in known), None)
        if flag is None:
            return UsageError(
                "there is no flag before this",
                where=more,
                expected="each value after its flag",
                fix=f"for example: {self._example()}\n{self._help}",
            )
        if known[flag].nargs == 0:
            return UsageError(
                f"this flag takes no value, and {more} comes after it",
                where=flag,
                fix=f"write {flag} alone. {self._help}",
            )
        return UsageError(
            f"this flag takes one value, and there is more after it: {more}",
            where=flag,
            fix=f"leave that out, or put a value with spaces in quotes. {self._help}",
        )

    def _check_required(self, flags: argparse.Namespace, words: Sequence[str]) -> None:
        optional = {"output_dir"} if flags.dry_run else set()
        missing = [
            flag
            for name, flag in self._required.items()
            if name not in optional and getattr(flags, name) is None
        ]
        if missing:
            names = [flag.split()[0] for flag in missing]
            typed = " ".join([self.command, shlex.join(words), *missing]) if words else ""
            raise UsageError(
                f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} missing",
                expected=" and ".join(_PURPOSES[name] for name in names),
                fix=f"for example: {typed or self._example()}\n{self._help}",
            )

    def _example(self) -> str:
        return " ".join([self.command, *self._required.values()])


def how_it_was_started(script: str) -> tuple[str, str]:
    """The name of the program, and the command that starts it, as the user typed them.

    Called from Python, they are those of a script in the current directory.
    """
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    typed = shlex.join(sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1])
    if spec is not None and spec.name == script:
        return f"python -m {script}", typed
    name = PurePath(sys.argv[0]).name
    if name == script:  # as pip installs it
        return script, script
    return f"{script}.py", typed if name == f"{script}.py" else f"python {script}.py"


def whole_number(flag: str, example: str) -> Callable[[str], int]:
    """A function that reads the value of a whole-number flag; it raises UsageError."""

    def read(text: str) -> int:
        try:
            return int(text)
        except ValueError as error:
            whole = re.fullmatch(r"(\d+)\.0*", text)
            raise UsageError(
                f"the value is {text!r}",
                where=flag,
                expected="a whole number",
                fix=f"write it in digits, such as {flag} {whole[1] if whole else example}",
            ) from error

    return read


def number(flag: str, example: str) -> Callable[[str], float]:
    """A function that reads the value of a number flag; it raises UsageError."""

    def read(text: str) -> float:
        try:
            return float(text)
        except ValueError as error:
            raise UsageError(
                f"the value is {text!r}",
                where=flag,
                expected="a number",
                fix=f"write it in digits, such as {flag} {_meant(text) or example}",
            ) from error

    return read


def threshold(text: str) -> float:
    """A metric value to cut at. A value equal to it belongs below the cut; `0.3-` cuts just below
    0.3, so that 0.3 belongs above. Raises ValueError."""
    if text.endswith("-"):
        return math.nextafter(float(text[:-1]), -math.inf)
    return float(text)


class Thresholds(argparse.Action):
    """Reads the values of a flag that takes thresholds; raises UsageError."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Set the numbers."""
        try:
            setattr(namespace, self.dest, [threshold(value) for value in values])
        except ValueError as error:
            raise _no_numbers(option_string or self.option_strings[-1], values) from error


def _no_numbers(flag: str, values: Sequence[str]) -> UsageError:
    """The error for values some of which are no numbers, with what they were meant to be."""
    commas = [value.replace(",", ".") for value in values]
    pieces = re.findall(r"[^\s,;()\[\]]+", " ".join(values))
    for meant in (commas if len(values) > 1 else [], pieces):
        if meant and all(map(_is_number, meant)):
            return UsageError(
                f"the values are {' '.join(values)!r}",
                where=flag,
                expected="numbers with spaces between them",
                fix=f"write {flag} {' '.join(meant)}",
            )
    wrong = next(value for value in values if not _is_number(value))
    return UsageError(
        f"one value is {wrong!r}",
        where=flag,
        expected="numbers with spaces between them",
        fix=f"write them in digits, such as {flag} 0.3 0.7",
    )


def _is_number(text: str) -> bool:
    try:
        threshold(text)
    except ValueError:
        return False
    return True


def _meant(text: str) -> str | None:
    """The number that a text such as `0,5` or `5%` is meant to be, if it is one."""
    plain = text.replace(",", ".")
    if _is_number(plain):
        return plain
    percent = plain.removesuffix("%")
    return f"{float(percent) / 100:g}" if _is_number(percent) else None


def _shown(action: argparse.Action) -> str:
    """A flag with its values, as the usage shows it."""
    names = action.metavar if isinstance(action.metavar, tuple) else (str(action.metavar),)
    more = f" [{names[-1]} …]" if action.nargs == "+" else ""
    values = " ".join(names[:1] if action.nargs == "+" and len(names) > 1 else names)
    return f"{action.option_strings[-1]} {values}{more}"


def _sentence(hints: Sequence[str]) -> str:
    text = "; ".join(hints) or "leave it out"
    return text if text.endswith("?") else f"{text}."
