"""Paths → files → shards → blocks of whole lines.

A shard is a byte range of one file, cut at line ends: every line lies in exactly one shard, in
order. Files are read with plain reads, never mapped: a file that shrinks under a map kills the
process.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from curriculum.arrays import IntArray
from curriculum.errors import InputError

CODECS = {"": None, ".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4"}
SUFFIXES = tuple(stem + codec for stem in (".jsonl", ".ndjson") for codec in CODECS)

SHARD_BYTES = 16 << 20
# What is decoded at once should lie in a processor's own cache: 4 MB take a third longer.
BLOCK_BYTES = 1 << 20
_PROBE_BYTES = 1 << 16
_BOM = b"\xef\xbb\xbf"
_OPEN, _CLOSE = b"{}"
_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class InputFile:
    """A rollout file as found: its path as given, size in bytes, and how it is compressed.

    `bom_bytes` is 3 where the text starts with a UTF-8 byte order mark, which belongs to no line.
    """

    path: str
    size: int
    modified_ns: int
    codec: str | None
    bom_bytes: int


@dataclass(frozen=True)
class Shard:
    """Bytes `start` (inclusive) to `stop` (exclusive) of one file; a compressed file is one."""

    file: InputFile
    start: int
    stop: int

    @property
    def first_offset(self) -> int:
        """Where the first line begins, in bytes of the (uncompressed) text."""
        return self.file.bom_bytes if self.file.codec else self.start


def find_files(inputs: Sequence[str]) -> list[InputFile]:
    """The rollout files that `inputs` (directories, files, globs) name, sorted, each once.

    Directories are not searched below their first level; hidden files are not taken. A file named
    outright must end in one of SUFFIXES. Raises InputError where a path is missing, holds no
    rollout file, or cannot be read.
    """
    paths = sorted({str(path) for given in inputs for path in _expand(given)})
    once: dict[Path, str] = {}
    for path in paths:
        once.setdefault(Path(path).resolve(), path)
    return [find_file(Path(path)) for path in once.values()]


def _expand(given: str) -> list[Path]:
    if Path(given).is_dir():
        found = [path for path in Path(given).iterdir() if _has_rollout_name(path)]
        nothing = "holds no rollout files"
    elif os.path.lexists(given):
        if not given.endswith(SUFFIXES):
            raise InputError(
                "this file's name does not end like a rollout file's",
                where=given,
                expected="one of " + ", ".join(SUFFIXES),
                fix="rename it, or leave it out of -i",
            )
        return [Path(given)]
    else:
        matches = map(Path, glob.glob(given))  # noqa: PTH207, Path.glob takes no absolute pattern
        found = [path for path in matches if _has_rollout_name(path)]
        nothing = "no such file or directory, and no glob that matches rollout files"
    if not found:
        raise InputError(
            nothing,
            where=given,
            expected="files ending in " + ", ".join(SUFFIXES),
            fix="check the path given with -i",
        )
    return found


def _has_rollout_name(path: Path) -> bool:
    """Whether to take what stands there; a link that leads nowhere is taken, and then refused."""
    name = path.name
    return name.endswith(SUFFIXES) and not name.startswith(".") and not path.is_dir()


def find_file(path: Path) -> InputFile:
    """Look at one file: its size, its compression, and whether it can be read at all."""
    codec = CODECS.get(path.suffix)
    try:
        status = path.stat()
        probe = InputFile(str(path), status.st_size, status.st_mtime_ns, codec, 0)
        with _open(probe) as stream:
            head = stream.read(len(_LFS_POINTER))
    except OSError as error:
        raise _unreadable(str(path), error) from error
    if codec is not None and not status.st_size:
        raise _unreadable(str(path), OSError("an empty file is no compressed file"))
    if head.startswith(_LFS_POINTER):
        raise InputError(
            "this is a Git LFS pointer, not the data",
            where=str(path),
            expected="JSON lines",
            fix="fetch the file itself with `git lfs pull`",
        )
    bom_bytes = len(_BOM) if head.startswith(_BOM) else 0
    return InputFile(str(path), status.st_size, status.st_mtime_ns, codec, bom_bytes)


def _open(file: InputFile) -> BinaryIO:
    if file.codec is None:
        return Path(file.path).open("rb", buffering=0)
    import pyarrow as pa  # only compressed files need it, and it takes long to load

    return cast(BinaryIO, pa.input_stream(file.path, compression=file.codec))


def _unreadable(path: str, error: OSError) -> InputError:
    return InputError(
        f"cannot be read ({error.strerror or error})",
        where=path,
        expected="a complete, readable file",
        fix="mend or remove the file, then run again",
    )


def cut_shards(files: Iterable[InputFile], shard_bytes: int | None = None) -> Iterator[Shard]:
    """Cut each file into shards of about `shard_bytes` (SHARD_BYTES), reading only at the cuts.

    A line longer than that makes its shard as long as it needs; an empty file has no shard.
    """
    for file in files:
        if file.codec is not None:
            yield Shard(file, 0, file.size)
            continue
        start = file.bom_bytes
        while start < file.size:
            stop = _next_line_start(file, min(start + (shard_bytes or SHARD_BYTES), file.size))
            yield Shard(file, start, stop)
            start = stop


def _next_line_start(file: InputFile, offset: int) -> int:
    """The first line start at or after `offset`, or the end of the file."""
    try:
        with _open(file) as stream:
            position = stream.seek(offset - 1)
            while chunk := stream.read(_PROBE_BYTES):
                newline = chunk.find(b"\n")
                if newline >= 0:
                    return position + newline + 1
                position += len(chunk)
    except OSError as error:
        raise _unreadable(file.path, error) from error
    return file.size


@dataclass(frozen=True)
class Block:
    r"""Whole lines: the first `size` bytes of a buffer that is used again for the next block.

    Only `\n` ends a line, and only the last line of a file may lack it.
    """

    buffer: bytearray
    size: int

    @property
    def text(self) -> memoryview:
        """All lines together; valid until the next block."""
        return memoryview(self.buffer)[: self.size]

    @cached_property
    def ends(self) -> IntArray:
        """Where each line ends, before its newline."""
        find, size = self.buffer.find, self.size
        ends, start = [], 0
        while (end := find(b"\n", start, size)) >= 0:
            ends.append(end)
            start = end + 1
        if start < size:
            ends.append(size)
        return np.array(ends, dtype=np.int64)

    @cached_property
    def starts(self) -> IntArray:
        """Where each line starts."""
        return np.concatenate(([0], self.ends[:-1] + 1))

    @property
    def lengths(self) -> IntArray:
        """The bytes of each line, without its newline."""
        return self.ends - self.starts

    def line(self, number: int) -> memoryview:
        """One line, without its newline; valid until the next block."""
        return memoryview(self.buffer)[self.starts[number] : self.ends[number]]

    def lines(self) -> list[memoryview]:
        """All lines, one by one."""
        view, starts, ends = memoryview(self.buffer), self.starts.tolist(), self.ends.tolist()
        return [view[start:end] for start, end in zip(starts, ends, strict=True)]

    def parts_objects(self) -> bool:
        """Whether every line, as it stands, starts with `{` and ends with `}`.

        Where the text is a sequence of JSON objects, none then goes on from one line to the next:
        inside an object, `}` is never followed by `{`.
        """
        text = np.frombuffer(self.buffer, np.uint8, self.size)
        opened, closed = text[self.starts] == _OPEN, text[self.ends - 1] == _CLOSE
        return bool(opened.all() and closed.all())


def read_blocks(shard: Shard, block_bytes: int | None = None) -> Iterator[Block]:
    """The shard's lines in blocks of about `block_bytes` (BLOCK_BYTES).

    Memory is one buffer of that size, or of one line where a line is longer. Raises InputError
    where the file cannot be read or is not as long as it was.
    """
    buffer, kept = bytearray(block_bytes or BLOCK_BYTES), 0
    try:
        with _open(shard.file) as stream:
            left = _start(stream, shard)
            while count := _read(stream, buffer, kept, left):
                left -= count
                filled = kept + count
                size = buffer.rfind(b"\n", kept, filled) + 1
                if size:
                    yield Block(buffer, size)
                    buffer[: filled - size] = buffer[size:filled]
                kept = filled - size
                if kept == len(buffer):  # one line fills it
                    buffer = buffer + bytes(len(buffer))
            if left and shard.file.codec is None:
                raise changed(shard.file)
            if kept:
                yield Block(buffer, kept)
    except OSError as error:
        raise _unreadable(shard.file.path, error) from error


def _start(stream: BinaryIO, shard: Shard) -> int:
    """Go to the shard's first line; how many bytes to read from there."""
    if shard.file.codec is not None:
        stream.read(shard.file.bom_bytes)
        return sys.maxsize  # how much text a compressed file holds shows at its end
    stream.seek(shard.start)
    return shard.stop - shard.start


def _read(stream: BinaryIO, buffer: bytearray, start: int, most: int) -> int:
    with memoryview(buffer) as view, view[start : start + most] as free:
        return stream.readinto(free)  # type: ignore[attr-defined, no-any-return]


def check_unchanged(files: Iterable[InputFile]) -> None:
    """Raise InputError if a file is no longer the one that was found at the start."""
    for file in files:
        try:
            status = Path(file.path).stat()
        except OSError as error:
            raise changed(file) from error
        if (status.st_size, status.st_mtime_ns) != (file.size, file.modified_ns):
            raise changed(file)


def changed(file: InputFile) -> InputError:
    """The error for a file that was written to, cut or removed while the run read it."""
    return InputError(
        "the file changed while it was read",
        where=file.path,
        expected=f"the {file.size:,} bytes found at the start",
        fix="run again when whatever writes the file has finished",
    )
