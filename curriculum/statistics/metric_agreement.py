"""How much metrics agree on the same rollouts: all values of each metric → one row per pair.

pandas is loaded only here, so only `--compare-metrics` waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from curriculum.arrays import FloatArray, IntArray
from curriculum.bucketers import cut_at, difficulty, percentile_edges


@dataclass(frozen=True)
class MetricAgreement:
    """How much two metrics agree on the `rollouts` that have both.

    `correlation` is Spearman's, of the difficulties, with mean ranks for ties; it is None if one
    metric is constant. `same_bucket` is the share of rollouts that both put into the same bucket.
    `identical` metrics give every rollout the same difficulty, and some rollout has one.
    """

    one: str
    other: str
    rollouts: int
    correlation: float | None
    same_bucket: float | None
    identical: bool = False


def compare(
    metrics: Mapping[str, FloatArray], easier: Mapping[str, bool], parts: int
) -> list[MetricAgreement]:
    """Compare each pair of metrics. A metric has one value per rollout, NaN where undefined.

    `easier` says whether higher is easier. Each metric cuts its rollouts into `parts` buckets, as
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
    """The bucket of each value; it is meaningless for NaN."""
    ascending = np.sort(values[~np.isnan(values)])
    return cut_at(values, percentile_edges(ascending, parts))


def _compare(
    names: tuple[str, str],
    values: tuple[FloatArray, FloatArray],
    buckets: tuple[IntArray, IntArray],
) -> MetricAgreement:
    import pandas as pd

    both = ~(np.isnan(values[0]) | np.isnan(values[1]))
    count = int(both.sum())
    if not count:
        return MetricAgreement(*names, 0, None, None)
    identical = np.array_equal(*values, equal_nan=True)
    one, other = (pd.Series(some[both]).rank() for some in values)
    differ = one.nunique() > 1 and other.nunique() > 1
    correlation = float(one.corr(other)) if differ else None
    same = float((buckets[0][both] == buckets[1][both]).mean())
    return MetricAgreement(*names, count, correlation, same, identical)
