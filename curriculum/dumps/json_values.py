"""JSON values that are moved, compared or hashed without being rewritten.

A moved value keeps its bytes, so no number is rounded. Equal values have equal hashes, whatever the
order of their keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, TypeAlias

import msgspec
import numpy as np

from curriculum.arrays import HashArray
from curriculum.reading.lines import REFUSALS, Line, load_object

Raw: TypeAlias = msgspec.Raw  # the undecoded bytes of a value; equal if the bytes are
Text: TypeAlias = msgspec.Raw | bytes  # JSON to write

NULL = msgspec.Raw(b"null")

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
NOTHING = 0  # in place of the hash of an absent value
_MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying loses no bit of a hash


def raw_fields(line: Line | Raw) -> dict[str, Raw]:
    """The fields of a JSON object, undecoded. Raises Malformed."""
    try:
        return _decode_object(line)
    except REFUSALS:  # only Python's json reads some values, such as NaN
        return {name: _dumped(value) for name, value in load_object(bytes(line)).items()}


def raw_items(raw: Raw) -> list[Raw]:
    """The items of a JSON list, undecoded."""
    try:
        return _decode_list(raw)
    except REFUSALS:
        return [_dumped(item) for item in json.loads(bytes(raw))]


def from_json(raw: Text) -> Any:
    """The decoded value."""
    try:
        return msgspec.json.decode(raw)
    except REFUSALS:
        return json.loads(bytes(raw))


def as_json(value: Any) -> Raw:
    """A value as JSON bytes."""
    try:
        return msgspec.Raw(msgspec.json.encode(value))
    except (TypeError, ValueError, OverflowError):  # a lone surrogate, an integer beyond 64 bits
        return _dumped(value)


def as_text(value: Any) -> str:
    """A value as JSON text."""
    return bytes(as_json(value)).decode()


def canonical_json(value: Any) -> bytes:
    """A value as JSON bytes that do not depend on the order of keys."""
    try:
        text = _encode_sorted(value)
    except (TypeError, ValueError, OverflowError):  # a lone surrogate, an integer beyond 64 bits
        text = b"null"
    if b"null" in text:  # msgspec writes NaN and Infinity as null too
        text = json.dumps(value, sort_keys=True).encode()
    return text


_encode_sorted = msgspec.json.Encoder(order="sorted").encode


def two_that_differ(values: Sequence[Any]) -> tuple[int, int] | None:
    """The positions of the first two values that differ; None if all agree.

    Values are compared by canonical JSON, and None is skipped.
    """
    given = [position for position, value in enumerate(values) if value is not None]
    for position in given[1:]:
        if canonical_json(values[position]) != canonical_json(values[given[0]]):
            return given[0], position
    return None


def _dumped(value: Any) -> Raw:
    return msgspec.Raw(json.dumps(value).encode())


def starts_with(raw: Raw, characters: bytes) -> bool:
    """Whether a value begins with one of these characters, which tell its type."""
    return memoryview(raw)[0] in characters


def json_object(fields: Iterable[tuple[str, Text]]) -> bytes:
    """The JSON object with these fields."""
    pieces: list[Text] = []
    for name, value in fields:
        pieces += (b",", json_name(name), value)
    pieces[:1] = (b"{",)
    return b"".join(pieces) + b"}"


def json_list(items: Iterable[Text]) -> bytes:
    """The JSON list of these items."""
    return b"[%b]" % b",".join(items)


@lru_cache(maxsize=1024)
def json_name(name: str) -> bytes:
    """A field's name as JSON, with its colon."""
    return json.dumps(name).encode() + b":"


def hash_column(values: Sequence[Any]) -> HashArray:
    """The 64-bit hash of each value, BLAKE2b of its `_text`; NOTHING for None."""
    texts = [b"" if value is None else _text(value) for value in values]
    joined = b"".join([blake2b(text, digest_size=8).digest() for text in texts])
    hashes = np.frombuffer(joined, "<u8").astype(np.uint64)
    hashes[hashes == NOTHING] = 1
    hashes[[value is None for value in values]] = NOTHING
    return hashes


def hash_value(value: Any) -> int:
    """The 64-bit hash of one value; NOTHING for None."""
    return int(hash_column([value])[0])


def _text(value: Any) -> bytes:
    """Bytes that are equal only for equal values: no UTF-8 string begins with 0xFF."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return b"\xff" + canonical_json(value)


def mix(first: int, hashes: Sequence[HashArray]) -> HashArray:
    """Combine `first` and columns of hashes, in this order, into one column without NOTHING."""
    mixed = np.full(len(hashes[0]), first, np.uint64)
    for column in hashes:
        mixed = mixed * _MIX + column  # modulo 2**64
    return np.where(mixed == NOTHING, np.uint64(1), mixed)
