"""The scores of rollouts, and what they hold at places → which are kept, and why others are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from shlex import quote
from typing import Any

import numpy as np

from curriculum.arrays import BoolArray, ByteArray, FloatArray, IntArray
from curriculum.choosing.conditions import Condition
from curriculum.choosing.groups import Groups
from curriculum.filters import FILTERS
from curriculum.metrics import MetricParameters, Scores
from curriculum.signals import NUMBERS

KEPT = 0


@dataclass(frozen=True)
class Looked:
    """What rollouts hold at the places that a run asks for: whether they meet each condition on a
    place, their groups, and how many of them hold anything at each place."""

    met: tuple[BoolArray, ...]
    groups: Groups
    there: IntArray

    @staticmethod
    def join(parts: Sequence[Looked]) -> Looked:
        """What the rollouts of all parts hold; there is at least one part."""
        met = zip(*(part.met for part in parts), strict=True)
        return Looked(
            tuple(np.concatenate(some) for some in met),
            Groups.join([part.groups for part in parts]),
            np.sum([part.there for part in parts], axis=0),
        )

    def some(self, rollouts: IntArray) -> Looked:
        """What some of the rollouts hold; `there` stays a number of all."""
        groups = self.groups.some(rollouts) if len(self.groups.codes) else self.groups
        return Looked(tuple(met[rollouts] for met in self.met), groups, self.there)


@dataclass(frozen=True)
class Verdicts:
    """Of each rollout KEPT, or the number of the first rule that it does not meet, counted from 1;
    its signal, empty if not asked for; and what it holds."""

    dropped_by: ByteArray
    signal: FloatArray
    looked: Looked

    @cached_property
    def keep(self) -> BoolArray:
        """Whether each rollout is kept."""
        return np.asarray(self.dropped_by == KEPT)

    @staticmethod
    def join(parts: Sequence[Verdicts]) -> Verdicts:
        """The verdicts on the rollouts of all parts; there is at least one part."""
        return Verdicts(
            np.concatenate([part.dropped_by for part in parts]),
            np.concatenate([part.signal for part in parts]),
            Looked.join([part.looked for part in parts]),
        )

    def some(self, rollouts: IntArray) -> Verdicts:
        """Those on some of the rollouts."""
        signal = self.signal[rollouts] if len(self.signal) else self.signal
        return Verdicts(self.dropped_by[rollouts], signal, self.looked.some(rollouts))


@dataclass(frozen=True)
class Asked:
    """What a run asks of each rollout: a filter and conditions to meet, a number by name
    (`signal`), and the place that says its group, which it need not have unless `group_needed`."""

    parameters: MetricParameters
    filter: str = "all"
    keep: tuple[Condition, ...] = ()
    signal: str | None = None
    group: str | None = None
    group_needed: bool = True

    @cached_property
    def rules(self) -> list[str]:
        """The flags that leave rollouts out, in order."""
        filters = [] if self.filter == "all" else [f"--filter {self.filter}"]
        return [*filters, *(f"--keep {quote(condition.text)}" for condition in self.keep)]

    @cached_property
    def places(self) -> tuple[str, ...]:
        """Where a rollout is looked into."""
        found = [condition.name for condition in self.on_places]
        return tuple(dict.fromkeys([*found, *([self.group] if self.group else [])]))

    @cached_property
    def on_places(self) -> list[Condition]:
        """The conditions on what a rollout holds."""
        return [condition for condition in self.keep if not condition.is_number]

    def look(self, values: Mapping[str, Sequence[Any]]) -> Looked:
        """Look at what rollouts hold at `places`, None where there is nothing."""
        return Looked(
            tuple(condition.met_by(values[condition.name]) for condition in self.on_places),
            Groups.of(values[self.group] if self.group else []),
            np.array([sum(v is not None for v in values[p]) for p in self.places], np.int64),
        )

    def absent(self, there: Sequence[int], total: int) -> dict[str, tuple[int, int]]:
        """Of each place that a condition is about, where not all of `total` rollouts have
        something: how many have nothing there, and of how many. `there` counts by place."""
        places = {condition.name for condition in self.on_places}
        found = zip(self.places, there, strict=True)
        return {p: (total - n, total) for p, n in found if p in places and n < total}

    def judge(self, scores: Scores, looked: Looked) -> Verdicts:
        """Judge rollouts with scores."""
        dropped_by = np.zeros(len(scores.counts), np.uint8)
        met, rule = iter(looked.met), 0

        def drop_others(kept: BoolArray) -> None:
            nonlocal rule
            rule += 1
            dropped_by[(dropped_by == KEPT) & ~kept] = rule

        if self.filter != "all":
            drop_others(FILTERS[self.filter].keep(scores, self.parameters.pass_threshold))
        for condition in self.keep:
            if condition.is_number:
                values = NUMBERS[condition.name].values(scores, self.parameters)
                drop_others(condition.holds_for(values))
            else:
                drop_others(next(met))
        signal = np.zeros(0)
        if self.signal is not None:
            signal = NUMBERS[self.signal].values(scores, self.parameters)
        return Verdicts(dropped_by, signal, looked)
