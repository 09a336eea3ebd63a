"""`--compare-to`: the rollouts of this run beside those of an earlier bucketing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curriculum.arrays import HashArray
from curriculum.bucketing.passes import BucketingRun
from curriculum.bucketing.rollout_source import RolloutSource
from curriculum.bucketing.scan import Scanned
from curriculum.comparing.cut_like import cut_elsewhere
from curriculum.comparing.earlier import Earlier, read_keys
from curriculum.cutting.assign_buckets import BucketAssignment
from curriculum.cutting.change import Change, Side, compare_sides
from curriculum.cutting.report import ComparedTo
from curriculum.cutting.scored_lines import ScoredLines
from curriculum.errors import InputError, plural
from curriculum.options import BucketOptions
from curriculum.output.manifests import BucketingManifest
from curriculum.storage.paths import to_path

FLAG = "--compare-to"


def open_earlier(options: BucketOptions) -> Earlier | None:
    """The bucketing that --compare-to names; None without that flag. Raises InputError if the two
    cannot be compared."""
    if options.compare_to is None:
        return None
    earlier = Earlier.open(FLAG, to_path(options.compare_to), options.output)
    carried = earlier.manifest.metric.is_carried
    if carried != (options.value_field is not None):
        raise InputError(
            "its rollouts carry a number in place of scores"
            if carried
            else "its rollouts have scores, and those of this run carry a number",
            where=f"{FLAG} {options.compare_to}",
            expected="the same in both",
            fix="compare with a bucketing of the same kind",
        )
    return earlier


@dataclass(frozen=True)
class Comparison:
    """A comparison that is prepared: the earlier bucketing, and the keys of this run's rollouts,
    kept before the prompts of the run are forgotten."""

    earlier: Earlier
    keys: HashArray

    @staticmethod
    def prepare(earlier: Earlier, run: BucketingRun, scanned: Scanned) -> Comparison:
        """Take the keys of this run's rollouts: their prompts, or what --match-key names."""
        if run.options.match_key is None:
            keys = [scan.prompts for scan in scanned.scans]
        else:
            ledger = scanned.ledger
            pairs = list(zip(ledger.shards, ledger.shard_lines, strict=True))
            keys = read_keys(run.workers, pairs, run.options.match_key)
        return Comparison(earlier, np.concatenate([np.zeros(0, np.uint64), *keys]))

    def run(self, run: BucketingRun, scanned: Scanned, assigned: BucketAssignment) -> Change:
        """What changed. Raises InputError if no prompt is in both."""
        options = run.options
        run.progress.step("compare")
        old = self.earlier.read(run.workers, options, options.match_key)
        run.progress.add(self.earlier.bytes)
        new = Side(
            keys=self.keys,
            values=np.concatenate([scan.values for scan in scanned.scans]),
            buckets=np.concatenate(list(assigned.buckets)).astype(np.int64),
            counts=np.concatenate([scan.counts for scan in scanned.scans]),
            passes=np.concatenate([scan.passes for scan in scanned.scans]),
        )
        change = compare_sides(
            old,
            new,
            (len(self.earlier.manifest.buckets), len(options.names)),
            options.chosen_metric.higher_is_easier,
            by_passes=options.value_field is None,
        )
        if not change.compared:
            raise _nothing_in_both(options, change)
        return change

    def told(
        self, change: Change, source: RolloutSource, manifest: BucketingManifest
    ) -> ComparedTo:
        """What a report says of it; `manifest` is that of this run."""
        old = self.earlier.manifest
        places = ScoredLines(source).places([worse.new for worse in change.worse])
        return ComparedTo(old, change, places, cut_elsewhere(old, manifest))


def _nothing_in_both(options: BucketOptions, change: Change) -> InputError:
    by = options.match_key or "prompt"
    if change.several:
        return InputError(
            f"{plural(change.several, 'prompt')} of both, but of each there are several rollouts",
            where=f"{FLAG} {options.compare_to}",
            expected=f"one rollout of each {by}",
            fix="merge them with --group-by prompt, in both rounds, or name a field that tells "
            "them apart with --match-key; nothing was written",
        )
    return InputError(
        f"no {by} of it is among the rollouts of this run ({change.only_old:,} there, "
        f"{change.only_new:,} here)",
        where=f"{FLAG} {options.compare_to}",
        expected="rollouts of the same prompts",
        fix="name a field that is the same in both with --match-key, such as key, or another "
        "directory; nothing was written",
    )
