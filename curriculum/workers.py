"""A function over shards, in this process, in several, or on a Ray cluster: results in order, the
first error wins.

Whatever does the work, the results are the same.
"""

from __future__ import annotations

import gc
import os
import pickle
import platform
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

from curriculum.errors import InputError, UsageError
from curriculum.processes import CROWD, SIGNALS, TASKS_PER_WORKER, TICK_SECONDS, Processes

Task = TypeVar("Task")
Result = TypeVar("Result")

ENGINES = ("local", "ray")
RETRIES = 3  # of a task whose node or process is gone
CANCEL_SECONDS = 5.0  # before it is forced, and after
KNOCK_SECONDS = 10.0
_SIZE_SECONDS = 5.0


class Workers:
    """What runs a function over tasks: processes of this machine (with `count` 1 this one alone),
    or the CPUs of a Ray cluster.

    A context manager: leaving it ends the work, at once after an error. `on_nodes` says that tasks
    run on several machines: one may be run again, so it has to leave what it reads, and two that
    write to one file have to lock what they write. Without `fork` no process is a copy of this one.
    """

    def __init__(
        self,
        count: int | None = None,
        engine: str = "local",
        address: str | None = None,
        fork: bool = True,
    ) -> None:
        self.on_nodes = engine == "ray"
        self._engine = _Ray(count, address) if engine == "ray" else Processes(count, fork)

    def __enter__(self) -> Workers:
        if isinstance(self._engine, _Ray):
            self._engine.connect()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._engine.stop(at_once=kind is not None)

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
        start, up to CROWD for each worker. `tick` is called several times a second while others
        work, and else after each task.
        """
        engine, todo = self._engine, iter(tasks)
        run = partial(_run, function)
        first = list(islice(todo, engine.at_once()))
        if not engine.takes(run, first):
            for task in chain(first, todo):
                result = run(task)
                if tick is not None:
                    tick()
                yield task, result
            return
        running = deque(zip(first, engine.begin(run, first, crowd), strict=True))
        while running:
            task, handle = running.popleft()
            result = engine.result(handle, tick)
            more = islice(todo, max(engine.at_once() - len(running), 0))
            running.extend((task, engine.submit(run, task)) for task in more)
            yield task, result


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


def check_engine(engine: str, address: str | None) -> None:
    """Raise UsageError unless this engine can be had."""
    if engine not in ENGINES:
        raise UsageError(
            f"there is no {engine!r}",
            where="--engine",
            expected="one of " + ", ".join(ENGINES),
            fix="choose one of them",
        )
    if engine == "ray" and find_spec("ray") is None:
        raise UsageError(
            "Ray is not installed here",
            where="--engine",
            expected="the extra that brings it",
            fix="pip install 'rollout-curriculum[ray]', or in a clone pip install -e '.[ray]'",
        )
    if address is not None and "://" in address:
        raise UsageError(
            f"the address is {address!r}",
            where="--ray-address",
            expected="HOST:PORT of the head node, as `ray start` prints it",
            fix="run the command on a machine of the cluster: Ray's client is not used here",
        )
    if engine != "ray" and address is not None:
        raise UsageError(
            "it names a Ray cluster, and Ray is not asked for",
            where="--ray-address",
            expected="--engine ray beside it",
            fix="add --engine ray, or leave out --ray-address",
        )


class _Ray:
    """A Ray cluster: the one at `address`, else the one that runs here, else one started here.

    At most `count` tasks are under way, or a few for each CPU of the cluster, as many as it has
    by then. A task whose process or node is gone is run again. The package goes to the nodes with
    the tasks; what it needs has to be there.
    """

    def __init__(self, count: int | None, address: str | None) -> None:
        self._count, self._address = count, address
        self._size, self._sized = 1, 0.0
        self._connected = False
        self._directory = str(Path.cwd())
        self._ray: Any = None
        self._remote: Any = None
        self._running: list[Any] = []

    def connect(self) -> None:
        """Raise InputError where there is no such cluster."""
        import logging

        try:
            _knock(self._address or os.environ.get("RAY_ADDRESS"))
            with _signals_kept():
                import ray

                self._ray = ray
                if ray.is_initialized():
                    return
                ray.init(
                    self._address,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    runtime_env={"py_modules": [str(Path(__file__).parent)]},
                )
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(
                f"no connection to the Ray cluster ({error})",
                where="--ray-address",
                expected="a cluster with this version of Ray and Python",
                fix="start one with `ray start --head`, or leave the flag out for one of this "
                "machine's own; nothing was written",
            ) from error
        self._connected = True

    def at_once(self) -> int:
        """How many tasks should be under way; a cluster may grow and shrink."""
        if self._count is not None:
            return self._count
        if time.monotonic() - self._sized > _SIZE_SECONDS:
            self._size = int(self._ray.cluster_resources().get("CPU", 1))
            self._sized = time.monotonic()
        return TASKS_PER_WORKER * max(self._size, 1)

    def takes(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> bool:
        """Whether there is a first task; every task can go there."""
        return bool(tasks)

    def begin(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], crowd: bool
    ) -> list[Any]:
        """Start the first tasks; of a crowd, several share a CPU."""
        self._remote = self._ray.remote(_run_away).options(
            num_cpus=1 / CROWD if crowd else 1, max_retries=RETRIES
        )
        return [self.submit(function, task) for task in tasks]

    def submit(self, function: Callable[[Task], Result], task: Task) -> Any:
        """Start one more."""
        self._running.append(self._remote.remote(function, task, self._directory))
        return self._running[-1]

    def result(self, reference: Any, tick: Callable[[], None] | None) -> Any:
        """What a task gives, once it has; meanwhile `tick` is called several times a second."""
        while not self._ray.wait([reference], timeout=TICK_SECONDS)[0]:
            if tick is not None:
                tick()
        self._running.remove(reference)  # to cancel what is done may end this process
        try:
            packed = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError as error:
            raise InputError(
                f"a task was killed {RETRIES + 1} times, or Ray failed ({_first_line(error)})",
                expected="it to run to its end",
                fix="nothing was written; if memory ran out, try again with fewer --workers",
            ) from error
        return pickle.loads(packed)

    def stop(self, at_once: bool) -> None:
        """Cancel what is under way, wait until it has ended, and leave the cluster."""
        left = self._wait_for(self._running, 0)
        for force in (False, True):
            for reference in left:
                self._ray.cancel(reference, force=force)
            left = self._wait_for(left, CANCEL_SECONDS)
        self._running = []
        if self._connected:
            self._ray.shutdown()

    def _wait_for(self, references: list[Any], seconds: float) -> list[Any]:
        """Those that are not done after a while."""
        if not references:
            return []
        left: list[Any] = self._ray.wait(
            references, num_returns=len(references), timeout=seconds, fetch_local=False
        )[1]
        return left


def _run_away(function: Callable[[Task], Result], task: Task, directory: str) -> bytes:
    """Run a task on a node, in the driver's directory if it is there, else where no relative path
    leads anywhere. Packed, its arrays are ours on arrival, not those of Ray's store."""
    os.chdir(directory if Path(directory).is_dir() else "/")
    try:
        return pickle.dumps(function(task))
    except (FileNotFoundError, InputError) as error:
        missing = error.__cause__ if isinstance(error, InputError) else error
        if not isinstance(missing, FileNotFoundError) or "://" in str(missing):
            raise
        raise InputError(
            f"the node {platform.node()} of the Ray cluster has no such file",
            where=str(missing.filename or missing),
            expected="files that all nodes see",
            fix="use a file system that the nodes share, or an object store (s3://, gs://); "
            "nothing was written",
        ) from error


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _knock(address: str | None) -> None:
    """Raise OSError where nobody answers at HOST:PORT; Ray itself would try for minutes."""
    import socket

    place = re.fullmatch(r"(.+):(\d+)", address or "")
    if place:
        socket.create_connection((place[1].strip("[]"), int(place[2])), KNOCK_SECONDS).close()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray answers some signals itself as soon as it is loaded; how we do it stays."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)
