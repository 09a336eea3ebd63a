"""The split by prompt: prompt hashes → train or val.

A prompt is on one side in every bucket, set and run with the same seed, because its side follows
from its own text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from msgspec import Struct, field

from curriculum.arrays import BoolArray, HashArray
from curriculum.messages.hashes import distinct_prompts

SPLITS = ("train", "val")
TRAIN, VAL = range(2)  # sides of the split, as indexes into SPLITS


class Split(Struct, frozen=True):
    """Which prompts are `val`: those whose hash is below `cut`, except for `moved` ones, and those
    that are `chosen`, ascending.

    `moved` maps the prompts that the floor moved to the other side to whether they are now val.
    """

    cut: int
    moved: Mapping[int, bool] = field(default_factory=dict)
    chosen: HashArray | None = None

    def is_val(self, hashes: HashArray) -> BoolArray:
        """Whether each prompt is val; `hashes` and the result have one entry per rollout."""
        val: BoolArray = hashes < np.uint64(self.cut)
        if self.chosen is not None and len(self.chosen):
            at = np.minimum(np.searchsorted(self.chosen, hashes), len(self.chosen) - 1)
            val = val | (self.chosen[at] == hashes)
        for prompt, side in self.moved.items():
            val[hashes == np.uint64(prompt)] = side
        return val


def cut_of(val_ratio: float) -> int:
    """The hash below which a prompt is val."""
    return max(1, int(val_ratio * 2**64)) if val_ratio else 0


def split_prompts(buckets: Iterable[HashArray], val_ratio: float) -> Split:
    """Decide the split for one bucket directory: the cut by hash, and the floor.

    `buckets` holds the prompt hashes of each bucket, repeats allowed. A prompt is val if its hash
    is below `val_ratio` (0 ≤ ratio < 1) of the hash range. The floor puts the only prompt of a
    bucket into train. If a bucket with more prompts has an empty side, the prompt nearest the cut
    moves there. A prompt moves only once, and in every bucket, so a side may stay empty where
    buckets consist of the same few prompts.
    """
    if val_ratio == 0:
        return Split(0)
    cut = cut_of(val_ratio)
    distinct = [distinct_prompts(hashes.copy()) for hashes in buckets]
    moved = {int(prompts[0]): False for prompts in distinct if len(prompts) == 1}
    while True:
        split = Split(cut, dict(moved))
        for prompts in distinct:
            nearest = _prompt_to_move(prompts, split)
            if nearest is not None:
                moved[nearest] = not bool(split.is_val(np.array([nearest], np.uint64))[0])
                break
        else:
            by_hash = {prompt: prompt < cut for prompt in moved}
            return Split(cut, {p: side for p, side in moved.items() if side != by_hash[p]})


def _prompt_to_move(prompts: HashArray, split: Split) -> int | None:
    """The prompt nearest the cut that may fill this bucket's empty side; None if there is none."""
    val = split.is_val(prompts)
    if len(prompts) < 2 or val.any() != val.all():
        return None
    free = prompts[~np.isin(prompts, np.array(list(split.moved), np.uint64))]
    if not len(free):
        return None
    cut = np.uint64(split.cut)
    return int(free[np.argmin(np.where(free < cut, cut - free, free - cut))])


def split_by_rows(buckets: Iterable[HashArray], rows: int) -> Split:
    """The split in which each bucket has so many rows of val, if it has more prompts than those
    take.

    `buckets` is as for `split_prompts`. Of each bucket the prompts with the lowest hashes are val,
    in every bucket, as many of them as it takes; one is left for train.
    """
    chosen = [np.zeros(0, np.uint64)]
    for hashes in buckets:
        prompts, counts = np.unique(hashes, return_counts=True)
        needed = int(np.searchsorted(np.cumsum(counts), rows)) + 1
        chosen.append(prompts[: min(needed, len(prompts) - 1)] if len(prompts) else prompts)
    return Split(0, chosen=np.unique(np.concatenate(chosen)))
