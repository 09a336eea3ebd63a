"""Which rollouts are worth training on: the scores of each rollout → keep it or drop it.

Filters are vectorized over the rollouts of a shard, like metrics. They know nothing of the split:
they apply to train and val alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from curriculum.arrays import BoolArray
from curriculum.metrics import Scores


@dataclass(frozen=True)
class Filter:
    """Which rollouts to keep: scores and pass threshold → one bool per rollout."""

    keep: Callable[[Scores, float], BoolArray]
    meaning: str


def any_score(scores: Scores, threshold: float) -> BoolArray:
    """Every rollout."""
    return scores.counts >= 0


def positive_best(scores: Scores, threshold: float) -> BoolArray:
    """Rollouts whose best score is above 0."""
    return scores.highest > 0


def any_pass(scores: Scores, threshold: float) -> BoolArray:
    """Rollouts with at least one score >= `threshold`."""
    return scores.highest >= threshold


def not_all_equal(scores: Scores, threshold: float) -> BoolArray:
    """Rollouts whose scores differ: a group of equal scores has zero advantage in GRPO
    (DeepSeekMath, Shao et al., 2024, section 4.1)."""
    return scores.highest > scores.lowest


FILTERS: dict[str, Filter] = {
    "all": Filter(any_score, "every rollout"),
    "best_only": Filter(positive_best, "rollouts whose best score is above 0"),
    "passing_only": Filter(any_pass, "rollouts with at least one pass"),
    "informative_only": Filter(not_all_equal, "rollouts whose scores are not all equal"),
}
