"""The first bytes of a file → what kind of file it is, if it is not JSON lines.

Only signs that no JSON lines have are taken: a file whose first line is broken is still read line
by line.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress

from msgspec import Struct

HEAD_BYTES = 4096  # what `kind_of` wants to see of a file
BOM = b"\xef\xbb\xbf"


class FileKind(Struct, frozen=True):
    """A kind of file that is not JSON lines. `title` completes "this is …"; `fix` says what to do,
    empty if its rows can be converted."""

    name: str
    title: str
    fix: str = ""


_FETCH = (
    "download the data itself: this is a page that a browser shows; on Hugging Face its address "
    "has /resolve/ where the page has /blob/"
)
_NO_READER = "write it as JSON lines with the tool that made it: one rollout per line"

PARQUET = FileKind("parquet", "a parquet file")
PARQUET_SEALED = FileKind(
    "encrypted parquet", "an encrypted parquet file", "write it again without encryption"
)
ARROW_FILE = FileKind("arrow file", "an Arrow or Feather file")
ARROW_STREAM = FileKind("arrow stream", "an Arrow stream, as Hugging Face datasets keeps it")
XZ = FileKind("xz", "an xz file")
UTF16 = FileKind("utf-16", "text in UTF-16")
UTF16_LE = FileKind("utf-16-le", "text in UTF-16")
UTF16_BE = FileKind("utf-16-be", "text in UTF-16")
CSV = FileKind("csv", "a CSV file")
TSV = FileKind("tsv", "a TSV file")
JSON_ARRAY = FileKind("json array", "a JSON array")
JSON_OBJECT = FileKind("json object", "JSON spread over many lines")
PYTHON = FileKind("python", "a file of Python dicts, not JSON")
LFS_POINTER = FileKind(
    "git lfs", "a Git LFS pointer, not the data", "fetch the file itself with `git lfs pull`"
)
EVAL_LOG = FileKind("inspect log", "a log of inspect_ai")
ZIP = FileKind("zip", "a zip archive")
TORCH = FileKind("torch", "a file of torch.save: a pickle, which runs code when it is loaded")
TAR = FileKind("tar", "a tar archive")
HTML = FileKind("html", "an HTML page", _FETCH)
XML = FileKind("xml", "an XML document, as a store answers with an error", _FETCH)
PICKLE = FileKind("pickle", "a Python pickle", _NO_READER)
NUMPY = FileKind("numpy", "a NumPy array", _NO_READER)
HDF5 = FileKind("hdf5", "an HDF5 file", _NO_READER)
SQLITE = FileKind("sqlite", "an SQLite database", _NO_READER)

_MAGIC = {
    b"PAR1": PARQUET,
    b"PARE": PARQUET_SEALED,
    b"ARROW1\0": ARROW_FILE,
    b"FEA1": ARROW_FILE,
    b"\xff\xff\xff\xff": ARROW_STREAM,
    b"\xfd7zXZ\0": XZ,
    b"PK\x03\x04": ZIP,
    b"version https://git-lfs": LFS_POINTER,
    b"\x93NUMPY": NUMPY,
    b"\x89HDF\r\n": HDF5,
    b"SQLite format 3\0": SQLITE,
    **{bytes([0x80, protocol]): PICKLE for protocol in range(2, 6)},
    b"{\0": UTF16_LE,
    b"\0{": UTF16_BE,
}
_COMPRESSED = {
    "gzip": b"\x1f\x8b",
    "zstd": b"\x28\xb5\x2f\xfd",
    "bz2": b"BZh",
    "lz4": b"\x04\x22\x4d\x18",
}

_ARRAY = re.compile(rb"\[\s*[\[{\]]")
# An object that its first line does not close, with a field at the start of the second.
_OPEN_OBJECT = re.compile(rb'\{[ \t]*(?:"[^\n]*[,\[{])?[ \t\r]*\n\s*["}]')
_CELL = re.compile(r'\s*"?([A-Za-z_][\w .@/-]{0,40})"?\s*')
# One of these names makes a first line of names a header.
_COLUMNS = {
    *("answer", "completion", "generation", "input", "label", "messages", "output", "problem"),
    *("prompt", "question", "response", "reward", "score", "text"),
}


def compression_of(head: bytes) -> str | None:
    """The codec that a file of these first bytes is compressed with; None if it is not."""
    return next((codec for codec, magic in _COMPRESSED.items() if head.startswith(magic)), None)


def is_plain_json(head: bytes) -> bool:
    """Whether a file of these first bytes is JSON that is not compressed."""
    return head.removeprefix(BOM).lstrip()[:1] in (b"{", b"[")


def kind_of(head: bytes, whole: bool) -> FileKind | None:
    """The kind of a file of these first (uncompressed) bytes; None if it may be JSON lines.

    `head` has HEAD_BYTES bytes, or all of a shorter file, which `whole` says.
    """
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") and b"\0" in head[2:8]:
        return UTF16
    if head[257:262] == b"ustar":
        return TAR
    return _kind_of_text(head.removeprefix(BOM).lstrip(), whole)


def _kind_of_text(text: bytes, whole: bool) -> FileKind | None:
    start = text[:20].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return HTML
    if start.startswith(b"<?xml"):
        return XML
    if start.startswith(b"{'"):
        return PYTHON
    if _ARRAY.match(text):
        return JSON_ARRAY if _is_one_value(text, whole) else None
    if _OPEN_OBJECT.match(text):
        return JSON_OBJECT
    return _table(text)


def _is_one_value(text: bytes, whole: bool) -> bool:
    """Whether the first line is not a JSON value of its own, or there is no other line. An array
    without any object is a line that holds no rollout."""
    first, newline, rest = text.partition(b"\n")
    if not newline and not whole:  # a first line of thousands of bytes
        return True
    with suppress(ValueError, RecursionError):
        objects = any(isinstance(item, dict) for item in json.loads(first))
        return objects and whole and not rest.strip()
    return True


def _table(text: bytes) -> FileKind | None:
    """CSV or TSV, if the first line is a header with a name that rollouts have."""
    first, newline, _ = text.partition(b"\n")
    for delimiter, kind in ((",", CSV), ("\t", TSV)):
        cells = first.decode("utf-8", "replace").strip().split(delimiter)
        names = [_CELL.fullmatch(cell) for cell in cells]
        if newline and len(cells) > 1 and all(names):
            found = {name[1].casefold() for name in names if name}
            return kind if found & _COLUMNS else None
    return None
