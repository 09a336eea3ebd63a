"""How alike metrics order the same rollouts: every metric of each → a row for each two of them.

pandas is loaded where it ranks: only those who ask for the comparison wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from curriculum.arrays import FloatArray, IntArray
from curriculum.bucketers import cut_at, difficulty, percentile_edges


@dataclass(frozen=True)
class Likeness:
    """Two metrics over the `rollouts` that have both: Spearman's correlation of their difficulties,
    ties having their mean rank (None where one does not differ), and the share of rollouts that
    both put into the same bucket."""

    one: str
    other: str
    rollouts: int
    correlation: float | None
    same_bucket: float | None


def compare(
    metrics: Mapping[str, FloatArray], easier: Mapping[str, bool], parts: int
) -> list[Likeness]:
    """Compare every two metrics, whose values are one per rollout, NaN where undefined.

    `easier` says whether higher is easier. Each metric cuts its rollouts into `parts` buckets as
    equal as ties allow.
    """
    difficulties = {name: difficulty(values, easier[name]) for name, values in metrics.items()}
    buckets = {name: _cut(values, parts) for name, values in difficulties.items()}
    pairs = combinations(metrics, 2)
    return [
        _compare(
            (one, other), (difficulties[one], difficulties[other]), (buckets[one], buckets[other])
        )
        for one, other in pairs
    ]


def _cut(values: FloatArray, parts: int) -> IntArray:
    """The bucket of each; those of NaN mean nothing."""
    ascending = np.sort(values[~np.isnan(values)])
    return cut_at(values, percentile_edges(ascending, parts))


def _compare(
    names: tuple[str, str],
    values: tuple[FloatArray, FloatArray],
    buckets: tuple[IntArray, IntArray],
) -> Likeness:
    import pandas as pd

    both = ~(np.isnan(values[0]) | np.isnan(values[1]))
    count = int(both.sum())
    if not count:
        return Likeness(*names, 0, None, None)
    one, other = (pd.Series(some[both]).rank() for some in values)
    differ = one.nunique() > 1 and other.nunique() > 1
    correlation = float(one.corr(other)) if differ else None
    same = float((buckets[0][both] == buckets[1][both]).mean())
    return Likeness(*names, count, correlation, same)
