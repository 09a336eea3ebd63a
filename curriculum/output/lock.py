"""One run at a time in an output directory.

The lock is the operating system's own, on a file that names its holder. Worker processes share it,
so it is free only when no process of the run is left, however the run ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import time
from pathlib import Path

from curriculum.errors import InputError

LOCK = ".curriculum-lock"

# How long to wait for the worker processes of a dead run to end.
PATIENCE_SECONDS = 10.0
_POLL_SECONDS = 0.02


class DirectoryLock:
    """The lock of an existing directory. A context manager; leaving it removes the lock file.

    Entering it raises InputError if another run holds the lock.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCK
        self._descriptor = -1

    def __enter__(self) -> DirectoryLock:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not self._take():
            holder = _holder(self._path)
            if _is_alive(holder) or time.monotonic() > give_up:
                raise _held(self._path, holder)
            time.sleep(_POLL_SECONDS)
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n{platform.node()}\n".encode(), 0)
        except BaseException:  # such as a full disk
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        # If the file was removed by hand, another run may have its own lock file here.
        if self._is_ours(self._descriptor):
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _is_ours(self, descriptor: int) -> bool:
        """Whether the open file is still the one at the path."""
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def _take(self) -> bool:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except PermissionError:  # another user's lock file
            refuse_if_held(self._path.parent)
            self._path.unlink(missing_ok=True)
            return False
        # The previous holder may have removed the file after we opened it.
        if _locks(descriptor, self._path) and self._is_ours(descriptor):
            self._descriptor = descriptor
            return True
        os.close(descriptor)
        return False


def refuse_if_held(directory: Path) -> None:
    """Raise InputError if another run holds the lock of a directory, which may be read-only."""
    path = directory / LOCK
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        if not _locks(descriptor, path):
            raise _held(path, _holder(path))
    finally:
        os.close(descriptor)


def _locks(descriptor: int, path: Path) -> bool:
    """Try to lock an open file. Raises InputError if the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise InputError(
            f"this directory cannot be locked ({error.strerror})",
            where=str(path.parent),
            expected="a file system with locks, which keep two runs apart",
            fix="use a directory on another file system; nothing was written",
        ) from error
    return True


def _holder(path: Path) -> tuple[str, str]:
    """The process id and machine of the holder; empty strings while they are not written."""
    with contextlib.suppress(OSError):
        words = path.read_text("utf-8", "replace").split()
        if len(words) == 2:
            return words[0], words[1]
    return "", ""


def _is_alive(holder: tuple[str, str]) -> bool:
    """Whether the holder is alive. One on another machine is assumed to be."""
    process, machine = holder
    if machine != platform.node() or not process.isdecimal():
        return bool(machine)
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's process
        return True
    return True


def _held(path: Path, holder: tuple[str, str]) -> InputError:
    process, machine = holder
    who = f"process {process} on {machine}" if process else "another process"
    if process and not _is_alive(holder):
        who = f"what is left of process {process}, which is dead,"
    return InputError(
        f"{who} is writing into this directory",
        where=str(path.parent),
        expected="one run at a time",
        fix="wait until it has finished, or use another directory; nothing was written",
    )
