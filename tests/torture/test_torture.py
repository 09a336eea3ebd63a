"""Some faults of every kind; `make torture` tries many more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.disk import fill_file_system, limit_file_sizes
from tests.torture.kill import kill_a_worker, kill_at_each_step, kill_at_random
from tests.torture.memory import peak_memory, write_long_lines
from tests.torture.mutate import break_lines
from tests.torture.runs import Change, make_changes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[0, 1], ids=["bucket", "preprocess"])
def change(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Change:
    return make_changes(tmp_path_factory.mktemp("torture"))[request.param]


def test_killed_before_each_single_step(change: Change) -> None:
    assert kill_at_each_step(change) > 20


def test_killed_at_a_random_moment(change: Change) -> None:
    assert kill_at_random(change, 8) == 8


def test_worker_killed(change: Change) -> None:
    assert kill_a_worker(change, 3) == 3


def test_limit_on_the_size_of_a_file(change: Change) -> None:
    assert limit_file_sizes(change, 6) == 6


def test_full_file_system(change: Change, tmp_path: Path) -> None:
    tried = fill_file_system(change, tmp_path / "mounted", 8)
    if not tried:
        pytest.skip("this user may not mount a file system")
    assert tried == 8


def test_memory_does_not_grow_with_the_input(tmp_path: Path) -> None:
    peaks = []
    for name, size in (("some", 24_000_000), ("more", 120_000_000)):
        write_long_lines(tmp_path / name / "in", size)
        peaks.append(peak_memory(tmp_path / name))
    for script, some in peaks[0].items():
        assert peaks[1][script] - some < 16_000_000, (script, peaks)


def test_broken_lines(tmp_path: Path) -> None:
    assert break_lines(tmp_path, 3_000) >= 3_000
