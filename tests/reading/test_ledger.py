"""The ledger equals a plain walk over the lines of the files, however they are cut."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curriculum.output.rejected import reason_lines, rejected_lines
from curriculum.reading.blocks import read_blocks
from curriculum.reading.find_files import find_files
from curriculum.reading.input_files import cut_shards
from curriculum.reading.ledger import BLANK, MALFORMED, NO_SCORE, TAKEN, Ledger, LineRecorder
from curriculum.reading.lines import Reason

# What a line is, told by its first letter: blank, malformed, without a score, or fine.
LINE = st.tuples(st.sampled_from([" ", "m", "n", "t"]), st.text("xyz", max_size=5)).map("".join)
FILES = st.lists(st.lists(LINE, max_size=12), min_size=1, max_size=3)
KINDS = {"m": MALFORMED, "n": NO_SCORE, "t": TAKEN}


def kind_of(line: str) -> int:
    return KINDS.get(line[0], MALFORMED) if line.strip() else BLANK


def record(ledger: Ledger, block_bytes: int) -> None:
    """Record every line as a pass would: unscored rollouts are told apart at the end."""
    for shard, path in zip(ledger.shards, ledger.reasons, strict=True):
        recorder, taken = LineRecorder(path), []
        for block in read_blocks(shard, block_bytes):
            lines = [bytes(line).decode() for line in block.lines()]
            refused = [
                (i, Reason(line[-1], f"bad {line}"))
                for i, line in enumerate(lines)
                if kind_of(line) in (BLANK, MALFORMED)
            ]
            recorder.add_block(block, refused)
            taken += [kind_of(line) for line in lines if kind_of(line) in (NO_SCORE, TAKEN)]
        recorder.close()
        ledger.add(recorder.result(np.array(taken, np.uint8)))


@given(FILES, st.integers(1, 30), st.integers(1, 30))
def test_counts_lines_and_reasons_equal_the_plain_ones(
    files: list[list[str]], shard_bytes: int, block_bytes: int
) -> None:
    with TemporaryDirectory() as name:
        directory = Path(name)
        for number, lines in enumerate(files):
            (directory / f"{number}.jsonl").write_text("".join(f"{line}\n" for line in lines))
        ledger = Ledger.of(
            cut_shards(find_files({str(directory): directory}), shard_bytes), directory / "reasons"
        )
        record(ledger, block_bytes)
        told = [json.loads(line) for line in reason_lines(ledger, {NO_SCORE: "no score"})]
        copied = [
            (int(number), int(length))
            for _, lengths, numbers in rejected_lines(ledger, {MALFORMED: 0, NO_SCORE: 1})
            for length, number in zip(lengths, numbers, strict=True)
            if number >= 0
        ]
    every = [line for lines in files for line in lines]
    for kind in (BLANK, MALFORMED, NO_SCORE, TAKEN):
        assert ledger.count(kind) == [kind_of(line) for line in every].count(kind)
    assert ledger.well_formed == ledger.count(NO_SCORE, TAKEN)
    by_file = {f"{directory / str(i)}.jsonl": len(lines) for i, lines in enumerate(files)}
    assert +ledger.by_file() == {path: count for path, count in by_file.items() if count}
    plain = [
        (f"{directory / str(i)}.jsonl", number + 1, sum(len(line) + 1 for line in lines[:number]),
         f"malformed: bad {line}" if kind_of(line) == MALFORMED else "no score")
        for i, lines in enumerate(files)
        for number, line in enumerate(lines)
        if kind_of(line) in (MALFORMED, NO_SCORE)
    ]  # fmt: skip
    assert [(t["file"], t["line"], t["offset"], t["reason"]) for t in told] == plain
    rejected = [line for line in every if kind_of(line) in (MALFORMED, NO_SCORE)]
    assert copied == [(int(kind_of(line) == NO_SCORE), len(line)) for line in rejected]
    first = [
        f"{path}:{number}: {reason[11:]}" for path, number, _, reason in plain if "bad" in reason
    ]
    assert ledger.first == first[:10]
