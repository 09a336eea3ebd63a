"""A parquet file depends on its rows alone: not on batches, and not on threads."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.errors import InternalError
from curriculum.storage.parquet_files import (
    PYARROW_FOR_THREADS,
    GroupWriter,
    ParallelWriter,
    read_footer,
)
from curriculum.storage.parquet_footer import join_footers, parse_footer

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
INFO = pa.struct([("n", pa.int64()), ("x", pa.float64()), ("tags", pa.list_(pa.bool_()))])
SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("prompt", pa.list_(MESSAGE)),
        ("info.é", INFO),
    ]
)
DICTIONARY = ("source", "prompt.list.element.role")
# A page ends once it has 1 MB.
TEXTS = st.sampled_from([None, "", "a", "b" * 9, "c" * 300_000, "d" * 1_100_000])
ROWS = st.fixed_dictionaries(
    {
        "source": st.sampled_from(["a", "b", None]),
        "prompt": st.none() | st.lists(st.fixed_dictionaries({"content": TEXTS}), max_size=3),
        "info.é": st.none()
        | st.fixed_dictionaries(
            {
                "n": st.none() | st.integers(-(1 << 63), (1 << 63) - 1),
                "tags": st.none() | st.lists(st.none() | st.booleans()),
            }
        ),
    }
)

parallel = pytest.mark.skipif(
    int(pa.__version__.split(".")[0]) < PYARROW_FOR_THREADS, reason="this pyarrow is too old"
)


def written(path: Path, batches: Sequence[pa.RecordBatch], groups: Sequence[int], *how: Any) -> Any:
    with GroupWriter(path, batches[0].schema, groups, *how) as writer:
        for batch in batches:
            writer.add(batch)
    return path.read_bytes()


def cut(rows: pa.RecordBatch, at: Sequence[int]) -> list[pa.RecordBatch]:
    """Rows as batches that end at these positions; every other is a copy with its own buffers."""
    ends = [0, *sorted(at), len(rows)]
    parts = [rows.slice(a, b - a) for a, b in pairwise(ends)]
    return [
        pa.RecordBatch.from_pylist(part.to_pylist(), rows.schema) if i % 2 else part
        for i, part in enumerate(parts)
    ]


def wide(count: int) -> pa.RecordBatch:
    """Rows with more columns than a short Thrift list has items."""
    chosen = random.Random(count)
    return pa.RecordBatch.from_pylist(
        [{f"c{i}": chosen.choice([None, chosen.random()]) for i in range(20)} for _ in range(count)]
    )


@settings(deadline=None, max_examples=60)
@given(st.lists(ROWS, min_size=1, max_size=12), st.data())
def test_batches_and_threads_change_no_byte(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("parquet") / "a.parquet"
    batch = pa.RecordBatch.from_pylist(rows, SCHEMA)
    positions = st.lists(st.integers(0, len(rows)), max_size=6)
    ends = [0, *sorted(data.draw(positions.map(set))), len(rows)]
    groups = [b - a for a, b in pairwise(ends) if a < b]
    expected = written(path, [batch], groups, DICTIONARY)
    assert pq.read_table(path).to_pylist() == batch.to_pylist()
    assert [pq.ParquetFile(path).metadata.row_group(i).num_rows for i in range(len(groups))] == (
        groups
    )
    batches = cut(batch, data.draw(positions))
    assert written(path, batches, groups, DICTIONARY) == expected
    assert written(path, batches, groups, DICTIONARY, data.draw(st.integers(2, 4))) == expected


@parallel
@pytest.mark.parametrize("groups", [[], [5], [3, 1, 4, 1, 5], [1] * 14, [1] * 15, [1, 2] * 30])
@pytest.mark.parametrize("encoding", [{}, {"compression": "gzip", "store_schema": False}])
def test_several_threads_write_what_pyarrow_writes(
    tmp_path: Path, groups: list[int], encoding: dict[str, Any]
) -> None:
    rows = pa.Table.from_batches([wide(sum(groups) + 1)])
    rows = rows.replace_schema_metadata({"creator": "me"})
    for name in ("one", "more"):
        with pa.OSFile(str(tmp_path / name), "wb") as file:
            writer = (
                pq.ParquetWriter(file, rows.schema, **encoding)
                if name == "one"
                else ParallelWriter(file, rows.schema, encoding, 3)
            )
            first = 0
            for count in groups:
                writer.write_table(rows.slice(first, count))
                first += count
            writer.close()
    assert (tmp_path / "more").read_bytes() == (tmp_path / "one").read_bytes()


@parallel
def test_footers_of_very_many_row_groups_are_joined_as_pyarrow_does() -> None:
    groups, row = 33_000, pa.table({"a": [1]})
    files = []
    for count in (1, groups):
        file = pa.BufferOutputStream()
        with pq.ParquetWriter(file, row.schema) as writer:
            for _ in range(count):
                writer.write_table(row)
        files.append(file.getvalue().to_pybytes())
    one, many = (data[-8 - int.from_bytes(data[-8:-4], "little") : -8] for data in files)
    size = len(files[0]) - len(one) - len(b"PAR1....PAR1")
    assert join_footers([parse_footer(one)] * groups, [size] * groups) == many


def test_footer_of_another_form_is_an_internal_error() -> None:
    file = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1, 2]}), file, row_group_size=1)  # two row groups
    data = file.getvalue().to_pybytes()
    with pytest.raises(InternalError, match="another form"):
        parse_footer(data[-8 - int.from_bytes(data[-8:-4], "little") : -8])


@pytest.mark.parametrize("threads", [1, 3])
def test_row_group_that_cannot_be_written_ends_the_run(tmp_path: Path, threads: int) -> None:
    rows, running = wide(50), threading.active_count()
    with pytest.raises(OSError, match="No space left"):
        written(Path("/dev/full"), [rows], [10] * 5, (), threads)
    with pytest.raises(InternalError, match="more rows than were planned"):
        written(tmp_path / "a.parquet", [rows, rows], [10] * 5, (), threads)
    assert threading.active_count() == running


def test_columns_with_a_dictionary_are_packed_already(tmp_path: Path) -> None:
    rows = pa.RecordBatch.from_pylist([{"source": "a", "prompt": []}] * 300, SCHEMA)
    path = tmp_path / "a.parquet"
    written(path, [rows], [300], DICTIONARY)
    group = pq.read_metadata(path).row_group(0)
    codecs = {}
    for i in range(group.num_columns):
        codecs[group.column(i).path_in_schema] = group.column(i).compression
        assert not group.column(i).is_stats_set
    assert codecs.pop("source") == codecs.pop("prompt.list.element.role") == "UNCOMPRESSED"
    assert set(codecs.values()) == {"ZSTD"}
    assert len(codecs) == 4
    assert read_footer(path)[1]["source"] < 100
