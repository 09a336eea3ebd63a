"""An output directory during a run: files are staged, then moved into place together, the manifest
last.

A manifest's presence means that the run which wrote it finished. Nothing is touched that the
toolkit did not write.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from curriculum.engines.signals import delay_signals
from curriculum.errors import FinishedInterrupt, InputError, InternalError
from curriculum.output.journal import (
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
from curriculum.output.lock import DirectoryLock
from curriculum.output.manifests import (
    REJECTED,
    REJECTED_FILES,
    BucketingManifest,
    PreprocessingManifest,
    encode_manifest,
    read_manifests,
    whole_name,
)
from curriculum.storage.paths import AnyPath, StorePath, check_bucket, make_directory, remove_tree


def check_writable(directory: AnyPath, flag: str = "-o") -> None:
    """Raise InputError if the directory cannot be made or written to. Makes nothing. `flag` is what
    names it."""
    if isinstance(directory, StorePath):
        check_bucket(directory)
        if directory.is_file():
            raise InputError(
                "this is a file",
                where=str(directory),
                expected="a directory to write to",
                fix=f"choose another {flag}",
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
        found,
        where=str(directory),
        expected="a directory to write to",
        fix=f"choose another {flag}",
    )


def check_targets(
    directory: AnyPath, files: Sequence[str], ours: Iterable[str], other_manifest: str
) -> None:
    """Raise InputError unless `files` and the files of rejected lines can be written.

    They cannot if one of them exists and is not among `ours`, if a directory is in the way, or if
    a directory belongs to the other script (it holds `other_manifest`).
    """
    for place in {directory: None, **{(directory / name).parent: None for name in files}}:
        if (place / other_manifest).exists():
            raise InputError(
                f"this directory is the other script's: it holds {other_manifest}",
                where=str(place),
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
            inside = "rejected lines" if path.parent.name == REJECTED else "cumulative sets"
            raise _in_the_way(path.parent, f"this is no directory, and {inside} go there")
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


class OutputDirectory:
    """An output directory during a run: its lock, a directory to stage files in, and their commit.

    A context manager. Entering it finishes or clears what a dead run left, and raises InputError if
    another run is at work. Leaving it without a commit leaves the directory as it was, and removes
    it if this run made it. Without `sync` the commit does not wait for the disk. Without a
    directory nothing can be committed, and temporary files go where this machine keeps such.
    """

    def __init__(self, directory: AnyPath | None, sync: bool = True) -> None:
        self._directory = directory
        self._sync = sync
        self._staging: AnyPath | None = None
        self._staged: dict[str, None] = {}  # an ordered set
        self._made: list[Path] = []
        self._before: list[bytes] = []
        self.warnings: list[str] = []
        self._open = ExitStack()
        self._begun = self._committed = False

    def __enter__(self) -> OutputDirectory:
        directory = self._directory
        with ExitStack() as stack:
            if directory is None:
                stack.callback(self._remove_staging)
            elif isinstance(directory, StorePath):
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
        """Note the manifests, because nothing locks a store directory. Then write and remove a
        file: without permission the run fails now."""
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
                fix="fix the permissions, or choose another -o; nothing was written",
            ) from error

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._open.close()
        if self._committed and kind is not None and issubclass(kind, KeyboardInterrupt):
            raise FinishedInterrupt

    def _remove_staging(self) -> None:
        # Once our journal is written it needs the staged files, whatever went wrong since.
        staging, directory = self._staging, self._directory
        journaled = self._begun and directory and staging and is_journaled(directory, staging.name)
        if staging and not journaled:
            remove_tree(staging)

    def _remove_made(self) -> None:
        """Remove the directories that this run made, if they are empty."""
        for directory in self._made:
            with contextlib.suppress(OSError):
                directory.rmdir()

    def _staging_directory(self) -> AnyPath:
        # Each run has its own, so what the last process of a dead run still writes does no harm.
        if self._staging is None:
            self._staging = make_directory(self._directory, STAGING + "-")
        return self._staging

    def stage(self, name: str) -> AnyPath:
        """The path at which to write the file `name` before the commit."""
        path = self._staging_directory() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._staged[name] = None
        return path

    def staged(self, name: str) -> AnyPath:
        """Where a file is that was staged, until the commit."""
        return self._staging_directory() / name

    @property
    def in_store(self) -> bool:
        """Whether the directory is in a store, where files are written from beginning to end."""
        return isinstance(self._directory, StorePath)

    def stage_file(self, name: str) -> Path:
        """`stage`, for a directory on a disk."""
        path = self.stage(name)
        assert isinstance(path, Path)
        return path

    def scratch_directory(self) -> AnyPath:
        """A directory for temporary files, which the commit does not move."""
        path = self._staging_directory() / "scratch"
        path.mkdir(exist_ok=True)
        return path

    @property
    def rejected(self) -> tuple[str, ...]:
        """The staged files of rejected lines."""
        return tuple(name for name in self._staged if whole_name(name) in REJECTED_FILES)

    def commit(
        self,
        manifest: BucketingManifest | PreprocessingManifest,
        old: Iterable[str],
        inner: Mapping[str, PreprocessingManifest] | None = None,
    ) -> None:
        """Remove the `old` files that were not written again, then move the staged files into
        place, the manifest last; before it the `inner` manifests, by the name of their directory
        in this one.

        A signal that arrives meanwhile is handled afterwards. Raises InputError if the disk
        refuses halfway; the next run that opens the directory then finishes the commit.
        """
        directory = self._directory
        if directory is None:
            raise InternalError("there is no directory to commit to")
        for name, record in (inner or {}).items():
            self.stage(f"{name}/{record.file_name}").write_bytes(encode_manifest(record))
        self.stage(manifest.file_name).write_bytes(encode_manifest(manifest))
        staging = self._staging_directory()
        if self._sync:
            sync(staging / name for name in self._staged)
            sync({(staging / name).parent for name in self._staged})
        removed = tuple(sorted(set(old).difference(self._staged)))
        journal = Journal(staging.name, tuple(self._staged), removed, self._sync)
        if isinstance(directory, StorePath):
            self._check_alone(directory)
        with delay_signals():
            self._begun = True
            journal.begin(directory)
            journal.finish(directory)
            self._committed = True

    def _check_alone(self, directory: StorePath) -> None:
        """Raise InputError if another run wrote here since this one began."""
        if (directory / JOURNAL).exists() or read_manifests(directory) != self._before:
            raise not_alone(directory)
