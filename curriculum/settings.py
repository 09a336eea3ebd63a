"""What the flags and the bucketing manifest together say about reading and measuring rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from curriculum.convert import MetricChoice
from curriculum.manifests import BucketingManifest
from curriculum.metrics import METRICS, MetricParameters
from curriculum.options import PreprocessOptions
from curriculum.rows import ReadOptions


@dataclass(frozen=True)
class Settings:
    """What the flags and the manifest together say about reading rows."""

    read: ReadOptions
    metrics: MetricChoice
    warnings: Sequence[str]


def settle(options: PreprocessOptions, manifest: BucketingManifest | None) -> Settings:
    """Scores are read, and difficulty is measured, as in bucketing unless flags say otherwise."""
    warnings = []
    field, threshold = options.score_field or "score", 0.5
    metric, parameters = None, MetricParameters()
    if manifest is not None:
        given = manifest.metric
        field, threshold = options.score_field or given.score_field, given.pass_threshold
        metric = METRICS.get(given.name)
        parameters = MetricParameters(given.k, given.pass_threshold)
        if field != given.score_field:
            metric = None
            warnings.append(
                f"the buckets were cut by {given.score_field}, but --score-field is {field}: "
                "difficulty_metrics.value is null. Leave out --score-field to use the manifest's."
            )
        elif metric is None:
            warnings.append(
                f"the buckets were cut by {given.name}, which this toolkit has no formula for: "
                "difficulty_metrics.value is null."
            )
    if options.pass_threshold is not None:
        threshold = options.pass_threshold
    read = ReadOptions(
        score_field=field,
        best_response=options.best_response,
        ground_truth_format=options.ground_truth_format,
        data_source=options.data_source,
        keep_data_source=options.keep_data_source,
        ability=options.ability,
    )
    return Settings(read, MetricChoice(metric, parameters, threshold), warnings)
