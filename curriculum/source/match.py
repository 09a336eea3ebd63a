"""Rows and rollouts → which rollouts each row has, and the difficulty that follows.

Works on hashes alone. Rollouts with the same key, or prompt, count together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from curriculum.arrays import BoolArray, CompactIntArray, FloatArray, HashArray, IntArray, take_runs
from curriculum.measures import MetricChoice
from curriculum.metrics import Scores
from curriculum.output.manifests import BucketingManifest
from curriculum.source.keys import NOTHING, PROMPT, TEXT, WAYS, Hashes


class Rollouts(Struct, frozen=True):
    """All rollouts with a score, in order: what they are matched by, the hash of their ground
    truth, their bucket, and their scores."""

    hashes: Hashes
    truths: HashArray
    buckets: CompactIntArray
    scores: Scores


class Match(Struct, frozen=True, dict=True):
    """Rows matched with rollouts.

    `way` is how. `groups` has for each row the number of its group, -1 if it is unmatched. A group
    are the rollouts of one key, or prompt: `first` has its first rollout, `scores` all of theirs
    together. `without_row` are the rollouts whose group no row has.
    """

    way: str
    groups: IntArray
    first: IntArray
    members: IntArray  # the group of each rollout, -1: it has nothing to match by
    scores: Scores
    without_row: IntArray

    @cached_property
    def used(self) -> BoolArray:
        """Whether any row has the group of each rollout."""
        return np.isin(self.members, self.groups[self.groups >= 0])

    @cached_property
    def unmatched(self) -> IntArray:
        """The rows that are in no group."""
        return np.flatnonzero(self.groups < 0)


class GroupVerdict(Struct, frozen=True):
    """The bucket of each group and, if rows are ordered by it, its difficulty. `across` groups have
    rollouts in several buckets."""

    buckets: CompactIntArray
    difficulty: FloatArray
    across: int


def match_rows(rows: Hashes, rollouts: Rollouts, ways: Sequence[str] = WAYS) -> Match:
    """Match by the one of these ways by which the most rows are matched, the first such.

    By text, only what belongs to one prompt of the rollouts is matched: many conversations end with
    the same words.
    """
    if TEXT in ways:
        rollouts = replace(rollouts, hashes=_without_ambiguous(rollouts.hashes))
    counts = [_count(rows[way], rollouts.hashes[way]) for way in ways]
    way = ways[int(np.argmax(counts))]
    found, first, members = _group(rollouts.hashes[way])
    groups = _find(rows[way], found)
    has_row = np.isin(members, groups[groups >= 0])
    scores = _join(rollouts.scores, members, len(found))
    return Match(way, groups, first, members, scores, np.flatnonzero(~has_row))


def _without_ambiguous(hashes: Hashes) -> Hashes:
    """The hashes without those of texts that several prompts end with."""
    pairs = np.unique(np.stack([hashes[TEXT], hashes[PROMPT]]), axis=1)[0]
    several = pairs[1:][pairs[1:] == pairs[:-1]]
    texts = np.where(np.isin(hashes[TEXT], several), np.uint64(NOTHING), hashes[TEXT])
    return {**hashes, TEXT: texts}


def _count(rows: HashArray, rollouts: HashArray) -> int:
    return int((_find(rows, np.unique(rollouts[rollouts != NOTHING])) >= 0).sum())


def _group(hashes: HashArray) -> tuple[HashArray, IntArray, IntArray]:
    """The distinct hashes, ascending, the first rollout with each, and the number of each
    rollout's hash among them, -1 for NOTHING."""
    found, first, numbers = np.unique(hashes, return_index=True, return_inverse=True)
    members = numbers.reshape(-1).astype(np.int64)
    if len(found) and found[0] == NOTHING:
        return found[1:], first[1:], members - 1
    return found, first, members


def _find(hashes: HashArray, among: HashArray) -> IntArray:
    """The position of each hash `among` others, which ascend; -1 where it is not."""
    if not len(among):
        return np.full(len(hashes), -1)
    at = np.minimum(np.searchsorted(among, hashes), len(among) - 1)
    return np.where((among[at] == hashes) & (hashes != NOTHING), at, -1)


def _join(scores: Scores, members: IntArray, count: int) -> Scores:
    """The scores of each group together."""
    order = np.argsort(members, kind="stable")
    order = order[np.searchsorted(members[order], 0) :]
    values = take_runs(scores.values, scores.counts, order)
    of_group = np.bincount(members[order], scores.counts[order], minlength=count)
    return Scores.of_flat(values, of_group.astype(np.int64))


def several_truths(match: Match, truths: HashArray) -> tuple[int, int] | None:
    """Two rollouts of one row whose ground truths differ; None if there are none."""
    there = np.flatnonzero(match.used & (truths != NOTHING))
    order = there[np.argsort(match.members[there], kind="stable")]
    members, found = match.members[order], truths[order]
    wrong = np.flatnonzero((members[1:] == members[:-1]) & (found[1:] != found[:-1]))
    return None if not len(wrong) else (int(order[wrong[0]]), int(order[wrong[0] + 1]))


def group_buckets(
    match: Match, buckets: CompactIntArray, choose: Callable[[IntArray], IntArray]
) -> CompactIntArray:
    """The bucket of each group that a row has: that of its rollouts, or what `choose` says of the
    numbers of those groups whose rollouts lie in several."""
    chosen: CompactIntArray = buckets[match.first].copy()
    some = match.used
    apart = np.unique(match.members[some][buckets[some] != chosen[match.members[some]]])
    if len(apart):
        chosen[apart] = choose(apart)
    return chosen


def first_repeat(hashes: HashArray) -> tuple[int, int] | None:
    """Two positions with one hash other than NOTHING; None if there are none."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    twice = np.flatnonzero((ordered[1:] == ordered[:-1]) & (ordered[1:] != NOTHING))
    return None if not len(twice) else (int(order[twice[0]]), int(order[twice[0] + 1]))


def bucket_by_value(manifest: BucketingManifest, metrics: MetricChoice, scores: Scores) -> IntArray:
    """The bucket whose metric values are nearest: the one that holds the value, if one does. Of two
    equally near, the easier one.

    With --solved-unsolved, only what every response passes is `solved`, and only what none does is
    `unsolved`. Needs the metric that the buckets were cut by.
    """
    assert metrics.metric is not None
    values = metrics.metric.values(scores, metrics.parameters)
    distances = np.array([_distances(values, b.lowest, b.highest) for b in manifest.buckets])
    if manifest.method.solved_unsolved:
        passes = scores.passes(metrics.parameters.pass_threshold)
        distances[0] = np.where(passes == scores.counts, -1, np.inf)
        distances[-1] = np.where(passes == 0, -1, np.inf)
    return np.asarray(distances.argmin(axis=0), np.int64)


def _distances(values: FloatArray, lowest: float | None, highest: float | None) -> FloatArray:
    """How far each value is from a range; infinitely far from that of an empty bucket."""
    if lowest is None or highest is None:
        return np.full(len(values), np.inf)
    far = np.maximum(np.maximum(lowest - values, values - highest), 0)
    return np.where(np.isnan(far), np.inf, far)
