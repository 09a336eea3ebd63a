"""--source-val: the data set's own val rows stay val, and train has none of their prompts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curriculum.storage.parquet_files import GroupCutter, plan_groups
from tests.helpers.rollouts import Script, rows
from tests.source.data_sets import buckets_of, row, without_added, write_parquet, write_rollouts

NAMES = ("easy", "medium", "hard")


def test_val_holds_the_val_rows_by_difficulty(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    write_rollouts(tmp_path / "in/a.jsonl", range(90))
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "buckets")[0] == 0
    train = write_parquet(tmp_path / "train.parquet", [row(n) for n in range(70)])
    val = write_parquet(tmp_path / "val.parquet", [row(n) for n in range(65, 90)])
    flags = ("-i", tmp_path / "buckets", "-o", tmp_path / "out", "--source", train)
    code, out, err = preprocess(*flags, "--source-val", val, "--combine")
    assert code == 0
    assert f"val rows those of {val}:" in " ".join(out.split())
    assert "5 rows of --source have a prompt of --source-val and were left out of train" in err
    assert f'{train} row 65: "prompt 65"; ' in err
    of_prompt = buckets_of(tmp_path / "buckets")
    order = [name for name in NAMES for n in range(90) if of_prompt[f"prompt {n}"][0] == name]
    for side, numbers in (("train", range(65)), ("val", range(65, 90))):
        found = [r["extra_info"] for r in rows(tmp_path / f"out/combined_{side}.parquet")]
        wanted = sorted(numbers, key=lambda n: (of_prompt[f"prompt {n}"][1], n))
        assert [info["index"] for info in found] == wanted
        assert {info["curriculum_stage"] for info in found} == set(order)


def test_other_files_than_those_of_train(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    write_rollouts(tmp_path / "in/a.jsonl", range(9))
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "buckets")[0] == 0
    train = write_parquet(tmp_path / "train.parquet", [row(n) for n in range(9)])
    flags = ("-i", tmp_path / "buckets", "-o", tmp_path / "out", "--source", train)
    code, _, err = preprocess(*flags, "--source-val", train)
    assert (code, "this file is named by --source, too" in err) == (1, True)
    (tmp_path / "val.jsonl").write_text('{"prompt": "prompt 1"}\n')
    code, _, err = preprocess(*flags, "--source-val", tmp_path / "val.jsonl")
    assert (code, "this is not of the form of --source" in err) == (1, True)
    code, _, err = preprocess(*flags, "--source-val", train, "--val-ratio", 0.1)
    assert (code, "leave out one of them" in err) == (2, True)
    assert not (tmp_path / "out").exists()


def test_one_file_with_every_row(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    write_rollouts(tmp_path / "in/a.jsonl", range(30))
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "buckets")[0] == 0
    numbers = [*range(20, 40), 3, 3]
    train = write_parquet(tmp_path / "train.parquet", [row(n) for n in numbers])
    val = write_parquet(tmp_path / "val.parquet", [row(n) for n in range(5)])
    flags = ("-i", tmp_path / "buckets", "--source", train, "--annotate", tmp_path / "all.parquet")
    code, out, _ = preprocess(*flags, "--dry-run", "--filter", "informative_only")
    assert (code, list(tmp_path.glob("out*"))) == (0, [])
    assert out.startswith("Dry run: no set was written.\n")
    told = f"all rows of --source, with their difficulty, to {tmp_path}/all.parquet"
    assert told in " ".join(out.split())
    given = pq.read_table(train).to_pylist()
    found = rows(tmp_path / "all.parquet")
    assert [without_added(r) for r in found] == given
    of_prompt = buckets_of(tmp_path / "buckets")
    for r in found:
        info, stage = r["extra_info"], of_prompt.get(r["prompt"][0]["content"], (None, None))
        assert (info["curriculum_stage"], info["curriculum_stage_index"]) == stage
        assert (info["difficulty_metrics"] is None) == (stage[0] is None)
    first = (tmp_path / "all.parquet").read_bytes()
    only = ("--buckets", "easy")
    code, _, err = preprocess(*flags, "-o", tmp_path / "out", "--workers", 1, *only)
    assert (code, (tmp_path / "all.parquet").read_bytes()) == (0, first)
    assert preprocess(*flags, "--dry-run", "--source-val", val)[0] == 0
    marked = pq.ParquetFile(tmp_path / "all.parquet").read().to_pylist()
    assert marked == found  # what val has is left out of train, not of this file
    (tmp_path / "mine.parquet").write_bytes(train.read_bytes())
    code, _, err = preprocess(*flags[:-1], tmp_path / "mine.parquet", "--dry-run")
    taken = "this file is there already, and no such flag wrote it"
    assert (code, taken in err) == (1, True)
    scores = ("-i", tmp_path / "in", "--dry-run", "--scores")
    assert bucket(*scores, tmp_path / "scores.parquet")[0] == 0
    code, _, err = preprocess(*flags[:-1], tmp_path / "scores.parquet", "--dry-run")
    assert (code, taken in err) == (1, True)
    code, _, err = bucket(*scores, tmp_path / "all.parquet")
    assert (code, taken in err) == (1, True)
    own = ("-o", tmp_path / "new", *flags[:-1], tmp_path / "new/easy_train.parquet")
    code, _, err = preprocess(*own)
    assert (code, "this is a file of one of the sets" in err) == (1, True)
    assert not list((tmp_path / "new").glob("*"))


def test_row_groups_of_the_file_are_cut_by_rows_and_bytes(tmp_path: Path) -> None:
    schema = pa.schema([("n", pa.int64())])
    sizes = np.full(5_000, 10)
    sizes[[100, 101, 2_000]] = 64_000_000, 1, 50_000_000
    for step in (7, 1_000, 5_000):
        with (tmp_path / "a.parquet").open("wb") as file, GroupCutter(file, schema) as writer:
            for first in range(0, 5_000, step):
                some = np.arange(first, min(first + step, 5_000))
                writer.add(pa.record_batch([pa.array(some)], schema=schema), sizes[some])
        metadata = pq.read_metadata(tmp_path / "a.parquet")
        groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        assert groups == plan_groups(sizes)
        assert pq.read_table(tmp_path / "a.parquet")["n"].to_pylist() == list(range(5_000))


def test_rows_that_val_has_keep_their_difficulty_in_the_file(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    """By the text of the last message, too: what is one prompt for matching is one here."""
    write_rollouts(tmp_path / "in/a.jsonl", range(60))
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "buckets")[0] == 0
    given = [row(n) for n in range(50)]
    for found in given:
        found["prompt"].insert(0, {"role": "system", "content": "Be brief."})
    train = write_parquet(tmp_path / "train.parquet", given)
    val = write_parquet(tmp_path / "val.parquet", [row(n) for n in range(40, 60)])
    flags = ("-i", tmp_path / "buckets", "-o", tmp_path / "out", "--source", train)
    flags = (*flags, "--source-val", val, "--annotate", tmp_path / "all.parquet")
    code, _, err = preprocess(*flags, "--combine")
    assert (code, "10 rows of --source have a prompt of --source-val" in err) == (0, True)
    assert len(rows(tmp_path / "out/combined_train.parquet")) == 40
    of_prompt = buckets_of(tmp_path / "buckets")
    found = [r["extra_info"] for r in rows(tmp_path / "all.parquet")]
    assert [(i["curriculum_stage"], i["curriculum_stage_index"]) for i in found] == [
        of_prompt[f"prompt {n}"] for n in range(50)
    ]


def test_rows_without_key_or_prompt_are_no_prompt_of_val(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    write_rollouts(tmp_path / "in/a.jsonl", range(30))
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "buckets")[0] == 0
    schema = pa.schema([("id", pa.string()), ("hash", pa.int64()), ("ordinal", pa.string())])

    def lines(keys: list[int]) -> list[dict[str, object]]:
        return [{"id": str(n) if n >= 0 else None, "hash": n, "ordinal": "x"} for n in keys]

    train = write_parquet(tmp_path / "train.parquet", lines([*range(20), *[-1] * 5]), schema)
    val = write_parquet(tmp_path / "val.parquet", lines([*range(20, 30), -1]), schema)
    flags = ("-i", tmp_path / "buckets", "-o", tmp_path / "out", "--source", train)
    flags = (*flags, "--source-val", val, "--source-key", "id=key", "--unmatched", "keep")
    code, _, err = preprocess(*flags)
    assert (code, "of --source-val" in err) == (0, False), err
    unseen = pq.read_table(tmp_path / "out/unseen_train.parquet")
    assert unseen["hash"].to_pylist() == [-1] * 5
    every = [r["hash"] for path in (tmp_path / "out").glob("*.parquet") for r in rows(path)]
    assert sorted(every) == [-1] * 6 + list(range(30))
