"""What a format says of the lines of a dump, and how their values are read by it.

A format says how to recognize one of its lines, and where a line has its score, prompt, response,
ground truth, group and mark of failure. Nothing here opens a file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, TypeAlias

from msgspec import Struct, field

from curriculum.dumps import values
from curriculum.dumps.values import Fields, Reader, written_number
from curriculum.reading.lines import Malformed, describe, describe_kind, find
from curriculum.reading.prompts import without_answers

Groups: TypeAlias = tuple[tuple[str, ...], ...]

EMPTY: tuple[Any, ...] = ("", [], {})  # values that identify no group
OWN = "rollouts"  # the name of our own form
REWARD = "reward"
SCORE_FIELD = "score"  # of the reward entries in a rollout that was made of other lines
GIVEN_VALUE = "value"  # the same where there was a number in place of scores

# Kinds of malformed lines: the lines of groups whose responses disagree.
SEVERAL_TRUTHS = "responses of one group with different ground truths"
SEVERAL_PROMPTS = "responses of one group with different prompts"
SEVERAL_CHOICES = "of another"  # a filter that was not chosen
SEVERAL_RESPONSES = "different responses with one id"
# Advice for one id that stands for two prompts.
SAME_IDS = (
    "If several datasets have the same ids, bucket them apart, or name fields that tell them apart "
    "with --group-field."
)


class End(Enum):
    """How a response ended that did not end by itself."""

    FAILED = "failed"
    CUT_OFF = "cut off"


class Holds(Enum):
    """What a line of a format holds."""

    RESPONSE = "response"
    ROLLOUT = "rollout"  # with its responses and scores in lists
    BATCH = "batch of responses"  # to one or more prompts, each field a list
    VALUE = "prompt with a value"  # and no responses

    @property
    def one_a_line(self) -> str:
        """What every line should be."""
        return f"one {self.value} per line"


class Disagreement(Exception):
    """The lines of a group disagree: the kind, and the positions of two such lines."""

    def __init__(self, kind: str, pair: tuple[int, int]) -> None:
        super().__init__(kind, pair)
        self.kind, self.pair = kind, pair


class Format(Struct, frozen=True):
    """One kind of dump. Places are paths into a line, such as `a.b` or `a[*].b`.

    Lines hold what `holds` says. In lines that hold rollouts, the places of responses and scores
    are those of lists, and nothing groups them: `groups` is what names a rollout. Lines that hold a
    value have it at the place of the score, where texts and numbers of `missing` are none; or
    `counts` has the places of their numbers of passes and of responses. Only lines that have
    `chosen` at the place `choice` count; others are malformed, unless `skips_others`.

    `marks` are the fields that every line has. The first of `groups` whose places a line has
    identifies its group; without any, the prompt does, if `by_prompt`. Likewise, the first of `ids`
    identifies the response. The `read_…` functions turn the value at a place into our form: the
    prompt, the response (a text or a message), the score, and the tools. With `plain_scores`, a
    number is a score as it is. `score_choices` gives the places that may hold the score of a line,
    of which the user chooses one, or several where `scores_add_up`. With `added` places, `combine`
    makes one score of those at all places that have one. `words` are scores in words, and `reduce`
    says what becomes of a list of numbers that belongs to one response. `read_group` and `read_id`
    have functions by place; `group_forms` says the same as `read_group` to the scanner.

    `failed` and `cut_off` tell from the fields `status` of a line how its response ended; the
    scores of `unscored` ends are missing. `ends` says the same to the scanner: how a response ended
    whose field has this JSON value (up to a `*`). `system` is the place of a system message to put
    before the prompt, `tools` that of the tools that the model could call. With `prompts_vary` a
    group may have several prompts; with `templates` every prompt is the text of a chat template.
    `warning` is what to know about every such dump.
    """

    name: str
    title: str
    marks: frozenset[str]
    score: str
    prompt: str | None
    response: str | None
    holds: Holds = Holds.RESPONSE
    ground_truth: str | None = None
    groups: Groups = ()
    ids: Groups = ()
    by_prompt: bool = True
    step: str | None = None
    better_score: str | None = None  # used instead of `score` if all responses have it
    read_prompt: Reader | None = None
    read_response: Reader | None = None
    read_score: Reader | None = None
    plain_scores: bool = True
    added: tuple[str, ...] = ()
    combine: Callable[[list[float]], float] = sum
    words: Mapping[str, float] = field(default_factory=dict)
    reduce: str | None = None
    scores_add_up: bool = False
    score_choices: Callable[[Fields], Sequence[str]] | None = None
    choice: str | None = None
    chosen: Any = None
    skips_others: bool = False
    counts: tuple[str, str] | None = None
    missing: tuple[str, ...] = ()
    read_group: Mapping[str, Reader] = field(default_factory=dict)
    read_id: Mapping[str, Reader] = field(default_factory=dict)
    group_forms: Mapping[str, bytes] = field(default_factory=dict)
    failed: Callable[[Fields], bool] | None = None
    cut_off: Callable[[Fields], bool] | None = None
    unscored: frozenset[End] = frozenset({End.FAILED})
    status: tuple[str, ...] = ()
    ends: tuple[tuple[str, str, End | None], ...] = ()
    system: str | None = None
    tools: str | None = None
    read_tools: Reader | None = None
    prompts_vary: bool = False
    templates: bool = False
    warning: str | None = None

    @property
    def alternatives(self) -> Groups:
        """The sets of places that can identify a group, best first, the prompt last."""
        by_prompt = ((self.prompt,),) if self.prompt and self.by_prompt else ()
        return self.groups + by_prompt

    @property
    def one_a_line(self) -> str:
        """What every line should be."""
        return Holds.ROLLOUT.one_a_line if self.name == OWN else self.holds.one_a_line

    @property
    def has_own_prompt(self) -> bool:
        """Whether a line has its prompt where rollouts of our own form have it."""
        return self.name == OWN or (self.prompt is None and self.holds is not Holds.RESPONSE)

    @property
    def reward_field(self) -> str:
        """The field of the reward entries in the rollouts that the lines become."""
        if self.name == OWN:
            return self.score.removeprefix(f"{REWARD}[*].")
        return GIVEN_VALUE if self.holds is Holds.VALUE and not self.counts else SCORE_FIELD

    @property
    def scores_as_they_are(self) -> bool:
        """Whether a number at the place of the score is the score."""
        return self.plain_scores and not self.added

    @property
    def scores(self) -> tuple[str, ...]:
        """The places whose sum is the score."""
        return (self.score, *self.added)


class Steps(Struct, frozen=True):
    """The wanted steps of a training run, both ends inclusive; None means no limit."""

    first: int | None = None
    last: int | None = None

    @property
    def all(self) -> bool:
        """Whether every line is wanted, whatever its step."""
        return self.first is None and self.last is None

    def wanted(self, step: object) -> bool:
        """Whether a line of this step is wanted; without a step, only if all are."""
        if self.all:
            return True
        step = written_number(step)
        if isinstance(step, bool) or not isinstance(step, int | float):
            return False
        after = self.first is None or step >= self.first
        return after and (self.last is None or step <= self.last)


def read_group(form: Format, place: str, column: list[Any]) -> list[Any]:
    """The parts of the values at a place that identify groups: of a prompt, what is asked."""
    if place in form.read_group:
        return list(map(form.read_group[place], column))
    if place == form.prompt:
        return [v if isinstance(v, str) else without_answers(v) for v in column]
    return column


def end_of(form: Format, line: Fields) -> End | None:
    """How the response of a line ended; None if by itself, or if nothing says so."""
    if form.failed and form.failed(line):
        return End.FAILED
    return End.CUT_OFF if form.cut_off and form.cut_off(line) else None


def score_of(form: Format, line: Fields, end: End | None) -> Any:
    """The score of a line whose response ended so; None if it is missing or does not count. Raises
    Malformed for a list or a word that no flag says how to read."""
    if end in form.unscored:
        return None
    if not form.added:
        return read_score(form, form.score, find(line, form.score))
    return combined(form, [read_score(form, place, find(line, place)) for place in form.scores])


def combined(form: Format, scores: list[Any]) -> Any:
    """The score of a response with a score at each of the format's places. One that is no number is
    returned as it is."""
    present = [score for score in scores if score is not None and score == score]  # not NaN
    odd = [score for score in present if not values.is_number(score)]
    return odd[0] if odd else form.combine(present) if present else None


def read_score(form: Format, place: str, score: Any) -> Any:
    """A score as a number, given the value at its place. Raises Malformed."""
    if isinstance(score, list) and form.plain_scores:
        score = _reduced(form, place, score)
    if isinstance(score, str) and form.words:
        if score in form.words:
            return form.words[score]
        number = form.read_score(score) if form.read_score else score
        if isinstance(number, str):
            raise Malformed(
                "a score is a word that --score-map does not have",
                f"{place} is {describe(score)}, and the map has {', '.join(form.words)}",
            )
        return number
    if score is None or form.read_score is None or (form.plain_scores and values.is_number(score)):
        return score
    return form.read_score(score)


def _reduced(form: Format, place: str, scores: list[Any]) -> Any:
    """The score of one response that has a list of them, such as one for each turn."""
    if form.reduce is None:
        raise Malformed(
            "a score is a list",
            f"{place} is a {describe_kind(scores)}; if they are of one response, say with "
            "--score-reduce whether its score is their sum, the last or the mean",
        )
    if not all(map(values.is_number, scores)):
        raise Malformed("a score is not a number", f"{place} is {describe_kind(scores)}")
    if not all(map(math.isfinite, scores)):
        return None  # a missing one among them
    return REDUCTIONS[form.reduce](scores) if scores else None


def _mean(scores: list[float]) -> float:
    return sum(scores) / len(scores)


REDUCTIONS: dict[str, Callable[[list[float]], float]] = {
    "sum": sum,
    "last": lambda scores: scores[-1],
    "mean": _mean,
}
