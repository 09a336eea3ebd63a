"""Rollouts in parquet, arrays, logs and pipes give the buckets that the same JSON lines give."""

from __future__ import annotations

import gzip
import json
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curriculum import BucketOptions, bucket_rollouts
from curriculum.scanner.compiled import SWITCH
from tests.containers.test_eval_logs import write_log
from tests.helpers.rollouts import Script, rollout, tree
from tests.storage.object_store import Store, store_tree

Line = dict[str, Any]
Write = Callable[[Path, list[Line]], Path]


def made(count: int = 40) -> list[Line]:
    """Rollouts of which some have null in fields that others have, and some have no score."""
    rng = random.Random(7)
    found = []
    for i in range(count):
        scores = rng.choices([0.0, 0.25, 0.1 + 0.2, 1.0, None], k=rng.randrange(1, 6))
        more: Line = {"key": f'k{i} é\n"' if i % 3 else None}
        more["extra_info"] = {"index": i, "x": [{"y": i / 7}]} if i % 2 else None
        found.append(rollout(*scores, prompt=f"{'long ' * (i % 5)}{i % 30}", **more))
    return found


def as_line(line: Line) -> str:
    return json.dumps(line, ensure_ascii=False, separators=(",", ":"))


def lines(path: Path, found: list[Line]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(as_line(line) + "\n" for line in found), "utf-8")
    return path


def parquet(path: Path, found: list[Line], rows: int = 7) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = dict.fromkeys(name for line in found for name in line)
    table = pa.table({name: [line.get(name) for line in found] for name in names})
    pq.write_table(table, path, row_group_size=rows)
    return path


def array(path: Path, found: list[Line]) -> Path:
    path.write_text("[\n" + " ,\n".join(map(as_line, found)) + "\n]\n", "utf-8")
    return path


def held(path: Path, found: list[Line]) -> Path:
    text = ",\r\n".join(map(as_line, found))
    path.write_text(f'{{"meta": {{"a": [1]}}, "rollouts": [{text}], "end": [{{}}, 2][0]}}'.replace(
        ', "end": [{}, 2][0]', ', "messages": [{"role": "x"}]'), "utf-8")  # fmt: skip
    return path


def packed(path: Path, found: list[Line]) -> Path:
    array(path, found)
    path.write_bytes(gzip.compress(path.read_bytes()))
    return path


FORMS: dict[str, tuple[str, Write]] = {
    "parquet": ("a.parquet", parquet),
    "parquet without its name": ("rollouts", parquet),
    "an array": ("a.json", array),
    "an array named jsonl": ("a.jsonl", array),
    "an array in gzip": ("a.json.gz", packed),
    "a list in an object": ("a.json", held),
    "lines named json": ("a.json", lines),
}  # fmt: skip


def outputs(directory: Path) -> dict[str, bytes]:
    """What a run wrote, but for what the manifest and the reasons say of the input's files."""
    found = tree(directory)
    manifest = json.loads(found.pop("bucketing.json"))
    for record in manifest["inputs"]:
        del record["path"], record["bytes"]
    reasons = [json.loads(line) for line in found.pop("rejected/reasons.jsonl", b"").splitlines()]
    for reason in reasons:
        del reason["file"], reason["offset"]
    both = {"manifest": manifest, "reasons": reasons}
    return found | {name: json.dumps(value).encode() for name, value in both.items()}


@pytest.fixture(params=["one", "two", "python", "small shards"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    """How to run: the flags."""
    if request.param == "python":
        monkeypatch.setenv(SWITCH, "1")
    if request.param == "small shards":
        monkeypatch.setattr("curriculum.reading.input_files.SHARD_BYTES", 500)
    return ("--workers", 2 if request.param == "two" else 1)


@pytest.mark.parametrize("form", FORMS)
def test_the_buckets_are_those_of_the_same_lines(
    tmp_path: Path, bucket: Script, way: tuple[Any, ...], form: str
) -> None:
    name, write = FORMS[form]
    (tmp_path / "in").mkdir()
    bad = [*made(), dict.fromkeys(made()[0]) | {"key": "no prompt", "reward": [{"score": None}]}]
    given = write(tmp_path / "in" / name, bad)
    flags = ("--ties", "split", *way)
    want = bucket("-i", lines(tmp_path / "l.jsonl", bad), "-o", tmp_path / "want", *flags)
    code, _, err = bucket("-i", given, "-o", tmp_path / "out", *flags)
    assert (want[0], code) == (0, 0), err
    assert outputs(tmp_path / "out") == outputs(tmp_path / "want")


def test_malformed_rows_are_named_and_set_aside(tmp_path: Path, bucket: Script) -> None:
    rows = [*made(20)[:16], dict.fromkeys(made()[0]) | {"key": "no reward"}, *made(3)]
    path = parquet(tmp_path / "a.parquet", rows)
    code, _, err = bucket("-i", path, "-o", tmp_path / "out")
    assert (
        code,
        f"{path}:17: reward is not a list: it is null" in err,
        (tmp_path / "out").exists(),
    ) == (1, True, False)
    assert bucket("-i", path, "-o", tmp_path / "out", "--on-malformed", "set-aside")[0] == 0
    aside = (tmp_path / "out/rejected/malformed.jsonl").read_text()
    assert json.loads(aside) == rows[16]
    (reason,) = [
        reason
        for line in (tmp_path / "out/rejected/reasons.jsonl").read_text().splitlines()
        if "malformed" in (reason := json.loads(line))["reason"]
    ]
    assert (reason["line"], reason["offset"]) == (17, None)


def responses() -> list[Line]:
    return [
        {"task_id": f"t{i % 5}", "prompt": f"p{i % 5}", "completion": f"{i}", "reward": i % 3 / 2,
         "sample_idx": i, "head_version": 1, "tail_version": 1}
        for i in range(20)
    ]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_dumps_are_grouped_as_their_lines_are(
    tmp_path: Path, bucket: Script, way: tuple[Any, ...], form: str
) -> None:
    name, write = FORMS[form]
    (tmp_path / "in").mkdir()
    found = [*responses(), responses()[0] | {"reward": None, "sample_idx": 77}]
    given = write(tmp_path / "in" / name, found)
    flags = ("--format", "areal", *way)
    want = bucket("-i", lines(tmp_path / "l.jsonl", found), "-o", tmp_path / "want", *flags)
    got = bucket("-i", given, "-o", tmp_path / "out", *flags)
    assert (want[0], got[0]) == (0, 0), got[2]
    assert outputs(tmp_path / "out") == outputs(tmp_path / "want")


def test_standard_input_and_pipes(tmp_path: Path, bucket: Script) -> None:
    text = lines(tmp_path / "l.jsonl", made()).read_bytes()
    bucket("-i", tmp_path / "l.jsonl", "-o", tmp_path / "want")
    parts = {
        "plain": text,
        "gzip": gzip.compress(text),
        "array": array(tmp_path / "x", made()).read_bytes(),
        "parquet": parquet(tmp_path / "y", made()).read_bytes(),
    }
    for name, data in parts.items():
        os.mkfifo(pipe := tmp_path / f"pipe-{name}")
        writer = threading.Thread(target=pipe.write_bytes, args=(data,))
        writer.start()
        code, _, err = bucket("-i", pipe, "-o", tmp_path / name)
        writer.join()
        assert (code, err.count("error")) == (0, 0), err
        assert outputs(tmp_path / name) == outputs(tmp_path / "want")
        (record,) = json.loads((tmp_path / name / "bucketing.json").read_text())["inputs"]
        assert (record["path"], record["bytes"], record["lines"]) == (str(pipe), len(data), 40)


@pytest.mark.parametrize("given", ["-", "/dev/stdin"])
def test_standard_input_by_its_name(tmp_path: Path, bucket: Script, given: str) -> None:
    bad = [*made(), {"a": 1}]
    with lines(tmp_path / "l.jsonl", bad).open("rb") as stream:
        kept = os.dup(0)
        os.dup2(stream.fileno(), 0)
        try:
            code, _, err = bucket("-i", given, "-o", tmp_path / "out")
        finally:
            os.dup2(kept, 0)
            os.close(kept)
    assert (code, '<stdin>:41: no "reward"' in err) == (1, True)
    assert not (tmp_path / "out").exists()


def test_a_log_of_inspect_ai(tmp_path: Path, bucket: Script) -> None:
    found = [
        {
            "id": i % 4,
            "epoch": i // 4 + 1,
            "input": f"p{i % 4}",
            "output": f"{i}",
            "scores": {"m": {"value": i % 3 / 2}},
        }
        for i in range(8)
    ]
    samples = {f"samples/{s['id']}_epoch_{s['epoch']}.json": s for s in found}
    places = {"score": "scores.m.value", "prompt": "input", "response": "output", "group": "id"}
    flags = ["--format", "custom"]
    for name, place in places.items():
        flags += [f"--{name}-field", place]
    log = {"version": 2, "eval": {"a": [{}]}, "samples": found, "reductions": [{"scorer": "m"}]}
    inputs = {
        "eval": write_log(tmp_path / "a.eval", samples | {"header.json": {}}),
        "json": tmp_path / "a.json",
    }
    inputs["json"].write_text(json.dumps(log, indent=1))
    in_order = [samples[name] for name in sorted(samples)]
    for name, path in inputs.items():
        ordered = in_order if name == "eval" else found
        lines(tmp_path / "l.jsonl", ordered)
        assert bucket("-i", tmp_path / "l.jsonl", "-o", tmp_path / "want", *flags)[0] == 0
        code, _, err = bucket("-i", path, "-o", tmp_path / name, *flags)
        assert code == 0, err
        scores = [read_scores(tmp_path / directory) for directory in (name, "want")]
        assert scores[0] == scores[1]


def read_scores(directory: Path) -> dict[str, list[Any]]:
    return {
        path.name: [
            [e["score"] for e in json.loads(line)["reward"]]
            for line in path.read_text().splitlines()
        ]
        for path in sorted(directory.glob("*.jsonl"))
    }


def damage_page(path: Path) -> None:
    """Overwrite a page of the last row group, which the first pass has to read."""
    column = pq.read_metadata(path).row_group(5).column(0)
    data = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + 60] = b"\xff" * 60
    path.write_bytes(data)


BAD: dict[str, tuple[str, Callable[[Path], object], list[str]]] = {
    "parquet cut off": (
        "a.parquet",
        lambda path: path.write_bytes(parquet(path, made()).read_bytes()[:-20]),
        ["a.parquet: this parquet file cannot be read (", "fetch it again"],
    ),
    "a damaged page": (
        "a.parquet",
        lambda path: damage_page(parquet(path, made())),
        ["a.parquet: this parquet file cannot be read (", "fetch it again"],
    ),
    "an array cut off": (
        "a.json",
        lambda path: path.write_bytes(array(path, made()).read_bytes()[:-40]),
        ["a.json: this is no complete JSON: it ends inside item 40, which begins at byte"],
    ),
    "two arrays": (
        "a.json",
        lambda path: path.write_text("[{}]\n[{}]\n[\n{}]"),
        ["no line is a JSON object, the first is [{}]"],
    ),
    "two arrays over lines": (
        "a.json",
        lambda path: path.write_text(json.dumps(made(2), indent=1) * 2),
        ["this is no complete JSON: after its end there is more"],
    ),
    "an object without a list": (
        "a.json",
        lambda path: path.write_text('{"model": "m",\n "n": 3}'),
        ["a.json:1: no \"reward\": it has model: text, n: number"],
    ),
    "an object cut off": (
        "a.json",
        lambda path: path.write_text('{\n"items": [\n' + json.dumps(made(1)[0])),
        ["a.json: this is no complete JSON: it ends inside the object"],
    ),
    "several lists": (
        "a.json",
        lambda path: path.write_text(json.dumps({"train": made(1), "test": made(1)})),
        ["a.json: several of its fields are lists of objects: train, test", "jq -c '.train[]'"],
    ),
    "an empty array": (
        "a.json",
        lambda path: path.write_text("[]"),
        ["a.json:1: not a JSON object: the line is a list"],
    ),
    "numbers": (
        "a.json",
        lambda path: path.write_text("[1, 2, 3]"),
        ["a.json:1: not a JSON object: the line is a list"],
    ),
    "bytes in the prompt": (
        "a.parquet",
        lambda path: pq.write_table(pa.table({"prompt": [b"x"], "reward": [[1]]}), path),
        ["a.parquet: its column prompt has bytes", "images are for --source"],
    ),
    "no columns of use": (
        "a.parquet",
        lambda path: pq.write_table(pa.table({"a": [b"x"]}), path),
        ["a.parquet: its columns are bytes, no JSON"],
    ),
    "two columns of one name": (
        "a.parquet",
        lambda path: pq.write_table(pa.Table.from_arrays([pa.array([1])] * 2, ["a", "a"]), path),
        ["a.parquet: two of its columns are called a"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(
    tmp_path: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    given, write, told = BAD[name]
    write(Path(given))
    code, out, err = bucket("-i", given, "-o", "out", "--workers", 1)
    assert (code, out, Path("out").exists()) == (1, "", False)
    assert [part for part in told if part not in " ".join(err.split())] == []


def test_an_encrypted_file_is_named(tmp_path: Path, bucket: Script) -> None:
    path = parquet(tmp_path / "a.parquet", made(3))
    data = path.read_bytes()
    path.write_bytes(b"PARE" + data[4:-4] + b"PARE")  # how a file with an encrypted footer ends
    code, _, err = bucket("-i", path, "-o", tmp_path / "out")
    assert (code, "this is an encrypted parquet file" in err) == (1, True), err


def test_columns_that_are_left_out_and_times_are_told(tmp_path: Path, bucket: Script) -> None:
    rows = [
        line | {"image": b"x", "made": pa.scalar(1, pa.timestamp("s")).as_py()} for line in made(9)
    ]
    code, _, err = bucket(
        "-i", parquet(tmp_path / "a.parquet", rows), "-o", tmp_path / "out", "-n", 1
    )
    assert code == 0, err
    assert (
        "the column image is left out of the rollouts: it has bytes, which JSON cannot hold" in err
    )
    assert "a.parquet: dates and times became text, such as 2026-08-01T12:00:00." in err
    first = json.loads((tmp_path / "out/level_1.jsonl").read_text().splitlines()[0])
    assert (first["made"], "image" in first) == ("1970-01-01T00:00:01.000000", False)


def test_a_file_that_changes_meanwhile_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: Script
) -> None:
    path = parquet(tmp_path / "a.parquet", made())
    from curriculum.bucketing import passes

    scan = passes.scan_rollouts

    def meanwhile(*given: Any) -> Any:
        found = scan(*given)
        os.utime(path, ns=(1, 1))
        return found

    monkeypatch.setattr("curriculum.bucket.scan_rollouts", meanwhile)
    code, _, err = bucket("-i", path, "-o", tmp_path / "out", "--workers", 1)
    assert (code, "the file changed while it was read" in err) == (1, True)
    assert not (tmp_path / "out").exists()


def test_a_dry_run_and_the_score_table(tmp_path: Path) -> None:
    table = tmp_path / "scores.parquet"
    path = parquet(tmp_path / "a.parquet", made())
    report = bucket_rollouts(BucketOptions([str(path)], dry_run=True, scores=str(table), workers=1))
    assert report.manifest.counts.read == 40
    rows = pq.read_table(table).to_pylist()
    assert [(row["file"], row["line"]) for row in rows[:2]] == [(str(path), 1), (str(path), 2)]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["parquet", "an array in gzip", "a list in an object"])
def test_files_in_a_store(tmp_path: Path, bucket: Script, store: Store, form: str) -> None:
    name, write = FORMS[form]
    bucket("-i", lines(tmp_path / "l.jsonl", made()), "-o", tmp_path / "want")
    store.put(f"in/deep/{name}", write(tmp_path / name, made()).read_bytes())
    for given in (f"in/deep/{name}", "in/deep", f"in/**/*{Path(name).suffix}"):
        code, _, err = bucket("-i", store / given, "-o", tmp_path / "out")
        assert code == 0, err
        assert outputs(tmp_path / "out") == outputs(tmp_path / "want")
    code, _, err = bucket("-i", store / "in", "-o", store / "out", "--recursive")
    assert code == 0, err
    found = store_tree(store / "out")
    for bucket_name in ("easy", "medium", "hard"):
        parts = [data for name, data in sorted(found.items()) if name.startswith(bucket_name)]
        assert b"".join(parts) == (tmp_path / f"want/{bucket_name}.jsonl").read_bytes()


@pytest.mark.slow
def test_samples_of_a_log_in_a_store_are_read(tmp_path: Path, store: Store) -> None:
    from curriculum.containers.eval_logs import read_samples
    from curriculum.storage.paths import to_path

    members = {"samples/1_epoch_1.json": {"id": 1}}
    url = store.put("a.eval", write_log(tmp_path / "a.eval", members).read_bytes())
    assert b"".join(read_samples(to_path(url))) == b'{   "id": 1 }\n'


# ---- directories ----


def named(given: str, *flags: Any) -> tuple[list[str], list[str]]:
    """The names of the files that an input stands for, and what is told of others."""
    from curriculum.advice.other_files import find_rollouts

    found = find_rollouts(BucketOptions([given], "out", *flags, recursive="--recursive" in flags))
    return [Path(file.name).name for file in found.files], list(found.warnings)


def test_a_directory_has_one_kind_of_files(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    parquet(directory / "b.parquet", made(2))
    array(directory / "c.json", made(2))
    (directory / "metadata.json").write_text('{"a": 1}')
    (directory / "notes.txt").write_text("x")
    names, told = named(str(directory))
    assert (names, len(told)) == (["b.parquet"], 1)
    assert "1 file beside the .parquet files left alone: c.json." in told[0]
    lines(directory / "a.jsonl", made(2))
    names, told = named(str(directory))
    assert (names, "2 files beside the .jsonl files" in told[0]) == (["a.jsonl"], True)
    assert named(f"{directory}/*")[0] == ["a.jsonl"]
    assert named(f"{directory}/*.json")[0] == ["c.json"]


def test_a_directory_of_json_leaves_what_is_no_rollout(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.json").write_text(json.dumps(made(3)[i], indent=2))
    (tmp_path / "metadata.json").write_text('{"items": [{"a": 1}]}')
    (tmp_path / "hyper.json").write_text('{"lr": 1}')
    names, told = named(str(tmp_path))
    assert names == ["0.json", "1.json", "2.json"]
    assert told[0].endswith(
        "one JSON object that is no rollout and has no list of any was left alone."
    )


def test_directories_inside_directories(tmp_path: Path, bucket: Script) -> None:
    for i in range(3):
        lines(tmp_path / f"d/run/step_{i}/{i}.jsonl", made(4))
    lines(tmp_path / "d/.hidden/x.jsonl", made(4))
    lines(tmp_path / "d/old/easy.jsonl", made(4))
    (tmp_path / "d/old/bucketing.json").write_text("{}")
    code, _, err = bucket("-i", tmp_path / "d", "-o", tmp_path / "out")
    assert (code, "but 3 lie in directories inside it" in err, "--recursive" in err) == (
        1,
        True,
        True,
    )
    assert bucket("-i", tmp_path / "d", "-o", tmp_path / "out", "--recursive")[0] == 0
    manifest = json.loads((tmp_path / "out/bucketing.json").read_text())
    assert [Path(record["path"]).name for record in manifest["inputs"]] == [
        "0.jsonl", "1.jsonl", "2.jsonl",
    ]  # fmt: skip


def test_two_stars_match_any_directories(tmp_path: Path) -> None:
    lines(tmp_path / "d/a.jsonl", made(1))
    lines(tmp_path / "d/e/f/b.jsonl", made(1))
    assert named(f"{tmp_path}/d/**/*.jsonl")[0] == ["a.jsonl", "b.jsonl"]


def test_what_slime_saves_is_refused_with_a_way_to_convert_it(
    tmp_path: Path, bucket: Script
) -> None:
    path = write_log(tmp_path / "rollout_5.pt", {"rollout_5/data.pkl": 1})
    code, _, err = bucket("-i", path, "-o", tmp_path / "out")
    assert code == 1
    assert "this is a file of torch.save: a pickle, which runs code when it is loaded" in err
    assert "torch.load(file, weights_only=False)" in err
    assert "--group-field rollout_id group_index" in " ".join(err.split())


@pytest.mark.parametrize("form", FORMS)
def test_prompts_with_several_truths_are_told_of(tmp_path: Path, bucket: Script, form: str) -> None:
    name, write = FORMS[form]
    found = [rollout(i % 2, prompt=f"{i}?", ground_truth=str(i)) for i in range(60)]
    found += [rollout(1, prompt="7?", ground_truth="another")]
    source = write(tmp_path / name, found)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b")
    told = f"{source}:8 (7) and {source}:61 (another)"
    assert (code, told in err) == (0, True)


@pytest.mark.parametrize("recursive", [False, True])
def test_files_that_lie_deeper_are_named(tmp_path: Path, bucket: Script, recursive: bool) -> None:
    lines(tmp_path / "in/a.jsonl", made(4))
    lines(tmp_path / "in/step/more/b.jsonl", made(4))
    flags = ("--recursive",) if recursive else ()
    code, out, err = bucket("-i", tmp_path / "in", "-o", tmp_path / "b", *flags)
    told = "in: left alone 1 rollout file in directories inside it: take these, too, with --recur"
    assert (code, told in err) == (0, not recursive)
    assert f"read {8 if recursive else 4} rollouts" in out


def test_a_file_of_one_line_is_one_record_whatever_lists_it_has(
    tmp_path: Path, bucket: Script
) -> None:
    line = {"question": "q", "samples": [{"text": "a", "reward": 1}, {"text": "b", "reward": 0}]}
    lines(tmp_path / "in/a.jsonl", [line])
    lines(tmp_path / "in/b.jsonl", [line | {"question": "r"}] * 2)
    flags = ("--format", "custom", "--prompt-field", "question", "-n", 1)
    places = ("--score-field", "samples[*].reward", "--response-field", "samples[*].text")
    code, out, err = bucket("-i", tmp_path / "in", "-o", tmp_path / "b", *flags, *places)
    assert (code, "read 3 lines" in out, "left alone" in err) == (0, True, False)
    code, _, err = bucket("-i", tmp_path / "in/a.jsonl", "-o", tmp_path / "c")
    assert (code, "--score-field 'samples[*].reward'" in err) == (1, True)
