"""The long run: many faults of every kind, and how many were survived."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from curriculum.scanner.compiled import scanner
from tests.scanner.compare import compare_mutants
from tests.torture.disk import fill_file_system, limit_file_sizes
from tests.torture.kill import kill_a_worker, kill_at_each_step, kill_at_random
from tests.torture.memory import read_more_than_fits
from tests.torture.mutate import break_lines
from tests.torture.runs import make_changes


def main() -> None:
    """Try them all; the first that is not survived ends it with what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="per script (default: 200)")
    parser.add_argument("--mutants", type=int, default=100_000, help="(default: 100000)")
    parser.add_argument("--seed", type=int, default=0, help="of what is random (default: 0)")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        changes = make_changes(directory)
        faults: dict[str, list[Callable[[], int]]] = {
            "killed before each single step on the disk": [
                lambda change=change: kill_at_each_step(change) for change in changes
            ],
            "killed, interrupted or terminated at a random moment": [
                lambda change=change: kill_at_random(change, flags.kills, flags.seed)
                for change in changes
            ],
            "a worker killed": [
                lambda change=change: kill_a_worker(change, flags.kills // 4, flags.seed)
                for change in changes
            ],
            "a limit on the size of a file": [
                lambda change=change: limit_file_sizes(change, flags.kills // 2)
                for change in changes
            ],
            "a full file system": [
                lambda change=change: fill_file_system(
                    change, directory / "mounted", flags.kills // 2
                )
                for change in changes
            ],
            "more to read than memory to map": [
                lambda: read_more_than_fits(directory / "large"),
            ],
            "broken lines": [lambda: break_lines(directory, flags.mutants, flags.seed)],
            "broken lines, read by the scanner and in Python": [
                lambda: (
                    compare_mutants(directory / "compared", flags.mutants, flags.seed)
                    if scanner()
                    else 0
                )
            ],
        }
        for name, tries in faults.items():
            count = sum(attempt() for attempt in tries)
            print(f"{name}: {count:,} tried, {count:,} survived", flush=True)


if __name__ == "__main__":
    main()
