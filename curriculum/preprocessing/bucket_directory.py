"""A directory of bucket files → its buckets in curriculum order, and what its manifest says."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from msgspec import Struct

from curriculum.advice.buckets import bucket_options, check_bucketed, not_a_directory
from curriculum.advice.commands import command, one_line
from curriculum.bucket_names import difficulty_rank, guess_order, name_problem, value_rank
from curriculum.errors import InputError, did_you_mean
from curriculum.output.manifests import (
    BucketingManifest,
    encode_manifest,
    load_manifest,
    part_names,
    whole_name,
)
from curriculum.preprocess_options import PreprocessOptions
from curriculum.reading.find_files import OtherInput, find_each
from curriculum.reading.input_files import InputFile
from curriculum.storage.paths import AnyPath, StorePath, names_in

SUFFIX = ".jsonl"


class BucketDirectory(Struct, frozen=True):
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
                    fix=self._meant(name) or "name buckets that are there with --buckets",
                )
        return [i for i, name in enumerate(self.names) if names is None or name in names]

    def _meant(self, name: str) -> str:
        """What was probably meant by a name that no bucket has, as a question; else nothing."""
        several = [part.strip() for part in name.split(",") if part.strip()]
        if len(several) > 1 and set(several) <= set(self.names):
            return f"did you mean --buckets {' '.join(several)}, with spaces between the names?"
        return did_you_mean(name, self.names)

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


def open_bucket_directory(options: PreprocessOptions) -> BucketDirectory:
    """Find the buckets of the input directory. Raises InputError if there are none, or if a file is
    missing or misnamed."""
    path = options.input
    if not path.is_dir():
        raise not_a_directory(options)
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
        check_bucketed(options, there)
        wanted = _guess_files(path, there)
        warnings = _guessed(options, list(wanted))
    by = BucketingManifest.file_name if manifest else "another part"
    for name, names in wanted.items():
        _check_name(path, name)
        _check_there(path, names, set(there), by)
    found = iter(_find_buckets([path / name for names in wanted.values() for name in names]))
    files = tuple([next(found) for _ in names] for names in wanted.values())
    state = _state(manifest, files)
    return BucketDirectory(path, manifest, state, tuple(wanted), files, tuple(warnings))


def _find_buckets(paths: Sequence[AnyPath]) -> list[InputFile]:
    try:
        return find_each(paths)
    except OtherInput as other:
        fetch = other.kind.fix if other.kind else ""
        raise InputError(
            other.found,
            where=str(other.where),
            expected="the bucket file as it was written",
            fix=fetch or "bring it back, or bucket again",
        ) from other


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
    return {name: found[name] for name in guess_order(found)}


def _state(manifest: BucketingManifest | None, files: Sequence[Sequence[InputFile]]) -> str:
    known = encode_manifest(manifest) if manifest else b""
    sizes = "".join(f"{file.path.name} {file.size}\n" for bucket in files for file in bucket)
    return hashlib.blake2b(known + sizes.encode(), digest_size=8).hexdigest()


def _guessed(options: PreprocessOptions, names: Sequence[str]) -> list[str]:
    shown = " ".join(names[:10]) + (" …" if len(names) > 10 else "")
    never = ""
    if all(difficulty_rank(name) is None and value_rank(name) is None for name in names):
        never = (
            f" If these rollouts were never bucketed: {one_line(command(bucket_options(options)))}"
        )
    return [
        f"{options.input} has no {BucketingManifest.file_name}: the order of the buckets, easy to "
        f"hard, is a guess from their names ({shown}), and difficulty_metrics.value stays null. "
        f"Bucket again if the order is wrong.{never}"
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
