"""JSON whose values are moved and not read: lines ⇄ the bytes of their values.

A value keeps its bytes, so no number is rounded and no text is written anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from curriculum.rollouts import REFUSALS, Line, load_object

Raw: TypeAlias = msgspec.Raw  # a value as it stands in a line; equal to one of the same bytes
Text: TypeAlias = msgspec.Raw | bytes  # JSON to write

NULL = msgspec.Raw(b"null")

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def raw_fields(line: Line | Raw) -> dict[str, Raw]:
    """The fields of an object. Raises Malformed."""
    try:
        return _decode_object(line)
    except REFUSALS:  # what only Python's json reads, such as NaN
        return {name: _dumped(value) for name, value in load_object(bytes(line)).items()}


def raw_items(raw: Raw) -> list[Raw]:
    """The items of a list."""
    try:
        return _decode_list(raw)
    except REFUSALS:
        return [_dumped(item) for item in json.loads(bytes(raw))]


def from_json(raw: Raw) -> Any:
    """The value itself."""
    try:
        return msgspec.json.decode(raw)
    except REFUSALS:
        return json.loads(bytes(raw))


def as_json(value: Any) -> Raw:
    """The bytes of a value."""
    try:
        return msgspec.Raw(msgspec.json.encode(value))
    except (TypeError, ValueError, OverflowError):  # a lone surrogate, an integer beyond 64 bits
        return _dumped(value)


def as_text(value: Any) -> str:
    """The JSON of a value as a string."""
    return bytes(as_json(value)).decode()


def canonical_json(value: Any) -> bytes:
    """The same bytes for the same value, whatever the order of its keys."""
    try:
        text = _encode_sorted(value)
    except (TypeError, ValueError, OverflowError):  # a lone surrogate, an integer beyond 64 bits
        text = b"null"
    if b"null" in text:  # msgspec writes NaN and Infinity so, too
        text = json.dumps(value, sort_keys=True).encode()
    return text


_encode_sorted = msgspec.json.Encoder(order="sorted").encode


def two_that_differ(values: Sequence[Any]) -> tuple[int, int] | None:
    """The places of the first value that is not None, and of the first with other canonical JSON;
    None where all agree."""
    given = [place for place, value in enumerate(values) if value is not None]
    for place in given[1:]:
        if canonical_json(values[place]) != canonical_json(values[given[0]]):
            return given[0], place
    return None


def _dumped(value: Any) -> Raw:
    return msgspec.Raw(json.dumps(value).encode())


def starts_with(raw: Raw, characters: bytes) -> bool:
    """Whether a value begins with one of these characters, which says of which kind it is."""
    return memoryview(raw)[0] in characters


def json_object(fields: Iterable[tuple[str, Text]]) -> bytes:
    """The object of these fields."""
    pieces: list[Text] = []
    for name, value in fields:
        pieces += (b",", json_name(name), value)
    pieces[:1] = (b"{",)
    return b"".join(pieces) + b"}"


def json_list(items: Iterable[Text]) -> bytes:
    """The list of these items."""
    return b"[%b]" % b",".join(items)


@lru_cache(maxsize=1024)
def json_name(name: str) -> bytes:
    """A field's name, with the colon after it."""
    return json.dumps(name).encode() + b":"
