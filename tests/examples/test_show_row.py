"""examples/show_row.py: some rows of a bucket file or a parquet file, for people."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curriculum.display.excerpts import columns
from examples import show_row
from tests.helpers.rollouts import DATA, Script, needs_data, rollout, write_jsonl

PAD = " " * 13  # the column of the labels


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Script:
    return Script(show_row.main, capsys)


@pytest.fixture
def outputs(tmp_path: Path, bucket: Script, preprocess: Script) -> Path:
    """A directory with bucketed/ and preprocessed/, with cumulative sets."""
    rollouts = [
        rollout(score, 0, None, 1.25, prompt=f"{score} {i}", key=f"{score}-{i}")
        for score in (0, 0.5, 1)
        for i in range(20)
    ]
    source = write_jsonl(tmp_path / "in.jsonl", rollouts)
    assert bucket("-i", source, "-o", tmp_path / "bucketed")[0] == 0
    command = ("-i", tmp_path / "bucketed", "-o", tmp_path / "preprocessed", "--cumulative")
    assert preprocess(*command)[0] == 0
    return tmp_path


def drawn(out: str) -> list[str]:
    """The keys of the rows that are shown."""
    return re.findall(r"^---- .*, key ([^ ,]*)", out, re.MULTILINE)


def test_a_rollout_is_shown_with_its_best_and_worst_response(tmp_path: Path, show: Script) -> None:
    found = rollout(0.25, None, 1.25, -1, key="k1", prompt="2+2?")
    path = write_jsonl(tmp_path / "some.jsonl", [found])
    assert show(path) == (
        0,
        f"{path}: 1 line; all of them\n"
        "\n"
        f"---- line 1, key k1 {'-' * 80}\n"
        "user         2+2?\n"
        "truth        4\n"
        "scores       0.25 - 1.25 -1\n"
        "             mean 0.1667, 1 of 3 pass, 1 missing (-)\n"
        "best         response[2], score 1.25\n"
        "             answer 2\n"
        "worst        response[3], score -1\n"
        "             answer 3\n",
        "",
    )


def test_a_row_is_shown_with_what_it_holds(outputs: Path, show: Script) -> None:
    code, out, err = show(outputs / "preprocessed/hard_train.parquet", "--rows", 1)
    assert (code, err) == (0, "")
    lines = dict(line.split(None, 1) for line in out.splitlines() if line[:1].isalpha())
    assert re.fullmatch(r"0 \d+", lines["user"])
    assert lines["truth"] == "4"
    assert lines["scores"].startswith("mean_reward 0.4167, min_reward 0, max_reward 1.25, variance")
    assert lines["best"] == "response[3], score 1.25"
    assert lines["worst"] == "not in this file; the bucket file, hard.jsonl, has it"
    assert lines["data_source"] == "bucketed_curriculum"
    assert '"curriculum_stage": "hard"' in lines["extra_info"]


def test_which_rows_follows_from_the_seed(outputs: Path, show: Script) -> None:
    for name in ("bucketed/hard.jsonl", "preprocessed/hard_train.parquet"):
        seen = set()
        for seed in range(6):
            _, out, _ = show(outputs / name, "--seed", seed)
            assert show(outputs / name, "--seed", seed)[1] == out
            assert len(set(drawn(out))) == 3
            assert f"; 3 of them, drawn with seed {seed}\n" in out
            seen |= set(drawn(out))
        assert len(seen) > 6
        assert len(drawn(show(outputs / name, "--rows", 99)[1])) in (19, 20)


def test_every_line_of_a_file_may_be_drawn(tmp_path: Path, show: Script) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [rollout(1, key=f"k{i}") for i in range(4)])
    path.write_text("\n \n" + path.read_text().replace("\n", "\n\n", 1))
    found = {tuple(drawn(show(path, "--rows", 2, "--seed", seed)[1])) for seed in range(60)}
    assert found == {(f"k{i}", f"k{j}") for i in range(4) for j in range(i + 1, 4)}
    assert "---- line 3, key k0" in show(path, "--rows", 9)[1]


def test_each_line_is_drawn_as_often_as_any_other(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [rollout(1)] * 10)
    times: Counter[int] = Counter()
    for seed in range(500):
        _, found = show_row.draw_lines(path, show_row.Asked(2, None, seed))
        times.update(number for number, _ in found)
    assert times.total() == 1_000
    assert max(abs(count - 100) for count in times.values()) < 30


def test_rows_are_those_of_the_bucket(outputs: Path, show: Script) -> None:
    combined = outputs / "preprocessed/cumulative/stage1_to_3_train.parquet"
    for path in (
        combined, outputs / "preprocessed", outputs / "bucketed", outputs / "bucketed/easy.jsonl",
    ):  # fmt: skip
        code, out, _ = show(path, "--bucket", "easy", "--rows", 4)
        assert (code, "of bucket easy; 4 of them" in out) == (0, True)
        assert {key.partition("-")[0] for key in drawn(out)} == {"1"}


def test_row_groups_are_no_matter(tmp_path: Path, show: Script) -> None:
    table = pa.table({"n": range(100)})
    for size in (100, 7):
        pq.write_table(table, tmp_path / f"{size}.parquet", row_group_size=size)
    one, other = (show(tmp_path / f"{size}.parquet", "--rows", 9)[1] for size in (100, 7))
    assert one.partition("\n")[2] == other.partition("\n")[2]
    numbers = re.findall(r"^---- row (\d+) -+\nn +(\d+)$", one, re.MULTILINE)
    assert len(numbers) == 9
    assert all(row == n for row, n in numbers)


def test_scores_are_read_as_they_were_for_the_cuts(
    tmp_path: Path, bucket: Script, show: Script
) -> None:
    rewards = [{"score": 0, "V_i": 0.75}, {"score": 1, "V_i": 0.25}]
    source = write_jsonl(tmp_path / "in.jsonl", [rollout(0, 0) | {"reward": rewards}])
    flags = ("--score-field", "V_i", "--pass-threshold", 0.2, "-n", 1)
    assert bucket("-i", source, "-o", tmp_path / "b", *flags)[0] == 0
    out = show(tmp_path / "b/level_1.jsonl")[1]
    assert "scores       0.75 0.25\n             mean 0.5, 2 of 2 pass\n" in out
    assert "best         response[0], score 0.75" in out


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"reward": [1, 1]}, "response     response[0], score 1, as all others\n"),
        ({"reward": [None, "x"]}, "             no score in any of 2 rewards\n"),
        ({"reward": []}, "scores       none\n"),
        ({"reward": [10**400, 1]}, "scores       - 1\n"),
        ({"reward": [True, 0], "response": None, "responses": ["a", "b"]}, f"score 1\n{PAD}a"),
        ({"reward": [1], "response": None}, "its text is not there"),
        ({"reward": [1], "response": {"choices": [{"text": "tt"}]}}, f"score 1\n{PAD}tt"),
        ({"prompt": None, "messages": [{"role": "user", "content": "hi"}]}, "user         hi\n"),
        ({"prompt": "plain"}, "prompt       plain\n"),
        ({"prompt": None}, "prompt       none\n"),
        ({"ground_truth": None, "reward_model": {"ground_truth": "7"}}, "truth        7\n"),
        ({"ground_truth": {"a": None, "b": [1]}}, 'truth        {"b": [1]}\n'),
        ({"reward": 1.5, "x": "y"}, "This is no rollout: it has no reward, a list with an entry"),
    ],
)  # fmt: skip
def test_rollouts_of_every_kind_are_shown(
    tmp_path: Path, show: Script, fields: dict[str, Any], told: str
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [rollout(1, 0) | fields])
    code, out, err = show(path)
    assert (code, told in out, err) == (0, True, ""), out


def test_lines_that_are_malformed_are_shown_as_such(tmp_path: Path, show: Script) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"reward": [1]\n[1]\n\xff\n')
    _, out, _ = show(tmp_path / "a.jsonl")
    assert out.count("malformed    ") == 3


def test_long_texts_are_shortened_to_the_width_of_a_page(tmp_path: Path, show: Script) -> None:
    long = "word 日本語 " * 500 + "the end"
    messages = [{"role": "user", "content": f"{i} {long}"} for i in range(9)]
    found = rollout(*([0.123456] * 99), prompt="x", key="k" * 300) | {"prompt": messages}
    found["response"]["choices"][0]["message"]["content"] = long + "\n" * 50 + "42"
    path = write_jsonl(tmp_path / "a.jsonl", [found])
    _, out, _ = show(path)
    lines = out.splitlines()
    assert max(map(columns, lines)) <= 100 or lines[0].startswith(str(path))
    assert len(lines) < 70
    assert "[… 5 messages left out …]" in out
    assert lines[-1].strip() == "42"
    assert re.search(r"\[… \d,\d{3} characters left out …\]", out)


def test_compressed_files_are_shown(tmp_path: Path, show: Script) -> None:
    with gzip.open(tmp_path / "easy.jsonl.gz", "wt") as file:
        file.write(json.dumps(rollout(1, key="k1")) + "\n")
    assert drawn(show(tmp_path / "easy.jsonl.gz", "--bucket", "easy")[1]) == ["k1"]


@pytest.mark.parametrize(
    ("flags", "code", "told"),
    [
        (("nowhere.jsonl",), 1, "nowhere.jsonl: no such file or directory, expected a bucket fil"),
        (("preprocessed/hard.parquet",), 1, "did you mean preprocessed/hard_"),
        (("bucketed",), 1, "bucketed: this is a directory, expected a file in it, or --bucket with "
         "one of easy, hard, medium;\nname one, such as bucketed/easy.jsonl"),
        ((".",), 1, ".: this is a directory, expected a file in it, or --bucket"),
        (("bucketed/rejected",), 1, "bucketed/rejected: this directory holds neither bucket files"),
        (("bucketed", "--bucket", "hrad"), 1, "bucketed: there is no bucket 'hrad', expected one "
         "of easy, hard, medium;\ndid you mean hard? Otherwise leave out --bucket"),
        (("bucketed/easy.jsonl", "--bucket", "hard"), 1, "there is no bucket 'hard', expected one "
         "of easy"),
        (("preprocessed/easy_val.parquet", "--bucket", "hard"), 1, "expected one of easy;"),
        (("bucketed/bucketing.json",), 1, "bucketed/bucketing.json: this is neither a bucket file"),
        (("fake.parquet",), 1, "fake.parquet: this cannot be read as parquet ("),
        (("empty.jsonl",), 1, "empty.jsonl: this file is empty"),
        (("empty.parquet",), 1, "empty.parquet: this file is empty"),
        (("other.parquet", "--bucket", "x"), 1, "expected rows that name their bucket"),
        (("in.jsonl", "--rows", "0"), 2, "--rows: the number is 0, expected 1 or more"),
        (("in.jsonl", "--rows", "x"), 2, "--rows: invalid int value: 'x';\n"),
        ((), 2, "the following arguments are required: FILE"),
        (("in.jsonl", "--row", "1"), 2, "unrecognized arguments: --row 1;"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_told(
    outputs: Path, show: Script, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], code: int,
    told: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(outputs)
    (outputs / "bucketed/rejected").mkdir(exist_ok=True)
    (outputs / "fake.parquet").write_text("no parquet")
    (outputs / "empty.jsonl").write_text("\n")
    pq.write_table(pa.table({"n": [1]}).slice(0, 0), outputs / "empty.parquet")
    pq.write_table(pa.table({"n": [1]}), outputs / "other.parquet")
    found, out, err = show(*flags)
    assert (found, out, err.count("error: "), told in err) == (code, "", 1, True), err


def test_help_is_printed(show: Script) -> None:
    code, out, _ = show("--help")
    assert code == 0
    for flag in ("--rows", "--bucket", "--seed"):
        assert flag in out


@needs_data
@pytest.mark.parametrize("name", ["gsm8k_mixed6", "mifeval_es_fr_ja", "flat"])
def test_real_files_fit_a_page(show: Script, name: str) -> None:
    for path in sorted((DATA / name).glob("*.jsonl")):
        code, out, err = show(path, "--rows", 20)
        assert (code, err) == (0, "")
        assert max(map(columns, out.splitlines()[1:])) <= 100
