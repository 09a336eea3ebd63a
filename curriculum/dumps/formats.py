"""The table of dump formats: tools that write one response a line, one row each.

A format says how to recognize one of its lines, and where a line has its score, prompt, response,
ground truth, group and mark of failure. Nothing here opens a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, TypeAlias

from curriculum.dumps import values
from curriculum.dumps.batches import batch_of
from curriculum.dumps.values import Fields, Reader, written_number
from curriculum.reading.lines import find
from curriculum.reading.prompts import without_answers

Groups: TypeAlias = tuple[tuple[str, ...], ...]

EMPTY: tuple[Any, ...] = ("", [], {})  # values that identify no group

# Kinds of malformed lines: the lines of groups whose responses disagree.
SEVERAL_TRUTHS = "responses of one group with different ground truths"
SEVERAL_PROMPTS = "responses of one group with different prompts"
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


class Disagreement(Exception):
    """The lines of a group disagree: the kind, and the positions of two such lines."""

    def __init__(self, kind: str, pair: tuple[int, int]) -> None:
        super().__init__(kind, pair)
        self.kind, self.pair = kind, pair


@dataclass(frozen=True)
class Format:
    """One kind of dump. Places are dotted paths into a line.

    `marks` are the fields that every line has. The first of `groups` whose places a line has
    identifies its group; without any, the prompt does, if `by_prompt`. Likewise, the first of `ids`
    identifies the response. The `read_…` functions turn the value at a place into our form: the
    prompt, the response (a text or a message), the score, and the tools. With `plain_scores`, a
    number is a score as it is. `read_group` and `read_id` have functions by place; `group_forms`
    says the same as `read_group` to the scanner.

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
        return f"one {'rollout' if self.name == OWN else 'response'} per line"


@dataclass(frozen=True)
class Steps:
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


OWN = "rollouts"
CUSTOM = "custom"
BATCH = "batch"

_VERL = Format(
    name="verl",
    title="verl trainer dump",
    marks=frozenset({"input", "output", "score"}),
    score="score",
    better_score="acc",
    prompt="input",
    response="output",
    ground_truth="gts",
    groups=(("uid", "step"), ("uid",), ("step", "input")),
    ids=(("uid",), ("request_id",)),
    step="step",
    read_score=values.written_number,
    read_group={"uid": values.group_of_uid},
    read_id={"uid": values.response_of_uid},
    group_forms={"uid": values.VERL_UID_FORM},
    templates=True,
    warning="with algorithm.filter_groups it has none of the prompts that were always or never "
    "solved, and missing is not hard",
)

FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        _VERL,
        replace(
            _VERL,
            name="verl-val",
            title="verl validation dump",
            marks=_VERL.marks | {"reward"},
            warning="its prompts are those that the run is validated on",
        ),
        Format(
            name="verifiers",
            title="verifiers results",
            marks=frozenset({"example_id", "prompt", "completion", "reward"}),
            score="reward",
            prompt="prompt",
            response="completion",
            ground_truth="answer",
            groups=(("example_id",),),
            read_response=values.last_answer,
            failed=values.verifiers_failed,
            cut_off=values.says_cut_off,
            status=("error", "is_completed", "is_truncated"),
            ends=(
                ("error", "null", None),
                ("error", '""', None),
                ("error", '"*', End.FAILED),
                ("is_completed", "false", End.FAILED),
                ("is_completed", "*", None),
                ("is_truncated", "true", End.CUT_OFF),
                ("is_truncated", "*", None),
            ),
            tools="tool_defs",
        ),
        Format(
            name="traces",
            title="verifiers or prime-rl traces",
            marks=frozenset({"task", "traces"}),
            score="traces",
            prompt="task.data.prompt",
            response="traces",
            groups=(("task.key",), ("task.hash",), ("group.id",)),
            ids=(("id",),),
            read_response=values.trace_text,
            read_score=values.trace_score,
            plain_scores=False,
            failed=values.trace_failed,
            cut_off=values.trace_cut_off,
            status=("ok", "errors", "traces"),
            tools="traces",
            read_tools=values.trace_tools,
            warning="prime-rl's effective/ has only the groups that its filter left, without "
            "those that were always or never solved: take all/, for missing is not hard",
        ),
        Format(
            name="nemo-gym",
            title="NeMo-Gym rollouts",
            marks=frozenset({"responses_create_params", "response", "reward"}),
            score="reward",
            prompt="responses_create_params.input",
            response="response.output",
            groups=(("_ng_task_index", "agent_ref"), ("_ng_task_index",)),
            ids=(
                ("_ng_task_index", "agent_ref", "_ng_rollout_index"),
                ("_ng_task_index", "_ng_rollout_index"),
            ),
            read_prompt=values.input_messages,
            read_response=values.output_text,
            failed=values.nemo_gym_failed,
            cut_off=values.nemo_gym_cut_off,
            status=("response",),
            system="responses_create_params.instructions",
            tools="responses_create_params.tools",
            prompts_vary=True,  # an environment may deal new cards
        ),
        Format(
            name="areal",
            title="AReaL rollouts",
            marks=frozenset({"task_id", "sample_idx", "prompt", "completion", "reward"}),
            score="reward",
            prompt="prompt",
            response="completion",
            groups=(("task_id", "head_version"), ("task_id",)),
            ids=(("task_id", "head_version", "sample_idx"), ("task_id", "sample_idx")),
            step="head_version",
        ),
        Format(
            name="humaneval",
            title="HumanEval results",
            marks=frozenset({"task_id", "completion", "result", "passed"}),
            score="passed",
            prompt=None,
            response="completion",
            groups=(("task_id",),),
            warning="no prompts, which preprocessing needs",
        ),
        Format(
            name=CUSTOM,  # flags say where its fields are
            title="custom dump",
            marks=frozenset(),
            score="score",
            prompt="prompt",
            response="response",
            ground_truth="ground_truth",
            step="step",
            read_response=values.last_answer,
            cut_off=values.says_cut_off,
            status=("finish_reason", "is_truncated"),
            ends=(
                ("finish_reason", '"length"', End.CUT_OFF),
                ("finish_reason", "*", None),
                ("is_truncated", "true", End.CUT_OFF),
                ("is_truncated", "*", None),
            ),
        ),
    )
}


def fitting(line: Fields) -> tuple[str, ...]:
    """The formats that a line fits, without those that another of them refines; BATCH for a line
    that holds a batch of responses, which is no format."""
    if batch_of(line):
        return (BATCH,)
    own = (OWN,) if isinstance(line.get("reward"), list) else ()
    fit = [form for form in FORMATS.values() if form.marks and form.marks <= line.keys()]
    return own + tuple(f.name for f in fit if not any(f.marks < other.marks for other in fit))


def adapt(form: Format, places: dict[str, Any]) -> Format:
    """The format with the user's `places`, by the names of its fields. Those of prompt, response
    and score must then be in every line."""
    changed = places | {"marks": form.marks | _required(form, places)}
    for role in {"prompt", "response", "score"} & places.keys():
        if form.name != CUSTOM and places[role] not in (getattr(form, role), form.better_score):
            changed[f"read_{role}"] = None  # it was for the old place
            if role == "prompt":
                changed |= {"templates": False, "system": None}
    if "score" in places:
        changed["better_score"] = None
    if "prompt" in places:
        swap = {form.prompt: places["prompt"]}
        changed["groups"] = tuple(tuple(swap.get(p, p) for p in group) for group in form.groups)
        changed["warning"] = form.warning if form.prompt else None
    if "groups" in places:
        changed |= {"groups": places["groups"], "prompts_vary": True, "by_prompt": False}
    return replace(form, **changed)


def _required(form: Format, places: dict[str, Any]) -> frozenset[str]:
    """The fields that the user's places name; for a custom dump also those it has by default."""
    named = [places.get(role) for role in ("prompt", "response", "score")]
    if form.name == CUSTOM:
        named += [places.get("score", form.score), places.get("response", form.response)]
        if "groups" not in places:
            named.append(places.get("prompt", form.prompt))
    return frozenset(values.tops(named))


def own_form(score_field: str) -> Format:
    """The format of our own rollouts, which `--group-by prompt` merges."""
    return Format(
        name=OWN,
        title="rollouts",
        marks=frozenset(),
        score=score_field,
        prompt="prompt",
        response=None,
        ground_truth="ground_truth",
    )


def read_group(form: Format, place: str, column: list[Any]) -> list[Any]:
    """The parts of the values at a place that identify groups: of a prompt, what is asked."""
    if place == form.prompt:
        return [v if isinstance(v, str) else without_answers(v) for v in column]
    return list(map(form.read_group[place], column)) if place in form.read_group else column


def end_of(form: Format, line: Fields) -> End | None:
    """How the response of a line ended; None if by itself, or if nothing says so."""
    if form.failed and form.failed(line):
        return End.FAILED
    return End.CUT_OFF if form.cut_off and form.cut_off(line) else None


def score_of(form: Format, line: Fields, end: End | None) -> Any:
    """The score of a line whose response ended so; None if it is missing or does not count."""
    if end in form.unscored:
        return None
    score = find(line, form.score)
    if score is None or form.read_score is None or (form.plain_scores and values.is_number(score)):
        return score
    return form.read_score(score)
