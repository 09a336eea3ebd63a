"""What a person wants to know of a bucketing run, beside its manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field

from curriculum.bucketing.repeats import Repeats
from curriculum.cutting.assign_buckets import BucketFacts, GroupCounts
from curriculum.cutting.change import Change
from curriculum.dumps.detect import Dump
from curriculum.metrics import PASS_AT_K
from curriculum.options import BucketOptions
from curriculum.output.manifests import BucketingManifest
from curriculum.reading.truths import SeveralTruths
from curriculum.statistics.bins import Bins
from curriculum.statistics.cuts import Cuts
from curriculum.statistics.metric_agreement import MetricAgreement
from curriculum.statistics.uncertainty import Uncertainty
from curriculum.storage.paths import AnyPath

if TYPE_CHECKING:
    from curriculum.cutting.further_responses import FurtherResponses


class ComparedTo(Struct, frozen=True):
    """An earlier bucketing: its manifest, what changed since, where the prompts are that got
    harder (`file:line` by number of the rollout), why a prompt may be in another bucket and be as
    hard as before (empty if it may not), and whether --cut-like of it is possible."""

    manifest: BucketingManifest
    change: Change
    places: Mapping[int, str]
    cut_elsewhere: str
    can_cut_like: bool


class BucketingReport(Struct, frozen=True):
    """A bucketing run: its manifest and what else a person wants to know about it.

    `distinct` counts the metric's distinct values outside `solved` and `unsolved`; `responses`
    counts all reward entries, and their scores run from `lowest` to `highest`. `in_several` counts
    the prompts that lie in several buckets, `truths` those with several ground truths, of which
    `truth_places` has an example as `file:line`. `dataset` is what to call the input.
    `missing_scores`, `unscored` and `malformed` map file paths to counts, without files that have
    none. `groups` says how many rollouts of each data_source, or of what --within names, lie in
    which bucket. `likely_prompt` is a field that may hold the prompt, where rollouts have none.
    `would_refuse` says what preprocessing would refuse. `like` is the manifest of the bucketing
    that gave the cuts.
    """

    options: BucketOptions
    manifest: BucketingManifest
    facts: Sequence[BucketFacts]
    distinct: int
    responses: int
    lowest: float
    highest: float
    repeats: Repeats
    in_several: int
    truths: SeveralTruths
    truth_places: Sequence[str]
    groups: Sequence[GroupCounts]
    absent: Mapping[str, tuple[int, int]]
    bins: Bins
    cuts: Cuts
    dataset: str
    uncertainty: Uncertainty | None = None
    comparison: Sequence[MetricAgreement] | None = None
    further: FurtherResponses | None = None
    compared: ComparedTo | None = None
    like: BucketingManifest | None = None
    missing_scores: dict[str, int] = field(default_factory=dict)
    unscored: dict[str, int] = field(default_factory=dict)
    malformed: dict[str, int] = field(default_factory=dict)
    malformed_kinds: Counter[str] = field(default_factory=Counter)
    dump: Dump | None = None
    likely_prompt: str | None = None
    would_refuse: Sequence[str] = ()
    warnings: Sequence[str] = ()

    @property
    def output(self) -> AnyPath:
        """The directory of the buckets; the current one for a dry run without any."""
        return self.options.output or Path()

    @property
    def dry_run(self) -> bool:
        """Whether no bucket was written."""
        return self.options.dry_run

    @property
    def carried(self) -> bool:
        """Whether rollouts carry a number in place of scores."""
        return self.manifest.metric.is_carried

    @property
    def metric_label(self) -> str:
        """The metric's name; pass_at_k becomes pass@ and its k."""
        metric = self.manifest.metric
        is_ours = metric.name == PASS_AT_K and not metric.is_carried
        return f"pass@{metric.k}" if is_ours else metric.name
