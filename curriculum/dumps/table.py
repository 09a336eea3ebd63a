"""The table of formats: what tools write, one row each.

Nothing here opens a file. A format that two tools share has one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from curriculum.dumps import values
from curriculum.dumps.flags import ValueFlags
from curriculum.dumps.formats import OWN, REWARD, End, Format, Holds
from curriculum.dumps.score_choices import (
    Batch,
    batch_of,
    batch_scores,
    harness_scores,
    inspect_scores,
    trl_scores,
)
from curriculum.dumps.values import Fields

CUSTOM = "custom"
BATCH = "ms-swift"  # its completions.jsonl

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
    read_score=values.number_or_nothing,
    read_group={"uid": values.group_of_uid},
    read_id={"uid": values.response_of_uid},
    group_forms={"uid": values.VERL_UID_FORM},
    templates=True,
    warning="with algorithm.filter_groups it has none of the prompts that were always or never "
    "solved, and missing is not hard",
)

_NEMO_RL = Format(
    name="nemo-rl",
    title="NeMo-RL training or validation data",  # log_batched_dict_as_jsonl, utils/logger.py
    marks=frozenset({"content", "rewards", "idx"}),
    score="rewards[0]",
    prompt="content",
    response="content",
    read_prompt=values.all_but_last,
    read_response=values.last_of_content,
    read_group={"content": values.all_but_last},
)

# Lines with a list of scores.
_ROLLOUTS = (
    Format(
        name="open-r1",
        title="open-r1 generations",  # as in OpenR1-Math-220k
        marks=frozenset({"generations", "correctness_math_verify"}),
        holds=Holds.ROLLOUT,
        score="correctness_math_verify",
        added=("correctness_llama",),
        combine=max,  # a response is right if either says so
        prompt="problem",
        response="generations",
        ground_truth="answer",
        groups=(("uuid",),),
        cut_off=values.reasoning_cut_off,
        status=("is_reasoning_complete", "finish_reasons"),
        warning="OpenR1-Math-220k has only prompts with a right response, and missing is not hard",
    ),
    Format(
        name="open-r1-pass-rate",
        title="open-r1 pass rates",  # scripts/pass_rate_filtering/compute_pass_rate.py
        marks=frozenset({"pass_rate_generations", "pass_rate_rewards"}),
        holds=Holds.ROLLOUT,
        score="pass_rate_rewards",
        prompt="prompt",
        response="pass_rate_generations",
        ground_truth="solution",
        warning="the outputs named filt- have only prompts with a pass rate between two bounds, "
        "and missing is not hard",
    ),
    Format(
        name="livecodebench",
        title="LiveCodeBench eval_all",  # lcb_runner/benchmarks/code_generation.py
        marks=frozenset({"question_id", "code_list", "graded_list"}),
        holds=Holds.ROLLOUT,
        score="graded_list",
        prompt="question_content",
        response="code_list",
        groups=(("question_id",),),
    ),
    Format(
        name="qwen-math",
        title="Qwen2.5-Math evaluation",  # evaluation/math_eval.py; ToRA has the same fields
        marks=frozenset({"gt", "code", "pred", "score"}),
        holds=Holds.ROLLOUT,
        score="score",
        prompt="question",
        response="code",
        ground_truth="gt",
        groups=(("idx",),),
    ),
    Format(
        name="skillfactory",
        title="SkillFactory samples",
        marks=frozenset({"model_responses", "model_responses__eval_is_correct"}),
        holds=Holds.ROLLOUT,
        score="model_responses__eval_is_correct",
        prompt="prompt",
        response="model_responses",
        ground_truth="answer",
    ),
    Format(
        name="reasoning-gym",
        title="Reasoning Gym evaluation",  # eval/eval.py
        marks=frozenset({"question", "expected_answer", "completions", "mean_score"}),
        holds=Holds.ROLLOUT,
        score="completions[*].score",
        prompt="question",
        response="completions[*].full_model_response",
        ground_truth="expected_answer",
        warning="responses that failed are not in it, so a prompt may have fewer than others",
    ),
    Format(
        name="nemo-gym-profile",
        title="NeMo-Gym reward profiling",  # nemo_gym/reward_profile.py
        marks=frozenset({"mean/reward", "sample", "rollout_infos"}),
        holds=Holds.ROLLOUT,
        score="rollout_infos[*].reward",
        prompt="sample.responses_create_params.input",
        response=None,
        groups=(("_ng_task_index",),),
        read_prompt=values.input_messages,
    ),
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
            name="trl",
            title="TRL completions",
            marks=frozenset({"step", "prompt", "completion", "advantage"}),
            score="reward",
            score_choices=trl_scores,
            scores_add_up=True,
            prompt="prompt",
            response="completion",
            groups=(("step", "prompt"),),
            step="step",
            warning="the weights of reward functions are not in it: several are simply added, and "
            "one that is null for a response does not count. A file may repeat completions of the "
            "step before",
        ),
        Format(
            name="skyrl",
            title="SkyRL evaluation dump",  # `dump_per_dataset_eval_results`, trainer_utils.py
            marks=frozenset({"input_prompt", "output_response", "score", "env_class"}),
            score="score",
            prompt="input_prompt",
            response="output_response",
            ground_truth="env_extras.reward_spec.ground_truth",
            cut_off=values.stopped_at_length,
            status=("stop_reason",),
            ends=(("stop_reason", '"length"', End.CUT_OFF), ("stop_reason", "*", None)),
            warning="of an evaluation in steps, every step of a trajectory is a line",
        ),
        _NEMO_RL,
        replace(
            _NEMO_RL,
            marks=_NEMO_RL.marks | {"filtered_rewards"},
            name="nemo-rl-filtered",
            score="filtered_rewards[0]",
            warning="dynamic sampling left out the prompts that were always or never solved, and "
            "missing is not hard. The scores are those of filtered_rewards: rewards belongs to "
            "other lines",
        ),
        Format(
            name="lm-eval",
            title="lm-evaluation-harness samples",
            marks=frozenset({"doc_id", "doc", "resps", "filtered_resps", "filter", "metrics"}),
            score="exact_match",
            score_choices=harness_scores,
            prompt="arguments.gen_args_0.arg_0",
            response="resps",
            ground_truth="target",
            groups=(("doc_id", "doc_hash"), ("doc_id",)),
            by_prompt=False,
            read_prompt=values.harness_prompt,
            read_response=values.first_text,
            read_score=values.written_number,
            choice="filter",
            warning="one score for each document, of the response or the vote that its filter "
            "takes, however many responses there were",
        ),
        Format(
            name="inspect",
            title="inspect_ai samples",
            marks=frozenset({"id", "epoch", "input", "target", "output", "scores"}),
            score="scores.NAME.value",  # of the scorer, if any line has one
            score_choices=inspect_scores,
            prompt="input",
            response="output",
            ground_truth="target",
            groups=(("id",),),
            ids=(("id", "epoch"),),
            by_prompt=False,
            read_prompt=values.only_role_and_content,
            read_response=values.chosen_output,
            read_score=values.written_number,
            words={"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0},
            failed=values.inspect_failed,
            cut_off=values.inspect_cut_off,
            status=("error", "invalidation", "output"),
        ),
        *_ROLLOUTS,
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
            read_score=values.number_or_nothing,
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


NAMES = (*(name for name in FORMATS if name != CUSTOM), BATCH, CUSTOM)  # besides OWN


def fitting(line: Fields) -> tuple[str, ...]:
    """The formats that a line fits, without those that another of them refines; BATCH for a line
    that holds a batch of responses."""
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
    if form.name == CUSTOM and form.holds is Holds.ROLLOUT:
        named.append(places.get("score", form.score))
    elif form.name == CUSTOM and form.holds is Holds.RESPONSE:
        named += [places.get("score", form.score), places.get("response", form.response)]
        if "groups" not in places:
            named.append(places.get("prompt", form.prompt))
    if form.holds is not Holds.RESPONSE:  # there a place may be one name with dots in it
        named = [place for place in named if place and "." not in place]
    return frozenset(values.tops(named))


CUSTOM_LISTS = Format(  # what `--format custom` is for lines with a list of scores
    name=CUSTOM,
    title="custom rollouts",
    marks=frozenset(),
    holds=Holds.ROLLOUT,
    score=FORMATS[CUSTOM].score,
    prompt=None,  # where rollouts of our own form have it, and likewise the others
    response=None,
    step="step",
    read_score=values.number_or_nothing,
)


def batch_form(lines: Sequence[Fields]) -> Format:
    """The format of lines that hold batches, whose fields have one of several names."""
    found = next(filter(None, map(batch_of, lines)), None)
    names = found or Batch("messages", "completion", ("reward",), "step")
    return Format(
        name=BATCH,
        title="ms-swift completions",
        marks=frozenset({names.prompt}),
        holds=Holds.BATCH,
        score=names.scores[0],
        score_choices=batch_scores,
        scores_add_up=True,
        prompt=names.prompt,
        response=names.response or None,
        groups=((names.step, names.prompt) if names.step else (names.prompt,),),
        by_prompt=False,
        step=names.step,
        read_response=values.last_answer,
        warning="the weights of reward functions are not in it: several are simply added, and one "
        "that is null for a response does not count",
    )


def value_form(value: ValueFlags, places: dict[str, Any]) -> Format:
    """The format of lines that carry a number in place of scores."""
    form = replace(
        CUSTOM_LISTS,
        title="prompts with counts of passes" if value.counts else "prompts with a value",
        holds=Holds.VALUE,
        score=value.place,
        counts=value.counts,
        missing=value.missing,
    )
    return adapt(form, {name: place for name, place in places.items() if name != "score"})


def own_lists(score_field: str) -> Format:
    """The format of our own rollouts, whose scores are words or lists."""
    return replace(
        CUSTOM_LISTS,
        name=OWN,
        title="rollouts",
        marks=frozenset({REWARD}),
        score=f"{REWARD}[*].{score_field}",
        step=None,
        read_score=None,
    )


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
