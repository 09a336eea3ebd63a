"""Every cumulative set from one pass: the same bytes as a run for each, and in the same place."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from curriculum.errors import InputError
from curriculum.output.journal import Journal
from curriculum.output.output_directory import OutputDirectory
from tests.helpers.rollouts import Script, rollout, tree, write_jsonl


@pytest.fixture
def buckets(tmp_path: Path, bucket: Script) -> Path:
    """Five of them, the first two with nothing that a filter keeps."""
    rng = random.Random(0)
    scores = [(1.25, 1.25), (1.0, 1.0), (1, 0.5), (1, 0, 0), (0, 0)]  # the first two all alike
    rollouts = [
        rollout(*scores[i % 5], prompt=f"prompt {i % 120}", extra_info={"n": i, f"x{i % 3}": "y"})
        for i in range(150)
    ]
    rng.shuffle(rollouts)
    source = write_jsonl(tmp_path / "a.jsonl", rollouts)
    assert bucket("-i", source, "-o", tmp_path / "buckets", "-n", 5)[0] == 0
    return tmp_path / "buckets"


def sets_of(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "preprocessing.json").read_text())["sets"]
    return found


def parquets(directory: Path) -> list[str]:
    return [name for name in tree(directory) if name.endswith(".parquet")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--filter", "informative_only"),
        ("--order", "easy-to-hard", "--val-ratio", 0.3),
        ("--keep-data-source", "--no-best-response", "--val-ratio", 0, "--seed", 7),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_cumulative_sets_equal_combined_ones(
    tmp_path: Path,
    buckets: Path,
    preprocess: Script,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[Any, ...],
    workers: int,
) -> None:
    monkeypatch.setattr("curriculum.reading.input_files.SHARD_BYTES", 4_000)
    names = ["very_easy", "easy", "medium", "hard", "very_hard"]
    apart, once = tmp_path / "apart", tmp_path / "once"
    command = ("-i", buckets, "--workers", workers, *flags)
    assert preprocess(*command, "-o", apart)[0] == 0
    for last, name in enumerate(("and_2", "to_3", "to_4", "to_5"), 2):  # as in the guide's script
        combined = ("--combine", "--output-name", f"stage1_{name}", "--buckets", *names[:last])
        code, _, err = preprocess(*command, "-o", apart / "cumulative", *combined)
        assert code == 0 or "drops all" in err
    assert preprocess(*command, "-o", once, "--cumulative")[0] == 0
    one, other = tree(once), tree(apart)
    if "informative_only" in flags:  # no run makes a set without rows, and its record
        assert sets_of(once / "cumulative").pop("stage1_and_2")["rows"] == {"train": 0, "val": 0}
        del one["cumulative/preprocessing.json"], other["cumulative/preprocessing.json"]
    assert one == other
    assert (len(sets_of(once)), len(sets_of(once / "cumulative"))) == (5, 4)


def test_stages_are_the_buckets_asked_for(
    tmp_path: Path, buckets: Path, preprocess: Script
) -> None:
    flags = ("--cumulative", "--buckets", "hard", "easy", "medium")
    assert preprocess("-i", buckets, "-o", tmp_path / "out", *flags)[0] == 0
    own, inner = (
        {name: record["buckets"] for name, record in sets_of(directory).items()}
        for directory in (tmp_path / "out", tmp_path / "out/cumulative")
    )
    assert own == {"easy": ["easy"], "medium": ["medium"], "hard": ["hard"]}
    assert inner == {
        "stage1_and_2": ["easy", "medium"],
        "stage1_to_3": ["easy", "medium", "hard"],
    }


def test_rows_without_a_reward_function_are_counted_once(
    tmp_path: Path, buckets: Path, preprocess: Script
) -> None:
    known = [rollout(1, prompt=f"known {i}", data_source="openai/gsm8k") for i in range(50)]
    with (buckets / "easy.jsonl").open("a") as file:
        file.writelines(json.dumps(one) + "\n" for one in known)
    flags = ("--cumulative", "--keep-data-source")
    _, out, _ = preprocess("-i", buckets, "-o", tmp_path / "out", *flags)
    assert "no reward function for data_source bucketed_curriculum (150 of 200 rows)" in out


def test_a_cumulative_set_without_rows_is_told(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    scores = [(1, 1), (0.9, 0.9), (1, 0)]
    rollouts = [rollout(*scores[i % 3], prompt=str(i)) for i in range(60)]
    write_jsonl(tmp_path / "a.jsonl", rollouts)
    assert bucket("-i", tmp_path / "a.jsonl", "-o", tmp_path / "buckets")[0] == 0
    flags = ("--cumulative", "--filter", "informative_only")
    code, _, err = preprocess("-i", tmp_path / "buckets", "-o", tmp_path / "out", *flags)
    assert code == 0
    assert "and 3 more would have no rows, so they were not written: --filter" in err
    assert parquets(tmp_path / "out") == [
        "cumulative/stage1_to_3_train.parquet", "cumulative/stage1_to_3_val.parquet",
        "hard_train.parquet", "hard_val.parquet",
    ]  # fmt: skip


def test_a_bucket_may_have_the_name_of_a_cumulative_set(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    write_jsonl(tmp_path / "a.jsonl", [rollout(i, prompt=str(i)) for i in range(9)])
    names = ("--bucket-names", "a", "b", "stage1_and_2")
    assert bucket("-i", tmp_path / "a.jsonl", "-o", tmp_path / "buckets", *names)[0] == 0
    for _ in range(2):
        command = ("-i", tmp_path / "buckets", "-o", tmp_path / "out", "--cumulative")
        assert preprocess(*command)[0] == 0
    assert sets_of(tmp_path / "out")["stage1_and_2"]["buckets"] == ["stage1_and_2"]
    assert sets_of(tmp_path / "out/cumulative")["stage1_and_2"]["buckets"] == ["a", "b"]


def test_combined_or_cumulative(tmp_path: Path, buckets: Path, preprocess: Script) -> None:
    flags = ("--combine", "--cumulative")
    code, _, err = preprocess("-i", buckets, "-o", tmp_path / "out", *flags)
    assert (code, "leave out one of them" in err) == (2, True)


def test_stages_of_an_earlier_series_are_told(
    tmp_path: Path, buckets: Path, preprocess: Script
) -> None:
    command = ("-i", buckets, "-o", tmp_path / "out", "--cumulative")
    assert "earlier --cumulative" not in preprocess(*command)[2]
    assert "earlier --cumulative" not in preprocess(*command)[2]
    _, _, err = preprocess(*command, "--buckets", "easy", "hard")
    older = ", ".join(f"cumulative/stage1_to_{last}" for last in (3, 4, 5))
    assert f"{older}, made by an earlier --cumulative" in err


def test_sets_in_cumulative_of_another_bucketing_are_told_by_every_run(
    tmp_path: Path, buckets: Path, bucket: Script, preprocess: Script
) -> None:
    command = ("-i", buckets, "-o", tmp_path / "out")
    assert preprocess(*command, "--cumulative", "--buckets", "easy", "hard")[0] == 0
    before = tree(tmp_path / "out/cumulative")
    assert "another bucketing" not in preprocess(*command)[2]
    assert bucket("-i", tmp_path / "a.jsonl", "-o", buckets, "-n", 5, "-m", "max_reward")[0] == 0
    code, _, err = preprocess(*command)
    assert (code, "holds cumulative/stage1_and_2, made from another bucketing" in err) == (0, True)
    assert tree(tmp_path / "out/cumulative") == before


COMBINED = ("--combine", "--output-name", "stage1_and_2", "--buckets", "very_easy", "easy")


def test_a_run_of_its_own_in_cumulative_and_a_cumulative_run_replace_each_other(
    tmp_path: Path, buckets: Path, preprocess: Script
) -> None:
    """The guide's script makes stage1_and_2 by a run with `-o preprocessed/cumulative`."""
    with (buckets / "hard.jsonl").open("a") as file:
        file.write("broken\n")
    out, inner = tmp_path / "out", tmp_path / "out/cumulative"
    command = ("-i", buckets, "--on-malformed", "set-aside")
    assert preprocess(*command, "-o", inner, *COMBINED, "--seed", 7)[0] == 0
    other = ("--combine", "--output-name", "phase9")
    assert preprocess(*command, "-o", inner, *other)[0] == 0
    (inner / "mine.parquet").write_text("mine")
    before = tree(inner)
    assert preprocess(*command, "-o", out, "--cumulative")[0] == 0
    after = tree(inner)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {
        "stage1_and_2_train.parquet", "stage1_and_2_val.parquet", "preprocessing.json"
    }  # fmt: skip
    assert sorted(sets_of(inner)) == [
        "phase9", "stage1_and_2", "stage1_to_3", "stage1_to_4", "stage1_to_5",
    ]  # fmt: skip
    assert sets_of(inner)["stage1_and_2"]["seed"] == 42
    assert preprocess(*command, "-o", inner, *COMBINED)[0] == 0
    assert tree(inner) == after


def test_cumulative_sets_beside_those_of_the_buckets_have_moved(
    tmp_path: Path, buckets: Path, preprocess: Script
) -> None:
    out = tmp_path / "out"
    command = ("-i", buckets, "-o", out)
    assert preprocess(*command, *COMBINED)[0] == 0
    more = ("--combine", "--output-name", "stage1_to_3", "--buckets", "easy", "hard")
    assert preprocess(*command, *more)[0] == 0  # no stage of these buckets has this name
    before = tree(out)
    _, _, err = preprocess(*command, "--cumulative", "--dry-run")
    assert f"the files of stage1_and_2 that an earlier run left in {out} would be removed" in err
    assert tree(out) == before
    code, _, err = preprocess(*command, "--cumulative")
    assert (code, f"cumulative sets go to {out}/cumulative now" in err) == (0, True)
    assert [name for name in parquets(out) if name.startswith("stage1")] == [
        "stage1_to_3_train.parquet", "stage1_to_3_val.parquet"
    ]  # fmt: skip
    assert "stage1_and_2" not in sets_of(out)
    assert sets_of(out)["stage1_to_3"]["buckets"] == ["easy", "hard"]
    assert "an earlier run left" not in preprocess(*command, "--cumulative")[2]


def test_a_stage_that_is_left_empty_loses_its_old_file(
    tmp_path: Path, buckets: Path, preprocess: Script
) -> None:
    command = ("-i", buckets, "-o", tmp_path / "out", "--cumulative")
    assert preprocess(*command)[0] == 0
    assert (tmp_path / "out/cumulative/stage1_and_2_train.parquet").is_file()
    assert preprocess(*command, "--filter", "informative_only")[0] == 0
    assert [name for name in parquets(tmp_path / "out/cumulative") if "and_2" in name] == []


def put_file(out: Path, elsewhere: Path) -> None:
    (out / "cumulative").mkdir(parents=True)
    (out / "cumulative/stage1_to_3_val.parquet").write_text("mine")


def put_bucketing(out: Path, elsewhere: Path) -> None:
    (out / "cumulative").mkdir(parents=True)
    (out / "cumulative/bucketing.json").write_text("mine")


def put_no_directory(out: Path, elsewhere: Path) -> None:
    out.mkdir()
    (out / "cumulative").write_text("mine")


def put_link(out: Path, elsewhere: Path) -> None:
    out.mkdir()
    elsewhere.mkdir()
    (out / "cumulative").symlink_to(elsewhere)


@pytest.mark.parametrize(
    ("put", "told"),
    [
        (put_file, "cumulative/stage1_to_3_val.parquet: this file is there already, and no manif"),
        (put_bucketing, "cumulative: this directory is the other script's: it holds bucketing"),
        (put_no_directory, "cumulative: this is a file, expected a directory to write to"),
        (put_link, "cumulative: this is no directory, and cumulative sets go there"),
    ],
)
def test_what_is_in_the_way_in_cumulative_stays(
    tmp_path: Path, buckets: Path, preprocess: Script, put: Any, told: str
) -> None:
    out = tmp_path / "out"
    put(out, tmp_path / "elsewhere")
    before = tree(tmp_path)
    code, _, err = preprocess("-i", buckets, "-o", out, "--cumulative")
    assert (code, f"error: {out}/{told}" in err) == (1, True)
    assert tree(tmp_path) == before
    assert preprocess("-i", buckets, "-o", out)[0] == 0


def test_cumulative_sets_do_not_go_into_the_input(
    tmp_path: Path, buckets: Path, preprocess: Script
) -> None:
    buckets.rename(tmp_path / "cumulative")
    (tmp_path / "cumulative/bucketing.json").unlink()
    command = ("-i", tmp_path / "cumulative", "-o", tmp_path, "--cumulative")
    code, _, err = preprocess(*command)
    assert code == 1
    assert f"error: {tmp_path}/cumulative: the output directory is the input directory" in err


def test_nobody_else_writes_to_cumulative_meanwhile(
    tmp_path: Path, buckets: Path, preprocess: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with OutputDirectory(out / "cumulative"):
        code, _, err = preprocess("-i", buckets, "-o", out, "--cumulative")
        assert (code, f"{out}/cumulative: process {os.getpid()} on" in err) == (1, True)
        assert preprocess("-i", buckets, "-o", out)[0] == 0
    told: list[str] = []

    def look(files: Any) -> None:
        with pytest.raises(InputError) as caught, OutputDirectory(out / "cumulative"):
            pass
        told.append(str(caught.value))

    monkeypatch.setattr("curriculum.preprocess.check_unchanged", look)
    assert preprocess("-i", buckets, "-o", out, "--cumulative")[0] == 0
    assert [f"{out}/cumulative: process {os.getpid()} on" in text for text in told] == [True]
    assert not (out / "cumulative/.curriculum-lock").exists()


@pytest.mark.parametrize("opens", ["out", "out/cumulative"])
def test_a_commit_that_was_killed_is_finished_in_both_directories(
    tmp_path: Path,
    buckets: Path,
    preprocess: Script,
    monkeypatch: pytest.MonkeyPatch,
    opens: str,
) -> None:
    """Whichever of them a run opens next."""
    command = ("-i", buckets, "-o", tmp_path / "out", "--cumulative")
    assert preprocess(*command)[0] == 0
    anew = (*command, "--seed", 7)
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "finish", lambda self, directory: None)
        assert preprocess(*anew)[0] == 0
    flags = ("--combine", "--output-name", "x", "--seed", 7)
    assert preprocess("-i", buckets, "-o", tmp_path / opens, *flags)[0] == 0
    found = tree(tmp_path / "out")
    for name in [name for name in found if "x_" in name or name.endswith("json")]:
        del found[name]
    assert preprocess(*anew)[0] == 0
    assert {name: data for name, data in tree(tmp_path / "out").items() if name in found} == found
    assert len(found) == 18
    for directory in (tmp_path / "out", tmp_path / "out/cumulative"):
        assert {record["seed"] for record in sets_of(directory).values()} == {7}


def test_no_manifest_is_there_until_all_files_are_in_place(
    tmp_path: Path, buckets: Path, preprocess: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("-i", buckets, "-o", tmp_path / "out", "--cumulative")
    assert preprocess(*command)[0] == 0
    obstacle = tmp_path / "out/cumulative/stage1_to_5_val.parquet"

    def put_obstacle(files: Any) -> None:
        obstacle.unlink()
        (obstacle / "mine").mkdir(parents=True)

    with monkeypatch.context() as patched:
        patched.setattr("curriculum.preprocess.check_unchanged", put_obstacle)
        code, _, err = preprocess(*command, "--seed", 7)
    assert (code, f"{obstacle}: the finished files could not all be moved" in err) == (1, True)
    manifests = {"preprocessing.json", "cumulative/preprocessing.json"}
    assert not manifests & set(tree(tmp_path / "out"))
    (obstacle / "mine").rmdir()
    obstacle.rmdir()
    assert preprocess("-i", buckets, "-o", tmp_path / "out", "--seed", 7)[0] == 0
    assert sets_of(tmp_path / "out/cumulative")["stage1_to_5"]["seed"] == 7


def test_a_failed_run_leaves_both_directories_as_they_were(
    tmp_path: Path, buckets: Path, preprocess: Script
) -> None:
    command = ("-i", buckets, "-o", tmp_path / "out", "--cumulative")
    assert preprocess(*command)[0] == 0
    before = tree(tmp_path)
    text = (buckets / "hard.jsonl").read_bytes()
    (buckets / "hard.jsonl").write_bytes(text + b"broken\n")
    assert preprocess(*command, "--seed", 7)[0] == 1
    assert preprocess(*command[:2], "-o", tmp_path / "new", "--cumulative")[0] == 1
    (buckets / "hard.jsonl").write_bytes(text)
    assert tree(tmp_path) == before
    assert not (tmp_path / "new").exists()


def test_staged_rows_go_when_the_last_set_that_has_them_is_written(
    tmp_path: Path, buckets: Path, preprocess: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[Path] = []

    def look(files: Any) -> None:
        left.extend((tmp_path / "out").rglob("*.arrow"))

    monkeypatch.setattr("curriculum.preprocess.check_unchanged", look)
    assert preprocess("-i", buckets, "-o", tmp_path / "out", "--cumulative")[0] == 0
    assert left == []
