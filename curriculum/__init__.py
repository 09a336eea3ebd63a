"""Rollouts to an easy-to-hard curriculum: bucket them by difficulty, then write verl parquet.

`bucket_rollouts(BucketOptions(...))` and `preprocess_buckets(PreprocessOptions(...))` do what the
two scripts do; `measure` gives every metric of one rollout, and a `Metric` of one's own can stand
in for a metric's name. Names are loaded when first used: the second pipeline needs pyarrow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from curriculum.bucket import bucket_rollouts
    from curriculum.bucket_summary import bucketing_summary
    from curriculum.bucket_warnings import bucketing_warnings
    from curriculum.errors import CurriculumError, InputError, UsageError
    from curriculum.filters import FILTERS, Filter
    from curriculum.metrics import METRICS, Metric, MetricParameters, Scores, measure
    from curriculum.options import BucketOptions, PreprocessOptions
    from curriculum.preprocess import preprocess_buckets
    from curriculum.preprocess_summary import preprocessing_summary, preprocessing_warnings
    from curriculum.version import __version__

_HOMES = {
    "bucket_rollouts": "bucket",
    "bucketing_summary": "bucket_summary",
    "bucketing_warnings": "bucket_warnings",
    "CurriculumError": "errors",
    "InputError": "errors",
    "UsageError": "errors",
    "FILTERS": "filters",
    "Filter": "filters",
    "METRICS": "metrics",
    "Metric": "metrics",
    "MetricParameters": "metrics",
    "Scores": "metrics",
    "measure": "metrics",
    "BucketOptions": "options",
    "PreprocessOptions": "options",
    "preprocess_buckets": "preprocess",
    "preprocessing_summary": "preprocess_summary",
    "preprocessing_warnings": "preprocess_summary",
    "__version__": "version",
}

__all__ = [
    "FILTERS",
    "METRICS",
    "BucketOptions",
    "CurriculumError",
    "Filter",
    "InputError",
    "Metric",
    "MetricParameters",
    "PreprocessOptions",
    "Scores",
    "UsageError",
    "__version__",
    "bucket_rollouts",
    "bucketing_summary",
    "bucketing_warnings",
    "measure",
    "preprocess_buckets",
    "preprocessing_summary",
    "preprocessing_warnings",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"curriculum.{_HOMES[name]}"), name)
