"""Directories, globs and names of files → the files of rollouts that they stand for.

Directories and globs take files by their names, and those of one family only: a directory with
files of JSON lines has no other input in it.
"""

from __future__ import annotations

import glob
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from msgspec import Struct, field

from curriculum.errors import InputError, plural
from curriculum.storage.paths import AnyPath, StorePath, check_bucket, names_in

CODECS = {"": None, ".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4"}
LINE_SUFFIXES = tuple(stem + codec for stem in (".jsonl", ".ndjson") for codec in CODECS)
JSON_SUFFIXES = tuple(".json" + codec for codec in CODECS)
# The first family that a directory or glob has files of is the one that is taken.
FAMILIES = (LINE_SUFFIXES, (".parquet",), (*JSON_SUFFIXES, ".eval"))
SUFFIXES = tuple(suffix for family in FAMILIES for suffix in family)
# Files that lie beside rollouts and describe them; a directory or glob never stands for them.
OTHER_NAMES = frozenset(
    f"{name}.json"
    for name in (
        *("bucketing", "preprocessing", "metadata", "config", "dataset_info", "dataset_infos"),
        *("dataset_dict", "state", "args", "arguments", "params", "settings", "run", "manifest"),
        *("generation_config", "tokenizer_config", "tokenizer", "special_tokens_map", "vocab"),
        *("trainer_state", "training_args", "package", "stats", "summary", "header"),
    )
)
OUR_MANIFESTS = ("bucketing.json", "preprocessing.json")
EXPECTED = "rollouts"
ENDS = (
    "rollout files end in .jsonl, .ndjson or .json, perhaps with .gz, .zst, .bz2 or .lz4 after "
    "that, or in .parquet or .eval"
)
_DIRECTORIES_LOOKED_AT, _LEVELS_LOOKED_AT = 64, 3  # to say what lies deeper
_NAMES_SHOWN = 5
STDIN = "<stdin>"


class Found(Struct):
    """What inputs stand for: the files, those of them that were not named one by one, pipes by what
    they are called, and `notes` on what was left alone."""

    paths: dict[str, AnyPath] = field(default_factory=dict)
    chosen: set[str] = field(default_factory=set)
    pipes: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class NoRollouts(InputError):
    """A directory or glob stands for no rollout file. `entries` are what the directory holds;
    `given` is how it was given, and `path` its path. `deeper` says that its directories have some,
    and `instead` is what may have been meant."""

    def __init__(
        self,
        found: str,
        *,
        given: str,
        path: AnyPath,
        fix: str,
        entries: Sequence[AnyPath] = (),
        deeper: bool = False,
        instead: Sequence[str] = (),
    ) -> None:
        super().__init__(found, where=given, expected=EXPECTED, fix=fix)
        self.found, self.fix, self.given, self.path = found, fix, given, path
        self.entries, self.deeper, self.instead = entries, deeper, instead


def is_piped(given: str, path: AnyPath) -> bool:
    """Whether an input is standard input, or another pipe."""
    if given in ("-", "/dev/stdin"):
        return True
    if isinstance(path, StorePath):
        return False
    with suppress(OSError):
        return stat.S_ISFIFO(path.stat().st_mode)
    return False


def expand(inputs: Mapping[str, AnyPath], recursive: bool = False) -> Found:
    """The files that `inputs` stand for; it has the path of each input as the user wrote it.

    Directories are searched for files inside them, or with `recursive` also for those in their
    directories, without hidden ones and without our own outputs. Raises InputError if a path is
    missing, and NoRollouts if it stands for no file.
    """
    found = Found()
    for given, path in inputs.items():
        if isinstance(path, Path) and is_piped(given, path):
            found.pipes[STDIN if given in ("-", "/dev/stdin") else given] = path
            continue
        matches = _matches(given, path, recursive)
        if matches is None:
            found.paths[str(path)] = path
            continue
        taken = choose_family(matches)
        if not taken:
            raise _nothing_in(given, path, recursive)
        found.notes += _left_alone(given, matches, taken)
        if isinstance(path, Path) and path.is_dir() and not recursive:
            found.notes += _left_deeper(given, matches)
        found.paths |= {str(match): match for match in taken}
        found.chosen |= {str(match) for match in taken}
    return found


def _matches(given: str, path: AnyPath, recursive: bool) -> list[AnyPath] | None:
    """What a directory or glob may stand for; None for the path of a file."""
    if path.is_dir():
        return [*(files_below(path) if recursive else path.iterdir())]
    if path.exists() and not path.is_file():
        raise InputError(
            "this is a device",
            where=given,
            expected=EXPECTED,
            fix="write it to a file first",
        )
    if path.exists() or path.is_symlink():
        return None
    found = list(matching(path))
    if not any(has_name(match) for match in found):
        raise _nothing_there(given, path)
    return found


def has_name(path: AnyPath, suffixes: tuple[str, ...] = SUFFIXES) -> bool:
    """Whether to take a path. A broken link is taken, so that it is refused later."""
    name = path.name
    return name.endswith(suffixes) and name[0] != "." and not path.is_dir()


def choose_family(paths: Sequence[AnyPath]) -> list[AnyPath]:
    """Those of the files that are of the first family of which there are any."""
    for family in FAMILIES:
        chosen = [path for path in paths if has_name(path, family)]
        if chosen := [path for path in chosen if path.name not in OTHER_NAMES]:
            return chosen
    return []


def _left_alone(given: str, paths: Sequence[AnyPath], taken: Sequence[AnyPath]) -> list[str]:
    """A note on files that might be rollouts, too."""
    used = set(map(str, taken))
    others = sorted(
        path.name
        for path in paths
        if has_name(path) and str(path) not in used and path.name not in OTHER_NAMES
    )
    if not others:
        return []
    shown = ", ".join(others[:_NAMES_SHOWN]) + (" …" if len(others) > _NAMES_SHOWN else "")
    suffix = next(end for end in SUFFIXES if taken[0].name.endswith(end))
    return [
        f"{given}: {plural(len(others), 'file')} beside the {suffix} files left alone: {shown}. "
        "Name them with -i if they are rollouts, too."
    ]


def _left_deeper(given: str, entries: Sequence[AnyPath]) -> list[str]:
    """A note on rollout files in the directories of a directory."""
    count, more = _count_below([entry for entry in entries if entry.name[0] != "."])
    if not count:
        return []
    number = f"{plural(count, 'rollout file')}{' or more' * more}"
    return [
        f"{given}: left alone {number} in directories inside it: take these, too, with --recursive."
    ]


def files_below(directory: AnyPath) -> Iterator[AnyPath]:
    """The files in a directory and in those inside it, but for hidden ones and outputs of ours."""
    entries: list[AnyPath] = sorted(directory.iterdir(), key=lambda entry: entry.name)
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if not entry.is_dir():
            yield entry
        elif not is_ours(entry) and not entry.is_symlink():
            with suppress(PermissionError):
                yield from files_below(entry)


def is_ours(directory: AnyPath) -> bool:
    """Whether a directory is an output of this toolkit."""
    return any((directory / name).exists() for name in OUR_MANIFESTS)


def matching(pattern: AnyPath) -> Iterable[AnyPath]:
    """The paths that match a pattern; ** matches any number of directories."""
    if isinstance(pattern, StorePath):
        return pattern.glob()
    return map(Path, glob.glob(str(pattern), recursive=True))  # noqa: PTH207, Path.glob takes no absolute pattern


def _nothing_there(given: str, path: AnyPath) -> NoRollouts:
    """The error for a path that is not there, and is no glob that matches rollout files."""
    if isinstance(path, StorePath):
        check_bucket(path)
    nothing = "no such file or directory, and no glob that matches any"
    if similar := similar_path(given, path):
        return NoRollouts(
            nothing, given=given, path=path, fix=f"did you mean {similar}?", instead=[similar]
        )
    return NoRollouts(nothing, given=given, path=path, fix=f"check the path; {ENDS}")


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


def _nothing_in(given: str, path: AnyPath, recursive: bool) -> NoRollouts:
    """The error for a directory or glob without rollout files, which says what is there."""
    entries: list[AnyPath] = []
    if path.is_dir():
        shown = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
        entries = sorted(shown, key=lambda entry: entry.name)
    count, more = (0, False) if recursive else _count_below(entries)
    if count:
        number = f"{count:,} or more" if more else f"{count:,}"
        return NoRollouts(
            f"holds no rollout files itself, but {number} lie in directories inside it",
            given=given,
            path=path,
            fix="take these, too, with --recursive",
            deeper=True,
        )
    if isinstance(path, StorePath):
        check_bucket(path)
    names = ", ".join(entry.name for entry in entries[:_NAMES_SHOWN])
    names += " …" if len(entries) > _NAMES_SHOWN else ""
    return NoRollouts(
        "holds no rollout files" + (f" (it holds {names})" if names else " (it is empty)"),
        given=given,
        path=path,
        fix=f"check the path; {ENDS}",
        entries=entries,
    )


def _count_below(entries: Sequence[AnyPath]) -> tuple[int, bool]:
    """How many rollout files lie in directories, and whether there may be more; in a store only one
    level down is looked at."""
    level, depth, count, more = [entry for entry in entries if entry.is_dir()], 1, 0, False
    while level and depth <= _LEVELS_LOOKED_AT:
        below: list[AnyPath] = []
        more = more or len(level) > _DIRECTORIES_LOOKED_AT
        for directory in level[:_DIRECTORIES_LOOKED_AT]:
            with suppress(PermissionError):
                below += [] if is_ours(directory) else directory.iterdir()
        count += len(choose_family(below))
        level = [e for e in below if e.name[0] != "." and e.is_dir()]
        if level and isinstance(level[0], StorePath):
            return count, True
        depth += 1
    return count, more or bool(level)
