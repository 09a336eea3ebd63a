"""What is odd about a bucketing run is told, with its cause and a remedy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.rollouts import ROOT, Script, rollout, write_jsonl

HALVES = [(1, 1), (0, 1), (0, 0), (0.5, 1)]
TEN = [(10, 10), (10, 1), (1, 1), (0, 0)]
TWO = [(2, 2), (2, 1), (1, 1), (0, 1)]

TOLD = {
    "no pass": (
        HALVES, ("-m", "success_rate", "--pass-threshold", 2),
        "no response passes: scores run from 0 to 1, and a pass is a score of 2 or more",
        "which score is a pass",
    ),
    "no pass, by the mean": (
        HALVES, ("--pass-threshold", 2), "no response passes: scores run from 0 to 1",
        "which score is a pass",
    ),
    "only passes": (
        HALVES, ("-m", "pass_at_k", "--k", 2, "--pass-threshold", -1),
        "every response passes: scores run from 0 to 1, and a pass is a score of -1 or more",
        "which score is a pass",
    ),
    "to ten": (
        TEN, ("-m", "success_rate"),
        "scores run from 0 to 10, but a response passes from 0.5 on", "which score is a pass",
    ),
    "to two, by the mean": (TWO, (), "scores run from 0 to 2, but a response passes from", None),
    "apart": (TWO, ("--solved-unsolved",), "scores run from 0 to 2", "which score is a pass"),
    "no k": (HALVES, ("-m", "pass_at_k"), "pass@1, which is the success rate", None),
    "outside": (
        HALVES, ("--thresholds", 0.5, 7),
        "easy is empty: mean_reward runs from 0 to 1, so the threshold 7 cut nothing off",
        "whether this bucket may be empty: easy",
    ),
    "all outside": (
        HALVES, ("--thresholds", 3, 7),
        "easy, medium are empty: mean_reward runs from 0 to 1, so the thresholds 3 and 7 cut",
        "whether these buckets may be empty: easy, medium",
    ),
    "between": (
        HALVES, ("--thresholds", 0.8, 0.9),
        "medium is empty: mean_reward runs from 0 to 1, but no value lies there",
        "whether this bucket may be empty: medium",
    ),
    "one value": (
        HALVES, ("-m", "max_reward", "--pass-threshold", 0.5, "--score-field", "one"),
        "easy, hard are empty: every rollout has max_reward 1", "may be empty: easy, hard",
    ),
    "missing": (
        [(1, None), (0, 1), (None, 0)], (), "2 of 6 scores are missing", "whether to grade again",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("scores", "flags", "told", "decide"), TOLD.values(), ids=TOLD)
def test_what_is_odd_is_told_with_its_cause(
    tmp_path: Path, bucket: Script, scores: list[Any], flags: tuple, told: str, decide: str | None
) -> None:
    rollouts = [rollout(*some, prompt=f"{i}") for i, some in enumerate(scores)]
    for one in rollouts:
        for entry in one["reward"]:
            entry["one"] = 1
    path = write_jsonl(tmp_path / "a.jsonl", rollouts)
    code, out, err = bucket("-i", path, "-o", tmp_path / "out", *flags)
    assert code == 0
    assert told in err
    verdict = out.rpartition("\n\n")[2]
    if decide is None:
        start = f"Ready to preprocess: python preprocess_bucketed_rollouts.py -i {tmp_path}/out -o"
        assert verdict.startswith(start)
    else:
        assert verdict.startswith("Decide first:\n- ")
        assert decide in " ".join(verdict.split())


@pytest.mark.parametrize(
    ("scores", "flags"),
    [
        (HALVES, ()),
        (HALVES, ("-m", "pass_at_k", "--k", 1)),
        (HALVES, ("-m", "success_rate", "--pass-threshold", 1)),
        ([(1.25, 0), (0, 0.1), (1.25, 1.25), (0, 1)], ("-m", "success_rate")),
        (TEN, ("--pass-threshold", 5)),
    ],
)
def test_usual_runs_hear_nothing_about_passes(
    tmp_path: Path, bucket: Script, scores: list[Any], flags: tuple
) -> None:
    rollouts = [rollout(*some, prompt=f"{i}") for i, some in enumerate(scores)]
    path = write_jsonl(tmp_path / "a.jsonl", rollouts)
    code, _, err = bucket("-i", path, "-o", tmp_path / "out", *flags)
    assert code == 0
    assert not [line for line in err.splitlines() if "pass" in line and "--filter" not in line]


@pytest.mark.parametrize("flags", [(), ("-m", "variance"), ("-m", "success_rate")])
def test_k_without_a_use_is_refused(tmp_path: Path, bucket: Script, flags: tuple) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [rollout(1, 0)])
    command = ("-i", path, "-o", tmp_path / "out", "-n", 1, *flags, "--k", 2)
    code, _, err = bucket(*command)
    assert (code, "has no k, expected -m pass_at_k beside it" in err) == (2, True)
    assert bucket(*command, "--compare-metrics")[0] == 0
    assert bucket(*command, "--scores", tmp_path / "scores.parquet")[0] == 0


def test_lines_are_at_most_100_columns_and_the_directory_stands_once(
    tmp_path: Path, bucket: Script, preprocess: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rollouts = [
        rollout(*(j < i % 9 for j in range(8)), None, prompt=f"{i // 2}", ground_truth=None)
        for i in range(200)
    ]
    write_jsonl(Path("rollouts/a.jsonl"), rollouts)
    names = [f"a_rather_long_name_for_a_bucket_{i:02}" for i in range(15)]
    flags = ("-n", 15, "--bucket-names", *names, "--ties", "split", "--compare-metrics")
    code, out, err = bucket("-i", "rollouts", "-o", "buckets_of_mine", *flags)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 100
    assert out.count("buckets_of_mine") <= 2  # where it was written, and the verdict
    assert err.count("warning: ") >= 2
    code, out, _ = preprocess("-i", "buckets_of_mine", "-o", "sets_of_mine", "--cumulative", "-v")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 100
    assert out.count("sets_of_mine") == 1


def test_warnings_come_last_and_are_wrapped(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [rollout(i % 2, 0) for i in range(4)])
    command = [sys.executable, ROOT / "bucket_rollouts_by_difficulty.py", "-i", "a.jsonl"]
    run = subprocess.run(
        [*command, "-o", "out"], cwd=tmp_path, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, check=True,
    )  # fmt: skip
    summary, _, warnings = run.stdout.partition("warning: ")
    assert "Decide first:" in summary
    assert "earlier one" in warnings
    assert max(map(len, run.stdout.splitlines())) <= 100
    assert all(line.startswith(("  ", "warning: ")) for line in f"warning: {warnings}".splitlines())
