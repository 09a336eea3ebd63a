"""Rollouts to an easy-to-hard curriculum: bucket them by difficulty, then write verl parquet.

`bucket_rollouts(BucketOptions(...))` and `preprocess_buckets(PreprocessOptions(...))` do what the
two scripts do. `mean_reward([1, 0, 1])` and the other metrics work on the scores of one rollout,
`measure` gives all of them, and a `Metric` of your own can stand in for a metric's name. Names are
loaded when first used: the second pipeline needs pyarrow, which takes long to load.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if sys.version_info < (3, 10):  # noqa: UP036, whoever starts a script from a checkout may have one
    raise SystemExit(
        f"error: {sys.executable} is Python {sys.version_info[0]}.{sys.version_info[1]}, expected "
        "3.10 or newer;\nrun this with a newer one, such as python3.12"
    )

if TYPE_CHECKING:
    from curriculum.bucket import bucket_rollouts
    from curriculum.errors import CurriculumError, InputError, UsageError
    from curriculum.filters import FILTERS, Filter
    from curriculum.metrics import (
        METRICS,
        Metric,
        MetricParameters,
        Scores,
        max_reward,
        mean_reward,
        measure,
        min_reward,
        pass_at_k,
        success_rate,
        variance,
    )
    from curriculum.options import BucketOptions
    from curriculum.preprocess import preprocess_buckets
    from curriculum.preprocess_options import PreprocessOptions
    from curriculum.reports.bucketing_summary import bucketing_summary
    from curriculum.reports.bucketing_warnings import bucketing_warnings
    from curriculum.reports.preprocessing_summary import preprocessing_summary
    from curriculum.reports.preprocessing_warnings import preprocessing_warnings
    from curriculum.version import __version__

_MODULES = {
    "bucket": ("bucket_rollouts",),
    "errors": ("CurriculumError", "InputError", "UsageError"),
    "filters": ("FILTERS", "Filter"),
    "metrics": (
        "METRICS", "Metric", "MetricParameters", "Scores", "max_reward", "mean_reward", "measure",
        "min_reward", "pass_at_k", "success_rate", "variance",
    ),
    "options": ("BucketOptions",),
    "preprocess": ("preprocess_buckets",),
    "preprocess_options": ("PreprocessOptions",),
    "reports.bucketing_summary": ("bucketing_summary",),
    "reports.bucketing_warnings": ("bucketing_warnings",),
    "reports.preprocessing_summary": ("preprocessing_summary",),
    "reports.preprocessing_warnings": ("preprocessing_warnings",),
    "version": ("__version__",),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

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
    "max_reward",
    "mean_reward",
    "measure",
    "min_reward",
    "pass_at_k",
    "preprocess_buckets",
    "preprocessing_summary",
    "preprocessing_warnings",
    "success_rate",
    "variance",
]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"curriculum.{_MODULE_OF[name]}"), name)
