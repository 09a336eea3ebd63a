"""Which parquet sets: their names and files, and their records in the manifest."""

from __future__ import annotations

from collections.abc import Mapping

from curriculum.directory import BucketDirectory
from curriculum.errors import InputError
from curriculum.manifests import (
    MovedPrompt,
    PreprocessingManifest,
    SetRecord,
    cumulative_name,
    printable,
)
from curriculum.options import PreprocessOptions
from curriculum.preprocess_summary import SetFacts
from curriculum.settings import Settings
from curriculum.stores import AnyPath
from curriculum.version import __version__

COMBINED = "combined"


def name_sets(options: PreprocessOptions, directory: BucketDirectory) -> dict[str, list[int]]:
    """The sets of this run, and the places of their buckets in the directory."""
    chosen = directory.choose(options.buckets)
    combined = options.output_name or COMBINED
    if options.combine:
        _check_free(combined, directory, "--output-name", "choose another name")
        return {combined: chosen}
    sets = {directory.names[i]: [i] for i in chosen}
    if options.cumulative:
        for last in range(2, len(chosen) + 1):
            name = cumulative_name(last)
            _check_free(name, directory, "--cumulative", "bucket again with other --bucket-names")
            sets[name] = chosen[:last]
    return sets


def _check_free(name: str, directory: BucketDirectory, flag: str, fix: str) -> None:
    if name.casefold() in map(str.casefold, directory.names):
        raise InputError(
            f"{name!r} is the name of a bucket, whose own files the combined set would replace",
            where=flag,
            expected=f"none of {', '.join(directory.names)}",
            fix=fix,
        )


def set_file(name: str, split: str) -> str:
    """The file of one side of a set."""
    return f"{name}_{split}.parquet"


def record_set(
    options: PreprocessOptions,
    directory: BucketDirectory,
    settings: Settings,
    facts: SetFacts,
    moved: tuple[MovedPrompt, ...],
) -> SetRecord:
    """What the manifest says of a set."""
    return SetRecord(
        buckets=tuple(facts.buckets),
        input_dir=printable(options.input_dir),
        bucketing=directory.state,
        filter=options.filter,
        pass_threshold=float(settings.metrics.pass_threshold),
        score_field=settings.read.score_field,
        val_ratio=float(options.val_ratio),
        seed=options.seed,
        data_source=options.data_source,
        keep_data_source=options.keep_data_source,
        ability=options.ability,
        ground_truth_format=options.ground_truth_format,
        best_response=options.best_response,
        files=facts.files,
        rows=facts.rows,
        dropped=facts.dropped,
        moved_prompts=moved,
        order=options.order,
    )


def add_sets(
    output: AnyPath,
    previous: PreprocessingManifest | None,
    records: Mapping[str, SetRecord],
    rejected: tuple[str, ...],
) -> PreprocessingManifest:
    """The manifest with this run's sets beside those of earlier runs whose files are there."""
    kept = {
        name: record
        for name, record in (previous.sets if previous else {}).items()
        if all((output / file).exists() for file in record.written())
    }
    return PreprocessingManifest(__version__, dict(sorted({**kept, **records}.items())), rejected)


def replaced_files(
    previous: PreprocessingManifest | None, records: Mapping[str, SetRecord]
) -> list[str]:
    """The files of earlier runs that this run's sets, and its rejected lines, replace."""
    if previous is None:
        return []
    sets = (previous.sets[name] for name in records if name in previous.sets)
    return [*previous.rejected, *(file for record in sets for file in record.written())]
