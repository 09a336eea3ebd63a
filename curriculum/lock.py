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

# How long to wait for the worker processes of a run that is dead.
PATIENCE_SECONDS = 10.0
_POLL_SECONDS = 0.02


class DirectoryLock:
    """The lock of a directory, which must be there. A context manager; its file goes at the end.

    Entering raises InputError where another run holds it.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCK
        self._descriptor = -1

    def __enter__(self) -> DirectoryLock:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not self._take():
            holder = self._holder()
            if _is_alive(holder) or time.monotonic() > give_up:
                raise _held(self._path, holder)
            time.sleep(_POLL_SECONDS)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n{platform.node()}\n".encode(), 0)
        return self

    def __exit__(self, *error: object) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _take(self) -> bool:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it before has removed the file, perhaps after we opened it.
            if os.path.samestat(os.fstat(descriptor), self._path.stat()):
                self._descriptor = descriptor
                return True
        except (BlockingIOError, FileNotFoundError):
            pass
        except OSError as error:
            os.close(descriptor)
            raise InputError(
                f"this directory cannot be locked ({error.strerror})",
                where=str(self._path.parent),
                expected="a file system with locks, which keep two runs apart",
                fix="choose an -o on another file system; nothing was written",
            ) from error
        os.close(descriptor)
        return False

    def _holder(self) -> tuple[str, str]:
        """The process id and machine of the holder, as far as they are written yet."""
        with contextlib.suppress(OSError):
            words = self._path.read_text("utf-8", "replace").split()
            if len(words) == 2:
                return words[0], words[1]
        return "", ""


def _is_alive(holder: tuple[str, str]) -> bool:
    """Whether the holder is there for sure; one on another machine is taken to be."""
    process, machine = holder
    if machine != platform.node() or not process.isdecimal():
        return bool(machine)
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True


def _held(path: Path, holder: tuple[str, str]) -> InputError:
    process, machine = holder
    who = f"process {process} on {machine}" if process else "another process"
    return InputError(
        f"{who} is writing into this directory",
        where=str(path.parent),
        expected="one run at a time",
        fix="wait until it has finished, or choose another directory; nothing was written",
    )
