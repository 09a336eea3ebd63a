"""The schema of a data set → that of its sets, with what is added to each row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from msgspec import Struct

from curriculum.arrays import IntArray
from curriculum.errors import InputError
from curriculum.measures import Measures
from curriculum.storage.arrow_arrays import integers, structs, texts
from curriculum.verl.rows import DIFFICULTY_METRICS, STEP, Stage, difficulty_metrics

EXTRA_INFO = "extra_info"
ADDED = (
    pa.field("curriculum_stage", pa.string()),
    pa.field("curriculum_stage_index", pa.int64()),
    pa.field("difficulty_metrics", DIFFICULTY_METRICS),
)
HF = b"huggingface"  # the key of what the datasets library says of the columns


class SourceForm(Struct, frozen=True):
    """The form of the rows of a data set: the schema of its files, as Arrow writes it, and whether
    the difficulty is added to them, in extra_info if that is a struct, otherwise in columns of
    their own; with `steps` also the batch that a row is meant for, null here."""

    written_schema: bytes  # a schema that is pickled loses the names of some nested fields
    annotate: bool
    suffix: str
    steps: bool = False
    dictionary: ClassVar[None] = None

    @property
    def source(self) -> pa.Schema:
        """The schema of the files."""
        return _read_schema(self.written_schema)

    @property
    def added(self) -> tuple[pa.Field, ...]:
        """The fields that are added to each row."""
        return (*ADDED, *([pa.field(STEP, pa.int64())] if self.steps else []))

    @property
    def in_extra_info(self) -> bool:
        """Whether what is added goes into extra_info."""
        index = self.source.get_field_index(EXTRA_INFO)
        return bool(index >= 0 and pa.types.is_struct(self.source.field(index).type))

    def check(self, where: object) -> None:
        """Raise InputError if what is added has a name that is taken."""
        if not self.annotate:
            return
        inside = self.in_extra_info
        names = {field.name for field in self.source.field(EXTRA_INFO).type} if inside else None
        there = self.source.names if names is None else names
        taken = [field.name for field in self.added if field.name in there]
        if taken:
            places = [f"{EXTRA_INFO}.{name}" if inside else name for name in taken]
            raise InputError(
                f"its rows have {' and '.join(places)} already",
                where=where,
                expected="these names to be free: the difficulty is added under them",
                fix="rename or drop them there, or pass --no-annotate to add nothing",
            )

    def schema(self) -> pa.Schema:
        """The schema of every file of the run."""
        if not self.annotate:
            return self.source
        fields = list(self.source)
        if self.in_extra_info:
            at = self.source.get_field_index(EXTRA_INFO)
            own = fields[at]
            fields[at] = own.with_type(pa.struct([*own.type, *self.added]))
        else:
            fields += self.added
        metadata = _metadata(self.source.metadata, self.in_extra_info, self.added)
        return pa.schema(fields, metadata=metadata)

    def finish(
        self, batch: pa.RecordBatch, first_index: int, stage: Stage, split: str
    ) -> pa.RecordBatch:
        """Staged rows without what only their staging needs: the rest is done."""
        schema = self.schema()
        return pa.RecordBatch.from_arrays(batch.columns[: len(schema)], schema=schema)

    def annotated(
        self, batch: pa.RecordBatch, stages: Sequence[Stage], buckets: IntArray, measures: Measures
    ) -> pa.RecordBatch:
        """Rows with their difficulty added: the stages of their `buckets`, null where that is -1.
        Without responses a stage has no index, for it is none of the curriculum's. An extra_info
        that is null stays so."""
        if not self.annotate:
            return batch
        known = measures.num_responses > 0
        names = [stages[bucket].name if bucket >= 0 else None for bucket in buckets.tolist()]
        indexes = np.array([stage.index for stage in stages])[buckets]
        metrics = structs(DIFFICULTY_METRICS, difficulty_metrics(measures).flatten(), known)
        added = [texts(names), integers(indexes, known), metrics]
        added += [pa.nulls(len(names), pa.int64())] if self.steps else []
        if not self.in_extra_info:
            return pa.RecordBatch.from_arrays([*batch.columns, *added], schema=self.schema())
        columns, at = list(batch.columns), self.source.get_field_index(EXTRA_INFO)
        own, kind = columns[at], self.schema().field(at).type
        children = [own.field(i) for i in range(own.type.num_fields)]
        columns[at] = pa.StructArray.from_arrays(
            [*children, *added], fields=list(kind), mask=own.is_null() if own.null_count else None
        )
        return pa.RecordBatch.from_arrays(columns, schema=self.schema())


@lru_cache
def _read_schema(written: bytes) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(written))


def _metadata(
    given: Mapping[bytes, bytes] | None, in_extra_info: bool, added: Sequence[pa.Field]
) -> dict[bytes, bytes]:
    """The metadata of a file, with the added columns among those that the datasets library keeps
    there. Without them it could not load the file; without any it finds out by itself."""
    found = dict(given or {})
    if HF not in found:
        return found
    try:
        known = json.loads(found[HF])
        features = known["info"]["features"]
        inside = features[EXTRA_INFO] if in_extra_info else features
        inside |= {field.name: _feature(field.type) for field in added}
    except (ValueError, KeyError, TypeError):
        del found[HF]
    else:
        found[HF] = json.dumps(known).encode()
    return found


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    names = {pa.string(): "string", pa.int64(): "int64", pa.float64(): "float64"}
    return {"dtype": names[kind], "_type": "Value"}
