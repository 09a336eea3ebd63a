"""The first pass of preprocessing over all shards, and what it checks and sets aside.

Every bucket of the directory is converted, the one form of all rows is chosen, and shards that had
guessed another form are converted again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from curriculum.advice.buckets import how_to_fix
from curriculum.arrays import HashArray
from curriculum.choosing.flags import likely_number
from curriculum.errors import InputError, InternalError, plural
from curriculum.filters import FILTERS
from curriculum.messages.hashes import positions_among
from curriculum.output.copy_lines import Copier
from curriculum.output.manifests import (
    MALFORMED_FILE,
    REASONS_FILE,
    UNSCORED_FILE,
    SourceRecord,
    is_cumulative,
)
from curriculum.output.rejected import NO_SCORE_REASON, reason_lines, rejected_lines
from curriculum.preprocess_options import PreprocessOptions
from curriculum.preprocessing.convert import ConvertedBuckets, ConvertTask, convert_shard
from curriculum.preprocessing.parquet_sets import SetFacts
from curriculum.preprocessing.row_plan import RowPlan
from curriculum.preprocessing.settings import Form, PreprocessingRun
from curriculum.preprocessing.split import TRAIN, Split
from curriculum.reading.input_files import InputFile, changed, cut_shards
from curriculum.reading.ledger import BLANK, MALFORMED, NO_SCORE, TAKEN, Ledger
from curriculum.reading.lines import shorten
from curriculum.reading.truths import Repeated, SeveralTruths, find_several
from curriculum.storage.paths import AnyPath
from curriculum.verl.infer_schema import choose_form
from curriculum.verl.row_batch import Topic
from curriculum.verl.rows import RowForm
from curriculum.verl.value_types import Conflict

GROUPS_SHOWN = 8


class SourceFacts(Struct, frozen=True):
    """How the rows of a data set and the rollouts met: by what, how many of both did and did not,
    and some that did not, each as `place: text`."""

    way: str
    rows: int
    matched: int
    unmatched: int  # but for those of `in_val`
    rollouts: int
    without_row: int
    shown_rows: Sequence[str]
    shown_rollouts: Sequence[str]
    in_val: int  # train rows left out, because val has their prompt
    shown_in_val: Sequence[str]
    joined: int  # prompts with several rollouts, which count together
    across: int  # those of them whose rollouts lie in several buckets
    key_kinds: Sequence[str]  # the types of the keys of the rows, if these are matched by


class StagedRun(Struct, frozen=True):
    """All rows of a run, staged in one `form`. `converted` has them bucket by bucket, and `ledger`
    the lines of the rollouts, whose shards are in these `buckets`. `responses` and
    `missing_scores` count those of the rollouts. With --source, `source…` say what was matched."""

    run: PreprocessingRun
    converted: ConvertedBuckets
    form: Form
    ledger: Ledger
    buckets: Sequence[int]
    responses: int
    missing_scores: int
    warnings: Sequence[str] = ()
    source: SourceFacts | None = None
    source_record: SourceRecord | UnsetType = UNSET
    source_files: Sequence[InputFile] = ()
    split: Split | None = None  # None: by the prompts
    annotate: Callable[[AnyPath], None] = lambda path: None  # writes --annotate

    def lines(self, bucket: int) -> int:
        """How many lines of a bucket are not blank."""
        parts = zip(self.buckets, self.ledger.shard_lines, strict=True)
        return sum(int((lines.kinds != BLANK).sum()) for at, lines in parts if at == bucket)


def stage_rollouts(run: PreprocessingRun) -> StagedRun:
    """Make rows from all rollouts. Raises InputError as `convert_buckets` and `choose_row_form`
    do."""
    converted = convert_buckets(run)
    form, warnings = choose_row_form(run, converted)
    convert_again(run, converted, form)
    return StagedRun(
        run=run,
        converted=converted,
        form=replace(form, steps=run.options.schedule is not None),
        ledger=converted.ledger,
        buckets=converted.buckets,
        responses=sum(part.responses for part in converted.shards),
        missing_scores=sum(part.missing_scores for part in converted.shards),
        warnings=warnings,
    )


def convert_buckets(run: PreprocessingRun) -> ConvertedBuckets:
    """First pass over every bucket of the directory; the rows of the run's sets are staged. Raises
    InputError if there are malformed lines that are not to be set aside, or if no rollout has a
    score."""
    run.progress.step("convert")
    files = run.directory.files
    shards = [(i, shard) for i, some in enumerate(files) for shard in cut_shards(some)]
    set_aside = run.options.on_malformed == "set-aside"
    reasons = run.output.scratch_directory() / "reasons" if set_aside else None
    ledger = Ledger.of((shard for _, shard in shards), reasons)
    converted = ConvertedBuckets(ledger, [bucket for bucket, _ in shards])
    tasks = (_convert_task(run, converted, number) for number in range(len(shards)))
    for task, shard in run.workers.map(convert_shard, tasks):
        converted.add(shard)
        run.progress.add(task.shard.stop - task.shard.start)
    if not set_aside:
        fix = how_to_fix(run.options, chain.from_iterable(files), ledger.reason_kinds)
        ledger.stop_if_malformed(fix)
    _check_any_score(run, converted)
    _check_truth_field(run, converted)
    return converted


def _convert_task(run: PreprocessingRun, converted: ConvertedBuckets, number: int) -> ConvertTask:
    """The task for one shard, with the shapes found in other shards so far."""
    wanted = any(converted.buckets[number] in buckets for buckets in run.sets.values())
    return ConvertTask(
        shard=converted.ledger.shards[number],
        number=number,
        options=run.settings.read,
        metrics=run.settings.metrics,
        asked=run.settings.asked,
        directory=run.output.scratch_directory() if wanted and not run.options.dry_run else None,
        known=converted.shapes.copy(),
        reasons=converted.ledger.reasons[number],
        rank=run.options.by_difficulty,
        stage_all=run.options.control,
    )


def _check_truth_field(run: PreprocessingRun, converted: ConvertedBuckets) -> None:
    """Raise InputError if --ground-truth-field names a field that no rollout has."""
    place, notes = run.options.ground_truth_field, converted.notes
    total = converted.count(TAKEN) + converted.count(NO_SCORE)
    if place is None or notes[Topic.NO_TRUTH, ""] < total:
        return
    likely = sorted({name for topic, name in notes if topic is Topic.LIKELY_TRUTH})
    instead = f", or name another: they do have {' and '.join(likely)}" if likely else ""
    raise InputError(
        f"none of the {total:,} rollouts has anything in {place}",
        where="--ground-truth-field",
        expected="a field that holds the ground truths",
        fix=f"leave the flag out for ground_truth and reward_model.ground_truth{instead}",
    )


def _check_any_score(run: PreprocessingRun, converted: ConvertedBuckets) -> None:
    if not converted.count(TAKEN) + converted.count(NO_SCORE):
        malformed = converted.count(MALFORMED)
        raise InputError(
            f"all {malformed:,} lines are malformed"
            if malformed
            else "its bucket files are all empty",
            where=str(run.directory.path),
            expected="one rollout per line",
            fix="leave out --on-malformed to see what is wrong with them"
            if malformed
            else "bucket again",
        )
    if not converted.count(TAKEN):
        raise InputError(
            f"none of the {converted.count(NO_SCORE):,} rollouts has a score in "
            f"reward[i].{run.settings.read.score_field}",
            where=str(run.directory.path),
            expected="numbers there",
            fix="name the right field with --score-field",
        )


def choose_row_form(
    run: PreprocessingRun, converted: ConvertedBuckets
) -> tuple[RowForm, list[str]]:
    """The one form of all rows, and warnings about it. Raises InputError if the ground truths, or
    the fields of extra_info that verl needs as objects, do not fit one type."""
    try:
        return choose_form(converted.shapes, run.settings.read.best_response)
    except Conflict as conflict:
        raise _no_one_type(run.options, converted, conflict) from conflict


def _no_one_type(
    options: PreprocessOptions, converted: ConvertedBuckets, conflict: Conflict
) -> InputError:
    if conflict.path.startswith("extra_info"):
        return InputError(
            f"{conflict.path} is {' and '.join(conflict.kinds)}",
            where=options.input_dir,
            expected="an object in every rollout: verl looks up each tool in it",
            fix="fix or remove the field and bucket again; nothing was written",
        )
    seen = ", ".join(
        f"{kind} at {converted.file_line(*line)}" for kind, line in conflict.kinds.items()
    )
    return InputError(
        f"the ground truths do not fit one type: {conflict.path} is {seen}",
        where=options.input_dir,
        expected="one type in every bucket, or verl cannot load the files together",
        fix="pass --ground-truth-format string (a string stays as it is, the rest becomes JSON "
        "text), or keep the sources apart; nothing was written",
    )


def convert_again(run: PreprocessingRun, converted: ConvertedBuckets, form: RowForm) -> None:
    """Convert again the shards whose rows are not all staged in `form`. Raises InputError if a file
    changed."""
    again = [i for i, shard in enumerate(converted.shards) if not shard.has_form(form)]
    for number in again:
        for part in converted.shards[number].parts:
            part.path.unlink()
    tasks = (replace(_convert_task(run, converted, number), form=form) for number in again)
    for task, shard in run.workers.map(convert_shard, tasks):
        before = converted.shards[task.number]
        if not np.array_equal(shard.hashes, before.hashes):
            raise changed(task.shard.file)
        converted.shards[task.number] = replace(before, parts=shard.parts, staged=True)


def find_truths(
    run: PreprocessingRun, converted: ConvertedBuckets, prompts: HashArray
) -> SeveralTruths:
    """Which of these prompts, ascending, have several ground truths; their lines are read again."""
    if not len(prompts):
        return SeveralTruths()
    repeated = []
    for part in converted.shards:
        chosen = positions_among(part.hashes, prompts)
        lines = np.flatnonzero(part.lines.kinds == TAKEN)[chosen]
        repeated.append(Repeated(lines, part.hashes[chosen]))
    place = run.options.ground_truth_field
    return find_several(run.workers, converted.ledger, repeated, place)


def check_places(run: PreprocessingRun, plan: RowPlan) -> None:
    """Raise InputError if no rollout holds anything at a place that --keep or --balance names, or
    if there is no group that --balance names."""
    verdicts = [part.verdicts for part in plan.converted.shards]
    total = sum(len(part.dropped_by) for part in verdicts)
    there = np.sum([part.looked.there for part in verdicts], axis=0)
    balance = run.options.choice.balance
    what = "row" if run.options.source else "rollout"
    asked = run.settings.asked
    for place, count in zip(asked.places, there.tolist(), strict=True):
        if not count and (place != asked.group or asked.group_needed):
            grouped = balance is not None and balance.place == place
            raise InputError(
                f"none of {plural(total, what)} has anything in {place}",
                where="--balance" if grouped else "--keep",
                expected=("" if grouped else "a number such as success_rate, or ")
                + f"a field of the {what}s",
                fix=likely_number(place),
            )
    for name in balance.shares if balance else ():
        if name not in plan.groups.names:
            groups = ", ".join(shorten(group) for group in plan.groups.names[:GROUPS_SHOWN])
            more = len(plan.groups.names) - GROUPS_SHOWN
            raise InputError(
                f"no {what} has {name} in {balance.place if balance else ''}",
                where="--balance",
                expected=f"one of {groups}" + (f" and {more:,} more" if more > 0 else ""),
                fix="name one of them; nothing was written",
            )


def check_any_row(options: PreprocessOptions, plan: RowPlan) -> None:
    """Raise InputError if the run would write no rows, or no train rows because of its choices."""
    own = [name for name in plan.sets if name not in plan.rules.controls]
    steps = [step for name in own for side, step in plan.steps(name) if step.dropped]
    chosen = any(step.dropped for name in own for side, step in plan.steps(name) if side == "train")
    if any(plan.rows_of(name, TRAIN) for name in own) or (any(map(plan.rows, own)) and not chosen):
        return
    dropped = sum(map(plan.dropped, set(chain.from_iterable(plan.sets.values()))))
    rules = dict.fromkeys(step.rule for step in steps)
    rule = " and ".join(rules)
    notes = "; ".join(dict.fromkeys(step.note for step in steps if step.note))
    only_filter = rule == f"--filter {options.filter}"
    raise InputError(
        f"{rule} drops all {dropped:,} rollouts"
        if only_filter
        else f"no {'train ' if chosen else ''}row is left after {rule}"
        + (f" ({notes})" if notes else "")
        if steps
        else "these buckets are empty",
        where=options.input_dir,
        expected=FILTERS[options.filter].meaning if only_filter else "rows for a set",
        fix="use --filter all or other buckets; nothing was written"
        if only_filter or not steps
        else f"leave out {'it' if len(rules) == 1 else 'some of them'}, or ask for less; nothing "
        "was written",
    )


def check_sizes(options: PreprocessOptions, plan: RowPlan) -> list[str]:
    """Warnings about flags that leave little. Raises InputError if a batch of the schedule has more
    rows than there are, and if --val-rows leaves each bucket one prompt to train on."""
    own = [name for name in plan.sets if name not in plan.rules.controls]
    schedule, rows = options.schedule_of_rows, plan.rows_of(own[0], TRAIN)
    if schedule and rows < schedule.batch_size:
        raise InputError(
            f"{own[0]} has {plural(rows, 'train row')}, fewer than one batch of "
            f"{schedule.batch_size:,}",
            where="--batch-size",
            expected="data.train_batch_size of the training, and rows for several batches",
            fix="lower it, or choose more rows; nothing was written",
        )
    warnings = []
    if options.val_rows is not None:
        sides = {number: plan.prompts_of(number) for number in set(plan.converted.buckets)}
        if all(train < 2 for train, _ in sides.values()):
            raise InputError(
                f"{options.val_rows:,} rows are all that a bucket has, but for one prompt",
                where="--val-rows",
                expected="fewer rows than a bucket has, so that others are left to train on",
                fix="ask for less; nothing was written",
            )
        if few := sum(train < val for train, val in sides.values()):
            warnings.append(
                f"--val-rows {options.val_rows} leaves {plural(few, 'bucket')} fewer prompts to "
                "train on than to measure with. Ask for less."
            )
    for name in own:
        if is_cumulative(name):  # of its buckets it was said already
            continue
        warnings += _shares_missed(options, plan, name)
        for _, step in plan.steps(name):
            if step.note and step.dropped > step.before / 2:
                warnings.append(
                    f"{name}: {step.rule} leaves {step.after:,} of {plural(step.before, 'row')}, "
                    f"because {step.note}. Give shares, or leave small groups out with --keep."
                )
    return warnings


def _shares_missed(options: PreprocessOptions, plan: RowPlan, name: str) -> list[str]:
    """A warning about a set in which groups do not have the shares that --balance names."""
    shares = options.choice.balance.shares if options.choice.balance else {}
    counts = plan.groups_written(name)
    total = sum(counts.values())
    off = [group for group in shares if abs(counts.get(group, 0) - shares[group] * total) >= 1]
    if not off or not total:
        return []
    found = ", ".join(f"{group} {counts.get(group, 0) / total:.0%}" for group in off)
    return [
        f"{name} has other shares than --balance names ({found}): it has no rows of any other "
        "group, so the shares were scaled up."
    ]


def check_counts(run: PreprocessingRun, plan: RowPlan, facts: Sequence[SetFacts]) -> None:
    """Raise InternalError unless every line of a set's buckets is a row or accounted for, and each
    row is there as often as it should be."""
    others, converted = (BLANK, MALFORMED, NO_SCORE), plan.converted
    for fact in facts:
        schedule = plan.schedule(fact.control_of or fact.name)
        times = schedule.epochs if schedule else 1
        if fact.rows["train"] % times:
            raise InternalError(f"{fact.name} lacks rows of an epoch")
        different = fact.rows["train"] // times + fact.rows["val"]
        if different != fact.different:
            raise InternalError(f"{fact.name} has {different:,} rows instead of {fact.different:,}")
        if fact.control_of:
            continue
        buckets = run.sets[fact.name]
        lines = sum(
            len(part.lines.kinds) for bucket in buckets for part in converted.of_bucket(bucket)
        )
        no_rows = sum(converted.count(kind, bucket) for kind in others for bucket in buckets)
        left_out = sum(step.dropped for side, step in fact.steps if side)
        if lines != different + sum(fact.dropped.values()) + left_out + no_rows:
            raise InternalError(f"the counts of {fact.name} do not add up to its {lines:,} lines")


def write_rejected(run: PreprocessingRun, ledger: Ledger) -> None:
    """Copy the rejected lines of the whole directory, and write their reasons."""
    files = {NO_SCORE: UNSCORED_FILE, MALFORMED: MALFORMED_FILE}
    names = {kind: file for kind, file in files.items() if ledger.count(kind)}
    if not names:
        return
    numbers = {kind: number for number, kind in enumerate(names)}
    copier = Copier(run.output, run.workers)
    copier.copy(list(names.values()), rejected_lines(ledger, numbers))
    reasons = {NO_SCORE: NO_SCORE_REASON}
    with run.output.stage(REASONS_FILE).open("wb") as stream:
        stream.writelines(reason_lines(ledger, reasons))
