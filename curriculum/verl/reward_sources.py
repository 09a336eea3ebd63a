"""Data sources for which verl has a reward function of its own, and the ground truths it takes.

From `verl/utils/reward_score/__init__.py` of verl 0.9.1, which compares the whole name, except
where a prefix is enough.
"""

from __future__ import annotations

from curriculum.verl.value_types import ValueType

_TEXT_SOURCES = frozenset(
    (
        "openai/gsm8k", "lighteval/MATH", "DigitalLearningGmbH/MATH-lighteval",
        "HuggingFaceH4/MATH-500", "math_dapo", "math", "math_dapo_reasoning",
        "numina_aops_forum", "numina_synthetic_math", "numina_amc_aime", "numina_synthetic_amc",
        "numina_cn_k12", "numina_olympiads", "hiyouga/geometry3k",
    )
)  # fmt: skip
_TEXT_PREFIXES = ("aime",)
_TESTS_SOURCES = frozenset(("codecontests", "apps", "codeforces", "taco"))
_SEARCH_SOURCES = frozenset(
    f"searchR1_{name}"
    for name in (
        "nq", "triviaqa", "popqa", "hotpotqa", "2wikimultihopqa", "musique", "bamboogle",
    )
)  # fmt: skip


def has_reward_function(data_source: str) -> bool:
    """Whether verl scores rows of this data source without a reward function of one's own."""
    known = data_source in _TEXT_SOURCES | _TESTS_SOURCES | _SEARCH_SOURCES
    return known or data_source.startswith(_TEXT_PREFIXES)


def wrong_ground_truth(data_source: str, truth: ValueType) -> str | None:
    """What verl's reward function for a data source wants of the ground truth, if it is something
    else than `truth`; None if it fits, or if there is no such function."""
    if data_source in _SEARCH_SOURCES:
        fields = dict(truth.fields)
        return None if "target" in fields else "an object with target"
    if data_source in _TESTS_SOURCES or not has_reward_function(data_source):
        return None
    return None if truth.kind in ("string", "nothing") else "text"
