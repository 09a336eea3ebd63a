"""Paths on the local disk and in object stores (`s3://`, `gs://`), with the same methods.

An object is written from beginning to end, appears when it is complete, and cannot be renamed, only
copied within its store. A request takes long, so many are made at a time.
"""

from __future__ import annotations

import contextlib
import glob
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, NamedTuple, TypeAlias, cast
from urllib.parse import unquote

from curriculum.errors import InputError, InternalError, UsageError
from curriculum.storage.requests import RANGE_BYTES, RangeReader, persist

AnyPath: TypeAlias = "Path | StorePath"

REQUEST_SECONDS = 300.0
CONNECT_SECONDS = 10.0
COPY_BYTES = 5_000_000_000  # the most that S3 copies in one request

# s3://bucket/key, optionally with ?region=… for pyarrow; any other ? is part of a glob.
_QUERY = r"\?(?:region|scheme|endpoint_override|force_virtual_addressing|retry_limit_seconds)=.*"
_URL = re.compile(rf"((?:s3|gs)://[^/?@]+)(/.*?)?({_QUERY})?", re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|(s3|gs|file):/", re.IGNORECASE)


def to_path(text: str) -> AnyPath:
    """A path on the local disk (also written file:///…) or in an object store. Raises UsageError
    for other URLs, and for a URL with keys in it."""
    if text.startswith("file:///"):
        return Path(unquote(text.removeprefix("file://")))
    if parts := _URL.fullmatch(text):
        root, key, query = parts.groups(default="")
        return StorePath(root, re.sub("/+", "/", key).strip("/"), query)
    scheme = _SCHEME.match(text)
    if scheme is None:
        return Path(text)
    if "@" in text:  # outputs and messages would repeat the keys
        raise UsageError(
            "there are keys in this URL",
            where=f"{scheme[0]}…",
            expected="keys where the store's own tools look for them",
            fix="take them out of the URL; for S3 set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    raise UsageError(
        "this is no URL that is known here",
        where=text,
        expected="s3://bucket/…, gs://bucket/…, file:///… or a path of the local disk",
        fix="write it in one of these ways",
    )


def any_in_store(paths: Iterable[AnyPath | None]) -> bool:
    """Whether any of the paths is in an object store."""
    return any(isinstance(path, StorePath) for path in paths)


class _Status(NamedTuple):
    st_size: int
    st_mtime_ns: int


@dataclass(frozen=True)
class StorePath:
    """A file or directory in an object store: `key` in the bucket `root`, such as s3://bucket.

    `query` tells pyarrow how to reach the store. `listed` is the file information from a listing,
    if any. A directory is a common prefix of keys.
    """

    root: str
    key: str
    query: str = field(default="", compare=False)
    listed: Any = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.root}/{self.key}{self.query}"

    def as_new(self) -> StorePath:
        """The same path without the information from a listing."""
        return StorePath(self.root, self.key, self.query)

    def __truediv__(self, name: str) -> StorePath:
        return StorePath(self.root, f"{self.key}/{name}".lstrip("/"), self.query)

    @property
    def name(self) -> str:
        """The last part of the key."""
        return PurePosixPath(self.key).name

    @property
    def suffix(self) -> str:
        """The end of the name, from its last dot."""
        return PurePosixPath(self.key).suffix

    @property
    def parent(self) -> StorePath:
        """The directory that contains it."""
        return StorePath(self.root, self.key.rpartition("/")[0], self.query)

    def resolve(self) -> StorePath:
        """The path itself: a store has no links."""
        return self

    @property
    def files(self) -> Any:
        """The pyarrow file system of the store."""
        return _file_system(self.root, self.query)

    @property
    def name_in_store(self) -> str:
        """Bucket and key, as pyarrow's file system names them."""
        return f"{self.root.partition('://')[2]}/{self.key}".rstrip("/")

    def _info(self) -> Any:
        return self.listed or persist(self.files.get_file_info, self.name_in_store)

    @property
    def _kind(self) -> str:
        return str(self._info().type.name)

    def exists(self) -> bool:
        """Whether this file or directory exists."""
        return self._kind != "NotFound"

    def is_dir(self) -> bool:
        """Whether this is an existing directory."""
        return self._kind == "Directory"

    def is_file(self) -> bool:
        """Whether this is an existing file."""
        return self._kind == "File"

    def is_symlink(self) -> bool:
        """False: a store has no links."""
        return False

    def stat(self) -> _Status:
        """A file's size in bytes and its modification time. Raises FileNotFoundError."""
        info = self._info()
        if info.type.name != "File":
            raise FileNotFoundError(2, "No such file", str(self))
        return _Status(info.size, info.mtime_ns)

    def iterdir(self) -> Iterator[StorePath]:
        """The direct entries of the directory; none if it does not exist."""
        from pyarrow.fs import FileSelector

        everything = FileSelector(self.name_in_store, allow_not_found=True)
        for info in persist(self.files.get_file_info, everything):
            if info.path.strip("/") != self.name_in_store:
                yield replace(self / info.base_name, listed=info)

    def directories(self) -> list[StorePath]:
        """All directories inside this one, but for hidden ones."""
        inside = [path for path in self.iterdir() if path.is_dir() and path.name[0] != "."]
        return [found for path in inside for found in (path, *path.directories())]

    def glob(self) -> list[StorePath]:
        """The existing paths that match this one as a pattern. ** matches any number of
        directories, and other wildcards do not match a slash."""
        paths = [StorePath(self.root, "", self.query)]
        for part in PurePosixPath(self.key).parts:
            if part == "**":
                paths = [inside for path in paths for inside in (path, *path.directories())]
            elif glob.has_magic(part):
                entries = (entry for path in paths for entry in path.iterdir())
                hidden = part.startswith(".")
                paths = [
                    entry
                    for entry in entries
                    if fnmatchcase(entry.name, part) and entry.name.startswith(".") <= hidden
                ]
            else:
                paths = [path / part for path in paths]
        return [path for path in paths if path.exists()]

    def open(self, mode: Literal["rb", "wb"]) -> BinaryIO:
        """Open it to read in ranges, or to write. A written file appears when it is closed."""
        if mode == "wb":
            return cast(BinaryIO, persist(self.files.open_output_stream, self.name_in_store, None))
        return cast(BinaryIO, io.BufferedReader(self.open_range()))

    def open_range(self, step: int = RANGE_BYTES, stop: int | None = None) -> RangeReader:
        """Open it to read in ranges, the first of `step` bytes, up to `stop` (exclusive)."""
        try:
            file = persist(self.files.open_input_file, self.name_in_store)
        except FileNotFoundError as error:
            raise FileNotFoundError(2, "No such file", str(self)) from error
        return RangeReader(file, step, stop)

    def read_bytes(self) -> bytes:
        """The whole content."""
        with self.open_range() as ranges:
            return ranges.read_at(0, ranges.size)

    def write_bytes(self, data: bytes) -> None:
        """Write the whole content."""
        with self.open("wb") as stream:
            stream.write(data)

    def open_compressed(self, codec: str) -> BinaryIO:
        """Open it to read, decompressed with `codec`."""
        import pyarrow as pa

        return cast(BinaryIO, pa.input_stream(self.open_range(), compression=codec))

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file. Raises FileNotFoundError unless `missing_ok`."""
        try:
            persist(self.files.delete_file, self.name_in_store)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def copy(self, target: StorePath) -> None:
        """Copy to `target`. A file larger than COPY_BYTES goes through this machine."""
        if self.stat().st_size > COPY_BYTES:
            with self.open("rb") as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, RANGE_BYTES)
        else:
            persist(self.files.copy_file, self.name_in_store, target.name_in_store)

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: writing a file makes its directory."""

    def rmdir(self) -> None:
        """Do nothing: a directory exists as long as it has files, or an object that marks it."""


@lru_cache
def _file_system(root: str, query: str) -> Any:
    import pyarrow as pa  # slow to load, and only URLs need it
    import pyarrow.fs

    try:
        files = persist(pa.fs.FileSystem.from_uri, f"{root}/{query}")[0]
    except (OSError, ValueError) as error:  # pyarrow's errors are subclasses
        raise InputError(
            f"pyarrow cannot open this ({error})",
            where=f"{root}{query}",
            expected="s3://bucket/…, gs://bucket/… or a path of the local disk",
            fix="check the URL; pyarrow says what else it takes after a ?",
        ) from error
    if files.type_name != "s3":
        return files
    # A URL cannot set the timeout. The default is 3 s, and a large copy takes longer.
    _, (options,) = files.__reduce__()
    return pa.fs.S3FileSystem(
        **{**options, "request_timeout": REQUEST_SECONDS, "connect_timeout": CONNECT_SECONDS}
    )


def check_bucket(path: StorePath) -> None:
    """Raise InputError unless the bucket exists and can be reached."""
    bucket = StorePath(path.root, "", path.query)
    try:
        if bucket.is_dir():
            return
        found = "there is no such bucket"
    except OSError as error:
        found = f"it cannot be reached ({error})"
    raise InputError(
        found,
        where=str(bucket),
        expected="a bucket of yours",
        fix="check the URL and the keys; for S3 also AWS_REGION and AWS_ENDPOINT_URL",
    )


def names_in(directory: AnyPath) -> set[str]:
    """The names of the entries of a directory; none if it does not exist."""
    try:
        return {path.name for path in directory.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def make_directory(directory: AnyPath | None, prefix: str) -> AnyPath:
    """A new directory in `directory` (None: where this machine keeps temporary files), with a
    unique name that starts with `prefix`."""
    if isinstance(directory, StorePath):
        return directory / (prefix + os.urandom(4).hex())
    return Path(tempfile.mkdtemp(prefix=prefix, dir=directory))


def open_sink(path: AnyPath) -> Any:
    """Open a new file for pyarrow to write to."""
    import pyarrow as pa

    if isinstance(path, StorePath):
        return path.open("wb")
    return pa.OSFile(str(path), "wb")


def move(source: AnyPath, target: AnyPath) -> None:
    """Rename a file on one disk, or copy it in one store, where the source stays."""
    if isinstance(source, StorePath) and isinstance(target, StorePath):
        source.copy(target)
    elif isinstance(source, Path) and isinstance(target, Path):
        source.replace(target)
    else:
        raise InternalError(f"{source} cannot become {target}")


def remove_tree(directory: AnyPath) -> None:
    """Remove a directory and everything in it; errors are ignored."""
    if isinstance(directory, StorePath):
        with contextlib.suppress(OSError):
            persist(directory.files.delete_dir, directory.name_in_store)
    else:
        shutil.rmtree(directory, ignore_errors=True)


def printable(path: str) -> str:
    """A path as a manifest can hold it: bytes that are not UTF-8 are escaped."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
