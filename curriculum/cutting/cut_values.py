"""Metric values → buckets, cut among all rollouts or among those of each group."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from curriculum.arrays import CompactIntArray, FloatArray, HashArray, IntArray, compact_ints
from curriculum.bucketers import (
    cut_at,
    cut_thresholds,
    difficulty,
    percentile_edges,
    rank_cuts,
    split_at,
)
from curriculum.options import BucketOptions

LEAST_OF_GROUP = 10  # rollouts for each bucket, in a group that is cut by itself


def cut_values(
    options: BucketOptions,
    values: Sequence[FloatArray],
    hashes: Sequence[HashArray],
    ascending: FloatArray,
) -> list[CompactIntArray]:
    """The bucket of each rollout, part by part; `ascending` holds all their difficulties."""
    easier, parts = options.chosen_metric.higher_is_easier, options.cut_into
    if options.ties == "split":
        return split_at(values, hashes, rank_cuts(ascending, parts), easier)
    if options.thresholds is not None:
        by_value = partial(cut_thresholds, thresholds=options.thresholds, higher_is_easier=easier)
        return [compact_ints(by_value(part), parts) for part in values]
    edges = percentile_edges(ascending, parts)
    return [compact_ints(cut_at(difficulty(part, easier), edges), parts) for part in values]


def large_groups(
    options: BucketOptions,
    values: Sequence[FloatArray],
    codes: Sequence[CompactIntArray],
    count: int,
) -> IntArray:
    """The groups that are large enough to be cut by themselves: with LEAST_OF_GROUP rollouts for
    each bucket, and with at least as many different values as buckets."""
    every, of = np.concatenate([np.zeros(0), *values]), np.concatenate([np.zeros(0, int), *codes])
    sizes = np.bincount(of[of >= 0], minlength=count)
    large = np.flatnonzero(sizes >= LEAST_OF_GROUP * options.cut_into)
    enough = [len(np.unique(every[of == group])) >= options.cut_into for group in large]
    return np.asarray(large[np.array(enough, np.bool_)])


def cut_within(
    options: BucketOptions,
    values: Sequence[FloatArray],
    hashes: Sequence[HashArray],
    codes: Sequence[CompactIntArray],
    apart: IntArray,
) -> list[CompactIntArray]:
    """The bucket of each rollout, part by part, cut among the rollouts of its group. Groups that
    are not `apart`, and rollouts without one, are cut together."""
    buckets = [compact_ints(np.zeros(len(part), np.int64), options.cut_into) for part in values]
    masks = [[of == group for of in codes] for group in apart.tolist()]
    masks.append([~np.isin(of, apart) for of in codes])
    for mine in masks:
        some = [part[here] for part, here in zip(values, mine, strict=True)]
        tied = [part[here] if len(part) else part for part, here in zip(hashes, mine, strict=True)]
        ascending = difficulty(np.concatenate(some), options.chosen_metric.higher_is_easier)
        ascending.sort()
        cut = cut_values(options, some, tied, ascending) if len(ascending) else some
        for part, here, found in zip(buckets, mine, cut, strict=True):
            part[here] = found
    return buckets
