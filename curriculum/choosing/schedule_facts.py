"""Scheduled rows → how difficult each batch is, and what it is mixed of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curriculum.arrays import CompactIntArray, FloatArray
from curriculum.choosing.schedule import Schedule, expected_difficulty


@dataclass(frozen=True)
class ScheduleFacts:
    """Batch by batch: the mean difficulty of its rows, from 0 (the easiest row) to 1 by rank, the
    one that the schedule means, and the share of each part of the mix (batches x names). `last` is
    how many rows the last batch has."""

    schedule: Schedule
    means: FloatArray
    meant: FloatArray
    names: Sequence[str]
    shares: FloatArray
    last: int

    @staticmethod
    def of(
        schedule: Schedule, difficulty: FloatArray, parts: CompactIntArray, names: Sequence[str]
    ) -> ScheduleFacts:
        """Of rows in order: the difficulty of each by rank, and its part of the mix by number."""
        rows, size = len(difficulty), schedule.batch_size
        batch = np.arange(rows) // size
        counts = np.bincount(batch)
        shares = np.zeros((len(counts), len(names)))
        np.add.at(shares, (batch, parts), 1)
        once = rows // schedule.epochs
        every = [expected_difficulty(schedule, -(-once // size)) for _ in range(schedule.epochs)]
        return ScheduleFacts(
            schedule,
            np.bincount(batch, difficulty) / counts,
            np.concatenate(every)[: len(counts)],
            names,
            shares / counts[:, None],
            int(counts[-1]),
        )
