"""The renames of a commit, written down before the first one is made.

So whoever opens the directory next can finish what a killed run began.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import msgspec

from curriculum.errors import InputError
from curriculum.output.lock import LOCK, DirectoryLock, refuse_if_held
from curriculum.output.manifests import CUMULATIVE, MANIFESTS, REJECTED, is_inside
from curriculum.storage.paths import AnyPath, StorePath, move, names_in, remove_tree
from curriculum.storage.requests import each

JOURNAL = ".curriculum-journal.json"
STAGING = ".curriculum-staging"
_STAGING_NAME = re.compile(rf"{re.escape(STAGING)}-[a-z0-9_]{{8}}$")  # as mkdtemp names them


class Journal(msgspec.Struct, frozen=True):
    """The steps of a commit: remove the files in `remove`, then move `files` out of `staging`, the
    manifests last, in order. All names are relative to the output directory. With `sync` each step
    is on the disk before the next one begins."""

    staging: str
    files: tuple[str, ...]
    remove: tuple[str, ...]
    sync: bool

    def begin(self, directory: AnyPath) -> None:
        """Write the journal. From here on the commit will be finished, by this run or the next.
        Raises InputError if another run has written its own to the same store directory."""
        staged = directory / self.staging / JOURNAL
        staged.write_bytes(msgspec.json.encode(self))
        if self.sync:
            sync([staged])
        move(staged, directory / JOURNAL)
        if isinstance(directory, StorePath) and not is_journaled(directory, self.staging):
            raise not_alone(directory)

    def finish(self, directory: AnyPath) -> None:
        """Do the steps that are left, then remove the journal. Raises InputError if the disk
        refuses; a later run can then finish the rest."""
        try:
            self._move(directory)
            (directory / JOURNAL).unlink(missing_ok=True)
        except OSError as error:
            raise _half_done(error, directory) from error
        remove_tree(directory / self.staging)

    def _move(self, directory: AnyPath) -> None:
        staging, in_store = directory / self.staging, isinstance(directory, StorePath)
        if self.sync:
            sync([directory])
        staged, there = files_in(staging), files_in(directory)
        waiting = [name for name in self.files if name in staged]
        for name in self.files:
            if name not in staged and name not in there:
                raise _gone(directory, name)
        manifests = [name for name in waiting if PurePosixPath(name).name in MANIFESTS]
        moved = [name for name in waiting if name not in manifests]
        # A store has no locks: another run may finish this commit and remove a staged manifest.
        records = {name: (staging / name).read_bytes() for name in manifests if in_store}
        for name in manifests:  # a manifest may exist only once all files are in place
            (directory / name).unlink(missing_ok=True)
        list(each(lambda name: (directory / name).unlink(missing_ok=True), self.remove, in_store))
        for inner in _directories(waiting):
            (directory / inner).mkdir(parents=True, exist_ok=True)
        list(each(partial(_move, staging, directory), moved, in_store))
        for name in manifests:
            if name in records:
                (directory / name).write_bytes(records[name])
            else:
                move(staging / name, directory / name)
        for inner in _directories(self.remove):  # others are the user's own
            with contextlib.suppress(OSError):  # other files are in it
                (directory / inner).rmdir()
        if self.sync:
            inside = [directory / inner for inner in _directories((*self.files, *self.remove))]
            sync(path for path in (*inside, directory) if path.is_dir())


def _move(staging: AnyPath, directory: AnyPath, name: str) -> None:
    try:
        move(staging / name, directory / name)
    except FileNotFoundError:  # another run may have moved it
        if not (directory / name).exists():
            raise


def files_in(directory: AnyPath) -> set[str]:
    """The names in a directory and in those below it that runs write to, as in a journal."""
    found = names_in(directory)
    for inner in (REJECTED, CUMULATIVE):
        if inner in found:
            found |= {f"{inner}/{name}" for name in names_in(directory / inner)}
    return found


def is_journaled(directory: AnyPath, staging: str) -> bool:
    """Whether the directory's journal, if there is one, is for this staging directory. A journal
    that cannot be read counts as such."""
    try:
        return _load(directory / JOURNAL).staging == staging
    except FileNotFoundError:
        return False
    except (OSError, InputError):
        return True


def not_alone(directory: StorePath) -> InputError:
    """The error for a store directory that another run wrote into during this one."""
    return InputError(
        "another run wrote into this directory while this one was at work",
        where=str(directory),
        expected="one run at a time, which a store cannot see to",
        fix="run again, or use another -o; nothing was written",
    )


def recover(directory: AnyPath) -> None:
    """Finish the commit that a dead run began, and remove its staged files; the lock must be held.

    A store has no locks, so a run that staged files there may still be alive: they stay."""
    journal = directory / JOURNAL
    if journal.is_file():
        _load(journal).finish(directory)
    if isinstance(directory, Path):
        for staging in stagings(directory):
            remove_tree(staging)


def recover_to_read(directory: AnyPath) -> None:
    """Make sure that a directory to be read holds one complete set of outputs.

    Raises InputError if a run is writing into it, or if a dead run left it half done and it is not
    writable.
    """
    if isinstance(directory, StorePath):
        if (directory / JOURNAL).exists():
            raise InputError(
                f"a run is just finishing here, or was stopped when it did ({JOURNAL} is there)",
                where=str(directory),
                expected="a directory whose last run has finished",
                fix="wait a moment; if no run is at work there, run the script that wrote it again",
            )
        return
    left = [path for path in (directory / JOURNAL, *stagings(directory)) if path.exists()]
    if not left and not (directory / LOCK).exists():
        return
    if not os.access(directory, os.W_OK | os.X_OK):
        if not left:  # only the lock file is there
            refuse_if_held(directory)
            return
        raise InputError(
            f"a run is writing here, or was stopped ({left[0].name} is there)",
            where=str(directory),
            expected="a directory whose last run has finished, or permission to finish it",
            fix="wait for the run, or run as someone who may write to the directory",
        )
    with DirectoryLock(directory):
        recover(directory)


def sync(paths: Iterable[AnyPath]) -> None:
    """Wait until files and directories are on the disk. A full disk shows here at the latest."""
    for path in paths:
        if isinstance(path, StorePath):  # what is written to a store is safe
            continue
        with _directories_excused(path):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


@contextlib.contextmanager
def _directories_excused(path: Path) -> Iterator[None]:
    """Ignore that a directory cannot be synced here, or may not be opened."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES) or not path.is_dir():
            raise


def stagings(directory: AnyPath) -> list[AnyPath]:
    """The staging directories of all runs, dead or alive."""
    return [directory / name for name in sorted(names_in(directory)) if _STAGING_NAME.match(name)]


def _directories(names: Iterable[str]) -> list[str]:
    """The directories of these files below the output directory, the deepest first."""
    found = {str(PurePosixPath(name).parent) for name in names} - {"."}
    return sorted(found, key=lambda inner: (-inner.count("/"), inner))


def _gone(directory: AnyPath, name: str) -> InputError:
    return InputError(
        f"a run was stopped while it moved its files here, and {name} is gone since",
        where=str(directory),
        expected="what it had staged, until it is moved",
        fix=f"remove {JOURNAL} there and run the script that wrote the directory again",
    )


def _half_done(error: OSError, directory: AnyPath) -> InputError:
    return InputError(
        f"the finished files could not all be moved into place ({error.strerror or error})",
        where=str(error.filename2 or error.filename or directory),
        expected="a directory with room, that only this run writes to",
        fix="fix the cause and run again: whatever opens the directory next first moves the rest",
    )


def _load(path: AnyPath) -> Journal:
    try:
        journal = msgspec.json.decode(path.read_bytes(), type=Journal)
        names = (*journal.files, *journal.remove, journal.staging)
        inside = (is_inside(name.removeprefix(f"{CUMULATIVE}/")) for name in names)
        if not all(inside) or not (journal.files and journal.staging.startswith(STAGING)):
            raise ValueError("it names files elsewhere")
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise InputError(
            f"this is not a journal of this toolkit ({error})",
            where=str(path),
            expected="the file as a run left it",
            fix="remove it and run the script that wrote the directory again; until then the files "
            "in it may be of two runs",
        ) from error
    return journal
