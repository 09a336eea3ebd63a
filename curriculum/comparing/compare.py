"""`--compare-to`: the rollouts of this run beside those of an earlier bucketing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from curriculum.bucketing.passes import BucketingRun
from curriculum.bucketing.rollout_source import RolloutSource
from curriculum.bucketing.scan import Scan, Scanned
from curriculum.comparing.cut_like import why_elsewhere, why_unknown
from curriculum.comparing.earlier import Earlier, Keys, side_of
from curriculum.cutting.assign_buckets import BucketAssignment
from curriculum.cutting.change import Change, Direction, Side, compare_sides
from curriculum.cutting.report import ComparedTo
from curriculum.cutting.scored_lines import ScoredLines
from curriculum.dumps.flags import DIRECTIONS
from curriculum.errors import InputError, plural
from curriculum.metrics import Metric
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
    metric, own = earlier.manifest.metric, options.chosen_metric
    here = own.name if options.value_field is not None else None
    there = metric.name if metric.is_carried else None
    if (here, here and own.higher_is_easier) == (there, there and metric.higher_is_easier):
        return earlier
    words = ("scores" if name is None else f"the number {name}" for name in (there, here))
    found = f"it was bucketed by {next(words)}, and this run by {next(words)}"
    if here == there:
        ways = (
            DIRECTIONS[not easier] for easier in (metric.higher_is_easier, own.higher_is_easier)
        )
        found = f"a higher {here} was {next(ways)} there, and is {next(ways)} here"
    raise InputError(
        found,
        where=f"{FLAG} {options.compare_to}",
        expected="the same in both",
        fix="compare with a bucketing of the same kind",
    )


class Comparison(Struct, frozen=True):
    """A comparison that is prepared: the earlier bucketing and its rollouts, and what those of
    this run are matched by, kept before the prompts of the run are forgotten."""

    earlier: Earlier
    old: Side
    keys: Keys
    scans: Sequence[Scan]

    @staticmethod
    def prepare(earlier: Earlier, run: BucketingRun, scanned: Scanned) -> Comparison:
        """Read the earlier rollouts, and what those of this run are matched by."""
        options = run.options
        keys = Keys.read(run.workers, scanned.ledger, scanned.scans, options.match_key)
        run.progress.step("read earlier")
        old = earlier.read(run.workers, options, options.match_key)
        run.progress.add(earlier.bytes)
        return Comparison(earlier, old, keys, list(scanned.scans))

    def run(self, options: BucketOptions, assigned: BucketAssignment) -> Change:
        """What changed. Raises InputError if no prompt is in both."""
        new = side_of(self.keys, self.scans, np.concatenate(list(assigned.buckets)))
        change = compare_sides(
            self.old,
            new,
            (len(self.earlier.manifest.buckets), len(options.names)),
            _harder(options.chosen_metric),
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
        why = why_elsewhere(str(self.earlier.directory), old, manifest)
        return ComparedTo(old, change, places, why, not why_unknown(old))


def _harder(metric: Metric) -> Direction:
    """Which values of a metric are harder."""
    if metric.name == "variance":
        return Direction.NONE
    return Direction.LOWER if metric.higher_is_easier else Direction.HIGHER


def _nothing_in_both(options: BucketOptions, change: Change) -> InputError:
    by = options.match_key or "prompt"
    found = change.matched
    if found.several:
        return InputError(
            f"{plural(found.several, 'prompt')} of both, but of each there are several rollouts",
            where=f"{FLAG} {options.compare_to}",
            expected=f"one rollout of each {by}",
            fix="merge them with --group-by prompt, in both rounds, or name a field that tells "
            "them apart with --match-key; nothing was written",
        )
    other = "another field" if by == "key" else "a field that is the same in both"
    return InputError(
        f"no {by} of it is among the rollouts of this run ({found.only_old:,} there, "
        f"{found.only_new:,} here)",
        where=f"{FLAG} {options.compare_to}",
        expected="rollouts of the same prompts",
        fix=f"name {other} with --match-key{'' if by == 'key' else ', such as key'}, or another "
        "directory; nothing was written",
    )
