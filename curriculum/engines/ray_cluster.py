"""A Ray cluster; the only module that imports Ray."""

from __future__ import annotations

import os
import pickle
import platform
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from curriculum.engines.processes import CROWD, TASKS_PER_WORKER, TICK_SECONDS
from curriculum.engines.signals import keep_handlers
from curriculum.errors import InputError

Task = TypeVar("Task")
Result = TypeVar("Result")

RETRIES = 3  # for a task whose node or process is gone
CANCEL_SECONDS = 5.0  # to wait for cancelled tasks, before and after using force
KNOCK_SECONDS = 10.0  # to wait for an answer at the cluster's address
_SIZE_SECONDS = 5.0  # how long the known size of the cluster is trusted


class RayCluster:
    """A Ray cluster: the one at `address`, else one that runs here already, else a new one.

    At most `count` tasks are under way; without `count`, a few for each CPU that the cluster has at
    the time. A task whose process or node is gone is run again. The package is sent to the nodes
    with the tasks; its dependencies must be installed there.
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
        """Connect to the cluster. Raises InputError if that fails."""
        import logging

        try:
            _knock(self._address or os.environ.get("RAY_ADDRESS"))
            with keep_handlers():
                import ray

                self._ray = ray
                if ray.is_initialized():
                    return
                ray.init(
                    self._address,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    runtime_env={"py_modules": [str(Path(__file__).parents[1])]},
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
        """How many tasks should be under way at a time. A cluster may grow and shrink."""
        if self._count is not None:
            return self._count
        if time.monotonic() - self._sized > _SIZE_SECONDS:
            self._size = int(self._ray.cluster_resources().get("CPU", 1))
            self._sized = time.monotonic()
        return TASKS_PER_WORKER * max(self._size, 1)

    def threads_each(self, tasks: int) -> int:
        """One: a task has one CPU."""
        return 1

    def takes(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> bool:
        """Whether there are any tasks; a cluster takes every task."""
        return bool(tasks)

    def begin(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], crowd: bool
    ) -> list[Any]:
        """Start the first tasks. With `crowd`, CROWD tasks share a CPU."""
        self._remote = self._ray.remote(_run_away).options(
            num_cpus=1 / CROWD if crowd else 1, max_retries=RETRIES
        )
        return [self.submit(function, task) for task in tasks]

    def submit(self, function: Callable[[Task], Result], task: Task) -> Any:
        """Start one more task."""
        self._running.append(self._remote.remote(function, task, self._directory))
        return self._running[-1]

    def result(self, reference: Any, tick: Callable[[], None] | None) -> Any:
        """Wait for the result of a task, and call `tick` several times a second meanwhile."""
        while not self._ray.wait([reference], timeout=TICK_SECONDS)[0]:
            if tick is not None:
                tick()
        self._running.remove(reference)  # cancelling a finished task may end this process
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

    def stop(self) -> None:
        """Cancel the tasks under way, wait for them to end, and leave the cluster."""
        left = self._wait_for(self._running, 0)
        for force in (False, True):
            for reference in left:
                self._ray.cancel(reference, force=force)
            left = self._wait_for(left, CANCEL_SECONDS)
        self._running = []
        if self._connected:
            self._ray.shutdown()

    def _wait_for(self, references: list[Any], seconds: float) -> list[Any]:
        """Wait up to `seconds`, and return the tasks that are not done."""
        if not references:
            return []
        left: list[Any] = self._ray.wait(
            references, num_returns=len(references), timeout=seconds, fetch_local=False
        )[1]
        return left


def _run_away(function: Callable[[Task], Result], task: Task, directory: str) -> bytes:
    """Run a task on a node, in the driver's directory, or in / if the node lacks that one, so that
    relative paths fail. The result is pickled, so its arrays are not views of Ray's store."""
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
    """Raise OSError if nothing answers at HOST:PORT; Ray itself would try for minutes."""
    import socket

    host_port = re.fullmatch(r"(.+):(\d+)", address or "")
    if host_port:
        socket.create_connection(
            (host_port[1].strip("[]"), int(host_port[2])), KNOCK_SECONDS
        ).close()
