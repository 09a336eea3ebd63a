"""JSON values → 64-bit hashes: equal for equal values, whatever the order of their keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from curriculum.arrays import HashArray

NOTHING = 0  # instead of the hash of a value that is not there
HASHES_KEPT = 1 << 12
_MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no bit of a hash gets lost


class Hashes:
    """Hashes of many values. Those of strings and integers are kept for a while: lines nearby
    often have the same."""

    def __init__(self) -> None:
        self._known: dict[type, _Kept] = {str: _Kept(), int: _Kept()}

    def column(self, values: Sequence[Any]) -> HashArray:
        """The hash of each value, NOTHING for None."""
        kinds = set(map(type, values))
        if kinds == {type(None)}:
            return np.full(len(values), NOTHING, np.uint64)
        known = self._known.get(kinds.pop()) if len(kinds) == 1 else None
        if known is None:
            return np.array([hash_value(value) for value in values], np.uint64)
        if len(known) > HASHES_KEPT:
            known.clear()
        return np.array([known[value] for value in values], np.uint64)


class _Kept(dict[Any, int]):
    def __missing__(self, value: Any) -> int:
        self[value] = hash_value(value)
        return self[value]


def hash_value(value: Any) -> int:
    """The hash of one value, NOTHING for None."""
    if value is None:
        return NOTHING
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")
    else:
        text = b"\xff" + _as_json(value)  # which no string begins with
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") or 1


def _as_json(value: Any) -> bytes:
    try:
        return _encode(value)
    except (TypeError, OverflowError, ValueError):  # an integer beyond 64 bits, a lone surrogate
        return json.dumps(value, sort_keys=True).encode()


_encode = msgspec.json.Encoder(order="sorted").encode


def mix(first: int, hashes: Sequence[HashArray]) -> HashArray:
    """One hash of several, in their order; never NOTHING."""
    mixed = np.full(len(hashes[0]), first, np.uint64)
    for column in hashes:
        mixed = mixed * _MIX + column  # modulo 2 to the 64th
    return np.where(mixed == NOTHING, np.uint64(1), mixed)
