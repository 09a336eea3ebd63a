"""msgspec, one process: decode nothing but the scores, then copy the lines."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import numpy as np

BUFFER = 1 << 20  # bytes; with the default the script takes half as long again


class Reward(msgspec.Struct, gc=False):
    """One reward."""

    score: float


class Rollout(msgspec.Struct, gc=False):
    """One line."""

    reward: list[Reward]


def main(source: Path, target: Path) -> None:
    """Bucket the rollouts of a directory."""
    files = sorted(source.glob("*.jsonl"))
    decode = msgspec.json.Decoder(Rollout).decode
    means = []
    for path in files:
        with path.open("rb", BUFFER) as lines:
            for line in lines:
                scores = [reward.score for reward in decode(line).reward]
                means.append(sum(scores) / len(scores))
    buckets = np.empty(len(means), dtype=int)
    buckets[np.argsort(means)[::-1]] = np.arange(len(means)) * 3 // len(means)
    names = ("easy.jsonl", "medium.jsonl", "hard.jsonl")
    outputs = [(target / name).open("wb", BUFFER) for name in names]
    where = iter(buckets.tolist())
    for path in files:
        with path.open("rb", BUFFER) as lines:
            for line, bucket in zip(lines, where):  # noqa: B905, `where` goes on in the next file
                outputs[bucket].write(line)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
