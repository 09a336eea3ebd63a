"""Numbers: each is the double that Python reads, bit for bit, or declined where it is not usual."""

from __future__ import annotations

import json
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.scanner.score_lines import scan_scores

DIGITS = st.text("0123456789", min_size=1, max_size=19)


def read(numbers: list[str]) -> list[float | None]:
    """The numbers as the scanner reads them, None for one that it declines."""
    text = "\n".join(f'{{"reward":[{number}]}}' for number in numbers).encode()
    found = scan_scores(text, len(text), "score")
    assert found is not None
    declined, scores = set(found.declined.tolist()), iter(found.flat.tolist())
    return [None if i in declined else next(scores) for i in range(len(numbers))]


def check(numbers: list[str], may_decline: bool = False) -> None:
    for number, value in zip(numbers, read(numbers), strict=True):
        if value is None:
            assert may_decline, number
        else:
            assert struct.pack("d", value) == struct.pack("d", float(json.loads(number))), number


@settings(max_examples=500)
@given(
    sign=st.sampled_from(["", "-"]),
    digits=DIGITS,
    point=st.integers(0, 19),
    exponent=st.integers(-8, 27),
    letter=st.sampled_from(["e", "E", "e+"]),
)
def test_decimals_of_up_to_19_digits(
    sign: str, digits: str, point: int, exponent: int, letter: str
) -> None:
    whole = digits[:point].lstrip("0") or "0"
    number = f"{sign}{whole}" + (f".{digits[point:]}" if digits[point:] else "")
    check([number, f"{number}{letter.removesuffix('+') if exponent < 0 else letter}{exponent}"])


@given(digits=DIGITS, exponent=st.integers(-400, 400))
def test_numbers_of_any_size(digits: str, exponent: int) -> None:
    check([f"{int(digits)}e{exponent}", f"0.{digits}e{exponent}"], may_decline=True)


@given(
    words=st.lists(st.sampled_from([2**64, 2**65, 10**19, 10**20, 2**64 - 1, 7]), min_size=1),
    point=st.sampled_from(["", "0.", "7."]),
)
def test_numbers_of_too_many_digits(words: list[int], point: str) -> None:
    check([point + "".join(map(str, words))], may_decline=True)


@given(score=st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_as_python_writes_it(score: float) -> None:
    usual = score == 0 or 1e-8 < abs(score) < 1e27
    check([repr(score), f"{score:.17g}"], may_decline=not usual)


@given(score=st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_every_float32_as_its_double(score: float) -> None:
    check([repr(score)], may_decline=not (score == 0 or 1e-8 < abs(score) < 1e27))


def test_numbers_beside_the_middle_of_two_doubles() -> None:
    """Where one more or less in the last digit decides, and ties go to the even one."""
    chosen, numbers = random.Random(0), []
    for _ in range(20_000):
        middle = (chosen.getrandbits(52) | 1 << 52) * 2 + 1 << chosen.randrange(10)
        numbers += [str(middle + by) for by in (-1, 0, 1)]
        numbers.append(f"{middle // 10**4}.{middle % 10**4:04}")
    check(numbers)


def test_quotients_that_are_exactly_the_middle_of_two_doubles() -> None:
    """An odd number of 54 bits over a power of two, written out in at most 19 digits."""
    chosen, numbers = random.Random(1), []
    for _ in range(20_000):
        twos = chosen.randrange(1, 3)
        middle = chosen.getrandbits(53) | 1 << 53 | 1
        digits = str(middle * 5**twos)
        numbers.append(f"{digits[:-twos]}.{digits[-twos:]}")
        numbers.append(f"{int(digits) + chosen.choice([-1, 1])}e-{twos}")
    check(numbers)


def test_many_random_decimals() -> None:
    chosen, numbers = random.Random(2), []
    for _ in range(100_000):
        digits = chosen.getrandbits(chosen.randrange(1, 64)) % 10**19
        numbers.append(f"{digits}e{chosen.randrange(-27, 28)}")
    check(numbers)


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("0e27", 0.0),
        ("-0.000", -0.0),
        ("-0e0", -0.0),
        ("-0", 0.0),
        ("9999999999999999999", 1e19),
        ("1" + "0" * 18 + ".0", None),  # 20 digits
        (str(2**64), None),
        (f"{2**64}{2**64}", None),
        (f"0.{2**64}", None),
        ("0.000000000000000000000000001", 1e-27),
        ("1e-28", None),
        ("1e27", 1e27),
        ("1e28", None),
        ("1e0000000000000000000002", 100.0),
        ("1e99999999999999999999", None),
        ("1e-99999999999999999999", None),
    ],
)
def test_the_edges_of_what_is_read(number: str, value: float | None) -> None:
    assert repr(read([number])) == repr([value])
