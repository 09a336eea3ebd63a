"""The values of a field whose type is open, one per row.

They are an Arrow array (string, int64, double, bool, or null without any value) where all are of
one scalar kind, as nearly always; otherwise a list of Python values. None is an absent value.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
import pyarrow as pa

from curriculum.arrays import BoolArray, IntArray
from curriculum.scanner.columns import Column, Kind
from curriculum.storage.arrow_arrays import flat_array, integers, text_array, truths

Values: TypeAlias = "pa.Array | list[Any]"


def values_of(column: Column) -> Values:
    """The values of a scanned column."""
    there = column.kinds > Kind.NULL
    kinds = set(column.kinds[there].tobytes())
    if not kinds:
        return pa.nulls(len(there))
    valid = None if there.all() else there
    if kinds == {Kind.STRING}:
        return text_array(column.offsets, column.data, valid)
    if kinds == {Kind.INTEGER}:
        return integers(column.numbers, valid)
    if kinds == {Kind.NUMBER}:
        return flat_array(pa.float64(), column.numbers, valid)
    if kinds <= {Kind.FALSE, Kind.TRUE}:
        return truths(column.kinds == Kind.TRUE, valid)
    return _python_values(column)


def _python_values(column: Column) -> list[Any]:
    kinds = column.kinds.tolist()
    raw = [row for row, kind in enumerate(kinds) if kind >= Kind.INTEGER]
    try:
        decoded = msgspec.json.decode(b"[%b]" % b",".join(map(column.json, raw)))
    except msgspec.DecodeError:  # of a number beyond a double
        decoded = [json.loads(column.json(row)) for row in raw]
    found = dict(zip(raw, decoded, strict=True))
    scalars = {Kind.FALSE: False, Kind.TRUE: True}
    return [
        column.json(row).decode() if kind == Kind.STRING else found.get(row, scalars.get(kind))
        for row, kind in enumerate(kinds)
    ]


def texts_of(column: Column) -> pa.Array:
    """The text of every value that is not null, whatever its kind, as strings."""
    there: BoolArray = column.kinds > Kind.NULL
    return text_array(column.offsets, column.data, None if there.all() else there)


def as_list(values: Values) -> list[Any]:
    """The values as Python values."""
    return values if isinstance(values, list) else values.to_pylist()


def take_values(values: Values, rows: IntArray) -> Values:
    """The values of these rows, in this order."""
    if isinstance(values, list):
        return [values[row] for row in rows.tolist()]
    return values.take(integers(rows))


def join_values(parts: Sequence[Values]) -> Values:
    """All values one after another."""
    arrays = [part for part in parts if not isinstance(part, list)]
    types = {part.type for part in arrays} - {pa.null()}
    if len(types) > 1 or len(arrays) < len(parts):
        return [value for part in parts for value in as_list(part)]
    kind = types.pop() if types else pa.null()
    return pa.concat_arrays([part.cast(kind) for part in arrays])
