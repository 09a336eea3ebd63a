"""The real verl as a fixture; where it is not installed, what needs it skips."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

# Version of datasets → file → rows.
Readings = dict[str, dict[str, list[dict[str, Any]]]]


@pytest.fixture(scope="session")
def verl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """tests/verl/real.py. Nothing is looked up outside this machine, nothing kept in a cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("datasets")))
        patch.setenv("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
        pytest.importorskip("verl", reason="`make test-verl` installs it")
        from tests.verl import real

        yield real


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Readings]:
    """Files and orders → what tests/verl/concatenate.py read, with an old and a new datasets."""
    old = os.environ.get("OLD_DATASETS_PYTHON")
    if not old:
        pytest.skip("OLD_DATASETS_PYTHON names no python with an old datasets (`make test-verl`)")
    cache = str(tmp_path_factory.mktemp("datasets"))

    def read(files: Sequence[Path], orders: Sequence[Sequence[int]]) -> Readings:
        script = str(Path(__file__).with_name("concatenate.py"))
        running = [
            subprocess.Popen(
                [python, script, json.dumps(orders), *map(str, files)],
                env={**os.environ, "HF_DATASETS_CACHE": f"{cache}/{name}", "HF_HUB_OFFLINE": "1"},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for name, python in (("old", old), ("new", sys.executable))
        ]  # fmt: skip
        found: Readings = {}
        for process in running:
            out, err = process.communicate()
            assert process.returncode == 0, err[-3000:]
            reading = json.loads(out)
            found[reading["version"]] = reading["rows"]
        return found

    return read
