"""What no tool can do without, each measured alone in one process: reading the rollouts once,
writing their bytes, scanning their lines, and compressing rows that are columns already.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from curriculum.scanner.score_lines import scan_scores
from curriculum.storage.parquet_files import GroupWriter

BLOCK_BYTES = 1 << 20


def measure_floors(
    rollouts: Sequence[Path], preprocessed: Path, rounds: int
) -> dict[str, tuple[int, float]]:
    """Bytes and median seconds of each, by what it is. The files lie in the page cache."""
    size = sum(path.stat().st_size for path in rollouts)
    tables = {path: pq.read_table(path) for path in sorted(preprocessed.glob("*.parquet"))}
    written = sum(path.stat().st_size for path in tables)
    other = preprocessed / "floor.bin"
    found = {
        "read": (size, _seconds(lambda: _read(rollouts), rounds)),
        "read and scan": (size, _seconds(lambda: _scan(rollouts), rounds)),
        "read and write": (size, _seconds(lambda: _copy(rollouts, other), rounds)),
        "compress and write parquet": (written, _seconds(lambda: _compress(tables, other), rounds)),
    }
    other.unlink()
    return found


def _seconds(work: Callable[[], None], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _read(paths: Sequence[Path]) -> None:
    buffer = bytearray(BLOCK_BYTES)
    for path in paths:
        with path.open("rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass


def _scan(paths: Sequence[Path]) -> None:
    """Blocks are cut anywhere, so a line in a block's end is left out and its rest is declined."""
    buffer = bytearray(BLOCK_BYTES)
    for path in paths:
        with path.open("rb", buffering=0) as stream:
            while count := stream.readinto(buffer):
                scan_scores(buffer, buffer.rfind(b"\n", 0, count) + 1, "score")


def _copy(paths: Sequence[Path], target: Path) -> None:
    buffer = bytearray(BLOCK_BYTES)
    with target.open("wb", buffering=0) as output:
        for path in paths:
            with path.open("rb", buffering=0) as stream:
                while count := stream.readinto(buffer):
                    output.write(memoryview(buffer)[:count])


def _compress(tables: dict[Path, pa.Table], target: Path) -> None:
    for path, table in tables.items():
        groups = pq.read_metadata(path)
        rows = [groups.row_group(i).num_rows for i in range(groups.num_row_groups)]
        with GroupWriter(target, table.schema, rows) as writer:
            for batch in table.to_batches():
                writer.add(batch)
