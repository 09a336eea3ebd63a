"""Every rollout of a bucket directory → its side of the split, its index, and which sets it is in.

All of it is decided before a row is written, from numbers alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
from msgspec import Struct, field

from curriculum.arrays import (
    Array,
    BoolArray,
    CompactIntArray,
    FloatArray,
    HashArray,
    IntArray,
    LengthArray,
)
from curriculum.choosing.choose import (
    CONTROL,
    Choice,
    Rows,
    Step,
    by_prompt,
    choose,
    first_rows,
    lowest,
    replayed,
)
from curriculum.choosing.groups import Groups
from curriculum.choosing.judge import Asked
from curriculum.choosing.schedule import Schedule, order_rows
from curriculum.choosing.schedule_facts import ScheduleFacts
from curriculum.messages.hashes import distinct_prompts, hash_of_text, repeated_prompts
from curriculum.output.manifests import NO_INDEX, MovedPrompt, is_cumulative
from curriculum.preprocessing.convert import ConvertedBuckets, ConvertedShard
from curriculum.preprocessing.split import SPLITS, TRAIN, VAL, Split
from curriculum.reading.ledger import BLANK, TAKEN


class RowRules(Struct, frozen=True):
    """How the rows of every set are chosen and ordered: how train rows are chosen, how many rows of
    a set are val at most, and their order: by difficulty, by a schedule (train rows), or as they
    were read. `rules` are the flags that drop rollouts, which `Verdicts.dropped_by` numbers.
    `controls` maps the name of each set of random rows to that of the set beside it. All rows of
    the set `exempt` are written: they have no rollouts."""

    choice: Choice = field(default_factory=Choice)
    val_rows: int | None = None
    easy_to_hard: bool = False
    schedule: Schedule | None = None
    rules: Sequence[str] = ()
    controls: Mapping[str, str] = field(default_factory=dict)
    exempt: str | None = None


class RowPlan(Struct, frozen=True, dict=True):
    """The split of this run and its sets, each with the numbers of its buckets.

    Positions of rows are positions among the staged rows of a set on one side, in input order.
    """

    converted: ConvertedBuckets
    split: Split
    sets: Mapping[str, Sequence[int]]
    rules: RowRules = field(default_factory=RowRules)
    _found: dict[tuple[str, int], tuple[IntArray | None, list[Step]]] = field(default_factory=dict)

    def shards(self, name: str) -> list[int]:
        """The numbers of a set's shards, in order."""
        buckets = self.sets[name]
        return [number for number, at in enumerate(self.converted.buckets) if at in buckets]

    @cached_property
    def first_indexes(self) -> list[int]:
        """The index of each shard's first rollout, counted over the whole directory."""
        counts = [int((part.lines.kinds != BLANK).sum()) for part in self.converted.shards]
        return [0, *np.cumsum(counts).tolist()[:-1]]

    def picked(self, name: str, side: int) -> IntArray | None:
        """The positions of the rows that are written, ascending; None if all are."""
        return self._pick(name, side)[0]

    def schedule(self, name: str) -> Schedule | None:
        """The schedule of the train rows of a set: the first one has it, if there is any. Neither
        random rows nor rows without difficulty follow one."""
        return self.rules.schedule if name == next(iter(self.sets)) else None

    def order(self, name: str, side: int) -> IntArray | None:
        """The positions of the rows of a set on one side in the order of writing, None if all are
        written in input order. By difficulty, ties are ordered by prompt hash, then by input order;
        with a schedule rows may be there several times. A control is in random order."""
        picked, rules = self.picked(name, side), self.rules
        if name in rules.controls and picked is not None:
            return self._control_order(name, picked)
        if side == TRAIN and self.schedule(name):
            return self._scheduled
        if not rules.easy_to_hard:
            return picked
        hashes, difficulty = (
            self._written(name, side, _hashes),
            self._written(name, side, _difficulty),
        )
        order = np.lexsort((hashes, difficulty))
        return order if picked is None else picked[order]

    @cached_property
    def _scheduled(self) -> IntArray:
        """The order of the train rows of the set that has a schedule."""
        name, schedule = next(iter(self.sets)), self.rules.schedule
        picked = self.picked(name, TRAIN)
        assert schedule is not None
        hashes, difficulty = (
            self._written(name, TRAIN, column) for column in (_hashes, _difficulty)
        )
        groups = self._groups_of(name, TRAIN)
        groups = groups if picked is None else groups[picked]
        order = order_rows(schedule, difficulty, hashes, groups)
        return order if picked is None else picked[order]

    def lengths(self, name: str, side: int) -> IntArray:
        """The line length in bytes of each row of a set on one side, in the order of writing."""
        found = self._of_side(name, side, _lengths).astype(np.int64)
        order = self.order(name, side)
        return found if order is None else found[order]

    def characters(self, name: str) -> list[LengthArray]:
        """The prompt length in characters of each row of a set, in one or more parts."""
        return [self._written(name, side, lambda part: part.characters) for side in (TRAIN, VAL)]

    def hashes(self, name: str, side: int) -> HashArray:
        """The prompt hash of each row of a set on one side, in the order of writing."""
        found, order = self._of_side(name, side, _hashes), self.order(name, side)
        return found if order is None else found[order]

    def prompts(self, name: str, side: int) -> HashArray:
        """The prompt hash of each row of a set on one side, each row once, ascending."""
        return np.sort(self._written(name, side, _hashes))

    def prompts_of(self, bucket: int) -> tuple[int, int]:
        """How many prompts a bucket has on either side, before any is left out."""
        prompts = np.unique(self.converted.hashes(bucket))
        val = int(self.split.is_val(prompts).sum())
        return len(prompts) - val, val

    def rows(self, name: str) -> int:
        """How many different rows a set has."""
        return self.rows_of(name, TRAIN) + self.rows_of(name, VAL)

    def dropped(self, bucket: int) -> int:
        """How many rollouts of a bucket the filter and the conditions dropped."""
        return sum(int((~part.keep).sum()) for part in self.converted.of_bucket(bucket))

    def steps(self, name: str) -> list[tuple[str, Step]]:
        """What each rule left out of a set, in order, and on which side, "" for both."""
        if name in self.rules.controls:
            return []
        parts = [self.converted.shards[number] for number in self.shards(name)]
        left, found = sum(len(part.keep) for part in parts), list[tuple[str, Step]]()
        for number, rule in enumerate(self.rules.rules, 1):
            count = sum(int((part.verdicts.dropped_by == number).sum()) for part in parts)
            found.append(("", Step(rule, left, count)))
            left -= count
        for side in (TRAIN, VAL):
            found += [(SPLITS[side], step) for step in self._pick(name, side)[1]]
        return found

    def schedule_facts(self, name: str, bucket_names: Sequence[str]) -> ScheduleFacts | None:
        """How the train rows of a set follow the schedule, mixed of groups, or of buckets if there
        is only one group; None if they follow none."""
        schedule, picked = self.schedule(name), self.picked(name, TRAIN)
        if schedule is None or not self.rows_of(name, TRAIN):
            return None
        rows = self._rows(name, TRAIN)
        values = self._of_side(name, TRAIN, _difficulty)
        order = self.order(name, TRAIN)
        assert order is not None
        ascending = np.sort(values if picked is None else values[picked])
        before, up_to = (
            np.searchsorted(ascending, values[order], side=s) for s in ("left", "right")
        )
        ranks = (before + up_to) / (2 * len(ascending))
        if self.rules.choice.balance or len(self.groups.names) > 1:
            codes = np.where(rows.groups < 0, len(rows.names), rows.groups)[order]
            names = [*rows.names, *(["(none)"] if (rows.groups < 0).any() else [])]
            return ScheduleFacts.of(schedule, ranks, codes, names, of_groups=True)
        return ScheduleFacts.of(schedule, ranks, rows.buckets[order], bucket_names)

    def rows_of(self, name: str, side: int) -> int:
        """How many different rows a set has on one side."""
        return len(self._written(name, side, _hashes))

    @cached_property
    def groups(self) -> Groups:
        """The groups of all rollouts of the directory."""
        return Groups.join([part.verdicts.looked.groups for part in self.converted.shards])

    def groups_written(self, name: str) -> dict[str, int]:
        """How many train rows of each group a set has, each row once; nothing without groups."""
        codes, picked = self._groups_of(name, TRAIN), self.picked(name, TRAIN)
        mine = codes if picked is None else codes[picked]
        counts = np.bincount(mine[mine >= 0], minlength=len(self.groups.names)).tolist()
        return {n: c for n, c in zip(self.groups.names, counts, strict=False) if c}

    def absent(self, asked: Asked) -> dict[str, tuple[int, int]]:
        """Where rollouts have nothing that a condition is about (`Asked.absent`)."""
        parts = [part.verdicts for part in self.converted.shards]
        there = np.sum([part.looked.there for part in parts], axis=0).tolist()
        return asked.absent(there, sum(len(part.dropped_by) for part in parts))

    def _of_side(self, name: str, side: int, get: Callable[[ConvertedShard], Array]) -> Array:
        """A column of the staged rows of a set on one side, in input order."""
        columns = [get(self.converted.shards[0])[:0]] if self.converted.shards else [np.zeros(0)]
        for number in self.shards(name):
            part = self.converted.shards[number]
            columns.append(get(part)[self._on_side(number, side)])
        return np.concatenate(columns)

    @cached_property
    def _val(self) -> list[BoolArray]:
        """Whether each rollout is val, shard by shard."""
        return [self.split.is_val(part.hashes) for part in self.converted.shards]

    def _on_side(self, number: int, side: int) -> BoolArray:
        """Which rollouts of a shard are staged and on this side."""
        val = self._val[number]
        return np.asarray(self.converted.shards[number].in_files & (val if side == VAL else ~val))

    def _written(self, name: str, side: int, get: Callable[[ConvertedShard], Array]) -> Array:
        """A column of the rows that are written on one side, in input order."""
        column, picked = self._of_side(name, side, get), self.picked(name, side)
        return column if picked is None else column[picked]

    @cached_property
    def _codes(self) -> list[CompactIntArray]:
        """The number of each rollout's group, shard by shard."""
        counts = [len(part.verdicts.looked.groups.codes) for part in self.converted.shards]
        return np.split(self.groups.codes, np.cumsum(counts)[:-1])

    def _groups_of(self, name: str, side: int) -> CompactIntArray:
        """The number of the group of each staged row of a set on one side; 0 if all are of one."""
        codes = list[CompactIntArray]([np.zeros(0, np.int8)])
        for number in self.shards(name):
            mine, here = self._codes[number], self._on_side(number, side)
            codes.append(mine[here] if len(mine) else np.zeros(int(here.sum()), np.int8))
        return np.concatenate(codes)

    def _pick(self, name: str, side: int) -> tuple[IntArray | None, list[Step]]:
        """Which rows are written, and what each rule left out."""
        if (name, side) not in self._found:
            self._found[name, side] = self._pick_anew(name, side)
        return self._found[name, side]

    def _pick_anew(self, name: str, side: int) -> tuple[IntArray | None, list[Step]]:
        kept = np.flatnonzero(self._of_side(name, side, lambda part: part.keep))
        count = len(self._of_side(name, side, _hashes))
        if name in self.rules.controls:
            return self._control(name, side), []
        rows, steps = self._rows(name, side).some(kept), list[Step]()
        if name == self.rules.exempt:
            return (None if len(kept) == count else kept), steps
        if side == VAL and self.rules.val_rows is not None:
            chosen, steps = self._per_bucket(name, rows, self._first_val)
            kept = kept[chosen]
        elif side == TRAIN and self.rules.choice != Choice():
            chosen, steps = self._chosen(name, rows)
            kept = kept[chosen]
        return (None if len(kept) == count else kept), steps

    def _control(self, name: str, side: int) -> IntArray:
        """As many random rows of all buckets as the set beside it has, of the train side only."""
        if side == VAL:
            return np.zeros(0, np.int64)
        size = self.rows_of(self.rules.controls[name], TRAIN)
        hashes = self._of_side(name, TRAIN, _hashes)
        return np.flatnonzero(first_rows(hashes, CONTROL ^ hash_of_text(name), size))

    def _control_order(self, name: str, picked: IntArray) -> IntArray:
        """These rows in random order, once in each epoch of the set beside it."""
        schedule = self.schedule(self.rules.controls[name])
        hashes = self._of_side(name, TRAIN, _hashes)[picked]
        salts = [hash_of_text(f"{name} {i}") for i in range(schedule.epochs if schedule else 1)]
        return np.concatenate([picked[by_prompt(hashes, CONTROL ^ salt)] for salt in salts])

    def _rows(self, name: str, side: int) -> Rows:
        buckets = [np.zeros(0, np.int64)]
        for number in self.shards(name):
            here = self._on_side(number, side)
            buckets.append(np.full(int(here.sum()), self.converted.buckets[number]))
        return Rows(
            self._of_side(name, side, _hashes),
            np.concatenate(buckets),
            self._groups_of(name, side),
            self._of_side(name, side, lambda part: part.verdicts.signal)
            if self.rules.choice.top
            else np.zeros(0),
            self.groups.names,
        )

    def _chosen(self, name: str, rows: Rows) -> tuple[BoolArray, list[Step]]:
        """The train rows of a set. A cumulative set has those that the sets of its buckets have,
        but for the easier ones that --replay leaves out."""
        choice, last = self.rules.choice, self.sets[name][-1]
        if not is_cumulative(name):
            several = len(self.sets[name]) > 1
            return choose(rows, choice if several else choice.without_replay, last)
        chosen, steps = self._per_bucket(
            name, rows, lambda own: choose(own, choice.without_replay, last)
        )
        if choice.replay is not None:
            again = replayed(rows.some(chosen), choice.replay, last)
            steps.append(Step(f"--replay {choice.replay:g}", len(again), int((~again).sum())))
            chosen[np.flatnonzero(chosen)[~again]] = False
        return chosen, steps

    def _first_val(self, rows: Rows) -> tuple[BoolArray, list[Step]]:
        most = self.rules.val_rows
        assert most is not None
        chosen = lowest(rows.hashes, most)
        return chosen, [Step(f"--val-rows {most}", len(chosen), int((~chosen).sum()))]

    def _per_bucket(
        self, name: str, rows: Rows, pick: Callable[[Rows], tuple[BoolArray, list[Step]]]
    ) -> tuple[BoolArray, list[Step]]:
        """What `pick` chooses of the rows of each bucket; the steps of the buckets are added up."""
        chosen, found = np.zeros(len(rows.hashes), np.bool_), list[list[Step]]()
        for bucket in self.sets[name]:
            here = np.flatnonzero(rows.buckets == bucket)
            mine, steps = pick(rows.some(here))
            chosen[here[mine]] = True
            found.append(steps)
        return chosen, [
            Step(
                some[0].rule,
                sum(step.before for step in some),
                sum(step.dropped for step in some),
                next((step.note for step in some if step.note), ""),
            )
            for some in zip(*found, strict=True)
        ]

    @cached_property
    def shared_prompts(self) -> HashArray:
        """The prompts that occur in more than one bucket of the directory, each once."""
        every, end = np.empty(self.converted.count(TAKEN), np.uint64), 0
        for bucket in set(self.converted.buckets):
            once = distinct_prompts(self.converted.hashes(bucket))
            every[end : end + len(once)] = once
            end += len(once)
        return repeated_prompts(every[:end])

    @cached_property
    def repeated_prompts(self) -> HashArray:
        """The prompts in more than one rollout of the directory, each once, ascending."""
        parts = [part.hashes for part in self.converted.shards]
        return repeated_prompts(np.concatenate([np.zeros(0, np.uint64), *parts]))

    def moved_prompts(self) -> tuple[MovedPrompt, ...]:
        """The prompts that the floor moved, each with its lowest row index, sorted by index. With
        --split-like, NO_INDEX is that of prompts which are not here."""
        left, moved = dict(self.split.moved), []
        for part, first in zip(self.converted.shards, self.first_indexes, strict=True):
            for prompt in list(left):
                at = np.flatnonzero(part.hashes == np.uint64(prompt))
                if len(at):
                    index = first + int(_ordinals(part)[at[0]])
                    moved.append(MovedPrompt(f"{prompt:016x}", index, SPLITS[left.pop(prompt)]))
        moved += [MovedPrompt(f"{p:016x}", NO_INDEX, SPLITS[side]) for p, side in left.items()]
        return tuple(sorted(moved, key=lambda prompt: (prompt.index, prompt.prompt_hash)))


def _ordinals(part: ConvertedShard) -> IntArray:
    """The position of each row among the non-blank lines of its shard."""
    ordinals = np.cumsum(part.lines.kinds != BLANK) - 1
    return np.asarray(ordinals[part.lines.kinds == TAKEN], np.int64)


def _hashes(part: ConvertedShard) -> HashArray:
    return part.hashes


def _difficulty(part: ConvertedShard) -> FloatArray:
    return part.difficulty


def _lengths(part: ConvertedShard) -> LengthArray:
    return np.asarray(part.lines.lengths[part.lines.kinds == TAKEN])
