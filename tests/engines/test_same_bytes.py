"""The same bytes, whatever does the work and wherever the files are."""

from __future__ import annotations

import fcntl
import gzip
import io
import json
import os
import random
import re
from collections.abc import Callable
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from curriculum.engines.processes import Processes
from curriculum.engines.workers import Workers
from curriculum.output.manifests import whole_name
from tests.helpers.rollouts import Script, rollout, tree, write_jsonl
from tests.storage.object_store import Store, store_tree

pytestmark = pytest.mark.slow

ENGINES = {"one": ("--workers", 1), "pool": ("--workers", 2)}
Files = dict[str, bytes]


def flags_of(engine: str, request: pytest.FixtureRequest) -> tuple[Any, ...]:
    """The flags of an engine; Ray has two nodes."""
    if engine in ENGINES:
        return ENGINES[engine]
    cluster = request.getfixturevalue("cluster")
    request.getfixturevalue("node")
    return ("--engine", "ray", "--ray-address", cluster.address)


def hostile(directory: Path) -> None:
    """Rollouts of all sizes in three files, with every kind of line that is in no bucket."""
    rng = random.Random(5)
    rollouts = [
        rollout(
            *rng.choices([0, 0.25, 0.5, 1, None], k=rng.randrange(7)),
            prompt=f"{'long ' * rng.choice([1, 1, 300])}{i % 130}",
            extra_info={"i": i, "x": [{f"k{i % 3}": i}]},
        )
        for i in range(160)
    ]
    write_jsonl(directory / "a.jsonl", rollouts[:80])
    path = write_jsonl(directory / "b.jsonl", rollouts[80:120])
    path.write_bytes(b"\xef\xbb\xbf\n \n" + path.read_bytes()[:-1])
    more = "".join(json.dumps(r) + "\n" for r in rollouts[120:])
    (directory / "c.jsonl.gz").write_bytes(gzip.compress(f"{more}no json\n[]\n{more}".encode()))


def dump(directory: Path) -> None:
    """verl's dump, samples apart, with lines that are none and groups that disagree."""
    rng = random.Random(6)
    lines = [
        json.dumps(
            {
                "input": f"user\nquestion {i % 40}\nassistant\n",
                "output": f"answer {i} " + "so " * rng.choice([1, 50]),
                "gts": str(i % 40 + (i == 87)),
                "score": rng.choice([0.0, 1.0]),
                "step": 1 + i // 120,
            }
        )
        for i in range(240)
    ]
    lines[50] = "{"
    directory.mkdir()
    (directory / "1.jsonl").write_text("\n".join(lines[:150]))
    text = "\n".join(lines[150:]).encode()
    (directory / "2.jsonl.gz").write_bytes(gzip.compress(text))


def graded(directory: Path) -> None:
    """open-r1's generations as lines and as an array, some of them malformed."""
    rng = random.Random(7)
    found: list[dict[str, Any]] = [
        {
            "problem": f"question {i % 60}", "answer": str(i % 60), "uuid": f"u{i}",
            "generations": [f"answer {i} {'so ' * rng.choice([1, 60])}" for _ in range(i % 4)],
            "correctness_math_verify": [rng.random() < 0.5 for _ in range(i % 4)],
            "finish_reasons": rng.choice([None, ["length"] * (i % 4)]),
        }
        for i in range(200)
    ]  # fmt: skip
    found[7]["generations"] = ["too many"] * 5
    write_jsonl(directory / "a.jsonl", found[:60])
    lines = [json.dumps(line) for line in found[60:120]]
    (directory / "b.jsonl").write_text("\n".join([*lines, "{", " "]))
    (directory / "c.jsonl.gz").write_bytes(
        gzip.compress(json.dumps(found[120:], indent=1).encode())
    )


def whole(files: Files) -> Files:
    """Files with their parts put together, without what says where files are."""
    found: Files = {}
    for name, data in sorted(files.items()):
        found[whole_name(name)] = found.get(whole_name(name), b"") + data
    for name in found:
        if name == "scores.parquet":
            table = pd.read_parquet(io.BytesIO(found[name]))
            table["file"] = table["file"].str.replace(".*/", "", regex=True)
            found[name] = table.to_json(orient="records", lines=True).encode()
        if name.endswith((".html", ".json", "reasons.jsonl", "more.jsonl")):
            text = re.sub(rb',\s*"parts": \d+|"(input_dir|bucketing)": "[^"]*"', b"", found[name])
            text = re.sub(rb'[^\s"]*/', b"", text)
            found[name] = re.sub(rb'"rejected": \[[^\]]*\]', b"", text)
    return found


def run_both(
    bucket: Script,
    preprocess: Script,
    where: Callable[[str], str],
    source: str,
    flags: tuple[Any, ...],
    every_way: bool,
) -> list[str]:
    """Both scripts, the second in all its ways, over rollouts; over what becomes rollouts first,
    whose buckets are like any others, in one way. What they print, without paths."""
    aside = ("--on-malformed", "set-aside", *flags)
    b, p = where("bucketed"), where("preprocessed")
    looks = ("--compare-metrics", "--solved-unsolved", "--scores", where("looks/scores.parquet"))
    if find_spec("matplotlib"):
        looks = (*looks, "--plot", where("looks/difficulty.png"))
    printed = [
        bucket("-i", source, "-o", b, "--ties", "split", *looks, *aside),
        preprocess("-i", b, "-o", p, "--cumulative", *flags),
    ]
    if every_way:
        printed.append(preprocess("-i", b, "-o", p, "--combine", "--order", "easy-to-hard", *flags))
        printed += choose(bucket, preprocess, where, source, flags)
    assert [code for code, _, _ in printed] == [0] * len(printed), printed
    texts = [re.sub(r"-\*-of-\d+", "", "\n".join(text)) for _, *text in printed]
    return [" ".join(re.sub(r"\S*/\S+|-+", "", text).split()) for text in texts]


def choose(
    bucket: Script,
    preprocess: Script,
    where: Callable[[str], str],
    source: str,
    flags: tuple[Any, ...],
) -> list[tuple[int, str, str]]:
    """Both scripts with the flags that choose and order rows."""
    b, p = where("kept"), where("chosen")
    kept = ("-m", "success_rate", "--keep", "num_responses >= 2", "--on-malformed", "set-aside")
    more = ("--more-responses", 30, where("looks/more.jsonl"))
    rows = ("--keep", "success_rate < 1", "--control", "--max-rows", 9, "--val-rows", 3)
    order = ("--combine", "--schedule", "gaussian", "--batch-size", 4, "--epochs", 2)
    return [
        bucket("-i", source, "-o", b, *kept, *more, *flags),
        preprocess("-i", b, "-o", p, "--cumulative", "--replay", 0.5, *rows, *flags),
        preprocess("-i", b, "-o", p, *order, "--top", 20, "useful_group", *rows, *flags),
    ]


# Every pair for rollouts; for what becomes rollouts first, each engine and each storage.
PAIRS = list(product(["one", "pool", "ray"], ["disk", "store"]))
SOME_PAIRS = [("one", "store"), ("pool", "disk"), ("ray", "store")]


@pytest.mark.parametrize(
    ("make", "engine", "storage"),
    [
        *[(hostile, *pair) for pair in PAIRS],
        *[(make, *pair) for make in (dump, graded) for pair in SOME_PAIRS],
    ],
)
def test_engine_and_storage_change_no_byte(
    tmp_path: Path,
    bucket: Script,
    preprocess: Script,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    engine: str,
    storage: str,
    make: Callable[[Path], None],
) -> None:
    make(tmp_path / "in")
    one, flags = ("--workers", 1), flags_of(engine, request)
    every_way = make is hostile

    def run(where: Callable[[str], str], source: str, flags: tuple[Any, ...]) -> list[str]:
        return run_both(bucket, preprocess, where, source, flags, every_way)

    expected = run(lambda name: str(tmp_path / name), str(tmp_path / "in"), one)
    chosen = ("kept", "chosen") if every_way else ()
    directories = ("bucketed", "preprocessed", "looks", *chosen)
    files = {name: whole(tree(tmp_path / name)) for name in directories}
    assert "rejected/malformed.jsonl" in files["bucketed"]
    monkeypatch.setattr("curriculum.reading.input_files.SHARD_BYTES", 6_000)
    in_store = 30_000 if make is hostile else 12_000  # several shards of each plain file
    monkeypatch.setattr("curriculum.reading.input_files.STORE_SHARD_BYTES", in_store)
    monkeypatch.setattr("curriculum.output.copy_lines.PART_BYTES", 30_000)
    if storage == "disk":
        there = tmp_path / "there"
        found = run(lambda name: str(there / name), str(tmp_path / "in"), flags)
        again = {name: whole(tree(there / name)) for name in files}
    else:
        store: Store = request.getfixturevalue("store")
        for path in sorted((tmp_path / "in").iterdir()):
            store.put(f"in/{path.name}", path.read_bytes())
        found = run(lambda name: store / name, store / "in", flags)
        again = {name: whole(store_tree(store / name)) for name in files}
        parts = [name for name in store_tree(store / "bucketed") if name.startswith("easy")]
        assert len(parts) > 1
    assert found == expected
    for name, expected_files in files.items():
        assert list(again[name]) == list(expected_files)
        for file, data in expected_files.items():
            assert again[name][file] == data, file


def next_round(
    bucket: Script, preprocess: Script, where: Callable[[str], str], source: str, flags: tuple
) -> list[str]:
    """A round and the one after it, with pages; what is printed, without paths."""
    flags = ("--on-malformed", "set-aside", *flags)
    like = ("--cut-like", where("first"), "--compare-to", where("first"))
    printed = [
        bucket("-i", source, "-o", where("first"), "-m", "success_rate", *flags),
        preprocess("-i", where("first"), "-o", where("sets"), *flags),
        bucket("-i", source, "-o", where("next"), *like, "--report", where("p/n.html"), *flags),
        preprocess(
            "-i", where("next"), "-o", where("more"), "--split-like", where("sets"),
            "--report", where("p/m.html"), *flags,
        ),
    ]  # fmt: skip
    assert [code for code, _, _ in printed] == [0] * 4, printed
    texts = [re.sub(r"-\*-of-\d+", "", "\n".join(text)) for _, *text in printed]
    return [" ".join(re.sub(r"\S*/\S+|-+", "", text).split()) for text in texts]


@pytest.mark.parametrize(("engine", "storage"), SOME_PAIRS)
def test_engine_and_storage_change_no_page_and_no_comparison(
    tmp_path: Path,
    bucket: Script,
    preprocess: Script,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    engine: str,
    storage: str,
) -> None:
    hostile(tmp_path / "in")
    scripts, one, flags = (bucket, preprocess), ("--workers", 1), flags_of(engine, request)
    expected = next_round(*scripts, lambda n: str(tmp_path / n), str(tmp_path / "in"), one)
    files = {name: whole(tree(tmp_path / name)) for name in ("next", "more", "p")}
    monkeypatch.setattr("curriculum.reading.input_files.SHARD_BYTES", 6_000)
    monkeypatch.setattr("curriculum.reading.input_files.STORE_SHARD_BYTES", 30_000)
    monkeypatch.setattr("curriculum.output.copy_lines.PART_BYTES", 30_000)
    there = tmp_path / "there"
    if storage == "disk":
        found = next_round(*scripts, lambda n: str(there / n), str(tmp_path / "in"), flags)
        again = {name: whole(tree(there / name)) for name in files}
    else:
        store: Store = request.getfixturevalue("store")
        for path in sorted((tmp_path / "in").iterdir()):
            store.put(f"in/{path.name}", path.read_bytes())
        found = next_round(*scripts, lambda n: store / n, store / "in", flags)
        again = {name: whole(store_tree(store / name)) for name in files}
    assert found == expected
    assert again == files


def test_writers_on_several_machines_lock_what_they_write(
    tmp_path: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked: dict[int, list[tuple[int, int]]] = {}

    def lock(descriptor: int, how: int, size: int, start: int) -> None:
        assert how == fcntl.LOCK_EX
        locked.setdefault(os.fstat(descriptor).st_ino, []).append((start, start + size))

    monkeypatch.setattr("curriculum.output.copy_lines.fcntl.lockf", lock)
    monkeypatch.setattr("curriculum.reading.input_files.SHARD_BYTES", 6_000)
    hostile(tmp_path / "in")
    flags = ("-i", tmp_path / "in", "--workers", 1, "--on-malformed", "set-aside")
    assert bucket(*flags, "-o", tmp_path / "one")[0] == 0
    assert locked == {}
    own_init = Workers.__init__

    def on_nodes(self: Workers, *how: Any) -> None:
        own_init(self, *how)
        self.on_nodes = True

    monkeypatch.setattr(Workers, "__init__", on_nodes)
    assert bucket(*flags, "-o", tmp_path / "two")[0] == 0
    assert tree(tmp_path / "two") == tree(tmp_path / "one")
    for path in (tmp_path / "two").rglob("*.jsonl"):
        if path.name != "reasons.jsonl":
            ranges = sorted(locked.pop(path.stat().st_ino))
            assert len(ranges) > 1 or path.parent.name == "rejected"
            assert [start for start, _ in ranges] == [0, *(stop for _, stop in ranges[:-1])]
            assert ranges[-1][1] == path.stat().st_size
    assert locked == {}


def test_file_that_is_not_what_it_should_be_is_a_defect(
    tmp_path: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile(tmp_path / "in")
    flags = ("--workers", 1, "--on-malformed", "set-aside")
    monkeypatch.setattr("curriculum.output.copy_lines.copy_shard", lambda task: None)
    code, _, err = bucket("-i", tmp_path / "in", "-o", tmp_path / "out", *flags)
    assert code == 1
    assert re.match(r"error: internal error: \S*/easy.jsonl has 0 bytes instead of [\d,]+;", err)
    assert not (tmp_path / "out").exists()


def test_part_that_is_not_what_it_should_be_is_a_defect(
    tmp_path: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    write_jsonl(tmp_path / "in/a.jsonl", [rollout(1)])
    monkeypatch.setattr("curriculum.output.copy_lines.write_parts", lambda task: [7])
    code, _, err = bucket("-i", tmp_path / "in", "-o", store / "out", "-n", 1, "--workers", 1)
    assert code == 1
    assert "internal error: s3://" in err
    assert store_tree(store / "out") == {}


def test_processes_of_a_run_in_a_store_are_no_copies(
    tmp_path: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    write_jsonl(tmp_path / "in/a.jsonl", [rollout(1)])
    forks = []

    def note(count: int | None, fork: bool) -> Processes:
        forks.append(fork)
        return Processes(count, fork)

    monkeypatch.setattr("curriculum.engines.workers.Processes", note)
    for target in (tmp_path / "out", store / "out"):
        assert bucket("-i", tmp_path / "in", "-o", target, "-n", 1)[0] == 0
    assert forks == [True, False]
