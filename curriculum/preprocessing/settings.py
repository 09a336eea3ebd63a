"""Settings that flags and manifest give together, and what the steps of a run share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import pyarrow as pa
from msgspec import Struct

from curriculum.choosing.conditions import with_place
from curriculum.choosing.flags import with_group_size
from curriculum.choosing.judge import Asked
from curriculum.engines.progress import Progress
from curriculum.engines.workers import Workers
from curriculum.measures import MetricChoice
from curriculum.metrics import METRICS, MetricParameters, given_value
from curriculum.options import DEFAULT_SCORE_FIELD
from curriculum.output.manifests import BucketingManifest
from curriculum.output.output_directory import OutputDirectory
from curriculum.preprocess_options import PreprocessOptions
from curriculum.preprocessing.bucket_directory import BucketDirectory
from curriculum.preprocessing.split import Split
from curriculum.verl.read_line import Places, ReadOptions
from curriculum.verl.rows import Stage

DATA_SOURCE = "data_source"  # whose mix stays the same along a schedule
# Of staged rows, besides their own columns: the hash of the prompt, and the rollout's position.
HASH, ORDINAL = "curriculum:hash", "curriculum:ordinal"


class Form(Protocol):
    """What the rows of a run have in common: how the names of their files end, the schema of
    parquet files and which of its columns have few distinct values, whether there is a field for
    the batch of a row, and how staged rows become rows of one stage and one split."""

    @property
    def suffix(self) -> str: ...  # noqa: D102
    @property
    def dictionary(self) -> Sequence[str] | None: ...  # noqa: D102
    @property
    def steps(self) -> bool: ...  # noqa: D102
    def schema(self) -> pa.Schema: ...  # noqa: D102
    def finish(  # noqa: D102
        self, batch: pa.RecordBatch, first_index: int, stage: Stage, split: str
    ) -> pa.RecordBatch: ...


class Settings(Struct, frozen=True):
    """What flags and manifest together say about reading, measuring and judging rollouts."""

    read: ReadOptions
    metrics: MetricChoice
    asked: Asked
    warnings: Sequence[str]


def read_settings(options: PreprocessOptions, manifest: BucketingManifest | None) -> Settings:
    """How to read scores and measure difficulty: as in bucketing, unless flags say otherwise."""
    warnings = []
    metric, parameters = None, MetricParameters()
    field, threshold = options.score_field or DEFAULT_SCORE_FIELD, parameters.pass_threshold
    if manifest is not None:
        given = manifest.metric
        field, threshold = options.score_field or given.score_field, given.pass_threshold
        metric = METRICS.get(given.name)
        if given.is_carried:
            metric = given_value(given.name, given.higher_is_easier)
            warnings.append(
                f"these rollouts carry {given.name} in place of scores: it is "
                "difficulty_metrics.value, all else in difficulty_metrics is null, and there is no "
                "best_response."
            )
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
    carried = manifest is not None and manifest.metric.is_carried
    if options.pass_threshold is not None:
        threshold = options.pass_threshold
    read = ReadOptions(
        places=Places(options.prompt_field, options.ground_truth_field),
        score_field=field,
        best_response=options.best_response and not carried,
        ground_truth_format=options.ground_truth_format,
        data_source=options.data_source,
        keep_data_source=options.keep_data_source,
        ability=options.ability,
        seed=options.hash_seed,
    )
    balance, top = options.choice.balance, options.choice.top
    asked = Asked(
        with_group_size(MetricParameters(parameters.k, threshold), options.group_size),
        options.filter,
        with_place(options.conditions, manifest.metric.name if manifest and carried else None),
        top[1] if top else None,
        balance.place if balance else DATA_SOURCE if options.schedule else None,
        group_needed=balance is not None,
    )
    return Settings(read, MetricChoice(metric, parameters, threshold, carried), asked, warnings)


class PreprocessingRun(Struct, frozen=True):
    """What the steps of a run share; `sets` maps names to the numbers of their buckets, `controls`
    the names of those that hold random rows to that of the set beside each. `split` is that of
    earlier sets, if --split-like names any."""

    options: PreprocessOptions
    directory: BucketDirectory
    settings: Settings
    sets: Mapping[str, Sequence[int]]
    controls: Mapping[str, str]
    output: OutputDirectory
    workers: Workers
    progress: Progress
    split: Split | None = None
