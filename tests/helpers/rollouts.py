"""What the tests share: rollouts to write, files to read back, scripts to call."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
DATA = SHARED / "data"

# A script `python`: this one, but for verl's commands.
PYTHON = f"""#!/bin/sh
case "$1$2" in -mverl*) exec "{sys.executable}" "{ROOT / "tests/helpers/fake_verl.py"}" "$@" ;; esac
exec "{sys.executable}" "$@"
"""

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the real rollouts are not here")


def rollout(*scores: Any, prompt: str = "2+2?", **fields: Any) -> dict[str, Any]:
    """A rollout in the guide's form, with one response per score."""
    texts = [f"answer {i}" for i in range(len(scores))]
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "response": {"choices": [{"message": {"content": text}} for text in texts]},
        "reward": [{"score": score} for score in scores],
        "ground_truth": "4",
        **fields,
    }


def write_jsonl(path: Path, rollouts: Iterable[dict[str, Any]]) -> Path:
    """Write one rollout per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rollouts), "utf-8")
    return path


def lines(path: Path) -> list[bytes]:
    """The lines of a file, each with its newline."""
    return path.read_bytes().splitlines(keepends=True)


def tree(directory: Path) -> dict[str, bytes]:
    """Every file below a directory and its bytes."""
    found = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a parquet file."""
    import pyarrow.parquet as pq

    found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return found


class Script:
    """A script called in this process: its exit code, stdout and stderr, warnings unwrapped."""

    def __init__(
        self, main: Callable[[Sequence[str]], int], capture: pytest.CaptureFixture[str]
    ) -> None:
        self._main, self._capture = main, capture

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        self._capture.readouterr()
        try:
            code = self._main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = self._capture.readouterr()
        return code, out, unwrapped(err)


def unwrapped(err: str) -> str:
    """What was printed on stderr, with each warning in one line."""
    return re.sub(
        r"^warning:.*(\n  .*)*", lambda warning: warning[0].replace("\n  ", " "), err, flags=re.M
    )


def words(text: str) -> str:
    """A text without its line breaks and runs of blanks."""
    return " ".join(text.split())
