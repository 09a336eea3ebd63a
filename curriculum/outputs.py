"""Files of a run: staged first, then moved into place together, the manifest last.

A manifest's presence means that the run which wrote it finished. Nothing is touched that the
toolkit did not write.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

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


def check_not_foreign(directory: Path, files: Iterable[str], ours: Iterable[str]) -> None:
    """Raise InputError if one of `files` is there already and is not among `ours`."""
    known = set(ours)
    for name in files:
        if name not in known and os.path.lexists(directory / name):
            raise InputError(
                "this file is there already, and no manifest says that the toolkit wrote it",
                where=str(directory / name),
                expected="a new directory, or one this script wrote",
                fix="move it away, or choose another -o",
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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

    def scratch(self, name: str) -> Path:
        """The path of a file that the run needs for itself; the commit leaves it behind."""
        path = self._staging / "scratch" / name
        path.parent.mkdir(exist_ok=True)
        return path

    def commit(
        self, manifest: BucketingManifest | PreprocessingManifest, old: Iterable[str]
    ) -> None:
        """Remove the `old` files that are not written anew, move the staged ones into place, then
        the manifest."""
        for name in sorted({*old, *REJECTED_FILES}.difference(self._staged)):
            (self._directory / name).unlink(missing_ok=True)
        self.stage(manifest.file_name).write_bytes(encode_manifest(manifest))
        for name in self._staged:
            target = self._directory / name
            target.parent.mkdir(exist_ok=True)
            (self._staging / name).replace(target)
        rejected = self._directory / REJECTED
        if rejected.is_dir() and not any(rejected.iterdir()):
            rejected.rmdir()
