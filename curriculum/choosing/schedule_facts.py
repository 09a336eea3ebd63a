"""Scheduled rows → how difficult each batch is, and what it is mixed of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curriculum.arrays import CompactIntArray, FloatArray
from curriculum.choosing.schedule import Schedule, expected_difficulty


@dataclass(frozen=True)
class ScheduleFacts:
    """Of each batch: the mean difficulty of its rows, from 0 (the easiest row) to 1 by rank, that
    which the schedule asks for (`meant`), and the share of each part of the mix, groups or buckets
    (batches x names). `rows` are those of an epoch, `last` is how many the last batch has."""

    schedule: Schedule
    means: FloatArray
    meant: FloatArray
    names: Sequence[str]
    shares: FloatArray
    rows: int
    last: int
    of_groups: bool

    @property
    def epoch(self) -> FloatArray:
        """The mean difficulties of the batches of the first epoch; of several epochs, without the
        batch that has rows of the second one, too."""
        whole, rest = divmod(self.rows, self.schedule.batch_size)
        mixed = rest and self.schedule.epochs > 1
        return self.means[: max(whole + bool(rest and not mixed), 1)]

    @staticmethod
    def of(
        schedule: Schedule,
        difficulty: FloatArray,
        parts: CompactIntArray,
        names: Sequence[str],
        of_groups: bool = False,
    ) -> ScheduleFacts:
        """Of rows in order: the difficulty of each by rank, and its part of the mix by number."""
        rows, size = len(difficulty), schedule.batch_size
        batch = np.arange(rows) // size
        counts = np.bincount(batch)
        shares = np.zeros((len(counts), len(names)))
        np.add.at(shares, (batch, parts), 1)
        once = rows // schedule.epochs
        meant = np.tile(expected_difficulty(schedule, once), schedule.epochs)
        return ScheduleFacts(
            schedule,
            np.bincount(batch, difficulty) / counts,
            np.bincount(batch, meant) / counts,
            names,
            shares / counts[:, None],
            once,
            int(counts[-1]),
            of_groups,
        )
