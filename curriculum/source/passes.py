"""The passes of a run with --source: what rollouts and rows are matched by, then the rows staged.

Nothing is written before all rollouts and rows were read and matched.
"""

from __future__ import annotations

import os
from collections import Counter
from functools import partial

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from curriculum.arrays import BoolArray, HashArray, IntArray
from curriculum.errors import InputError, plural
from curriculum.output.manifests import SourceFileRecord, SourceRecord
from curriculum.preprocess_options import UNSEEN
from curriculum.preprocessing.passes import SourceFacts, StagedRun
from curriculum.preprocessing.settings import PreprocessingRun
from curriculum.preprocessing.split import Split
from curriculum.reading.ledger import Ledger
from curriculum.source.files import Source, join_sources, open_source
from curriculum.source.form import SourceForm
from curriculum.source.into_buckets import annotate_rows, judge_rows, stage_in_buckets
from curriculum.source.keys import KEY, NOTHING, PROMPT
from curriculum.source.match import (
    GroupVerdict,
    Match,
    Rollouts,
    bucket_by_value,
    first_repeat,
    group_buckets,
    match_rows,
    several_truths,
)
from curriculum.source.rollouts import read_every_rollout, show_rollout
from curriculum.source.rows import Places, Rows, choose_places
from curriculum.storage.paths import AnyPath, printable

SHOWN = 3  # unmatched rows and rollouts, of each


def stage_source(run: PreprocessingRun) -> StagedRun:
    """Match the rows of --source with the rollouts, and stage them. Raises InputError if a file is
    damaged or malformed, if rows and rollouts do not fit, or if too few rows are matched."""
    run.progress.step("match")
    # The scripts have chosen one. For those who call the library: the default one keeps pages of
    # images, of 100 MB each, when they are not needed any more. Workers that are forked later have
    # it, too.
    if "ARROW_DEFAULT_MEMORY_POOL" not in os.environ:
        pa.set_memory_pool(pa.system_memory_pool())
    source = open_source("--source", run.options.source_paths)
    if run.options.source_val:
        source = join_sources(source, open_source("--source-val", run.options.source_val_paths))
    _check_apart(source, run.options.output)
    annotate, suffix = not run.options.no_annotate and source.is_parquet, source.suffix
    steps = annotate and run.options.schedule is not None
    form = SourceForm(source.schema.serialize().to_pybytes(), annotate, suffix, steps)
    form.check(source.files[0].path)
    if run.options.annotate and not source.is_parquet:
        raise InputError(
            "nothing can be added to JSON lines, which keep their bytes",
            where=run.options.annotate,
            expected="a data set in parquet",
            fix="write the data set as parquet, or leave out --annotate",
        )
    places = choose_places(run, source)
    shard_buckets, ledger, rollouts, missing = read_every_rollout(run, places.rollouts)
    rows = Rows.read_all(run, source, places)
    match = _match(run, places, rows, rollouts, ledger)
    verdict = _judge(run, rollouts, match)
    hashes = _split_hashes(rows, match, rollouts)
    in_val = ~rows.val & _shared(rows, match)
    facts = _facts(places, rows, match, verdict, ledger, np.flatnonzero(in_val))
    if len(match.unmatched) and run.options.unmatched == "keep":
        run = _with_unseen(run)
    split = None
    if source.val_files:
        split = Split(1 << 63)
        hashes = np.where(rows.val, np.uint64(0), np.uint64(split.cut)) | hashes >> np.uint64(1)
    of_rows = judge_rows(run, match, verdict, rows.looked, hashes, in_val)
    converted = stage_in_buckets(run, form, rows, of_rows)
    return StagedRun(
        run=run,
        converted=converted,
        form=form,
        ledger=ledger,
        buckets=shard_buckets,
        responses=len(rollouts.scores.values) + missing,
        missing_scores=missing,
        source=facts,
        source_record=_record(run, source, rows, facts),
        source_files=source.files,
        split=split,
        annotate=partial(annotate_rows, run, form, rows, of_rows),
    )


def _check_apart(source: Source, output: AnyPath | None) -> None:
    """Raise InputError if a file of the data set lies in the output directory."""
    inside = [file for file in source.files if output and _lies_in(file.path, output)]
    if inside:
        raise InputError(
            "this file of the data set lies in the output directory",
            where=inside[0].path,
            expected="an output directory without the data set that is read",
            fix="choose another -o, or move the file",
        )


def _lies_in(path: AnyPath, directory: AnyPath) -> bool:
    path, directory = path.resolve(), directory.resolve()
    return str(path).startswith(f"{str(directory).rstrip('/')}/")


def _match(
    run: PreprocessingRun, places: Places, rows: Rows, rollouts: Rollouts, ledger: Ledger
) -> Match:
    """Match rows and rollouts. Raises InputError if they do not fit."""
    where = rows.source.files[0].path
    if places.row_key is not None:
        _check_keys(run, places, rows, rollouts)
    match = match_rows(rows.hashes, rollouts, places.ways)
    twice = None
    if match.way == KEY:
        keys = rows.hashes[KEY]
        of_side = (np.where(side, keys, np.uint64(NOTHING)) for side in (rows.val, ~rows.val))
        twice = next(filter(None, map(first_repeat, of_side)), None)
    if twice:
        one, other = map(rows.show, twice)
        raise InputError(
            f"two rows have one {places.row_key}: {one}, and {other}",
            where=where,
            expected="a key for each row",
            fix="name a field that tells rows apart with --source-key, or leave it out to match by "
            "the prompt",
        )
    if pair := several_truths(match, rollouts.truths):
        one, other = (show_rollout(ledger, at, places.rollouts) for at in pair)
        raise InputError(
            f"two rollouts with one {_thing(places, match.way)} have different ground truths: "
            f"{one}, and {other}",
            where=run.directory.path,
            expected="one ground truth for each row",
            fix="bucket again with --group-by prompt, which tells of all such prompts, or match by "
            "a field that tells them apart with --source-key",
        )
    unmatched, total = match.unmatched, int(rows.starts[-1])
    rule, none = run.options.unmatched, len(unmatched) == total
    too_many = rule == "stop" or (rule is None and 2 * len(unmatched) > total)
    if len(unmatched) and (too_many or (none and rule != "keep")):
        of_rows = "\n  ".join(map(rows.show, unmatched[:SHOWN].tolist()))
        others = match.without_row[:SHOWN].tolist()
        of_rollouts = [show_rollout(ledger, at, places.rollouts) for at in others]
        raise InputError(
            f"{len(unmatched):,} of {plural(total, 'row')} match no rollout by "
            f"{places.told(match.way)}:\n  {of_rows}"
            + "\nRollouts without a row:\n  " * bool(of_rollouts)
            + "\n  ".join(of_rollouts),
            where=where,
            expected="rows that were sampled",
            fix="nothing was written; name a field that rows and rollouts share with --source-key, "
            "or pass --unmatched drop to leave these rows out, or --unmatched keep for a set of "
            "their own",
        )
    return match


def _check_keys(run: PreprocessingRun, places: Places, rows: Rows, rollouts: Rollouts) -> None:
    """Raise InputError if no row, or no rollout, has the key."""
    found = {
        (rows.source.files[0].path, "row", places.row_key): rows.hashes[KEY],
        (run.directory.path, "rollout", places.rollouts.key): rollouts.hashes[KEY],
    }
    for (where, thing, place), hashes in found.items():
        if not (hashes != NOTHING).any():
            raise InputError(
                f"none of {plural(len(hashes), thing)} has anything in {place}",
                where=where,
                expected="a field that says which rollouts a row has",
                fix="name another with --source-key: PLACE, or PLACE of the rows=PLACE of the "
                "rollouts",
            )


def _thing(places: Places, way: str) -> str:
    return str(places.rollouts.key) if way == KEY else "prompt"


def _judge(run: PreprocessingRun, rollouts: Rollouts, match: Match) -> GroupVerdict:
    metrics, manifest, across = run.settings.metrics, run.directory.manifest, 0

    def choose(groups: IntArray) -> IntArray:
        nonlocal across
        across = len(groups)
        within = manifest.method.within if manifest else None
        if manifest is None or metrics.metric is None or within:
            raise InputError(
                f"rollouts of {plural(across, 'prompt')} lie in several buckets, and "
                + (
                    f"these were cut within each {within}"
                    if within
                    else "nothing says how the buckets were cut"
                ),
                where=run.directory.path,
                expected="the manifest of the bucketing, to cut them again together",
                fix="bucket again with --group-by prompt",
            )
        return bucket_by_value(manifest, metrics, match.scores.take(groups))

    buckets = group_buckets(match, rollouts.buckets, choose)
    difficulty = np.zeros(len(match.first))
    if run.options.by_difficulty:
        difficulty = metrics.difficulty(match.scores)
    return GroupVerdict(buckets, difficulty, across)


def _with_unseen(run: PreprocessingRun) -> PreprocessingRun:
    """The run with a last bucket, and a set of its own, for rows that match no rollout."""
    names = run.directory.names
    if UNSEEN in {*names, *run.sets}:
        raise InputError(
            f"{UNSEEN!r} is the name of a bucket or set",
            where="--unmatched",
            expected="this name to be free for the rows that match no rollout",
            fix="rename it, or pass --unmatched drop",
        )
    directory = replace(run.directory, names=(*names, UNSEEN), files=(*run.directory.files, ()))
    return replace(run, directory=directory, sets={**run.sets, UNSEEN: [len(names)]})


def _split_hashes(rows: Rows, match: Match, rollouts: Rollouts) -> HashArray:
    """What decides the side of each row: the prompt of its rollouts, so that the split is that of
    rows made from these; without one its own prompt, or else what it was matched by."""
    first = np.append(rollouts.hashes[PROMPT][match.first], np.uint64(NOTHING))
    hashes, of_row = first[match.groups], rows.hashes
    hashes = np.where(hashes != NOTHING, hashes, of_row[PROMPT])
    return np.where(hashes != NOTHING, hashes, of_row[match.way])


def _shared(rows: Rows, match: Match) -> BoolArray:
    """Which rows have the prompt, or the rollouts, of a row of val."""
    prompts, groups = rows.hashes[PROMPT], match.groups
    by_prompt = np.isin(prompts, prompts[rows.val]) & (prompts != NOTHING)
    return np.asarray(by_prompt | (np.isin(groups, groups[rows.val]) & (groups >= 0)))


def _facts(
    places: Places,
    rows: Rows,
    match: Match,
    verdict: GroupVerdict,
    ledger: Ledger,
    in_val: IntArray,
) -> SourceFacts:
    unmatched = np.setdiff1d(match.unmatched, in_val)
    sizes = np.bincount(match.members[match.used], minlength=len(match.first))
    kinds = frozenset().union(*(part.key_kinds for part in rows.read))
    without = match.without_row
    return SourceFacts(
        way=places.told(match.way),
        rows=len(match.groups),
        matched=len(match.groups) - len(match.unmatched),
        unmatched=len(unmatched),
        rollouts=len(match.members),
        without_row=len(without),
        shown_rows=[rows.show(row) for row in unmatched[:SHOWN].tolist()],
        shown_rollouts=[
            show_rollout(ledger, at, places.rollouts) for at in without[:SHOWN].tolist()
        ],
        in_val=len(in_val),
        shown_in_val=[rows.show(row) for row in in_val[:SHOWN].tolist()],
        joined=int((sizes > 1).sum()),
        across=verdict.across,
        key_kinds=tuple(sorted(kinds)) if match.way == KEY else (),
    )


def _record(run: PreprocessingRun, source: Source, rows: Rows, facts: SourceFacts) -> SourceRecord:
    """What the manifest says of the data set."""
    counts = Counter[AnyPath]()
    for chunk, part in zip(source.chunks, rows.read, strict=True):
        counts[chunk.file.path] += len(part)
    train, val = (
        tuple(
            SourceFileRecord(printable(str(file.path)), file.size, counts[file.path])
            for file in source.files
            if (file.path in source.val_files) == is_val
        )
        for is_val in (False, True)
    )
    return SourceRecord(
        files=train,
        val_files=val,
        in_val=facts.in_val,
        matched_by=facts.way,
        rows=facts.rows,
        unmatched=facts.unmatched,
        unmatched_rows=run.options.unmatched or "drop",
        rollouts=facts.rollouts,
        rollouts_without_row=facts.without_row,
        annotate=not run.options.no_annotate,
    )
