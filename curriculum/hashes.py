"""JSON values → 64-bit hashes: equal for equal values, whatever the order of their keys."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from curriculum.arrays import HashArray
from curriculum.raw_json import canonical_json

NOTHING = 0  # instead of the hash of a value that is not there
_MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no bit of a hash gets lost


def hash_column(values: Sequence[Any]) -> HashArray:
    """The hash of each value, NOTHING for None. Of equal strings, or whole numbers, one is hashed:
    lines nearby often have the same."""
    kinds = set(map(type, values))
    if len(kinds) > 1 or not kinds <= {str, int}:
        hashes = _digests([b"" if value is None else _text(value) for value in values])
        hashes[[value is None for value in values]] = NOTHING
        return hashes
    places = {value: place for place, value in enumerate(dict.fromkeys(values))}
    hashes = _digests(list(map(_text, places)))
    if len(places) == len(values):
        return hashes
    return hashes[np.fromiter(map(places.__getitem__, values), np.int64, len(values))]


def _digests(texts: Sequence[bytes]) -> HashArray:
    # Most processors have instructions for SHA-256, which make it twice as fast as BLAKE2b.
    joined = b"".join([sha256(text).digest()[:8] for text in texts])
    hashes = np.frombuffer(joined, "<u8").astype(np.uint64)
    hashes[hashes == NOTHING] = 1
    return hashes


def hash_value(value: Any) -> int:
    """The hash of one value, NOTHING for None."""
    return int(hash_column([value])[0])


def _text(value: Any) -> bytes:
    """Equal for equal values alone: no string begins with that byte."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return b"\xff" + canonical_json(value)


def mix(first: int, hashes: Sequence[HashArray]) -> HashArray:
    """One hash of several, in their order; never NOTHING."""
    mixed = np.full(len(hashes[0]), first, np.uint64)
    for column in hashes:
        mixed = mixed * _MIX + column  # modulo 2 to the 64th
    return np.where(mixed == NOTHING, np.uint64(1), mixed)
