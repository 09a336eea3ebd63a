"""How much metrics agree on the same rollouts: all values of each metric → one row per pair.

pandas is loaded only here, so only `--compare-metrics` waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from msgspec import Struct

from curriculum.arrays import BoolArray, FloatArray, IntArray
from curriculum.bucketers import cut_at, difficulty, percentile_edges


class MetricAgreement(Struct, frozen=True):
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
    ranked = {
        name: _Ranked.of(difficulty(values, easier[name]), parts)
        for name, values in metrics.items()
    }
    return [_compare(pair, ranked[pair[0]], ranked[pair[1]]) for pair in combinations(metrics, 2)]


class _Ranked(Struct, frozen=True):
    """The difficulties of all rollouts by a metric, NaN where undefined; where they are defined;
    the ranks of those, with mean ranks for ties; and the bucket of each, meaningless for NaN."""

    values: FloatArray
    there: BoolArray
    ranks: Any
    buckets: IntArray

    @staticmethod
    def of(values: FloatArray, parts: int) -> _Ranked:
        there = ~np.isnan(values)
        buckets = cut_at(values, percentile_edges(np.sort(values[there]), parts))
        return _Ranked(values, there, _rank(values[there]), buckets)

    def among(self, both: BoolArray) -> Any:
        """The ranks among some of the rollouts that are defined."""
        if both.sum() == len(self.ranks):  # nearly always
            return self.ranks
        return _rank(self.values[both])


def _rank(values: FloatArray) -> Any:
    import pandas as pd

    return pd.Series(values).rank()


def _compare(names: tuple[str, str], one: _Ranked, other: _Ranked) -> MetricAgreement:
    both = one.there & other.there
    count = int(both.sum())
    if not count:
        return MetricAgreement(*names, 0, None, None)
    identical = np.array_equal(one.values, other.values, equal_nan=True)
    ranks = one.among(both), other.among(both)
    differ = all(some.min() < some.max() for some in ranks)
    correlation = float(ranks[0].corr(ranks[1])) if differ else None
    same = float((one.buckets[both] == other.buckets[both]).mean())
    return MetricAgreement(*names, count, correlation, same, identical)
