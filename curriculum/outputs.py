"""Files of a run: staged first, then moved into place together, the manifest last.

A manifest's presence means that the run which wrote it finished. Nothing is touched that the
toolkit did not write.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from curriculum.errors import InputError
from curriculum.manifests import BucketingManifest, PreprocessingManifest, encode_manifest

REJECTED = "rejected"
UNSCORED_FILE = f"{REJECTED}/unscored.jsonl"
REASONS_FILE = f"{REJECTED}/reasons.jsonl"
REJECTED_FILES = (UNSCORED_FILE, REASONS_FILE)
_STAGING = ".curriculum-staging"


def check_writable(directory: Path) -> None:
    """Raise InputError if the directory could not be made or written to. Makes nothing."""
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
    directory: Path, files: Iterable[str], ours: Iterable[str], other_manifest: str
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
    for name in (*files, *REJECTED_FILES):
        path = directory / name
        if os.path.lexists(path.parent) and not path.parent.is_dir():
            raise _in_the_way(path.parent, "this is no directory, and rejected lines go there")
        if path.is_dir():
            raise _in_the_way(path, "this is a directory, and a file has to go there")
        if name not in known and os.path.lexists(path):
            raise _in_the_way(
                path, "this file is there already, and no manifest says that the toolkit wrote it"
            )


def _in_the_way(path: Path, found: str) -> InputError:
    return InputError(
        found,
        where=str(path),
        expected="a new directory, or one this script wrote",
        fix="move it away, or choose another -o; nothing was written",
    )


class Outputs:
    """An output directory during a run: a place to stage files, and their commit.

    A context manager: leaving it without a commit leaves the directory as it was, or gone if it
    was not there.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._staging = directory / _STAGING
        self._staged: list[str] = []
        self._made: list[Path] = []

    def __enter__(self) -> Outputs:
        parents = (self._directory, *self._directory.parents)
        self._made = [path for path in parents if not path.exists()]
        self._directory.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._staging, ignore_errors=True)
        self._staging.mkdir()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        shutil.rmtree(self._staging, ignore_errors=True)
        if kind is not None:
            for directory in self._made:
                if not any(directory.iterdir()):
                    directory.rmdir()

    def stage(self, name: str) -> Path:
        """The path at which to write the file `name` until the commit."""
        path = self._staging / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name not in self._staged:
            self._staged.append(name)
        return path

    def scratch_directory(self) -> Path:
        """A directory for files that the run needs for itself; the commit leaves it behind."""
        path = self._staging / "scratch"
        path.mkdir(exist_ok=True)
        return path

    @property
    def rejected(self) -> tuple[str, ...]:
        """The staged files of rejected lines."""
        return tuple(name for name in REJECTED_FILES if name in self._staged)

    def commit(
        self, manifest: BucketingManifest | PreprocessingManifest, old: Iterable[str]
    ) -> None:
        """Remove the `old` files that are not written anew, move the staged ones into place, then
        the manifest. Raises InputError where the disk refuses halfway."""
        self.stage(manifest.file_name).write_bytes(encode_manifest(manifest))
        try:
            for name in sorted(set(old).difference(self._staged)):
                (self._directory / name).unlink(missing_ok=True)
            for name in self._staged:
                target = self._directory / name
                target.parent.mkdir(exist_ok=True)
                (self._staging / name).replace(target)
            rejected = self._directory / REJECTED
            if rejected.is_dir() and not any(rejected.iterdir()):
                rejected.rmdir()
        except OSError as error:
            raise InputError(
                f"the finished files could not all be moved into place ({error.strerror})",
                where=str(error.filename or self._directory),
                expected="a directory that only this run writes to",
                fix="old and new files are mixed there now; mend the cause and run again",
            ) from error
