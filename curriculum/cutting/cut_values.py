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
from curriculum.errors import InputError
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
    options: BucketOptions, values: Sequence[FloatArray], codes: CompactIntArray, count: int
) -> IntArray:
    """The groups that are large enough to be cut by themselves: with LEAST_OF_GROUP rollouts for
    each bucket, and with at least as many different values as buckets. `codes` has the number of
    the group of each rollout, of `count` groups. Raises InputError if there are none."""
    every = np.concatenate(list(values))
    order = np.lexsort((every, codes))
    ordered, of = every[order], codes[order].astype(np.int64)
    other = np.append(True, (ordered[1:] != ordered[:-1]) | (of[1:] != of[:-1]))[: len(of)]
    sizes = np.bincount(of[of >= 0], minlength=count)
    different = np.bincount(of[other & (of >= 0)], minlength=count)
    least = LEAST_OF_GROUP * options.cut_into
    large = np.flatnonzero((sizes >= least) & (different >= options.cut_into))
    if not len(large):
        raise InputError(
            f"no value of {options.within} is held by {least:,} rollouts with as many different "
            "values of the metric as buckets",
            where="--within",
            expected="groups that can be cut by themselves",
            fix="cut fewer buckets, name a field with fewer values, or leave it out; nothing was "
            "written",
        )
    return large


def cut_within(
    options: BucketOptions,
    values: Sequence[FloatArray],
    hashes: Sequence[HashArray],
    codes: CompactIntArray,
    apart: IntArray,
) -> list[CompactIntArray]:
    """The bucket of each rollout, part by part, cut among the rollouts of its group. Groups that
    are not `apart`, and rollouts without one, are cut together."""
    every, tied = np.concatenate(list(values)), np.concatenate(list(hashes))
    found = compact_ints(np.zeros(len(every), np.int64), options.cut_into)
    own = np.where(np.isin(codes, apart), codes, -1)
    order = np.argsort(own, kind="stable")
    for mine in np.split(order, np.flatnonzero(np.diff(own[order])) + 1):
        some = every[mine]
        ascending = np.sort(difficulty(some, options.chosen_metric.higher_is_easier))
        own_hashes = tied[mine] if len(tied) else tied
        (found[mine],) = cut_values(options, [some], [own_hashes], ascending)
    return np.split(found, np.cumsum(list(map(len, values)))[:-1])
