"""One line → a JSON object, or the reason why it is malformed.

msgspec reads a line first. One that it refuses gets a second opinion from Python's `json`, which
takes NaN, Infinity and lone surrogates, as Python writes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import msgspec

Line: TypeAlias = bytes | memoryview  # without its newline

# Of a line's fields, in a message.
FIELDS_SHOWN = 12
NAMES_SHOWN = 4  # of the fields of an object
NAME_LENGTH = 40


# What msgspec raises for a line that it refuses.
REFUSALS = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


TOO_DEEP = "nested too deep"  # a kind of malformed lines
ALL = -1  # of a place: each item of a list


class Reason(NamedTuple):
    """What is wrong with a line.

    It is kept in place of the exception, whose traceback would keep all local variables alive.
    """

    kind: str
    text: str


class Malformed(ValueError):
    """A line is not a rollout. `kind` groups similar reasons; the message is the full reason."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind

    @property
    def reason(self) -> Reason:
        """The kind and the full reason, without the exception."""
        return Reason(self.kind, str(self))


def is_blank(line: Line) -> bool:
    """Whether the line holds nothing but spaces, tabs and CRs."""
    return not bytes(line).strip(b" \t\r")


def invalid_utf8(error: UnicodeDecodeError) -> Malformed:
    """The error for a line that is not valid UTF-8."""
    return Malformed("invalid UTF-8", f"byte {error.start} of the line")


def load_object(line: Line) -> dict[str, Any]:
    """Parse a line with Python's `json`. Raises Malformed, also if it is not an object."""
    try:
        value = json.loads(bytes(line).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise invalid_utf8(error) from error
    except RecursionError as error:
        raise Malformed(TOO_DEEP) from error
    except json.JSONDecodeError as error:
        nul = bytes(line).find(b"\0")
        if nul >= 0:
            raise Malformed(
                "NUL bytes", f"byte {nul} of the line; a crash or a full disk leaves them"
            ) from error
        raise Malformed("not valid JSON", f"{error.msg} (column {error.colno})") from error
    except ValueError as error:  # an integer of thousands of digits
        raise Malformed("not valid JSON", str(error)) from error
    if not isinstance(value, dict):
        raise Malformed("not a JSON object", f"the line is {describe(value)}")
    return value


def find(value: Any, place: str) -> Any:
    """The value at a place, such as `a.b`; None if any part of it is absent.

    `a[*].b` is a list: what each item of the list `a` has at `b`. `a[0]` is the first item. Where
    there is nothing at `a.b`, a field whose name is `a.b` is taken.
    """
    if "[" in place:
        return _walk(value, _steps(place))
    found = value
    for name in place.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return _with_dots(value, place) if found is None and "." in place else found


def _with_dots(value: Any, place: str) -> Any:
    """The value at a place some of whose names hold dots; None if there is none."""
    if not isinstance(value, dict):
        return None
    names = place.split(".")
    for count in range(len(names), 0, -1):
        name, rest = ".".join(names[:count]), ".".join(names[count:])
        if name in value:
            found = _with_dots(value[name], rest) if rest else value[name]
            if found is not None:
                return found
    return None


# What a rollout does not say at the top, it may say where verl does.
ELSEWHERE = {"data_source": ("extra_info.data_source",)}


class FieldReader:
    """Reads some fields of lines, without the rest of them."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(dict.fromkeys(names))
        ids = [f"f{i}" for i in range(len(self._names))]
        fields = [(name, Any, None) for name in ids]
        rename = dict(zip(ids, self._names, strict=True))
        kind = msgspec.defstruct("Line", fields, rename=rename, gc=False)
        self._decode = msgspec.json.Decoder(kind).decode

    def read(self, line: Line) -> Mapping[str, Any]:
        """The fields, None where one is absent; none at all of a line that is no object."""
        try:
            decoded = msgspec.structs.astuple(self._decode(line))
            return dict(zip(self._names, decoded, strict=True))
        except REFUSALS:
            pass
        try:
            return load_object(line)
        except Malformed:
            return {}


def find_first(fields: Mapping[str, Any], place: str) -> Any:
    """The value at a place or, if there is none, where else it may be; None if it is nowhere."""
    found = (find(fields, other) for other in (place, *ELSEWHERE.get(place, ())))
    return next((value for value in found if value is not None), None)


class PlaceReader:
    """Reads what lines hold at some places."""

    def __init__(self, places: Sequence[str]) -> None:
        self._places = tuple(places)
        every = [other for place in places for other in (place, *ELSEWHERE.get(place, ()))]
        tops = [re.split(r"[.\[]", place, maxsplit=1)[0] for place in every]
        # The name of a field may hold dots itself.
        self._fields = FieldReader([*tops, *(place for place in every if "[" not in place)])

    def read(self, line: Line) -> list[Any]:
        """The value at each place; None where there is nothing."""
        fields = self._fields.read(line)
        return [find_first(fields, place) for place in self._places]

    def read_lines(self, lines: Iterable[Line]) -> dict[str, list[Any]]:
        """The values of several lines by place."""
        read = [self.read(line) for line in lines]
        return {place: [row[i] for row in read] for i, place in enumerate(self._places)}


_STEP = re.compile(r"\[(\*|\d+)\]|([^.\[]+)")


@lru_cache
def _steps(place: str) -> tuple[str | int, ...]:
    """The parts of a place: names, the numbers of items, and ALL for each item of a list."""
    found = _STEP.findall(place)
    return tuple(name or (ALL if item == "*" else int(item)) for item, name in found)


def _walk(value: Any, steps: Sequence[str | int]) -> Any:
    for i, step in enumerate(steps):
        if step == ALL:
            return [_walk(v, steps[i + 1 :]) for v in value] if isinstance(value, list) else None
        if isinstance(step, int):
            items = isinstance(value, list) and step < len(value)
            value = value[step] if items else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def describe(value: object) -> str:
    """A JSON value for a message: a scalar in at most 40 characters, anything else by its type."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 40 else f"{text[:36]}…{text[-1]}"


def describe_fields(line: Mapping[str, Any], first: Sequence[str] = ()) -> str:
    """The fields of an object in its order, such as `question: text, scores: list of 8 numbers`.

    Of more than FIELDS_SHOWN, those whose names are in `first` are shown before others.
    """
    names = list(line)
    if len(names) > FIELDS_SHOWN:
        chosen = sorted(names, key=lambda name: name not in first)[:FIELDS_SHOWN]
        names = [name for name in names if name in chosen]
    shown = ", ".join(f"{shorten(name)}: {describe_kind(line[name])}" for name in names)
    rest = len(line) - len(names)
    return (shown or "no fields") + (f" and {rest:,} more" if rest else "")


def describe_kind(value: object) -> str:
    """The kind of a value, with the length of a list and the names of an object's fields."""
    if isinstance(value, list):
        return _describe_list(value)
    if isinstance(value, dict):
        return f"object{_names(value)}" if value else "empty object"
    return _kind(value)


def is_message(value: object) -> bool:
    """Whether a value is a message of a conversation: an object with a role and content."""
    return isinstance(value, dict) and {"role", "content"} <= value.keys()


def shorten(text: str, length: int = NAME_LENGTH) -> str:
    """A text on one line, of at most `length` characters; the end of a longer one is left out."""
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "text"
    return "list" if isinstance(value, list) else "object"


def _describe_list(values: list[Any]) -> str:
    if not values:
        return "empty list"
    of = f"list of {len(values):,}"
    if all(map(is_message, values)):
        return f"{of} message{'s' if len(values) > 1 else ''}"
    kinds = {_kind(value) for value in values}
    known = kinds - {"null"} or kinds
    if len(known) > 1:
        return f"{of} values of several kinds"
    kind = known.pop() + ("s" if len(values) > 1 else "")
    nulls = f", {values.count(None)} null" if len(kinds) > 1 else ""
    inside = _names(values[0]) if isinstance(values[0], dict) and values[0] else ""
    return f"{of} {kind}{inside}{nulls}"


def _names(fields: Mapping[str, Any]) -> str:
    shown = ", ".join(shorten(name) for name in list(fields)[:NAMES_SHOWN])
    return f" ({shown}{', …' if len(fields) > NAMES_SHOWN else ''})"


class SurrogateReplacer:
    """Replaces lone surrogates, which UTF-8 cannot encode, with U+FFFD, at any depth of a value.

    `text` is the JSON that the values come from; most holds no escape of a surrogate, and then
    nothing is looked at.
    """

    def __init__(self, text: Line = b"\\ud") -> None:
        self.happened = False
        self._looks = b"\\ud" in bytes(text).lower()

    def __call__(self, value: Any) -> Any:
        """The value without lone surrogates. Sets `happened` if there were any. Raises Malformed
        if it is nested too deep."""
        try:
            return self._replace(value) if self._looks else value
        except RecursionError as error:
            raise Malformed(TOO_DEEP) from error

    def _replace(self, value: Any) -> Any:
        if isinstance(value, str):
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                self.happened = True
                return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            return value
        if isinstance(value, list):
            return [self._replace(item) for item in value]
        if isinstance(value, dict):
            return {self._replace(key): self._replace(item) for key, item in value.items()}
        return value
