"""Run a function over tasks, here, in several processes or on a Ray cluster.

Results come in the order of the tasks and are the same whatever does the work; the first error ends
the run.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.util import find_spec
from itertools import chain, islice
from typing import TypeVar

from curriculum.engines.processes import Processes
from curriculum.engines.ray_cluster import RayCluster
from curriculum.errors import UsageError, check_choice
from curriculum.packages import how_to_install

Task = TypeVar("Task")
Result = TypeVar("Result")

ENGINES = ("local", "ray")


class Workers:
    """Runs a function over tasks: in processes on this machine (with `count` 1 only in this one),
    or on the CPUs of a Ray cluster.

    A context manager: leaving it ends all work that is under way. `on_nodes` says that tasks
    run on several machines. A task may then be run again, so it must not remove its inputs, and
    tasks that write to one file must lock what they write. Without `fork`, processes start afresh.
    """

    def __init__(
        self,
        count: int | None = None,
        engine: str = "local",
        address: str | None = None,
        fork: bool = True,
    ) -> None:
        self.on_nodes = engine == "ray"
        self._engine = RayCluster(count, address) if engine == "ray" else Processes(count, fork)

    def __enter__(self) -> Workers:
        if isinstance(self._engine, RayCluster):
            self._engine.connect()
        return self

    def __exit__(self, *error: object) -> None:
        self._engine.stop()

    def threads_each(self, tasks: int) -> int:
        """How many threads each of `tasks` tasks may use when all run at once."""
        return self._engine.threads_each(tasks)

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Iterable[Task],
        crowd: bool = False,
        tick: Callable[[], None] | None = None,
    ) -> Iterator[tuple[Task, Result]]:
        """Each task with its result, in the order of the tasks. The first error ends it.

        A few tasks per worker are under way at a time, so few results wait in memory; `tasks` are
        taken only as needed. With `crowd`, a few tasks all start at once and share the cores, up
        to CROWD per worker. `tick` is called several times a second while other processes work,
        otherwise after each task.
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
    """Run one task without garbage collection. Reference counts free its rollouts, trees of many
    small objects; looking for cycles among them would take a fifth of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        return function(task)
    finally:
        if collecting:
            gc.enable()


def check_engine(engine: str, address: str | None) -> None:
    """Raise UsageError unless this engine can be used here, with this address."""
    check_choice("--engine", engine, ENGINES)
    if engine == "ray" and find_spec("ray") is None:
        raise UsageError(
            "Ray is not installed",
            where="--engine",
            fix=how_to_install(["ray"], extra="ray"),
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
