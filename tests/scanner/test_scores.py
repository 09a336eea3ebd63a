"""Scores: what the scanner reads is what the Python readers read, and usual lines it does read."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.reading.blocks import read_blocks
from curriculum.reading.find_files import find_file
from curriculum.reading.input_files import Shard, cut_shards
from curriculum.reading.rollouts import ScoreReader
from curriculum.scanner.compiled import scanner
from curriculum.scanner.score_lines import scan_scores
from tests.helpers.readers import without_scanner
from tests.helpers.rollouts import DATA, SHARED, needs_data
from tests.scanner.compare import compare_mutants, compare_scores, simd_kinds
from tests.scanner.invented import DECLINED, MIXED, READ
from tests.scanner.shapes import LINE, USUAL
from tests.torture.mutate import REAL

FIELDS = st.sampled_from(["score", "score", "V_i", "content", "é", ""])


@settings(max_examples=500)
@given(lines=st.lists(LINE, min_size=1, max_size=4), field=FIELDS)
def test_lines_of_every_shape_are_read_alike_or_declined(lines: list[bytes], field: str) -> None:
    compare_scores(b"\n".join(lines), field)


@given(lines=st.lists(USUAL, min_size=1, max_size=4), ascii_only=st.booleans())
def test_usual_lines_are_not_declined(lines: list[dict[str, Any]], ascii_only: bool) -> None:
    texts = [json.dumps(line, ensure_ascii=ascii_only).encode() for line in lines]
    assert compare_scores(b"\n".join(texts)) == []


@pytest.mark.parametrize("line", READ)
def test_lines_that_must_be_read(line: bytes) -> None:
    assert compare_scores(line) == []


@pytest.mark.parametrize("line", DECLINED)
def test_lines_that_must_be_declined(line: bytes) -> None:
    assert compare_scores(b'{"reward":[1]}\n' + line + b'\n{"reward":[2]}') == [1]


def test_every_byte_at_every_place_of_a_string() -> None:
    every = [number for number in range(256) if number != ord("\n")]
    ends_it = [at for at, number in enumerate(every) if number < 32 or number in b'"\\']
    for before in range(80):
        for after in (0, 9, 70):
            text = b"x" * before + b"%c" + b"y" * after
            lines = [b'{"reward":[1],"other":"%b"}' % text.replace(b"%c", bytes([number]))
                     for number in every]  # fmt: skip
            assert compare_scores(b"\n".join(lines)) == ends_it


def test_escapes_at_every_place_of_a_string() -> None:
    two = [b"\\n", b'\\"', b"\\\\", b"\\/"]
    escapes = [*two, b"\\u00e9", b"\\ud83d\\ude00", b"\\u20ac\\t", b"\\u0000"]
    for before in range(140):
        texts = [b"x" * before + escape + b"y" * after for escape in escapes for after in (0, 50)]
        lines = [b'{"reward":[1],"prompt":"%b"}' % text for text in texts]
        assert compare_scores(b"\n".join(lines)) == []


def test_only_nine_bytes_may_follow_a_backslash() -> None:
    every = [number for number in range(256) if number != ord("\n")]
    wrong = [at for at, number in enumerate(every) if number not in b'"\\/bfnrtu']
    for before in (0, 15, 31, 32, 61, 62, 63, 64):
        text = b"x" * before + b"\\%c0041" + b"y" * 70
        lines = [b'{"reward":[1],"other":"%b"}' % text.replace(b"%c", bytes([number]))
                 for number in every]  # fmt: skip
        assert compare_scores(b"\n".join(lines)) == wrong


def test_every_other_backslash_of_a_run_escapes() -> None:
    for before in range(70):
        lines = [b'{"reward":[1],"other":"%b%b"}' % (b"x" * before, b"\\" * count)
                 for count in range(140)]  # fmt: skip
        assert compare_scores(b"\n".join(lines)) == list(range(1, 140, 2))


def test_text_that_is_read_is_utf8_or_declined() -> None:
    """Characters of one to four bytes, each byte from both sides of every bound that there is."""
    after = b"a\x7f\x80\x8f\x90\x9f\xa0\xbf\xc0"
    texts = [bytes([first, *rest]) for first in range(0x80, 0x100) for rest in (b"", b"\x80")]
    firsts = {2: b"\xdf\xe0\xe1\xec\xed\xee\xef", 3: b"\xef\xf0\xf1\xf3\xf4\xf5"}
    for count, some in firsts.items():
        texts += [bytes([first, *rest]) for first in some for rest in product(after, repeat=count)]
    lines = [b'{"reward":[1],"prompt":"%b"}' % text for text in texts]
    assert compare_scores(b"\n".join(lines)) == [
        at for at, text in enumerate(texts) if text.decode("utf-8", "ignore").encode() != text
    ]


REAL_FILES = sorted([*DATA.rglob("*.jsonl"), *(SHARED / "cases").glob("*.jsonl")])


@needs_data
@pytest.mark.parametrize("path", REAL_FILES, ids=lambda path: path.name)
def test_real_lines_are_read_alike(path: Path) -> None:
    declined = compare_scores(path.read_bytes())
    if path.name in REAL:
        assert declined == []


def test_broken_lines_are_read_alike_or_declined(tmp_path: Path) -> None:
    assert compare_mutants(tmp_path, 2_000, seed=1) >= 2_000


@pytest.mark.slow
def test_many_broken_lines_are_read_alike_or_declined(tmp_path: Path) -> None:
    assert compare_mutants(tmp_path, 8_000, seed=2) >= 8_000


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_blocks_may_end_at_any_byte(tmp_path: Path, end: bytes) -> None:
    text = MIXED + end
    (tmp_path / "a.jsonl").write_bytes(text)
    (shard,) = cut_shards([find_file(tmp_path / "a.jsonl")])
    with without_scanner():
        expected = read_in_blocks(shard, 1 << 20)
    for kind in simd_kinds():
        scanner().simd(kind)
        for size in range(1, len(text) + 2):
            assert read_in_blocks(shard, size) == expected, (kind, size)


def test_shards_may_end_at_any_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(MIXED)
    (whole,) = cut_shards([find_file(tmp_path / "a.jsonl")])
    with without_scanner():
        expected = read_in_blocks(whole, 1 << 20)
    for size in range(1, len(MIXED) + 2):
        read: list[Any] = []
        for shard in cut_shards([whole.file], size):
            read += read_in_blocks(shard, 1 << 20)
        assert read == expected


def read_in_blocks(shard: Shard, block_bytes: int) -> list[Any]:
    """What is read of each line."""
    found: list[Any] = []
    for block in read_blocks(shard, block_bytes):
        read = ScoreReader("score").read_block(block)
        refused = dict(read.refused)
        flat, others = read.flat.tolist(), iter(zip(read.counts, read.prompts, strict=True))
        for position in range(len(block.ends)):
            if position in refused:
                found.append(refused[position])
                continue
            count, prompt = next(others)
            found.append((repr(flat[:count]), int(prompt)))
            flat = flat[count:]
    return found


def test_bytes_and_bytearrays_are_read_to_their_size_and_no_further() -> None:
    text = b'{"reward":[1]}\n{"reward":[2]}'
    whole = scan_scores(text, len(text), "score")
    assert whole is not None
    assert (whole.flat.tolist(), whole.ends.tolist()) == ([1, 2], [14, 29])
    for size in range(len(text)):
        one, other = (scan_scores(kind(text), size, "score") for kind in (bytes, bytearray))
        assert one is not None and other is not None
        assert [part.tolist() for part in one[:5]] == [part.tolist() for part in other[:5]]
        assert one.flat.tolist() == [1] * (size >= 14)
        assert one.declined.tolist() == [0] * (0 < size < 14) + [1] * (size > 15)


def test_what_is_no_buffer_or_too_small_is_refused() -> None:
    for buffer, size, error in (
        ("{}", 2, TypeError),
        (b"{}", 3, ValueError),
        (b"{}", -1, ValueError),
    ):
        with pytest.raises(error):
            scanner().scan_scores(buffer, size, b"score", b"")
    with pytest.raises(ValueError, match="there is no mmx here"):
        scanner().simd("mmx")
