"""A pool of processes on this machine."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from curriculum.engines.signals import ENDING_SIGNALS
from curriculum.errors import InputError

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess


Task = TypeVar("Task")
Result = TypeVar("Result")

TASKS_PER_WORKER = 3
CROWD = 2  # the most processes per worker, when tasks are few
TICK_SECONDS = 0.2


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Processes:
    """A pool of at most `count` processes, started when there is work for more than one.

    A crowd of tasks may have CROWD times as many. The processes end with this one, however it dies.
    Without `fork` they start afresh, as they must if this one has open connections.
    """

    def __init__(self, count: int | None = None, fork: bool = True) -> None:
        self._fork = fork and sys.platform == "linux"
        self._count = count or usable_cores()
        self._pool: ProcessPoolExecutor | None = None
        self._lifeline: Connection | None = None
        self._processes = 0
        self._crew: list[BaseProcess] = []

    def at_once(self) -> int:
        """How many tasks should be under way at a time."""
        return TASKS_PER_WORKER * self._count

    def threads_each(self, tasks: int) -> int:
        """How many threads each of `tasks` tasks may use when all run at once."""
        return max(1, self._count // max(1, tasks))

    def takes(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> bool:
        """Whether the first tasks are worth a pool and can be pickled; a lambda, say, cannot."""
        if self._count == 1 or len(tasks) < 2:
            return False
        try:
            pickle.dumps((function, tasks[0]))
        except (pickle.PicklingError, AttributeError, TypeError):
            return False
        return True

    def begin(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], crowd: bool
    ) -> list[Future[Result]]:
        """Start the first tasks, in as many processes as they need."""
        most = CROWD * self._count if crowd else self._count
        with _killed_workers_told():
            return self._start(min(len(tasks), most), function, tasks)

    def submit(self, function: Callable[[Task], Result], task: Task) -> Future[Result]:
        """Start one more task."""
        assert self._pool is not None
        with _killed_workers_told():
            return self._pool.submit(function, task)

    def result(self, future: Future[Result], tick: Callable[[], None] | None) -> Result:
        """Wait for the result of a task, and call `tick` several times a second meanwhile."""
        from concurrent.futures import wait

        while not wait([future], TICK_SECONDS).done:
            if not all(process.is_alive() for process in self._crew) and self._lifeline:
                # A dead worker may have sent half a result. The pool would wait for the rest as
                # long as any other worker lives, so end them all.
                self._lifeline.close()
            if tick is not None:
                tick()
        with _killed_workers_told():
            return future.result()

    def stop(self) -> None:
        """End the processes, whatever they do: results that are wanted have arrived by now."""
        if self._pool is None or self._lifeline is None:
            return
        # Not by the pool itself: a worker that was killed may hold the lock of the pool's queue,
        # and then the others would never hear of the end.
        self._lifeline.close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool, self._crew = None, []

    def _start(
        self, count: int, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> list[Future[Result]]:
        """Give the tasks to `count` processes: the existing ones if there are that many or, without
        a crowd, more."""
        from multiprocessing import active_children

        if not count <= self._processes <= max(count, self._count):
            self.stop()
        others = active_children()
        with _signals_blocked():  # new processes inherit this: none dies before it can ignore them
            pool = self._pool = self._pool or self._new_pool(count)
            running = [pool.submit(function, task) for task in tasks]
        if not self._crew:
            self._crew = [child for child in active_children() if child not in others]
            if self._fork:
                _close_own_end_of_results(pool)
        return running

    def _new_pool(self, count: int) -> ProcessPoolExecutor:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        # A forked worker has all modules loaded, so it starts at once. Python warns about a fork
        # while other threads run; ours (numpy's idle ones) hold no lock.
        context = get_context("fork" if self._fork else "spawn")
        driver, self._lifeline = context.Pipe(duplex=False)
        self._processes, self._crew = count, []
        return ProcessPoolExecutor(
            count,
            mp_context=context,
            initializer=_start_worker,
            initargs=(driver, self._lifeline),
        )


def _close_own_end_of_results(pool: ProcessPoolExecutor) -> None:
    """Close this process's write end of the result pipe, so that the pipe ends with the workers."""
    writer = getattr(getattr(pool, "_result_queue", None), "_writer", None)
    if writer is not None:
        writer.close()


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block the signals that end a run. Processes started meanwhile inherit the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _killed_workers_told() -> Iterator[None]:
    """Raise InputError if a process of the pool was killed."""
    from concurrent.futures.process import BrokenProcessPool

    try:
        yield
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process was killed",
            expected="it to run to its end",
            fix="nothing was written; if memory ran out, try again with fewer --workers",
        ) from error


def _start_worker(driver: Connection, lifeline: Connection) -> None:
    """Ignore ending signals, which a terminal or job may send to every process: the driver handles
    them. End when the driver closes its end of the lifeline, as it does when it dies."""
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    lifeline.close()
    # The C library gives memory back to the system again and again unless it once got back a block
    # of nearly 32 MB. Putting rollouts together took a fifth longer.
    bytearray(31 << 20)
    threading.Thread(target=_end_with, args=(driver,), daemon=True).start()


def _end_with(driver: Connection) -> None:
    driver.poll(None)
    os._exit(1)
