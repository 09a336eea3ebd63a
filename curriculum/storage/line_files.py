"""Files of JSON lines: rows that are lines, and how many a file has."""

from __future__ import annotations

import pyarrow as pa

from curriculum.storage.paths import AnyPath
from curriculum.storage.requests import RANGE_BYTES

LINES = ".jsonl"  # how the names of such files end


class LineWriter:
    """Writes the lines of batches, each with a newline. A context manager."""

    def __init__(self, path: AnyPath) -> None:
        self._file = path.open("wb")

    def __enter__(self) -> LineWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, batch: pa.RecordBatch) -> None:
        """Add the lines of the first column."""
        self._file.write(b"".join(line + b"\n" for line in batch.column(0).to_pylist()))


def count_lines(path: AnyPath) -> int:
    """How many lines a file has, each of which ends with a newline."""
    count = 0
    with path.open("rb") as file:
        while block := file.read(RANGE_BYTES):
            count += block.count(b"\n")
    return count
