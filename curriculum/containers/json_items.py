r"""The text of JSON values, one after another or in an array → lines, one for each value.

Raw line ends between the tokens of a value become spaces, and all its other bytes stay. Only where
strings and brackets end is looked at, a block at a time; what is wrong inside a value is for who
reads its line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from curriculum.arrays import Array, ByteArray, IntArray

BLOCK_BYTES = 1 << 20
# Classes of bytes. A raw line end in a string is WRONG.
_QUOTE, _BACKSLASH, _OPEN, _CLOSE, _NEWLINE, _WRONG = range(1, 7)
_CLASSES = {b'"': _QUOTE, b"\\": _BACKSLASH, b"{[": _OPEN, b"}]": _CLOSE, b"\n": _NEWLINE}
_TABLE = bytes(
    next((number for some, number in _CLASSES.items() if byte in some), 0) for byte in range(256)
)
_SPACE = b" \t\r\n"
# A value between brackets: what stands there must be no object and no list.
_SCALAR = re.compile(rb'"(?:[^"\\]|\\.)*"|[^\s,:\[\]{}"]+', re.DOTALL)


class Marks(Struct):
    """What matters in a block: the places of brackets outside strings and of line ends, the class
    of each, and how deep one is after it."""

    places: IntArray
    classes: ByteArray
    depths: IntArray


class Tracker:
    """Finds the marks of a text, block by block."""

    def __init__(self) -> None:
        self.depth = 0
        self.in_string = False

    def find(self, block: bytes | bytearray | memoryview) -> Marks:
        """The marks of the next block, which must not end in a backslash."""
        classes = np.frombuffer(bytes(block).translate(_TABLE), np.uint8)
        places = np.flatnonzero(classes.view(np.bool_))
        classes = classes[places]
        quotes = (classes == _QUOTE) & ~_escaped(places, classes)
        ends = np.cumsum(quotes) + self.in_string  # of quotes up to each mark
        outside = (ends - quotes) % 2 == 0
        if len(ends):
            self.in_string = bool(ends[-1] % 2)
        brackets = (classes == _OPEN) | (classes == _CLOSE)
        used = (outside & brackets) | (classes == _NEWLINE)
        classes = np.where(~outside & (classes == _NEWLINE), _WRONG, classes)[used]
        places = places[used]
        steps = (classes == _OPEN).astype(np.int64) - (classes == _CLOSE)
        depths = self.depth + np.cumsum(steps)
        if len(depths):
            self.depth = int(depths[-1])
        return Marks(places, classes, depths)


def _escaped(places: IntArray, classes: ByteArray) -> Array:
    """Whether a mark follows an odd number of backslashes."""
    slashes = classes == _BACKSLASH
    if not slashes.any():
        return np.zeros(len(places), np.bool_)
    numbers = np.arange(len(places))
    follows = np.append(False, slashes[:-1] & (np.diff(places) == 1))
    starts = np.maximum.accumulate(np.where(follows & slashes, 0, numbers))  # of each run
    length = np.where(slashes, numbers - starts + 1, 0)
    return np.asarray(follows & (np.append(0, length[:-1]) % 2 == 1))


class Broken(Exception):
    """The text is no array of values, or no values one after another; `found` says what it is."""

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found


def read_items(
    stream: BinaryIO, in_array: bool, alone: bool = True, block_bytes: int = BLOCK_BYTES
) -> Iterator[bytearray]:
    """The values of a text as lines, each with a newline, some at a time.

    With `in_array` the text begins with an array, and the values are its items; nothing may follow
    it if it is `alone`, else what follows is not read. Otherwise the values stand one after
    another. Raises Broken.
    """
    splitter = _Splitter(in_array)
    buffer, known = bytearray(), 0  # the bytes whose marks are found
    while data := stream.read(block_bytes):
        buffer += data
        usable = len(buffer.rstrip(b"\\")) if buffer.endswith(b"\\") else len(buffer)
        lines, done = splitter.add(buffer, known, usable)
        del buffer[:done]
        known = usable - done
        if lines:
            yield lines
        if splitter.after:
            while alone and data:
                if rest := bytes(buffer).strip(_SPACE):
                    raise Broken(f"after its end there is more: {_shown(rest + stream.read(80))}")
                data = stream.read(block_bytes)
                buffer = bytearray(data)
            return
    lines = splitter.finish(buffer)
    if lines:
        yield lines


class _Splitter:
    """Cuts a text at the ends of its values. `base` is how deep they lie. `item` is the number of
    the value that comes next, from 1, and `offset` where the buffer begins in the text. `after`
    says that the array has ended."""

    def __init__(self, in_array: bool) -> None:
        self._tracker = Tracker()
        self._in_array = in_array
        self._base = 1 if in_array else 0
        self._item, self._offset = 1, 0
        self._begun = not in_array  # whether the array has
        self._comma = False  # whether one is to come before the next item
        self._start = -1  # of the item that is open, in the buffer
        self._gap = 0  # where what lies between two items begins
        self.after = False

    def add(self, buffer: bytearray, known: int, usable: int) -> tuple[bytearray, int]:
        """The lines of the values that end in the buffer, and how many of its bytes are done with.
        The marks of its first `known` bytes were found before; those up to `usable` are found."""
        with memoryview(buffer) as view:
            marks = self._tracker.find(view[known:usable])
        places = marks.places + known
        self._clean(buffer, places, marks)
        opens = (marks.classes == _OPEN) & (marks.depths == self._base + 1)
        closes = (marks.classes == _CLOSE) & (marks.depths == self._base)
        last = (marks.classes == _CLOSE) & (marks.depths == self._base - 1)
        if self._in_array and not self._begun:
            opens = opens | ((marks.classes == _OPEN) & (marks.depths == 1))
        events = np.flatnonzero(opens | closes | last)
        pieces: list[bytes] = []
        for place, close in zip(places[events].tolist(), closes[events].tolist(), strict=True):
            self._event(buffer, place, close, pieces)
            if self.after:
                break
        done = self._start if self._start >= 0 else self._gap
        self._offset += done
        self._start -= done if self._start >= 0 else 0
        self._gap -= done
        return bytearray(b"\n".join(pieces) + b"\n" if pieces else b""), done

    def _clean(self, buffer: bytearray, places: IntArray, marks: Marks) -> None:
        """Turn raw line ends in values into spaces. Raises Broken for one in a string."""
        wrong = np.flatnonzero(marks.classes == _WRONG)
        if len(wrong):
            place = self._place(int(places[wrong[0]]))
            raise Broken(f"there is a line end inside a string, {place}")
        lines = places[marks.classes == _NEWLINE]
        if len(lines):
            np.frombuffer(buffer, np.uint8)[lines] = 0x20

    def _event(self, buffer: bytearray, place: int, close: bool, pieces: list[bytes]) -> None:
        if self._start >= 0:  # an item ends
            pieces.append(bytes(buffer[self._start : place + 1]))
            self._item += 1
            self._start, self._gap, self._comma = -1, place + 1, True
            return
        between = bytes(buffer[self._gap : place])
        if not self._begun:
            self._begun, self._gap = True, place + 1
            return
        if buffer[place] in b"}]":
            self._between(between, pieces, last=True)
            if not self._in_array or buffer[place] != 0x5D:
                raise Broken(
                    f"there is a {chr(buffer[place])} {self._place(place)} that closes nothing"
                )
            self.after, self._gap = True, place + 1
            return
        self._between(between, pieces, last=False)
        self._start = place

    def _between(self, text: bytes, pieces: list[bytes], last: bool) -> None:
        """Take what lies between two items: a comma, and values that are no objects or lists."""
        if not self._in_array:
            pieces += self._scalars(text)
            return
        stripped = text.strip(_SPACE)
        if stripped == (b"," if self._comma and not last else b""):
            return
        parts = _SCALAR.sub(b"0", stripped).translate(None, _SPACE)
        values = _SCALAR.findall(stripped)
        wanted = b",".join([b""] * self._comma + [b"0"] * len(values) + [b""] * (not last))
        if parts != wanted:
            where = f"before the end of the array, {self._place(self._gap)}," if last else ""
            where = where or f"between the items, {self._place(self._gap)},"
            wanted_text = "nothing" if last or not self._comma else "one comma"
            raise Broken(f"{where} there is {_shown(stripped)}, not {wanted_text}")
        pieces += values
        self._item += len(values)

    def _scalars(self, text: bytes) -> list[bytes]:
        values = _SCALAR.findall(text)
        if _SCALAR.sub(b"", text).strip(_SPACE):
            raise Broken(f"between values there is {_shown(text.strip(_SPACE))}")
        self._item += len(values)
        return values

    def finish(self, buffer: bytearray) -> bytearray:
        """What is left at the end of the text. Raises Broken if the text ends too early."""
        if self._start >= 0 or self._tracker.in_string:
            raise Broken(f"it ends inside {self._where()}")
        if self._in_array:
            found = "after" if self._item > 1 else "before"
            raise Broken(
                f"the array is not closed: it ends {found} item {max(self._item - 1, 1):,}"
            )
        values = self._scalars(bytes(buffer[self._gap :]))
        return bytearray(b"\n".join(values) + b"\n" if values else b"")

    def _where(self) -> str:
        begins = (
            f", which begins at byte {self._offset + self._start:,}" if self._start >= 0 else ""
        )
        return f"{'item' if self._in_array else 'value'} {self._item:,}{begins}"

    def _place(self, place: int) -> str:
        return f"at byte {self._offset + place:,}"


def _shown(text: bytes) -> str:
    shown = text[:40].decode("utf-8", "replace")
    return repr(shown) + (" …" if len(text) > 40 else "")


class Inner(Struct, frozen=True):
    """A list or object in a field of an object: where it starts in the text, whether it is a list,
    and whether its first item is an object."""

    start: int
    is_list: bool
    has_objects: bool


class Outline(Struct, frozen=True):
    """An object without what is in its lists and objects: `fields` has an Inner for each of these,
    and all other values as they are. `alone` says that nothing follows it."""

    fields: dict[str, Any]
    alone: bool

    @property
    def lists(self) -> dict[str, Inner]:
        """The fields that are lists of objects."""
        inner = {name: value for name, value in self.fields.items() if isinstance(value, Inner)}
        return {name: value for name, value in inner.items() if value.has_objects}


def outline(stream: BinaryIO, block_bytes: int = BLOCK_BYTES) -> Outline | None:
    """The outline of the object that a text begins with; None if it begins with none, or if it is
    not valid JSON. Reads to the end of the text, or to where another value begins. Raises Broken
    for an object that is not closed."""
    sketch = _Sketch()
    carried = b""
    while data := stream.read(block_bytes):
        block = carried + data
        usable = len(block.rstrip(b"\\"))
        carried = block[usable:]
        if not sketch.add(block[:usable]):
            break
    return sketch.outline()


_FIRST = re.compile(rb"\[\s*([^\s])?")


class _Sketch:
    """An object without what is in its lists and objects: each of these is replaced by a list with
    its number."""

    def __init__(self) -> None:
        self._tracker = Tracker()
        self._text = bytearray()
        self._inner: list[Inner] = []
        self._undecided = False  # whether the first item of the last list is still to come
        self._offset = 0
        self._ended = False
        self._rest = b""

    def add(self, block: bytes) -> bool:
        """Add a block; False once all is known."""
        if self._ended:
            self._rest = block.strip(_SPACE)
            return not self._rest
        if self._undecided and (rest := block.lstrip(_SPACE)):
            self._inner[-1] = replace(self._inner[-1], has_objects=rest.startswith(b"{"))
            self._undecided = False
        inside, done = self._tracker.depth > 1, 0
        marks = self._tracker.find(block)
        opens = (marks.classes == _OPEN) & (marks.depths == 2)
        closes = (marks.classes == _CLOSE) & (marks.depths <= 1)
        for event in np.flatnonzero(opens | closes).tolist():
            place, depth = int(marks.places[event]), int(marks.depths[event])
            if opens[event]:
                self._open(block, done, place)
                inside = True
            elif depth == 1:
                inside, done = False, place + 1
            else:
                self._text += block[done : place + 1]
                self._ended, self._rest = True, block[place + 1 :].strip(_SPACE)
                return not self._rest
        if not inside:
            self._text += block[done:]
        self._offset += len(block)
        return bytes(self._text[: len(block)]).lstrip(_SPACE)[:1] in (b"{", b"")

    def _open(self, block: bytes, done: int, place: int) -> None:
        self._text += block[done:place] + b"[%d]" % len(self._inner)
        first = _FIRST.match(block, place)
        self._undecided = bool(first and not first[1])
        has_objects = bool(first and first[1] == b"{")
        self._inner.append(Inner(self._offset + place, first is not None, has_objects))

    def outline(self) -> Outline | None:
        """What is known when all was added. Raises Broken if the object is not closed."""
        if self._text.lstrip(_SPACE)[:1] != b"{":
            return None
        if not self._ended:
            raise Broken("it ends inside the object that it begins with")
        try:
            found = json.loads(self._text)
        except (ValueError, RecursionError):
            return None
        fields = {
            name: self._inner[value[0]] if isinstance(value, list) else value
            for name, value in found.items()
        }
        return Outline(fields, not self._rest)
