"""A line of a tool whose users choose what is scored → the places that may hold its score.

Which of them is the score is for the user to say, if there are several.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from curriculum.dumps.values import Fields, is_number

_PROMPTS = ("messages", "prompt")
_RESPONSES = ("completion", "completions", "response", "output")
# Numbers that trainers write beside the rewards of responses.
_NO_SCORES = frozenset(
    {"step", "gen_step", "advantages", "advantage", "entropy", "num_turns", "index"}
)


class Batch(Struct, frozen=True):
    """A batch of responses side by side: the fields of the prompts and responses, those that may be
    the scores, and what responses to one prompt have in common besides it."""

    prompt: str
    response: str
    scores: tuple[str, ...]
    step: str | None


def batch_of(line: Fields) -> Batch | None:
    """The batch that a line of ms-swift's completions.jsonl holds; None if it holds none.

    A batch has a list of prompts, each a text or a list of messages, and as many scores: a `reward`
    for each, or numbers of another name beside a field that is known to hold responses. In a
    rollout of our own form a prompt is one text, or a list of messages. The fields are those that
    `log` in swift/rlhf_trainers/grpo_trainer.py writes, of versions 3.2 to 4.5, and of its Megatron
    trainer.
    """
    prompt = next((name for name in _PROMPTS if _are_prompts(line.get(name))), None)
    if prompt is None:
        return None
    size = len(line[prompt])
    fields = [n for n, value in line.items() if isinstance(value, list) and len(value) == size]
    scores = [n for n in fields if n not in _NO_SCORES and _are_numbers(line[n])]
    responses = [n for n in _RESPONSES if n in fields]
    if not scores or ("reward" not in scores and not responses):
        return None
    scores = ["reward"] if "reward" in scores else scores
    steps = [n for n in ("step", "gen_step") if n in fields]
    response = next((n for n in (*responses, "generations", "responses") if n in fields), "")
    return Batch(prompt, response, tuple(scores), next(iter(steps), None))


def _are_prompts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str | list) for v in value)


def _are_numbers(values: list[Any]) -> bool:
    return all(v is None or isinstance(v, int | float) for v in values)


def batch_scores(line: Fields) -> Sequence[str]:
    """The lists of numbers in a line of ms-swift's."""
    batch = batch_of(line)
    return batch.scores if batch else ()


def trl_scores(line: Fields) -> Sequence[str]:
    """The columns that may be rewards in TRL's completions: `log` in trl/trainer/grpo_trainer.py
    writes one for each reward function, by its name, null where that has nothing to say, and the
    user's own beside them."""
    return [
        n
        for n, value in line.items()
        if n not in _NO_SCORES and (value is None or is_number(value))
    ]


def harness_scores(line: Fields) -> Sequence[str]:
    """The metrics of a sample of lm-evaluation-harness, each a field of that name (`evaluate` in
    lm_eval/evaluator.py)."""
    metrics = line.get("metrics")
    return [str(name) for name in metrics] if isinstance(metrics, list) else []


def inspect_scores(line: Fields) -> Sequence[str]:
    """The scores of a sample of inspect_ai: the value of each scorer, or each part of it (`Score`,
    inspect_ai/scorer/_metric.py)."""
    found: list[str] = []
    scores = line.get("scores")
    for name, score in (scores or {}).items() if isinstance(scores, dict | None) else ():
        value = score.get("value") if isinstance(score, dict) else None
        place = f"scores.{name}.value"
        found += [f"{place}.{part}" for part in value] if isinstance(value, dict) else [place]
    return found
