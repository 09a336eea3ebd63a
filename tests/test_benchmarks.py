"""The benchmark measures what it says: it runs, and checks what every tool wrote."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.rollouts import ROOT

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("shape", "what"), [("short", "all"), ("long", "bucketing")])
def test_benchmark_runs_on_small_data(tmp_path: Path, shape: str, what: str) -> None:
    flags = ["--size", "1MB", "--rounds", "1", "--tools", "cat,msgspec", "--shape", shape]
    flags += ["--what", what]
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks/run.py", *flags, "--dir", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split("|")[1:] for line in done.stdout.splitlines() if line.startswith("|")]
    kept = {row[0].strip(): row[-2].strip() for row in rows if len(row) == 9}
    assert kept["ours"] == ("values" if what == "all" else "bytes")
    assert kept["msgspec"] == "bytes"
