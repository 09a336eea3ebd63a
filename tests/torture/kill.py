"""Runs that are ended: at a random moment, and before each single step on the disk."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tests.helpers.rollouts import tree
from tests.helpers.signals import as_in_the_foreground
from tests.torture.runs import Change, call, wait_for_silence

# Audit events of whatever changes a disk; "open" only for writing.
STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"}


def kill_at_random(change: Change, times: int, seed: int = 0) -> int:
    """Start the script for real and end it at random moments, the driver alone or all of its
    processes: by kill -9, as a memory killer does, by Ctrl-C, or as a job scheduler does."""
    with as_in_the_foreground():
        return _kill_at_random(change, times, seed)


def _kill_at_random(change: Change, times: int, seed: int) -> int:
    chosen = random.Random(seed)
    change.restore()
    began = time.monotonic()
    whole = change.start()
    whole.communicate()
    duration = time.monotonic() - began
    for _ in range(times):
        change.restore()
        number = chosen.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
        process = change.start()
        time.sleep(duration * chosen.uniform(0.1, 1.1))
        everyone = chosen.random() < 0.5
        (os.killpg if everyone and process.poll() is None else _kill)(process.pid, number)
        _, message = process.communicate(timeout=60)
        wait_for_silence(process.pid)
        assert b"Traceback" not in message or _is_starting(message), message.decode()
        assert process.returncode in (0, 130, -number), (process.returncode, message.decode())
        if number != signal.SIGKILL and process.returncode in (0, 130):
            assert not left_behind(change.output)
        change.check_survived()
    return times


def _kill(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def _is_starting(message: bytes) -> bool:
    """Whether Ctrl-C came before Python had begun with the script."""
    return b"KeyboardInterrupt" in message and b"curriculum" not in message


def kill_a_worker(change: Change, times: int, seed: int = 0) -> int:
    """Kill one of the worker processes, as the kernel does when memory runs out."""
    chosen, killed = random.Random(seed), 0
    while killed < times:
        change.restore()
        process = change.start()
        worker = _a_worker(process.pid)
        if worker is not None:
            time.sleep(chosen.uniform(0, 0.02))
            _kill(worker, signal.SIGKILL)
        _, message = process.communicate(timeout=60)
        wait_for_silence(process.pid)
        if process.returncode == 1:
            assert b"a worker process was killed" in message, message.decode()
            assert tree(change.output) == change.before
            killed += 1
        else:  # it was through with its work
            assert process.returncode == 0, message.decode()
        change.check_survived()
    return killed


def _a_worker(driver: int) -> int | None:
    give_up = time.monotonic() + 30
    children = Path(f"/proc/{driver}/task/{driver}/children")
    while time.monotonic() < give_up:
        try:
            found = children.read_text().split()
        except OSError:
            return None
        if found:
            return int(found[-1])
    return None


def kill_at_each_step(change: Change) -> int:
    """Kill the driver before each of the things that it does to the disk, one run for each: from
    the lock to the last file removed, the commit included. How many there are."""
    step = 0
    while True:
        change.restore()
        if _runs_through(change, step):
            assert tree(change.output) == change.after
            return step
        change.check_survived()
        step += 1


def _runs_through(change: Change, step: int) -> bool:
    """Run the script in a copy of this process that is killed before its step number `step`;
    whether it has fewer steps."""
    process = os.fork()
    if not process:
        try:
            sys.addaudithook(_Killer(step))
            code = call(change.script, [*change.flags, "--workers", "1"])[0]
        except BaseException:  # noqa: BLE001, this copy must not go on
            code = 70
        os._exit(code)
    _, status = os.waitpid(process, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0
        return True
    assert os.WTERMSIG(status) == signal.SIGKILL
    return False


class _Killer:
    """Counts what is done to the disk, and kills its process before a certain step."""

    def __init__(self, step: int) -> None:
        self._left = step

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in STEPS or (event == "open" and not _writes(arguments)):
            return
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1


def _writes(arguments: tuple[Any, ...]) -> bool:
    path, _, flags = arguments
    return not isinstance(path, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))


def left_behind(directory: Path) -> list[str]:
    """The hidden files and directories that only a run has."""
    return [path.name for path in directory.glob(".*")] if directory.is_dir() else []
