"""Staged files, copied lines and their commit: whole or not at all."""

from __future__ import annotations

import errno
import os
import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from curriculum.errors import FinishedInterrupt, InputError
from curriculum.output.copy_lines import CopyTask, copy_shard
from curriculum.output.journal import JOURNAL, Journal, recover_to_read
from curriculum.output.lock import LOCK, DirectoryLock
from curriculum.output.manifests import PreprocessingManifest, load_manifest
from curriculum.output.output_directory import OutputDirectory
from curriculum.reading.find_files import find_file
from curriculum.reading.input_files import cut_shards
from tests.helpers.rollouts import ROOT, Script, rollout, tree, write_jsonl

MANIFEST = PreprocessingManifest("0", {}, ())


def stage(outputs: OutputDirectory, *names: str) -> None:
    for name in names:
        outputs.stage(name).write_text(f"new {name}")


def test_what_is_in_the_way_of_a_commit_is_told_and_the_next_run_finishes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "b").mkdir(parents=True)
    (out / "b/in the way").write_text("")
    (out / "preprocessing.json").write_text("old")
    with (
        pytest.raises(InputError, match="next first moves the rest"),
        OutputDirectory(out) as outputs,
    ):
        stage(outputs, "a", "b", "c")
        outputs.commit(MANIFEST, [])
    # No manifest says that the run finished, and nothing that is needed has gone.
    assert not (out / "preprocessing.json").exists()
    assert (out / JOURNAL).exists()
    with pytest.raises(InputError, match=re.escape(f"{out}/b: the finished files")):
        recover_to_read(out)
    (out / "b").rename(tmp_path / "away")
    with OutputDirectory(out):
        assert sorted(tree(out)) == [".curriculum-lock", "a", "b", "c", "preprocessing.json"]
    assert sorted(tree(out)) == ["a", "b", "c", "preprocessing.json"]


def test_old_files_go_and_those_of_others_stay(tmp_path: Path) -> None:
    for name in ("old", "mine", "rejected/old.jsonl", "rejected/mine"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    with OutputDirectory(tmp_path) as outputs:
        stage(outputs, "new")
        outputs.commit(MANIFEST, ["old", "rejected/old.jsonl", "never there"])
    assert sorted(tree(tmp_path)) == ["mine", "new", "preprocessing.json", "rejected/mine"]


def test_failed_run_leaves_no_directory_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), OutputDirectory(tmp_path / "deep/er") as outputs:
        outputs.stage("rejected/x").write_text("new")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_run_staged_is_cleared(tmp_path: Path, bucket: Script) -> None:
    write_jsonl(tmp_path / "a.jsonl", [rollout(1)])
    staging = tmp_path / "out/.curriculum-staging-abcd_123"
    staging.mkdir(parents=True)
    (staging / "level_1.jsonl").write_bytes(b"x" * 10_000)
    (tmp_path / "out/.curriculum-lock").write_text("1\nhere\n")
    assert bucket("-i", tmp_path / "a.jsonl", "-o", tmp_path / "out", "-n", 1)[0] == 0
    assert sorted(tree(tmp_path / "out")) == ["bucketing.json", "level_1.jsonl"]
    assert not staging.exists()


def test_second_run_into_a_directory_says_who_is_there(
    tmp_path: Path, bucket: Script, preprocess: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waits"))
    write_jsonl(tmp_path / "a.jsonl", [rollout(1)])
    out = tmp_path / "out"
    flags = ("-i", tmp_path / "a.jsonl", "-o", out, "-n", 1)
    assert bucket(*flags)[0] == 0
    before = tree(out)
    with OutputDirectory(out):
        assert (out / ".curriculum-lock").read_text().split("\n")[0] == str(os.getpid())
        for code, _, err in (bucket(*flags), preprocess("-i", out, "-o", tmp_path / "sets")):
            assert code == 1
            assert f"{out}: process {os.getpid()} on " in err
            assert "is writing into this directory" in err
        assert not (tmp_path / "sets").exists()
    assert tree(out) == before
    assert bucket(*flags)[0] == 0


def test_lock_of_a_dead_run_is_waited_for_while_a_process_of_it_lives(tmp_path: Path) -> None:
    """Its workers hold the lock too, and are told by their lifeline to end."""
    program = (
        "import os, sys, time\nfrom pathlib import Path\n"
        "from curriculum.output.lock import LOCK, DirectoryLock\n"
        "with DirectoryLock(Path(sys.argv[1])):\n"
        "    child = os.fork()\n"
        "    if not child: time.sleep(1); os._exit(0)\n"
        "    print('locked', flush=True); os.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        process.wait()
        began = time.monotonic()
        with DirectoryLock(tmp_path):
            assert time.monotonic() - began > 0.2


@pytest.mark.usefixtures("foreground")
def test_signal_during_a_commit_is_answered_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = Journal.finish

    def interrupted(self: Journal, directory: Path) -> None:
        signal.raise_signal(signal.SIGINT)
        finish(self, directory)

    monkeypatch.setattr(Journal, "finish", interrupted)
    with pytest.raises(FinishedInterrupt), OutputDirectory(tmp_path) as outputs:
        stage(outputs, "a")
        outputs.commit(MANIFEST, [])
    assert sorted(tree(tmp_path)) == ["a", "preprocessing.json"]
    (tmp_path / "a").unlink()
    (tmp_path / "a").mkdir()  # in the way: that is what went wrong, not the signal
    with (
        pytest.raises(InputError, match="could not all be moved"),
        OutputDirectory(tmp_path) as outputs,
    ):
        stage(outputs, "a")
        outputs.commit(MANIFEST, [])


def test_failure_right_after_the_journal_loses_nothing(
    tmp_path: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jsonl(tmp_path / "a.jsonl", [rollout(1), rollout(0), rollout(0.5)])
    out = tmp_path / "out"
    assert bucket("-i", tmp_path / "a.jsonl", "-o", out, "-n", 3)[0] == 0
    flags = ("-i", tmp_path / "a.jsonl", "-o", out, "-n", 2)

    def fail(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink() == out:
            raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", fail)
        code, _, err = bucket(*flags)
    assert (code, "next first moves the rest" in err) == (1, True)
    assert "nothing was written" not in err
    recover_to_read(out)
    after = tree(out)
    assert sorted(after) == ["bucketing.json", "easy.jsonl", "hard.jsonl"]
    assert bucket(*flags)[0] == 0
    assert tree(out) == after


def test_journal_whose_files_are_gone_removes_nothing(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    (tmp_path / JOURNAL).write_text(OWN.replace('"remove": []', '"remove": ["old"]'))
    with pytest.raises(InputError, match="a is gone since"):
        recover_to_read(tmp_path)
    assert sorted(tree(tmp_path)) == [JOURNAL, "old"]


def test_what_only_looks_like_ours_stays(tmp_path: Path) -> None:
    (tmp_path / ".curriculum-staging-backup").mkdir()
    (tmp_path / ".curriculum-staging-backup/mine").write_text("")
    (tmp_path / "rejected").mkdir()
    with OutputDirectory(tmp_path) as outputs:
        stage(outputs, "a")
        outputs.commit(MANIFEST, [])
    assert (tmp_path / ".curriculum-staging-backup/mine").exists()
    assert (tmp_path / "rejected").is_dir()


def test_full_disk_leaves_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(OSError, match="No space left"), OutputDirectory(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_lock_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be read, not written; it is in the way only while it is held."""
    opened = os.open

    def refuse_to_write(path: object, flags: int, *mode: int) -> int:
        if Path(str(path)).name == LOCK and flags & os.O_RDWR and Path(str(path)).exists():
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, flags, *mode)  # type: ignore[arg-type]

    (tmp_path / LOCK).write_text("1\nelsewhere\n")
    with monkeypatch.context() as patched:
        patched.setattr("os.open", refuse_to_write)
        with DirectoryLock(tmp_path):
            assert (tmp_path / LOCK).read_text().split()[0] == str(os.getpid())
            with (
                pytest.raises(InputError, match=f"process {os.getpid()} on"),
                OutputDirectory(tmp_path),
            ):
                pass
    assert list(tmp_path.iterdir()) == []


def test_lock_that_was_removed_by_hand_is_not_taken_from_the_next_run(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path):
        (tmp_path / LOCK).unlink()
        (tmp_path / LOCK).write_text("another run's")
    assert (tmp_path / LOCK).read_text() == "another run's"


def test_lock_of_another_machine_counts_as_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DirectoryLock(tmp_path):
        (tmp_path / LOCK).write_text("999999999\nelsewhere\n")
        with pytest.raises(InputError, match="process 999999999 on elsewhere"):
            DirectoryLock(tmp_path).__enter__()
        (tmp_path / LOCK).write_text(f"999999999\n{platform.node()}\n")
        monkeypatch.setattr("curriculum.output.lock.PATIENCE_SECONDS", 0)
        with pytest.raises(InputError, match="what is left of process 999999999, which is dead"):
            DirectoryLock(tmp_path).__enter__()


def test_everything_staged_is_on_the_disk_before_the_journal_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def record(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    monkeypatch.setattr("os.fsync", record)
    for sync in (False, True):
        with OutputDirectory(tmp_path, sync) as outputs:
            stage(outputs, "a", "rejected/b")
            outputs.commit(MANIFEST, [])
        if not sync:
            assert synced == []
    staging = next(name for name in synced if name.startswith(".curriculum-staging-"))
    at = synced.index(JOURNAL)
    assert {"a", "b", "preprocessing.json", staging, "rejected"} == set(synced[:at])
    assert synced[at:] == [JOURNAL, tmp_path.name, "rejected", tmp_path.name]


OWN = '{"staging": ".curriculum-staging-abcd_123", "files": ["a"], "remove": [], "sync": true}'


@pytest.mark.parametrize(
    "journal",
    [
        "{", "[]",
        OWN.replace(".curriculum-staging-abcd_123", "x"),
        OWN.replace("abcd_123", "abcd_123/../.."),
        OWN.replace('"a"', ""),
        OWN.replace('"a"', '"/tmp/a"'),
        OWN.replace('"remove": []', '"remove": ["../mine"]'),
    ],
)  # fmt: skip
def test_journal_that_is_none_of_ours_is_refused(tmp_path: Path, journal: str) -> None:
    (tmp_path / "mine").write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    (out / JOURNAL).write_text(journal)
    with pytest.raises(InputError, match="not a journal of this toolkit"):
        recover_to_read(out)
    assert sorted(tree(tmp_path)) == ["mine", f"out/{JOURNAL}"]


@pytest.mark.parametrize("name", ["../a.jsonl", "/tmp/a.jsonl", "rejected/../../a.jsonl", "", ".."])
def test_manifest_that_names_files_elsewhere_is_refused(
    tmp_path: Path, bucket: Script, name: str
) -> None:
    write_jsonl(tmp_path / "a.jsonl", [rollout(1)])
    out = tmp_path / "out"
    assert bucket("-i", tmp_path / "a.jsonl", "-o", out, "-n", 1)[0] == 0
    text = (out / "bucketing.json").read_text()
    (out / "bucketing.json").write_text(text.replace("level_1.jsonl", name))
    code, _, err = bucket("-i", tmp_path / "a.jsonl", "-o", out, "-n", 2)
    assert (code, "names files elsewhere" in err) == (1, True)
    assert (tmp_path / "a.jsonl").exists()


def test_links_are_not_followed_out_of_the_directory(tmp_path: Path, bucket: Script) -> None:
    write_jsonl(tmp_path / "in/a.jsonl", [rollout(1), rollout(None)])
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    elsewhere.mkdir()
    (elsewhere / "level_1.jsonl").write_text("mine")
    flags = ("-i", tmp_path / "in", "-o", out, "-n", 1)
    assert bucket(*flags)[0] == 0
    (out / "level_1.jsonl").unlink()
    (out / "level_1.jsonl").symlink_to(elsewhere / "level_1.jsonl")  # replaced, not written through
    assert bucket(*flags)[0] == 0
    assert not (out / "level_1.jsonl").is_symlink()
    (out / "rejected").rename(tmp_path / "away")
    (out / "rejected").symlink_to(elsewhere)
    code, _, err = bucket(*flags)
    assert (code, f"{out}/rejected: this is no directory" in err) == (1, True)
    assert tree(elsewhere) == {"level_1.jsonl": b"mine"}
    (out / "rejected").unlink()
    (out / ".curriculum-lock").symlink_to(elsewhere / "lock")
    assert bucket(*flags)[0] == 1
    assert tree(elsewhere) == {"level_1.jsonl": b"mine"}


def test_half_done_directory_that_may_not_be_written_to_is_refused(
    tmp_path: Path, bucket: Script, preprocess: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jsonl(tmp_path / "a.jsonl", [rollout(1)])
    out = tmp_path / "out"
    assert bucket("-i", tmp_path / "a.jsonl", "-o", out, "-n", 1)[0] == 0
    may = os.access
    monkeypatch.setattr("os.access", lambda path, mode: path != out and may(path, mode))
    assert preprocess("-i", out, "-o", tmp_path / "sets")[0] == 0
    (out / LOCK).write_text("")  # all that a dead run left: it had not begun to write
    assert preprocess("-i", out, "-o", tmp_path / "sets")[0] == 0
    (out / ".curriculum-staging-abcd_123").mkdir()
    code, _, err = preprocess("-i", out, "-o", tmp_path / "sets")
    assert (code, "a run is writing here, or was stopped" in err) == (1, True)


def test_buckets_that_are_written_anew_meanwhile_are_refused(
    tmp_path: Path, bucket: Script, preprocess: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also between the manifest and the files, which stay as long as they were."""
    write_jsonl(tmp_path / "a.jsonl", [rollout(1), rollout(0, prompt="b")])
    out = tmp_path / "out"
    assert bucket("-i", tmp_path / "a.jsonl", "-o", out, "-n", 2)[0] == 0
    load = load_manifest

    def load_and_bucket(directory: Path, kind: Any) -> Any:
        found = load(directory, kind)
        if directory == out:
            flags = ("-n", 2, "-m", "max_reward")
            assert bucket("-i", tmp_path / "a.jsonl", "-o", out, *flags)[0] == 0
        return found

    with monkeypatch.context() as patched:
        patched.setattr("curriculum.preprocessing.bucket_directory.load_manifest", load_and_bucket)
        code, _, err = preprocess("-i", out, "-o", tmp_path / "sets")
    assert (code, "bucketing.json changed while the buckets were read" in err) == (1, True)
    assert not (tmp_path / "sets").exists()


def test_preprocessing_finishes_what_a_dead_bucketing_began(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    write_jsonl(tmp_path / "a.jsonl", [rollout(1)])
    out = tmp_path / "out"
    assert bucket("-i", tmp_path / "a.jsonl", "-o", out, "-n", 1)[0] == 0
    after = tree(out)
    staging = out / ".curriculum-staging-abcd_123"
    staging.mkdir()
    (out / "level_1.jsonl").rename(staging / "level_1.jsonl")
    (out / "bucketing.json").rename(staging / "bucketing.json")
    (out / "old.jsonl").write_text("")
    journal = Journal(staging.name, ("level_1.jsonl", "bucketing.json"), ("old.jsonl",), True)
    (out / JOURNAL).write_bytes(msgspec.json.encode(journal))
    assert preprocess("-i", out, "-o", tmp_path / "sets")[0] == 0
    assert tree(out) == after


def copy_task(tmp_path: Path, lengths: list[int], text: bytes = b"ab\ncd\nef") -> CopyTask:
    source = tmp_path / "a.jsonl"
    source.write_bytes(text)
    (shard,) = cut_shards([find_file(source)])
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        path.touch()
    places = np.array([1, 0, 1][: len(lengths)])
    return CopyTask(shard, np.array(lengths), places, paths, np.array([0, 0]))


def test_disk_that_takes_a_part_gets_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_byte(descriptor: int, pieces: list, offset: int) -> int:
        return os.pwrite(descriptor, bytes(b"".join(pieces))[:1], offset)

    monkeypatch.setattr("os.pwritev", one_byte)
    copy_shard(copy_task(tmp_path, [2, 2, 2]))
    assert (tmp_path / "one").read_bytes() == b"cd\n"
    assert (tmp_path / "two").read_bytes() == b"ab\nef\n"


@pytest.mark.parametrize("lengths", [[2, 2], [2, 3, 2], [2, 2, 2, 2], [1, 2, 2]])
def test_lines_that_are_not_the_scanned_ones_are_refused(
    tmp_path: Path, lengths: list[int]
) -> None:
    task = copy_task(tmp_path, lengths)
    with pytest.raises(InputError, match="changed while it was read"):
        copy_shard(task)
