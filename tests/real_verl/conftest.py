"""The real verl as a fixture; where it is not installed, what needs it skips."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def verl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """tests/real_verl/real.py, which looks nothing up outside this machine and keeps no cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("datasets")))
        patch.setenv("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
        pytest.importorskip("verl", reason="`make test-verl` installs it")
        from tests.real_verl import real

        yield real


class Reader:
    """A process that reads files with one version of datasets."""

    def __init__(self, python: str, cache: Path) -> None:
        self._errors = cache / "errors.txt"
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [python, str(Path(__file__).with_name("concatenate.py"))],
                env={**os.environ, "HF_DATASETS_CACHE": str(cache), "HF_HUB_OFFLINE": "1"},
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip
        self.version: str = self._answer()

    def read(self, files: Sequence[Path], orders: Sequence[Sequence[int]]) -> Any:
        """The rows of each file, which also go together in each of the orders."""
        assert self._process.stdin
        request = {"paths": [str(path) for path in files], "orders": orders}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, self._errors.read_text()[-3000:]
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Reader]]:
    """An old and a new version of datasets."""
    old = os.environ.get("OLD_DATASETS_PYTHON")
    if not old:
        pytest.skip("OLD_DATASETS_PYTHON names no python with an old datasets (`make test-verl`)")
    found = [
        Reader(python, tmp_path_factory.mktemp(name))
        for name, python in (("old", old), ("new", sys.executable))
    ]
    assert [reader.version.split(".")[0] for reader in found] == ["2", "5"]
    yield found
    for reader in found:
        reader.close()
