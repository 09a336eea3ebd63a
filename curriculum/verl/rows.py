"""Rows in verl's form: the one schema of a run, and their Arrow columns.

Every file of a run has the same schema, so all of them load together, in any order, with every
version of the datasets library that verl's users have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
from msgspec import Struct

from curriculum.arrays import FloatArray, IntArray
from curriculum.measures import Measures
from curriculum.storage.arrow_arrays import (
    int64_values,
    integers,
    lists,
    numbers,
    repeated,
    structs,
)
from curriculum.storage.parquet_files import DICTIONARY_COLUMNS
from curriculum.verl.row_batch import MESSAGE_FIELDS, RowBatch
from curriculum.verl.value_types import ValueType, arrow_array
from curriculum.verl.values import Values, as_list

# verl calls .get on these, so they stay structs even if their keys differ.
STRUCT_FIELDS = ("tools_kwargs", "interaction_kwargs")
STEP = "curriculum_step"  # with a schedule, the batch of verl that a row is meant for, from 0
OUR_FIELDS = (
    "split", "index", "key", "curriculum_stage", "curriculum_stage_index", STEP,
    "difficulty_metrics", "best_response",
)  # fmt: skip
# verl's reward manager and agent loop write their own values to these fields of extra_info.
VERL_FIELDS = ("num_turns", "rollout_reward_scores", "turn_scores", "tool_rewards")
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


class OwnField(Struct, frozen=True):
    """A field of the rollouts' own extra_info: its name there, its name in the row, its type."""

    source: str
    name: str
    type: ValueType


class RowForm(Struct, frozen=True):
    """What the rows of a run have in common; the schema follows from it.

    `kept` are the fields of a message beside role and content: none, unless a prompt has any. With
    `steps` there is a field for the batch that a row is meant for, null here.
    """

    ground_truth: ValueType
    own_fields: tuple[OwnField, ...]
    best_response: bool
    kept: tuple[tuple[str, ValueType], ...] = ()
    steps: bool = False
    suffix: ClassVar[str] = ".parquet"
    dictionary: ClassVar[Sequence[str]] = DICTIONARY_COLUMNS

    def finish(
        self, batch: pa.RecordBatch, first_index: int, stage: Stage, split: str
    ) -> pa.RecordBatch:
        """Complete staged rows: the columns of `build_rows` and, as the last one, the position of
        each row after `first_index`."""
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        indexes = first_index + int64_values(batch.columns[-1])
        return finish_rows(columns, indexes, self, stage, split)

    def extra_info_type(self) -> pa.StructType:
        """The type of extra_info: our fields, then the rollouts' own fields, sorted by name."""
        types = [
            ("split", pa.string()),
            ("index", pa.int64()),
            ("key", pa.string()),
            ("curriculum_stage", pa.string()),
            ("curriculum_stage_index", pa.int64()),
            *([(STEP, pa.int64())] if self.steps else []),
            ("difficulty_metrics", DIFFICULTY_METRICS),
        ]
        if self.best_response:
            types.append(("best_response", BEST_RESPONSE))
        types.extend((field.name, field.type.arrow_type) for field in self.own_fields)
        return pa.struct(types)

    def reward_model_type(self) -> pa.StructType:
        """The type of reward_model."""
        return pa.struct([("style", pa.string()), ("ground_truth", self.ground_truth.arrow_type)])

    def message_type(self) -> pa.StructType:
        """The type of a message."""
        kept = [(name, type_.arrow_type) for name, type_ in self.kept]
        return pa.struct([*MESSAGE_FIELDS, *kept])

    def schema(self) -> pa.Schema:
        """The schema of every file of the run."""
        return pa.schema(
            [
                ("data_source", pa.string()),
                ("prompt", pa.list_(self.message_type())),
                ("ability", pa.string()),
                ("reward_model", self.reward_model_type()),
                ("extra_info", self.extra_info_type()),
            ]
        )


def name_own_fields(sources: Iterable[str]) -> dict[str, str]:
    """Map the names of the rollouts' own extra_info fields to their names in a row.

    A field with the name of one of ours, or of one that verl overwrites, becomes source_<name>; the
    prefix is repeated while that name is taken too.
    """
    names = set(sources)
    renamed = {}
    for source in sorted(names):
        name = source
        while name in (*OUR_FIELDS, *VERL_FIELDS) or (name != source and name in names):
            name = f"source_{name}"
        renamed[source] = name
    return renamed


class Stage(Struct, frozen=True):
    """The bucket that rows come from, and its number in the curriculum (0 is the easiest)."""

    name: str
    index: int


def build_rows(rows: RowBatch, measures: Measures, form: RowForm) -> dict[str, pa.Array]:
    """The columns that depend on the rollouts alone, not on split, index or stage, by name.

    Each field of extra_info is a column of its own.
    """
    columns = {
        "data_source": rows.data_sources,
        "prompt": _prompts(rows, form) if form.kept else rows.prompts,
        "ability": rows.abilities,
        "ground_truth": arrow_array(rows.ground_truths, form.ground_truth),
        "key": rows.keys,
        "difficulty_metrics": difficulty_metrics(measures),
    }
    if form.best_response:
        columns["best_response"] = _best_responses(rows, measures.numbers["max_score"])
    return columns | {
        f"own_{i}": _own_column(rows.own_column(field.source).values, field)
        for i, field in enumerate(form.own_fields)
    }


def finish_rows(
    columns: Mapping[str, pa.Array], indexes: IntArray, form: RowForm, stage: Stage, split: str
) -> pa.RecordBatch:
    """Complete rows from `build_rows`, of one stage and one split, in the run's schema."""
    count = len(indexes)
    reward_model = pa.StructArray.from_arrays(
        [repeated("rule", count), columns["ground_truth"]], fields=list(form.reward_model_type())
    )
    children = [
        repeated(split, count),
        integers(indexes),
        columns["key"],
        repeated(stage.name, count),
        integers(np.full(count, stage.index)),
        *([pa.nulls(count, pa.int64())] if form.steps else []),
        columns["difficulty_metrics"],
    ]
    if form.best_response:
        children.append(columns["best_response"])
    children.extend(columns[f"own_{i}"] for i in range(len(form.own_fields)))
    extra_info = pa.StructArray.from_arrays(children, fields=list(form.extra_info_type()))
    return pa.RecordBatch.from_arrays(
        [columns["data_source"], columns["prompt"], columns["ability"], reward_model, extra_info],
        schema=form.schema(),
    )


def _prompts(rows: RowBatch, form: RowForm) -> pa.Array:
    """The prompts with what their messages keep, null in a message that lacks it."""
    counts = np.diff(rows.prompts.offsets.to_numpy())
    kept = [
        keys
        for some, count in zip(as_list(rows.kept), counts.tolist(), strict=True)
        for keys in some or [{}] * count
    ]
    messages = rows.prompts.flatten()
    children = [messages.field(0), messages.field(1)]
    children += [arrow_array([keys.get(name) for keys in kept], type_) for name, type_ in form.kept]
    return lists(counts, structs(form.message_type(), children, None))


def _own_column(values: Values, field: OwnField) -> pa.Array:
    if field.source in STRUCT_FIELDS and field.type.fields:
        values = [value or {} for value in as_list(values)]  # verl calls .get on it in every row
    return arrow_array(values, field.type)


def difficulty_metrics(measures: Measures) -> pa.Array:
    """The column of that name."""
    values = [measures.numbers[field.name] for field in list(DIFFICULTY_METRICS)[1:-1]]
    children = [
        repeated(measures.metric, len(measures.num_responses)),
        *(numbers(value, ~np.isnan(value)) for value in values),
        integers(measures.num_responses),
    ]
    return structs(DIFFICULTY_METRICS, children, None)


def _best_responses(rows: RowBatch, scores: FloatArray) -> pa.Array:
    children = [
        integers(rows.best_indexes),
        numbers(scores),
        rows.best_contents,
        rows.best_rewards,
    ]
    return structs(BEST_RESPONSE, children, None)
