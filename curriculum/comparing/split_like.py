"""`--split-like`: earlier sets → the split that they have, so that val prompts stay val in every
round."""

from __future__ import annotations

from dataclasses import replace

from curriculum.errors import InputError, UsageError
from curriculum.output.journal import recover_to_read
from curriculum.output.manifests import PreprocessingManifest, SetRecord
from curriculum.preprocess_options import PreprocessOptions
from curriculum.preprocessing.parquet_sets import load_sets
from curriculum.preprocessing.split import SPLITS, VAL, Split, cut_of
from curriculum.storage.paths import to_path

FLAG = "--split-like"


def split_like(options: PreprocessOptions) -> tuple[PreprocessOptions, Split | None]:
    """The options with the seed and the ratio of the sets in the directory that --split-like
    names, and their split: prompts that were moved there stay moved, and no other one is. The
    options themselves and None without that flag.

    Raises InputError if there are no such sets, or if they have no one split by hash.
    """
    if options.split_like is None:
        return options, None
    directory = to_path(options.split_like)
    recover_to_read(directory)
    manifest = load_sets(directory) if directory.is_dir() else None
    if manifest is None or not manifest.sets:
        raise InputError(
            f"there is no {PreprocessingManifest.file_name} in it",
            where=f"{FLAG} {options.split_like}",
            expected="a directory that preprocess_bucketed_rollouts.py wrote",
            fix="name the -o of the earlier run",
        )
    for name, record in manifest.sets.items():
        _check(options.split_like, name, record)
    rules = {(record.val_ratio, record.seed) for record in manifest.sets.values()}
    if len(rules) > 1:
        raise InputError(
            f"its sets are split in {len(rules)} ways, by --val-ratio or --seed",
            where=f"{FLAG} {options.split_like}",
            expected="sets of one split",
            fix="name a directory with sets of one run",
        )
    ((ratio, seed),) = rules
    assert ratio is not None
    _check_given("--val-ratio", options.val_ratio, ratio)
    _check_given("--seed", options.seed, seed)
    moved = [_moved(record) for record in manifest.sets.values()]
    if any(of_set != moved[0] for of_set in moved):
        raise InputError(
            "its sets were written by several runs, which moved other prompts to the other side",
            where=f"{FLAG} {options.split_like}",
            expected="sets of one split",
            fix="name a directory with sets of one run",
        )
    return replace(options, val_ratio=ratio, seed=seed), Split(cut_of(ratio), moved[0])


def _moved(record: SetRecord) -> dict[int, bool]:
    """The prompts that the run of a set moved to the other side, and whether they are val now."""
    return {
        int(prompt.prompt_hash, 16): prompt.to == SPLITS[VAL] for prompt in record.moved_prompts
    }


def _check_given(flag: str, given: float | None, there: float) -> None:
    """Raise UsageError for a flag that says otherwise than the earlier sets."""
    if given not in (None, there):
        raise UsageError(
            f"it is {given:g}, and that of the earlier sets is {there:g}",
            where=flag,
            expected=f"the same, or no such flag beside {FLAG}",
            fix="leave it out",
        )


def _check(directory: str, name: str, record: SetRecord) -> None:
    """Raise InputError unless the set was split by a ratio of the prompts."""
    if record.val_ratio is None:
        found = f"{name} was split by --val-rows, whose prompts follow from its buckets"
    elif record.source and record.source.val_files:
        found = f"{name} was split by --source-val, which says itself what is val"
    else:
        return
    raise InputError(
        found,
        where=f"{FLAG} {directory}",
        expected="sets that were split by --val-ratio",
        fix="give the same val data to every round, and no rows of it to training",
    )
