"""The renames that make staged files the outputs: written down before the first one, so that
whoever opens the directory next can finish what a dead run began."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import msgspec

from curriculum.errors import InputError
from curriculum.lock import LOCK, DirectoryLock
from curriculum.manifests import REJECTED, is_inside

JOURNAL = ".curriculum-journal.json"
STAGING = ".curriculum-staging"


class Journal(msgspec.Struct, frozen=True):
    """What a commit does: `remove` these files, then move `files` out of `staging`, in order, the
    manifest last. All names are relative to the output directory. With `sync` each step is on the
    disk before the next one begins."""

    staging: str
    files: tuple[str, ...]
    remove: tuple[str, ...]
    sync: bool

    def begin(self, directory: Path) -> None:
        """Write it down; from here on the commit will be finished, by whomever."""
        staged = directory / self.staging / JOURNAL
        staged.write_bytes(msgspec.json.encode(self))
        if self.sync:
            sync([staged])
        staged.replace(directory / JOURNAL)
        if self.sync:
            sync([directory])

    def finish(self, directory: Path) -> None:
        """Do all that is not done yet, and cross it off. Raises InputError where the disk refuses;
        what is left can be finished later."""
        try:
            self._move(directory)
            (directory / JOURNAL).unlink()
        except OSError as error:
            raise _half_done(error, directory) from error
        shutil.rmtree(directory / self.staging, ignore_errors=True)

    def _move(self, directory: Path) -> None:
        staging, rejected = directory / self.staging, directory / REJECTED
        manifest = self.files[-1]
        if (staging / manifest).exists():  # until all is in place, no manifest says that it is
            (directory / manifest).unlink(missing_ok=True)
        for name in self.remove:
            (directory / name).unlink(missing_ok=True)
        if any(PurePosixPath(name).parent.name == REJECTED for name in self.files):
            rejected.mkdir(exist_ok=True)
        for name in self.files:
            if (staging / name).exists():  # else it is in place already
                (staging / name).replace(directory / name)
        if rejected.is_dir() and not any(rejected.iterdir()):
            rejected.rmdir()
        if self.sync:
            sync(path for path in (rejected, directory) if path.is_dir())


def settle(directory: Path) -> None:
    """Finish what a dead run began to commit, and clear what it staged; the lock must be held."""
    journal = directory / JOURNAL
    if journal.is_file():
        _load(journal).finish(directory)
    for staging in directory.glob(STAGING + "*"):
        shutil.rmtree(staging, ignore_errors=True)


def settle_to_read(directory: Path) -> None:
    """Make sure that a directory to be read holds one complete set of outputs.

    Raises InputError where a run is writing into it, and where a dead run left it half done and
    it cannot be written to.
    """
    left = [path for path in (directory / LOCK, directory / JOURNAL) if path.exists()]
    left.extend(directory.glob(STAGING + "*"))
    if not left:
        return
    if not os.access(directory, os.W_OK | os.X_OK):
        raise InputError(
            f"a run is writing here, or was stopped ({left[0].name} is there)",
            where=str(directory),
            expected="a directory whose last run has finished, or permission to finish it",
            fix="wait for the run, or run as someone who may write to the directory",
        )
    with DirectoryLock(directory):
        settle(directory)


def sync(paths: Iterable[Path]) -> None:
    """Wait until files and directories are on the disk, where a full one shows at the latest."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _half_done(error: OSError, directory: Path) -> InputError:
    return InputError(
        f"the finished files could not all be moved into place ({error.strerror})",
        where=str(error.filename2 or error.filename or directory),
        expected="a directory with room, that only this run writes to",
        fix="mend the cause and run again: whatever opens the directory next first moves the rest",
    )


def _load(path: Path) -> Journal:
    try:
        journal = msgspec.json.decode(path.read_bytes(), type=Journal)
        names = (*journal.files, *journal.remove, journal.staging)
        if not all(map(is_inside, names)) or not (
            journal.files and journal.staging.startswith(STAGING)
        ):
            raise ValueError("it names files elsewhere")
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise InputError(
            f"this is not a journal of this toolkit ({error})",
            where=str(path),
            expected="the file as a run left it",
            fix="remove it and run again; the other files here may be of two runs",
        ) from error
    return journal
