"""examples/example_bucketing_usage.py: what it says where it cannot run.

tests/test_pipeline.py runs its parts.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from examples import example_bucketing_usage
from tests.helpers.rollouts import Script


@pytest.fixture
def example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Script:
    """The script, in a directory without rollouts."""
    monkeypatch.chdir(tmp_path)
    return Script(example_bucketing_usage.main, capsys)


@pytest.mark.parametrize(
    ("flags", "code", "told"),
    [
        ((), 1, "./rollouts: this directory is not here, expected rollouts in the directory that "
         "you are in;\npython examples/generate_rollouts.py makes some\n"),
        (("metrics", "bucket"), 1, "./rollouts: this directory is not here"),
        (("metrcs",), 2, "there is no part 'metrcs', expected one of bucket, preprocess, metrics, "
         "own_metric, compare, score_table;\ndid you mean metrics?\n"),
        (("--part", "metrics"), 2, "unrecognized arguments: --part;\n"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_told_before_anything_runs(
    example: Script, flags: tuple[str, ...], code: int, told: str
) -> None:
    found, out, err = example(*flags)
    assert (found, out, err.startswith(f"error: {told}")) == (code, "", True), err


def test_rollouts_that_cannot_be_read_are_told(tmp_path: Path, example: Script) -> None:
    (tmp_path / "rollouts").mkdir()
    code, _, err = example("bucket")
    assert (code, err.startswith("error: rollouts: holds no rollout files")) == (1, True)


def test_metrics_need_no_rollouts(example: Script) -> None:
    code, out, err = example("metrics")
    assert (code, "success_rate  0.2500" in out, err) == (0, True, "")


def test_example_explains_itself(example: Script) -> None:
    code, out, _ = example("--help")
    assert (code, "own_metric" in out) == (0, True)
