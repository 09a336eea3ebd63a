"""Metric values of all rollouts → the bucket of each, what every bucket holds, and how sure that
is.

This is the step between the two passes. It works on numbers alone and decides everything that the
second pass writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from msgspec import Struct

from curriculum.arrays import (
    Array,
    BoolArray,
    CompactIntArray,
    FloatArray,
    distinct,
    first_of_equals,
)
from curriculum.bucketers import (
    difficulty,
)
from curriculum.bucketing.scan import MOST_SHOWN, Scan, Scanned
from curriculum.choosing.groups import NO_GROUPS, Groups
from curriculum.cutting.cut_values import cut_values, cut_within, large_groups
from curriculum.metrics import METRICS
from curriculum.options import BucketOptions
from curriculum.reading.ledger import DIFFERS, DROPPED, PASSED, SOLVED
from curriculum.statistics.bins import FEW_VALUES, Bar, Bins, bars_of, choose_bins, main_range
from curriculum.statistics.cuts import CutRule, Cuts, meet
from curriculum.statistics.metric_agreement import MetricAgreement, compare
from curriculum.statistics.uncertainty import Uncertainty, estimate_uncertainty


class BucketAssignment(Struct, frozen=True):
    """The bucket of each scored rollout, shard by shard, and what a report says about the buckets.

    `distinct` counts the metric's distinct values outside `solved` and `unsolved`. `groups` says
    how many rollouts of each group are in each bucket, the largest group first; None is the group
    of those without one.
    """

    buckets: Sequence[CompactIntArray]
    facts: Sequence[BucketFacts]
    bins: Bins
    distinct: int
    cuts: Cuts
    groups: Sequence[GroupCounts] = ()


class GroupCounts(Struct, frozen=True):
    """How many rollouts of a group there are in each bucket, and whether it was cut by itself."""

    name: str | None
    counts: Sequence[int]
    apart: bool = False


def assign_buckets(options: BucketOptions, scanned: Scanned) -> BucketAssignment:
    """Cut the scored rollouts into the requested buckets, easiest first."""
    easier, scans = options.chosen_metric.higher_is_easier, scanned.scans
    ends = [_ends(options, scan) for scan in scans]
    values = [_others(scan.values, end) for scan, end in zip(scans, ends, strict=True)]
    hashes = [_others(scan.hashes, end) for scan, end in zip(scans, ends, strict=True)]
    ascending = difficulty(np.concatenate([np.zeros(0), *values]), easier)
    ascending.sort()
    different = int(first_of_equals(ascending).sum())
    shown = difficulty(_some_values(ascending), easier)
    groups = _join_groups(options, scans)
    apart = np.zeros(0, np.int64)
    if options.within is None:
        buckets = cut_values(options, values, hashes, ascending)
    else:
        at_end = np.concatenate([end >= 0 for end in ends])
        codes = groups.codes[~at_end] if len(at_end) else groups.codes
        apart = large_groups(options, values, codes, len(groups.names))
        buckets = cut_within(options, values, hashes, codes, apart)
    del ascending  # a large run is short of memory in the driver
    bins = _bins(shown, scans, ends)
    buckets = [_with_ends(part, end) for part, end in zip(buckets, ends, strict=True)]
    facts = [_facts(scanned, buckets, i, bins) for i in range(len(options.names))]
    cuts = _cuts(options, facts)
    counts = _count_groups(groups, buckets, len(options.names), {*apart.tolist()})
    return BucketAssignment(buckets, facts, bins, different, cuts, counts)


def _join_groups(options: BucketOptions, scans: Sequence[Scan]) -> Groups:
    """The groups of all scored rollouts; none if they are only to be shown, and too many."""
    if options.within is not None:
        return Groups.join([scan.groups for scan in scans])
    names = {name for scan in scans for name in scan.groups.names}
    if len(names) > MOST_SHOWN or any(len(s.groups.codes) < len(s.values) for s in scans):
        return NO_GROUPS
    return Groups.join([scan.groups for scan in scans])


def _count_groups(
    groups: Groups, buckets: Sequence[CompactIntArray], count: int, apart: set[int]
) -> list[GroupCounts]:
    """How many rollouts of each group there are in each bucket."""
    if not groups.names:
        return []
    every = np.concatenate(list(buckets)).astype(np.int64)
    table = np.zeros((len(groups.names) + 1, count), np.int64)  # the last row is without a group
    np.add.at(table, (groups.codes, every), 1)
    names = [*groups.names, None]
    order = sorted(range(len(names)), key=lambda i: (names[i] is None, -int(table[i].sum()), i))
    return [GroupCounts(names[i], table[i].tolist(), i in apart) for i in order if table[i].any()]


def _some_values(ascending: FloatArray) -> FloatArray:
    """All distinct values if there are few, otherwise some, with the lowest and the highest."""
    at, found = 0, list[float]()
    while at < len(ascending) and len(found) <= FEW_VALUES + 1:
        found.append(ascending[at])
        at = int(np.searchsorted(ascending, ascending[at], side="right"))
    return np.array([*found, *ascending[at:][-1:]])


def _bins(shown: FloatArray, scans: Sequence[Scan], ends: Sequence[CompactIntArray]) -> Bins:
    """The bars of the histogram; `shown` are values of rollouts that are not at an end."""
    apart = [scan.values[end >= 0] for scan, end in zip(scans, ends, strict=True) if len(end)]
    of_ends = distinct(np.concatenate([np.zeros(0), *apart]))
    if len(shown) + len(of_ends) <= FEW_VALUES:
        return choose_bins(shown, of_ends)
    return choose_bins(shown, of_ends, main_range(np.concatenate([scan.values for scan in scans])))


def _ends(options: BucketOptions, scan: Scan) -> CompactIntArray:
    """0 for each solved rollout, the last bucket for each unsolved one, and -1 for all others.
    Empty without --solved-unsolved."""
    if not options.solved_unsolved:
        return np.zeros(0, np.int64)
    kinds = scan.scored
    end = np.where(kinds & SOLVED != 0, 0, np.where(kinds & PASSED != 0, -1, _last(options)))
    return end.astype(np.min_scalar_type(-len(options.names)))


def _last(options: BucketOptions) -> int:
    return len(options.names) - 1


def _others(part: Array, ends: CompactIntArray) -> Array:
    return part[ends < 0] if len(ends) and len(part) else part


def _with_ends(buckets: CompactIntArray, ends: CompactIntArray) -> CompactIntArray:
    """The bucket of every rollout; those that were cut move up by one, behind `solved`."""
    if not len(ends):
        return buckets
    every: CompactIntArray = ends.copy()
    every[ends < 0] = buckets.astype(every.dtype) + 1
    return every


def _facts(
    scanned: Scanned, buckets: Sequence[CompactIntArray], bucket: int, bins: Bins
) -> BucketFacts:
    mine: list[BoolArray] = [part == bucket for part in buckets]

    def take(parts: Iterable[Array]) -> Array:
        chosen = (part[here] for part, here in zip(parts, mine, strict=True))
        return np.concatenate(list(chosen))

    kinds = take(scan.scored for scan in scanned.scans)
    return BucketFacts.of(
        values=take(scan.values for scan in scanned.scans),
        mean_score=_mean(take(scan.means for scan in scanned.scans)),
        without_pass=int((kinds & PASSED == 0).sum()),
        all_equal=int((kinds & DIFFERS == 0).sum()),
        bins=bins,
    )


def _mean(values: FloatArray) -> float | None:
    """The mean; None of no values. The sum of some near the limits of a double has none."""
    if not len(values):
        return None
    with np.errstate(over="ignore"):
        mean = float(values.mean())
    return mean if np.isfinite(mean) else float((values / len(values)).sum())


def _cuts(options: BucketOptions, facts: Sequence[BucketFacts]) -> Cuts:
    inner, easier = options.inner, options.chosen_metric.higher_is_easier
    edges, buckets = meet([fact.range for fact in facts[inner]], easier, options.thresholds)
    if not len(buckets):  # every rollout is solved or unsolved
        buckets = np.zeros(1, np.int64)
    ends = (0, _last(options)) if options.solved_unsolved else None
    return Cuts(edges, buckets + (inner.start or 0), easier, ends)


def estimate_trust(
    options: BucketOptions, scanned: Scanned, assigned: BucketAssignment
) -> Uncertainty | None:
    """How far the buckets can be trusted; None if that cannot be estimated, if all rollouts are in
    one bucket, if there are no scores, or if each group has cuts of its own."""
    every, sample = np.concatenate(list(assigned.buckets)), scanned.sample
    if every.min() == every.max() or options.value_field is not None or options.within is not None:
        return None
    own = every[sample.positions].astype(np.int64)
    parts = options.cut_into if options.thresholds is None else None
    rule = CutRule(parts, split_ties=options.ties == "split")
    metric, parameters = options.chosen_metric, options.parameters
    return estimate_uncertainty(sample.scores, own, assigned.cuts, metric, parameters, rule)


def compare_metrics(options: BucketOptions, scanned: Scanned) -> list[MetricAgreement]:
    """Compare each pair of metrics over all rollouts. Each metric cuts them into
    `options.cut_into` buckets."""
    metrics = METRICS | {options.chosen_metric.name: options.chosen_metric}
    values = {
        name: np.concatenate(
            [scan.metrics[name][scan.rollout_kinds != DROPPED] for scan in scanned.scans]
        )
        for name in metrics
    }
    easier = {name: metric.higher_is_easier for name, metric in metrics.items()}
    return compare(values, easier, options.cut_into)


class BucketFacts(Struct, frozen=True):
    """What a bucket holds: its metric values and mean score, how many rollouts have no pass and how
    many have equal scores, its most frequent value, and its histogram bars. Values are None if the
    bucket is empty."""

    count: int
    lowest: float | None = None
    highest: float | None = None
    mean_score: float | None = None
    without_pass: int = 0
    all_equal: int = 0
    commonest: float | None = None
    commonest_count: int = 0
    bars: Sequence[Bar] = ()

    @property
    def range(self) -> tuple[float, float] | None:
        """The lowest and the highest value; None if the bucket is empty."""
        if self.lowest is None or self.highest is None:
            return None
        return self.lowest, self.highest

    @staticmethod
    def of(
        values: FloatArray,
        mean_score: float | None,
        without_pass: int,
        all_equal: int,
        bins: Bins,
    ) -> BucketFacts:
        """The facts of one bucket. `values` has one entry per rollout and is sorted in place."""
        if not len(values):
            return BucketFacts(0)
        values.sort()
        last_of_value = np.flatnonzero(np.append(values[1:] != values[:-1], True))
        counts = np.diff(last_of_value, prepend=-1)
        commonest = int(counts.argmax())
        return BucketFacts(
            count=len(values),
            lowest=float(values[0]),
            highest=float(values[-1]),
            mean_score=mean_score,
            without_pass=without_pass,
            all_equal=all_equal,
            commonest=float(values[last_of_value[commonest]]),
            commonest_count=int(counts[commonest]),
            bars=bars_of(values, bins),
        )
