#!/usr/bin/env python3
"""Make rollouts to measure with: a shape, a size and a seed → JSONL files, always the same bytes.

Lines have the fields that the pipeline's users have. Scores are full doubles and every file holds
a multiple of three rollouts, so no two rollouts tie at a cut and all ways to make three equal
parts agree.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
CORPUS_WORDS = 1 << 20
SYLLABLES = (
    "a", "an", "be", "co", "con", "de", "di", "el", "en", "er", "fi", "ge", "ha", "in", "ka", "la",
    "le", "lo", "ma", "mi", "mo", "na", "ne", "no", "o", "or", "pa", "per", "po", "pre", "ra", "re",
    "ri", "ro", "sa", "se", "si", "so", "ta", "te", "ti", "to", "tra", "u", "un", "va", "ve", "y",
)  # fmt: skip
FOREIGN = (
    "café", "größer", "naïve", "señal", "коэффициент", "число", "解答", "計算", "π", "≤", "🙂",
)  # fmt: skip
ENDS = {" ": 78, ", ": 9, ". ": 6, ".\n": 3, ":\n\n": 1, " = ": 1, ' "': 1, '" ': 1}


@dataclass(frozen=True)
class Shape:
    """How long a line is, how many responses it has, and the words of each and of the prompt."""

    line: str
    responses: int
    response_words: tuple[int, int]
    prompt_words: tuple[int, int]


SHAPES = {
    "long": Shape("40 kB", 8, (380, 1000), (80, 440)),  # 4 kB a response
    "short": Shape("1.7 kB", 4, (15, 55), (4, 18)),  # 300 bytes a choice
}


class Corpus:
    """A text of made-up words as the inside of a JSON string, to cut at word ends."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(f"corpus {seed}")
        words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 4))) for _ in range(8_000)]
        words[50:4_000:40] = [rng.choice(FOREIGN) for _ in words[50:4_000:40]]
        zipf = list(accumulate(1 / (rank + 3) for rank in range(len(words))))
        chosen = rng.choices(words, cum_weights=zipf, k=CORPUS_WORDS)
        ends = rng.choices(list(ENDS), weights=list(ENDS.values()), k=CORPUS_WORDS)
        escaped = {text: json.dumps(text, ensure_ascii=False)[1:-1] for text in (*words, *ENDS)}
        parts = [
            (escaped[word] + escaped[end]).encode() for word, end in zip(chosen, ends, strict=True)
        ]
        self._text = b"".join(parts)
        self._starts = array("I", accumulate(map(len, parts), initial=0))

    def cut(self, place: float, words: int) -> bytes:
        """A run of `words` words; `place` in [0, 1) says where it begins."""
        first = int(place * (CORPUS_WORDS - words))
        return self._text[self._starts[first] : self._starts[first + words]]


CHOICE = b'{"message": {"role": "assistant", "content": "%b"}}'
REWARD = b'{"score": %a, "V_i": %.4f}'
LINE = (
    b'{"num": %d, "key": "%b", "prompt": [{"role": "user", "content": "%b"}], '
    b'"messages": [{"role": "user", "content": "%b"}], "response": {"choices": [%b]}, '
    b'"reward": [%b], "parameters": {"n": %d, "temperature": 0.7, "sampled": "2025-03-0%d"}, '
    b'"ground_truth": "%d", "extra_info": {"topic": "%b", "level": %d}}\n'
)
TOPICS = (b"algebra", b"geometry", b"counting", b"number theory")


def make_lines(shape: Shape, corpus: Corpus, rng: random.Random, name: str) -> Iterator[bytes]:
    """Rollouts without end; `name` decides their keys, which are UUIDs, as in verl's uid."""
    uniform = rng.random
    fewest, most = shape.response_words
    number = 0
    while True:
        skill = uniform()
        choices, rewards = [], []
        for _ in range(shape.responses):
            words = fewest + int(uniform() * (most - fewest))
            choices.append(CHOICE % corpus.cut(uniform(), words))
            score = (skill + uniform()) * 0.625
            rewards.append(REWARD % (score, score - skill))
        few, many = shape.prompt_words
        prompt = corpus.cut(uniform(), few + int(uniform() * (many - few)))
        pick = int(uniform() * 1_000_000)
        yield LINE % (
            number, _uuid(f"{name}-{number:07}").encode(), prompt, prompt, b", ".join(choices),
            b", ".join(rewards), shape.responses, 1 + pick % 9, pick, TOPICS[pick % 4],
            1 + pick % 5,
        )  # fmt: skip
        number += 1


def _uuid(name: str) -> str:
    return str(UUID(bytes=blake2b(name.encode(), digest_size=16).digest(), version=4))


def write_file(directory: Path, shape: str, size: int, seed: int, number: int) -> None:
    """Write one file of at least `size` bytes, and a multiple of three lines."""
    name = f"{shape}-{number}"
    lines = make_lines(SHAPES[shape], Corpus(seed), random.Random(f"{name} {seed}"), name)
    written = 0
    with (directory / f"rollouts_{number:02}.jsonl").open("wb", buffering=1 << 20) as stream:
        while written < size:
            written += sum(stream.write(next(lines)) for _ in range(3))


def generate(directory: Path, shape: str, size: int, files: int = 4, seed: int = 0) -> None:
    """Write `files` files of `size` bytes in all to `directory`, which must not exist.

    It is there only once it is complete.
    """
    partial_directory = directory.with_name(directory.name + ".partial")
    partial_directory.mkdir(parents=True)
    write = partial(write_file, partial_directory, shape, size // files, seed)
    with ProcessPoolExecutor() as pool:
        list(pool.map(write, range(files)))
    partial_directory.rename(directory)


def flatten(rollouts: Path, directory: Path) -> None:
    """Write the responses of rollouts as a dump of verl, one a line, which must not exist: the
    first response to every prompt, then the second to every prompt, each in a file of its own."""
    partial_directory = directory.with_name(directory.name + ".partial")
    partial_directory.mkdir(parents=True)
    with ExitStack() as stack:
        files: list[BinaryIO] = []
        for path in sorted(rollouts.glob("*.jsonl")):
            for line in stack.enter_context(path.open("rb")):
                rollout = json.loads(line)
                for i, (reward, choice) in enumerate(
                    zip(rollout["reward"], rollout["response"]["choices"], strict=True)
                ):
                    if i == len(files):
                        dump = partial_directory / f"dump_{i:02}.jsonl"
                        files.append(stack.enter_context(dump.open("wb", buffering=1 << 20)))
                    response = {
                        "input": f"user\n{rollout['prompt'][0]['content']}\nassistant\n",
                        "output": choice["message"]["content"],
                        "gts": rollout["ground_truth"],
                        "score": reward["score"],
                        "step": 1,
                        "uid": f"{rollout['key']}_{i}_0",
                    }
                    files[i].write(json.dumps(response, ensure_ascii=False).encode() + b"\n")
    partial_directory.rename(directory)


def parse_size(text: str) -> int:
    """Bytes of a size such as 1GB, 250MB or 0.25GB (powers of ten). Raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMG]B|)", text.upper())
    if found is None:
        raise ValueError(f"{text!r} is not a size such as 1GB or 250MB")
    return int(float(found[1]) * UNITS[found[2]])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="where the files go; must not exist")
    parser.add_argument("--shape", choices=SHAPES, default="long", help="(default: long)")
    parser.add_argument(
        "--size", type=parse_size, default="1GB", help="bytes in all files (default: 1GB)"
    )
    parser.add_argument("--files", type=int, default=4, help="number of files (default: 4)")
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
    flags = parser.parse_args(argv)
    if flags.directory.exists():
        parser.error(f"{flags.directory} is already there")
    generate(flags.directory, flags.shape, flags.size, flags.files, flags.seed)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
