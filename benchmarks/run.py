#!/usr/bin/env python3
"""Measure ours against what a user would write instead: tables of time, memory and ratio.

Every tool runs as a whole process on the same files, in turn, round after round. What a tool wrote
is checked before its time counts.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from floors import measure_floors
from generate import SHAPES, flatten, generate, parse_size
from measure import CommandError, Run, run
from report import Result, floor_table, growth_table, machine, say, tool_table

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
OURS = "ours"
SYNCED = "ours-synced"
PYTHON = "ours-python"  # without the compiled scanner
ALL_OURS = (OURS, SYNCED, PYTHON)
GROWTH = (0.25, 1, 4)  # times --size
GROWTH_WORKERS = (1, 2)


@dataclass(frozen=True)
class Tool:
    """A command, with SOURCE and TARGET for its directories, and the package it needs."""

    command: tuple[str, ...]
    package: str | None = None

    def words(self, source: Path, target: Path) -> list[str]:
        """The command for these directories."""
        places = {"SOURCE": str(source), "TARGET": str(target)}
        return [places.get(word, word) for word in self.command]


def ours(script: str) -> dict[str, Tool]:
    """A script of the toolkit, in the ways that it can run."""
    command = (sys.executable, str(REPOSITORY / script), "-i", "SOURCE", "-o", "TARGET")
    return {
        OURS: Tool((*command, "--no-sync")),
        SYNCED: Tool(command),
        PYTHON: Tool(("env", "CURRICULUM_NO_SCANNER=1", *command, "--no-sync")),
    }


def peer(name: str, package: str) -> Tool:
    """A script in peers/."""
    script = str(HERE / "peers" / f"{name}.py")
    return Tool((sys.executable, script, "SOURCE", "TARGET"), package)


TOOLS = {
    "bucketing": {
        "cat": Tool(("sh", "-c", 'cat "$0"/*.jsonl > "$1"/all.jsonl', "SOURCE", "TARGET")),
        **ours("bucket_rollouts_by_difficulty.py"),
        "polars": peer("bucket_polars_records", "polars"),
        "polars-reward": peer("bucket_polars_reward", "polars"),
        "msgspec": peer("bucket_msgspec", "msgspec"),
        "duckdb": peer("bucket_duckdb", "duckdb"),
        "pandas": peer("bucket_pandas", "pandas"),
        "datasets": peer("bucket_datasets", "datasets"),
    },
    "gathering": {
        **ours("bucket_rollouts_by_difficulty.py"),
        "polars": peer("gather_polars", "polars"),
    },
    "preprocessing": {
        **ours("preprocess_bucketed_rollouts.py"),
        "polars": peer("preprocess_polars", "polars"),
        "duckdb": peer("preprocess_duckdb", "duckdb"),
        "datasets": peer("preprocess_datasets", "datasets"),
    },
}
UNCHECKED = ("cat",)  # it sorts nothing into buckets


@dataclass(frozen=True)
class Data:
    """One data set: the rollouts, the same as a dump of responses and in buckets, and the file
    that keeps the truth."""

    shape: str
    rollouts: Path
    dump: Path
    buckets: Path
    expected: Path

    def source(self, what: str) -> Path:
        """What a step reads."""
        sources = {"bucketing": self.rollouts, "gathering": self.dump}
        return sources.get(what, self.buckets)

    def bytes(self, what: str) -> int:
        """How much that is."""
        return sum(path.stat().st_size for path in self.source(what).glob("*.jsonl"))


def prepare(directory: Path, shape: str, size: int) -> Data:
    """The data set of a shape and size, made if it is not there."""
    name = f"{shape}-{size / 1e9:g}GB"
    data = Data(
        shape,
        directory / name,
        directory / f"{name}.dump",
        directory / f"{name}.bucketed",
        directory / f"{name}.expected.json",
    )
    if not data.rollouts.exists():
        say(f"making {data.rollouts}")
        generate(data.rollouts, shape, size)
    if not data.dump.exists():
        say(f"making {data.dump}")
        flatten(data.rollouts, data.dump)
    if not data.buckets.exists():
        say(f"making {data.buckets}")
        tool = TOOLS["bucketing"][OURS]
        with scratch(directory) as target:
            run(tool.words(data.rollouts, target), target.with_suffix(".log"), with_memory=False)
            check("bucketing", data, data.rollouts, target)
            target.rename(data.buckets)
    return data


@contextmanager
def scratch(directory: Path) -> Iterator[Path]:
    """A new directory, removed at the end, if it is still there, with the log beside it."""
    directory.mkdir(parents=True, exist_ok=True)
    target = Path(tempfile.mkdtemp(prefix="out-", dir=directory))
    try:
        yield target
    finally:
        shutil.rmtree(target, ignore_errors=True)
        target.with_suffix(".log").unlink(missing_ok=True)


def check(what: str, data: Data, source: Path, target: Path) -> str:
    """How well a tool kept the rollouts. Raises CommandError if it did not do the job."""
    script = str(HERE / "check.py")
    words = [sys.executable, script, what, str(source), str(target), str(data.expected)]
    words += ["--rollouts", str(data.rollouts)] if what == "gathering" else []
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise CommandError(done.stdout + done.stderr)
    return done.stdout.strip()


def measure(what: str, name: str, tool: Tool, data: Data, where: Path, with_memory: bool) -> Result:
    """One run of a tool, checked. Raises CommandError."""
    source = data.source(what)
    warm(source)
    os.sync()  # what others wrote must not be on its way to the disk meanwhile
    with scratch(where) as target:
        once = run(tool.words(source, target), target.with_suffix(".log"), with_memory)
        kept = "" if name in UNCHECKED else check(what, data, source, target)
    say(f"{what} {data.shape} {name}: {once.wall:.2f} s")
    return Result(name, data.bytes(what), kept, (once,))


def warm(directory: Path) -> None:
    """Read all files once, so that they lie in the page cache."""
    for path in directory.glob("*.jsonl"):
        with path.open("rb", buffering=0) as stream:
            while stream.read(1 << 22):
                pass


def compare(
    what: str, tools: Mapping[str, Tool], data: Data, where: Path, rounds: int
) -> list[Result]:
    """Every tool in turn: a round for the memory, then the rounds that are timed."""
    results = [
        measure(what, name, tool, data, where, with_memory=True) for name, tool in tools.items()
    ]
    memory = {result.name: result.runs[0].memory for result in results}
    runs: dict[str, list[Run]] = {name: [] for name in tools}
    for _ in range(rounds):
        for name, tool in tools.items():
            runs[name] += measure(what, name, tool, data, where, with_memory=False).runs
    return [
        Result(result.name, result.size, result.kept, tuple(runs[result.name]), memory[result.name])
        for result in results
    ]


def choose(what: str, wanted: Sequence[str], workers: int | None) -> tuple[dict[str, Tool], str]:
    """The tools to run, and a line on those that cannot."""
    chosen, missing = {}, []
    for name, tool in TOOLS[what].items():
        if wanted and name not in (*wanted, OURS, SYNCED):
            continue
        if tool.package and importlib.util.find_spec(tool.package) is None:
            missing.append(name)
            continue
        chosen[name] = with_workers(tool, workers) if name in ALL_OURS else tool
    return chosen, f"Not installed, so left out: {', '.join(missing)}." if missing else ""


def with_workers(tool: Tool, workers: int | None) -> Tool:
    """Ours with `--workers`, if there is a number of them."""
    return tool if workers is None else Tool((*tool.command, "--workers", str(workers)))


def tables(flags: argparse.Namespace, shape: str) -> Iterator[str]:
    """The tables that were asked for."""
    if flags.what == "growth":
        return growth(flags, shape)
    if flags.what == "floors":
        return floors(flags, shape)
    return comparisons(flags, shape)


def floors(flags: argparse.Namespace, shape: str) -> Iterator[str]:
    """A table of what each step cannot do without."""
    data, where = prepare(flags.dir, shape, flags.size), flags.output_dir or flags.dir
    with scratch(where) as target:
        tool = TOOLS["preprocessing"][OURS]
        run(tool.words(data.buckets, target), target.with_suffix(".log"), with_memory=False)
        warm(data.rollouts)
        found = measure_floors(sorted(data.rollouts.glob("*.jsonl")), target, flags.rounds)
    yield floor_table(f"What cannot be done without, {SHAPES[shape].line} lines", found)


def comparisons(flags: argparse.Namespace, shape: str) -> Iterator[str]:
    """A table for each step."""
    data = prepare(flags.dir, shape, flags.size)
    for what in TOOLS if flags.what == "all" else [flags.what]:
        tools, note = choose(what, flags.tools, flags.workers)
        results = compare(what, tools, data, flags.output_dir or flags.dir, flags.rounds)
        yield tool_table(f"{what}, {SHAPES[shape].line} lines", results, OURS, note)


def growth(flags: argparse.Namespace, shape: str) -> Iterator[str]:
    """A table for each step: ours by size and number of workers."""
    where = flags.output_dir or flags.dir
    for what, tools in TOOLS.items():
        rows = []
        for factor in GROWTH:
            data = prepare(flags.dir, shape, int(flags.size * factor))
            ours_by_workers = {
                f"{count} workers": with_workers(tools[OURS], count) for count in GROWTH_WORKERS
            }
            rows += compare(what, ours_by_workers, data, where, flags.rounds)
        yield growth_table(f"{what}, {SHAPES[shape].line} lines: ours", rows)


def build_parser() -> argparse.ArgumentParser:
    """The flags of this script."""
    names = sorted({name for tools in TOOLS.values() for name in tools})
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--what", choices=(*TOOLS, "all", "growth", "floors"), default="all",
        help="the steps to compare, how ours grows with the size and the workers, or what no tool "
        "can do without: reading, writing, compressing (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--shape", choices=(*SHAPES, "both"), default="both",
        help="long: 40 kB lines, short: 1.7 kB lines (default: both)",
    )  # fmt: skip
    parser.add_argument(
        "--size", type=parse_size, default="1GB", help="bytes of rollouts (default: 1GB)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds (default: 3)")
    parser.add_argument(
        "--tools", type=lambda text: text.split(","), default=[], metavar="NAME,NAME",
        help=f"beside ours, of {', '.join(names)} (default: all)",
    )  # fmt: skip
    parser.add_argument("--workers", type=int, help="--workers of ours (default: its own)")
    parser.add_argument(
        "--dir", type=Path, default=REPOSITORY / "build" / "bench",
        help="where the data is, or is made (default: build/bench)",
    )  # fmt: skip
    parser.add_argument(
        "--output-dir", type=Path,
        help="where the tools write; all of it is removed again (default: --dir)",
    )  # fmt: skip
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables to a file")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; exit code 1 if a tool failed or did not do the job."""
    parser = build_parser()
    flags = parser.parse_args(argv)
    unknown = [name for name in flags.tools if not any(name in t for t in TOOLS.values())]
    if unknown:
        parser.error(f"there is no tool {', '.join(unknown)}")
    if flags.rounds < 1:
        parser.error("--rounds: at least one")
    parts = []
    try:
        for shape in SHAPES if flags.shape == "both" else [flags.shape]:
            for table in tables(flags, shape):
                print(table, flush=True)
                parts.append(table)
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    parts.append(machine(flags.output_dir or flags.dir))
    print(parts[-1])
    if flags.markdown:
        flags.markdown.write_text("\n".join(parts))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
