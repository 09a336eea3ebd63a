"""The parquet sets of a run: their names and files, what they hold, and their manifest records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from msgspec import UNSET, Struct, UnsetType, field
from msgspec.structs import replace

from curriculum.arrays import HashArray, LengthArray
from curriculum.choosing.choose import Choice, Step
from curriculum.choosing.flags import names_of, with_group_size
from curriculum.choosing.schedule import Schedule
from curriculum.errors import InputError
from curriculum.messages.hashes import repeated_prompts, shared_prompts
from curriculum.metrics import MetricParameters
from curriculum.output.manifests import (
    CUMULATIVE,
    ChoiceRecord,
    MovedPrompt,
    PreprocessingManifest,
    ScheduleRecord,
    SetRecord,
    SourceRecord,
    StepRecord,
    cumulative_name,
    load_manifest,
)
from curriculum.preprocess_options import PreprocessOptions
from curriculum.preprocessing.bucket_directory import BucketDirectory
from curriculum.preprocessing.settings import Settings
from curriculum.storage.paths import AnyPath, printable
from curriculum.version import __version__

COMBINED = "combined"
CONTROL_SUFFIX = "_control"


def name_sets(options: PreprocessOptions, directory: BucketDirectory) -> dict[str, list[int]]:
    """The sets of this run by name, each with the numbers of its buckets in the directory. The name
    of a cumulative set is its path: it lies in CUMULATIVE."""
    chosen = directory.choose(options.buckets)
    combined = options.output_name or COMBINED
    if options.combine:
        _check_free(combined, directory)
        return {combined: chosen}
    sets = {directory.names[i]: [i] for i in chosen}
    if options.cumulative:
        for last in range(2, len(chosen) + 1):
            sets[cumulative_name(last)] = chosen[:last]
    return sets


def name_controls(sets: Mapping[str, Sequence[int]], directory: BucketDirectory) -> dict[str, str]:
    """The name of the set of random rows beside each set. Raises InputError if a bucket has it."""
    controls = {f"{name}{CONTROL_SUFFIX}": name for name in sets}
    for name in controls.keys() & {*directory.names, *sets}:
        raise InputError(
            f"{name!r} is the name of a bucket or set already",
            where="--control",
            expected=f"none that ends in {CONTROL_SUFFIX}, which the sets of random rows are named",
            fix="rename it, or leave out --control",
        )
    return controls


def _check_free(name: str, directory: BucketDirectory) -> None:
    if name.casefold() in map(str.casefold, directory.names):
        raise InputError(
            f"{name!r} is the name of a bucket, whose own files the combined set would replace",
            where="--output-name",
            expected=f"none of {', '.join(directory.names)}",
            fix="choose another name",
        )


def set_file(name: str, split: str, suffix: str) -> str:
    """The file of one side of a set: its path in the output directory."""
    return f"{name}_{split}{suffix}"


def record_set(
    options: PreprocessOptions,
    directory: BucketDirectory,
    settings: Settings,
    facts: SetFacts,
    moved: tuple[MovedPrompt, ...],
    source: SourceRecord | UnsetType = UNSET,
) -> SetRecord:
    """What the manifest says about a set."""
    return SetRecord(
        buckets=tuple(facts.buckets),
        input_dir=printable(options.input_dir),
        bucketing=directory.state,
        filter=options.filter,
        pass_threshold=float(settings.metrics.pass_threshold),
        score_field=settings.read.score_field,
        val_ratio=float(options.ratio) if options.val_rows is None else None,
        seed=options.hash_seed,
        data_source=options.data_source,
        keep_data_source=options.keep_data_source,
        ability=options.ability,
        ground_truth_format=options.ground_truth_format,
        best_response=settings.read.best_response,
        files=facts.files,
        rows=facts.rows,
        dropped=facts.dropped,
        moved_prompts=moved,
        order=options.order,
        source=source,
        val_rows=UNSET if options.val_rows is None else options.val_rows,
        split_like=UNSET if options.split_like is None else options.split_like,
        choice=_record_choice(options, facts),
    )


def _record_choice(options: PreprocessOptions, facts: SetFacts) -> ChoiceRecord | UnsetType:
    """What the manifest says of how rows were chosen and scheduled; nothing if they were not."""
    control, schedule = facts.control_of is not None, facts.schedule
    choosing = options.keep or options.choice != Choice() or options.val_rows is not None
    if not (control or choosing or schedule):
        return UNSET
    uses_group = "useful_group" in names_of(options.conditions, options.choice.top)
    return ChoiceRecord(
        steps=tuple(
            StepRecord(step.rule, step.before, step.dropped, step.after, side or UNSET)
            for side, step in facts.steps
        ),
        control_of=UNSET if facts.control_of is None else facts.control_of,
        groups=facts.groups or UNSET,
        group_size=_group_size(options) if uses_group else UNSET,
        schedule=UNSET
        if schedule is None
        else ScheduleRecord(
            schedule.kind,
            schedule.batch_size,
            schedule.epochs,
            schedule.start,
            schedule.end,
            schedule.sigma if schedule.kind == "gaussian" else UNSET,
        ),
    )


def _group_size(options: PreprocessOptions) -> int:
    """The size of a group that useful_group goes by."""
    return with_group_size(MetricParameters(), options.group_size).group_size


def load_sets(output: AnyPath) -> PreprocessingManifest | None:
    """The manifests of an output directory and of its CUMULATIVE as one: names of sets and of files
    are paths in the output directory. None without either. Raises InputError if one is not valid.
    """
    own = load_manifest(output, PreprocessingManifest)
    inner = load_manifest(output / CUMULATIVE, PreprocessingManifest)
    if inner is None:
        return own
    moved = _rename(inner, lambda name: f"{CUMULATIVE}/{name}")
    if own is None:
        return moved
    rejected = (*own.rejected, *moved.rejected)
    return PreprocessingManifest(own.version, {**own.sets, **moved.sets}, rejected)


def split_sets(
    manifest: PreprocessingManifest,
) -> tuple[PreprocessingManifest, PreprocessingManifest]:
    """The manifests that `load_sets` takes for one: of the output directory and of CUMULATIVE."""
    parts = []
    for inner in (False, True):
        sets = {name: r for name, r in manifest.sets.items() if _is_inner(name) == inner}
        rejected = tuple(name for name in manifest.rejected if _is_inner(name) == inner)
        parts.append(PreprocessingManifest(manifest.version, sets, rejected))
    own, inner_part = parts
    return own, _rename(inner_part, lambda name: name.removeprefix(f"{CUMULATIVE}/"))


def _is_inner(name: str) -> bool:
    return name.startswith(f"{CUMULATIVE}/")


def _rename(manifest: PreprocessingManifest, to: Callable[[str], str]) -> PreprocessingManifest:
    sets = {
        to(name): replace(record, files={s: file and to(file) for s, file in record.files.items()})
        for name, record in manifest.sets.items()
    }
    return PreprocessingManifest(manifest.version, sets, tuple(map(to, manifest.rejected)))


def add_sets(
    output: AnyPath | None,
    previous: PreprocessingManifest | None,
    records: Mapping[str, SetRecord],
    rejected: tuple[str, ...],
) -> PreprocessingManifest:
    """The manifest with this run's sets and those of earlier runs whose files still exist."""
    old = previous.sets if previous else {}
    kept = {
        name: old[name]
        for name in old.keys() - set(outdated_sets(previous, records))
        if output and all((output / file).exists() for file in old[name].written())
    }
    # Rejected lines in CUMULATIVE are those of a run with that directory as its -o.
    others = tuple(filter(_is_inner, previous.rejected if previous else ()))
    sets = dict(sorted({**kept, **records}.items()))
    return PreprocessingManifest(__version__, sets, (*rejected, *others))


def outdated_sets(
    previous: PreprocessingManifest | None, records: Mapping[str, SetRecord]
) -> list[str]:
    """The cumulative sets of this run that an earlier one wrote beside the buckets' own sets."""
    found = []
    for name, record in (previous.sets if previous else {}).items():
        new = records.get(f"{CUMULATIVE}/{name}")
        if new is not None and new.buckets == record.buckets:
            found.append(name)
    return found


def replaced_files(
    previous: PreprocessingManifest | None, records: Mapping[str, SetRecord]
) -> list[str]:
    """The files of earlier runs that this run's sets and rejected lines replace."""
    if previous is None:
        return []
    names = [name for name in previous.sets if name in records]
    sets = (previous.sets[name] for name in (*names, *outdated_sets(previous, records)))
    rejected = (name for name in previous.rejected if not _is_inner(name))
    return [*rejected, *(file for record in sets for file in record.written())]


class PromptFacts(Struct, frozen=True):
    """How many distinct prompts a set's rows have, and how many of these are in several of its
    rollouts, in several buckets of the directory, and on both sides of the split."""

    distinct: int
    in_rollouts: int
    in_buckets: int
    both_sides: int

    @staticmethod
    def of(train: HashArray, val: HashArray, shared: HashArray) -> PromptFacts:
        """Count from the prompt hash of each row, ascending on each side. `shared` holds the
        prompts in several buckets."""
        both_sides = len(shared_prompts(train, val))
        every = np.concatenate([train, val])
        every.sort()
        return PromptFacts(
            distinct=int(np.count_nonzero(every[1:] != every[:-1])) + (len(every) > 0),
            in_rollouts=len(repeated_prompts(every)),
            in_buckets=len(shared_prompts(every, shared)),
            both_sides=both_sides,
        )


class LengthFacts(Struct, frozen=True):
    """The prompt lengths of a set's rows in characters: the 50th, 90th and 99th percentile, and the
    longest. All are None without rows."""

    median: int | None = None
    most: int | None = None
    nearly_all: int | None = None
    longest: int | None = None

    @staticmethod
    def of(parts: Sequence[LengthArray]) -> LengthFacts:
        """The percentiles (nearest rank) over all parts; each is the length of some prompt."""
        lengths = np.sort(np.concatenate([np.zeros(0, np.uint32), *parts]))
        if not lengths.any():  # the rows of a data set may have no prompt
            return LengthFacts()
        ranks = [-(-percent * len(lengths) // 100) - 1 for percent in (50, 90, 99, 100)]
        return LengthFacts(*lengths[ranks].tolist())


class SetFacts(Struct, frozen=True):
    """One set: files and rows by side, dropped rollouts by bucket, prompts and their lengths, and
    rows by data_source. `steps` says what each rule left out and on which side ("": on both), and
    `different` how many different rows there are, which several epochs repeat. `control_of` is the
    set beside it, for one of random rows, `schedule` that of its train rows, and `groups` are these
    by group, each row once. If it was written, also bytes on disk and compressed bytes by
    column."""

    name: str
    buckets: Sequence[str]
    files: dict[str, str | None]
    rows: dict[str, int]
    dropped: dict[str, int]
    prompts: PromptFacts
    prompt_lengths: LengthFacts
    data_sources: Counter[str]
    steps: Sequence[tuple[str, Step]] = ()
    different: int = 0
    control_of: str | None = None
    schedule: Schedule | None = None
    groups: dict[str, int] = field(default_factory=dict)
    bytes: int | None = None
    columns: Counter[str] = field(default_factory=Counter)
