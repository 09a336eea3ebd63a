"""A line of a known tool that has no scores → what adds them."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from curriculum.advice.field_names import Advice
from curriculum.dumps.values import Fields
from curriculum.reading.lines import find


class _Unscored(Struct, frozen=True):
    """What a tool writes before anything is graded: the places that its lines have, those that they
    lack, what it is, and what to do."""

    has: tuple[str, ...]
    lacks: tuple[str, ...]
    title: str
    to_do: str
    flags: dict[str, Any] = field(default_factory=dict)


_GRADE = (
    "grade each response, and add a list of the scores, one for each response in the same order. "
    "Then bucket with --format custom"
)
_ALL = (
    _Unscored(
        ("custom_id", "response.body"),
        (),
        "a batch output of OpenAI's or vLLM's API",
        "it has responses and no prompts: join it with its input on custom_id, grade each "
        "response, and write one line for each, with prompt, response and score. Then bucket with "
        "--format custom.",
    ),
    _Unscored(
        ("prompt", "responses", "reward_model"),
        ("reward",),
        "what verl generated",  # main_generation_server.py; its main_eval.py only prints scores
        f"{_GRADE} --response-field responses --score-field NAME.",
    ),
    _Unscored(
        ("generations", "api_metadata"),
        ("correctness_math_verify",),
        "what open-r1 generated",  # scripts/generate_reasoning.py
        f"{_GRADE} --prompt-field problem --response-field generations --score-field NAME.",
    ),
    _Unscored(
        ("question_id", "code_list"),
        ("graded_list",),
        "LiveCodeBench's output before it was evaluated",
        "take the file whose name ends in _eval_all.json, which --evaluate writes.",
    ),
    _Unscored(
        ("mean/reward", "sample"),
        ("rollout_infos",),
        "a reward profile of NeMo-Gym without the rewards of each rollout",
        "the mean reward is there. Bucket by it:",
        {
            "value_field": "mean/reward",
            "value_direction": "easier",
            "prompt_field": "sample.responses_create_params.input",
        },
    ),
)


def unscored(line: Fields) -> Advice | None:
    """What to do about a line that is known to have no scores; None for any other line."""
    for known in _ALL:
        there = all(find(line, place) is not None for place in known.has)
        if there and all(find(line, place) is None for place in known.lacks):
            return Advice(
                f"It is {known.title}, and has no scores: {known.to_do}", flags=known.flags
            )
    return None
