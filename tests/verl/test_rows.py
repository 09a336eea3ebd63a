"""Rows in verl's form: names, row groups, and files that hold nothing of any library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.errors import InternalError
from curriculum.storage.parquet_files import DICTIONARY_COLUMNS, GroupWriter, plan_groups
from curriculum.verl import rows as verl
from curriculum.verl.rows import name_own_fields


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["a", "index"], {"a": "a", "index": "source_index"}),
        (
            ["split", "source_split"],
            {"split": "source_source_split", "source_split": "source_split"},
        ),
        (["tools_kwargs"], {"tools_kwargs": "tools_kwargs"}),
        (["num_turns"], {"num_turns": "source_num_turns"}),
    ],
)
def test_own_fields_never_take_our_names(sources, expected) -> None:
    assert name_own_fields(sources) == expected


@given(sizes=st.lists(st.sampled_from([1, 10, 40_000_000, 64_000_000, 10**9]), max_size=30))
def test_row_groups_equal_the_plain_rule(sizes: list[int]) -> None:
    groups: list[list[int]] = []
    for size in sizes:
        full = not groups or len(groups[-1]) == 1000 or sum(groups[-1]) + size > 64_000_000
        if full:
            groups.append([])
        groups[-1].append(size)
    assert plan_groups(np.array(sizes, dtype=np.int64)) == [len(group) for group in groups]


def test_row_groups_hold_a_thousand_rows() -> None:
    assert plan_groups(np.full(2_500, 10)) == [1000, 1000, 500]


def write(path: Path, batches: list[pa.RecordBatch], groups: list[int]) -> None:
    with GroupWriter(path, batches[0].schema, groups) as writer:
        for batch in batches:
            writer.add(batch)


def test_more_rows_than_planned_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="more rows"):
        write(tmp_path / "rows.parquet", pa.table({"n": [1, 2, 3]}).to_batches(), [2])


@pytest.mark.parametrize("batch", [1, 7, 10, 25])
def test_file_does_not_depend_on_how_rows_arrive(tmp_path: Path, batch: int) -> None:
    schema = pa.schema([("n", pa.int64())])
    table = pa.table({"n": list(range(25))}, schema=schema)
    path = tmp_path / "rows.parquet"
    write(path, table.to_batches(max_chunksize=batch), [10, 10, 5])
    other = tmp_path / "other.parquet"
    write(other, table.to_batches(), [10, 10, 5])
    assert path.read_bytes() == other.read_bytes()
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(i).num_rows for i in range(3)] == [10, 10, 5]
    assert metadata.metadata is None
    assert pq.read_table(path).column("n").to_pylist() == list(range(25))


def test_dictionary_columns_are_columns() -> None:
    form = verl.RowForm(verl.ValueType("string"), (), True)
    sink = pa.BufferOutputStream()
    pq.write_table(form.schema().empty_table(), sink)
    schema = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    columns = {schema.column(i).path for i in range(len(schema))}
    assert set(DICTIONARY_COLUMNS) <= columns
