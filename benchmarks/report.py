"""What was measured → markdown tables, and what they were measured on."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from measure import Run

PACKAGES = ("numpy", "msgspec", "pyarrow", "polars", "duckdb", "pandas", "datasets")
BUSY = 0.1  # cores in use by others, from which on a row is marked


@dataclass(frozen=True)
class Result:
    """The runs of a tool: the bytes it read, how well it kept the rollouts, its peak memory."""

    name: str
    size: int
    kept: str
    runs: tuple[Run, ...]
    memory: int = 0

    @property
    def wall(self) -> float:
        """Median wall time in seconds."""
        return statistics.median(run.wall for run in self.runs)

    @property
    def cpu(self) -> float:
        """Median CPU time in seconds, user and system."""
        return statistics.median(run.cpu for run in self.runs)

    @property
    def others(self) -> float:
        """Median of the cores that were busy with something else."""
        return statistics.median(run.others for run in self.runs)

    @property
    def range(self) -> str:
        """Shortest and longest wall time."""
        walls = [run.wall for run in self.runs]
        return f"{min(walls):.2f} to {max(walls):.2f}"

    def cells(self) -> list[str]:
        """What all tables show of it."""
        rate = self.size / 1e6 / self.wall
        costs = [f"{self.wall:.2f}", self.range, f"{self.cpu:.2f}", f"{rate:,.0f}"]
        return [*costs, f"{self.memory / 1e6:,.0f}"]


LEGEND = """\
Medians of whole processes, start-up included, inputs in the page cache. Peak MB: the most
proportional memory that all its processes had together, in a round of its own. ÷ ours: wall time
over that of ours. Kept: whether rollouts arrived as the same bytes, as the same values in other
JSON, or changed. That each is in its bucket, once, is checked after every run. No peer waits for
the disk, so ours runs with --no-sync beside them; ours-synced is its default, which ends when its
files are on the disk.
"""
COST_HEADS = ("wall s", "range", "CPU s", "MB/s", "peak MB")


def tool_table(title: str, results: Sequence[Result], ours: str, note: str) -> str:
    """Tools beside each other; the ratio says how many times the wall time of ours."""
    base = next(result.wall for result in results if result.name == ours)
    rows = [
        [result.name, *result.cells(), f"{result.wall / base:.2f}", result.kept]
        for result in results
    ]
    heads = ["tool", *COST_HEADS, "÷ ours", "kept"]
    return _section(title, results, [heads, *rows], note)


def growth_table(title: str, results: Sequence[Result]) -> str:
    """One tool by size and number of workers."""
    rows = [[f"{result.size / 1e9:.2f}", result.name, *result.cells()] for result in results]
    return _section(title, results, [["GB", "", *COST_HEADS], *rows], "")


def floor_table(title: str, floors: Mapping[str, tuple[int, float]]) -> str:
    """Bytes and seconds of each thing that was measured alone, by what it is."""
    rows = [
        [name, f"{size / 1e9:.2f}", f"{seconds:.2f}", f"{size / 1e6 / seconds:,.0f}"]
        for name, (size, seconds) in floors.items()
    ]
    table = _markdown([["in one process", "GB", "s", "MB/s"], *rows])
    return f"### {title}\n\n{table}\n"


def _section(title: str, results: Sequence[Result], table: list[list[str]], note: str) -> str:
    size = f"{results[0].size / 1e9:.2f} GB, " if len({r.size for r in results}) == 1 else ""
    heading = f"### {title[0].upper()}{title[1:]}\n\n{size}{len(results[0].runs)} rounds.\n"
    busy = [f"{r.name} ({r.others:.1f})" for r in results if r.others > BUSY]
    if busy:
        note += f" Cores busy with something else meanwhile: {', '.join(busy)}."
    return "\n".join([heading, _markdown(table), *([f"\n{note.strip()}"] if note else []), ""])


def _markdown(table: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in table]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)


def machine(output_dir: Path) -> str:
    """Versions, cores, memory, and the file system that was written to."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    versions = [f"Python {platform.python_version()}", *map(_version, PACKAGES)]
    return (
        f"{LEGEND}\n{cores} cores, {memory:.0f} GB of memory, outputs on "
        f"{file_system(output_dir)}.\n{', '.join(versions)}.\n"
    )


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


def file_system(path: Path) -> str:
    """The kind of file system that a path is on."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    around = [(point, kind) for point, kind in mounts if path.resolve().is_relative_to(point)]
    return max(around, key=lambda mount: len(mount[0]))[1]


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)
