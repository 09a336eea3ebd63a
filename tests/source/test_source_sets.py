"""--source: the rows of a data set, each where the rollouts of its prompt are."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curriculum.source import files
from curriculum.source.stage import row_bytes
from tests.helpers.rollouts import Script, rollout, rows, tree, write_jsonl
from tests.source.data_sets import (
    ADDED,
    SCHEMA,
    buckets_of,
    row,
    without_added,
    write_parquet,
    write_rollouts,
)

NAMES = ("easy", "medium", "hard")
SIDES = ("train", "val")


@pytest.fixture
def bucketed(tmp_path: Path, bucket: Script) -> Path:
    """Rollouts of prompts 0 to 199, in buckets."""
    write_rollouts(tmp_path / "in/a.jsonl", range(200))
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "buckets")[0] == 0
    return tmp_path / "buckets"


def shuffled(count: int) -> list[int]:
    return random.Random(3).sample(range(count), count)


def test_each_row_goes_where_its_rollouts_are_and_stays_what_it_is(
    tmp_path: Path, bucketed: Path, preprocess: Script
) -> None:
    numbers = [*shuffled(180), 5, 5, 17]  # three prompts are in several rows
    given = as_written([row(number) for number in numbers])
    write_parquet(tmp_path / "data/train.parquet", given[:100])
    write_parquet(tmp_path / "data/train2.parquet", given[100:])
    where = tmp_path / "data/*.parquet"
    code, out, err = preprocess("-i", bucketed, "-o", tmp_path / "out", "--source", where)
    assert code == 0
    assert "183 of 183 rows of the data set and 180 of 200 rollouts matched by the messages" in out
    assert "20 of 200 rollouts match no row" in err
    found = {name: [*sides(tmp_path / "out", name)] for name in NAMES}
    of_prompt = buckets_of(bucketed)
    for name in NAMES:
        wanted = [r for r in given if of_prompt[r["prompt"][0]["content"]][0] == name]
        train, val = ([without_added(r) for r in side] for side in found[name])
        assert [r for r in wanted if r in train] == train
        assert [r for r in wanted if r in val] == val
        assert len(train) + len(val) == len(wanted)
    prompts = [
        {r["prompt"][0]["content"] for name in NAMES for r in found[name][i]} for i in (0, 1)
    ]
    assert prompts[0] & prompts[1] == set()
    assert all(prompts)


def sides(output: Path, name: str) -> list[list[dict[str, object]]]:
    files = [output / f"{name}_{side}.parquet" for side in SIDES]
    return [rows(file) if file.exists() else [] for file in files]


def as_written(given: list[dict[str, object]]) -> list[dict[str, object]]:
    """The rows as parquet holds them: 32-bit floats, for one, are rounded."""
    found: list[dict[str, object]] = pa.Table.from_pylist(given, SCHEMA).to_pylist()
    return found


def test_the_difficulty_is_that_of_rows_made_from_rollouts(
    tmp_path: Path, bucketed: Path, preprocess: Script
) -> None:
    source = write_parquet(tmp_path / "train.parquet", [row(number) for number in shuffled(200)])
    assert preprocess("-i", bucketed, "-o", tmp_path / "plain")[0] == 0
    assert preprocess("-i", bucketed, "-o", tmp_path / "out", "--source", source)[0] == 0
    plain, out = (
        {
            r["prompt"][0]["content"]: [r["extra_info"][name] for name in ADDED]
            for name in NAMES
            for side in SIDES
            for r in rows(tmp_path / directory / f"{name}_{side}.parquet")
        }
        for directory in ("plain", "out")
    )
    assert len(out) == 200
    assert out == plain
    for name in NAMES:  # the split is the same, too
        for side in SIDES:
            ours, theirs = (
                {r["prompt"][0]["content"] for r in rows(tmp_path / d / f"{name}_{side}.parquet")}
                for d in ("plain", "out")
            )
            assert ours == theirs


def test_types_and_metadata_are_kept(tmp_path: Path, bucketed: Path, preprocess: Script) -> None:
    schema = SCHEMA.with_metadata({"mine": "1"})
    source = write_parquet(tmp_path / "a.parquet", [row(n) for n in range(200)], schema)
    assert preprocess("-i", bucketed, "-o", tmp_path / "out", "--source", source)[0] == 0
    found = pq.read_schema(tmp_path / "out/easy_train.parquet")
    info = found.field("extra_info").type
    assert [field.name for field in info] == ["index", "note", *ADDED]
    assert found.metadata == {b"mine": b"1"}
    given = pq.read_schema(source)
    for field in given:
        if field.name != "extra_info":
            assert found.field(field.name) == field
    arguments = ("-i", bucketed, "-o", tmp_path / "same", "--source", source, "--no-annotate")
    assert preprocess(*arguments)[0] == 0
    same = pq.read_schema(tmp_path / "same/easy_train.parquet")
    assert same.equals(given, check_metadata=True)


def test_without_extra_info_the_difficulty_is_in_columns(
    tmp_path: Path, bucketed: Path, preprocess: Script
) -> None:
    schema = pa.schema([("prompt", pa.string()), ("answer", pa.string())])
    given = [{"prompt": f"prompt {n}", "answer": str(n)} for n in range(200)]
    source = write_parquet(tmp_path / "trl.parquet", given, schema)
    assert preprocess("-i", bucketed, "-o", tmp_path / "out", "--source", source)[0] == 0
    found = pq.read_table(tmp_path / "out/hard_train.parquet")
    assert found.column_names == ["prompt", "answer", *ADDED]
    assert found["curriculum_stage"].to_pylist() == ["hard"] * len(found)
    assert found["curriculum_stage_index"].to_pylist() == [2] * len(found)
    assert set(found["difficulty_metrics"][0].as_py()) > {"value", "success_rate"}


def test_lines_keep_their_bytes(tmp_path: Path, bucketed: Path, preprocess: Script) -> None:
    odd = [
        '{"question": "prompt %d",  "n": 1e2, "x": "\\u00e9\\/"}',
        '{"x":{},"question":"prompt %d"}',
    ]
    text = [odd[number % 2] % number for number in shuffled(200)]
    (tmp_path / "train.jsonl").write_text("\n".join(text[:90]) + "\n\n" + "\n".join(text[90:]))
    source, out = tmp_path / "train.jsonl", tmp_path / "out"
    assert preprocess("-i", bucketed, "-o", out, "--source", source)[0] == 0
    of_prompt, every = buckets_of(bucketed), []
    for name in NAMES:
        wanted = [line for line in text if of_prompt[json.loads(line)["question"]][0] == name]
        found = [(out / f"{name}_{side}.jsonl").read_text().splitlines() for side in SIDES]
        assert [line for line in wanted if line in found[0]] == found[0]
        assert sorted([*found[0], *found[1]]) == sorted(wanted)
        every += [*found[0], *found[1]]
    assert sorted(every) == sorted(text)


def test_combined_and_cumulative_sets_hold_their_buckets_one_after_another(
    tmp_path: Path, bucketed: Path, preprocess: Script
) -> None:
    source = write_parquet(tmp_path / "a.parquet", [row(n) for n in shuffled(200)])
    flags = ("-i", bucketed, "--source", source, "-o")
    assert preprocess(*flags, tmp_path / "out", "--cumulative")[0] == 0
    for side in SIDES:
        own = [rows(tmp_path / "out" / f"{name}_{side}.parquet") for name in NAMES]
        both = rows(tmp_path / "out/cumulative" / f"stage1_and_2_{side}.parquet")
        assert both == [*own[0], *own[1]]
        every = rows(tmp_path / "out/cumulative" / f"stage1_to_3_{side}.parquet")
        assert every == [*own[0], *own[1], *own[2]]
    assert preprocess(*flags, tmp_path / "easy", "--combine", "--order", "easy-to-hard")[0] == 0
    ordered = rows(tmp_path / "easy/combined_train.parquet")
    values = [r["extra_info"]["difficulty_metrics"]["value"] for r in ordered]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) > 5


def test_a_filter_drops_the_rows_of_its_rollouts(
    tmp_path: Path, bucketed: Path, preprocess: Script
) -> None:
    source = write_parquet(tmp_path / "a.parquet", [row(n) for n in range(200)])
    flags = ("--source", source, "--filter", "informative_only")
    assert preprocess("-i", bucketed, "-o", tmp_path / "out", *flags)[0] == 0
    found = [r for name in NAMES for side in sides(tmp_path / "out", name) for r in side]
    kept = {r["extra_info"]["index"] for r in found}
    assert kept == {n for n in range(200) if n % 9 not in (0, 8)}
    assert len(found) == len(kept)


@pytest.mark.parametrize("sets", ["--cumulative", "--combine"])
@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_workers_and_chunks_do_not_change_a_byte(
    tmp_path: Path,
    bucketed: Path,
    preprocess: Script,
    kind: str,
    sets: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = [row(number) for number in shuffled(200)]
    if kind == "parquet":
        schema = SCHEMA.with_metadata({"mine": "1"})
        source = write_parquet(tmp_path / "a.parquet", given * 6, schema)
    else:
        plain = [{"prompt": r["prompt"], "extra_info": r["extra_info"]} for r in given]
        source = write_jsonl(tmp_path / "a.jsonl", plain)
    flags = ("-i", bucketed, "--source", source, sets, "-o")
    assert preprocess(*flags, tmp_path / "one", "--workers", 1)[0] == 0
    monkeypatch.setattr(files, "CHUNK_BYTES", 1)
    monkeypatch.setattr("curriculum.storage.parquet_reading.BATCH_ROWS", 3)
    assert preprocess(*flags, tmp_path / "three", "--workers", 3)[0] == 0
    assert tree(tmp_path / "one") == tree(tmp_path / "three")


def test_a_rerun_without_a_source_replaces_its_files(
    tmp_path: Path, bucketed: Path, preprocess: Script
) -> None:
    plain = [{"prompt": f"prompt {n}"} for n in range(200)]
    source = write_jsonl(tmp_path / "a.jsonl", plain)
    assert preprocess("-i", bucketed, "-o", tmp_path / "out", "--source", source)[0] == 0
    assert (tmp_path / "out/easy_train.jsonl").exists()
    manifest = json.loads((tmp_path / "out/preprocessing.json").read_bytes())
    record = manifest["sets"]["easy"]["source"]
    assert record["files"] == [{"path": str(source), "bytes": source.stat().st_size, "rows": 200}]
    assert (record["matched_by"], record["rows"]) == ("the messages of the prompt", 200)
    assert preprocess("-i", bucketed, "-o", tmp_path / "out")[0] == 0
    assert not list((tmp_path / "out").glob("*.jsonl"))
    assert (
        "source"
        not in json.loads((tmp_path / "out/preprocessing.json").read_bytes())["sets"]["easy"]
    )


def test_an_empty_extra_info_stays_empty(
    tmp_path: Path, bucketed: Path, preprocess: Script
) -> None:
    given = [{**row(n), "extra_info": None} if n % 2 else row(n) for n in range(200)]
    source = write_parquet(tmp_path / "a.parquet", given)
    assert preprocess("-i", bucketed, "-o", tmp_path / "out", "--source", source)[0] == 0
    found = [r for name in NAMES for side in sides(tmp_path / "out", name) for r in side]
    assert sum(r["extra_info"] is None for r in found) == 100


def test_prompts_with_images_are_matched_by_their_text(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    """Rollouts with parts become no rows of their own, and the data set has its own."""

    def asked(n: int) -> list[dict[str, object]]:
        parts = [{"type": "image", "image": "a.png"}, {"type": "text", "text": f"prompt {n}"}]
        return [{"role": "user", "content": parts}]

    found = [rollout(*[1] * (n % 4), *[0] * (3 - n % 4)) | {"prompt": asked(n)} for n in range(40)]
    write_jsonl(tmp_path / "in/a.jsonl", found)
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "b")[0] == 0
    code, _, err = preprocess("-i", tmp_path / "b", "-o", tmp_path / "out")
    assert (code, "a message has parts that are not text" in err) == (1, True)
    assert "with --source, which writes its rows as they are" in err
    source = write_jsonl(tmp_path / "a.jsonl", [{"prompt": asked(n), "n": n} for n in range(40)])
    flags = ("-i", tmp_path / "b", "-o", tmp_path / "out", "--source", source, "--val-ratio", 0)
    code, out, _ = preprocess(*flags)
    assert (code, "40 of 40 rows of the data set" in out) == (0, True)


def test_an_order_of_categories_is_kept(tmp_path: Path, bucketed: Path, preprocess: Script) -> None:
    levels = pa.DictionaryArray.from_arrays(
        [2, 1, 0, None] * 50, ["low", "mid", "high"], ordered=True
    )
    prompts = [f"prompt {n}" for n in range(200)]
    pq.write_table(pa.table({"prompt": prompts, "level": levels}), tmp_path / "a.parquet")
    flags = ("-i", bucketed, "-o", tmp_path / "out", "--source", tmp_path / "a.parquet")
    assert preprocess(*flags)[0] == 0
    for name in NAMES:
        column = pq.read_table(tmp_path / f"out/{name}_train.parquet")["level"].chunk(0)
        assert column.type.ordered
        assert column.dictionary.to_pylist() == ["low", "mid", "high"]


def test_rows_without_a_prompt_follow_the_split_of_their_rollouts(
    tmp_path: Path, bucketed: Path, preprocess: Script
) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [{"id": str(n)} for n in range(200)])
    assert preprocess("-i", bucketed, "-o", tmp_path / "plain")[0] == 0
    flags = ("-i", bucketed, "-o", tmp_path / "out", "--source", source, "--source-key", "id=key")
    assert preprocess(*flags)[0] == 0
    for name in NAMES:
        for side in SIDES:
            ours = (tmp_path / f"out/{name}_{side}.jsonl").read_text().splitlines()
            theirs = rows(tmp_path / f"plain/{name}_{side}.parquet")
            assert {json.loads(line)["id"] for line in ours} == {
                r["extra_info"]["key"] for r in theirs
            }


def test_solved_and_unsolved_are_what_all_rollouts_say(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    """Of three prompts in two rollouts: both solve it, one does, neither does."""
    pairs = {"all": ([1, 1], [1, 1]), "some": ([0, 0], [1, 0, 0, 0]), "none": ([0, 0], [0, 0])}
    found = [rollout(*s, prompt=name) for name, both in pairs.items() for s in both]
    found += [rollout(*[1] * n, *[0] * (9 - n), prompt=f"other {n}") for n in range(1, 9)]
    write_jsonl(tmp_path / "in/a.jsonl", found)
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "b", "--solved-unsolved")[0] == 0
    source = write_jsonl(tmp_path / "a.jsonl", [{"prompt": name} for name in pairs])
    flags = ("-i", tmp_path / "b", "-o", tmp_path / "out", "--source", source)
    assert preprocess(*flags, "--val-ratio", 0)[0] == 0
    where = {
        json.loads(line)["prompt"]: path.name.removesuffix("_train.jsonl")
        for path in (tmp_path / "out").glob("*.jsonl")
        for line in path.read_text().splitlines()
    }
    assert where == {"all": "solved", "some": "hard", "none": "unsolved"}


def test_bytes_of_rows_of_every_type() -> None:
    """Against what each row takes alone, within what its offsets take."""
    table = pa.Table.from_pylist([row(n) for n in range(60)], SCHEMA).combine_chunks()
    batch = table.to_batches()[0]
    sizes = row_bytes(batch).tolist()
    for n, size in enumerate(sizes):
        alone = row(n)
        least = sum(len(image["bytes"]) for image in alone["images"] or [])
        least += len(alone["extra_info"]["note"] or "") + len(alone["prompt"][0]["content"])
        least += len(alone["ability"] or "") + 12 + 3 * 4 + 8
        assert least <= size <= least + 200
    assert row_bytes(batch.slice(20, 30)).tolist() == sizes[20:50]
