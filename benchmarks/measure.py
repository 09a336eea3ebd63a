"""One command → its wall time, CPU time and peak memory, all its processes together (Linux)."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 0.02
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class CommandError(Exception):
    """A command that failed; the text says which, how, and the end of what it printed."""


@dataclass(frozen=True)
class Run:
    """What one run of a command cost.

    `wall` and `cpu` in seconds; `memory` the peak in bytes, 0 where it was not asked for;
    `others` how many cores the rest of the machine kept busy meanwhile.
    """

    wall: float
    cpu: float
    memory: int
    others: float


def run(command: Sequence[str], log: Path, with_memory: bool) -> Run:
    """Run a command to its end, its output to `log`. Raises CommandError.

    Reading the memory of a process slows it down, so ask for time or for memory.
    """
    # Compiled modules are kept from run to run, as they are where people work.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    busy, started = _busy_seconds(), time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )
        watch = MemoryWatch(process.pid) if with_memory else None
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:  # Ctrl-C reaches this session only
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            memory = watch.stop() if watch else 0
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        end = log.read_text(errors="replace")[-2_000:]
        raise CommandError(f"{' '.join(command)}\nexit code {process.returncode}\n{end}")
    cpu = usage.ru_utime + usage.ru_stime
    others = max(_busy_seconds() - busy - cpu, 0.0) / wall
    return Run(wall, cpu, memory, others)


class MemoryWatch:
    """Follows the memory of a session's processes in a thread: the most they had together.

    It is the sum of their proportional set sizes, so a page that several share counts once.
    `ru_maxrss` would not do: it knows one process, and starts from what the parent had.
    """

    def __init__(self, session: int) -> None:
        self._session, self._peak, self._over = session, 0, threading.Event()
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def _follow(self) -> None:
        while not self._over.wait(POLL_SECONDS):
            self._peak = max(self._peak, session_memory(self._session))

    def stop(self) -> int:
        """The peak in bytes."""
        self._over.set()
        self._thread.join()
        return self._peak


def session_memory(session: int) -> int:
    """The memory of a session's processes, in bytes."""
    processes = (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208, speed
    return sum(_process_memory(process, session) for process in processes)


def _process_memory(process: int, session: int) -> int:
    try:
        if os.getsid(process) != session:
            return 0
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except (ProcessLookupError, FileNotFoundError, PermissionError):  # it ended just now
        return 0
    found = [line for line in text.splitlines() if line.startswith("Pss:")]
    return int(found[0].split()[1]) * 1024 if found else 0


def _busy_seconds() -> float:
    """CPU seconds that all processes of the machine have used since it started."""
    with Path("/proc/stat").open() as stream:
        ticks = [int(word) for word in stream.readline().split()[1:9]]
    user, nice, system, _idle, _waiting, interrupt, soft_interrupt, _stolen = ticks
    return (user + nice + system + interrupt + soft_interrupt) / TICKS_PER_SECOND
