"""Rows of Arrow arrays become lines: the scanner writes what plain Python does."""

from __future__ import annotations

import json
import math
import struct
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.containers.arrow_json import LineEncoder, has_times, why_not_json
from curriculum.scanner.compiled import SWITCH, scanner

needs_scanner = pytest.mark.skipif(scanner() is None, reason="nothing is compiled here")

_BITS = st.integers(0, 2**64 - 1).map(lambda n: struct.unpack("<d", n.to_bytes(8, "little"))[0])
NUMBERS = st.one_of(
    st.floats(),
    _BITS,
    st.floats(-1, 1).map(lambda x: round(x, 4)),
    st.floats(width=32),
    st.integers(-60, 60).map(lambda n: 2.0**n),
)
TEXTS = st.text(max_size=80) | st.text('"\\\n\t\x00\x1f\x7fé🙂 ab', max_size=200)
FLAT: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.null(), st.none()),
    (pa.bool_(), st.booleans()),
    (pa.int8(), st.integers(-128, 127)),
    (pa.uint16(), st.integers(0, 2**16 - 1)),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float32(), st.floats(width=32)),
    (pa.float64(), NUMBERS),
    (pa.string(), TEXTS),
    (pa.large_string(), TEXTS),
    (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["a", "b", '"'])),
]


def _listed(inner: Any) -> Any:
    kind, values = inner
    return st.sampled_from([pa.list_, pa.large_list]).map(
        lambda made: (made(kind), st.lists(values | st.none(), max_size=3))
    )


def _structured(inner: Any) -> Any:
    names = [f"f{i}" if i else 'é"' for i in range(len(inner))]
    fields = zip(names, inner, strict=True)
    kind = pa.struct([(name, kind) for name, (kind, _) in fields])
    values = {name: v | st.none() for name, (_, v) in zip(names, inner, strict=True)}
    return (kind, st.fixed_dictionaries(values))


def nested(flat: list[tuple[pa.DataType, st.SearchStrategy[Any]]]) -> Any:
    """These types, and lists and structs of them."""
    return st.recursive(
        st.sampled_from(flat),
        lambda inner: (
            inner.flatmap(_listed) | st.lists(inner, min_size=1, max_size=3).map(_structured)
        ),
        max_leaves=5,
    )


# What the scanner does not know, with values that Arrow takes as they are.
UNKNOWN: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.timestamp("us"), st.datetimes()),
    (pa.timestamp("s"), st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**11), 10**11)),
    (pa.timestamp("ns", "Asia/Kolkata"), st.integers(-(2**63), 2**63 - 1)),
    (pa.date32(), st.dates()),
    (pa.time64("us"), st.times()),
    (pa.duration("ms"), st.integers(-(2**40), 2**40)),
    (pa.decimal128(12, 3), st.decimals(-(10**8), 10**8, places=3)),
    (pa.float16(), st.floats(width=16).map(np.float16)),
    (pa.string_view(), TEXTS),
    (pa.map_(pa.string(), pa.int8()), st.lists(st.tuples(TEXTS, st.integers(0, 9)), max_size=3)),
    (pa.list_(pa.int8(), 2), st.lists(st.integers(0, 9), min_size=2, max_size=2)),
    (pa.list_(pa.date32()), st.lists(st.dates() | st.none(), max_size=3)),
]
TYPES, ALL_TYPES = nested(FLAT), nested([*FLAT, *UNKNOWN])


@st.composite
def batches(draw: st.DrawFn, types: Any) -> tuple[pa.RecordBatch, list[dict[str, Any]]]:
    """A batch, perhaps a slice of a larger one, and its rows."""
    columns = draw(st.lists(types, min_size=1, max_size=4))
    count = draw(st.integers(0, 6))
    schema = pa.schema([(f"c{i}", kind) for i, (kind, _) in enumerate(columns)])
    values = [
        draw(st.lists(some | st.none(), min_size=count, max_size=count)) for _, some in columns
    ]
    arrays = [pa.array(v, f.type) for v, f in zip(values, schema, strict=True)]
    batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
    start = draw(st.just(0) | st.integers(0, count))
    rows = [dict(zip(schema.names, row, strict=True)) for row in zip(*values, strict=True)]
    return batch.slice(start), rows[start:]


def written(batch: pa.RecordBatch, at_once: int = 1000) -> bytes:
    found = list(LineEncoder(batch.schema).lines(batch, at_once))
    for text, ends in found:
        assert [text[end] for end in ends.tolist()] == [10] * text.count(b"\n")
        assert len(ends) == text.count(b"\n")
    return b"".join(bytes(text) for text, _ in found)


def plain(batch: pa.RecordBatch, at_once: int = 1000) -> bytes:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(SWITCH, "1")
        return written(batch, at_once)


@needs_scanner
@settings(max_examples=300, deadline=None)
@given(batches(ALL_TYPES), st.integers(1, 4))
def test_the_scanner_writes_the_bytes_of_python(
    drawn: tuple[pa.RecordBatch, list[dict[str, Any]]], at_once: int
) -> None:
    batch, _ = drawn
    assert written(batch, at_once) == plain(batch)


@settings(max_examples=200, deadline=None)
@given(batches(TYPES))
def test_a_line_has_the_values_of_its_row(
    drawn: tuple[pa.RecordBatch, list[dict[str, Any]]],
) -> None:
    """As `json.dumps` writes them."""
    batch, rows = drawn
    lines = written(batch).decode().split("\n")
    assert lines.pop() == ""
    assert [json.dumps(json.loads(line), sort_keys=True) for line in lines] == [
        json.dumps(row, sort_keys=True) for row in rows
    ]
    assert [list(json.loads(line)) for line in lines] == [list(row) for row in rows]


@needs_scanner
def test_every_number_has_the_text_of_python() -> None:
    rng = np.random.default_rng(0)
    powers = [2.0**n for n in range(-70, 70)]
    near = [math.nextafter(x, to) for x in powers for to in (0, math.inf)]
    some = [
        *rng.random(2000), *rng.normal(0, 30, 2000), *10 ** rng.uniform(-7, 17, 2000), *powers,
        *near, *(k / 2**n for k in range(1, 40) for n in range(30)), 0.0, -0.0, 1e-4, 9.999e-5,
        1e9, 1e16, 1e22, 5e-324, math.nan, math.inf, -math.inf, 0.1 + 0.2, 5e-5,
    ]  # fmt: skip
    batch = pa.record_batch({"x": pa.array([*some, *(-x for x in some)], pa.float64())})
    lines = written(batch).decode().splitlines()
    assert lines == [f'{{"x":{json.dumps(float(x))}}}' for x in batch.column(0).to_pylist()]


def test_bytes_that_are_no_utf8_stay() -> None:
    data = pa.array([b"a\xff\xc3\xa9\n", b"\xed\xa0\x80"], pa.binary()).view(pa.string())
    batch = pa.record_batch({"x": data})
    expected = b'{"x":"a\xff\xc3\xa9\\n"}\n{"x":"\xed\xa0\x80"}\n'
    assert (written(batch), plain(batch)) == (expected, expected)


OTHERS: dict[str, tuple[pa.DataType, Any, str]] = {
    "a time": (
        pa.timestamp("us"), datetime(2026, 8, 1, 12, 0, 0, 5), '"2026-08-01T12:00:00.000005"',
    ),
    "of a zone": (
        pa.timestamp("ms", "UTC"), datetime(2026, 8, 1, tzinfo=timezone.utc),
        '"2026-08-01T00:00:00.000Z"',
    ),
    "of a zone with an offset": (
        pa.timestamp("s", "Asia/Kolkata"), datetime(2026, 8, 1, tzinfo=timezone.utc),
        '"2026-08-01T05:30:00+05:30"',
    ),
    "out of any calendar": (pa.timestamp("s"), 2**62, "null"),
    "nanoseconds": (pa.timestamp("ns"), 1, '"1970-01-01T00:00:00.000000001"'),
    "a date": (pa.date32(), date(2026, 8, 1), '"2026-08-01"'),
    "of a day": (pa.time64("us"), time(1, 2, 3), '"01:02:03.000000"'),
    "a duration": (pa.duration("ms"), timedelta(milliseconds=-1500), '"-PT1.500S"'),
    "a decimal": (pa.decimal128(10, 2), Decimal("-0.05"), '"-0.05"'),
    "a half": (pa.float16(), np.float16(0.1), "0.0999755859375"),
    "a map": (pa.map_(pa.string(), pa.int8()), [("a", 1), ('"', None)], '{"a":1,"\\"":null}'),
    "a view": (pa.string_view(), "x", '"x"'),
    "a list view": (pa.list_view(pa.int8()), [1, None], "[1,null]"),
    "a list of a size": (pa.list_(pa.int8(), 2), [1, None], "[1,null]"),
    "an empty struct": (pa.struct([]), {}, "{}"),
    "times in lists": (pa.list_(pa.date32()), [date(2026, 8, 1), None], '["2026-08-01",null]'),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_types(name: str) -> None:
    kind, value, expected = OTHERS[name]
    assert why_not_json(kind) is None
    batch = pa.record_batch(
        {"a": pa.array([1, 2, 3, 4]), "x": pa.array([None, value, None, value], kind)}
    )
    lines = f'{{"a":2,"x":{expected}}}\n{{"a":3,"x":null}}\n{{"a":4,"x":{expected}}}\n'.encode()
    for part in (batch.slice(1), batch.slice(1).slice(0, 3)):
        assert (written(part), written(part, 1), plain(part)) == (lines, lines, lines)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (pa.binary(), "bytes"),
        (pa.list_(pa.struct([("path", pa.string()), ("bytes", pa.large_binary())])), "bytes"),
        (pa.binary(16), "bytes"),
        (pa.map_(pa.int8(), pa.string()), "maps with keys of type int8"),
        (pa.struct([("a", pa.int8()), ("a", pa.int8())]), "two fields of one name"),
        (pa.month_day_nano_interval(), "month_day_nano_interval"),
    ],
)
def test_what_json_cannot_hold(kind: pa.DataType, why: str) -> None:
    assert why_not_json(kind) == why


def test_times_are_known_wherever_they_are() -> None:
    assert has_times(pa.list_(pa.struct([("a", pa.map_(pa.string(), pa.date32()))])))
    assert not has_times(pa.list_(pa.struct([("a", pa.string())])))


@given(st.lists(st.datetimes() | st.none(), max_size=8))
def test_times_are_those_of_python(moments: list[datetime | None]) -> None:
    batch = pa.record_batch({"x": pa.array(moments, pa.timestamp("us"))})
    texts = [json.loads(line)["x"] for line in written(batch).splitlines()]
    assert texts == [m and m.isoformat(timespec="microseconds") for m in moments]
