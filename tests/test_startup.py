"""What is loaded before it is needed: nothing that a person would wait for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import ROOT

PROBE = """
import importlib, sys
module = importlib.import_module({script!r})
try:
    code = module.main({flags!r})
except SystemExit as stop:
    code = stop.code
slow = sorted({{"pandas", "pyarrow", "tqdm", "matplotlib", "ray"}} & set(sys.modules))
print("loaded", code or 0, *slow)
"""


@pytest.mark.parametrize(
    ("script", "flags", "code"),
    [
        ("bucket_rollouts_by_difficulty", ["--help"], 0),
        ("bucket_rollouts_by_difficulty", ["-i", "x", "-o", "y", "-n", "0"], 2),
        ("bucket_rollouts_by_difficulty", ["-i", "not there", "-o", "y"], 1),
        ("preprocess_bucketed_rollouts", ["--help"], 0),
        ("preprocess_bucketed_rollouts", ["-i", "x", "-o", "y", "--val-ratio", "2"], 2),
    ],
)
def test_help_and_wrong_flags_load_nothing_slow(script: str, flags: list[str], code: int) -> None:
    probe = PROBE.format(script=script, flags=flags)
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == f"loaded {code}"
