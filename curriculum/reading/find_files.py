"""Rollout files → what they are: JSON lines, what else holds records, or what is no input at all.

A file is looked at before it is read: one of another kind is refused once, not line by line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from curriculum.containers.container import Container
from curriculum.containers.eval_logs import is_eval_log, is_torch_file
from curriculum.containers.file_kinds import (
    BOM,
    EVAL_LOG,
    HEAD_BYTES,
    JSON_ARRAY,
    JSON_OBJECT,
    PARQUET,
    TORCH,
    ZIP,
    FileKind,
    compression_of,
    is_plain_json,
    kind_of,
)
from curriculum.errors import InputError
from curriculum.reading.expand_paths import (
    CODECS,
    ENDS,
    EXPECTED,
    SUFFIXES,
    Found,
    NoRollouts,
    expand,
    matching,
    similar_path,
)
from curriculum.reading.input_files import InputFile, open_file, unreadable
from curriculum.storage.paths import AnyPath, StorePath, any_in_store
from curriculum.storage.requests import each

_CONVERT = "convert it to one rollout per line; if it is damaged, fetch or write it again"
_OTHER_SUFFIXES = (".json", ".jsonl", ".ndjson", ".jl", ".jsonlines", ".txt", ".log", ".out")
_FILES_LOOKED_AT = 256  # of a directory without rollout files, to say what it holds


class _Look(Struct, frozen=True):
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
    how many files beside them can be read. Or the rollouts are elsewhere: in the paths `instead`,
    or `deeper`, in directories of the directory given.
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
        deeper: bool = False,
    ) -> None:
        super().__init__(found, where=where, expected=EXPECTED, fix=fix)
        self.found, self.where, self.expected, self.fix = found, where, EXPECTED, fix
        self.kind, self.files, self.names, self.others = kind, files, names, others
        self.given, self.instead, self.deeper = given, instead, deeper


def find_files(inputs: Mapping[str, AnyPath], recursive: bool = False) -> list[InputFile]:
    """The rollout files named by `inputs` (directories, files, globs), sorted, each once.

    `inputs` has the path of each input as the user wrote it, which is what errors show. The name of
    a single file must end in one of SUFFIXES, unless its bytes say what it is. Raises InputError if
    a path is missing, holds no rollout file, or cannot be read, and OtherInput where it is known
    what it holds instead.
    """
    return find_inputs(list(find_paths(inputs, recursive).paths.values()))


def find_paths(inputs: Mapping[str, AnyPath], recursive: bool = False) -> Found:
    """What inputs stand for, its paths sorted and each once. Raises as `find_files` does."""
    try:
        found = expand(inputs, recursive)
    except NoRollouts as nothing:
        raise _instead(nothing) from nothing
    once: dict[AnyPath, AnyPath] = {}
    for _, path in sorted(found.paths.items()):
        once.setdefault(path.resolve(), path)
    found.paths = {str(path): path for path in once.values()}
    return found


def find_inputs(paths: Sequence[AnyPath]) -> list[InputFile]:
    """Look at files of rollouts, in an object store at many at a time: JSON lines, or what holds
    records. Raises OtherInput if any of them is neither."""
    looks = list(each(_look_for_records, paths, any_in_store(paths)))
    unnamed = [look for look in looks if not _may_be_input(look)]
    if unnamed:
        raise _other_name(str(unnamed[0].file.path), unnamed[:1])
    _refuse_other_kinds([look for look in looks if look.file.container is None])
    return [look.file for look in looks]


def _may_be_input(look: _Look) -> bool:
    """Whether a file is named like rollouts, or is what needs no name to be known."""
    known = look.file.container is not None and look.kind in (PARQUET, EVAL_LOG)
    return known or look.file.path.name.endswith(SUFFIXES)


def find_piped(path: AnyPath, given: str) -> InputFile:
    """Look at what came through a pipe and lies in a file now. Raises OtherInput if it is no input
    that can be read."""
    look = _look_for_records(path, piped=given)
    _refuse_other_kinds([look] if look.file.container is None else [])
    return look.file


def find_each(paths: Sequence[AnyPath]) -> list[InputFile]:
    """Look at files of JSON lines, in an object store at many at a time. Raises OtherInput if any
    of them is of another kind."""
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


def _other_name(given: str, looks: Sequence[_Look]) -> InputError:
    """The error for files that are not named like rollout files."""
    _refuse_other_kinds([replace(look, misnamed=None) for look in looks], given)
    files, names = [look.file for look in looks], [_rollout_name(look) for look in looks]
    first = files[0].path
    if not any(look.has_json for look in looks):
        return InputError(
            "this file does not begin like JSON",
            where=given,
            expected=EXPECTED,
            fix=f"leave it out of -i; {ENDS}",
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


def _instead(nothing: NoRollouts) -> InputError:
    """The error for what holds no rollout files, which says what it is or holds."""
    given = nothing.given
    if nothing.deeper or nothing.instead:
        return OtherInput(
            nothing.found,
            where=given,
            fix=nothing.fix,
            given=given,
            instead=nothing.instead,
            deeper=nothing.deeper,
        )
    looks = _readable([e for e in nothing.entries if e.is_file()][:_FILES_LOOKED_AT])
    sizes: Counter[FileKind] = Counter()
    for look in looks:
        if look.kind is not None and not look.kind.fix:
            sizes[look.kind] += look.file.size
    for kind, _ in sizes.most_common(1):
        _refuse_other_kinds([look for look in looks if look.kind == kind], given)
    plain = [look for look in looks if look.has_json and not look.kind]
    plain = [look for look in plain if not look.file.path.name.endswith(".json")]
    return _other_name(given, plain) if plain else nothing


def _readable(paths: Sequence[AnyPath]) -> list[_Look]:
    """Look at those of some files that can be read."""

    def try_one(path: AnyPath) -> _Look | None:
        try:
            return _look(path)
        except InputError:
            return None

    return [look for look in each(try_one, paths, any_in_store(paths)) if look]


def find_matching(given: Mapping[str, AnyPath], flag: str) -> list[AnyPath]:
    """The files that are named by paths and globs, sorted, each once. `given` has each as the user
    wrote it. Raises InputError if one is missing or is no file."""
    found: dict[AnyPath, AnyPath] = {}
    for name, path in given.items():
        matches = [path] if path.exists() or path.is_symlink() else list(matching(path))
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


def _look_for_records(path: AnyPath, piped: str | None = None) -> _Look:
    """Look at one file that may hold records otherwise than as lines. Raises InputError if it
    cannot be read, or is damaged."""
    look = _look(path, piped)
    try:
        container = _container(look)
    except OSError as error:
        raise unreadable(path, error) from error
    kind = look.kind
    if container is not None:
        kind = container.kind
    elif kind == ZIP and is_torch_file(path):
        kind = TORCH
    return replace(look, kind=kind, file=replace(look.file, container=container))


def _container(look: _Look) -> Container | None:
    """What the records of a file lie in; None if they are its lines, or if it is no input."""
    file = look.file
    if look.kind in (JSON_ARRAY, JSON_OBJECT) and not look.misnamed:
        return Container(look.kind, start=file.bom_bytes)
    if file.codec is not None:
        return None
    if look.kind == PARQUET:
        from curriculum.containers.parquet_rows import open_rows  # loads pyarrow

        return open_rows(file.path)
    if look.kind == ZIP and is_eval_log(file.path):
        return Container(EVAL_LOG)
    return None


def _look(path: AnyPath, piped: str | None = None) -> _Look:
    """Look at one file; `piped` is what it is called if it came through a pipe, which has no name
    that says how it is compressed. Raises InputError if it cannot be read."""
    codec = CODECS.get(path.suffix)
    try:
        status = path.stat()
        path = path.as_new() if isinstance(path, StorePath) else path
        raw = InputFile(path, status.st_size, status.st_mtime_ns, None, 0, given=piped)
        head = _head(raw)
        compression = compression_of(head)
        if piped is not None:
            codec = compression
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
