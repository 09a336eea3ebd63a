"""Files in an object store (`s3://`, `gs://`), by those methods of pathlib's paths that the toolkit
uses.

Objects are written from beginning to end, appear when they are complete, and cannot be renamed,
only copied within the store. Requests take long, so many are under way at a time.
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
from curriculum.store_requests import RANGE_BYTES, RangeReader, persist

AnyPath: TypeAlias = "Path | StorePath"

REQUEST_SECONDS = 300.0
CONNECT_SECONDS = 10.0
COPY_BYTES = 5_000_000_000  # what S3 copies in one request, at most

# s3://bucket/key, and perhaps ?region=… for pyarrow; a mere ? is part of a glob.
_QUERY = r"\?(?:region|scheme|endpoint_override|force_virtual_addressing|retry_limit_seconds)=.*"
_URL = re.compile(rf"((?:s3|gs)://[^/?@]+)(/.*?)?({_QUERY})?", re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|(s3|gs|file):/", re.IGNORECASE)


def to_path(text: str) -> AnyPath:
    """The path that a person wrote: of the local disk, also as file:///, or of an object store.
    Raises UsageError for other URLs."""
    if text.startswith("file:///"):
        return Path(unquote(text.removeprefix("file://")))
    if parts := _URL.fullmatch(text):
        root, key, query = parts.groups(default="")
        return StorePath(root, re.sub("/+", "/", key).strip("/"), query)
    scheme = _SCHEME.match(text)
    if scheme is None:
        return Path(text)
    if "@" in text:  # what is written names its paths
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


def any_in_store(paths: Iterable[str]) -> bool:
    """Whether one of them is of an object store."""
    return any(isinstance(to_path(path), StorePath) for path in paths)


class _Status(NamedTuple):
    st_size: int
    st_mtime_ns: int


@dataclass(frozen=True)
class StorePath:
    """A file or directory of an object store: `key` in the bucket `root`, such as s3://bucket;
    `query` says to pyarrow how to reach it, `listed` is what a listing said of it. A directory is
    what keys begin with."""

    root: str
    key: str
    query: str = field(default="", compare=False)
    listed: Any = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.root}/{self.key}{self.query}"

    def __truediv__(self, name: str) -> StorePath:
        return StorePath(self.root, f"{self.key}/{name}".lstrip("/"), self.query)

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self.key).name

    @property
    def suffix(self) -> str:
        """What ends the name, from its last dot."""
        return PurePosixPath(self.key).suffix

    @property
    def parent(self) -> StorePath:
        """The directory that it is in."""
        return StorePath(self.root, self.key.rpartition("/")[0], self.query)

    def resolve(self) -> StorePath:
        """The path: there are no links."""
        return self

    @property
    def files(self) -> Any:
        """The file system of pyarrow."""
        return _file_system(self.root, self.query)

    @property
    def place(self) -> str:
        """What the path is called there."""
        return f"{self.root.partition('://')[2]}/{self.key}".rstrip("/")

    def _info(self) -> Any:
        return self.listed or persist(self.files.get_file_info, self.place)

    @property
    def _kind(self) -> str:
        return str(self._info().type.name)

    def exists(self) -> bool:
        """Whether there is such a file or directory."""
        return self._kind != "NotFound"

    def is_dir(self) -> bool:
        """Whether there is such a directory."""
        return self._kind == "Directory"

    def is_file(self) -> bool:
        """Whether there is such a file."""
        return self._kind == "File"

    def is_symlink(self) -> bool:
        """Whether it is a link: there are none."""
        return False

    def stat(self) -> _Status:
        """The size in bytes of a file, and when it was written. Raises FileNotFoundError."""
        info = self._info()
        if info.type.name != "File":
            raise FileNotFoundError(2, "No such file", str(self))
        return _Status(info.size, info.mtime_ns)

    def iterdir(self) -> Iterator[StorePath]:
        """What is in the directory, directly."""
        from pyarrow.fs import FileSelector

        everything = FileSelector(self.place, allow_not_found=True)
        for info in persist(self.files.get_file_info, everything):
            if info.path.strip("/") != self.place:
                yield replace(self / info.base_name, listed=info)

    def glob(self) -> list[StorePath]:
        """What there is that this path, as a pattern, matches; * and the like match no slash."""
        paths = [StorePath(self.root, "", self.query)]
        for part in PurePosixPath(self.key).parts:
            if glob.has_magic(part):
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
        """Read it, in ranges, or write it; what is written appears when it is closed."""
        if mode == "wb":
            return cast(BinaryIO, persist(self.files.open_output_stream, self.place, None))
        return cast(BinaryIO, io.BufferedReader(self.open_range()))

    def open_range(self, step: int = RANGE_BYTES, stop: int | None = None) -> RangeReader:
        """Read it in ranges, of which the first has `step` bytes, and nothing from `stop` on."""
        try:
            file = persist(self.files.open_input_file, self.place)
        except FileNotFoundError as error:
            raise FileNotFoundError(2, "No such file", str(self)) from error
        return RangeReader(file, step, stop)

    def read_bytes(self) -> bytes:
        """All of it."""
        with self.open_range() as ranges:
            return ranges.read_at(0, ranges.size)

    def write_bytes(self, data: bytes) -> None:
        """Write it as a whole."""
        with self.open("wb") as stream:
            stream.write(data)

    def open_compressed(self, codec: str) -> BinaryIO:
        """Read what it holds, compressed by that codec."""
        import pyarrow as pa

        return cast(BinaryIO, pa.input_stream(self.open_range(), compression=codec))

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file."""
        try:
            persist(self.files.delete_file, self.place)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def copy(self, target: StorePath) -> None:
        """Write the same to that file. What is too large goes through this machine."""
        if self.stat().st_size > COPY_BYTES:
            with self.open("rb") as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, RANGE_BYTES)
        else:
            persist(self.files.copy_file, self.place, target.place)

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: what is written makes the directory."""

    def rmdir(self) -> None:
        """Nothing: a directory is there as long as its files are, or an object that marks it."""


@lru_cache
def _file_system(root: str, query: str) -> Any:
    import pyarrow as pa  # only URLs need it, and it takes long to load
    import pyarrow.fs

    try:
        files = persist(pa.fs.FileSystem.from_uri, f"{root}/{query}")[0]
    except (OSError, ValueError) as error:  # pyarrow's errors are among them
        raise InputError(
            f"pyarrow cannot open this ({error})",
            where=f"{root}{query}",
            expected="s3://bucket/…, gs://bucket/… or a path of the local disk",
            fix="check the URL; pyarrow says what else it takes after a ?",
        ) from error
    if files.type_name != "s3":
        return files
    # A URL cannot say how long to wait; by default it is 3 s, and a large copy takes longer.
    _, (options,) = files.__reduce__()
    return pa.fs.S3FileSystem(
        **{**options, "request_timeout": REQUEST_SECONDS, "connect_timeout": CONNECT_SECONDS}
    )


def check_bucket(path: StorePath) -> None:
    """Raise InputError unless the bucket is there, and can be reached."""
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
    """What is in a directory, which need not be there."""
    try:
        return {path.name for path in directory.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def make_directory(directory: AnyPath, prefix: str) -> AnyPath:
    """A new directory, with a name of its own."""
    if isinstance(directory, StorePath):
        return directory / (prefix + os.urandom(4).hex())
    return Path(tempfile.mkdtemp(prefix=prefix, dir=directory))


def open_sink(path: AnyPath) -> Any:
    """A new file for pyarrow to write to."""
    import pyarrow as pa

    if isinstance(path, StorePath):
        return path.open("wb")
    return pa.OSFile(str(path), "wb")


def move(source: AnyPath, target: AnyPath) -> None:
    """Make a file another one of the same disk or store; there it stays where it was, too."""
    if isinstance(source, StorePath) and isinstance(target, StorePath):
        source.copy(target)
    elif isinstance(source, Path) and isinstance(target, Path):
        source.replace(target)
    else:
        raise InternalError(f"{source} cannot become {target}")


def remove_tree(directory: AnyPath) -> None:
    """Remove a directory with all that is in it, as far as that goes."""
    if isinstance(directory, StorePath):
        with contextlib.suppress(OSError):
            persist(directory.files.delete_dir, directory.place)
    else:
        shutil.rmtree(directory, ignore_errors=True)
