#!/usr/bin/env python3
"""Measure what each pass costs, by the GB and by the rollout: the figures of docs/SCALING.md.

Both scripts run on generated rollouts of two shapes and several sizes, on disk and, with --store,
in an S3 server on loopback. What is counted there is requests and bytes; its speed is no store's.
"""

from __future__ import annotations

import argparse
import json
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from generate import SHAPES, generate, parse_size

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from curriculum.bucket import bucket_rollouts  # noqa: E402
from curriculum.engines.workers import Workers  # noqa: E402
from curriculum.options import BucketOptions  # noqa: E402
from curriculum.preprocess import preprocess_buckets  # noqa: E402
from curriculum.preprocess_options import PreprocessOptions  # noqa: E402

WORKERS = 2


@dataclass
class Pass:
    """What a pass cost: its tasks; seconds of CPU in the workers; bytes they read and wrote; bytes
    of their results and of the tasks, which go to the driver and come from there."""

    tasks: int = 0
    cpu: float = 0.0
    read: int = 0
    written: int = 0
    results: int = 0
    sent: int = 0


@dataclass
class Costs:
    """What a run cost: by pass, and in the driver (CPU without what measuring takes, peak memory
    in bytes)."""

    passes: dict[str, Pass] = field(default_factory=dict)
    driver_cpu: float = 0.0
    driver_memory: int = 0
    rollouts: int = 0
    measuring: float = 0.0


def moved() -> tuple[int, int]:
    """Bytes that this process has read and written so far, by its own calls."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counts["rchar"]), int(counts["wchar"])


def peak_memory() -> int:
    """The most bytes of memory that this process has held."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])  # type: ignore[index]


def weigh(function: Callable[[Any], Any], task: Any) -> tuple[Any, float, int, int]:
    """A task's result, and what it cost."""
    (read, written), cpu = moved(), time.process_time()
    result = function(task)
    cpu, after = time.process_time() - cpu, moved()
    return result, cpu, after[0] - read, after[1] - written


def weighing(costs: Costs) -> Callable[..., Iterator[tuple[Any, Any]]]:
    """Workers.map, which notes what every task cost."""
    own = Workers.map

    def weigh_all(
        self: Workers, function: Any, tasks: Any, *how: Any, **named: Any
    ) -> Iterator[tuple[Any, Any]]:
        of = costs.passes.setdefault(function.__name__, Pass())
        done = own(self, partial(weigh, function), tasks, *how, **named)
        for task, (result, cpu, read, written) in done:
            before = time.process_time()
            of.tasks += 1
            of.cpu += cpu
            of.read += read
            of.written += written
            of.results += len(pickle.dumps(result))
            of.sent += len(pickle.dumps(task))
            costs.measuring += time.process_time() - before
            yield task, result

    return weigh_all


def measure_script(which: str, source: str, target: str) -> Costs:
    """Run one script in this process, and weigh it."""
    costs, started = Costs(), time.process_time()
    Workers.map = weighing(costs)  # type: ignore[method-assign]
    if which == "bucketing":
        report = bucket_rollouts(BucketOptions([source], target, workers=WORKERS, sync=False))
        costs.rollouts = report.manifest.counts.read
    else:
        options = PreprocessOptions(source, target, workers=WORKERS, sync=False)
        costs.rollouts = preprocess_buckets(options).rows
    costs.driver_cpu = time.process_time() - started - costs.measuring
    costs.driver_memory = peak_memory()
    return costs


def measure_apart(which: str, source: str, target: str) -> dict[str, Any]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--one", which, source, target]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def rows_of(name: str, size: int, found: dict[str, Any]) -> Iterator[list[str]]:
    """A run as rows of the table, by the GB of input and by the rollout."""
    count = found["rollouts"]
    for label, cost in found["passes"].items():
        yield [
            f"{name}, {label}",
            f"{cost['cpu'] / size * 1e9:.2f}",
            f"{cost['read'] / size:.2f}",
            f"{cost['written'] / size:.2f}",
            f"{cost['results'] / count:.0f}",
            f"{cost['sent'] / count:.0f}",
            "",
            "",
        ]
    yield [
        f"{name}, driver", f"{found['driver_cpu'] / size * 1e9:.2f}", "", "", "", "",
        f"{found['driver_memory'] / 1e6:.0f}", f"{count:,}",
    ]  # fmt: skip


HEAD = (
    "run, pass", "CPU s/GB", "read GB/GB", "written GB/GB", "result bytes/rollout",
    "task bytes/rollout", "driver peak MB", "rollouts",
)  # fmt: skip


def on_disk(directory: Path, sizes: Sequence[int]) -> Iterator[list[str]]:
    """All sizes and shapes on disk."""
    for shape in SHAPES:
        for size in sizes:
            source, target = directory / f"{shape}-{size}", directory / "out"
            if not source.exists():
                generate(source, shape, size)
            real = sum(path.stat().st_size for path in source.iterdir())
            shutil.rmtree(target, ignore_errors=True)
            places = (source, target / "bucketed", target / "preprocessed")
            for which, one, other in zip(
                ("bucketing", "preprocessing"), places, places[1:], strict=False
            ):
                found = measure_apart(which, str(one), str(other))
                yield from rows_of(f"{shape} {size / 1e9:g} GB, {which}", real, found)


def in_store(directory: Path, sizes: Sequence[int]) -> Iterator[list[str]]:
    """Requests, by method, and bytes that the workers move, in a store."""
    from tests.stores import Store, s3_server

    for shape in SHAPES:
        for size in sizes:
            source = directory / f"{shape}-{size}"
            if not source.exists():
                generate(source, shape, size)
            with s3_server() as endpoint:
                store = Store(endpoint, "scaling")
                store.request("PUT", store.bucket)
                for path in sorted(source.iterdir()):
                    store.put(f"in/{path.name}", path.read_bytes())
                places = [store / name for name in ("in", "bucketed", "preprocessed")]
                store.counts()
                for which, one, other in zip(
                    ("bucketing", "preprocessing"), places, places[1:], strict=False
                ):
                    found, counts = measure_apart(which, one, other), store.counts()
                    of = [f"{counts.get(m, 0)}" for m in ("GET", "HEAD", "PUT", "POST", "DELETE")]
                    memory = f"{found['driver_memory'] / 1e6:.0f}"
                    cpu = sum(cost["cpu"] for cost in found["passes"].values()) / size * 1e9
                    yield [f"{shape} {size / 1e9:g} GB, {which}", *of, f"{cpu:.2f}", memory]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=3, metavar="WHAT", help=argparse.SUPPRESS)
    parser.add_argument("--sizes", nargs="+", type=parse_size, default=[500_000_000, 2_000_000_000])
    parser.add_argument("--store", nargs="+", type=parse_size, default=[], metavar="SIZE")
    parser.add_argument("--dir", type=Path, help="where to keep what is generated")
    flags = parser.parse_args(argv)
    if flags.one:
        print(json.dumps(asdict(measure_script(*flags.one))))
        return 0
    with tempfile.TemporaryDirectory() as made:
        directory = flags.dir or Path(made)
        print(table(HEAD, list(on_disk(directory, flags.sizes))))
        if flags.store:
            head = ("run", "GET", "HEAD", "PUT", "POST", "DELETE", "CPU s/GB", "driver peak MB")
            print(table(head, list(in_store(directory, flags.store))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
