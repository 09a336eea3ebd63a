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

from curriculum.bucketers import inner_buckets
from curriculum.errors import InputError
from curriculum.storage.paths import AnyPath

REJECTED = "rejected"  # the directory of rejected lines
UNSCORED_FILE = f"{REJECTED}/unscored.jsonl"
MALFORMED_FILE = f"{REJECTED}/malformed.jsonl"
REASONS_FILE = f"{REJECTED}/reasons.jsonl"
REJECTED_FILES = (UNSCORED_FILE, MALFORMED_FILE, REASONS_FILE)
CUMULATIVE = "cumulative"  # the directory of cumulative sets, which has a manifest of its own


_PART = re.compile(r"-\d{5,}-of-\d{5,}\.(?=[^./]+$)")


class MetricRecord(msgspec.Struct, frozen=True):
    """The metric of a run and its parameters. With `carried` it is a number that each rollout
    carries in place of scores, in the field `score_field` of its only reward entry."""

    name: str
    higher_is_easier: bool
    score_field: str
    k: int
    pass_threshold: float
    carried: bool | msgspec.UnsetType = msgspec.UNSET

    @property
    def is_carried(self) -> bool:
        """Whether rollouts carry a number in place of scores."""
        return self.carried is True


class MethodRecord(msgspec.Struct, frozen=True):
    """How the cuts were made: by `percentiles` or `thresholds`, into `num_buckets` buckets. With
    `solved_unsolved`, solved and unsolved rollouts are in two more buckets. With `within`, rollouts
    that have the same value at this place were cut by themselves. With `cut_like` the cuts are
    those of the bucketing in that directory."""

    name: str
    num_buckets: int
    ties: str | None = None
    thresholds: tuple[float, ...] | None = None
    solved_unsolved: bool = False
    within: str | msgspec.UnsetType = msgspec.UNSET
    cut_like: str | msgspec.UnsetType = msgspec.UNSET

    @property
    def inner(self) -> slice:
        """The buckets that were cut by percentiles or thresholds."""
        return inner_buckets(self.solved_unsolved)


class InputRecord(msgspec.Struct, frozen=True):
    """One input file: its path as given, its bytes on disk, and its lines, blank ones included."""

    path: str
    bytes: int
    lines: int


class CountRecord(msgspec.Struct, frozen=True):
    """read = bucketed + dropped + unscored + malformed. `malformed` counts lines, the others
    rollouts; blank lines are counted apart."""

    read: int
    bucketed: int
    unscored: int
    malformed: int
    blank: int
    dropped: int | msgspec.UnsetType = msgspec.UNSET

    @property
    def rollouts(self) -> int:
        """How many rollouts there are."""
        return self.bucketed + (self.dropped or 0) + self.unscored


class BucketRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One bucket: its order (0 is the easiest), its file, and its lowest and highest metric value.
    In a store the file is split, in order, into `parts` named after it."""

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
    """A dump whose lines became rollouts: its format, and the field of its scores.

    Counted in lines: `better_scores`, lines with a better score that is not used because others
    lack it; `grouped_by`, by the fields that grouped them; `skipped`, because of their step;
    `repeated`, lines that repeat a response and are left out.
    Counted in rollouts: those with a single line, and with lines from several files.
    `lines_per_rollout` is the least and the most, without repeats, `steps` the first and the last.
    `truncated` says what became of the scores of responses that were cut off,
    and `notes` counts what else was found, by its name. Where lines held whole rollouts, `in_lists`
    is how many responses they had.

    How scores were read, where it was not plainly from the field: the fields `added` to it, the
    words of `score_map`, `score_reduce`, the name that lines were `chosen` by, the places of
    `counts`, and what stood for a `missing` number.
    """

    format: str
    score: str
    better_scores: int
    grouped_by: dict[str, int]
    skipped: int
    lines_per_rollout: tuple[int, int]
    single_lines: int
    several_files: int
    steps: tuple[float, float] | None
    repeated: int = 0
    truncated: str = "graded"
    notes: dict[str, int] = {}
    in_lists: int | msgspec.UnsetType = msgspec.UNSET
    added: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    score_map: dict[str, float] | msgspec.UnsetType = msgspec.UNSET
    score_reduce: str | msgspec.UnsetType = msgspec.UNSET
    chosen: str | msgspec.UnsetType = msgspec.UNSET
    counts: tuple[str, str] | msgspec.UnsetType = msgspec.UNSET
    missing: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET

    @property
    def responses(self) -> int:
        """How many responses the rollouts have."""
        if isinstance(self.in_lists, int):
            return self.in_lists
        return sum(self.grouped_by.values()) - self.repeated


class StepRecord(msgspec.Struct, frozen=True):
    """What a flag left out, and on which side of a set (unset: before the split): how many rollouts
    or rows there were before and after it."""

    rule: str
    before: int
    dropped: int
    after: int
    side: str | msgspec.UnsetType = msgspec.UNSET


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
    kept: tuple[StepRecord, ...] = ()

    def files(self) -> list[str]:
        """The files that the run wrote, besides this one."""
        files = (file for bucket in self.buckets for file in bucket.files())
        return [*files, *self.rejected]


NO_INDEX = -1  # of a prompt without rows here


class MovedPrompt(msgspec.Struct, frozen=True):
    """A prompt that the floor moved: its hash, the lowest index of its rows (NO_INDEX: it was moved
    in earlier sets and has none here), and its new split."""

    prompt_hash: str
    index: int
    to: str


class SourceFileRecord(msgspec.Struct, frozen=True):
    """A file of a data set: its path as given, its bytes and its rows."""

    path: str
    bytes: int
    rows: int


class SourceRecord(msgspec.Struct, frozen=True):
    """The data set whose rows were written: its files, and how rows and rollouts were matched.

    `unmatched` rows match no rollout, and `unmatched_rows` says what became of them.
    `rollouts_without_row` match no row. `annotate` says whether the difficulty was added to rows.
    With `val_files` their rows are val, and `in_val` rows of the others were left out, because they
    have a prompt of val.
    """

    files: tuple[SourceFileRecord, ...]
    val_files: tuple[SourceFileRecord, ...]
    in_val: int
    matched_by: str
    rows: int
    unmatched: int
    unmatched_rows: str
    rollouts: int
    rollouts_without_row: int
    annotate: bool


class ScheduleRecord(msgspec.Struct, frozen=True):
    """How the train rows of a set were scheduled."""

    kind: str
    batch_size: int
    epochs: int
    start: float
    end: float
    sigma: float | msgspec.UnsetType = msgspec.UNSET


class ChoiceRecord(msgspec.Struct, frozen=True):
    """How the rows of a set were chosen and ordered. `control_of` is the set beside it, if its rows
    are random ones of all buckets; `groups` are its train rows by group, `group_size` is that of
    useful_group, if that was used."""

    steps: tuple[StepRecord, ...]
    control_of: str | msgspec.UnsetType = msgspec.UNSET
    groups: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    group_size: int | msgspec.UnsetType = msgspec.UNSET
    schedule: ScheduleRecord | msgspec.UnsetType = msgspec.UNSET


class SetRecord(msgspec.Struct, frozen=True):
    """One parquet set: where its rows come from, how it was made, and what it holds.

    `bucketing` identifies the state of the bucket directory. Sets with the same state go together.
    With `split_like` the split is that of the sets in that directory.
    """

    buckets: tuple[str, ...]
    input_dir: str
    bucketing: str
    filter: str
    pass_threshold: float
    score_field: str
    val_ratio: float | None  # None: the number of rows was given
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
    source: SourceRecord | msgspec.UnsetType = msgspec.UNSET
    val_rows: int | msgspec.UnsetType = msgspec.UNSET
    split_like: str | msgspec.UnsetType = msgspec.UNSET
    choice: ChoiceRecord | msgspec.UnsetType = msgspec.UNSET

    def written(self) -> list[str]:
        """The files of the set; a split without rows has none."""
        return [file for file in self.files.values() if file]


class PreprocessingManifest(msgspec.Struct, frozen=True):
    """`preprocessing.json`: one entry per set in its directory, subdirectories not included."""

    file_name: ClassVar[str] = "preprocessing.json"
    version: str
    sets: dict[str, SetRecord]
    rejected: tuple[str, ...]

    def files(self) -> list[str]:
        """The files that the runs wrote, besides this one."""
        sets = (file for record in self.sets.values() for file in record.written())
        return [*sets, *self.rejected]


MANIFESTS = (BucketingManifest.file_name, PreprocessingManifest.file_name)


def cumulative_name(last: int) -> str:
    """The name of the set of stages 1 to `last`: its path in the output directory."""
    return f"{CUMULATIVE}/stage1_{'and' if last == 2 else 'to'}_{last}"


def is_cumulative(name: str) -> bool:
    """Whether this is the name of a cumulative set."""
    last = name.rpartition("_")[2]
    return last.isdecimal() and name == cumulative_name(int(last))


def is_inside(name: str) -> bool:
    """Whether a relative name stays in its directory: a plain file name, or one below REJECTED."""
    path = PurePosixPath(name)
    return str(path) == name and ".." not in path.parts and str(path.parent) in (".", REJECTED)


Manifest = TypeVar("Manifest", BucketingManifest, PreprocessingManifest)


def load_manifest(directory: AnyPath, kind: type[Manifest]) -> Manifest | None:
    """The manifest in a directory, or None without one. Raises InputError if it is not valid."""
    path = directory / kind.file_name
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=kind)
        if not all(map(is_inside, manifest.files())):
            raise ValueError("it names files elsewhere")
    except (FileNotFoundError, NotADirectoryError):
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
    """The bytes of the manifests in a directory and in its `cumulative/`."""
    found = []
    for name in (*MANIFESTS, f"{CUMULATIVE}/{PreprocessingManifest.file_name}"):
        with suppress(FileNotFoundError, NotADirectoryError):
            found.append((directory / name).read_bytes())
    return found


def part_names(name: str, count: int) -> list[str]:
    """The names of the parts of a file in a store."""
    stem, dot, suffix = name.rpartition(".")
    return [f"{stem}-{i:05}-of-{count:05}{dot}{suffix}" for i in range(count)]


def part_pattern(name: str, count: int) -> str:
    """A glob that matches all parts of a file."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}-*-of-{count:05}{dot}{suffix}"


def whole_name(name: str) -> str:
    """The name of the file that a part belongs to; a whole file keeps its name."""
    return _PART.sub(".", name)


def encode_manifest(manifest: BucketingManifest | PreprocessingManifest) -> bytes:
    """A manifest as bytes. Equal manifests give equal bytes."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
