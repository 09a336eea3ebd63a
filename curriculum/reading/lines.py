"""One line → a JSON object, or the reason why it is malformed.

msgspec reads a line first. One that it refuses gets a second opinion from Python's `json`, which
takes NaN, Infinity and lone surrogates, as Python writes them.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple, TypeAlias

import msgspec

from curriculum.reading.blocks import Block

Line: TypeAlias = bytes | memoryview  # without its newline


# What msgspec raises for a line that it refuses.
REFUSALS = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


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
        raise Malformed("nested too deep") from error
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


def describe(value: object) -> str:
    """A JSON value for a message: a scalar in at most 40 characters, anything else by its type."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 40 else f"{text[:36]}…{text[-1]}"


def decode_block(decoder: msgspec.json.Decoder[Any], block: Block) -> list[Any] | None:
    """Decode all lines of a block at once; None if they must be decoded one by one.

    msgspec ignores line ends: an object may span two lines, and a line may hold two objects. If
    there are as many objects as lines, and no object spans lines, each line is one object.
    """
    if not block.parts_objects():
        return None
    try:
        decoded = decoder.decode_lines(block.text)
    except REFUSALS:
        return None
    return decoded if len(decoded) == len(block.ends) else None


class SurrogateReplacer:
    """Replaces lone surrogates, which UTF-8 cannot encode, with U+FFFD, at any depth of a value."""

    def __init__(self) -> None:
        self.happened = False

    def __call__(self, value: Any) -> Any:
        """The value without lone surrogates. Sets `happened` if there were any."""
        if isinstance(value, str):
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                self.happened = True
                return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            return value
        if isinstance(value, list):
            return [self(item) for item in value]
        if isinstance(value, dict):
            return {self(key): self(item) for key, item in value.items()}
        return value
