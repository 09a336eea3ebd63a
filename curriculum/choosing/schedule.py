"""Rows and a schedule → their order in one file, in which batch after batch becomes harder.

Each row is there once an epoch, so the batches cannot have any difficulty one likes: together they
have that of the data. A schedule says how likely a difficulty is at a time, and the order follows
it as nearly as that allows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from curriculum.arrays import CompactIntArray, FloatArray, HashArray, IntArray
from curriculum.choosing.choose import CHOICE, order_of
from curriculum.choosing.groups import split_by
from curriculum.choosing.shares import take_turns

LEVELS = 200  # of time, and of difficulty
ROUNDS = 500  # of fitting the weights, at most
FITTED = 1e-4  # how far the share of a level may be from what it should be, relatively
TINY = 1e-12  # weights that are no more than rounding
LEAST = 1e-9  # weight, so that every difficulty can be had at any time


@dataclass(frozen=True)
class Schedule:
    """Which difficulties come when.

    `kind` is a name in KINDS. Difficulty goes from 0, the easiest row, to 1, the hardest, by rank;
    `start` and `end` are where the schedule is at the first and at the last batch, and `sigma` is
    how wide a gaussian one is. There are `batch_size` rows in a batch, and each row is there
    `epochs` times.
    """

    kind: str
    batch_size: int
    epochs: int = 1
    sigma: float = 0.15
    start: float = 0.0
    end: float = 1.0


def _mixture(time: FloatArray, level: FloatArray) -> FloatArray:
    """From easy to hard: at the place `time` the weight of difficulty d is
    (1 - time) (1 - d) + time d."""
    return (1 - time) * (1 - level) + time * level


def linear(time: FloatArray, level: FloatArray, schedule: Schedule) -> FloatArray:
    """The mixture of easy and hard rows changes evenly from `start` to `end`."""
    place = schedule.start + (schedule.end - schedule.start) * time
    return _mixture(place, level)


def cosine(time: FloatArray, level: FloatArray, schedule: Schedule) -> FloatArray:
    """The same along half a cosine wave, slowly at both ends: E2H-C of Parashar et al., 2025 (arXiv
    2506.06632), with as many levels as there are rows."""
    wave = (1 - np.cos(np.pi * time)) / 2
    return _mixture(schedule.start + (schedule.end - schedule.start) * wave, level)


def gaussian(time: FloatArray, level: FloatArray, schedule: Schedule) -> FloatArray:
    """A bell of width `sigma` whose middle moves evenly from `start` to `end`: E2H-G of the same
    paper with an exponent of 1, and the curriculum of Nemotron 3 Nano (arXiv 2512.20848, section
    3.2.2), by rank in place of the pass rate."""
    middle = schedule.start + (schedule.end - schedule.start) * time
    distance = -(((level - middle) / schedule.sigma) ** 2) / 2
    return np.asarray(np.exp(distance - distance.max(axis=0)))


KINDS: dict[str, Callable[[FloatArray, FloatArray, Schedule], FloatArray]] = {
    "linear": linear,
    "gaussian": gaussian,
    "cosine": cosine,
}


def weights(schedule: Schedule) -> FloatArray:
    """How much of the data is of each difficulty at each time: LEVELS times by LEVELS difficulties,
    which add up to 1 / LEVELS in every row and column.

    They are the schedule's own weights, scaled by row and by column until both hold (Sinkhorn,
    1967), since every row of the data is there once.
    """
    middles = (np.arange(LEVELS) + 0.5) / LEVELS
    found = KINDS[schedule.kind](middles[:, None], middles[None, :], schedule) + LEAST
    for _ in range(ROUNDS):
        found /= found.sum(axis=0, keepdims=True) * LEVELS
        times = found.sum(axis=1, keepdims=True) * LEVELS
        if np.abs(times - 1).max() < FITTED:
            break
        found /= times
    return found


def weights_of_batches(schedule: Schedule, sizes: IntArray) -> FloatArray:
    """How much of each of the LEVELS difficulties comes in each batch of an epoch, given how many
    of its rows are in each; the column of each difficulty adds up to 1 / LEVELS."""
    done = np.concatenate([np.zeros((1, LEVELS)), np.cumsum(weights(schedule), axis=0)])
    ends = np.append(0, np.cumsum(sizes)) * (LEVELS / sizes.sum())
    before = np.minimum(ends.astype(np.int64), LEVELS - 1)
    part = (ends - before)[:, None]
    return np.asarray(np.diff(done[before] + part * (done[before + 1] - done[before]), axis=0))


def expected_difficulty(schedule: Schedule, rows: int) -> FloatArray:
    """The difficulty (from 0 to 1, by rank) that each row of an epoch in order is meant to have on
    average."""
    middles = (np.arange(LEVELS) + 0.5) / LEVELS
    means = np.append(0.0, np.cumsum(weights(schedule) @ middles))
    ends = np.interp(np.linspace(0, LEVELS, rows + 1), np.arange(LEVELS + 1), means)
    return np.asarray(np.diff(ends) * rows)


def order_rows(
    schedule: Schedule, difficulty: FloatArray, hashes: HashArray, groups: CompactIntArray
) -> IntArray:
    """The rows in order, each once an epoch. Each group follows the schedule by itself, and any
    rows that follow one another have its share of the data, to within two rows.

    An epoch begins where the one before ends, in the middle of a batch if that is not full.
    """
    count, size = len(groups), schedule.batch_size
    by_group = split_by(groups)
    turns = np.zeros(0, np.int64)
    if count:
        turns = take_turns([Fraction(len(here), count) for here in by_group], count)
    places = split_by(turns)
    epochs = [np.zeros(0, np.int64)]
    for epoch in range(schedule.epochs):
        offset = epoch * count % size  # rows of the epochs before in the first batch
        batch = (np.arange(count) + offset) // size
        found = weights_of_batches(schedule, np.bincount(batch)) if count else np.zeros((0, 0))
        order = np.empty(count, np.int64)
        for here, mine in zip(by_group, places, strict=True):
            quotas = np.bincount(batch[mine], minlength=len(found))
            key = order_of(hashes[here], CHOICE + epoch)
            ranked = here[np.lexsort((key, difficulty[here]))]
            order[mine] = _draw(found, ranked, key_of_epoch(hashes[ranked], epoch), quotas)
        epochs.append(order)
    return np.concatenate(epochs)


def key_of_epoch(hashes: HashArray, epoch: int) -> HashArray:
    """By which numbers rows of nearly the same difficulty are drawn; others in each epoch."""
    return order_of(hashes, CHOICE - epoch - 1)


def _draw(found: FloatArray, ranked: IntArray, key: HashArray, quotas: IntArray) -> IntArray:
    """Rows in the order in which they are drawn, given rows from easy to hard and their keys, the
    weights of difficulties by batch, and how many rows each batch draws."""
    level = np.arange(len(ranked)) * LEVELS // len(ranked)
    by_level = ranked[np.lexsort((key, level))]  # within a level by chance
    left = np.bincount(level, minlength=LEVELS)
    next_of_level = np.cumsum(left) - left
    later = np.cumsum(found[::-1], axis=0)[::-1]
    drawn = []
    for batch, quota in enumerate(quotas.tolist()):
        # Where hardly any weight is left, what is left of it goes now.
        chance = np.divide(
            found[batch], later[batch], out=np.ones(LEVELS), where=later[batch] > TINY
        )
        wanted = _quotas(left, chance, quota)
        starts = np.repeat(next_of_level, wanted)
        within = np.arange(quota) - np.repeat(np.cumsum(wanted) - wanted, wanted)
        drawn.append(by_level[starts + within])
        next_of_level = next_of_level + wanted
        left = left - wanted
    return np.concatenate(drawn)


def _quotas(left: IntArray, chance: FloatArray, quota: int) -> IntArray:
    """How many rows to draw of each level, `quota` in all, if each of those that are left has this
    chance, times what the quota asks for: systematic sampling, which comes as near to the chances
    as whole numbers can. No level gives more rows than are left."""
    wanted, used_up = left * chance, left == 0
    while True:
        open_, rest = wanted[~used_up].sum(), quota - left[used_up].sum()
        expected = np.where(used_up, left, wanted * (rest / open_ if open_ else 0.0))
        more = expected > left
        if not more.any():
            break
        used_up |= more
    # Rounded, so that what adds up to a whole number is one.
    ends = np.rint(np.cumsum(expected) * 2**20) / 2**20
    whole = np.floor(ends + 0.5).astype(np.int64)
    return np.asarray(np.diff(whole, prepend=0))
