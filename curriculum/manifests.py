"""`bucketing.json` and `preprocessing.json`: what a run read, did and wrote.

They hold no time and no host, so the same input gives the same bytes; their presence means that
the run finished.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import PurePosixPath
from typing import ClassVar, TypeVar

import msgspec

from curriculum.errors import InputError
from curriculum.stores import AnyPath

REJECTED = "rejected"  # the directory of rejected lines
UNSCORED_FILE = f"{REJECTED}/unscored.jsonl"
MALFORMED_FILE = f"{REJECTED}/malformed.jsonl"
REASONS_FILE = f"{REJECTED}/reasons.jsonl"
REJECTED_FILES = (UNSCORED_FILE, MALFORMED_FILE, REASONS_FILE)


_PART = re.compile(r"-\d{5,}-of-\d{5,}\.(?=[^./]+$)")


def inner_buckets(solved_unsolved: bool) -> slice:
    """Which of the buckets are cut by percentiles or thresholds: all, or those between the ends."""
    return slice(1, -1) if solved_unsolved else slice(None)


class MetricRecord(msgspec.Struct, frozen=True):
    """The metric of a run and its parameters."""

    name: str
    higher_is_easier: bool
    score_field: str
    k: int
    pass_threshold: float


class MethodRecord(msgspec.Struct, frozen=True):
    """How the cuts were made: by `percentiles` or by `thresholds`, into how many buckets, and
    whether rollouts that are `solved` or `unsolved` are in two more."""

    name: str
    num_buckets: int
    ties: str | None = None
    thresholds: tuple[float, ...] | None = None
    solved_unsolved: bool = False

    @property
    def inner(self) -> slice:
        """Which of the buckets were cut by percentiles or thresholds."""
        return inner_buckets(self.solved_unsolved)


class InputRecord(msgspec.Struct, frozen=True):
    """One input file: its path as given, bytes on disk, and lines, blank ones included."""

    path: str
    bytes: int
    lines: int


class CountRecord(msgspec.Struct, frozen=True):
    """read = bucketed + unscored + malformed, in rollouts, malformed in lines; blank lines are
    none of them."""

    read: int
    bucketed: int
    unscored: int
    malformed: int
    blank: int


class BucketRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One bucket: its order (0 the easiest), its file, and the metric values it holds. In a store
    it has `parts`, named after the file, which are the file one after another."""

    name: str
    order: int
    file: str
    count: int
    bytes: int
    lowest: float | None
    highest: float | None
    parts: int = 0

    def files(self) -> list[str]:
        """The file, or its parts."""
        return part_names(self.file, self.parts) if self.parts else [self.file]


class DumpRecord(msgspec.Struct, frozen=True):
    """Input whose lines were put together: its format; the place of its scores; how many lines
    were grouped by which places, and how many skipped for their step; how many lines a rollout
    has, at least and at most. `better_scores` are lines with a better score than the one taken,
    which not all have. Counted are rollouts that have one line, lines of several files, responses
    to several prompts, a prompt that was not taken apart. `steps` are the first and the last."""

    format: str
    score: str
    better_scores: int
    grouped_by: dict[str, int]
    skipped: int
    lines_per_rollout: tuple[int, int]
    single_lines: int
    several_files: int
    several_prompts: int
    unread_prompts: int
    steps: tuple[float, float] | None

    @property
    def lines(self) -> int:
        """How many lines were put together."""
        return sum(self.grouped_by.values())


class BucketingManifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """`bucketing.json`: what a bucketing run read, did and wrote."""

    file_name: ClassVar[str] = "bucketing.json"
    version: str
    metric: MetricRecord
    method: MethodRecord
    inputs: tuple[InputRecord, ...]
    counts: CountRecord
    buckets: tuple[BucketRecord, ...]
    rejected: tuple[str, ...]
    dump: DumpRecord | None = None

    def files(self) -> list[str]:
        """The files that the run wrote beside this one."""
        files = (file for bucket in self.buckets for file in bucket.files())
        return [*files, *self.rejected]


class MovedPrompt(msgspec.Struct, frozen=True):
    """A prompt that the floor moved: its hash, a row with it (the lowest index), and its side."""

    prompt_hash: str
    index: int
    to: str


class SetRecord(msgspec.Struct, frozen=True):
    """One parquet set: where its rows come from, how it was made, and what it holds.

    `bucketing` identifies the bucket directory's state: sets with the same one go together.
    """

    buckets: tuple[str, ...]
    input_dir: str
    bucketing: str
    filter: str
    pass_threshold: float
    score_field: str
    val_ratio: float
    seed: int
    data_source: str
    keep_data_source: bool
    ability: str
    ground_truth_format: str
    best_response: bool
    files: dict[str, str | None]
    rows: dict[str, int]
    dropped: dict[str, int]
    moved_prompts: tuple[MovedPrompt, ...]
    order: str = "input"

    def written(self) -> list[str]:
        """The files of the set; a side without rows has none."""
        return [file for file in self.files.values() if file]


class PreprocessingManifest(msgspec.Struct, frozen=True):
    """`preprocessing.json`: one entry per set in its directory."""

    file_name: ClassVar[str] = "preprocessing.json"
    version: str
    sets: dict[str, SetRecord]
    rejected: tuple[str, ...]

    def files(self) -> list[str]:
        """The files that the runs wrote beside this one."""
        sets = (file for record in self.sets.values() for file in record.written())
        return [*sets, *self.rejected]


def cumulative_name(last: int) -> str:
    """What the set of the first so many stages is called."""
    return f"stage1_{'and' if last == 2 else 'to'}_{last}"


def is_cumulative(name: str) -> bool:
    """Whether a set has such a name."""
    last = name.rpartition("_")[2]
    return last.isdecimal() and name == cumulative_name(int(last))


def is_inside(name: str) -> bool:
    """Whether a relative name stays in its directory: a plain file name, or one below REJECTED."""
    path = PurePosixPath(name)
    return str(path) == name and ".." not in path.parts and str(path.parent) in (".", REJECTED)


Manifest = TypeVar("Manifest", BucketingManifest, PreprocessingManifest)


def load_manifest(directory: AnyPath, kind: type[Manifest]) -> Manifest | None:
    """The manifest in a directory, or None without one. Raises InputError if it is not one."""
    path = directory / kind.file_name
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=kind)
        if not all(map(is_inside, manifest.files())):
            raise ValueError("it names files elsewhere")
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise InputError(
            f"this is not a manifest of this toolkit ({error})",
            where=str(path),
            expected="the file as the toolkit wrote it",
            fix="restore it, or move it away to go on without it",
        ) from error
    return manifest


def read_manifests(directory: AnyPath) -> list[bytes]:
    """What the manifests in a directory say, as it stands there."""
    found = []
    for kind in (BucketingManifest, PreprocessingManifest):
        with suppress(FileNotFoundError):
            found.append((directory / kind.file_name).read_bytes())
    return found


def part_names(name: str, count: int) -> list[str]:
    """What the parts are called in which a store has a file."""
    stem, dot, suffix = name.rpartition(".")
    return [f"{stem}-{i:05}-of-{count:05}{dot}{suffix}" for i in range(count)]


def part_pattern(name: str, count: int) -> str:
    """All of them, as a person writes it."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}-*-of-{count:05}{dot}{suffix}"


def whole_name(name: str) -> str:
    """The file that a part is of; of a whole file its own name."""
    return _PART.sub(".", name)


def encode_manifest(manifest: BucketingManifest | PreprocessingManifest) -> bytes:
    """A manifest as bytes: the same manifest, the same bytes."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def printable(path: str) -> str:
    """A path as a manifest can hold it: bytes that are not UTF-8 are escaped."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
