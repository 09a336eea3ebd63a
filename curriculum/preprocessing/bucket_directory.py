"""A directory of bucket files → its buckets in curriculum order, and what its manifest says."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from curriculum.bucketers import name_problem, vocabulary_rank
from curriculum.errors import InputError
from curriculum.output.manifests import (
    BucketingManifest,
    encode_manifest,
    load_manifest,
    part_names,
    whole_name,
)
from curriculum.reading.input_files import InputFile, find_each
from curriculum.storage.paths import AnyPath, StorePath, names_in

SUFFIX = ".jsonl"


@dataclass(frozen=True)
class BucketDirectory:
    """The buckets of a directory, easiest first. Each has a name, and a file or parts in order.

    Without a manifest the order is a guess from the names. `state` identifies the bucketing: it
    changes with the manifest and with the names and sizes of the files. `warnings` are about a
    guessed order and about files that belong to no bucket.
    """

    path: AnyPath
    manifest: BucketingManifest | None
    state: str
    names: tuple[str, ...]
    files: tuple[Sequence[InputFile], ...]
    warnings: tuple[str, ...]

    def choose(self, names: Sequence[str] | None) -> list[int]:
        """The numbers of the named buckets (None: all), in curriculum order, each once."""
        for name in names or ():
            if name not in self.names:
                raise InputError(
                    f"there is no bucket {name!r}",
                    where=str(self.path),
                    expected="one of " + ", ".join(self.names),
                    fix="name buckets that are there with --buckets",
                )
        return [i for i, name in enumerate(self.names) if names is None or name in names]

    def bytes(self, buckets: Sequence[int] | None = None) -> int:
        """The size of these buckets (None: of all)."""
        some = self.files if buckets is None else [self.files[i] for i in buckets]
        return sum(file.size for files in some for file in files)

    def check_unchanged(self) -> None:
        """Raise InputError if the directory was bucketed again since it was opened."""
        if _state(load_manifest(self.path, BucketingManifest), self.files) != self.state:
            raise InputError(
                f"{BucketingManifest.file_name} changed while the buckets were read",
                where=str(self.path),
                expected="one bucketing from beginning to end",
                fix="run again when whatever writes there has finished; nothing was written",
            )


def open_bucket_directory(path: AnyPath) -> BucketDirectory:
    """Find the buckets of a directory. Raises InputError if there are none, or if a file is missing
    or misnamed."""
    if not path.is_dir():
        raise InputError(
            "no such directory" if not path.exists() else "this is not a directory",
            where=str(path),
            expected="the output directory of bucket_rollouts_by_difficulty.py",
            fix="check the path given with -i",
        )
    manifest = load_manifest(path, BucketingManifest)
    there = sorted(
        name for name in names_in(path) if name.endswith(SUFFIX) and not name.startswith(".")
    )
    if manifest is not None:
        wanted = {bucket.name: bucket.files() for bucket in manifest.buckets}
        warnings = _unknown_files(path, there, wanted)
    elif isinstance(path, StorePath):
        raise _unfinished(path)
    else:
        wanted = _guess_files(path, there)
        warnings = _guessed(path, list(wanted))
    by = BucketingManifest.file_name if manifest else "another part"
    for name, names in wanted.items():
        _check_name(path, name)
        _check_there(path, names, set(there), by)
    found = iter(find_each([path / name for names in wanted.values() for name in names]))
    files = tuple([next(found) for _ in names] for names in wanted.values())
    state = _state(manifest, files)
    return BucketDirectory(path, manifest, state, tuple(wanted), files, tuple(warnings))


def _check_there(path: AnyPath, names: Sequence[str], there: set[str], by: str) -> None:
    missing = next((name for name in names if name not in there), None)
    if missing is not None:
        raise InputError(
            f"{by} names this bucket file, and it is not there",
            where=str(path / missing),
            expected="every bucket's file, empty ones too",
            fix="bring it back, or bucket again",
        )


def _unfinished(path: StorePath) -> InputError:
    return InputError(
        f"there is no {BucketingManifest.file_name} here",
        where=str(path),
        expected="the output of a run that has finished: in a store its manifest comes last",
        fix="check the path given with -i, or bucket again",
    )


def _guess_files(path: AnyPath, there: Sequence[str]) -> dict[str, list[str]]:
    """The files of each bucket, in an order guessed from the names."""
    found: dict[str, list[str]] = {}
    for file in there:
        whole = whole_name(file)
        parts = int(file.rpartition("-of-")[2].removesuffix(SUFFIX)) if whole != file else 0
        if parts > len(there):
            raise InputError(
                f"this is one of {parts:,} parts, and others are not there",
                where=str(path / file),
                expected="all parts of a bucket",
                fix="fetch the others, too, or rename it",
            )
        name, files = whole.removesuffix(SUFFIX), part_names(whole, parts) if parts else [file]
        if found.setdefault(name, files) != files:
            raise InputError(
                f"bucket {name} is there twice: {found[name][0]} and {file}",
                where=str(path / file),
                expected="one file, or the parts of one",
                fix="move one of them away",
            )
    return {name: found[name] for name in sorted(found, key=_guessed_order)}


def _state(manifest: BucketingManifest | None, files: Sequence[Sequence[InputFile]]) -> str:
    known = encode_manifest(manifest) if manifest else b""
    sizes = "".join(f"{file.path.name} {file.size}\n" for bucket in files for file in bucket)
    return hashlib.blake2b(known + sizes.encode(), digest_size=8).hexdigest()


def _guessed_order(name: str) -> tuple[bool, int, str]:
    rank = vocabulary_rank(name)
    return rank is None, rank or 0, name


def _guessed(path: AnyPath, names: Sequence[str]) -> list[str]:
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


def _unknown_files(
    path: AnyPath, there: Sequence[str], known: Mapping[str, Sequence[str]]
) -> list[str]:
    named = {file for files in known.values() for file in files}
    unknown = [file for file in there if file not in named]
    if not unknown:
        return []
    return [
        f"{', '.join(unknown)} in {path}: left alone, as {BucketingManifest.file_name} does not "
        "name it. To use its rollouts, add them to the input and bucket again."
    ]


def _check_name(path: AnyPath, name: str) -> None:
    problem = name_problem(name)
    if problem:
        raise InputError(
            f"the bucket's name {problem}",
            where=str(path / (name + SUFFIX)),
            expected="a plain name that verl can open",
            fix="rename the file, or bucket again with --bucket-names",
        )
