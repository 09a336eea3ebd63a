"""`0.1 <= success_rate <= 0.9` → a condition that each rollout meets or does not.

A condition compares a number that follows from the scores, or what the rollout holds at a place,
with one or two values. What is undefined or absent meets no condition.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from curriculum.arrays import BoolArray, FloatArray
from curriculum.errors import UsageError
from curriculum.signals import NUMBERS

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_TOKEN = re.compile(r"""\s*(?:(<=|>=|==|!=|<|>|=)|"([^"]*)"|'([^']*)'|([^<>=!"']+))\s*""")
_EXAMPLES = 'such as "0.1 <= success_rate <= 0.9" or "data_source == openai/gsm8k"'
_RATES = ("success_rate", "pass_at_k", "useful_group")  # from 0 to 1
_NOTHING = ("null", "none", "nan", "na", "n/a")

Value: TypeAlias = float | str


@dataclass(frozen=True)
class Condition:
    """What is compared, by name or place, and each comparison: an operator and a value. `text` is
    the condition as it was given. With `is_place` it is about a place of the rollout, even if that
    has the name of a number."""

    text: str
    name: str
    tests: tuple[tuple[str, Value], ...]
    is_place: bool = False

    @property
    def is_number(self) -> bool:
        """Whether it is about the scores; otherwise it is about a place of the rollout."""
        return self.name in NUMBERS and not self.is_place

    def holds_for(self, values: FloatArray) -> BoolArray:
        """Whether numbers meet it; NaN, which is undefined, does not."""
        kept = ~np.isnan(values)
        for sign, wanted in self.tests:
            kept &= OPERATORS[sign](values, wanted)
        return np.asarray(kept)

    def met_by(self, values: Sequence[Any]) -> BoolArray:
        """Whether what rollouts hold meets it; None, where there is nothing, does not."""
        return np.array([self._is_met(value) for value in values], np.bool_)

    def _is_met(self, value: Any) -> bool:
        return all(_compare(value, sign, wanted) for sign, wanted in self.tests)


def _compare(value: Any, sign: str, wanted: Value) -> bool:
    """Compare what a rollout holds: as a number if both are numbers, otherwise as text."""
    if group_of(value) is None:
        return False
    if isinstance(wanted, float):
        number = _number(value)
        if number is not None:
            return bool(OPERATORS[sign](number, wanted))
        # 0.5 is no text, so it differs from every text; neither is more than the other.
        return sign == "!="
    return bool(OPERATORS[sign](group_of(value), wanted))


def _number(value: Any) -> float | None:
    """A number, also in a text; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and "_" in value:  # Python's own way to write 1000
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def group_of(value: Any) -> str | None:
    """The text of a value by which rollouts are grouped and compared: a string itself, anything
    else as JSON. None where there is nothing, an empty text, or NaN."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def parse_conditions(flag: str, texts: Sequence[str]) -> tuple[Condition, ...]:
    """Read the conditions of a flag. Raises UsageError for what is none."""
    return tuple(parse_condition(flag, text) for text in texts)


def with_place(conditions: Iterable[Condition], place: str | None) -> tuple[Condition, ...]:
    """The conditions, those with this name about a place of the rollout."""
    return tuple(replace(c, is_place=True) if c.name == place else c for c in conditions)


def parse_condition(flag: str, text: str) -> Condition:
    """Read a condition: NAME SIGN VALUE, VALUE SIGN NAME, or LOW SIGN NAME SIGN HIGH. Raises
    UsageError."""
    parts = _tokens(flag, text)
    signs, operands = parts[1::2], parts[::2]
    names = [operand for operand in operands if _is_name(operand)]
    if len(operands) == 3:
        name, tests = operands[1].text, [(_TURNED[signs[0].text], operands[0])]
        tests.append((signs[1].text, operands[2]))
        if {sign.text[0] for sign in signs} not in ({"<"}, {">"}):
            raise _wrong(flag, text, "its two signs do not point the same way")
        if _is_name(operands[0]) or _is_name(operands[2]) or not _is_name(operands[1]):
            raise _wrong(flag, text, "the name of what is compared has to stand in the middle")
    elif operands[0] in names:
        name, tests = operands[0].text, [(signs[0].text, operands[1])]
    elif operands[1] in names:
        name, tests = operands[1].text, [(_TURNED[signs[0].text], operands[0])]
    else:
        raise _wrong(flag, text, "it names nothing that is compared")
    if re.search(r"\s", name):
        meant = "_".join(name.split())
        mean = f": did you mean {meant}?" if meant in NUMBERS else ""
        raise _wrong(flag, text, f"{name!r} is not a name{mean}")
    if not all(name.split(".")):
        raise _wrong(flag, text, f"{name!r} is not a place: a.b is the field b inside the field a")
    found = tuple(_test(flag, text, name, *test) for test in tests)
    _check_bounds(flag, text, found)
    return Condition(text.strip(), name, found)


def _check_bounds(flag: str, text: str, tests: Sequence[tuple[str, Value]]) -> None:
    """Raise UsageError for a band that nothing can lie in."""
    numbers = [value for _, value in tests if isinstance(value, float)]
    if len(numbers) < 2:
        return
    (sign, _), (other, _) = tests
    above, below = numbers if other[0] == "<" else numbers[::-1]
    if above > below or (above == below and not sign[1:] + other[1:] == "=="):
        raise _wrong(flag, text, f"nothing lies between {above:g} and {below:g}")


@dataclass(frozen=True)
class _Token:
    text: str
    kind: str  # sign, quoted or bare


def _tokens(flag: str, text: str) -> list[_Token]:
    """Operands with signs between them: three or five tokens."""
    found, at = list[_Token](), 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _wrong(flag, text, f"{text[at:]!r} cannot be read: write a text in quotes")
        sign, double, single, bare = match.groups()
        if sign == "=":
            raise _wrong(flag, text, "= is not a comparison: write == for equal")
        if sign:
            found.append(_Token(sign, "sign"))
        elif bare is not None:
            found.append(_Token(bare.strip(), "bare"))
        else:
            found.append(_Token(single if double is None else double, "quoted"))
        at = match.end()
    signs = sum(token.kind == "sign" for token in found)
    joined = [t for t in found if re.search(r",|\s(and|or|&&|\|\|)\s", t.text)]
    if joined and signs > 1 and all(token.kind != "quoted" for token in joined):
        raise _wrong(flag, text, f"each comparison has a {flag} of its own, and all have to hold")
    kinds = [token.kind == "sign" for token in found]
    if kinds not in ([False, True, False], [False, True, False, True, False]):
        odd = next((sign for sign in "≤≥≠＝＜＞" if sign in text), None)
        plain = dict(zip("≤≥≠＝＜＞", ("<=", ">=", "!=", "==", "<", ">"), strict=True))
        why = f"write {plain[odd]} for {odd}" if odd else "it is not a comparison"
        raise _wrong(flag, text, why)
    return found


def _is_name(token: _Token) -> bool:
    """Whether this may be what is compared; a number cannot."""
    return token.kind == "bare" and _number(token.text) is None


def _test(flag: str, text: str, name: str, sign: str, token: _Token) -> tuple[str, Value]:
    """A comparison with its value: a number, unless it is quoted or no number."""
    number = None if token.kind == "quoted" else _number(token.text)
    if number is not None:
        if name in _RATES and not 0 <= number <= 1:
            raise _wrong(flag, text, f"{name} is from 0 to 1, and never {token.text}")
        return sign, number
    if name in NUMBERS:
        percent = _number(token.text.removesuffix("%")) if token.text.endswith("%") else None
        write = f": write {percent / 100:g}" if percent is not None else ""
        raise _wrong(flag, text, f"{name} is a number, and {token.text!r} is not{write}")
    if sign not in ("==", "!="):
        raise _wrong(flag, text, f"{token.text!r} is text, which can only be == or !=")
    if token.kind == "bare" and token.text.casefold() in _NOTHING:
        raise _wrong(flag, text, "what is absent meets no condition, so it need not be asked for")
    if token.kind == "bare" and token.text in ("True", "False"):
        return sign, token.text.casefold()  # as JSON has it
    return sign, token.text


def _wrong(flag: str, text: str, why: str) -> UsageError:
    return UsageError(
        f"{text!r}: {why}",
        where=flag,
        expected=f"a comparison with < <= > >= == or !=, {_EXAMPLES}",
        fix=f"a name is one of {', '.join(NUMBERS)}, or a field of a rollout, or a.b inside one",
    )
