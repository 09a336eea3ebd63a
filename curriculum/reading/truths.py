"""Rollouts of prompts that repeat → which of these prompts have several ground truths.

Only lines of prompts that repeat are read again: a run without any costs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from curriculum.arrays import HashArray, IntArray
from curriculum.engines.workers import Workers
from curriculum.messages.hashes import hash_of_text, repeated_prompts
from curriculum.reading.blocks import Block, ChosenLines
from curriculum.reading.ledger import Ledger
from curriculum.reading.lines import REFUSALS, Line, Malformed, find, load_object, shorten
from curriculum.reading.rollouts import key_text
from curriculum.scanner.dump_lines import Kind, index_fields

NO_TRUTH = 0  # in place of the hash of a ground truth that is not there
TRUTH_SHOWN = 40  # characters of a ground truth in a message


class Repeated(NamedTuple):
    """The rollouts of a shard whose prompts repeat: the numbers of their lines within the shard,
    from 0 and ascending, and the hashes of their prompts."""

    lines: IntArray
    prompts: HashArray


class TruthAt(NamedTuple):
    """A rollout's ground truth, shortened, and where it is: its shard, and its line in it."""

    shard: int
    line: int
    text: str


class SeveralTruths(msgspec.Struct, frozen=True):
    """How many prompts have several ground truths. `example` are the first rollout of such a
    prompt and the next one of the same prompt that differs; empty if there is none."""

    prompts: int = 0
    example: tuple[TruthAt, ...] = ()


class TruthTask(msgspec.Struct, frozen=True):
    """Lines of a shard, and where their ground truth is (None: `ground_truth`, or else
    `reward_model.ground_truth`)."""

    lines: ChosenLines
    place: str | None

    def texts(self) -> list[str | None]:
        """The ground truth of each line as text; None without one."""
        return [truth_text(line, self.place) for line in self.lines.texts()]

    def hashes(self) -> HashArray:
        """A 64-bit hash of the ground truth of each line as text; NO_TRUTH for one without."""
        parts = [self._hash_block(*found) for found in self.lines.blocks()]
        return np.concatenate([np.zeros(0, np.uint64), *parts])

    def _hash_block(self, block: Block, lines: IntArray) -> HashArray:
        """The hashes of the lines that are wanted. The scanner hashes texts, nearly always all."""
        names = ["ground_truth", "reward_model"] if self.place is None else [self.place]
        found = index_fields(block.buffer, block.size, names) if "." not in names[0] else None
        hashes, apart = np.full(len(lines), NO_TRUTH, np.uint64), np.ones(len(lines), np.bool_)
        if found is not None:
            texts = found.kinds[names[0]][lines] == Kind.STRING
            hashes[texts] = found.hashes(names[0], lines[texts])
            apart = hashes == NO_TRUTH  # no text, an empty one, or a line that was declined
        for at in np.flatnonzero(apart).tolist():
            text = truth_text(block.line(int(lines[at])), self.place)
            hashes[at] = NO_TRUTH if text is None else hash_of_text(text)
        return hashes


class _Truth(msgspec.Struct, gc=False):
    """Where a rollout has its ground truth, unless a flag says otherwise."""

    ground_truth: Any = None
    reward_model: Any = None


_decode = msgspec.json.Decoder(_Truth).decode


def truth_text(line: Line, place: str | None) -> str | None:
    """The ground truth of a line, as JSON with sorted keys if it is no text. None without one, or
    if it cannot be read, which is no harm where it is only shown or compared."""
    try:
        truth = _read_truth(line, place)
    except Malformed:
        return None
    if isinstance(truth, dict | list):
        return json.dumps(truth, sort_keys=True, ensure_ascii=False)
    return key_text(truth)


def _read_truth(line: Line, place: str | None) -> Any:
    """The ground truth of a line. Raises Malformed."""
    if place is not None:
        return find(load_object(line), place)
    try:
        found = _decode(line)
    except REFUSALS:
        fields = load_object(line)
        found = _Truth(fields.get("ground_truth"), fields.get("reward_model"))
    given = found.ground_truth
    return find(found.reward_model, "ground_truth") if given is None else given


def find_several(
    workers: Workers, ledger: Ledger, repeated: Sequence[Repeated], place: str | None
) -> SeveralTruths:
    """Which prompts have several ground truths, given the rollouts of prompts that repeat in each
    shard. A rollout without a ground truth has none that differs."""
    numbers = [number for number, some in enumerate(repeated) if len(some.lines)]
    tasks = [
        TruthTask(
            ledger.shard_lines[number].chosen(ledger.shards[number], repeated[number].lines), place
        )
        for number in numbers
    ]
    truths = [found for _, found in workers.map(TruthTask.hashes, tasks)]
    if not truths:
        return SeveralTruths()
    prompts = np.concatenate([repeated[number].prompts for number in numbers])
    count, pair = _several(prompts, np.concatenate(truths))
    starts = np.cumsum([0, *map(len, truths)])
    places, texts = [], []
    for rollout in pair:
        at = int(np.searchsorted(starts, rollout, side="right")) - 1
        line = tasks[at].lines.lines[rollout - starts[at] :][:1]
        places.append((numbers[at], int(line[0])))
        one = ledger.shard_lines[numbers[at]].chosen(tasks[at].lines.shard, line)
        texts += [text or "" for text in TruthTask(one, place).texts()]
    shown = _show_difference(texts)
    example = [TruthAt(*at, text) for at, text in zip(places, shown, strict=True)]
    return SeveralTruths(count, tuple(example))


def _show_difference(texts: Sequence[str]) -> list[str]:
    """Two texts, or none, shortened to a part in which they differ."""
    pairs = enumerate(zip(*texts, strict=False))
    differ = next((i for i, pair in pairs if len(set(pair)) > 1), min(map(len, texts), default=0))
    first = differ - TRUTH_SHOWN // 2
    if first <= TRUTH_SHOWN // 4:
        return [shorten(text, TRUTH_SHOWN) for text in texts]
    return [f"…{shorten(text[first:], TRUTH_SHOWN - 1)}" for text in texts]


def _several(prompts: HashArray, truths: HashArray) -> tuple[int, list[int]]:
    """How many prompts have several truths, and the places of the first two that differ."""
    there = np.flatnonzero(truths != NO_TRUTH)
    order = there[np.lexsort((truths[there], prompts[there]))]
    prompt, truth = prompts[order], truths[order]
    first = np.append(True, (prompt[1:] != prompt[:-1]) | (truth[1:] != truth[:-1]))
    several = repeated_prompts(prompt[first[: len(prompt)]])
    if not len(several):
        return 0, []
    among = there[np.isin(prompts[there], several)]
    one = int(among[0])
    differ = (prompts[among] == prompts[one]) & (truths[among] != truths[one])
    return len(several), [one, int(among[differ][0])]
