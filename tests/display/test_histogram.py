"""The distribution as text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.display.histogram import (
    DATASET_WIDTH,
    MOST_BUCKETS,
    NAME_WIDTH,
    WIDTH,
    dataset_name,
    histogram_lines,
    shorten,
    tell_apart,
)
from curriculum.statistics.bins import Bar
from curriculum.storage.paths import to_path
from tests.helpers.rollouts import Script, rollout, write_jsonl


def test_text_runs_from_easy_to_hard_with_its_cuts() -> None:
    easy, hard = [Bar(0.75, 0.75, 30), Bar(1, 1, 60)], [Bar(0, 0, 1)]
    assert histogram_lines(["easy", "medium", "hard"], [easy, [], hard], ["cut", "cut"], True) == [
        "easy        1  " + "#" * 61 + " 60",
        "         0.75  " + "#" * 30 + " 30",
        "---- cut " + "-" * 71,
        "medium  empty",
        "---- cut " + "-" * 71,
        "hard        0  # 1",
    ]


def test_a_metric_of_which_more_is_harder_starts_with_its_lowest_value() -> None:
    found = histogram_lines(
        ["a", "b"], [[Bar(0, 1, 2), Bar(1, 2, 2)], [Bar(3, 4, 2)]], ["c"], False
    )
    assert [line.split("  ")[1].strip() for line in found if not line.startswith("-")] == [
        "0 to 1", "1 to 2", "3 to 4",
    ]  # fmt: skip


@given(
    names=st.lists(st.text("abcdefg_", min_size=1, max_size=200), min_size=1, max_size=40),
    counts=st.lists(st.integers(0, 10**10), min_size=1, max_size=20),
    low=st.floats(-1e300, 1e300),
)
def test_text_fits_a_terminal(names: list[str], counts: list[int], low: float) -> None:
    bars = [Bar(low, low + 1.23456, count) for count in counts]
    found = histogram_lines(names, [bars] * len(names), ["cut"] * (len(names) - 1), True)
    assert max(map(len, found)) <= WIDTH
    if len(names) > MOST_BUCKETS:
        assert len(found) == len(names)


def test_a_single_rollout_is_seen_beside_thousands() -> None:
    (line, _) = histogram_lines(["a"], [[Bar(1, 1, 9_000), Bar(2, 2, 1)]], [], True)
    assert line.endswith("# 1")


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.0, 1 / 3, 1.0], ["0", "0.3333", "1"]),
        ([0.99996, 1.0], ["0.99996", "1"]),
        ([1000.000001, 1000.000002], ["1000.000001", "1000.000002"]),
        ([4000.0, 4.5e5, 1e7], ["4000", "450000", "1e+07"]),
        ([1.0, 1.0], ["1", "1"]),
        ([1.0, 1.0 + 1e-15], ["1", "1"]),
    ],
)
def test_numbers_have_the_digits_that_tell_them_apart(
    values: list[float], texts: list[str]
) -> None:
    assert tell_apart(values) == texts


def test_long_names_keep_both_ends() -> None:
    names = [shorten(f"a_very_long_name_of_stage_{i}") for i in (1, 2)]
    assert names == ["a_very..tage_1", "a_very..tage_2"]
    assert {len(name) for name in names} == {NAME_WIDTH}
    assert shorten("short") == "short"


@pytest.mark.parametrize(
    ("inputs", "name"),
    [
        (["data/gsm8k.jsonl"], "gsm8k"),
        (["data/gsm8k.jsonl.gz"], "gsm8k"),
        (["runs/2024-07.qwen/"], "2024-07.qwen"),
        (["runs/qwen/*.jsonl"], "qwen"),
        (["runs/*/part-?.jsonl"], "runs"),
        (["a.jsonl", "b.jsonl", "c"], "a and 2 more"),
        (["s3://bucket/rollouts"], "rollouts"),
        (["x" * 100], "x" * 19 + ".." + "x" * 19),
    ],
)
def test_a_data_set_is_called_as_its_input_is(inputs: list[str], name: str) -> None:
    assert dataset_name([to_path(text) for text in inputs]) == name


def test_the_working_directory_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    assert dataset_name([to_path(".")]) == "mine"
    assert dataset_name([to_path("*.jsonl")]) == "mine"
    assert dataset_name([to_path("..")]) == shorten(tmp_path.name, DATASET_WIDTH)


@pytest.mark.parametrize(
    ("scores", "flags", "title"),
    [
        ([0, 0.5, 1], (), "mean_reward in mine, easiest first"),
        ([0, 0.5, 1], ("-m", "success_rate"), "success_rate in mine, easiest first"),
        ([-100, 0, 1], (),
         "mean_reward in mine, easiest first (one bar per value, not to scale)"),
        ([i / 50 for i in range(51)], (), "mean_reward in mine, easiest first"),
        ([i / 50 for i in range(51)], ("-n", 13),
         "mean_reward in mine, easiest first (one bar per bucket, not to scale)"),
        ([*(i / 999 for i in range(999)), 50], (),
         "mean_reward in mine, easiest first (the outer bars are not to scale)"),
    ],
)  # fmt: skip
def test_the_histogram_says_what_it_shows(
    tmp_path: Path, bucket: Script, scores: list[float], flags: tuple[object, ...], title: str
) -> None:
    source = write_jsonl(tmp_path / "mine.jsonl", [rollout(score) for score in scores])
    _, out, _ = bucket("-i", source, "-o", tmp_path / "out", *flags)
    assert title in out.splitlines()


def test_a_score_of_exactly_one_is_in_a_bar_that_ends_there(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [rollout(i / 50) for i in range(51)])
    _, out, _ = bucket("-i", source, "-o", tmp_path / "out", "-n", 1)
    assert re.search(r"level_1 +0\.9 to 1  #+ 6$", out, re.M)
    assert " 1 to " not in out
