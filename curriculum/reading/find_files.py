"""Paths → rollout files, or what an input is if it is not rollout files.

A file is looked at before it is read: one of another kind is refused once, not line by line.
"""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from curriculum.errors import InputError
from curriculum.reading.file_kinds import (
    BOM,
    HEAD_BYTES,
    FileKind,
    compression_of,
    is_plain_json,
    kind_of,
)
from curriculum.reading.input_files import InputFile, open_file, unreadable
from curriculum.storage.paths import AnyPath, StorePath, any_in_store, check_bucket, names_in
from curriculum.storage.requests import each

CODECS = {"": None, ".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4"}
SUFFIXES = tuple(stem + codec for stem in (".jsonl", ".ndjson") for codec in CODECS)

_ENDS = "rollout files end in .jsonl or .ndjson, or in .gz, .zst, .bz2 or .lz4 after that"
_JSON_LINES = "JSON lines"
_CONVERT = "convert it to one rollout per line; if it is damaged, fetch or write it again"
_OTHER_SUFFIXES = (".json", ".jsonl", ".ndjson", ".jl", ".jsonlines", ".txt", ".log", ".out")
# Of a directory without rollout files, to say what it holds.
_FILES_LOOKED_AT, _DIRECTORIES_LOOKED_AT, _LEVELS_LOOKED_AT = 256, 64, 3


@dataclass(frozen=True)
class _Look:
    """A file as its first bytes show it.

    `kind` is None if it may be JSON lines, and `has_json` says that it starts like JSON.
    `compression` is what its bytes are compressed with; `misnamed` says how its name differs.
    """

    file: InputFile
    kind: FileKind | None = None
    has_json: bool = False
    compression: str | None = None
    misnamed: str | None = None


class OtherInput(InputError):
    """The input is not rollout files, but it is known what it is.

    `files` are of the `kind`, or are to be renamed: `names` has the new name of each. `others` is
    how many files beside them can be read. Or the rollouts are elsewhere: in the paths `instead`.
    `given` is the path that was given, empty if it may be one of several.
    """

    def __init__(
        self,
        found: str,
        *,
        where: object,
        fix: str,
        kind: FileKind | None = None,
        files: Sequence[AnyPath] = (),
        names: Sequence[str] = (),
        others: int = 0,
        given: str = "",
        instead: Sequence[str] = (),
    ) -> None:
        super().__init__(found, where=where, expected=_JSON_LINES, fix=fix)
        self.found, self.where, self.expected, self.fix = found, where, _JSON_LINES, fix
        self.kind, self.files, self.names, self.others = kind, files, names, others
        self.given, self.instead = given, instead


def find_files(inputs: Mapping[str, AnyPath]) -> list[InputFile]:
    """The rollout files named by `inputs` (directories, files, globs), sorted, each once.

    `inputs` has the path of each input as the user wrote it, which is what errors show.

    Directories are not searched recursively, and directories and globs skip hidden files. The name
    of a single file must end in one of SUFFIXES. Raises InputError if a path is missing, holds no
    rollout file, or cannot be read, and OtherInput where it is known what it holds instead.
    """
    paths = {str(path): path for given in inputs.items() for path in _expand(*given)}
    once: dict[AnyPath, AnyPath] = {}
    for _, path in sorted(paths.items()):
        once.setdefault(path.resolve(), path)
    return find_each(list(once.values()))


def find_each(paths: Sequence[AnyPath]) -> list[InputFile]:
    """Call `find_file` on each path; in an object store, on many at a time. Raises OtherInput if
    any of the files is not JSON lines."""
    looks = list(each(_look, paths, any_in_store(paths)))
    _refuse_other_kinds(looks)
    return [look.file for look in looks]


def _refuse_other_kinds(looks: Sequence[_Look], given: str = "") -> None:
    """Raise OtherInput if any of the files is not JSON lines, or not compressed as its name says:
    once for all files like the first of them. `given` is the path that names all of them."""
    other = next((look for look in looks if look.kind or look.misnamed), None)
    if other is None:
        return
    alike = [look for look in looks if (look.kind, look.misnamed) == (other.kind, other.misnamed)]
    more = f" (one of {len(alike):,} such files)" if len(alike) > 1 else ""
    others = len(looks) - len(alike)
    if other.misnamed:
        names = [_rollout_name(look) for look in alike]
        raise OtherInput(
            f"{other.misnamed}{more}",
            where=other.file.path,
            fix=f"rename it to {names[0]}",
            files=[look.file.path for look in alike],
            names=names,
            others=others,
            given=given,
        )
    assert other.kind is not None
    raise OtherInput(
        f"this is {other.kind.title}{more}",
        where=other.file.path,
        fix=other.kind.fix or _CONVERT,
        kind=other.kind,
        files=[look.file.path for look in alike],
        others=others,
        given=given,
    )


def _expand(given: str, path: AnyPath) -> Sequence[AnyPath]:
    """The rollout files named by one input."""
    if path.is_dir():
        found = [entry for entry in path.iterdir() if _has_rollout_name(entry)]
        if not found:
            raise _no_rollouts_in(given, path)
        return found
    if path.is_file() and not path.name.endswith(SUFFIXES):
        raise _other_name(given, [_look(path)])
    if path.exists() and not path.is_file():
        raise InputError(
            "this is a pipe or a device, and input is read more than once",
            where=given,
            expected=_JSON_LINES,
            fix="write it to a file first",
        )
    if path.exists() or path.is_symlink():
        return [path]
    found = [match for match in _glob(path) if _has_rollout_name(match)]
    if found:
        return found
    if isinstance(path, StorePath):
        check_bucket(path)
    nothing = "no such file or directory, and no glob that matches any"
    if similar := similar_path(given, path):
        raise OtherInput(
            nothing, where=given, fix=f"did you mean {similar}?", given=given, instead=[similar]
        )
    raise InputError(nothing, where=given, expected=_JSON_LINES, fix=f"check the path; {_ENDS}")


def similar_path(given: str, path: AnyPath) -> str | None:
    """A path like a missing one, as a user would write it: an entry of the same directory with
    nearly the same name. None if there is none."""
    names: list[str] = []
    with suppress(OSError):
        names = sorted(name for name in names_in(path.parent) if not name.startswith("."))
    for name in get_close_matches(path.name, names, n=1, cutoff=0.75):
        directory, slash, _ = given.rstrip("/").rpartition("/")
        return f"{directory}{slash}{name}"
    return None


def _other_name(given: str, looks: Sequence[_Look]) -> InputError:
    """The error for files that are not named like rollout files."""
    _refuse_other_kinds([replace(look, misnamed=None) for look in looks], given)
    files, names = [look.file for look in looks], [_rollout_name(look) for look in looks]
    first = files[0].path
    if not any(look.has_json for look in looks):
        return InputError(
            "this file does not begin like JSON",
            where=given,
            expected=_JSON_LINES,
            fix=f"leave it out of -i; {_ENDS}",
        )
    named = "this file's name does" if len(files) == 1 else f"the names of {len(files):,} files do"
    return OtherInput(
        f"{named} not end like a rollout file's",
        where=given,
        fix=f"rename {first.name} to {names[0]}, or leave it out of -i",
        files=[file.path for file in files],
        names=names,
        given=given,
    )


def _rollout_name(look: _Look) -> str:
    """The name that a file of JSON lines should have."""
    stem = look.file.path.name
    for suffix in (*filter(None, CODECS), *_OTHER_SUFFIXES):
        stem = stem.removesuffix(suffix)
    return f"{stem}.jsonl" + next(end for end, codec in CODECS.items() if codec == look.compression)


def _no_rollouts_in(given: str, path: AnyPath) -> InputError:
    """The error for a directory without rollout files, which says what it holds."""
    shown = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    entries: list[AnyPath] = sorted(shown, key=lambda entry: entry.name)
    if patterns := _rollouts_below(entries):
        instead = [f"{given.rstrip('/')}/{pattern}" for pattern in patterns]
        return OtherInput(
            "holds no rollout files itself, but its directories do",
            where=given,
            fix="name these files: -i " + " ".join(instead),
            given=given,
            instead=instead,
        )
    looks = _readable([entry for entry in entries if entry.is_file()][:_FILES_LOOKED_AT])
    sizes: Counter[FileKind] = Counter()
    for look in looks:
        if look.kind is not None and not look.kind.fix:
            sizes[look.kind] += look.file.size
    for kind, _ in sizes.most_common(1):
        _refuse_other_kinds([look for look in looks if look.kind == kind], given)
    plain = [look for look in looks if look.has_json and not look.kind]
    if plain:
        return _other_name(given, plain)
    if isinstance(path, StorePath):
        check_bucket(path)
    names = ", ".join(entry.name for entry in entries[:5]) + (" …" if len(entries) > 5 else "")
    return InputError(
        "holds no rollout files" + (f" (it holds {names})" if names else " (it is empty)"),
        where=given,
        expected=_JSON_LINES,
        fix=f"check the path; {_ENDS}",
    )


def _readable(paths: Sequence[AnyPath]) -> list[_Look]:
    """Look at those of some files that can be read."""

    def try_one(path: AnyPath) -> _Look | None:
        try:
            return _look(path)
        except InputError:
            return None

    return [look for look in each(try_one, paths, any_in_store(paths)) if look]


def _rollouts_below(entries: Sequence[AnyPath]) -> list[str]:
    """Patterns of the rollout files in directories, from the level where the first are; in a store
    only one level down is looked at."""
    level, depth = [entry for entry in entries if entry.is_dir()], 1
    while level and depth <= _LEVELS_LOOKED_AT:
        below: list[AnyPath] = []
        for directory in level[:_DIRECTORIES_LOOKED_AT]:
            with suppress(PermissionError):
                below += directory.iterdir()
        names = [entry.name for entry in below if _has_rollout_name(entry)]
        if names:
            ends = dict.fromkeys(end for end in SUFFIXES for name in names if name.endswith(end))
            return ["*/" * depth + "*" + end for end in ends]
        level = [e for e in below if isinstance(e, Path) and e.is_dir() and e.name[0] != "."]
        depth += 1
    return []


def _glob(pattern: AnyPath) -> Iterable[AnyPath]:
    if isinstance(pattern, StorePath):
        return pattern.glob()
    return map(Path, glob.glob(str(pattern)))  # noqa: PTH207, Path.glob takes no absolute pattern


def _has_rollout_name(path: AnyPath) -> bool:
    """Whether to take a path. A broken link is taken, so that it is refused later."""
    name = path.name
    return name.endswith(SUFFIXES) and not name.startswith(".") and not path.is_dir()


def find_matching(given: Mapping[str, AnyPath], flag: str) -> list[AnyPath]:
    """The files that are named by paths and globs, sorted, each once. `given` has each as the user
    wrote it. Raises InputError if one is missing or is no file."""
    found: dict[AnyPath, AnyPath] = {}
    for name, path in given.items():
        matches = [path] if path.exists() or path.is_symlink() else list(_glob(path))
        wrong = next((match for match in matches if match.exists() and not match.is_file()), None)
        if wrong is not None or not matches:
            similar = similar_path(name, path)
            raise InputError(
                "this is no file" if wrong is not None else "no such file, and no glob of any",
                where=name if wrong is None else wrong,
                expected=f"the files of {flag}",
                fix=f"did you mean {similar}?" if similar and wrong is None else "check the path",
            )
        found |= {match.resolve(): match for match in sorted(matches, key=str, reverse=True)}
    return sorted(found.values(), key=str)


def look_at(path: AnyPath) -> tuple[InputFile, FileKind | None]:
    """A file, and its kind; None if it may be JSON lines. Raises InputError if it cannot be read,
    and OtherInput if it is not compressed as its name says."""
    look = _look(path)
    if look.misnamed:
        _refuse_other_kinds([look])
    return look.file, look.kind


def find_file(path: AnyPath) -> InputFile:
    """Look at one file, whatever it is. Raises InputError if it cannot be read."""
    return _look(path).file


def _look(path: AnyPath) -> _Look:
    """Look at one file. Raises InputError if it cannot be read."""
    codec = CODECS.get(path.suffix)
    try:
        status = path.stat()
        path = path.as_new() if isinstance(path, StorePath) else path
        raw = InputFile(path, status.st_size, status.st_mtime_ns, None, 0)
        head = _head(raw)
        compression = compression_of(head)
        if codec is None and compression:
            misnamed = f"this is {compression} data with another name"
            return _Look(raw, has_json=True, compression=compression, misnamed=misnamed)
        if codec is not None and compression is None and is_plain_json(head):
            misnamed = f"this is plain text, although its name says {codec}"
            return _Look(raw, has_json=True, misnamed=misnamed)
        if codec is not None:
            head = _head(replace(raw, codec=codec))
    except OSError as error:
        raise unreadable(path, error) from error
    if codec is not None and not raw.size:
        raise unreadable(path, OSError("an empty file is no compressed file"))
    file = replace(raw, codec=codec, bom_bytes=len(BOM) if head.startswith(BOM) else 0)
    kind = kind_of(head, whole=len(head) < HEAD_BYTES)
    return _Look(file, kind, is_plain_json(head), compression)


def _head(file: InputFile) -> bytes:
    with open_file(file, step=HEAD_BYTES) as stream:
        return stream.read(HEAD_BYTES)
