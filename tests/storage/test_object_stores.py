"""Object stores: what a run reads, writes and leaves there, and what becomes of failures."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import curriculum.output.journal
from curriculum.output.journal import STAGING, recover
from curriculum.storage.paths import StorePath, to_path
from curriculum.storage.requests import RangeReader, ahead
from tests.helpers.rollouts import ROOT, Script, rollout, tree, write_jsonl
from tests.storage.object_store import Store, store_tree

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is one process if it names no number of them: in a store each starts afresh, which
    takes longer than all that these small runs do. tests/engines has runs of several."""
    monkeypatch.setattr("curriculum.engines.processes.usable_cores", lambda: 1)


@pytest.mark.parametrize(
    ("text", "root", "key", "query"),
    [
        ("s3://bucket", "s3://bucket", "", ""),
        ("s3://bucket/", "s3://bucket", "", ""),
        ("s3://bucket//a//b c/", "s3://bucket", "a/b c", ""),
        ("gs://b.c/a?.jsonl", "gs://b.c", "a?.jsonl", ""),
        ("s3://b/a?region=eu-west-1&scheme=http", "s3://b", "a", "?region=eu-west-1&scheme=http"),
        ("s3://b/run-?/x*.jsonl?region=x", "s3://b", "run-?/x*.jsonl", "?region=x"),
        ("s3://b/a?b=c.jsonl", "s3://b", "a?b=c.jsonl", ""),
    ],
)
def test_url_of_a_store(text: str, root: str, key: str, query: str) -> None:
    path = to_path(text)
    assert isinstance(path, StorePath)
    assert (path.root, path.key, path.query) == (root, key, query)
    assert str(to_path(str(path))) == str(path)


@pytest.mark.parametrize(
    ("text", "path"),
    [("a/b", "a/b"), ("/a:b/c", "/a:b/c"), ("file:///a%20b/c", "/a b/c"), ("x?y=1", "x?y=1")],
)
def test_path_of_this_disk(text: str, path: str) -> None:
    assert to_path(text) == Path(path)


def test_names_of_a_store_path() -> None:
    path = StorePath("s3://b", "a/c", "?region=x") / "d.jsonl.gz"
    assert (path.name, path.suffix, str(path)) == (
        "d.jsonl.gz",
        ".gz",
        "s3://b/a/c/d.jsonl.gz?region=x",
    )
    assert path.parent == StorePath("s3://b", "a/c", "?region=x")
    assert StorePath("s3://b", "") / "a" == StorePath("s3://b", "a")


def test_keys_in_a_url_are_refused_and_not_repeated(tmp_path: Path, bucket: Script) -> None:
    code, _, err = bucket("-i", "s3://key:secret@b/in", "-o", tmp_path / "out")
    assert code == 2
    assert err.startswith("error: s3://…: there are keys in this URL")
    assert "secret" not in err


def test_file_url_is_a_path(tmp_path: Path, bucket: Script) -> None:
    write_jsonl(tmp_path / "in put/a.jsonl", [rollout(1)])
    code, _, _ = bucket("-i", f"file://{tmp_path}/in%20put", "-o", f"file://{tmp_path}/out")
    assert code == 0
    assert (tmp_path / "out/bucketing.json").exists()


@pytest.mark.parametrize(
    "url", ["foo://b/in", "hdfs://h:9000/a", "S3://b/in", "s3:/b/in", "s3://", "file://data/in"]
)
def test_other_urls_are_refused(tmp_path: Path, bucket: Script, url: str) -> None:
    for flags in (("-i", url, "-o", tmp_path / "out"), ("-i", tmp_path, "-o", url)):
        code, _, err = bucket(*flags)
        assert code == 2
        assert err.startswith(f"error: {url}: this is no URL that is known here, expected s3://")


def test_ahead_keeps_the_order_and_takes_items_as_they_are_needed() -> None:
    taken: list[int] = []

    def items() -> Any:
        for number in range(50):
            taken.append(number)
            yield number

    def slow(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return -number

    found = ahead(slow, items(), 4)
    assert next(found) == 0
    assert len(taken) <= 5
    assert list(found) == [-number for number in range(1, 50)]


def put_rollouts(store: Store, name: str = "in/a.jsonl", count: int = 30) -> list[dict[str, Any]]:
    rollouts = [rollout(i % 7 / 6, i % 4 / 3, prompt=f"prompt {i}") for i in range(count)]
    store.put(name, "".join(json.dumps(r) + "\n" for r in rollouts).encode())
    return rollouts


def names(store: Store, directory: str) -> list[str]:
    return list(store_tree(store / directory))


def test_files_are_found_as_on_a_disk(store: Store, tmp_path: Path, bucket: Script) -> None:
    for name in (
        "run1/a.jsonl",
        "run1/.b.jsonl",
        "run1/notes.txt",
        "run1/deep/c.jsonl",
        "run2/d.jsonl",
    ):
        put_rollouts(store, name, 3)

    def read(*inputs: str) -> list[str]:
        code, _, err = bucket("-i", *inputs, "-o", tmp_path / "out", "-n", 1)
        assert code == 0, err
        manifest = json.loads((tmp_path / "out/bucketing.json").read_text())
        return [record["path"].removeprefix(store / "") for record in manifest["inputs"]]

    assert read(store / "run1") == ["run1/a.jsonl"]
    assert read(store / "run1/") == ["run1/a.jsonl"]
    assert read(store / "run1/a.jsonl", store / "run1") == ["run1/a.jsonl"]
    assert read(store / "run*/*.jsonl") == ["run1/a.jsonl", "run2/d.jsonl"]
    assert read(store / "run?/d.jsonl") == ["run2/d.jsonl"]
    put_rollouts(store, "run1/.hidden/e.jsonl", 3)
    assert read(store / "run1/*/*.jsonl") == ["run1/deep/c.jsonl"]
    assert read(store / "run1/.h*/*.jsonl") == ["run1/.hidden/e.jsonl"]
    for wrong, told in [
        ("run3", "no such file or directory"),
        ("run1/notes.txt", "this file's name does not end like"),
        ("run1/deep/x*", "no such file or directory"),
    ]:
        code, _, err = bucket("-i", store / wrong, "-o", tmp_path / "out")
        assert code == 1
        assert err.startswith(f"error: {store / wrong}: {told}")


def test_bucket_that_is_not_there(tmp_path: Path, store: Store, bucket: Script) -> None:
    write_jsonl(tmp_path / "in/a.jsonl", [rollout(1)])
    nobody = "s3://nobody-has-this"
    for flags in ((tmp_path / "in", f"{nobody}/out"), (f"{nobody}/in", tmp_path / "out")):
        code, _, err = bucket("-i", flags[0], "-o", flags[1])
        assert code == 1
        assert err.startswith(f"error: {nobody}/: there is no such bucket")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_nothing_may_be_written(store: Store, bucket: Script, method: str) -> None:
    put_rollouts(store)
    store.deny(method)
    code, _, err = bucket("-i", store / "in", "-o", store / "out")
    assert code == 1
    assert err.startswith(f"error: {store / 'out'}: this cannot be written to (")
    assert "nothing was written" in err


def test_nothing_may_be_read(store: Store, tmp_path: Path, bucket: Script) -> None:
    put_rollouts(store)
    store.deny("GET")
    code, _, err = bucket("-i", store / "in", "-o", tmp_path / "out")
    assert (code, "ACCESS_DENIED" in err or "Forbidden" in err) == (1, True)


def test_failed_run_leaves_the_old_outputs(store: Store, bucket: Script) -> None:
    put_rollouts(store)
    assert bucket("-i", store / "in", "-o", store / "out")[0] == 0
    before = store_tree(store / "out")
    store.put("in/b.jsonl", b"no rollout\n")
    code, _, err = bucket("-i", store / "in", "-o", store / "out")
    assert code == 1
    assert f"{store / 'in/b.jsonl'}:1: " in err
    assert store_tree(store / "out") == before


def test_rerun_with_fewer_buckets_removes_the_parts_of_the_others(
    store: Store, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_rollouts(store)
    monkeypatch.setattr("curriculum.reading.input_files.STORE_SHARD_BYTES", 500)
    monkeypatch.setattr("curriculum.output.copy_lines.PART_BYTES", 1_500)
    assert bucket("-i", store / "in", "-o", store / "out", "-n", 3)[0] == 0
    assert len([name for name in names(store, "out") if name.startswith("medium")]) > 1
    store.put("out/mine.txt", b"x")
    assert bucket("-i", store / "in", "-o", store / "out", "-n", 2)[0] == 0
    assert {name.partition("-")[0] for name in names(store, "out")} == {
        "bucketing.json", "easy", "hard", "mine.txt",
    }  # fmt: skip


def test_file_of_somebody_else_is_in_the_way(store: Store, bucket: Script) -> None:
    put_rollouts(store)
    mine = store.put("out/hard-00000-of-00007.jsonl", b"mine")
    code, _, err = bucket("-i", store / "in", "-o", store / "out")
    assert code == 1
    assert err.startswith(f"error: {mine}: this file is there already, and no manifest says")
    assert store_tree(store / "out") == {"hard-00000-of-00007.jsonl": b"mine"}


def test_output_is_an_input_directory(store: Store, bucket: Script) -> None:
    put_rollouts(store)
    for same in ("in/", "in?region=us-east-1"):
        code, _, err = bucket("-i", store / "in", "-o", store / same)
        assert code == 1
        assert "the output directory is an input directory" in err


def test_output_is_a_file(store: Store, bucket: Script) -> None:
    put_rollouts(store)
    code, _, err = bucket("-i", store / "in", "-o", store / "in/a.jsonl")
    assert code == 1
    assert err.startswith(f"error: {store / 'in/a.jsonl'}: this is a file, expected a directory")


def test_empty_bucket_has_a_part(store: Store, bucket: Script) -> None:
    store.put("in/a.jsonl", json.dumps(rollout(1)).encode())
    assert bucket("-i", store / "in", "-o", store / "out", "-n", 2)[0] == 0
    assert store_tree(store / "out")["hard-00000-of-00001.jsonl"] == b""
    manifest = json.loads(store_tree(store / "out")["bucketing.json"])
    assert [record["parts"] for record in manifest["buckets"]] == [1, 1]


def test_without_its_manifest_the_output_does_not_exist(
    store: Store, tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    put_rollouts(store)
    assert bucket("-i", store / "in", "-o", store / "out")[0] == 0
    store.remove("out/bucketing.json")
    code, _, err = preprocess("-i", store / "out", "-o", tmp_path / "p")
    assert code == 1
    assert err.startswith(f"error: {store / 'out'}: there is no bucketing.json here, expected")


def test_part_that_is_gone(
    store: Store, tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    put_rollouts(store)
    assert bucket("-i", store / "in", "-o", store / "out")[0] == 0
    store.remove("out/medium-00000-of-00001.jsonl")
    code, _, err = preprocess("-i", store / "out", "-o", tmp_path / "p")
    assert code == 1
    gone = store / "out/medium-00000-of-00001.jsonl"
    assert err.startswith(f"error: {gone}: bucketing.json names this bucket file, and it is not")


@pytest.mark.parametrize("manifest", [True, False])
def test_parts_that_were_fetched_are_read_as_one_file(
    store: Store,
    tmp_path: Path,
    bucket: Script,
    preprocess: Script,
    monkeypatch: pytest.MonkeyPatch,
    manifest: bool,
) -> None:
    put_rollouts(store, count=60)
    monkeypatch.setattr("curriculum.reading.input_files.STORE_SHARD_BYTES", 500)
    monkeypatch.setattr("curriculum.output.copy_lines.PART_BYTES", 1_500)
    assert bucket("-i", store / "in", "-o", store / "out")[0] == 0
    assert bucket("-i", store / "in", "-o", tmp_path / "one")[0] == 0
    (tmp_path / "parts").mkdir()
    for name, data in store_tree(store / "out").items():
        (tmp_path / "parts" / name).write_bytes(data)
    if not manifest:
        (tmp_path / "parts/bucketing.json").unlink()
        (tmp_path / "one/bucketing.json").unlink()
    for name in ("one", "parts"):
        assert preprocess("-i", tmp_path / name, "-o", tmp_path / "p" / name)[0] == 0
    parquet = [
        {
            name: data
            for name, data in tree(tmp_path / "p" / of).items()
            if name != "preprocessing.json"
        }
        for of in ("one", "parts")
    ]
    assert parquet[0] == parquet[1]
    gone = next((tmp_path / "parts").glob("easy-00001-of-*.jsonl"))
    gone.unlink()
    code, _, err = preprocess("-i", tmp_path / "parts", "-o", tmp_path / "p/again")
    assert code == 1
    assert err.startswith(f"error: {gone}: ")


def test_commit_that_was_stopped_is_finished_by_the_next_run(
    store: Store, bucket: Script, preprocess: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_rollouts(store)
    assert bucket("-i", store / "in", "-o", store / "out", "-n", 3)[0] == 0
    own_move, moved = curriculum.output.journal.move, []

    def move_some(source: Any, target: Any) -> None:
        if len(moved) > 1:
            raise OSError("the store is gone")
        moved.append(target)
        own_move(source, target)

    monkeypatch.setattr(curriculum.output.journal, "move", move_some)
    code, _, err = bucket("-i", store / "in", "-o", store / "out", "-n", 2)
    assert code == 1
    assert "the finished files could not all be moved into place (the store is gone)" in err
    assert ".curriculum-journal.json" in names(store, "out")
    assert "bucketing.json" not in names(store, "out")
    monkeypatch.setattr(curriculum.output.journal, "move", own_move)
    code, _, err = preprocess("-i", store / "out", "-o", store / "p")
    assert code == 1
    assert err.startswith(f"error: {store / 'out'}: a run is just finishing here, or was stopped")
    recover(to_path(store / "out"))
    assert names(store, "out") == [
        "bucketing.json", "easy-00000-of-00001.jsonl", "hard-00000-of-00001.jsonl",
    ]  # fmt: skip
    assert json.loads(store_tree(store / "out")["bucketing.json"])["method"]["num_buckets"] == 2
    assert bucket("-i", store / "in", "-o", store / "out", "-n", 3)[0] == 0


def test_journal_may_be_finished_by_two_at_once(
    store: Store, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_rollouts(store)
    expected = finished(store, bucket, "one", 2)
    assert bucket("-i", store / "in", "-o", store / "out", "-n", 3)[0] == 0
    own_move, finishing = curriculum.output.journal.move, []

    def move_while_another_finishes(source: Any, target: Any) -> None:
        own_move(source, target)
        if target.name.startswith("easy") and not finishing:
            finishing.append(True)
            recover(to_path(store / "out"))

    monkeypatch.setattr(curriculum.output.journal, "move", move_while_another_finishes)
    assert finished(store, bucket, "out", 2) == expected
    assert finishing


def finished(store: Store, bucket: Script, name: str, count: int) -> dict[str, bytes]:
    code, _, err = bucket("-i", store / "in", "-o", store / name, "-n", count)
    assert code == 0, err
    return store_tree(store / name)


def test_two_runs_at_once_are_noticed(
    store: Store, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_rollouts(store)
    from curriculum import bucket as pipeline

    check = pipeline.check_unchanged

    def meanwhile(files: Any) -> None:
        monkeypatch.setattr(pipeline, "check_unchanged", check)
        assert bucket("-i", store / "in", "-o", store / "out", "-n", 2)[0] == 0
        check(files)

    monkeypatch.setattr(pipeline, "check_unchanged", meanwhile)
    code, _, err = bucket("-i", store / "in", "-o", store / "out", "-n", 3)
    assert code == 1
    assert err.startswith(f"error: {store / 'out'}: another run wrote into this directory while")
    assert "medium-00000-of-00001.jsonl" not in names(store, "out")
    assert not [name for name in names(store, "out") if name.startswith(STAGING)]


def test_killed_run_is_told_by_the_next_one(store: Store, bucket: Script) -> None:
    put_rollouts(store)
    left = store.put(f"out/{STAGING}-0123abcd/owner", b"1\nhost\n")
    code, _, err = bucket("-i", store / "in", "-o", store / "out")
    assert code == 0
    assert f"warning: {left.removesuffix('/owner')}: files of a run that was stopped" in err
    assert f"{STAGING}-0123abcd/owner" in names(store, "out")


@pytest.mark.usefixtures("foreground")
def test_interrupted_run_leaves_nothing(store: Store) -> None:
    put_rollouts(store, count=3)
    slow = (
        "import sys, time, curriculum.bucket as b, bucket_rollouts_by_difficulty as s\n"
        "own = b.check_unchanged\n"
        "b.check_unchanged = lambda files: (print('now', flush=True), time.sleep(60))\n"
        "sys.exit(s.main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", slow, "-i", store / "in", "-o", store / "out"]
    run = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "now\n"
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (130, "interrupted: nothing was written\n")
    assert store_tree(store / "out") == {}


def test_file_too_large_for_one_copy_goes_through_this_machine(
    store: Store, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_rollouts(store)
    assert bucket("-i", store / "in", "-o", store / "one")[0] == 0
    copied, own_copy = [], shutil.copyfileobj

    def copy(source: Any, sink: Any, step: int) -> None:
        copied.append(source)
        own_copy(source, sink, step)

    monkeypatch.setattr("curriculum.storage.paths.COPY_BYTES", 500)
    monkeypatch.setattr("curriculum.storage.paths.shutil.copyfileobj", copy)
    assert bucket("-i", store / "in", "-o", store / "two")[0] == 0
    assert len(copied) >= 3
    assert store_tree(store / "two") == store_tree(store / "one")


def test_input_that_changes_meanwhile(
    store: Store, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_rollouts(store)
    from curriculum import bucket as pipeline

    check = pipeline.check_unchanged

    def meanwhile(files: Any) -> None:
        put_rollouts(store, count=29)
        check(files)

    monkeypatch.setattr(pipeline, "check_unchanged", meanwhile)
    code, _, err = bucket("-i", store / "in", "-o", store / "out")
    assert code == 1
    assert err.startswith(f"error: {store / 'in/a.jsonl'}: the file changed while it was read")
    assert store_tree(store / "out") == {}


@pytest.mark.parametrize("workers", [1, 2])
def test_requests_that_fail_at_random_change_nothing(
    store: Store, bucket: Script, preprocess: Script, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_rollouts(store, count=40)
    monkeypatch.setattr("curriculum.reading.input_files.STORE_SHARD_BYTES", 2_000)
    monkeypatch.setattr("curriculum.output.copy_lines.PART_BYTES", 5_000)

    def run(name: str) -> dict[str, bytes]:
        bucketed, flags = store / "bucketed", ("--workers", workers)
        told = bucket("-i", store / "in", "-o", bucketed, *flags)
        assert told[::2] == (0, "")
        told = preprocess("-i", bucketed, "-o", store / name, *flags)
        assert told[0] == 0, told[2]
        return {**store_tree(bucketed), **store_tree(store / name)}

    expected = run("one")
    store.fail(ratio=0.07, seed=workers)
    found = run("two")
    assert sum(store.counts().values()) > 150
    assert found == expected


def test_store_that_always_fails(
    store: Store, tmp_path: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_rollouts(store)
    monkeypatch.setattr("curriculum.storage.requests.WAIT_SECONDS", ())
    store.fail(ratio=1.0)
    code, _, err = bucket("-i", store / "in", "-o", tmp_path / "out")
    assert code == 1
    assert "AWS Error" in err
    assert not (tmp_path / "out").exists()


def test_file_that_is_not_there(store: Store) -> None:
    path = to_path(store / "gone")
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        path.stat()
    with pytest.raises(FileNotFoundError):
        path.open("rb")
    with pytest.raises(FileNotFoundError):
        path.unlink()
    path.unlink(missing_ok=True)


def test_inputs_of_both_kinds(store: Store, tmp_path: Path, bucket: Script) -> None:
    rollouts = put_rollouts(store, count=5)
    write_jsonl(tmp_path / "in/b.jsonl", [rollout(1)])
    code, _, _ = bucket("-i", tmp_path / "in", store / "in", "-o", tmp_path / "out", "-n", 1)
    assert code == 0
    assert len((tmp_path / "out/level_1.jsonl").read_text().splitlines()) == len(rollouts) + 1


def test_request_that_fails_is_made_again(store: Store) -> None:
    path = to_path(store.put("a", b"short"))
    store.fail(of="GET", most=3)
    assert path.read_bytes() == b"short"
    assert store.counts()["GET"] == 4


def test_ranges_are_as_many_as_it_takes() -> None:
    class File:
        """A file that notes what is asked for."""

        def __init__(self, size: int) -> None:
            self.data, self.asked = bytes(i % 251 for i in range(size)), []

        def size(self) -> int:
            return len(self.data)

        def read_at(self, size: int, offset: int) -> bytes:
            self.asked.append((offset, size))
            return self.data[offset : offset + size]

    file = File(1_000)
    reader = RangeReader(file, 100, 800)
    reader.seek(50)
    assert reader.read(30) == file.data[50:80]
    assert reader.readall() == file.data[80:800]
    assert file.asked == [(50, 100), (150, 200), (350, 400), (750, 50)]


def test_another_run_that_begins_to_finish_is_noticed(
    store: Store, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_rollouts(store)
    own_move = curriculum.output.journal.move

    def move_and_be_overtaken(source: Any, target: Any) -> None:
        own_move(source, target)
        if target.name == curriculum.output.journal.JOURNAL:
            other = json.loads(target.read_bytes())
            other["staging"] = f"{STAGING}-0123abcd"
            target.write_bytes(json.dumps(other).encode())

    monkeypatch.setattr(curriculum.output.journal, "move", move_and_be_overtaken)
    code, _, err = bucket("-i", store / "in", "-o", store / "out")
    assert code == 1
    assert "another run wrote into this directory while this one was at work" in err
    assert names(store, "out") == [curriculum.output.journal.JOURNAL]


def test_parts_of_which_most_are_missing(tmp_path: Path, preprocess: Script) -> None:
    part = write_jsonl(tmp_path / "in/easy-00000-of-999999999.jsonl", [rollout(1)])
    code, _, err = preprocess("-i", tmp_path / "in", "-o", tmp_path / "out")
    assert code == 1
    assert err.startswith(f"error: {part}: this is one of 999,999,999 parts, and others are not")


@pytest.mark.parametrize("name", ["easy.jsonl", "easy-00000-of-00001.jsonl"])
def test_bucket_that_is_there_twice(tmp_path: Path, preprocess: Script, name: str) -> None:
    for part in ("easy-00000-of-00002.jsonl", "easy-00001-of-00002.jsonl", name):
        write_jsonl(tmp_path / "in" / part, [rollout(1)])
    code, _, err = preprocess("-i", tmp_path / "in", "-o", tmp_path / "out")
    assert code == 1
    assert "bucket easy is there twice: easy-" in err


def test_bucket_name_with_a_dot(store: Store, bucket: Script, preprocess: Script) -> None:
    put_rollouts(store)
    flags = ("-n", 2, "--bucket-names", "v1.5", "v2")
    code, out, _ = bucket("-i", store / "in", "-o", store / "out", *flags)
    assert code == 0
    assert "wrote v1.5-*-of-00001.jsonl, " in out
    assert "v1.5-00000-of-00001.jsonl" in names(store, "out")
    assert preprocess("-i", store / "out", "-o", store / "p")[0] == 0
    assert "v1.5_train.parquet" in names(store, "p")


CUMULATIVE = ("cumulative/stage1_and_2", "cumulative/stage1_to_3", "easy", "hard", "medium")


def test_cumulative_sets_are_written_as_on_a_disk(
    store: Store, tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    put_rollouts(store, count=60)
    assert bucket("-i", store / "in", "-o", store / "b")[0] == 0
    combined = ("--combine", "--output-name", "stage1_and_2", "--buckets", "hard")
    for p in (store / "p", tmp_path / "p"):
        assert preprocess("-i", store / "b", "-o", f"{p}/cumulative", *combined)[0] == 0
        flags = ("--cumulative", "--val-ratio", 0)
        assert preprocess("-i", store / "b", "-o", p, *flags)[0] == 0
    found = store_tree(store / "p")
    assert found == tree(tmp_path / "p")
    manifests = {"preprocessing.json", "cumulative/preprocessing.json"}
    assert set(found) == manifests | {f"{name}_train.parquet" for name in CUMULATIVE}
    store.remove("p/cumulative/preprocessing.json")
    code, _, err = preprocess("-i", store / "b", "-o", store / "p", "--cumulative")
    assert code == 1
    there = "cumulative/stage1_and_2_train.parquet: this file is there already, and no manifest"
    assert err.startswith(f"error: {store / 'p'}/{there}")


def test_another_run_in_cumulative_is_noticed(
    store: Store, bucket: Script, preprocess: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_rollouts(store, count=60)
    assert bucket("-i", store / "in", "-o", store / "b")[0] == 0
    pipeline = import_module("curriculum.preprocess")
    check = pipeline.check_unchanged

    def meanwhile(files: Any) -> None:
        monkeypatch.setattr(pipeline, "check_unchanged", check)
        flags = ("--combine", "--output-name", "other")
        assert preprocess("-i", store / "b", "-o", store / "p/cumulative", *flags)[0] == 0
        check(files)

    monkeypatch.setattr(pipeline, "check_unchanged", meanwhile)
    code, _, err = preprocess("-i", store / "b", "-o", store / "p", "--cumulative")
    assert code == 1
    assert err.startswith(f"error: {store / 'p'}: another run wrote into this directory while")
