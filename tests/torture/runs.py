"""Runs of both scripts over the same small input, before and after a change of flags."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bucket_rollouts_by_difficulty
import preprocess_bucketed_rollouts
from curriculum.output.journal import recover_to_read
from tests.helpers.rollouts import ROOT, tree

SCRIPTS: dict[str, Callable[[Sequence[str]], int]] = {
    "bucket_rollouts_by_difficulty.py": bucket_rollouts_by_difficulty.main,
    "preprocess_bucketed_rollouts.py": preprocess_bucketed_rollouts.main,
}
BUCKET, PREPROCESS = SCRIPTS


def write_rollouts(directory: Path, files: int, rollouts: int) -> None:
    """Rollouts with some lines that are malformed and some without a score, the same every time."""
    chosen = random.Random(0)
    directory.mkdir()
    for number in range(files):
        lines = [_line(chosen, f"{number}-{i}") for i in range(rollouts)]
        (directory / f"{number}.jsonl").write_text("\n".join(lines))


def _line(chosen: random.Random, key: str) -> str:
    scores = [chosen.choice([0, 0.25, 1, None]) for _ in range(4)]
    rollout: dict[str, Any] = {
        "prompt": [{"role": "user", "content": f"what is {key}?"}],
        "response": {"choices": [{"message": {"content": "so " * 40}} for _ in scores]},
        "reward": [{"score": score} for score in scores],
        "ground_truth": key,
    }
    return json.dumps(rollout)[: -20 if chosen.random() < 0.05 else None]


@dataclass(frozen=True)
class Change:
    """A script's outputs by two sets of flags: `before` is there, and `flags` make `after` of it
    in `output`."""

    script: str
    flags: list[str]
    output: Path
    before: dict[str, bytes]
    after: dict[str, bytes]

    def restore(self) -> None:
        """Put the directory back to what it was before."""
        shutil.rmtree(self.output, ignore_errors=True)
        for name, content in self.before.items():
            (self.output / name).parent.mkdir(parents=True, exist_ok=True)
            (self.output / name).write_bytes(content)

    def start(self, *more: str, **how: Any) -> subprocess.Popen[bytes]:
        """Run the script for real, in a session of its own."""
        command = [sys.executable, str(ROOT / self.script), *self.flags, *more]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **how
        )

    def check_survived(self) -> None:
        """The outputs are the old ones or the new ones; the next run succeeds and nothing is left
        of the dead one."""
        if self.output.is_dir():  # else it never came to be
            for directory in (self.output, self.output / "cumulative"):
                if directory.is_dir():
                    recover_to_read(directory)
            assert tree(self.output) in (self.before, self.after)
        code, message = call(self.script, [*self.flags, "--workers", "1"])
        assert code == 0, message
        assert tree(self.output) == self.after


def call(script: str, flags: Sequence[object]) -> tuple[int, str]:
    """Run a script in this process: its exit code and stderr, which shows no traceback."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = SCRIPTS[script]([str(flag) for flag in flags])
    message = err.getvalue()
    assert code in (0, 1), (code, message)
    assert "Traceback" not in message, message
    assert "unexpected" not in message, message
    assert "internal error" not in message, message
    return code, message


def make_changes(directory: Path, files: int = 6, rollouts: int = 60) -> list[Change]:
    """A change for each script, over a few files with `rollouts` each: fewer files than before,
    others than before, and rejected lines."""
    write_rollouts(directory / "in", files, rollouts)
    common = ["--on-malformed", "set-aside", "--workers", "2"]
    bucketed = directory / "bucketed"
    bucketing = ["-i", str(directory / "in"), *common, "-o"]
    assert call(BUCKET, [*bucketing, bucketed, "-n", "4"])[0] == 0
    preprocessing = ["-i", str(bucketed), *common, "-o"]
    return [
        _change(BUCKET, directory / "b", bucketing, ["-n", "5"], ["-n", "2", "-m", "max_reward"]),
        _change(
            PREPROCESS,
            directory / "p",
            preprocessing,
            ["--cumulative"],
            ["--cumulative", "--val-ratio", "0"],
        ),
    ]


def _change(script: str, output: Path, flags: list[str], old: list[str], new: list[str]) -> Change:
    trees = []
    for name, more in ((output, old), (output, new)):
        assert call(script, [*flags, name, *more])[0] == 0
        trees.append(tree(name))
    assert trees[0] != trees[1]
    return Change(script, [*flags, str(output), *new], output, *trees)


def wait_for_silence(group: int) -> None:
    """Wait until no process of a session is left; fail if that takes more than some seconds."""
    import time

    give_up = time.monotonic() + 10
    while time.monotonic() < give_up:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    raise AssertionError("a process was left behind")
