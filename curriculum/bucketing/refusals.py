"""What a bucketing run says when it cannot go on although all input was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from curriculum.advice.commands import command
from curriculum.advice.field_names import score_field
from curriculum.advice.first_lines import refusal
from curriculum.advice.text import fields_of, with_commands
from curriculum.bucketing.rollout_source import RolloutDump, RolloutSource
from curriculum.bucketing.scan import Scan
from curriculum.choosing.flags import likely_number
from curriculum.dumps.detect import Dump, first_lines
from curriculum.dumps.formats import (
    SAME_IDS,
    SEVERAL_CHOICES,
    SEVERAL_PROMPTS,
    SEVERAL_RESPONSES,
    SEVERAL_TRUTHS,
)
from curriculum.errors import InputError, plural
from curriculum.grouping.groups import DumpNote
from curriculum.options import BucketOptions
from curriculum.reading.input_files import InputFile
from curriculum.reading.ledger import DROPPED, NO_SCORE, SKIPPED, UNDEFINED, Ledger
from curriculum.reading.rollouts import NO_REWARD, REWARD_NO_LIST


def how_to_fix(ledger: Ledger, dump: Dump | None = None) -> str:
    """What to do about malformed lines."""
    says, kinds = ["check what wrote them"], ledger.reason_kinds.keys()
    if not ledger.all_alike:
        says = ["fix or remove these lines, or use --on-malformed set-aside, then run again"]
    if kinds & {NO_REWARD, REWARD_NO_LIST}:
        says.append(
            "A rollout has reward, a list with one score per response. For one response a line, "
            "say with --format custom what it has where."
        )
    if dump and dump.by_prompt and SEVERAL_TRUTHS in kinds:
        says.append("If one prompt may have several ground truths, leave out --group-by prompt.")
    elif kinds & {SEVERAL_TRUTHS, SEVERAL_PROMPTS}:
        says.append(SAME_IDS)
    if any(kind.startswith(SEVERAL_CHOICES) for kind in kinds):
        says.append("Take the lines of one filter with --filter-key.")
    if SEVERAL_RESPONSES in kinds:
        says.append(
            "If several runs wrote them, bucket each run apart, or take the responses of all runs "
            "with --group-by prompt."
        )
    return with_commands(says, [])


def check_dump(options: BucketOptions, source: RolloutDump) -> None:
    """Raise InputError if every response was cut off, or if no rollout has a prompt although its
    lines seem to have one."""
    form, notes, where = source.dump.form, source.notes, ", ".join(options.inputs)
    cut_off, failed = notes[DumpNote.CUT_OFF, ""], notes[DumpNote.FAILED, ""]
    if cut_off and cut_off + failed == source.responses and options.truncated != "graded":
        others = f" or failed ({failed:,})" if failed else ""
        raise InputError(
            f"every response was cut off ({cut_off:,}){others}, so the scores say little about the "
            "prompts",
            where=where,
            expected="some that ended by themselves",
            fix="sample again with a higher limit on tokens, or take the scores as they were given "
            "with --truncated graded",
        )
    likely = Counter({name: n for (note, name), n in notes.items() if note is DumpNote.NO_PROMPT})
    field = max(likely, key=lambda name: likely[name], default="")
    if field and likely.total() == source.rollouts:
        raise InputError(
            f"no rollout of {source.rollouts:,} has a prompt in {form.prompt}",
            where=where,
            expected="messages or a text there",
            fix=f"take what these lines have in {field}: --prompt-field {field}",
        )


def check_places(options: BucketOptions, scans: Sequence[Scan]) -> None:
    """Raise InputError if no rollout holds anything at a place that --keep or --within names."""
    rollouts = sum(len(scan.rollout_kinds) for scan in scans)
    for number, place in enumerate(options.asked.places):
        count = sum(int(scan.there[number]) for scan in scans)
        if not count and rollouts:
            within = place == options.within
            raise InputError(
                f"none of {plural(rollouts, 'rollout')} has anything in {place}",
                where="--within" if within else "--keep",
                expected="a field of the rollouts"
                if within
                else "a number such as success_rate, or a field of the rollouts",
                fix=likely_number(place),
            )


def nothing_scored(options: BucketOptions, source: RolloutSource) -> InputError:
    """Why no rollout is scored; the likeliest reason is checked first."""
    where, lines = ", ".join(options.inputs), source.input_ledger
    if dropped := source.rollout_ledger.count(DROPPED):
        rules = " and ".join(options.asked.rules)
        return InputError(
            f"{rules} {'drop' if len(options.asked.rules) > 1 else 'drops'} all {dropped:,} "
            "rollouts with a score",
            where=where,
            expected="rollouts for the buckets",
            fix="look at the metrics with --dry-run --compare-metrics, and keep more; nothing was "
            "written",
        )
    if undefined := source.rollout_ledger.count(UNDEFINED):
        return _undefined(options, undefined)
    if no_score := source.rollout_ledger.count(NO_SCORE):
        if isinstance(source, RolloutDump) and source.every_response_failed:
            return InputError(
                f"no rollout of {no_score:,} has a score: every response failed",
                where=where,
                expected="responses without an error, which were graded",
                fix="sample them again",
            )
        carried = options.value_field is not None
        return InputError(
            f"none of the {no_score:,} rollouts has a {'number' if carried else 'score'} in "
            f"{source.score_place}",
            where=where,
            expected="numbers there",
            fix="name the right field with --value-field"
            if carried
            else _where_scores_are(options, source),
        )
    if skipped := lines.count(SKIPPED):
        wanted, of, place = f"steps {options.steps}", "steps", source.step_place
        flag = "--steps"
        if options.steps is None and source.dump:
            form = source.dump.form
            wanted, of, place = f"{form.choice} {form.chosen}", "those", form.choice
            flag = "--filter-key"
        return InputError(
            f"no sound line is of the {wanted}: {skipped:,} are of other {of} or of none, "
            f"{lines.malformed:,} malformed",
            where=where,
            expected=f"some in the field {place}",
            fix=f"ask for other {flag}" if flag == "--steps" else f"name another {flag}",
        )
    if malformed := lines.malformed:
        return refusal(options, _files(lines)) or InputError(
            f"all {malformed:,} lines are malformed",
            where=where,
            expected=source.one_a_line,
            fix="leave out --on-malformed to see what is wrong with them",
        )
    empty = not sum(map(len, (part.kinds for part in lines.shard_lines)))
    held = "they are empty (0 bytes)" if empty else "they hold only blank lines"
    return InputError(
        "there are no rollouts in these files",
        where=where,
        expected=source.one_a_line,
        fix=f"{held}: check what wrote them, and whether it has ended",
    )


def _files(ledger: Ledger) -> list[InputFile]:
    return list(dict.fromkeys(shard.file for shard in ledger.shards))


def _undefined(options: BucketOptions, rollouts: int) -> InputError:
    """Why the metric is undefined for all rollouts that have a score."""
    metric = options.chosen_metric.name
    expected, fix = {
        "pass_at_k": (
            f"at least k = {options.k} scores per rollout",
            "lower --k, or sample more responses",
        ),
        "variance": (
            "at least two scores per rollout",
            "choose another metric, or sample more responses",
        ),
    }.get(metric, ("a number for some of them", "check the function of this metric: it gives NaN"))
    those = f"all {rollouts:,} rollouts" if rollouts > 1 else "the only rollout"
    return InputError(
        f"{metric} is undefined for {those} with a score",
        where=", ".join(options.inputs),
        expected=expected,
        fix=fix,
    )


def _where_scores_are(options: BucketOptions, source: RolloutSource) -> str:
    """Which field of the reward entries is likely the score, and the command that takes it."""
    fix = "name the right field with --score-field"
    if source.dump is not None:
        return fix
    for first in first_lines(source.files):
        for _, line in first.lines:
            entries = line.get("reward")
            for entry in entries if isinstance(entries, list) else []:  # or it is malformed
                if field := score_field(entry):
                    says = [f"an entry of reward has {fields_of(entry)}. Take its {field}:"]
                    return with_commands(says, [command(replace(options, score_field=field))])
    return fix
