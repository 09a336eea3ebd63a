"""Lines that are broken: real ones, or made ones, with bits flipped, cut, spliced and stuffed."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from tests.helpers.rollouts import DATA
from tests.torture.runs import BUCKET, PREPROCESS, call, write_rollouts

LINES_PER_RUN = (2, 10, 100, 300)
STUFFING = (
    b"\0", b"\0" * 40, b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r", b"\n", b"\n\n",
    b"\xe2\x80\xa8", b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"[" * 3000, b"NaN",
    b"-Infinity", b"1e400", b"9" * 400, b"null", b"true", b"{}", b"[]", b'"\\ud800"', b"0.0", b"-1",
    b'"reward":[', b'"reward":[{"score":1}],', b'"reward":null,', b'"prompt":[],', b'"prompt":"",',
    b'"ground_truth":{"a":[1]},', b'"extra_info":{"index":{"b":2}},', b"}{", b"}\n{",
)  # fmt: skip
REAL = ("gsm8k_mixed6.jsonl", "mifeval_es_fr_ja.jsonl")


def some_lines(directory: Path) -> list[list[bytes]]:
    """Lines to break: made ones, and the shorter ones of each kind of real rollouts, where they
    are; and all together."""
    write_rollouts(directory / "made", files=1, rollouts=60)
    kinds = [(directory / "made/0.jsonl").read_bytes().splitlines()]
    for path in DATA.rglob("*.jsonl") if DATA.is_dir() else ():
        if path.name in REAL:
            lines = path.read_bytes().split(b"\n")[:300]
            kinds.append([line for line in lines if len(line) < 20_000])
    return [*kinds, [line for lines in kinds for line in lines]]


def mutate(lines: Sequence[bytes], chosen: random.Random) -> bytes:
    """A line with one to three things done to it."""
    line = chosen.choice(lines)
    for _ in range(chosen.choice([0, 1, 1, 1, 2, 3])):
        at, end = sorted(chosen.randrange(len(line) + 1) for _ in range(2))
        near = min(end, at + chosen.randrange(1, 30))
        action = chosen.randrange(6)
        if action == 0 and line:  # a bit flips
            at = min(at, len(line) - 1)
            line = line[:at] + bytes([line[at] ^ 1 << chosen.randrange(8)]) + line[at + 1 :]
        elif action == 1:  # its end was not written
            line = line[:at]
        elif action == 2:  # a piece is lost
            line = line[:at] + line[near:]
        elif action == 3:  # two writers in one file
            other = chosen.choice(lines)
            line = line[:at] + other[chosen.randrange(len(other) + 1) :]
        elif action == 4:  # a piece is there twice
            line = line[:near] + line[at:]
        else:
            line = line[:at] + chosen.choice(STUFFING) + line[at:]
    return line


def break_lines(directory: Path, count: int, seed: int = 0) -> int:
    """Run both scripts over `count` broken lines, some at a time: neither falls over, and every
    line is somewhere, byte for byte."""
    chosen, done = random.Random(seed), 0
    kinds = some_lines(directory)
    while done < count:
        lines = chosen.choice(kinds)
        mutants = [mutate(lines, chosen) for _ in range(chosen.choice(LINES_PER_RUN))]
        for name in ("in", "out", "sets"):
            shutil.rmtree(directory / name, ignore_errors=True)
        (directory / "in").mkdir()
        half = len(mutants) // 2
        (directory / "in/a.jsonl").write_bytes(b"\n".join(mutants[:half]))
        (directory / "in/b.jsonl").write_bytes(b"\n".join(mutants[half:]) + b"\n")
        _check_run(directory)
        done += len(mutants)
    return done


def _check_run(directory: Path) -> None:
    aside = ["--on-malformed", "set-aside", "--workers", "1", "--no-sync"]
    out, sets = directory / "out", directory / "sets"
    given = _lines(sorted((directory / "in").iterdir()))
    stopped, message = call(BUCKET, ["-i", directory / "in", "-o", out, "--workers", "1"])
    if stopped:
        assert not out.exists()
        code, message = call(BUCKET, ["-i", directory / "in", "-o", out, *aside])
        if code:  # no line has a score
            assert not out.exists(), message
            return
        assert (out / "rejected/malformed.jsonl").exists()
    buckets, rejected = list(out.glob("*.jsonl")), list(out.glob("rejected/*.jsonl"))
    kept = [path for path in rejected if path.name != "reasons.jsonl"]
    assert _lines([*buckets, *kept]) == given
    reasons = [path for path in rejected if path.name == "reasons.jsonl"]
    assert _count(reasons) == _count(kept)
    code, message = call(PREPROCESS, ["-i", out, "-o", sets, *aside])
    if code == 1 and "do not fit one type" in message:
        text = ["--ground-truth-format", "string"]
        code, message = call(PREPROCESS, ["-i", out, "-o", sets, *aside, *text])
    if code == 1:  # a field that verl needs as an object, or no line that makes a row
        assert not sets.exists(), message
        return
    rows = sum(pq.read_metadata(path).num_rows for path in sets.glob("*.parquet"))
    kept = [sets / f"rejected/{name}.jsonl" for name in ("malformed", "unscored")]
    assert rows + _count([path for path in kept if path.exists()]) == _count(buckets)


def _lines(paths: Sequence[Path]) -> Counter[bytes]:
    """Every line that is not blank, without its newline; a byte order mark belongs to none."""
    texts = (path.read_bytes().removeprefix(b"\xef\xbb\xbf") for path in paths)
    return Counter(line for text in texts for line in text.split(b"\n") if line.strip(b" \t\r"))


def _count(paths: Sequence[Path]) -> int:
    return _lines(paths).total()
