"""`--cut-like`: an earlier bucketing → the options that cut as it did, so that `hard` means the
same in every round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from curriculum.bucket_names import name_buckets
from curriculum.comparing.earlier import load_earlier
from curriculum.dumps.flags import DIRECTIONS
from curriculum.errors import InputError, UsageError
from curriculum.metrics import METRICS, PASS_AT_K, RATES, Metric, MetricParameters
from curriculum.options import BucketOptions
from curriculum.output.journal import recover_to_read
from curriculum.output.manifests import BucketingManifest, BucketRecord
from curriculum.storage.paths import to_path

FLAG = "--cut-like"


def cut_like(options: BucketOptions) -> tuple[BucketOptions, BucketingManifest | None]:
    """The options with the metric, its parameters, the cuts and the names of the bucketing that
    --cut-like names, and its manifest; the options themselves and None without that flag.

    Raises UsageError for flags that say otherwise, and InputError for a bucketing whose cuts are
    not known.
    """
    if options.cut_like is None:
        return options, None
    directory = to_path(options.cut_like)
    recover_to_read(directory)
    old = load_earlier(FLAG, directory)
    metric, default = old.metric, MetricParameters()
    thresholds = thresholds_of(options.cut_like, old)
    rule = metric_rule(old)
    found: dict[str, Any] = {
        "pass_threshold": None
        if metric.is_carried or metric.pass_threshold == default.pass_threshold
        else metric.pass_threshold,
        "thresholds": thresholds or None,
        "num_buckets": len(thresholds) + 1,
        "ties": "together",
        "within": None,
        "bucket_names": _names(old),
        "solved_unsolved": old.method.solved_unsolved,
    }
    if not metric.is_carried:
        found["metric"] = _metric(options, old)
    else:
        found["value_direction"] = DIRECTIONS[not metric.higher_is_easier]
    _check_carried(options, old)
    if "k" in rule:
        found["k"] = metric.k
    for name, value in (found | {"pass_threshold": metric.pass_threshold}).items():
        _check_given(options, name, value)
    return replace(options, **found), old


def thresholds_of(directory: str, old: BucketingManifest) -> tuple[float, ...]:
    """The metric values at which a bucketing was cut, ascending. Percentiles cut halfway between
    the values on either side. Raises InputError if they are not known."""
    if why := why_unknown(old):
        raise InputError(
            why,
            where=f"{FLAG} {directory}",
            expected="buckets that values of the metric separate",
            fix="cut both rounds at values of your choice, with --thresholds",
        )
    if old.method.thresholds is not None:
        return old.method.thresholds
    inner = old.buckets[old.method.inner]
    ascending = list(reversed(inner)) if old.metric.higher_is_easier else list(inner)
    return tuple(_between(low, high) for low, high in pairwise(ascending))


def why_unknown(old: BucketingManifest) -> str:
    """Why it is not known at which values a bucketing was cut; empty if it is."""
    method = old.method
    if method.thresholds is not None:
        return ""
    if why := why_by_other_than_value(old):
        return why
    empty = [bucket.name for bucket in old.buckets[method.inner] if not bucket.count]
    return f"{empty[0]} is empty, so nothing says where it begins" if empty else ""


def why_by_other_than_value(old: BucketingManifest) -> str:
    """Why rollouts of one value may be in several buckets; empty if they are not."""
    if old.method.within:
        return f"it was cut within each {old.method.within}, at other values each"
    if old.method.ties == "split":
        return "it was cut with --ties split, between rollouts of one value"
    return ""


def why_elsewhere(directory: str, old: BucketingManifest, new: BucketingManifest) -> str:
    """Why a rollout with the same scores may be in different buckets of the two, whatever these are
    called; empty if it may not."""
    if (
        metric_rule(old) != metric_rule(new)
        or old.method.solved_unsolved != new.method.solved_unsolved
    ):
        return f"{directory} was cut by another rule than this run"
    by_value = not why_by_other_than_value(old) and not why_by_other_than_value(new)
    if (by_value or old.inputs == new.inputs) and _held(old) == _held(new):
        return ""
    if why := why_unknown(old) or why_unknown(new):
        return f"the values at which both were cut are not known ({why})"
    same = thresholds_of("", old) == thresholds_of("", new)
    return "" if same else f"{directory} was cut at other values than this run"


def metric_rule(manifest: BucketingManifest) -> dict[str, object]:
    """What the values of a bucketing's metric follow from, beside the scores, and which rollouts
    are solved or unsolved, if these are apart, by the names that MetricRecord has. A parameter
    without effect on them is left out."""
    metric = manifest.metric
    rule: dict[str, object] = {"name": metric.name, "higher_is_easier": metric.higher_is_easier}
    if metric.is_carried:
        return rule
    own = metric.name not in METRICS  # which may go by either
    if own or metric.name == PASS_AT_K:
        rule["k"] = metric.k
    if own or metric.name in RATES or manifest.method.solved_unsolved:
        rule["pass_threshold"] = metric.pass_threshold
    return rule


def _held(manifest: BucketingManifest) -> list[tuple[object, ...]]:
    return [(bucket.count, bucket.lowest, bucket.highest) for bucket in manifest.buckets]


def _between(low: BucketRecord, high: BucketRecord) -> float:
    """A value that belongs to the lower bucket, as far from both as can be."""
    assert low.highest is not None
    assert high.lowest is not None
    middle = float(f"{low.highest / 2 + high.lowest / 2:.12g}")
    return middle if low.highest <= middle < high.lowest else low.highest


def _names(old: BucketingManifest) -> tuple[str, ...]:
    """The names as --bucket-names takes them. Raises InputError if they are in no order."""
    names = tuple(bucket.name for bucket in old.buckets[old.method.inner])
    easier = old.metric.higher_is_easier
    orders = (names, names[::-1])
    for given in orders:
        if _named(given, easier) == names:
            return given
    raise InputError(
        f"its buckets are called {' '.join(names)}, which is not their order",
        where=FLAG,
        expected="names that run from easy to hard",
        fix="bucket with --thresholds and names of your choice",
    )


def _named(given: tuple[str, ...], higher_is_easier: bool) -> tuple[str, ...] | None:
    """What buckets of these names are called, easiest first; None if that is refused."""
    try:
        return name_buckets(len(given), given, higher_is_easier)
    except UsageError:
        return None


def _metric(options: BucketOptions, old: BucketingManifest) -> str | Metric:
    if isinstance(options.metric, Metric) and options.metric.name == old.metric.name:
        return options.metric
    if old.metric.name not in METRICS:
        raise InputError(
            f"it was bucketed by {old.metric.name}, which is no metric of the toolkit",
            where=f"{FLAG} {options.cut_like}",
            expected="one of " + ", ".join(METRICS),
            fix="give BucketOptions that Metric",
        )
    return old.metric.name


def _check_carried(options: BucketOptions, old: BucketingManifest) -> None:
    """Raise UsageError unless both or neither bucket by the same number that lines carry."""
    carried = old.metric.name if old.metric.is_carried else None
    given = options.value_field
    if given is None and options.value_counts is not None:
        given = options.value_counts
    if (carried is None) == (given is None) and carried in (None, options.value_field):
        return
    raise UsageError(
        f"{options.cut_like} was bucketed by {'scores' if carried is None else carried}",
        where="--value-field" if carried is None else FLAG,
        expected="the same here",
        fix="leave it out" if carried is None else f"add --value-field {carried} as there",
    )


def _check_given(options: BucketOptions, name: str, value: object) -> None:
    """Raise UsageError for a flag that is given beside --cut-like and says otherwise."""
    given = getattr(options, name)
    if given is None or given is False:
        return
    shown, said = _words(given), _words(value)
    if shown == said:
        return
    raise UsageError(
        f"it is {shown}, and {FLAG} {options.cut_like} says {said or 'nothing of it'}",
        where=f"--{name.replace('_', '-')}",
        expected="what the earlier bucketing has",
        fix="leave out one of the two",
    )


def _words(value: object) -> str:
    if isinstance(value, Metric):
        return value.name
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(map(_words, value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.12g}"
    if value is True:
        return "asked for"
    return "" if value is None or value is False else str(value)
