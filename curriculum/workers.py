"""A function over shards, in this process or in several: results in order, the first error wins.

Whatever the number of workers, the results are the same.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

from curriculum.errors import InputError

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

Task = TypeVar("Task")
Result = TypeVar("Result")

TASKS_PER_WORKER = 3
CROWD = 2  # processes per worker, at most, for few tasks
TICK_SECONDS = 0.2
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # those that end a run


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """Processes that run a function over tasks; with `count` 1, this process alone.

    A context manager: leaving it ends the processes, at once after an error. They also end when
    this process does, however it dies. They are started when there is more than one task to run,
    and tasks that cannot be sent to another process run in this one.
    """

    def __init__(self, count: int | None = None) -> None:
        self._count = count or usable_cores()
        self._pool: ProcessPoolExecutor | None = None
        self._lifeline: Connection | None = None
        self._processes = 0
        self._crew: list[BaseProcess] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._stop(at_once=kind is not None)

    def _stop(self, at_once: bool) -> None:
        if self._pool is None or self._lifeline is None:
            return
        if at_once:
            self._lifeline.close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._lifeline.close()
        self._pool, self._crew = None, []

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Iterable[Task],
        crowd: bool = False,
        tick: Callable[[], None] | None = None,
    ) -> Iterator[tuple[Task, Result]]:
        """Each task with its result, in the order of the tasks; the first error ends it.

        A few tasks per worker are under way at once, so what waits stays small; `tasks` are taken
        only as they are needed. With `crowd` all tasks, if they are few, share the cores from the
        start, up to CROWD for each worker. `tick` is called several times a second while other
        processes work, and else after each task.
        """
        todo = iter(tasks)
        first = list(islice(todo, TASKS_PER_WORKER * self._count))
        if self._count == 1 or len(first) < 2 or not _can_travel(function, first[0]):
            for task in chain(first, todo):
                result = _run(function, task)
                if tick is not None:
                    tick()
                yield task, result
            return
        most = CROWD * self._count if crowd else self._count
        with _killed_workers_told():
            pool, running = self._start(min(len(first), most), function, first)
        while running:
            task, future = running.popleft()
            with _killed_workers_told():
                result = self._result(future, tick)
                more = islice(todo, 1)
                running.extend((task, pool.submit(_run, function, task)) for task in more)
            yield task, result

    def _result(self, future: Future[Result], tick: Callable[[], None] | None) -> Result:
        from concurrent.futures import wait

        while not wait([future], TICK_SECONDS).done:
            if not all(process.is_alive() for process in self._crew) and self._lifeline:
                # It may have died in the middle of a result, for whose rest the pool would wait
                # as long as any other worker lives.
                self._lifeline.close()
            if tick is not None:
                tick()
        return future.result()

    def _start(
        self, count: int, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> tuple[ProcessPoolExecutor, deque[tuple[Task, Future[Result]]]]:
        """A pool of `count` processes, those it had already if they are as many; and the tasks
        that it works on."""
        from multiprocessing import active_children

        if self._processes != count:
            self._stop(at_once=False)
        others = active_children()
        with _signals_blocked():  # until every new process knows how to take them
            pool = self._pool = self._pool or self._new_pool(count)
            running = deque((task, pool.submit(_run, function, task)) for task in tasks)
        if not self._crew:
            self._crew = [child for child in active_children() if child not in others]
            _close_own_end_of_results(pool)
        return pool, running

    def _new_pool(self, count: int) -> ProcessPoolExecutor:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        # A fork shares the modules that are loaded, so workers start at once. Where other threads
        # run (numpy keeps some, idle) Python warns of it; ours hold no lock.
        context = get_context("fork" if sys.platform == "linux" else None)
        driver, self._lifeline = context.Pipe(duplex=False)
        self._processes, self._crew = count, []
        return ProcessPoolExecutor(
            count,
            mp_context=context,
            initializer=_start_worker,
            initargs=(driver, self._lifeline),
        )


def _close_own_end_of_results(pool: ProcessPoolExecutor) -> None:
    """Leave the pipe of results to the workers, so that it ends when they do."""
    writer = getattr(getattr(pool, "_result_queue", None), "_writer", None)
    if sys.platform == "linux" and writer is not None:  # all workers are forked already
        writer.close()


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Let signals that would end the run wait; what is started meanwhile inherits that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _killed_workers_told() -> Iterator[None]:
    """Say what it means that a process of the pool is gone."""
    from concurrent.futures.process import BrokenProcessPool

    try:
        yield
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process was killed",
            expected="it to run to its end",
            fix="nothing was written; if memory ran out, try again with fewer --workers",
        ) from error


def _run(function: Callable[[Task], Result], task: Task) -> Result:
    """Run one task. Its rollouts are trees of many small objects, which their counts free at
    once; looking for cycles among them all the while would take a fifth of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        return function(task)
    finally:
        if collecting:
            gc.enable()


def _can_travel(function: Callable[[Task], Result], task: Task) -> bool:
    """Whether a task can be sent to another process; a metric made on the spot, say, cannot."""
    try:
        pickle.dumps((function, task))
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True


def _start_worker(driver: Connection, lifeline: Connection) -> None:
    """Leave signals, which may reach every process of a terminal or a job, to the driver; end when
    it closes its end of the lifeline, as it does when it dies."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    lifeline.close()
    threading.Thread(target=_end_with, args=(driver,), daemon=True).start()


def _end_with(driver: Connection) -> None:
    driver.poll(None)
    os._exit(1)
