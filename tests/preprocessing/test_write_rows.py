"""Staged rows → parquet: what was written is checked against what was planned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curriculum.preprocessing.settings import HASH
from curriculum.preprocessing.write_rows import WriteSetTask, write_set
from curriculum.storage.arrow_arrays import integers
from tests.helpers.bucket_directories import bucketed, three_stages
from tests.helpers.rollouts import Script


def staged(task: WriteSetTask) -> list[Path]:
    return [path for shard in task.shards for path in shard.paths]


def replace_rows(path: Path, change: Any) -> None:
    with pa.ipc.open_stream(path.read_bytes()) as stream:
        table = stream.read_all()
    table = change(table)
    with pa.ipc.new_stream(str(path), table.schema) as stream:
        stream.write_table(table)


def other_hash(table: pa.Table) -> pa.Table:
    hashes = np.full(len(table), -1, np.int64)
    return table.set_column(table.schema.get_field_index(HASH), HASH, integers(hashes))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda table: table.slice(1), "rows instead of"),
        (lambda table: pa.concat_tables([table, table]), "more rows than were planned"),
        (lambda table: table.take(list(reversed(range(len(table))))), "holds other prompts"),
        (other_hash, "rows than were planned|rows instead of|holds other prompts"),
    ],
)
def test_rows_that_were_not_planned_are_an_internal_error(
    tmp_path: Path,
    bucket: Script,
    preprocess: Script,
    monkeypatch: pytest.MonkeyPatch,
    change: Any,
    found: str,
) -> None:
    source = bucketed(tmp_path, bucket, three_stages())

    def tamper(task: WriteSetTask) -> Any:
        replace_rows(staged(task)[0], change)
        return write_set(task)

    monkeypatch.setattr("curriculum.preprocessing.write_sets.write_set", tamper)
    code, out, err = preprocess("-i", source, "-o", tmp_path / "out", "--workers", 1)
    assert (code, out) == (1, "")
    assert err.startswith("error: internal error")
    assert any(part in err for part in found.split("|"))
    assert not (tmp_path / "out").exists()


def test_staged_rows_are_gone_once_written(
    tmp_path: Path, bucket: Script, preprocess: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, left = bucketed(tmp_path, bucket, three_stages()), []

    def look(task: WriteSetTask) -> Any:
        assert all(path.exists() for path in staged(task))
        placed = write_set(task)
        left.extend(path for path in staged(task) if path.exists())
        return placed

    monkeypatch.setattr("curriculum.preprocessing.write_sets.write_set", look)
    assert preprocess("-i", source, "-o", tmp_path / "out", "--workers", 1)[0] == 0
    assert left == []


@pytest.mark.parametrize(
    ("flags", "threads"), [((), 1), (("--workers", 7), 2), (("--workers", 2, "--combine"), 2)]
)
def test_sets_share_the_workers(
    tmp_path: Path,
    bucket: Script,
    preprocess: Script,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[Any, ...],
    threads: int,
) -> None:
    source, found = bucketed(tmp_path, bucket, three_stages()), []

    def look(task: WriteSetTask) -> Any:
        found.append(task.threads)
        return write_set(task)

    monkeypatch.setattr("curriculum.preprocessing.write_sets.write_set", look)
    assert preprocess("-i", source, "-o", tmp_path / "out", "--workers", 1, *flags)[0] == 0
    assert set(found) == {threads}
