"""Data sets that cannot be used: a clear error, and nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curriculum.source import passes
from tests.helpers.rollouts import Script, write_jsonl
from tests.source.data_sets import SCHEMA, row, write_parquet, write_rollouts


@pytest.fixture
def bucketed(tmp_path: Path, bucket: Script) -> Path:
    write_rollouts(tmp_path / "in/a.jsonl", range(30))
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "buckets")[0] == 0
    return tmp_path / "buckets"


@pytest.fixture
def refused(tmp_path: Path, bucketed: Path, preprocess: Script) -> Callable[..., str]:
    """The error of a run with these flags, which writes nothing."""

    def run(*flags: object, expected: int = 1) -> str:
        code, out, err = preprocess("-i", bucketed, "-o", tmp_path / "out", *flags)
        assert (code, out) == (expected, "")
        assert not (tmp_path / "out").exists()
        return " ".join(err.split())

    return run


def test_files_that_are_no_data_set(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "no such file, and no glob of any" in refused("--source", tmp_path / "x.parquet")
    assert "this is no file" in refused("--source", tmp_path / "in")
    write_parquet(tmp_path / "train.parquet", [row(1)])
    err = refused("--source", tmp_path / "trian.parquet")
    assert f"did you mean {tmp_path}/train.parquet?" in err
    whole = (tmp_path / "train.parquet").read_bytes()
    (tmp_path / "half.parquet").write_bytes(whole[: len(whole) // 2])
    err = refused("--source", tmp_path / "half.parquet")
    assert f"{tmp_path}/half.parquet: this parquet file cannot be read (" in err
    assert "fetch it again, or write it again" in err
    (tmp_path / "table.csv").write_text("prompt,answer\na,b\n")
    err = refused("--source", tmp_path / "table.csv")
    assert "this is a CSV file, expected the files of --source to be parquet or JSON lines" in err
    write_parquet(tmp_path / "empty.parquet", [])
    assert "it has no rows" in refused("--source", tmp_path / "empty.parquet")


def test_files_that_do_not_belong_together(tmp_path: Path, refused: Callable[..., str]) -> None:
    one = write_parquet(tmp_path / "a.parquet", [row(1)])
    lines = write_jsonl(tmp_path / "a.jsonl", [{"prompt": "x"}])
    err = refused("--source", one, lines)
    assert "some of these files are parquet and others are JSON lines" in err
    other = SCHEMA.set(SCHEMA.get_field_index("weight"), pa.field("weight", pa.int64()))
    two = write_parquet(tmp_path / "b.parquet", [{**row(1), "weight": 1}], other)
    err = refused("--source", one, two)
    assert f"{two}: its columns are not those of {one}: weight is int64, there float" in err


def test_lines_that_are_no_objects(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "prompt 1"}\n[1]\n\n{"prompt": \n')
    err = refused("--source", tmp_path / "a.jsonl")
    assert "2 malformed lines (" in err
    assert f"{tmp_path}/a.jsonl:2: " in err
    assert f"{tmp_path}/a.jsonl:4: " in err
    assert "fix or remove these lines of --source" in err


def test_fields_that_are_not_there(tmp_path: Path, refused: Callable[..., str]) -> None:
    source = write_parquet(tmp_path / "a.parquet", [row(n) for n in range(30)])
    err = refused("--source", source, "--source-key", "uid=key")
    assert f"{source}: its rows have no field uid, expected uid, to find the rollouts" in err
    assert "there are data_source, prompt, ability" in err
    err = refused("--source", source, "--source-key", "extra_info.index=uid")
    assert f"{tmp_path}/buckets: none of 30 rollouts has anything in uid, expected" in err
    err = refused("--source", source, "--source-key", "extra_info.indx=key")
    assert f"{source}: none of 30 rows has anything in extra_info.indx, expected" in err
    err = refused("--source", source, "--source-key", "seen=key", "--unmatched", "drop")
    assert "30 of 30 rows match no rollout by seen = key of the rollouts:" in err
    assert "Rollouts without a row: " in err
    assert 'jsonl:1: "' in err.partition("Rollouts without a row: ")[2]


def test_names_that_are_taken(tmp_path: Path, refused: Callable[..., str]) -> None:
    lines = [{"prompt": f"prompt {n}", "curriculum_stage": "1"} for n in range(30)]
    schema = pa.schema([("prompt", pa.string()), ("curriculum_stage", pa.string())])
    source = write_parquet(tmp_path / "a.parquet", lines, schema)
    err = refused("--source", source)
    assert f"{source}: its rows have curriculum_stage already" in err
    assert "pass --no-annotate to add nothing" in err


def test_a_key_of_two_rows(tmp_path: Path, refused: Callable[..., str]) -> None:
    given = [{"prompt": f"prompt {n}", "id": n % 29} for n in range(30)]
    source = write_jsonl(tmp_path / "a.jsonl", given)
    err = refused("--source", source, "--source-key", "id=key")
    assert f'two rows have one id: {source}:1: "0", and {source}:30: "0"' in err


@pytest.mark.parametrize(
    ("matched", "flags", "wanted"),
    [
        (10, (), "20 of 30 rows match no rollout by the messages of the prompt"),
        (29, ("--unmatched", "stop"), "1 of 30 rows match no rollout by the messages"),
    ],
)
def test_rows_that_nobody_sampled(
    tmp_path: Path, refused: Callable[..., str], matched: int, flags: tuple[str, ...], wanted: str
) -> None:
    given = [row(n if n < matched else n + 1000) for n in range(30)]
    source = write_parquet(tmp_path / "a.parquet", given)
    err = refused("--source", source, *flags)
    assert wanted in err
    assert f'{source} row {matched}: "prompt {matched + 1000}"' in err
    assert "pass --unmatched drop to leave these rows out" in err


def test_unmatched_rows_are_dropped_or_kept_if_asked(
    tmp_path: Path, bucketed: Path, preprocess: Script
) -> None:
    source = write_parquet(tmp_path / "a.parquet", [row(n) for n in range(20, 60)])
    flags = ("-i", bucketed, "-o", tmp_path / "out", "--source", source, "--unmatched")
    code, out, err = preprocess(*flags, "drop")
    assert (code, "10 of 40 rows of the data set" in " ".join(out.split())) == (0, True)
    assert f'30 of 40 rows match no rollout and were left out: {source} row 10: "prompt 30"' in err
    code, out, err = preprocess(*flags, "keep")
    assert (code, "unseen" in out) == (0, True)
    assert "30 of 40 rows match no rollout and were written to unseen" in err
    found = pq.read_table(tmp_path / "out/unseen_train.parquet").to_pylist()
    found += pq.read_table(tmp_path / "out/unseen_val.parquet").to_pylist()
    info = [r["extra_info"] for r in found]
    assert sorted(one["index"] for one in info) == list(range(30, 60))
    assert {one["curriculum_stage"] for one in info} == {"unseen"}
    assert {str(one["difficulty_metrics"]) for one in info} == {"None"}


def test_a_data_set_in_the_output_directory(
    tmp_path: Path, bucketed: Path, preprocess: Script
) -> None:
    source = write_parquet(tmp_path / "out/train.parquet", [row(n) for n in range(30)])
    before = source.read_bytes()
    code, _, err = preprocess("-i", bucketed, "-o", tmp_path / "out", "--source", source)
    assert code == 1
    assert "this file of the data set lies in the output directory" in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["train.parquet"]
    assert source.read_bytes() == before


def test_a_data_set_that_changes(
    tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_parquet(tmp_path / "a.parquet", [row(n) for n in range(30)])
    match = passes.match_rows

    def and_change(*arguments: Any) -> Any:
        write_parquet(source, [row(n) for n in range(31)])
        return match(*arguments)

    monkeypatch.setattr(passes, "match_rows", and_change)
    err = refused("--source", source)
    assert f"{source}: the file changed while it was read" in err


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (("--source-key", "a"), "--source-key: it is about the rows of a data set"),
        (("--unmatched", "keep"), "--unmatched: it is about the rows of a data set"),
        (("--no-annotate",), "--no-annotate: it is about the rows of a data set"),
        (("--source", "a", "--ability", "x"), "--ability: it says how rows are made from rollouts"),
        (("--source", "a", "--unmatched", "no"), "--unmatched"),
        (("--source", "a", "--source-key", "a.=b"), "--source-key"),
    ],
)
def test_flags_that_do_not_go_together(
    refused: Callable[..., str], flags: tuple[str, ...], wanted: str
) -> None:
    assert wanted in refused(*flags, expected=2)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.list_(pa.dictionary(pa.int32(), pa.string())), [["a"]]),
        (pa.string_view(), ["a"]),
    ],
)
def test_columns_that_cannot_be_staged(
    tmp_path: Path, refused: Callable[..., str], kind: pa.DataType, values: list[Any]
) -> None:
    table = pa.table({"prompt": ["prompt 1"], "odd": pa.array(values, kind)})
    pq.write_table(table, tmp_path / "a.parquet")
    err = refused("--source", tmp_path / "a.parquet")
    assert "a.parquet: its column odd is " in err
    assert "expected no views, and dictionaries only as whole columns" in err


def test_a_column_that_may_be_null_in_one_file_only(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    strict = pa.schema([pa.field("prompt", pa.string(), nullable=False)])
    one = write_parquet(tmp_path / "a.parquet", [{"prompt": "x"}], strict)
    other = pa.schema([("prompt", pa.string())])
    two = write_parquet(tmp_path / "b.parquet", [{"prompt": "x"}], other)
    err = refused("--source", one, two)
    assert f"not those of {one}: prompt is string, there string not null" in err
