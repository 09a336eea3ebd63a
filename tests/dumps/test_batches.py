"""A line that holds a batch of responses is never taken for a rollout."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from curriculum.dumps.batches import batch_of
from tests.dumps.dump_lines import held, user
from tests.helpers.rollouts import Script, rollout, write_jsonl


def batch(step: int, *groups: tuple[str, list[float]]) -> dict[str, Any]:
    """A line of ms-swift's completions.jsonl."""
    pairs = [(asked, score) for asked, scores in groups for score in scores]
    return {
        "step": [str(step)] * len(pairs),
        "messages": [[user(asked)] for asked, _ in pairs],
        "completion": [f"{asked} {score}" for asked, score in pairs],
        "reward": [score for _, score in pairs],
    }


BATCHES = [
    batch(1, ("2+2?", [1, 1, 1, 1]), ("17*23?", [0, 0, 0, 1])),
    batch(2, ("3+3?", [1, 1, 0, 1]), ("2+2?", [0, 0, 0, 0])),
]


@pytest.mark.parametrize("flags", [(), ("--format", "rollouts"), ("--group-by", "prompt")])
def test_a_batch_is_refused_with_commands_that_read_it(
    tmp_path: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    source = write_jsonl(tmp_path / "some completions.jsonl", BATCHES)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", *flags)
    told = f"{source}: a line holds a batch of 8 responses side by side, in the lists step, mess"
    assert (code, told in err) == (1, True)
    assert not (tmp_path / "b/bucketing.json").exists()
    split, command = (line.strip() for line in err.splitlines()[-2:])
    monkeypatch.chdir(tmp_path)
    python = shlex.quote(sys.executable)
    subprocess.run(split.replace("python", python, 1), shell=True, check=True)
    assert command.startswith("python bucket_rollouts_by_difficulty.py -i responses.jsonl -o DIR")
    arguments = shlex.split(command.replace("DIR", str(tmp_path / "b")))[2:]
    assert bucket(*arguments)[0] == 0
    scores = {
        (r["step"], r["prompt"][0]["content"]): [entry["score"] for entry in r["reward"]]
        for r in held(tmp_path / "b")
    }
    assert scores == {
        ("1", "2+2?"): [1, 1, 1, 1],
        ("1", "17*23?"): [0, 0, 0, 1],
        ("2", "3+3?"): [1, 1, 0, 1],
        ("2", "2+2?"): [0, 0, 0, 0],
    }


def test_a_batch_after_rollouts_is_refused(tmp_path: Path, bucket: Script) -> None:
    one = write_jsonl(tmp_path / "1.jsonl", [rollout(1, 0)])
    two = write_jsonl(tmp_path / "2.jsonl", BATCHES)
    code, _, err = bucket("-i", one, two, "-o", tmp_path / "b")
    assert (code, f"{two}: a line holds a batch of 8" in err) == (1, True)


def test_a_batch_whose_rewards_have_other_names_is_refused(tmp_path: Path, bucket: Script) -> None:
    renamed = [
        {{"reward": "accuracy", "messages": "prompt"}.get(name, name): values for name, values in
         line.items()} for line in BATCHES
    ]  # fmt: skip
    source = write_jsonl(tmp_path / "completions.jsonl", renamed)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b")
    told = "--prompt-field prompt --response-field completion --score-field accuracy --group-field "
    assert (code, f"{source}: a line holds a batch" in err, told in err) == (1, True, True)


@pytest.mark.parametrize(
    ("line", "score"),
    [
        ({"prompt": ["<|im_start|>", "q"], "completion": ["a", "b"], "reward": [1, 0]}, "reward"),
        (
            {
                "step": ["1"], "prompt": ["q"], "completion": ["a"], "advantages": [0.5],
                "format": [1.0], "Accuracy": [0.0],
            },
            "format",
        ),
        (
            {"prompt": ["q"], "completion": ["a"], "format": [1.0], "reward": [0.0], "x": [1, 2]},
            "reward",
        ),
        ({"prompt": ["q", "r"], "completion": ["a"], "reward": [0.0]}, None),
        (rollout(1, 0), None),
        (rollout(1, 0) | {"prompt": "q"}, None),
        ({"messages": [user("q")], "responses": ["a"], "reward": [1]}, None),
        ({"prompt": ["q", "r"], "generations": ["a", "b"], "reward": [1, 0]}, "reward"),
        ({"prompt": ["q", "r"], "generations": ["a", "b"], "scores": [1, 0]}, None),
        ({"prompt": ["q"], "reward": [1, 0]}, None),
        ({"prompt": ["q", "q"], "reward": ["x", "y"], "completion": ["a", "b"]}, None),
        ({"prompt": [], "reward": [], "completion": []}, None),
    ],
)  # fmt: skip
def test_what_is_a_batch(line: dict[str, Any], score: str | None) -> None:
    found = batch_of(json.loads(json.dumps(line)))
    assert (found and found.score) == score
