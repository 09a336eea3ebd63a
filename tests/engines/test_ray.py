"""Tasks on a Ray cluster: nodes and processes that go away, errors, Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from curriculum.engines.workers import Workers
from curriculum.errors import InputError
from tests.helpers.rollouts import ROOT, Script, rollout, tree, write_jsonl

pytestmark = pytest.mark.slow

PASSES = ("scan_shard", "copy_shard", "convert_shard", "write_set")
DUMP_PASSES = ("index_shard", "gather_rollouts")


@pytest.fixture
def ray(cluster: Any) -> Iterator[Callable[..., Workers]]:
    """Workers of the cluster's one node."""
    yield partial(Workers, engine="ray", address=cluster.address)


def after_a_while(function: Callable[[Any], Any], task: Any) -> Any:
    time.sleep(0.2)
    return function(task)


def rollouts_and_dump(directory: Path) -> None:
    rollouts = [rollout(i % 5 / 4, i % 3 / 2, prompt=f"prompt {i}") for i in range(60)]
    write_jsonl(directory / "own/a.jsonl", rollouts)
    lines = [
        {"input": f"question {i // 4}", "output": f"answer {i}", "score": i % 3, "gts": "1"}
        for i in range(160)
    ]
    write_jsonl(directory / "dump/1.jsonl", [{**line, "step": 1} for line in lines])


@pytest.mark.parametrize("where", [*PASSES, *DUMP_PASSES])
def test_node_that_goes_away_in_the_middle_of_a_pass_changes_nothing(
    tmp_path: Path,
    bucket: Script,
    preprocess: Script,
    monkeypatch: pytest.MonkeyPatch,
    cluster: Any,
    node: Any,
    where: str,
) -> None:
    rollouts_and_dump(tmp_path)
    source = tmp_path / ("dump" if where in DUMP_PASSES else "own")
    ray = ("--engine", "ray", "--ray-address", cluster.address)

    def run(name: str, *flags: Any) -> dict[str, bytes]:
        bucketed = tmp_path / "bucketed"
        assert bucket("-i", source, "-o", bucketed, *flags)[0] == 0
        code, _, err = preprocess("-i", bucketed, "-o", tmp_path / name, *flags)
        assert code == 0
        return {**tree(bucketed), **tree(tmp_path / name), "told": err.encode()}

    monkeypatch.setattr("curriculum.reading.input_files.SHARD_BYTES", 900)
    monkeypatch.setattr("curriculum.grouping.responses.BATCH_BYTES", 900)
    expected = run("one", "--workers", 1)
    taken, own_map = [], Workers.map

    def map_and_take_a_node(
        self: Workers, function: Any, tasks: Any, *how: Any, **named: Any
    ) -> Any:
        mine = function.__name__ == where and not taken
        slow = partial(after_a_while, function) if mine else function
        for number, done in enumerate(own_map(self, slow, tasks, *how, **named)):
            if mine and number == 0:
                taken.append(cluster.remove_node(node))
            yield done

    monkeypatch.setattr(Workers, "map", map_and_take_a_node)
    assert run("two", *ray) == expected
    assert len(taken) == 1


def fail_from_seven(number: int) -> int:
    if number >= 7:
        raise InputError(f"number {number}", fix="none")
    return number


def test_results_come_in_order_until_the_first_error(ray: Callable[..., Workers]) -> None:
    found = []
    with pytest.raises(InputError, match="number 7") as caught, ray() as workers:
        found.extend(workers.map(fail_from_seven, range(20)))
    assert found == [(i, i) for i in range(7)]
    assert type(caught.value) is InputError


def die_once(task: tuple[int, Path]) -> int:
    number, marks = task
    if number == 3 and not (marks / "died").exists():
        (marks / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_task_whose_process_is_killed_is_run_again(
    tmp_path: Path, ray: Callable[..., Workers]
) -> None:
    with ray() as workers:
        done = workers.map(die_once, [(number, tmp_path) for number in range(6)])
        assert [number for _, number in done] == list(range(6))
    assert (tmp_path / "died").exists()


def die(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_task_that_kills_every_process_is_told(ray: Callable[..., Workers]) -> None:
    told = pytest.raises(InputError, match=r"a task was killed 4 times, or Ray failed \(Worker")
    with told, ray() as workers:
        list(workers.map(die, [1, 2]))


def read_what_is_elsewhere(number: int) -> bytes:
    return Path("/only/there").read_bytes()


def test_file_that_a_node_does_not_have_is_told(ray: Callable[..., Workers]) -> None:
    told = "/only/there: the node .* of the Ray cluster has no such file, expected files that all"
    with pytest.raises(InputError, match=told), ray() as workers:
        list(workers.map(read_what_is_elsewhere, [1]))


def beat(path: Path) -> None:
    while True:
        path.write_text(str(time.time()))
        time.sleep(0.02)


@pytest.mark.parametrize("asked", [None, 2])
def test_interrupt_ends_the_tasks(
    tmp_path: Path, ray: Callable[..., Workers], node: Any, asked: int | None
) -> None:
    paths = [tmp_path / str(number) for number in range(20)]
    with pytest.raises(KeyboardInterrupt), ray(asked) as workers:

        def interrupt() -> None:
            if paths[0].exists() and paths[1].exists():
                raise KeyboardInterrupt

        list(workers.map(beat, paths, tick=interrupt))
    seen = [path.read_text() for path in paths if path.exists()]
    assert len(seen) == 2
    time.sleep(0.5)
    assert [path.read_text() for path in paths if path.exists()] == seen


def own_process(number: int) -> int:
    time.sleep(0.3)
    return os.getpid()


def test_workers_bound_how_many_tasks_run(ray: Callable[..., Workers], node: Any) -> None:
    with ray(1) as workers:
        started = time.monotonic()
        assert len(list(workers.map(own_process, range(4)))) == 4
        assert time.monotonic() - started >= 4 * 0.3
    with ray() as workers:
        assert len({pid for _, pid in workers.map(own_process, range(8))}) > 1


def meet(task: tuple[Path, Path]) -> bool:
    mine, other = task
    mine.touch()
    give_up = time.monotonic() + 30
    while not other.exists() and time.monotonic() < give_up:
        time.sleep(0.05)
    return other.exists()


def test_crowd_shares_a_cpu(tmp_path: Path, ray: Callable[..., Workers]) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    ticks: list[float] = []
    with ray() as workers:
        tasks = [(one, other), (other, one)]
        done = workers.map(meet, tasks, crowd=True, tick=lambda: ticks.append(0))
        assert [met for _, met in done] == [True, True]
    assert ticks


@pytest.mark.skipif(find_spec("ray") is None, reason="`make engines` installs Ray")
def test_script_starts_a_cluster_of_its_own_and_prints_nothing_of_it(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in/a.jsonl", [rollout(i % 9 / 9, 1, prompt=str(i)) for i in range(10)])
    script, environment = ROOT / "bucket_rollouts_by_difficulty.py", {**os.environ}
    environment |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    there = tempfile.mkdtemp(dir="/tmp")  # where no cluster is written down; Ray wants it short
    environment |= {"RAY_TMPDIR": there}
    environment.pop("RAY_ADDRESS", None)

    def run(name: str, *flags: str) -> tuple[int, str, str]:
        command = [sys.executable, script, "-i", "in", "-o", name, *flags]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        return done.returncode, done.stdout, done.stderr

    assert run("two", "--engine", "ray") == (0, re.sub(r"\bone\b", "two", run("one")[1]), "")
    assert tree(tmp_path / "two") == tree(tmp_path / "one")


def test_cluster_that_is_not_there(tmp_path: Path, bucket: Script, cluster: Any) -> None:
    write_jsonl(tmp_path / "in/a.jsonl", [rollout(1)])
    where = ("-i", tmp_path / "in", "-o", tmp_path / "out")
    code, out, err = bucket(*where, "--engine", "ray", "--ray-address", "127.0.0.1:1")
    assert (code, out) == (1, "")
    assert err.startswith("error: --ray-address: no connection to the Ray cluster (")
    assert not (tmp_path / "out").exists()


def test_relative_paths_are_the_drivers(
    tmp_path: Path, bucket: Script, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jsonl(tmp_path / "in/a.jsonl", [rollout(i % 9 / 9, 1, prompt=str(i)) for i in range(9)])
    monkeypatch.chdir(tmp_path)
    code, _, err = bucket(
        "-i", "in", "-o", "out", "--engine", "ray", "--ray-address", cluster.address
    )
    assert (code, err) == (0, "")
    assert bucket("-i", "in", "-o", "one")[0] == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "one")
