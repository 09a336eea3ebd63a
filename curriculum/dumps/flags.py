"""What the flags say about the form of the input, checked before anything is read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from curriculum.dumps.formats import REDUCTIONS, Steps
from curriculum.dumps.values import is_number, written_number
from curriculum.errors import UsageError, check_choice

AUTO = "auto"
DIRECTIONS = ("easier", "harder")


class ValueFlags(Struct, frozen=True):
    """Where lines carry a number in place of scores: at `place`, where the texts and numbers
    `missing` are none; or in `counts`, the places of how many responses passed and of how many
    there were."""

    place: str = ""
    missing: tuple[str, ...] = ()
    counts: tuple[str, str] | None = None


class DumpFlags(Struct, frozen=True):
    """What the flags say about the input.

    `format` is the name of a format or AUTO, `places` overrides fields of Format by name, and
    `steps` are the steps wanted. With `by_prompt`, the prompt alone identifies a group. `truncated`
    says what becomes of responses that were cut off: "graded", "missing", or None for the default.
    `words` are scores in words, `reduce` is how the scores of one response become one, and `chosen`
    is the name that lines must have to count. `value` says where lines carry a number in place of
    scores.
    """

    format: str = AUTO
    places: dict[str, Any] = field(default_factory=dict)
    steps: Steps = field(default_factory=Steps)
    by_prompt: bool = False
    truncated: str | None = None
    words: Mapping[str, float] = field(default_factory=dict)
    reduce: str | None = None
    chosen: str | None = None
    value: ValueFlags | None = None


def parse_steps(text: str | None) -> Steps:
    """`A:B`, both included, either open; or one step. Raises UsageError."""
    first, colon, last = (text or ":").partition(":")
    try:
        low, high = (int(end) if end else None for end in (first, last if colon else first))
    except ValueError:
        low, high = 1, 0
    if low is not None and high is not None and low > high:
        raise UsageError(
            f"the steps are {text!r}",
            where="--steps",
            expected="A:B with A at most B, such as 100:200, 100: or :200, or one step",
            fix="write the first and the last step that you want",
        )
    return Steps(low, high)


def parse_score_map(words: Sequence[str]) -> dict[str, float]:
    """Scores by word, from `WORD=SCORE …`. Raises UsageError."""
    found: dict[str, float] = {}
    for pair in words:
        word, equals, text = pair.rpartition("=")
        score = written_number(text)
        if not equals or not word or not is_number(score) or not math.isfinite(score):
            raise UsageError(
                f"this is {pair!r}",
                where="--score-map",
                expected="words with their scores, such as C=1 I=0",
                fix="write each word, =, and a number",
            )
        if found.setdefault(word, float(score)) != score:
            raise UsageError(
                f"{word} has two scores, {found[word]:g} and {score:g}",
                where="--score-map",
                expected="one score for each word",
                fix="leave out one of them",
            )
    return found


def check_score_reduce(choice: str | None) -> None:
    """Raise UsageError for a choice that there is not."""
    if choice is not None:
        check_choice("--score-reduce", choice, REDUCTIONS)


def parse_value(
    place: str | None, direction: str | None, counts: str | None, missing: Sequence[str]
) -> ValueFlags | None:
    """What --value-field, or --value-counts, and the flags beside it say; None without any. Raises
    UsageError for flags that do not go together."""
    if counts is not None:
        passes, colon, total = counts.partition(":")
        given = {"--value-field": place, "--value-direction": direction, "--value-missing": missing}
        beside = [flag for flag, value in given.items() if value]
        if beside:
            raise UsageError(
                "--value-counts says how many responses passed, of how many",
                where=beside[0],
                expected="one of the two",
                fix=f"leave out {' and '.join(beside)}, or --value-counts",
            )
        if not colon or not passes or not total or ":" in total:
            raise UsageError(
                f"this is {counts!r}",
                where="--value-counts",
                expected="two places, PASSES:TOTAL, such as num_correct:num_samples",
                fix="name the field that counts passes, and the one that counts responses",
            )
        return ValueFlags(counts=(passes, total))
    if place is None:
        for flag, value in (("--value-direction", direction), ("--value-missing", missing)):
            if value:
                raise UsageError(
                    "there is no value that it is about",
                    where=flag,
                    expected="--value-field beside it",
                    fix="name the field that carries the number with --value-field",
                )
        return None
    if direction is None:
        raise UsageError(
            f"nothing says whether a higher {place} is easier or harder",
            where="--value-field",
            expected="--value-direction beside it",
            fix="add --value-direction easier for a rate of solving, harder for a difficulty",
        )
    check_choice("--value-direction", direction, DIRECTIONS)
    return ValueFlags(place, tuple(missing))
