"""Python values and numpy arrays → Arrow arrays of a known type, and back to numpy.

Buffers are built directly: pyarrow's own conversions load pandas in every process, which takes
longer than reading a GB of rollouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curriculum.arrays import BoolArray, FloatArray, IntArray
from curriculum.errors import InternalError


def texts(values: Sequence[str | None]) -> pa.Array:
    """Strings, as UTF-8; None becomes null. A lone surrogate raises UnicodeEncodeError."""
    valid = None
    if None in values:
        valid = np.array([value is not None for value in values])
        values = [value or "" for value in values]
    encoded = [value.encode() for value in values]  # type: ignore[union-attr]
    data = [pa.py_buffer(_offsets(list(map(len, encoded)))), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(values), [_validity(valid), *data])


def repeated(text: str | None, count: int) -> pa.Array:
    """One string `count` times; None becomes null."""
    if text is None:
        return pa.nulls(count, pa.string())
    encoded = text.encode()
    offsets = _offsets(np.full(count, len(encoded)))
    data = [pa.py_buffer(offsets), pa.py_buffer(encoded * count)]
    return pa.Array.from_buffers(pa.string(), count, [None, *data])


def text_array(offsets: Any, data: bytes | bytearray, valid: BoolArray | None = None) -> pa.Array:
    """Strings from their UTF-8: string i goes from `offsets[i]` to `offsets[i + 1]` (32-bit
    integers) of `data`. Null where not `valid`. Nothing is copied."""
    buffers = [_validity(valid), pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(offsets) - 1, buffers)


def flat_array(
    kind: pa.DataType, data: Any, valid: BoolArray | None = None, count: int = -1
) -> pa.Array:
    """`count` values (default: as many as `data` has) of a type of fixed width, from their bytes.
    Null where not `valid`."""
    count = len(data) if count < 0 else count
    contiguous = np.ascontiguousarray(data)
    return pa.Array.from_buffers(kind, count, [_validity(valid), pa.py_buffer(contiguous)])


def integers(values: IntArray, valid: BoolArray | None = None) -> pa.Array:
    """int64; null where not `valid`."""
    return flat_array(pa.int64(), np.asarray(values, np.int64), valid)


def numbers(values: FloatArray, valid: BoolArray | None = None) -> pa.Array:
    """double; null where not `valid`."""
    return flat_array(pa.float64(), np.asarray(values, np.float64), valid)


def truths(values: BoolArray, valid: BoolArray | None = None) -> pa.Array:
    """bool; null where not `valid`."""
    bits = np.packbits(values, bitorder="little")
    return flat_array(pa.bool_(), bits, valid, len(values))


def lists(
    counts: Sequence[int] | IntArray, items: pa.Array, valid: BoolArray | None = None
) -> pa.Array:
    """Lists that take `counts` items each from `items`, in order.

    A list that is not `valid` is null, and its count must be 0.
    """
    buffers = [_validity(valid), pa.py_buffer(_offsets(counts))]
    kind = pa.list_(items.type)
    return pa.Array.from_buffers(kind, len(counts), buffers, children=[items])


def structs(kind: pa.StructType, children: Sequence[pa.Array], valid: BoolArray | None) -> pa.Array:
    """Structs with at least one field; null where not `valid`."""
    buffers = [_validity(valid)]
    return pa.Array.from_buffers(kind, len(children[0]), buffers, children=list(children))


def validity(array: pa.Array) -> BoolArray:
    """Which values are not null."""
    if not array.null_count:
        return np.ones(len(array), np.bool_)
    bitmap = array.buffers()[0]
    if bitmap is None:  # of the type null
        return np.zeros(len(array), np.bool_)
    bits = np.frombuffer(bitmap, np.uint8)
    every = np.unpackbits(bits, bitorder="little", count=array.offset + len(array))
    return every[array.offset :].astype(np.bool_)


def holds_text(array: pa.Array, text: str) -> bool:
    """Whether a text occurs in any string of an array, or across two of them."""
    data = array.buffers()[2]
    return data is not None and text.encode() in data.to_pybytes()


def int64_values(array: pa.Array) -> IntArray:
    """The values of an int64 array without nulls."""
    return np.frombuffer(array.buffers()[1], np.int64, len(array), 8 * array.offset)


def _validity(valid: BoolArray | None) -> pa.Buffer | None:
    return None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))


def _offsets(counts: Sequence[int] | IntArray) -> Any:
    ends = np.cumsum(np.asarray(counts, dtype=np.int64))
    if len(ends) and ends[-1] > np.iinfo(np.int32).max:
        raise InternalError(f"{ends[-1]:,} bytes or items in one batch of one column")
    return np.append(0, ends).astype(np.int32)
