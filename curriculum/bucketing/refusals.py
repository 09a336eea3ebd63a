"""What a bucketing run says when it cannot go on, although all input was read."""

from __future__ import annotations

from curriculum.bucketing.rollout_source import RolloutSource
from curriculum.dumps.formats import SAME_IDS, SEVERAL_PROMPTS, SEVERAL_TRUTHS
from curriculum.errors import InputError
from curriculum.options import BucketOptions
from curriculum.reading.ledger import NO_SCORE, SKIPPED, UNDEFINED, Ledger
from curriculum.reading.rollouts import NO_REWARD, REWARD_NO_LIST


def how_to_fix(ledger: Ledger) -> str:
    """What to do about malformed lines."""
    fix = "fix or remove these lines, or use --on-malformed set-aside, then run again"
    if ledger.reason_kinds.keys() & {NO_REWARD, REWARD_NO_LIST}:
        fix += ". If a line is one response, say with --format custom what it has where"
    if ledger.reason_kinds.keys() & {SEVERAL_TRUTHS, SEVERAL_PROMPTS}:
        fix += f". {SAME_IDS}"
    return fix


def nothing_scored(options: BucketOptions, source: RolloutSource) -> InputError:
    """Why no rollout is scored; the likeliest reason is checked first."""
    where, lines = ", ".join(options.inputs), source.input_ledger
    if undefined := source.rollout_ledger.count(UNDEFINED):
        return InputError(
            f"{options.chosen_metric.name} is undefined for all {undefined:,} rollouts that have "
            "a score: they have too few",
            where=where,
            expected="at least k scores for pass_at_k, two for variance",
            fix="lower --k, choose another metric, or sample more responses",
        )
    if no_score := source.rollout_ledger.count(NO_SCORE):
        return InputError(
            f"none of the {no_score:,} rollouts has a score in {source.score_place}",
            where=where,
            expected="numbers there",
            fix="name the right field with --score-field",
        )
    if skipped := lines.count(SKIPPED):
        return InputError(
            f"no sound line is of the steps {options.steps}: {skipped:,} are of other steps or of "
            f"none, {lines.malformed:,} malformed",
            where=where,
            expected=f"some in the field {source.step_place}",
            fix="ask for other --steps",
        )
    if malformed := lines.malformed:
        return InputError(
            f"all {malformed:,} lines are malformed",
            where=where,
            expected=source.one_a_line,
            fix="leave out --on-malformed to see what is wrong with them",
        )
    return InputError(
        "there are no rollouts in these files",
        where=where,
        expected=source.one_a_line,
        fix="check what wrote them",
    )
