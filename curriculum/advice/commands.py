"""What to do with files and flags → commands to paste into a shell."""

from __future__ import annotations

import shlex
import sys
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, replace
from itertools import count, islice
from pathlib import Path, PurePath

from curriculum.advice.rows import Rows
from curriculum.containers.file_kinds import TAR, ZIP, FileKind
from curriculum.options import BucketOptions
from curriculum.preprocess_options import PreprocessOptions
from curriculum.reading.expand_paths import SUFFIXES
from curriculum.storage.paths import AnyPath, StorePath, any_in_store

COLUMNS = 96  # of a line of the bucketing command, where a flag and its values are not longer
FILES_NAMED = 3  # more are written as globs, where these match no others
_MEMBERS_LOOKED_AT = 1000
_SHORT = {"metric": "-m", "num_buckets": "-n"}


def command(options: BucketOptions | PreprocessOptions) -> str:
    """The command of a script with those of its options that are not the default."""
    if isinstance(options, BucketOptions):
        parts = [_program("bucket_rollouts_by_difficulty"), ["-i", *options.inputs]]
    else:
        parts = [_program("preprocess_bucketed_rollouts"), ["-i", options.input_dir]]
    if options.output_dir is not None:
        parts.append(["-o", options.output_dir])
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name == "output_dir" or field.default is MISSING or value == field.default:
            continue
        flag = _SHORT.get(field.name, "--" + field.name.replace("_", "-"))
        if isinstance(value, bool):
            parts.append([flag if value else flag.replace("--", "--no-", 1)])
        elif isinstance(value, (list, tuple)):
            parts.append([flag, *map(str, value)])
        elif isinstance(value, (str, int, float)):  # a metric may be a function
            parts.append([flag, str(value)])
    lines = [""]
    for part in parts:
        text = shlex.join(part)
        if len(lines[-1]) + len(text) + 3 > COLUMNS and lines[-1]:
            lines.append("   ")
        lines[-1] += f" {text}" if lines[-1] else text
    return " \\\n".join(lines)


def one_line(command: str) -> str:
    """A command in one line, for a text that is wrapped."""
    return command.replace(" \\\n    ", " ")


def _program(script: str) -> list[str]:
    """How a script is started, judging by how this one was: as a file or as a command."""
    started = PurePath(sys.argv[0])
    if started.stem not in ("bucket_rollouts_by_difficulty", "preprocess_bucketed_rollouts"):
        return ["python", f"{script}.py"]
    if started.suffix != ".py":
        return [script]
    return ["python", str(started.with_name(f"{script}.py"))]


def with_inputs(options: BucketOptions, swapped: Mapping[str, Sequence[str]]) -> BucketOptions:
    """The options with other inputs in place of some."""
    inputs = [new for given in options.inputs for new in swapped.get(given, [given])]
    return replace(options, inputs=list(dict.fromkeys(inputs)))


def beside_others(
    options: BucketOptions, files: Sequence[AnyPath], made: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The inputs, with what was made of some files in their place, where others stay; and the
    command that takes those of a directory out of its way, if there are any."""
    used = set(map(str, files))
    inputs = [*(given for given in options.inputs if given not in used), *made]
    here = [path for path in files if str(path) not in options.inputs]
    if not here or any_in_store(here):
        return inputs, []
    return inputs, [renaming(here, [f"{path.name}.original" for path in here])]


def converting(rows: Rows, changes: Sequence[str], paths: Sequence[AnyPath], target: str) -> str:
    """The command that writes the rows of some files to `target` as JSON lines, each after some
    `changes`, which are Python statements."""
    lines = ["import " + ", ".join(dict.fromkeys(("json", "sys", *rows.modules))), *rows.before]
    loops = ("for file in sys.argv[1:]:", *rows.loop)
    lines += ["  " * depth + loop for depth, loop in enumerate(loops)]
    lines += [
        "  " * len(loops) + line for line in (*rows.after, *changes, f"print({rows.written})")
    ]
    script = "\n".join(lines)
    return f'python -c "{script}" {_words(paths)} > {target}'


def new_name(stem: str, suffix: str = "") -> str:
    """A name that nothing has in the current directory, such as `converted.jsonl`."""
    names = (f"{stem}{number or ''}{suffix}" for number in count())
    return next(name for name in names if not Path(name).exists())


def renaming(paths: Sequence[AnyPath], names: Sequence[str]) -> str:
    """The command that gives files new names."""
    pairs = [(str(path), str(path.parent / name)) for path, name in zip(paths, names, strict=True)]
    ends = {_ends(*pair) for pair in pairs}
    globs = _globs(paths)
    if len(pairs) > FILES_NAMED and globs and len(ends) == 1:
        ((old, new),) = ends
        stem = f"${{f%{old}}}" if old else "${f}"
        return f'for f in {" ".join(globs)}; do mv -i "$f" "{stem}{new}"; done'
    return " &&\n".join(f"mv -i {shlex.quote(old)} {shlex.quote(new)}" for old, new in pairs)


def _ends(old: str, new: str) -> tuple[str, str]:
    """What follows the common start of two names in each of them."""
    pairs = zip(old, new, strict=False)
    same = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(old), len(new)))
    return old[same:], new[same:]


def unpacking(path: AnyPath, kind: FileKind | None) -> tuple[str, list[str]] | None:
    """The command that unpacks an archive, and the directories of rollout files in it. None if it
    is no archive."""
    if kind not in (ZIP, TAR):
        return None
    made = new_name("unpacked")
    module = "zipfile" if kind == ZIP else "tarfile"
    names = [name for name in _members(path, kind) if name.endswith(SUFFIXES)]
    found = sorted({PurePath(name).parent for name in names})
    inputs = [str(PurePath(made) / parent) for parent in found] or [made]
    return f"python -m {module} -e {_words([path])} {made}", inputs


def _members(path: AnyPath, kind: FileKind) -> list[str]:
    """The first members of an archive; none if it is damaged or in a store."""
    if isinstance(path, StorePath):
        return []
    try:
        if kind == ZIP:
            with zipfile.ZipFile(path) as archive:
                return archive.namelist()
        with tarfile.open(path) as tar:
            return [member.name for member in islice(tar, _MEMBERS_LOOKED_AT)]
    except (OSError, zipfile.BadZipFile, tarfile.TarError):
        return []


def _words(paths: Sequence[AnyPath]) -> str:
    """Files as words of a command."""
    names = [path.name if isinstance(path, StorePath) else str(path) for path in paths]
    return " ".join((len(names) > FILES_NAMED and _globs(paths)) or map(shlex.quote, names))


def _globs(paths: Sequence[AnyPath]) -> list[str]:
    """Globs that match these files and no others; none if there are no such globs."""
    found = {(path.parent, path.suffix) for path in paths if isinstance(path, Path)}
    matched = {path for parent, suffix in found for path in parent.glob(f"*{suffix}")}
    if matched != set(paths) or not all(suffix for _, suffix in found):
        return []
    return sorted(f"{shlex.quote(str(parent))}/*{suffix}" for parent, suffix in found)
