"""Memory: how much a run takes beside how much it reads, and a limit below what it reads."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

from tests.helpers.rollouts import ROOT
from tests.torture.runs import BUCKET, PREPROCESS

# Runs a command and prints the largest resident set, in kB, of any process of it.
MEASURE = (
    "import resource, subprocess, sys\n"
    "code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode\n"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    "sys.exit(code)\n"
)


def write_long_lines(directory: Path, size: int) -> None:
    """About `size` bytes of rollouts of 40 kB in two files."""
    directory.mkdir(parents=True)
    lines = size // 40_000 // 2
    for number in range(2):
        with (directory / f"{number}.jsonl").open("w") as stream:
            for i in range(lines):
                texts = [f"{number} {i} {j} " + "and so on " * 480 for j in range(8)]
                rollout = {
                    "prompt": f"prompt {number} {i}",
                    "response": {"choices": [{"message": {"content": text}} for text in texts]},
                    "reward": [{"score": (i * j) % 7 / 6} for j in range(8)],
                    "ground_truth": "4",
                }
                stream.write(json.dumps(rollout) + "\n")


def peak_memory(directory: Path, limit: int | None = None) -> dict[str, int]:
    """Run both scripts over `directory`/in, in two workers: by script, the largest resident set of
    any of its processes, in bytes. With a limit no process may map more bytes than that."""
    peaks = {}
    for script, source, output in ((BUCKET, "in", "out"), (PREPROCESS, "out", "sets")):
        flags = ["-i", str(directory / source), "-o", str(directory / output), "--workers", "2"]
        command = [sys.executable, "-c", MEASURE, sys.executable, str(ROOT / script), *flags]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=600,
            preexec_fn=None if limit is None else lambda: _limit(limit),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        peaks[script] = int(done.stdout) * 1024
    return peaks


def _limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def read_more_than_fits(directory: Path, limit: int = 800 << 20) -> int:
    """Run both scripts over more than a process may map; how many runs that were."""
    write_long_lines(directory / "in", limit + limit // 4)
    return len(peak_memory(directory, limit))
