"""What stops a bucketing run that has read all its input → what to tell about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from curriculum.dump_summary import SAME_IDS
from curriculum.errors import InputError
from curriculum.formats import OWN, SEVERAL_PROMPTS, SEVERAL_TRUTHS
from curriculum.options import DEFAULT_SCORE_FIELD, BucketOptions
from curriculum.rejected import ProblemReport
from curriculum.rollouts import NO_REWARD, REWARD_NO_LIST
from curriculum.scan import MALFORMED, NO_SCORE, UNDEFINED, Scanned

if TYPE_CHECKING:
    from curriculum.dumps import Gathered


def mend_lines(problems: ProblemReport) -> str:
    """What to do about malformed lines."""
    fix = "mend or remove these lines, or use --on-malformed set-aside, then run again"
    if problems.kinds.keys() & {NO_REWARD, REWARD_NO_LIST}:
        fix += ". If a line is one response, say with --format custom what it has where"
    if problems.kinds.keys() & {SEVERAL_TRUTHS, SEVERAL_PROMPTS}:
        fix += f". {SAME_IDS}"
    return fix


def nothing_scored(
    options: BucketOptions, scanned: Scanned, gathered: Gathered | None
) -> InputError:
    """Why none of the rollouts is scored, the likeliest reason first."""
    where = ", ".join(options.inputs)
    if undefined := scanned.count(UNDEFINED):
        return InputError(
            f"{options.chosen_metric.name} is undefined for all {undefined:,} rollouts that have "
            "a score: they have too few",
            where=where,
            expected="at least k scores for pass_at_k, two for variance",
            fix="lower --k, choose another metric, or sample more responses",
        )
    if no_score := scanned.count(NO_SCORE):
        return InputError(
            f"none of the {no_score:,} rollouts has a score in {_score_place(options, gathered)}",
            where=where,
            expected="numbers there",
            fix="name the right field with --score-field",
        )
    malformed = gathered.malformed if gathered else scanned.count(MALFORMED)
    if gathered and (skipped := gathered.record().skipped):
        return InputError(
            f"no sound line is of the steps {options.steps}: {skipped:,} are of other steps or of "
            f"none, {malformed:,} malformed",
            where=where,
            expected=f"some in the field {gathered.dump.form.step}",
            fix="ask for other --steps",
        )
    expected = gathered.dump.form.one_a_line if gathered else "one rollout per line"
    if malformed:
        return InputError(
            f"all {malformed:,} lines are malformed",
            where=where,
            expected=expected,
            fix="leave out --on-malformed to see what is wrong with them",
        )
    return InputError(
        "there are no rollouts in these files",
        where=where,
        expected=expected,
        fix="check what wrote them",
    )


def _score_place(options: BucketOptions, gathered: Gathered | None) -> str:
    if gathered and gathered.dump.form.name != OWN:
        return gathered.dump.form.score
    return f"reward[i].{options.score_field or DEFAULT_SCORE_FIELD}"
