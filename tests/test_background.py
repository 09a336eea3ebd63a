"""`nohup make test PYTHON=… &`: tests do not depend on how they are started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.helpers.rollouts import ROOT

LAUNCH = """
import os, signal, sys
for number in map(int, sys.argv[1].split()):
    signal.signal(number, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with all of these signals ignored, and with the variable that `make` sets."""
    ignored = " ".join(str(int(number)) for number in IGNORED)
    return subprocess.run(
        [sys.executable, "-c", LAUNCH, ignored, *arguments],
        cwd=ROOT, env={**os.environ, "PYTHON": "/no/python"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_tests_of_signals_and_of_the_pipeline_pass_in_the_background() -> None:
    tests = ("tests/test_cli.py", "tests/test_pipeline.py", "tests/output")
    chosen = (*tests, "-k", "signal or interrupt or ended or failing_step")
    done = launch("-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_a_script_keeps_ignoring_what_it_was_started_to_ignore() -> None:
    probe = (
        "import os, signal, bucket_rollouts_by_difficulty\n"
        "from curriculum.cli import run\n"
        "def action():\n"
        f"    for number in {tuple(map(int, IGNORED))}:\n"
        "        os.kill(os.getpid(), number)\n"
        "    return 'still here', []\n"
        "raise SystemExit(run(action, quiet=False, debug=False))\n"
    )
    done = launch("-c", probe)
    assert (done.returncode, done.stdout, done.stderr) == (0, "still here\n", "")
