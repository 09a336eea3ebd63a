"""A file of rollouts, and its shards.

A shard is a byte range of one file, cut at line ends, so every line is in exactly one shard. Files
are read with plain reads, never mapped: a file that shrinks under a map kills the process.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import BinaryIO, cast

from msgspec import Struct

from curriculum.containers.container import Container
from curriculum.containers.file_kinds import PARQUET
from curriculum.errors import InputError
from curriculum.storage.paths import AnyPath, StorePath, any_in_store
from curriculum.storage.requests import RANGE_BYTES, ahead, each

SHARD_BYTES = 16 << 20
STORE_SHARD_BYTES = 64 << 20  # a shard costs a few requests
MOST_SHARDS = 20_000  # a shard costs the driver a millisecond or two
_PROBE_BYTES = 1 << 16


class InputFile(Struct, frozen=True):
    """A rollout file as found: its path as given, its size in bytes, and its compression.

    `modified_ns` is None if the time of the last write does not matter. `bom_bytes` is 3 if the
    text starts with a UTF-8 byte order mark, which belongs to no line. `container` is what its
    records lie in if they are no lines: these are made as it is read, line n of record n. `given`
    is what messages call it if it was given without a path of its own.
    """

    path: AnyPath
    size: int
    modified_ns: int | None
    codec: str | None
    bom_bytes: int
    container: Container | None = None
    given: str | None = None

    @property
    def name(self) -> str:
        """What messages and manifests call it."""
        return self.given or str(self.path)

    @property
    def is_plain(self) -> bool:
        """Whether its bytes are its lines."""
        return self.codec is None and self.container is None


class Shard(Struct, frozen=True):
    """Bytes `start` (inclusive) to `stop` (exclusive) of a file; all of it if it is compressed or
    its records are no lines.

    Those of parquet are some of its row `groups`, and the bytes are about theirs. `text` is where
    the lines are kept once they were made, if anywhere.
    """

    file: InputFile
    start: int
    stop: int
    groups: tuple[int, int] | None = None
    text: AnyPath | None = None

    @property
    def first_offset(self) -> int:
        """The byte offset of the first line in the text of the file, uncompressed; of lines that
        are made, in the text of the shard."""
        if self.file.container:
            return 0
        return self.file.bom_bytes if self.file.codec else self.start

    @property
    def first_mark(self) -> int:
        """A number for the first line of the shard; with what the lines before it have in bytes it
        is a number for any line, which no other line of the file has."""
        return self.first_offset + (self.start << 20 if self.groups else 0)


def open_file(file: InputFile, step: int = RANGE_BYTES, stop: int | None = None) -> BinaryIO:
    """Open a file. In a store it is read in ranges, the first of `step` bytes, up to `stop`."""
    path = file.path
    if isinstance(path, StorePath):
        if file.codec is not None:
            return path.open_compressed(file.codec)
        return cast(BinaryIO, path.open_range(step, stop))
    if file.codec is None:
        return path.open("rb", buffering=0)
    import pyarrow as pa  # only compressed files need it, and it is slow to load

    return cast(BinaryIO, pa.input_stream(str(path), compression=file.codec))


_FIXES = {
    errno.EMFILE: "raise the limit of open files (ulimit -n 65536), then run again",
    errno.ENFILE: "close other programs: this machine has no more open files to give",
    errno.EACCES: "allow it to be read (chmod +r), or leave it out of -i",
    errno.ENOENT: "bring it back, or remove what points to it, then run again",
    errno.ENOTCONN: "check the disk or mount that it is on, then run again",
    errno.EIO: "check the disk or mount that it is on, then run again",
    errno.ESTALE: "check the disk or mount that it is on, then run again",
}


def unreadable(path: AnyPath, error: OSError) -> InputError:
    """The error for a file that cannot be read."""
    return InputError(
        f"cannot be read ({error.strerror or error})",
        where=path,
        expected="a complete, readable file",
        fix=_FIXES.get(error.errno or 0, "fix or remove the file, then run again"),
    )


def cut_shards(files: Sequence[InputFile], shard_bytes: int | None = None) -> Iterator[Shard]:
    """Cut each file into shards of about `shard_bytes`, reading only at the cuts.

    The default is SHARD_BYTES, or STORE_SHARD_BYTES in an object store; it grows where there would
    be more than MOST_SHARDS. A longer line makes its shard longer. An empty file has no shard.
    """
    least = sum(file.size for file in files) // MOST_SHARDS
    for file in files:
        if file.container and file.container.kind == PARQUET:
            yield from _parquet_shards(file, shard_bytes or max(SHARD_BYTES, least))
            continue
        if not file.is_plain:
            yield Shard(file, 0, file.size)
            continue
        start, in_store = file.bom_bytes, isinstance(file.path, StorePath)
        size = shard_bytes or max(STORE_SHARD_BYTES if in_store else SHARD_BYTES, least)
        for stop in (_cuts_ahead if in_store else _cuts)(file, size):
            if stop > start:
                yield Shard(file, start, stop)
                start = stop


def _parquet_shards(file: InputFile, shard_bytes: int) -> Iterator[Shard]:
    from curriculum.containers.parquet_rows import cut_rows  # loads pyarrow

    try:
        for part in cut_rows(file.path, file.size, shard_bytes):
            yield Shard(file, part.start, part.stop, (part.first, part.after))
    except OSError as error:
        raise unreadable(file.path, error) from error


def _cuts(file: InputFile, size: int) -> Iterator[int]:
    """The `stop` of each shard of a file."""
    start = file.bom_bytes
    while start < file.size:
        start = _next_line_start(file, min(start + size, file.size))
        yield start


def _cuts_ahead(file: InputFile, size: int) -> Iterator[int]:
    """Like `_cuts`, with several requests at a time; a long line may repeat a `stop`."""
    after = range(file.bom_bytes, file.size, size)[1:]
    yield from ahead(partial(_next_line_start, file), after)
    yield file.size


def _next_line_start(file: InputFile, offset: int) -> int:
    """The first line start at or after `offset`, or the end of the file."""
    try:
        with open_file(file, step=_PROBE_BYTES) as stream:
            position = stream.seek(offset - 1)
            while chunk := stream.read(_PROBE_BYTES):
                newline = chunk.find(b"\n")
                if newline >= 0:
                    return position + newline + 1
                position += len(chunk)
    except OSError as error:
        raise unreadable(file.path, error) from error
    return file.size


def check_unchanged(files: Iterable[InputFile]) -> None:
    """Raise InputError if a file was changed or removed since it was found."""
    known = {file.path: file for file in files}
    list(each(_check_unchanged, known.values(), any_in_store(known)))


def _check_unchanged(file: InputFile) -> None:
    try:
        status = file.path.stat()
    except OSError as error:
        raise changed(file) from error
    if (status.st_size, status.st_mtime_ns) != (file.size, file.modified_ns):
        raise changed(file)


def changed(file: InputFile) -> InputError:
    """The error for a file that was written to, truncated or removed while the run read it."""
    return InputError(
        "the file changed while it was read",
        where=file.path,
        expected=f"the {file.size:,} bytes found at the start",
        fix="run again when whatever writes the file has finished",
    )
