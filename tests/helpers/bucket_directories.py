"""Bucket directories for the tests of preprocessing, and prompts whose side is known."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from tests.helpers.rollouts import Script, rollout, write_jsonl

CUT = int(0.05 * 2**64)


def hash_prompt(*messages: tuple[str, str], seed: int = 42) -> int:
    """The rule of a prompt's hash, plainly."""
    digest = hashlib.blake2b(digest_size=8, key=str(seed).encode())
    for role, content in messages:
        collapsed = " ".join(content.split())
        digest.update(f"{len(role)}:{role}{len(collapsed)}:{collapsed}".encode())
    return int.from_bytes(digest.digest(), "little")


def side(prompt: str, ratio: float = 0.05, seed: int = 42) -> str:
    """The side of a prompt by its hash alone."""
    return "val" if hash_prompt(("user", prompt), seed=seed) < int(ratio * 2**64) else "train"


def some_prompts(split: str, count: int) -> list[str]:
    """Prompts that fall on one side by their hash."""
    return [p for p in (f"prompt {i}" for i in range(5_000)) if side(p) == split][:count]


TRAIN, VAL = some_prompts("train", 60), some_prompts("val", 9)


def buckets(directory: Path, **found: list[dict[str, Any]]) -> Path:
    """A bucket directory without a manifest."""
    for name, rollouts in found.items():
        write_jsonl(directory / f"{name}.jsonl", rollouts)
    return directory


def bucketed(tmp_path: Path, bucket: Script, rollouts: list[dict[str, Any]], *flags: Any) -> Path:
    """A bucket directory as the first script writes it."""
    write_jsonl(tmp_path / "in/a.jsonl", rollouts)
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "bucketed", *flags)[0] == 0
    return tmp_path / "bucketed"


def three_stages() -> list[dict[str, Any]]:
    """Ten rollouts per default bucket, two of each in val."""
    return [
        rollout(score, score, 0, 1, prompt=prompt, key=f"{score}-{i}")
        for score, at in ((1, 0), (0.5, 1), (0, 2))
        for i, prompt in enumerate(TRAIN[at * 8 : at * 8 + 8] + VAL[at * 2 : at * 2 + 2])
    ]
