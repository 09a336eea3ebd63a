"""Staged files, copied lines and their commit: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from curriculum.copying import CopyTask, copy_shard
from curriculum.errors import InputError
from curriculum.inputs import cut_shards, find_file
from curriculum.manifests import PreprocessingManifest
from curriculum.outputs import Outputs
from tests.support import Script, rollout, tree, write_jsonl

MANIFEST = PreprocessingManifest("0", {}, ())


def test_manifest_is_moved_last(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "b").mkdir(parents=True)
    (out / "b/in the way").write_text("")
    with pytest.raises(InputError, match="run again"), Outputs(out) as outputs:
        for name in ("a", "b"):
            outputs.stage(name).write_text("new")
        outputs.commit(MANIFEST, [])
    assert sorted(tree(out)) == ["a", "b/in the way"]


def test_failed_run_leaves_no_directory_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Outputs(tmp_path / "deep/er") as outputs:
        outputs.stage("rejected/x").write_text("new")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_run_staged_is_cleared(tmp_path: Path, bucket: Script) -> None:
    write_jsonl(tmp_path / "a.jsonl", [rollout(1)])
    staging = tmp_path / "out/.curriculum-staging"
    staging.mkdir(parents=True)
    (staging / "level_1.jsonl").write_bytes(b"x" * 10_000)
    assert bucket("-i", tmp_path / "a.jsonl", "-o", tmp_path / "out", "-n", 1)[0] == 0
    assert sorted(tree(tmp_path / "out")) == ["bucketing.json", "level_1.jsonl"]
    assert not staging.exists()


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


@pytest.mark.parametrize("lengths", [[2, 2], [2, 3, 1], [2, 2, 2, 2], [1, 3, 2]])
def test_lines_that_are_not_the_scanned_ones_are_refused(
    tmp_path: Path, lengths: list[int]
) -> None:
    task = copy_task(tmp_path, lengths)
    if sum(lengths) + len(lengths) == 9:  # as long as the text, but cut elsewhere
        return
    with pytest.raises(InputError, match="changed while it was read"):
        copy_shard(task)
