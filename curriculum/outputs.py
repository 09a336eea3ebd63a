"""Files of a run: staged first, then moved into place together, the manifest last.

A manifest's presence means that the run which wrote it finished. Nothing is touched that the
toolkit did not write.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from curriculum.errors import FinishedInterrupt, InputError
from curriculum.journal import (
    JOURNAL,
    STAGING,
    Journal,
    files_in,
    is_journaled,
    not_alone,
    recover,
    stagings,
    sync,
)
from curriculum.lock import DirectoryLock
from curriculum.manifests import (
    REJECTED_FILES,
    BucketingManifest,
    PreprocessingManifest,
    encode_manifest,
    read_manifests,
    whole_name,
)
from curriculum.processes import SIGNALS
from curriculum.stores import AnyPath, StorePath, check_bucket, make_directory, remove_tree


def check_writable(directory: AnyPath) -> None:
    """Raise InputError if the directory could not be made or written to. Makes nothing."""
    if isinstance(directory, StorePath):
        check_bucket(directory)
        if directory.is_file():
            raise InputError(
                "this is a file",
                where=str(directory),
                expected="a directory to write to",
                fix="choose another -o",
            )
        return
    path = directory.absolute()
    there = next(parent for parent in (path, *path.parents) if os.path.lexists(parent))
    if not there.is_dir():
        found = "this is a file" if there == path else f"{there} is a file"
    elif not os.access(there, os.W_OK | os.X_OK):
        found = "no permission to write here"
    else:
        return
    raise InputError(
        found, where=str(directory), expected="a directory to write to", fix="choose another -o"
    )


def check_targets(
    directory: AnyPath, files: Iterable[str], ours: Iterable[str], other_manifest: str
) -> None:
    """Raise InputError unless `files`, and the rejected ones, can be written.

    They cannot where one is there already that is not among `ours`, where a directory is in the
    way, or where the directory is the other script's (it holds `other_manifest`).
    """
    if (directory / other_manifest).exists():
        raise InputError(
            f"this directory is the other script's: it holds {other_manifest}",
            where=str(directory),
            expected="a directory of its own for each script",
            fix="choose another -o",
        )
    known = set(ours)
    if isinstance(directory, StorePath):
        _check_objects(directory, {*files, *REJECTED_FILES}, known)
        return
    for name in (*files, *REJECTED_FILES):
        path = directory / name
        if path.parent != directory and (
            path.parent.is_symlink() or (os.path.lexists(path.parent) and not path.parent.is_dir())
        ):
            raise _in_the_way(path.parent, "this is no directory, and rejected lines go there")
        if path.is_dir():
            raise _in_the_way(path, "this is a directory, and a file has to go there")
        if name not in known and os.path.lexists(path):
            raise _in_the_way(
                path, "this file is there already, and no manifest says that the toolkit wrote it"
            )


def _check_objects(directory: StorePath, wanted: set[str], known: set[str]) -> None:
    for name in sorted(files_in(directory) - known):
        if whole_name(name) in wanted:
            raise _in_the_way(
                directory / name,
                "this file is there already, and no manifest says that the toolkit wrote it",
            )


def _in_the_way(path: AnyPath, found: str) -> InputError:
    return InputError(
        found,
        where=str(path),
        expected="a new directory, or one this script wrote",
        fix="move it away, or choose another -o; nothing was written",
    )


class Outputs:
    """An output directory during a run: its lock, a place to stage files, and their commit.

    A context manager: entering it finishes or clears what a dead run left, and raises InputError
    where another run is at work; leaving it without a commit leaves the directory as it was, or
    gone if it was not there. Without `sync` the commit does not wait for the disk.
    """

    def __init__(self, directory: AnyPath, sync: bool = True) -> None:
        self._directory = directory
        self._sync = sync
        self._staging: AnyPath | None = None
        self._staged: dict[str, None] = {}  # in order
        self._made: list[Path] = []
        self._before: list[bytes] = []
        self.warnings: list[str] = []
        self._open = ExitStack()
        self._begun = self._committed = False

    def __enter__(self) -> Outputs:
        directory = self._directory
        with ExitStack() as stack:
            if isinstance(directory, StorePath):
                recover(directory)
                stack.callback(self._remove_staging)
                self._look(directory)
            else:
                parents = (directory, *directory.parents)
                self._made = [path for path in parents if not path.exists()]
                stack.callback(self._remove_made)
                directory.mkdir(parents=True, exist_ok=True)
                stack.enter_context(DirectoryLock(directory))
                recover(directory)
                stack.callback(self._remove_staging)
            self._open = stack.pop_all()
        return self

    def _look(self, directory: StorePath) -> None:
        """Nothing locks a directory of a store: note what is there, and write and remove something
        at once, which fails where that is not permitted."""
        self._before = read_manifests(directory)
        others = ", ".join(map(str, stagings(directory)))
        if others:
            self.warnings.append(
                f"{others}: files of a run that was stopped, or is still at work; they are left "
                "alone. Remove them if no run is at work there."
            )
        trial = self._staging_directory() / "trial"
        try:
            trial.write_bytes(b"")
            trial.unlink()
        except OSError as error:
            raise InputError(
                f"this cannot be written to ({error})",
                where=str(directory),
                expected="permission to write, copy and delete there",
                fix="mend the permissions, or choose another -o; nothing was written",
            ) from error

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._open.close()
        if self._committed and kind is not None and issubclass(kind, KeyboardInterrupt):
            raise FinishedInterrupt

    def _remove_staging(self) -> None:
        # Our journal needs what is staged, whatever went wrong after it was written.
        staging = self._staging
        if staging and not (self._begun and is_journaled(self._directory, staging.name)):
            remove_tree(staging)

    def _remove_made(self) -> None:
        """Remove the directories that were made for this run and are empty."""
        for directory in self._made:
            with contextlib.suppress(OSError):
                directory.rmdir()

    def _staging_directory(self) -> AnyPath:
        # Every run has one of its own: what a dead run's last process still writes hurts nobody.
        if self._staging is None:
            self._staging = make_directory(self._directory, STAGING + "-")
        return self._staging

    def stage(self, name: str) -> AnyPath:
        """The path at which to write the file `name` until the commit."""
        path = self._staging_directory() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._staged[name] = None
        return path

    @property
    def in_store(self) -> bool:
        """Whether the directory is in a store, where files are written from beginning to end."""
        return isinstance(self._directory, StorePath)

    def stage_file(self, name: str) -> Path:
        """The same on a disk."""
        path = self.stage(name)
        assert isinstance(path, Path)
        return path

    def scratch_directory(self) -> AnyPath:
        """A directory for files that the run needs for itself; the commit leaves it behind."""
        path = self._staging_directory() / "scratch"
        path.mkdir(exist_ok=True)
        return path

    @property
    def rejected(self) -> tuple[str, ...]:
        """The staged files of rejected lines."""
        return tuple(name for name in self._staged if whole_name(name) in REJECTED_FILES)

    def commit(
        self, manifest: BucketingManifest | PreprocessingManifest, old: Iterable[str]
    ) -> None:
        """Put the staged files in place and then the manifest, and remove those `old` files that
        are not written anew.

        A signal that arrives meanwhile is answered afterwards. Raises InputError where the disk
        refuses halfway; whoever opens the directory next finishes the commit then.
        """
        self.stage(manifest.file_name).write_bytes(encode_manifest(manifest))
        staging = self._staging_directory()
        if self._sync:
            sync(staging / name for name in self._staged)
            sync({(staging / name).parent for name in self._staged})
        removed = tuple(sorted(set(old).difference(self._staged)))
        journal = Journal(staging.name, tuple(self._staged), removed, self._sync)
        if isinstance(self._directory, StorePath):
            self._check_alone(self._directory)
        with signals_later():
            self._begun = True
            journal.begin(self._directory)
            journal.finish(self._directory)
            self._committed = True

    def _check_alone(self, directory: StorePath) -> None:
        """Raise InputError if another run wrote here since this one began."""
        if (directory / JOURNAL).exists() or read_manifests(directory) != self._before:
            raise not_alone(directory)


@contextmanager
def signals_later() -> Iterator[None]:
    """Keep signals that would end the run until the block is through; if it fails, its error goes
    before them."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals never interrupt another thread
        return
    waiting: list[int] = []
    before = {
        number: signal.signal(number, lambda caught, _: waiting.append(caught))
        for number in SIGNALS
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for caught in dict.fromkeys(waiting):
        signal.raise_signal(caught)
