"""A function over shards, in this process or in several: results in order, the first error wins.

Whatever the number of workers, the results are the same.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

from curriculum.errors import InputError

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

Task = TypeVar("Task")
Result = TypeVar("Result")

TASKS_PER_WORKER = 3


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """Processes that run a function over tasks; with `count` 1, this process alone.

    A context manager: leaving it ends the processes. They are started when there is more than one
    task to run, and tasks that cannot be sent to another process run in this one.
    """

    def __init__(self, count: int | None = None) -> None:
        self._count = count or usable_cores()
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def map(
        self, function: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Iterator[tuple[Task, Result]]:
        """Each task with its result, in the order of the tasks; the first error ends it.

        A few tasks per worker are under way at once, so what waits stays small; `tasks` are taken
        only as they are needed.
        """
        todo = iter(tasks)
        first = list(islice(todo, 2))
        todo = chain(first, todo)
        if self._count == 1 or len(first) < 2 or not _can_travel(function, first[0]):
            for task in todo:
                yield task, function(task)
            return
        pool = self._start()
        running = deque(
            (task, pool.submit(function, task))
            for task in islice(todo, TASKS_PER_WORKER * self._count)
        )
        while running:
            task, future = running.popleft()
            result = self._result(future)
            running.extend((task, pool.submit(function, task)) for task in islice(todo, 1))
            yield task, result

    @staticmethod
    def _result(future: Future[Result]) -> Result:
        from concurrent.futures.process import BrokenProcessPool

        try:
            return future.result()
        except BrokenProcessPool as error:
            raise InputError(
                "a worker process was killed",
                expected="it to run to its end",
                fix="nothing was written; if memory ran out, try again with fewer --workers",
            ) from error

    def _start(self) -> ProcessPoolExecutor:
        if self._pool is None:
            from concurrent.futures import ProcessPoolExecutor
            from multiprocessing import get_context

            # A fork shares the modules that are loaded, so workers start at once. Where other
            # threads run (numpy keeps some, idle) Python warns of it; ours hold no lock.
            fork = "fork" if sys.platform == "linux" else None
            self._pool = ProcessPoolExecutor(
                self._count, mp_context=get_context(fork), initializer=_ignore_interrupts
            )
        return self._pool


def _can_travel(function: Callable[[Task], Result], task: Task) -> bool:
    """Whether a task can be sent to another process; a metric made on the spot, say, cannot."""
    try:
        pickle.dumps((function, task))
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process of the terminal; only the driver answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
