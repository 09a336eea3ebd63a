"""The same lines read by the scanner and by the Python readers: equal, or declined."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from curriculum.reading.blocks import Block
from curriculum.reading.rollouts import ReadScores, ScoreReader
from curriculum.scanner.compiled import scanner
from curriculum.scanner.row_lines import read_rows
from curriculum.scanner.score_lines import ScoreLines, scan_scores
from curriculum.verl.read_line import Places, ReadOptions
from curriculum.verl.read_rows import RowReader, scanned_fields
from tests.helpers.readers import values_of, without_scanner
from tests.torture.mutate import mutate, some_lines

REST = b'"}]}rest of an earlier block\n{"reward": [1]}'  # must never be read


def simd_kinds() -> list[str]:
    """The kinds of SIMD that run here, the fastest last."""
    return [kind for kind in ("portable", "sse2", "avx2", "neon") if _has(kind)]


def _has(kind: str) -> bool:
    try:
        scanner().simd(kind)
    except ValueError:
        return False
    return True


def compare_scores(text: bytes, field: str = "score") -> list[int]:
    """Read the scores of these lines both ways, with every kind of SIMD; the declined lines.

    Counts, scores bit for bit (those that are not finite are missing) and hashes of prompts are
    compared of each line, and a line that the Python readers refuse must be declined.
    """
    buffer = bytearray(text + REST)
    with without_scanner():
        expected = ScoreReader(field, with_keys=True).read_block(Block(buffer, len(text)))
        by_group = ScoreReader(field, group_field="key").read_block(Block(buffer, len(text)))
    declined: list[int] = []
    for kind in simd_kinds():
        scanner().simd(kind)
        scanned = scan_scores(buffer, len(text), field, "key")
        assert scanned is not None
        _check_lines(Block(buffer, len(text)), scanned, expected)
        assert declined in ([], scanned.declined.tolist())
        declined = scanned.declined.tolist()
        read = ScoreReader(field, with_keys=True).read_block(Block(buffer, len(text)))
        _check_same(read, expected)
        read = ScoreReader(field, group_field="key").read_block(Block(buffer, len(text)))
        _check_same(read, by_group)
    return declined


def _check_lines(block: Block, scanned: ScoreLines, expected: ReadScores) -> None:
    assert scanned.ends.tolist() == block.ends.tolist()
    lines = range(len(scanned.ends))
    refused = {position for position, _ in expected.refused}
    mine = _by_line([i for i in lines if i not in set(scanned.declined.tolist())], scanned)
    theirs = _by_line([i for i in lines if i not in refused], expected)
    for position, read in mine.items():
        assert read == theirs.get(position), bytes(block.line(position))


def _by_line(positions: list[int], read: ScoreLines | ReadScores) -> dict[int, tuple[bytes, int]]:
    """The scores and the hash of the prompt of each line that was read."""
    ends = np.cumsum(read.counts).tolist()
    scores = [_bits(part) for part in np.split(read.flat, ends)]
    assert scores.pop() == b""
    return dict(zip(positions, zip(scores, read.prompts.tolist(), strict=True), strict=True))


def _bits(scores: np.ndarray) -> bytes:
    """The scores as bytes; all that are missing look alike."""
    return np.where(np.isfinite(scores), scores, np.nan).tobytes()


def _check_same(read: ReadScores, expected: ReadScores) -> None:
    assert (_bits(read.flat), read.refused) == (_bits(expected.flat), expected.refused)
    assert (read.counts.tolist(), read.keys) == (expected.counts.tolist(), expected.keys)
    assert read.prompts.tolist() == expected.prompts.tolist()
    assert read.groups.names == expected.groups.names
    assert read.groups.codes.tolist() == expected.groups.codes.tolist()


def compare_rows(text: bytes, **changes: Any) -> list[int]:
    """Read the rows of these lines both ways, with every kind of SIMD; the declined lines.

    Every value of every row, every reason and every note is compared. `changes` are of the options.
    """
    buffer, options = bytearray(text + REST), replace(OPTIONS, **changes)
    with without_scanner():
        expected = _rows(buffer, len(text), options)
    fields = scanned_fields(options)
    declined: list[int] = []
    for kind in simd_kinds():
        scanner().simd(kind)
        scanned = read_rows(buffer, len(text), fields) if fields else None
        if scanned is not None:
            assert declined in ([], scanned.declined.tolist())
            declined = scanned.declined.tolist()
        assert repr(_rows(buffer, len(text), options)) == repr(expected)
    return declined


OPTIONS = ReadOptions(
    places=Places(),
    score_field="score",
    best_response=True,
    ground_truth_format="auto",
    data_source="default",
    keep_data_source=False,
    ability="any",
    seed=42,
)


def _rows(buffer: bytearray, size: int, options: ReadOptions) -> tuple[Any, Any, Any]:
    """What is read: the values, the reasons, and what was noted."""
    reader = RowReader(options)
    batch, refused = reader.read_block(Block(buffer, size))
    return values_of(batch), refused, sorted(map(repr, reader.notes.items()))


def compare_mutants(directory: Path, count: int, seed: int = 0) -> int:
    """Read `count` broken lines both ways, some at a time; `directory` is room to work in."""
    directory.mkdir(exist_ok=True)
    chosen, done = random.Random(seed), 0
    kinds = some_lines(directory)
    while done < count:
        lines = chosen.choice(kinds)
        mutants = [mutate(lines, chosen) for _ in range(chosen.choice((1, 5, 50)))]
        compare_scores(b"\n".join(mutants))
        compare_rows(b"\n".join(mutants))
        done += len(mutants)
    return done
