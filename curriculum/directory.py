"""A directory of bucket files → its buckets in curriculum order, and what its manifest says."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curriculum.bucketers import name_problem, vocabulary_rank
from curriculum.errors import InputError
from curriculum.inputs import InputFile, find_file
from curriculum.manifests import BucketingManifest, encode_manifest, load_manifest

SUFFIX = ".jsonl"


@dataclass(frozen=True)
class BucketDirectory:
    """The buckets of a directory, easiest first, each a name and a file; `warnings` tell what
    there is beside them. Without a manifest the order is a guess from the names. `state`
    identifies the bucketing: two directories, or two times, with the same one hold the same."""

    path: Path
    manifest: BucketingManifest | None
    state: str
    names: tuple[str, ...]
    files: tuple[InputFile, ...]
    warnings: tuple[str, ...]

    def choose(self, names: Sequence[str] | None) -> list[int]:
        """The places of the named buckets (None: all), in curriculum order, each once."""
        for name in names or ():
            if name not in self.names:
                raise InputError(
                    f"there is no bucket {name!r}",
                    where=str(self.path),
                    expected="one of " + ", ".join(self.names),
                    fix="name buckets that are there with --buckets",
                )
        return [i for i, name in enumerate(self.names) if names is None or name in names]

    def check_unchanged(self) -> None:
        """Raise InputError if the directory was bucketed again since it was opened."""
        if _state(load_manifest(self.path, BucketingManifest), self.files) != self.state:
            raise InputError(
                f"{BucketingManifest.file_name} changed while the buckets were read",
                where=str(self.path),
                expected="one bucketing from beginning to end",
                fix="run again when whatever writes there has finished; nothing was written",
            )


def open_bucket_directory(path: Path) -> BucketDirectory:
    """Find the buckets of a directory. Raises InputError where there is none."""
    if not path.is_dir():
        raise InputError(
            "no such directory" if not path.exists() else "this is not a directory",
            where=str(path),
            expected="the output directory of bucket_rollouts_by_difficulty.py",
            fix="check the path given with -i",
        )
    manifest = load_manifest(path, BucketingManifest)
    there = sorted(
        entry.name.removesuffix(SUFFIX)
        for entry in path.iterdir()
        if entry.name.endswith(SUFFIX) and not entry.name.startswith(".")
    )
    if manifest is not None:
        names = tuple(bucket.name for bucket in manifest.buckets)
        warnings = _unknown_files(path, there, names)
    else:
        names = tuple(sorted(there, key=_guessed_order))
        warnings = _guessed(path, names)
    for name in names:
        _check_name(path, name)
        if name not in there:
            raise InputError(
                f"{BucketingManifest.file_name} names this bucket file, and it is not there",
                where=str(path / (name + SUFFIX)),
                expected="every bucket's file, empty ones too",
                fix="bring it back, or bucket again",
            )
    files = tuple(find_file(path / (name + SUFFIX)) for name in names)
    return BucketDirectory(path, manifest, _state(manifest, files), names, files, tuple(warnings))


def _state(manifest: BucketingManifest | None, files: Sequence[InputFile]) -> str:
    known = encode_manifest(manifest) if manifest else b""
    sizes = "".join(f"{Path(file.path).name} {file.size}\n" for file in files)
    return hashlib.blake2b(known + sizes.encode(), digest_size=8).hexdigest()


def _guessed_order(name: str) -> tuple[bool, int, str]:
    rank = vocabulary_rank(name)
    return rank is None, rank or 0, name


def _guessed(path: Path, names: Sequence[str]) -> list[str]:
    if not names:
        raise InputError(
            "there are no bucket files here",
            where=str(path),
            expected=f"{BucketingManifest.file_name} and one {SUFFIX} file per bucket",
            fix="run bucket_rollouts_by_difficulty.py with this directory as -o first",
        )
    return [
        f"{path} has no {BucketingManifest.file_name}: the order of the buckets, easy to hard, "
        f"is a guess from their names ({' '.join(names)}), and difficulty_metrics.value stays "
        "null. Bucket again if the order is wrong."
    ]


def _unknown_files(path: Path, there: Sequence[str], known: Sequence[str]) -> list[str]:
    unknown = [name + SUFFIX for name in there if name not in known]
    if not unknown:
        return []
    return [
        f"{', '.join(unknown)} in {path}: left alone, as {BucketingManifest.file_name} does not "
        "name it. To use its rollouts, add them to the input and bucket again."
    ]


def _check_name(path: Path, name: str) -> None:
    problem = name_problem(name)
    if problem:
        raise InputError(
            f"the bucket's name {problem}",
            where=str(path / (name + SUFFIX)),
            expected="a plain name that verl can open",
            fix="rename the file, or bucket again with --bucket-names",
        )
