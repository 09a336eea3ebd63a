"""The scanner's hash is hashlib's BLAKE2b, so that lines read either way land together."""

from __future__ import annotations

import random
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.scanner.compiled import scanner


def plain(text: bytes) -> int:
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


def test_sizes_around_blocks_of_128_bytes() -> None:
    chosen = random.Random(0)
    for size in [*range(520), 1023, 1024, 1025, 1 << 16, (1 << 16) + 1]:
        text = chosen.randbytes(size)
        assert scanner().hash64(text) == scanner().hash64(bytearray(text)) == plain(text)


@given(text=st.binary(max_size=300))
def test_any_bytes(text: bytes) -> None:
    assert scanner().hash64(text) == plain(text)


def test_what_is_not_bytes_is_refused() -> None:
    for wrong in ("text", 5, None):
        with pytest.raises(TypeError):
            scanner().hash64(wrong)
