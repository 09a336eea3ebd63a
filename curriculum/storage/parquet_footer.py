"""Footers of parquet files with one row group each → the footer of one file with all of them.

Only row counts, offsets and ordinals are replaced; every other byte stays as the parquet library
wrote it. So the result is what that library writes when it writes all row groups itself.

A footer is the struct `FileMetaData` of parquet-format, in Thrift's compact protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from curriculum.errors import InternalError

# Types of the compact protocol. Integers of 16, 32 and 64 bits are zigzag varints.
INT16, INT32, INT64, BINARY, LIST, STRUCT = 4, 5, 6, 8, 9, 12
SIZES = {1: 0, 2: 0, 3: 1, 7: 8}  # bytes of a true, a false, a byte and a double
LONG = 15  # stands for the length of a long list, which follows as a varint
MORE = 1 << 7  # set in all bytes of a varint but the last
NEXT = 1 << 4  # a field whose number is one higher than that of the field before
# The numbers of the fields of RowGroup that say where it lies: of each column's meta_data
# data_page_offset and dictionary_page_offset, then file_offset and, in some versions, ordinal.
OFFSET, ORDINAL = "offset", "ordinal"
ROW_GROUP = {1: {3: {9: OFFSET, 11: OFFSET}}, 5: OFFSET, 7: ORDINAL}
ORDINALS = 1 << 15  # an ordinal has 16 bits, with its sign


class GroupFooter(Struct, frozen=True):
    """The footer of a file with one row group, cut where something has to be replaced.

    `head` ends before the number of `rows`. `group` describes the row group: bytes, and between
    them offsets, and None for the ordinal. `tail` follows the row group.
    """

    head: bytes
    rows: int
    group: Sequence[bytes | int | None]
    tail: bytes


def parse_footer(data: bytes) -> GroupFooter:
    """Take apart the footer of a file with one row group."""
    start = end = 0
    for kind in (INT32, LIST, INT64):  # version, schema, num_rows
        _expect(data[end] == NEXT | kind)
        start, end = end + 1, _walk(data, end + 1, kind, {}, [])
    _expect(data[end : end + 2] == bytes([NEXT | LIST, 1 << 4 | STRUCT]))
    first, spots = end + 2, list[tuple[int, int, str]]()
    last = _walk(data, first, STRUCT, ROW_GROUP, spots)
    group: list[bytes | int | None] = []
    for spot, after, what in spots:
        group.append(data[first:spot])
        group.append(_read_varint(data, spot)[0] >> 1 if what == OFFSET else None)
        first = after
    rows = _read_varint(data, start)[0] >> 1
    return GroupFooter(data[:start], rows, [*group, data[first:last]], data[last:])


def join_footers(footers: Sequence[GroupFooter], sizes: Sequence[int]) -> bytes:
    """The footer of a file with these row groups, at least one, of `sizes` bytes, in this order."""
    count = len(footers)
    pieces = [
        footers[0].head,
        _number(sum(footer.rows for footer in footers)),
        bytes([NEXT | LIST, min(count, LONG) << 4 | STRUCT]),
        _varint(count) if count >= LONG else b"",
    ]
    before = 0
    for ordinal, (footer, size) in enumerate(zip(footers, sizes, strict=True)):
        for piece in footer.group:
            if isinstance(piece, bytes):
                pieces.append(piece)
            elif piece is None:
                pieces.append(_number((ordinal + ORDINALS) % (2 * ORDINALS) - ORDINALS))
            else:
                pieces.append(_number(piece + before))
        before += size
    return b"".join([*pieces, footers[0].tail])


def _walk(
    data: bytes, at: int, kind: int, wanted: Mapping[int, Any], spots: list[tuple[int, int, str]]
) -> int:
    """Where the value at `at` ends. The start and end of `wanted` fields in it go to `spots`."""
    if INT16 <= kind <= INT64:
        while data[at] & MORE:
            at += 1
        return at + 1
    if kind == STRUCT:
        field = 0
        while head := data[at]:
            _expect(head >= NEXT)
            field += head >> 4
            inner, start = wanted.get(field, {}), at + 1
            if isinstance(inner, str):
                at = _walk(data, start, head & 15, {}, spots)
                spots.append((start, at, inner))
            else:
                at = _walk(data, start, head & 15, inner, spots)
        return at + 1
    if kind == LIST:
        head, at = data[at], at + 1
        count, at = (head >> 4, at) if head >> 4 < LONG else _read_varint(data, at)
        for _ in range(count):
            at = _walk(data, at, head & 15, wanted, spots)
        return at
    if kind == BINARY:
        size, at = _read_varint(data, at)
        return at + size
    _expect(kind in SIZES)
    return at + SIZES[kind]


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The unsigned number that starts at `at`, and where it ends."""
    value = shift = 0
    while (byte := data[at]) & MORE:
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
    return value | byte << shift, at + 1


def _number(value: int) -> bytes:
    return _varint(2 * value if value >= 0 else -2 * value - 1)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= MORE:
        encoded.append(value & 127 | MORE)
        value >>= 7
    return bytes([*encoded, value])


def _expect(as_expected: bool) -> None:
    if not as_expected:
        raise InternalError("a parquet footer has another form than parquet-format says")
