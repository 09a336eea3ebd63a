"""How much a prompt can teach: the scores of each rollout → one value, NaN where it is undefined.

These are not orders of difficulty: a prompt that is always solved and one that never is have the
same value. They choose rows (`--keep`, `--top`), and the score table has them.
"""

from __future__ import annotations

import math

import numpy as np

from curriculum.arrays import FloatArray, distinct_rows
from curriculum.metrics import METRICS, Metric, MetricParameters, Scores


def learnability(scores: Scores, parameters: MetricParameters) -> FloatArray:
    """Unbiased estimate of p (1 - p), where p is the pass rate: c (n - c) / (n (n - 1)), from 0 to
    0.5 for two responses, and to nearly 0.25 for many; undefined for n < 2.

    The learnability of Foster and Foerster, 2025 (arXiv 2502.12272). For scores of 0 and 1 it is
    the sample variance.
    """
    passes, counts = scores.passes(parameters.pass_threshold), scores.counts
    pairs = counts * (counts - 1)
    return np.where(pairs > 0, passes * (counts - passes) / np.maximum(pairs, 1), np.nan)


def useful_group(scores: Scores, parameters: MetricParameters) -> FloatArray:
    """Chance that a group of `group_size` new responses has both a pass and a fail, so that GRPO
    learns from it; undefined without a score.

    Every pass rate is taken to be as likely as any other before c of n responses pass. Then it is
    Beta(c + 1, n - c + 1) distributed, and the chance that G responses all pass is the product of
    (c + 1 + j) / (n + 2 + j) for j from 0 to G - 1 (Laplace's rule of succession). In whole numbers
    of any size, rounded once.
    """
    passes = scores.passes(parameters.pass_threshold)
    pairs, inverse = distinct_rows(scores.counts, passes)
    values = [_useful(n, c, parameters.group_size) for n, c in pairs.tolist()]
    return np.array(values, dtype=np.float64)[inverse]


def _useful(n: int, c: int, group_size: int) -> float:
    if not n:
        return math.nan
    every = _rising(n + 2, group_size)
    alike = _rising(c + 1, group_size) + _rising(n - c + 1, group_size)
    return (every - alike) / every


def _rising(first: int, count: int) -> int:
    """first (first + 1) … of `count` factors."""
    return math.perm(first + count - 1, count)


def num_responses(scores: Scores, parameters: MetricParameters) -> FloatArray:
    """How many responses have a score."""
    return scores.counts.astype(np.float64)


def num_passes(scores: Scores, parameters: MetricParameters) -> FloatArray:
    """How many responses pass."""
    return scores.passes(parameters.pass_threshold).astype(np.float64)


SIGNALS: dict[str, Metric] = {
    signal.name: signal
    for signal in (
        Metric("learnability", learnability, False, "estimate of p (1 - p)", 0),
        Metric("useful_group", useful_group, False, "chance of passes and fails in one group", 0),
    )
}
COUNTS: dict[str, Metric] = {
    count.name: count
    for count in (
        Metric("num_responses", num_responses, False, "number of responses", 0),
        Metric("num_passes", num_passes, True, "number of passes", 0),
    )
}
# All that a condition can ask of the scores of a rollout, by name.
NUMBERS: dict[str, Metric] = {**METRICS, **SIGNALS, **COUNTS}
