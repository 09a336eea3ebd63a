"""The kinds of SIMD that this machine has, and no test of the scanner where there is none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from curriculum.scanner.compiled import scanner, which_reader
from tests.scanner.compare import simd_kinds


@pytest.fixture(autouse=True)
def compiled() -> Iterator[None]:
    """The scanner is there and up to date, and afterwards it works as fast as it can again."""
    if "has changed" in which_reader():
        pytest.fail(f"{which_reader()} read the lines")
    if scanner() is None:
        pytest.skip(f"{which_reader()} read the lines")
    yield
    scanner().simd(simd_kinds()[-1])
