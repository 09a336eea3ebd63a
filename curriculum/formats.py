"""What people have on disk: dumps with one response a line, each format a row of a table.

A format says how to know a line of it, and where a line has its score, prompt, response, ground
truth, group and mark of failure. Nothing here opens a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from curriculum import dump_values as values
from curriculum.dump_values import Fields, Reader, written_number

Groups: TypeAlias = tuple[tuple[str, ...], ...]

# Kinds of malformed lines: of groups whose responses disagree.
SEVERAL_TRUTHS = "responses of one group with different ground truths"
SEVERAL_PROMPTS = "responses of one group with different prompts"


class Disagreement(Exception):
    """Lines of one group that are no rollout: the kind of that, and which two disagree."""

    def __init__(self, kind: str, pair: tuple[int, int]) -> None:
        super().__init__(kind, pair)
        self.kind, self.pair = kind, pair


@dataclass(frozen=True)
class Format:
    """One kind of dump. Places are dotted paths into a line.

    `marks` are fields that every line has. Of `groups`, the first whose places a line has say
    which responses belong together; with none of them the prompt does, if `by_prompt`. The
    `read_…` turn what stands at a place into ours: the prompt, the response (a text or a message),
    and the score, where with `plain_scores` a number is one already; `read_group` does by place.
    `failed` tells from a line, of which it looks at the fields `status`, that its response was not
    finished or not graded: its score is missing. `system` is the place of a system message before
    the prompt. `prompts_vary` says that one group may have several prompts, `whole_prompts` that a
    prompt may have the answer at its end; `unread` what is the matter with prompts that
    `read_prompt` left as text, and `warning` what to know of every such dump.
    """

    name: str
    title: str
    marks: frozenset[str]
    score: str
    prompt: str | None
    response: str | None
    ground_truth: str | None = None
    groups: Groups = ()
    by_prompt: bool = True
    step: str | None = None
    better_score: str | None = None  # taken instead of `score` where all responses have it
    read_prompt: Reader | None = None
    read_response: Reader | None = None
    read_score: Reader | None = None
    plain_scores: bool = True
    read_group: Mapping[str, Reader] = field(default_factory=dict)
    failed: Callable[[Fields], bool] | None = None
    status: tuple[str, ...] = ()
    system: str | None = None
    whole_prompts: bool = False
    prompts_vary: bool = False
    unread: str | None = None
    warning: str | None = None

    @property
    def alternatives(self) -> Groups:
        """What may say which responses belong together, best first; the prompt last."""
        by_prompt = ((self.prompt,),) if self.prompt and self.by_prompt else ()
        return self.groups + by_prompt

    @property
    def one_a_line(self) -> str:
        """What every line should be."""
        return f"one {'rollout' if self.name == OWN else 'response'} per line"


@dataclass(frozen=True)
class Steps:
    """The steps of a training run that are wanted, both ends included; None is open."""

    first: int | None = None
    last: int | None = None

    @property
    def all(self) -> bool:
        """Whether every line is wanted, whatever its step."""
        return self.first is None and self.last is None

    def wanted(self, step: object) -> bool:
        """Whether a line of this step is; one without a step only if all are."""
        if self.all:
            return True
        step = written_number(step)
        if isinstance(step, bool) or not isinstance(step, int | float):
            return False
        after = self.first is None or step >= self.first
        return after and (self.last is None or step <= self.last)


OWN = "rollouts"
CUSTOM = "custom"

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
    step="step",
    read_prompt=values.template_prompt,
    read_score=values.written_number,
    read_group={"uid": values.group_of_uid},
    unread="are decoded chat templates of a form that is not known, so verl will put a template "
    "around them once more",
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
            status=("error", "is_completed", "is_truncated"),
        ),
        Format(
            name="traces",
            title="verifiers or prime-rl traces",
            marks=frozenset({"task", "traces"}),
            score="traces",
            prompt="task.data.prompt",
            response="traces",
            groups=(("task.key",), ("task.hash",), ("group.id",)),
            read_response=values.trace_text,
            read_score=values.trace_score,
            plain_scores=False,
            failed=values.trace_failed,
            status=("ok", "errors", "traces"),
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
            read_prompt=values.input_messages,
            read_response=values.output_text,
            failed=values.nemo_gym_failed,
            status=("response",),
            system="responses_create_params.instructions",
            prompts_vary=True,  # where an environment deals the cards
        ),
        Format(
            name="areal",
            title="AReaL rollouts",
            marks=frozenset({"task_id", "sample_idx", "prompt", "completion", "reward"}),
            score="reward",
            prompt="prompt",
            response="completion",
            groups=(("task_id", "head_version"), ("task_id",)),
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
            name=CUSTOM,  # where flags say what is where
            title="custom dump",
            marks=frozenset(),
            score="score",
            prompt="prompt",
            response="response",
            ground_truth="ground_truth",
            step="step",
            read_response=values.last_answer,
            whole_prompts=True,
        ),
    )
}


def fitting(line: Fields) -> tuple[str, ...]:
    """The formats that a line may be of, without those that another one refines."""
    own = (OWN,) if isinstance(line.get("reward"), list) else ()
    fit = [form for form in FORMATS.values() if form.marks and form.marks <= line.keys()]
    return own + tuple(f.name for f in fit if not any(f.marks < other.marks for other in fit))


def adapt(form: Format, places: dict[str, Any]) -> Format:
    """The format with `places` of one's own, by the names of its fields; what they name has to be
    in every line, but for the ground truth."""
    changed = places | {"marks": form.marks | _required(form, places)}
    for role in {"prompt", "response", "score"} & places.keys():
        if form.name != CUSTOM and places[role] not in (getattr(form, role), form.better_score):
            changed[f"read_{role}"] = None  # another place, another form
            if role == "prompt":
                changed |= {"unread": None, "system": None}
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
    """The fields that places of one's own name; of a custom dump also those it has by default."""
    named = [places.get(role) for role in ("prompt", "response", "score")]
    if form.name == CUSTOM:
        named += [places.get("score", form.score), places.get("response", form.response)]
        if "groups" not in places:
            named.append(places.get("prompt", form.prompt))
    return frozenset(values.tops(named))


def own_form(score_field: str) -> Format:
    """Rollouts of our own form, which `--group-by prompt` merges."""
    return Format(
        name=OWN,
        title="rollouts",
        marks=frozenset(),
        score=score_field,
        prompt="prompt",
        response=None,
        ground_truth="ground_truth",
    )
