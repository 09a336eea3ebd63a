"""Rows in the form verl reads: the one schema of a run, Arrow columns, parquet files.

Every file of a run has the same schema, so any of them load together, in any order, with every
version of the datasets library that verl's users have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curriculum.arrays import FloatArray, IntArray
from curriculum.prompts import Message
from curriculum.rollouts import Response
from curriculum.rows import Columns
from curriculum.shapes import Plan

# verl calls .get on these, so they stay structs whatever their keys.
STRUCT_FIELDS = ("tools_kwargs", "interaction_kwargs")
OUR_FIELDS = (
    "split", "index", "key", "curriculum_stage", "curriculum_stage_index", "difficulty_metrics",
    "best_response",
)  # fmt: skip
GROUP_ROWS = 1_000
GROUP_BYTES = 64_000_000

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
DIFFICULTY_METRICS = pa.struct(
    [
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("mean_score", pa.float64()),
        ("max_score", pa.float64()),
        ("min_score", pa.float64()),
        ("score_variance", pa.float64()),
        ("success_rate", pa.float64()),
        ("num_responses", pa.int64()),
    ]
)
BEST_RESPONSE = pa.struct(
    [
        ("index", pa.int64()),
        ("score", pa.float64()),
        ("content", pa.string()),
        ("reward", pa.string()),
    ]
)
# Columns of few distinct values; in all others a dictionary costs time and saves nothing.
DICTIONARY_COLUMNS = [
    "data_source",
    "prompt.list.element.role",
    "ability",
    "reward_model.style",
    "extra_info.split",
    "extra_info.curriculum_stage",
    "extra_info.curriculum_stage_index",
    "extra_info.difficulty_metrics.metric",
    "extra_info.difficulty_metrics.num_responses",
]


@dataclass(frozen=True)
class OwnField:
    """A field of the rollouts' own extra_info: its name there, its name in the row, its type."""

    source: str
    name: str
    plan: Plan


@dataclass(frozen=True)
class RowForm:
    """What the rows of a run have in common; the schema follows from it."""

    ground_truth: Plan
    own_fields: tuple[OwnField, ...]
    best_response: bool

    def extra_info_type(self) -> pa.StructType:
        """The type of extra_info: our fields, then the rollouts' own, sorted."""
        types = [
            ("split", pa.string()),
            ("index", pa.int64()),
            ("key", pa.string()),
            ("curriculum_stage", pa.string()),
            ("curriculum_stage_index", pa.int64()),
            ("difficulty_metrics", DIFFICULTY_METRICS),
        ]
        if self.best_response:
            types.append(("best_response", BEST_RESPONSE))
        types.extend((field.name, field.plan.arrow_type()) for field in self.own_fields)
        return pa.struct(types)

    def reward_model_type(self) -> pa.StructType:
        """The type of reward_model."""
        return pa.struct([("style", pa.string()), ("ground_truth", self.ground_truth.arrow_type())])

    def schema(self) -> pa.Schema:
        """The schema of every file of the run."""
        return pa.schema(
            [
                ("data_source", pa.string()),
                ("prompt", pa.list_(MESSAGE)),
                ("ability", pa.string()),
                ("reward_model", self.reward_model_type()),
                ("extra_info", self.extra_info_type()),
            ]
        )


def name_own_fields(sources: Iterable[str]) -> dict[str, str]:
    """Row names for the rollouts' own extra_info fields: one that has the name of ours becomes
    source_<name>, and again if that is taken too."""
    names = set(sources)
    renamed = {}
    for source in sorted(names):
        name = source
        while name in OUR_FIELDS or (name != source and name in names):
            name = f"source_{name}"
        renamed[source] = name
    return renamed


@dataclass(frozen=True)
class Stage:
    """The bucket that rows come from, and its place in the curriculum (0 the easiest)."""

    name: str
    index: int


@dataclass(frozen=True)
class Measures:
    """What difficulty_metrics and best_response hold in numbers, one entry per row; `numbers` by
    field name, NaN where undefined."""

    metric: str | None
    numbers: dict[str, FloatArray]
    num_responses: IntArray


def build_table(
    rows: Columns, indexes: IntArray, measures: Measures, form: RowForm, stage: Stage, split: str
) -> pa.Table:
    """Rows of one stage and side as an Arrow table with the run's schema."""
    count = len(rows.prompts)
    reward_model = pa.StructArray.from_arrays(
        [_repeat("rule", count), _column(rows.ground_truths, form.ground_truth)],
        fields=list(form.reward_model_type()),
    )
    children = [
        _repeat(split, count),
        pa.array(indexes, pa.int64()),
        pa.array(rows.keys, pa.string()),
        _repeat(stage.name, count),
        pa.array(np.full(count, stage.index), pa.int64()),
        _difficulty_metrics(measures, count),
    ]
    if form.best_response:
        children.append(_best_responses(rows.best, measures.numbers["max_score"]))
    children.extend(_own_column(rows.extra_infos, field) for field in form.own_fields)
    extra_info = pa.StructArray.from_arrays(children, fields=list(form.extra_info_type()))
    columns = [
        pa.array(rows.data_sources, pa.string()),
        _prompts(rows.prompts),
        pa.array(rows.abilities, pa.string()),
        reward_model,
        extra_info,
    ]
    return pa.Table.from_arrays(columns, schema=form.schema())


def _repeat(text: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, pa.string()), count)


def _column(values: Sequence[Any], plan: Plan) -> pa.Array:
    if not plan.plain:
        values = [plan.convert(value) for value in values]
    return pa.array(values, plan.arrow_type())


def _own_column(extra_infos: Sequence[dict[str, Any]], field: OwnField) -> pa.Array:
    values = [info.get(field.source) for info in extra_infos]
    if field.source in STRUCT_FIELDS and field.plan.fields:
        values = [value or {} for value in values]  # verl calls .get on it in every row
    return _column(values, field.plan)


def _prompts(prompts: Sequence[Sequence[Message]]) -> pa.Array:
    offsets = np.zeros(len(prompts) + 1, dtype=np.int32)
    np.cumsum([len(messages) for messages in prompts], out=offsets[1:])
    flat = [message for messages in prompts for message in messages]
    roles = pa.array([message.role for message in flat], pa.string())
    contents = pa.array([message.content for message in flat], pa.string())
    messages = pa.StructArray.from_arrays([roles, contents], fields=list(MESSAGE))
    return pa.ListArray.from_arrays(pa.array(offsets), messages)


def _difficulty_metrics(measures: Measures, count: int) -> pa.Array:
    numbers = [
        pa.array(measures.numbers[field.name], pa.float64(), from_pandas=True)  # NaN becomes null
        for field in list(DIFFICULTY_METRICS)[1:-1]
    ]
    metric = pa.array([measures.metric] * count, pa.string())
    responses = pa.array(measures.num_responses, pa.int64())
    return pa.StructArray.from_arrays(
        [metric, *numbers, responses], fields=list(DIFFICULTY_METRICS)
    )


def _best_responses(best: Sequence[Response | None], scores: FloatArray) -> pa.Array:
    columns = [
        pa.array([one.index if one else None for one in best], pa.int64()),
        pa.array(scores, pa.float64()),
        pa.array([one.content if one else None for one in best], pa.string()),
        pa.array([one.reward if one else None for one in best], pa.string()),
    ]
    return pa.StructArray.from_arrays(columns, fields=list(BEST_RESPONSE))


def read_prompts(table: pa.Table) -> list[list[Message]]:
    """The prompts that a table of rows holds."""
    found = []
    for prompts in table.column("prompt").chunks:
        messages = prompts.flatten()
        roles, contents = (messages.field(i).to_pylist() for i in range(2))
        flat = list(map(Message, roles, contents))
        ends = np.cumsum(prompts.value_lengths().to_numpy()).tolist()
        found += [flat[start:end] for start, end in pairwise([0, *ends])]
    return found


def plan_groups(row_bytes: IntArray) -> list[int]:
    """Rows per row group: at most GROUP_ROWS, and GROUP_BYTES unless one row alone has more.

    `row_bytes` bounds the size of each row. The groups depend on the rows alone, never on shards.
    """
    ends = np.cumsum(row_bytes)
    groups, first, before = [], 0, 0
    while first < len(ends):
        fits = int(np.searchsorted(ends, before + GROUP_BYTES, side="right")) - first
        rows = max(1, min(fits, GROUP_ROWS))
        groups.append(rows)
        first += rows
        before = int(ends[first - 1])
    return groups


def write_parquet(
    path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], groups: Sequence[int]
) -> None:
    """Write rows to a parquet file in the given row groups, with no library's metadata."""
    with pq.ParquetWriter(
        str(path),
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=DICTIONARY_COLUMNS,
        store_schema=False,
    ) as writer:
        for group in _regroup(batches, groups):
            writer.write_table(pa.Table.from_batches(group, schema))


def _regroup(
    batches: Iterable[pa.RecordBatch], groups: Sequence[int]
) -> Iterator[list[pa.RecordBatch]]:
    """The same rows in lists of batches, one list per group."""
    stream = (batch for batch in batches if len(batch))
    rest: pa.RecordBatch | None = None
    for wanted in groups:
        group, missing = [], wanted
        while missing:
            batch = rest if rest is not None else next(stream)
            group.append(batch.slice(0, missing))
            rest = batch.slice(missing) if len(batch) > missing else None
            missing -= len(group[-1])
        yield group


def column_sizes(path: Path) -> Counter[str]:
    """Compressed bytes of each column of a file; extra_info counts field by field."""
    sizes: Counter[str] = Counter()
    metadata = pq.read_metadata(str(path))
    for group in range(metadata.num_row_groups):
        for i in range(metadata.num_columns):
            column = metadata.row_group(group).column(i)
            parts = column.path_in_schema.split(".")
            name = ".".join(parts[:2]) if parts[0] == "extra_info" else parts[0]
            sizes[name] += column.total_compressed_size
    return sizes


def count_rows(path: Path) -> int:
    """The rows of a parquet file, as its own footer has them."""
    return int(pq.read_metadata(str(path)).num_rows)
