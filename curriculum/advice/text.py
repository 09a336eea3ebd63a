"""What was found, sentences and commands → an error."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from curriculum.advice.field_names import KNOWN
from curriculum.errors import InputError
from curriculum.reading.lines import describe_fields

COLUMNS = 96
COPY_FIRST = "Copy what is in the store to this machine first; the command takes it from here."
_SPACE = "\N{NO-BREAK SPACE}"


class Advised(InputError):
    """An error that ends with commands to paste; `says` are the sentences before them.

    Each command runs if the one before it did.
    """

    def __init__(
        self,
        found: str,
        *,
        where: object,
        expected: str | None,
        says: Sequence[str],
        commands: Sequence[str],
    ) -> None:
        super().__init__(found, where=where, expected=expected, fix=with_commands(says, commands))
        self.found, self.where, self.says, self.commands = found, where, says, commands


def fields_of(line: Mapping[str, Any]) -> str:
    """The fields of a line with their kinds, which are wrapped only between two fields."""
    fields = describe_fields(line, KNOWN).split(", ")
    return ", ".join(field.replace(" ", _SPACE) for field in fields)


def with_commands(says: Sequence[str], commands: Sequence[str]) -> str:
    """Sentences, wrapped, and below them commands. All but the first sentence are capitalized."""
    first, *others = filter(None, says)
    says = [first, *(line[:1].upper() + line[1:] for line in others)]
    lines = [
        textwrap.fill(line, COLUMNS, break_long_words=False, break_on_hyphens=False)
        for line in says
    ]
    if commands:
        lines += ["", " &&\n".join(commands)]
    return "\n".join(lines).replace(_SPACE, " ")
