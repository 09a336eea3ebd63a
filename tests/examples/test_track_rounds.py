"""Rounds are counted at the cut values of the first, from manifests or from score tables."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from examples import track_rounds
from tests.helpers.rollouts import Script, rollout, words, write_jsonl


@pytest.fixture
def track(capsys: pytest.CaptureFixture[str]) -> Script:
    return Script(track_rounds.main, capsys)


@pytest.fixture
def rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: Script) -> Path:
    """Three rounds with score tables beside them, the later ones cut like the first in `like2` and
    `like3`, by themselves in `own2` and `own3`."""
    monkeypatch.chdir(tmp_path)
    for number in (1, 2, 3):
        drawn = random.Random(number)
        lines = [
            rollout(
                *[int(drawn.random() < i / 90 + 0.2 * number) for _ in range(8)], prompt=f"p{i}"
            )
            for i in range(90)
        ]
        lines.append({**rollout(None), "prompt": "unscored"})
        write_jsonl(tmp_path / f"{number}.jsonl", lines)
        flags = ("-i", f"{number}.jsonl", "--scores", f"own{number}/scores.parquet")
        assert bucket(*flags, "-o", f"own{number}")[0] == 0
        if number > 1:
            flags = ("-i", f"{number}.jsonl", "--cut-like", "own1")
            assert bucket(*flags, "-o", f"like{number}")[0] == 0
    return tmp_path


def plain_counts(rounds: Path, number: int) -> list[int]:
    """Each bucket's prompts, cut between the values of the first round's buckets."""
    first = json.loads((rounds / "own1/bucketing.json").read_text())["buckets"]
    middles = [(easier["lowest"] + harder["highest"]) / 2 for easier, harder in pairwise(first)]
    counts = [0] * len(first)
    for line in map(json.loads, (rounds / f"{number}.jsonl").read_text().splitlines()):
        scores = [entry["score"] for entry in line["reward"]]
        if None not in scores:
            mean = sum(scores) / len(scores)
            counts[sum(mean <= middle for middle in middles)] += 1
    return counts


def shown(out: str) -> list[list[int]]:
    """The counts in the table."""
    return [
        [int(cell.strip("()")) for cell in line.split() if cell.startswith("(")]
        for line in out.splitlines()[1:]
    ]


@pytest.mark.parametrize("names", [("own1", "like2", "like3"), ("own1", "own2", "own3")], ids=str)
def test_all_rounds_are_counted_at_the_values_of_the_first(
    rounds: Path, track: Script, names: tuple
) -> None:
    code, out, err = track(*names)
    assert (code, err) == (0, "")
    assert shown(out) == [plain_counts(rounds, number) for number in (1, 2, 3)]
    assert ("mean mean_reward" in out) == ("own2" in names)


def test_solved_and_unsolved_are_apart(rounds: Path, track: Script, bucket: Script) -> None:
    flags = ("--solved-unsolved", "-n", 2, "-m", "success_rate")
    for number in (1, 2):
        run = ("-i", f"{number}.jsonl", "-o", f"apart{number}")
        assert bucket(*run, *flags, "--scores", f"apart{number}/scores.parquet")[0] == 0
    code, out, err = track("apart1", "apart2")
    assert (code, err) == (0, "")
    first, second = shown(out)
    found = json.loads((rounds / "apart1/bucketing.json").read_text())["buckets"]
    assert first == [record["count"] for record in found]
    table = pd.read_parquet(rounds / "apart2/scores.parquet").dropna(subset="success_rate")
    assert second[0] == (table.num_passes == table.num_responses).sum()
    assert second[-1] == (table.num_passes == 0).sum()
    assert sum(second) == len(table)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_picture_is_drawn(rounds: Path, track: Script, suffix: str) -> None:
    starts = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}
    assert track("own1", "like2", "--plot", f"r{suffix}")[0] == 0
    assert (rounds / f"r{suffix}").read_bytes().startswith(starts[suffix])


def test_other_prompts_are_told(rounds: Path, track: Script, bucket: Script) -> None:
    write_jsonl(rounds / "few.jsonl", [rollout(i % 2, 1, prompt=f"p{i}") for i in range(20)])
    assert bucket("-i", "few.jsonl", "-o", "few", "--cut-like", "own1")[0] == 0
    code, _, err = track("own1", "like2", "few", "--debug")
    assert (code, err) == (
        0,
        "warning: few: not the prompts of own1, so shares may differ by these.\n",
    )


@pytest.mark.parametrize(
    ("flags", "code", "told"),
    [
        (("own1", "cut", "like3"), 1, "cut: cut at other values than own1"),
        (("own1", "nowhere"), 1, "round nowhere: it is not there"),
        (("own1", "."), 1, "there is no bucketing.json in it"),
        (("own1", "like2", "--scores", "a"), 2, "1 files for 2 rounds"),
        (("own1", "like2", "--scores", "1.jsonl", "2.jsonl"), 1, "cannot be read as a score table"),
        (("own1", "like2", "--scores", "a", "b"), 1, "a: this cannot be read as a score table"),
        (("own1", "--plot", "r.gif"), 2, "write --plot r.png"),
        ((), 2, "the following arguments are required: DIR"),
    ],
    ids=str,
)
def test_what_cannot_be_counted_is_refused(
    rounds: Path, track: Script, bucket: Script, flags: tuple, code: int, told: str
) -> None:
    assert bucket("-i", "2.jsonl", "-o", "cut", "-n", 4)[0] == 0
    found, _, err = track(*flags)
    assert (found, told in words(err)) == (code, True), err
