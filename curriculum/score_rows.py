"""Rows of the score table, staged as Arrow: of each rollout its key, its metrics, and how many
responses it has and how many of them pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from curriculum.arrays import FloatArray, IntArray
from curriculum.stores import AnyPath, open_sink


class ScoreRows:
    """Writes the rows of a shard to a file, in the order of its rollouts."""

    def __init__(self, path: AnyPath) -> None:
        self._path = path
        self._file: Any = None
        self._writer: Any = None

    def add(
        self,
        keys: Sequence[str | None],
        metrics: Mapping[str, FloatArray],
        responses: IntArray,
        passes: IntArray,
    ) -> None:
        """Add the rows of some rollouts; a metric that is NaN is undefined, and null."""
        import pyarrow as pa  # only the score table needs it here, and it takes long to load

        from curriculum.arrow import integers, numbers, texts

        columns = {"key": texts(keys)}
        columns |= {name: numbers(values, ~np.isnan(values)) for name, values in metrics.items()}
        columns |= {"num_responses": integers(responses), "num_passes": integers(passes)}
        batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
        if self._writer is None:
            self._file = open_sink(self._path)
            self._writer = pa.ipc.new_stream(self._file, batch.schema)
        self._writer.write_batch(batch)

    def close(self) -> None:
        """End the file."""
        if self._writer is not None:
            with self._file:
                self._writer.close()
