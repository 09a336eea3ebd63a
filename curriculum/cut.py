"""Bucketing, between the passes: metric values → the bucket of each rollout, what the buckets
hold, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from curriculum.arrays import Array, BoolArray, FloatArray, HashArray, PlaceArray, compact_places
from curriculum.bucket_summary import BucketFacts
from curriculum.bucketers import (
    cut_at,
    cut_thresholds,
    difficulty,
    percentile_edges,
    rank_cuts,
    split_at,
)
from curriculum.compare import Likeness, compare
from curriculum.histogram import FEW_VALUES, Bins, choose_bins
from curriculum.metrics import METRICS
from curriculum.options import BucketOptions
from curriculum.scan import DIFFERS, PASSED, SOLVED, Scan, Scanned
from curriculum.trust import Cuts, Trust, meet, misplaced


@dataclass(frozen=True)
class Cut:
    """Per shard, the bucket of each scored rollout; what each bucket holds, and the bins of its
    bars; how many values the metric takes where percentiles or thresholds cut; where that is; and
    how far the buckets can be trusted."""

    buckets: Sequence[PlaceArray]
    facts: Sequence[BucketFacts]
    bins: Bins
    distinct: int
    cuts: Cuts
    trust: Trust | None


def cut(options: BucketOptions, scanned: Scanned) -> Cut:
    """Cut the scored rollouts into the buckets that are asked for, easiest first."""
    easier, scans = options.chosen_metric.higher_is_easier, scanned.scans
    ends = [_ends(options, scan) for scan in scans]
    values = [_others(scan.values, end) for scan, end in zip(scans, ends, strict=True)]
    hashes = [_others(scan.hashes, end) for scan, end in zip(scans, ends, strict=True)]
    ascending = difficulty(np.concatenate([np.zeros(0), *values]), easier)
    ascending.sort()
    distinct = np.count_nonzero(ascending[1:] != ascending[:-1]) + (len(ascending) > 0)
    shown = difficulty(_some_values(ascending), easier)
    places = _cut_values(options, values, hashes, ascending)
    del ascending  # the driver's memory is what a large run is short of
    apart = [scan.values[end >= 0] for scan, end in zip(scans, ends, strict=True) if len(end)]
    of_ends = np.unique(np.concatenate([np.zeros(0), *apart]))
    bins = choose_bins([shown, of_ends])
    places = [_with_ends(part, end) for part, end in zip(places, ends, strict=True)]
    facts = [_facts(scanned, places, i, bins) for i in range(len(options.names))]
    cuts = _cuts(options, facts)
    trust = _trust(options, scanned, places, cuts)
    return Cut(places, facts, bins, distinct, cuts, trust)


def _some_values(ascending: FloatArray) -> FloatArray:
    """All distinct values if they are few; else some of them, the lowest and the highest too."""
    at, found = 0, list(ascending[-1:])
    while at < len(ascending) and len(found) <= FEW_VALUES + 1:
        found.append(ascending[at])
        at = int(np.searchsorted(ascending, ascending[at], side="right"))
    return np.unique(np.array(found))


def _ends(options: BucketOptions, scan: Scan) -> PlaceArray:
    """The bucket of each rollout that has one before the cut, -1 for others; nothing where none
    has."""
    if not options.solved_unsolved:
        return np.zeros(0, np.int64)
    kinds = scan.scored
    end = np.where(kinds & SOLVED != 0, 0, np.where(kinds & PASSED != 0, -1, _last(options)))
    return end.astype(np.min_scalar_type(-len(options.names)))


def _last(options: BucketOptions) -> int:
    return len(options.names) - 1


def _others(part: Array, ends: PlaceArray) -> Array:
    return part[ends < 0] if len(ends) and len(part) else part


def _with_ends(places: PlaceArray, ends: PlaceArray) -> PlaceArray:
    """The bucket of every rollout, with those between the ends one further."""
    if not len(ends):
        return places
    every: PlaceArray = ends.copy()
    every[ends < 0] = places.astype(every.dtype) + 1
    return every


def _cut_values(
    options: BucketOptions,
    values: Sequence[FloatArray],
    hashes: Sequence[HashArray],
    ascending: FloatArray,
) -> list[PlaceArray]:
    """Per part, the bucket of each rollout; `ascending` are the difficulties of all."""
    easier, parts = options.chosen_metric.higher_is_easier, options.cut_into
    if options.ties == "split":
        return split_at(values, hashes, rank_cuts(ascending, parts), easier)
    if options.thresholds is not None:
        by_value = partial(cut_thresholds, thresholds=options.thresholds, higher_is_easier=easier)
        return [compact_places(by_value(part), parts) for part in values]
    edges = percentile_edges(ascending, parts)
    return [compact_places(cut_at(difficulty(part, easier), edges), parts) for part in values]


def _facts(scanned: Scanned, places: Sequence[PlaceArray], bucket: int, bins: Bins) -> BucketFacts:
    mine: list[BoolArray] = [part == bucket for part in places]

    def take(parts: Iterable[Array]) -> Array:
        chosen = (part[here] for part, here in zip(parts, mine, strict=True))
        return np.concatenate(list(chosen))

    kinds = take(scan.scored for scan in scanned.scans)
    return BucketFacts.of(
        values=take(scan.values for scan in scanned.scans),
        mean_score=float(take(scan.means for scan in scanned.scans).mean()) if len(kinds) else None,
        without_pass=int((kinds & PASSED == 0).sum()),
        all_equal=int((kinds & DIFFERS == 0).sum()),
        bins=bins,
    )


def _cuts(options: BucketOptions, facts: Sequence[BucketFacts]) -> Cuts:
    """Where the buckets meet."""
    inner, easier = options.inner, options.chosen_metric.higher_is_easier
    edges, buckets = meet([fact.range for fact in facts[inner]], easier, options.thresholds)
    if not len(buckets):  # all are at the ends
        buckets = np.zeros(1, np.int64)
    ends = (0, _last(options)) if options.solved_unsolved else None
    return Cuts(edges, buckets + (inner.start or 0), easier, ends)


def _trust(
    options: BucketOptions, scanned: Scanned, places: Sequence[PlaceArray], cuts: Cuts
) -> Trust | None:
    """How far the buckets can be trusted; None where all rollouts are in one."""
    every, sample = np.concatenate(list(places)), scanned.sample
    if every.min() == every.max():
        return None
    own = every[sample.places].astype(np.int64)
    return misplaced(sample.scores, own, cuts, options.chosen_metric, options.parameters)


def compare_metrics(options: BucketOptions, scanned: Scanned) -> list[Likeness]:
    """Compare every two metrics over all rollouts, each cut into as many buckets as are asked
    for."""
    metrics = METRICS | {options.chosen_metric.name: options.chosen_metric}
    values = {
        name: np.concatenate([scan.metrics[name] for scan in scanned.scans]) for name in metrics
    }
    easier = {name: metric.higher_is_easier for name, metric in metrics.items()}
    return compare(values, easier, options.cut_into)
