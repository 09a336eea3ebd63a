"""Several processes, shards of any size: the same bytes, the first error, nobody left behind."""

from __future__ import annotations

import gc
import gzip
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from curriculum.engines.processes import Processes, usable_cores
from curriculum.engines.workers import Workers
from curriculum.errors import InputError
from curriculum.preprocessing import passes
from tests.helpers.rollouts import Script, rollout, tree, write_jsonl


def double(number: int) -> int:
    time.sleep(0.001 * (number % 3))
    return 2 * number


def fail_from_seven(number: int) -> int:
    if number >= 7:
        raise InputError(f"number {number}", fix="none")
    return number


def die_at_seven(number: int) -> int:
    if number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def own_process(number: int) -> int:
    time.sleep(0.01)
    return os.getpid()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_come_in_the_order_of_the_tasks(count: int) -> None:
    with Workers(count) as workers:
        assert list(workers.map(double, list(range(40)))) == [(i, 2 * i) for i in range(40)]
        assert list(workers.map(double, [])) == []


@pytest.mark.parametrize("count", [1, 2])
def test_first_error_in_the_order_of_the_tasks_wins(count: int) -> None:
    found = []
    with pytest.raises(InputError, match="number 7"), Workers(count) as workers:
        found.extend(workers.map(fail_from_seven, list(range(20))))
    assert found == [(i, i) for i in range(7)]


def test_killed_worker_is_told_and_ends_the_run() -> None:
    with pytest.raises(InputError, match="a worker process was killed"), Workers(2) as workers:
        list(workers.map(die_at_seven, list(range(20))))


def wait_forever_after_two(number: int) -> int:
    if number > 2:
        signal.pause()
    return number


def die_while_the_result_is_sent(number: int) -> bytes:
    if number:
        signal.pause()
    threading.Timer(0.03, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return bytes(150_000_000)


def test_worker_killed_in_the_middle_of_a_result_is_told() -> None:
    with pytest.raises(InputError, match="a worker process was killed"), Workers(3) as workers:
        for _ in workers.map(die_while_the_result_is_sent, [0, 1, 2]):
            pytest.fail("it was sent whole")


def test_error_does_not_wait_for_work_under_way() -> None:
    with pytest.raises(KeyboardInterrupt), Workers(2) as workers:
        for task, _ in workers.map(wait_forever_after_two, list(range(20))):
            if task == 2:
                raise KeyboardInterrupt


@pytest.mark.parametrize("workers", [1, 2])
def test_error_in_a_worker_reaches_the_user_whole(
    tmp_path: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    for name in ("a", "b"):
        packed = gzip.compress(os.urandom(200_000).hex().encode())
        (tmp_path / f"{name}.jsonl.gz").write_bytes(packed[:-9])
    flags = ("-o", tmp_path / "out", "--workers", workers)
    code, out, err = bucket("-i", tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl.gz", *flags)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {tmp_path}/a.jsonl.gz: cannot be read (")
    assert "expected a complete, readable file;\nfix or remove the file" in err


def test_work_is_done_in_other_processes_that_end_with_the_run() -> None:
    with Workers(2) as workers:
        pids = {pid for _, pid in workers.map(own_process, list(range(20)))}
    assert len(pids) == 2
    assert os.getpid() not in pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_one_worker_and_one_task_need_no_other_process() -> None:
    with Workers(1) as workers:
        assert {pid for _, pid in workers.map(own_process, [1, 2])} == {os.getpid()}
    with Workers(2) as workers:
        assert [pid for _, pid in workers.map(own_process, [1])] == [os.getpid()]


def test_function_that_cannot_be_sent_runs_in_this_process() -> None:
    with Workers(2) as workers:
        found = list(workers.map(lambda number: (number, os.getpid()), [1, 2, 3]))
    assert found == [(number, (number, os.getpid())) for number in (1, 2, 3)]


def test_default_is_the_cores_this_process_may_use() -> None:
    assert usable_cores() == len(os.sched_getaffinity(0))


def hostile(directory: Path) -> None:
    """Rollouts of all sizes, with every kind of line that is not bucketed."""
    rng = random.Random(3)
    rollouts = [
        rollout(
            *rng.choices([0, 0.5, 1, None], k=rng.randrange(6)),
            prompt=f"{'long ' * rng.choice([1, 1, 400])}{i % 90}",
            extra_info={"i": i, "x": [{f"k{i % 3}": i}]},
        )
        for i in range(120)
    ]
    write_jsonl(directory / "a.jsonl", rollouts[:70])
    write_jsonl(directory / "b.jsonl", rollouts[70:])
    path = directory / "b.jsonl"
    path.write_bytes(b"\xef\xbb\xbf\n \n" + path.read_bytes()[:-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "shard_bytes", "block_bytes"),
    [(1, 1, 64), (1, 900, 200), (2, 1, 1 << 20), (2, 5_000, 1_000), (3, 1 << 20, 1 << 20)],
)
@pytest.mark.parametrize("ties", ["together", "split"])
def test_outputs_do_not_depend_on_workers_and_shards(
    tmp_path: Path,
    bucket: Script,
    preprocess: Script,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
    shard_bytes: int,
    block_bytes: int,
    ties: str,
) -> None:
    hostile(tmp_path / "in")

    def run(name: str, *flags: Any) -> tuple[dict[str, bytes], dict[str, bytes]]:
        bucketed, out = tmp_path / "bucketed", tmp_path / name
        how = ("--ties", ties, *flags)
        assert bucket("-i", tmp_path / "in", "-o", bucketed, *how)[0] == 0
        assert preprocess("-i", bucketed, "-o", out, *flags)[0] == 0
        assert preprocess("-i", bucketed, "-o", out, "--combine", *flags)[0] == 0
        return tree(bucketed), tree(out)

    expected = run("one", "--workers", 1)
    assert "rejected/unscored.jsonl" in expected[0]
    monkeypatch.setattr("curriculum.reading.input_files.SHARD_BYTES", shard_bytes)
    monkeypatch.setattr("curriculum.reading.blocks.BLOCK_BYTES", block_bytes)
    assert run("two", "--workers", workers) == expected


def test_one_very_long_line(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    text = "x" * 30_000_000
    rollouts = [rollout(1, prompt="a", ground_truth=text), rollout(0, prompt="b")]
    source = write_jsonl(tmp_path / "in/a.jsonl", rollouts)
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1, "--workers", 2)[0] == 0
    assert (tmp_path / "b/level_1.jsonl").read_bytes() == source.read_bytes()
    assert preprocess("-i", tmp_path / "b", "-o", tmp_path / "p", "--workers", 2)[0] == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_shards_that_did_not_know_the_form_yet_are_converted_again(
    tmp_path: Path,
    bucket: Script,
    preprocess: Script,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
) -> None:
    infos = [{"a": 1}] * 9 + [{"a": 1, "b": [2.5]}] + [{"a": 1}] * 9 + [{"a": "x"}]
    rollouts = [
        rollout(i / 40, prompt=f"prompt {i}", extra_info=info) for i, info in enumerate(infos)
    ]
    write_jsonl(tmp_path / "in/a.jsonl", rollouts)
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "bucketed", "-n", 2)[0] == 0
    flags = ("-i", tmp_path / "bucketed", "--workers", workers)
    assert preprocess(*flags, "-o", tmp_path / "one")[0] == 0
    again = []

    own = passes.convert_again

    def convert_again(run: Any, converted: Any, form: Any) -> None:
        again.extend(not shard.has_form(form) for shard in converted.shards)
        own(run, converted, form)
        assert all(shard.has_form(form) for shard in converted.shards)

    monkeypatch.setattr("curriculum.preprocessing.passes.convert_again", convert_again)
    monkeypatch.setattr("curriculum.reading.input_files.SHARD_BYTES", 1)
    assert preprocess(*flags, "-o", tmp_path / "two")[0] == 0
    assert len(again) == 20
    assert any(again)
    assert not again[-1]
    assert tree(tmp_path / "two") == tree(tmp_path / "one")


def test_work_in_this_process_leaves_the_cycle_collector_as_it_was() -> None:
    assert gc.isenabled()
    with Workers(1) as workers:
        assert [off for _, off in workers.map(collector_rests, [1, 2])] == [True, True]
    assert gc.isenabled()


def collector_rests(number: int) -> bool:
    return not gc.isenabled()


def test_few_tasks_share_the_cores_and_tick_meanwhile() -> None:
    ticks: list[float] = []
    with Workers(2) as workers:
        done = workers.map(slow_process, [1, 2, 3], crowd=True, tick=lambda: ticks.append(0))
        assert len({pid for _, pid in done}) == 3
    assert ticks


def slow_process(number: int) -> int:
    time.sleep(0.5)
    return os.getpid()


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(6))
@pytest.mark.parametrize("which", [0, 1])
def test_a_worker_killed_when_all_is_done_hangs_nothing(which: int, attempt: int) -> None:
    """One of the two idle workers holds the lock of the queue of tasks: the other would wait."""
    processes = Processes(2)
    futures = processes.begin(same, [1, 2, 3, 4], crowd=False)
    assert [processes.result(future, None) for future in futures] == [1, 2, 3, 4]
    time.sleep(0.2)  # until both wait for a task
    crew = processes._crew
    os.kill(crew[which].pid or 0, signal.SIGKILL)
    time.sleep(0.1 * attempt)
    stopper = threading.Thread(target=processes.stop, daemon=True)
    stopper.start()
    stopper.join(10)
    hangs = stopper.is_alive()
    for process in crew:
        process.kill()
    assert not hangs


def same(number: int) -> int:
    return number
