"""What the demo prints works as it is printed, in the user's shell."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.rollouts import ROOT, tree

pytestmark = pytest.mark.slow


def test_every_command_that_the_demo_prints_works_as_printed(tmp_path: Path) -> None:
    """In a copy whose environment is this one, as `make demo` makes it, without a `python`."""
    copy = tmp_path / "copy"
    unwanted = shutil.ignore_patterns(
        ".*", "demo", "build", "bucketed", "preprocessed", "*.egg-info"
    )
    shutil.copytree(ROOT, copy, ignore=unwanted)
    (copy / ".venv/bin").mkdir(parents=True)
    (copy / ".venv/.run").touch()  # what `make` makes when it has installed the packages
    (copy / ".venv/bin/python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (copy / ".venv/bin/python").chmod(0o755)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("make", "bash", "sh", "dirname", "cat"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)

    def shell(command: str) -> str:
        done = subprocess.run(
            ["/bin/sh", "-c", command], cwd=copy, env={"PATH": str(tools)}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    printed = shell("make demo")
    done = re.findall(r"^\$ (.*)", printed, re.MULTILINE)
    offered = re.findall(r"^  (\.venv/bin/python .*)", printed, re.MULTILINE)
    assert (len(done), len(offered)) == (4, 2)
    before = tree(copy / "demo")
    for command in done:
        assert shell(command) in printed
    assert tree(copy / "demo") == before
    for command in offered:
        shell(command)
    assert tree(copy / "preprocessed").keys() == tree(copy / "demo/preprocessed").keys()
