"""Paths → files → shards → lines: every line once, however the work is cut."""

from __future__ import annotations

import bz2
import errno
import gzip
import os
import resource
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.containers.file_kinds import ARROW_FILE
from curriculum.errors import InputError
from curriculum.reading import blocks
from curriculum.reading.blocks import BLOCK_BYTES, read_blocks
from curriculum.reading.expand_paths import similar_path
from curriculum.reading.find_files import OtherInput, find_file, find_files
from curriculum.reading.input_files import (
    InputFile,
    check_unchanged,
    cut_shards,
    open_file,
    unreadable,
)
from curriculum.storage.requests import RANGE_BYTES


def names(files: list) -> list[str]:
    return [Path(file.path).name for file in files]


def make(directory: Path, *found: str) -> None:
    for name in found:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(b"")


def test_directories_files_and_globs_sorted_each_once(tmp_path: Path) -> None:
    make(tmp_path, "b.jsonl", "a.ndjson", "notes.txt", ".hidden.jsonl", "sub/c.jsonl", "d[1].jsonl")
    (tmp_path / "again.jsonl").symlink_to("b.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    given = [tmp_path, tmp_path / "sub/*", tmp_path / "b.jsonl", tmp_path / "d[1].jsonl"]
    assert names(find_files({str(path): path for path in given})) == [
        "a.ndjson",
        "again.jsonl",
        "d[1].jsonl",
        "c.jsonl",
    ]


@pytest.mark.parametrize("given", ["missing", "empty", "empty/*", "notes.txt", "*.txt"])
def test_what_holds_no_rollouts(tmp_path: Path, given: str) -> None:
    make(tmp_path, "notes.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"(?s)expected rollouts;.*\.jsonl, \.nd") as caught:
        find_files({str(tmp_path / given): tmp_path / given})
    assert str(tmp_path / given) in str(caught.value)


def test_git_lfs_pointer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(InputError, match="Git LFS pointer"):
        find_files({str(path): path})


def test_a_file_of_another_kind_is_told_once_with_the_others(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.jsonl").write_bytes(b"ARROW1\0")
    (tmp_path / "d.jsonl").write_bytes(b"{}")
    with pytest.raises(
        OtherInput, match=r"a\.jsonl: this is an Arrow or Fe.* \(one of 3"
    ) as caught:
        find_files({str(tmp_path): tmp_path})
    assert [path.name for path in caught.value.files] == ["a.jsonl", "b.jsonl", "c.jsonl"]
    assert (caught.value.kind, caught.value.others) == (ARROW_FILE, 1)


def test_a_name_that_says_another_compression(tmp_path: Path) -> None:
    text = gzip.compress(b"{}")
    for name in ("a.txt.gz", "b.jsonl", "c.jsonl.zst"):
        (tmp_path / name).write_bytes(text if name != "c.jsonl.zst" else b"{}")
        with pytest.raises(OtherInput) as caught:
            find_files({name: tmp_path / name})
        assert caught.value.names == [f"{name[0]}.jsonl" + (".gz" if name[0] != "c" else "")]


def test_a_pattern_is_not_corrected_nor_a_name_unlike_all(tmp_path: Path) -> None:
    make(tmp_path, "rollouts.jsonl", "rollouts2.jsonl")
    for name, similar in (("rolouts.jsonl", "rollouts.jsonl"), ("xyz", None)):
        assert similar_path(f"in/{name}", tmp_path / name) == (similar and f"in/{similar}")


@pytest.mark.parametrize(
    ("number", "fix"),
    [
        (errno.EMFILE, "raise the limit of open files (ulimit -n 65536)"),
        (errno.EACCES, "allow it to be read"),
        (errno.EIO, "check the disk"),
        (None, "fix or remove the file"),
    ],
)
def test_what_to_do_about_a_file_that_cannot_be_read(number: int | None, fix: str) -> None:
    error = OSError(number, "No") if number else OSError("No")
    text = str(unreadable(Path("a.jsonl"), error))
    assert text.startswith(
        f"a.jsonl: cannot be read (No), expected a complete, readable file;\n{fix}"
    )


def test_too_few_file_handles_are_no_fault_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"reward": [1]}\n')
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, limit[1]))
        while True:
            try:
                held.append(os.open(tmp_path / "a.jsonl", os.O_RDONLY))
            except OSError:  # noqa: PERF203
                break
        with pytest.raises(InputError, match="raise the limit of open files"):
            find_file(tmp_path / "a.jsonl")
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


def test_broken_link_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").symlink_to("gone")
    with pytest.raises(InputError, match=r"a\.jsonl: cannot be read"):
        find_files({str(tmp_path / "a.jsonl"): tmp_path / "a.jsonl"})


TEXTS = st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"")), max_size=12)


@given(
    lines=TEXTS,
    newline=st.booleans(),
    bom=st.booleans(),
    shard=st.integers(1, 40),
    block=st.integers(1, 40),
)
def test_every_line_once_whatever_the_shards(tmp_path_factory, lines, newline, bom, shard, block):
    text = b"\n".join(lines) + (b"\n" if newline and lines else b"")
    path = tmp_path_factory.mktemp("in") / "a.jsonl"
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + text)
    expected = text.split(b"\n")
    if not expected[-1]:
        expected.pop()
    # A text that starts with a BOM of its own is indistinguishable from a file that does.
    if not bom and text.startswith(b"\xef\xbb\xbf"):
        expected[0] = expected[0][3:]
    shards = list(cut_shards([find_file(path)], shard))
    found = [bytes(line) for s in shards for b in read_blocks(s, block) for line in b.lines()]
    assert found == expected
    assert all(s.stop - s.start >= min(shard, path.stat().st_size - s.start) for s in shards)


@pytest.mark.parametrize("lines", [40, 41, 45, 49])
def test_blocks_of_a_shard_are_as_large_as_each_other(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(b"%09d\n" % i for i in range(lines)))
    (shard,) = cut_shards([find_file(path)])
    sizes = [block.size for block in read_blocks(shard, 100)]
    assert len(sizes) == 4
    assert max(sizes) - min(sizes) <= 20  # two lines


def test_the_buffer_of_a_shard_is_kept_for_the_next_one(tmp_path: Path) -> None:
    for name, text in (("a", b"1\n" * 70), ("b", b"2\n" * 71), ("long", b"3" * 1_000)):
        (tmp_path / f"{name}.jsonl").write_bytes(text)
    found = find_files({str(tmp_path): tmp_path})
    one, other, long = (next(cut_shards([file])) for file in found)
    buffers = {id(block.buffer) for shard in (one, other, one) for block in read_blocks(shard, 60)}
    assert len(buffers) == 1
    # Each of two that are read at once has its own.
    pairs = zip(read_blocks(one, 60), read_blocks(other, 60), strict=True)
    texts = [(bytes(a.text), bytes(b.text)) for a, b in pairs]
    assert b"".join(a for a, _ in texts) == b"1\n" * 70
    assert b"".join(b for _, b in texts) == b"2\n" * 71
    # A smaller shard takes it, too.
    (tmp_path / "small.jsonl").write_bytes(b"4\n" * 20)
    (small,) = cut_shards([find_file(tmp_path / "small.jsonl")])
    kept = id(blocks._spare[0])
    assert {id(block.buffer) for block in read_blocks(small, 40)} == {kept}
    blocks.drop_buffer()
    assert not blocks._spare
    # That of a long line is not kept.
    assert [bytes(block.text) for block in read_blocks(long, 60)] == [b"3" * 1_000]
    assert all(len(buffer) <= 180 for buffer in blocks._spare)


COMPRESSORS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": lambda data: bytes(pa.Codec("zstd").compress(data)),
    ".lz4": lambda data: lz4(data),
}


def lz4(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "lz4") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_compressed_files_are_read(tmp_path: Path, suffix: str) -> None:
    text = b"".join(b'{"line": %d}\n' % i for i in range(5_000))
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(COMPRESSORS[suffix](b"\xef\xbb\xbf" + text) + COMPRESSORS[suffix](text))
    (shard,) = cut_shards(find_files({str(tmp_path): tmp_path}))
    found = [bytes(line) for block in read_blocks(shard, 1_000) for line in block.lines()]
    assert found == (text * 2).splitlines()
    assert shard.first_offset == 3


@pytest.mark.parametrize("suffix", COMPRESSORS)
@pytest.mark.parametrize("damage", ["cut", "tail"])
def test_damaged_compressed_files_are_errors(tmp_path: Path, suffix: str, damage: str) -> None:
    data = COMPRESSORS[suffix](os.urandom(1000).hex().encode() + b"\n")
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(data[:-9] if damage == "cut" else data + b"garbage")
    with pytest.raises(InputError, match="cannot be read"):
        for shard in cut_shards([find_file(path)]):
            list(read_blocks(shard))


def test_file_that_shrinks_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}\n" * 10)
    file = find_file(path)
    (shard,) = cut_shards([file])
    path.write_bytes(b"{}\n" * 9)
    with pytest.raises(InputError, match="changed while it was read"):
        list(read_blocks(shard))
    with pytest.raises(InputError, match="changed while it was read"):
        check_unchanged([file])
    path.unlink()
    with pytest.raises(InputError, match="changed while it was read"):
        check_unchanged([file])


def test_large_input_has_larger_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in (("a", 400), ("b", 20), ("c", 0)):
        (tmp_path / f"{name}.jsonl").write_bytes(b"".join(b"%d\n" % i for i in range(count)))
    files = find_files({str(tmp_path): tmp_path})
    monkeypatch.setattr("curriculum.reading.input_files.SHARD_BYTES", 1)
    assert len(list(cut_shards(files))) == 420
    monkeypatch.setattr("curriculum.reading.input_files.MOST_SHARDS", 10)
    shards = list(cut_shards(files))
    assert 5 < len(shards) <= 10 + len(files)
    assert [(shard.file.path, shard.start) for shard in shards] == sorted(
        (file.path, start)
        for file in files
        for start in [0, *(shard.stop for shard in shards if shard.file == file)][:-1]
    )
    assert sum(shard.stop - shard.start for shard in shards) == sum(file.size for file in files)


def test_file_that_has_grown_is_told_by_whoever_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"1\n2\n")
    (shard,) = cut_shards([find_file(path)])
    with path.open("ab") as file:
        file.write(b"3\n")
    with pytest.raises(InputError, match="the file changed while it was read"):
        list(read_blocks(shard))
    path.write_bytes(b"3\n4\n")  # of the same size
    os.utime(path, ns=(0, shard.file.modified_ns + 1))
    with pytest.raises(InputError, match="the file changed while it was read"):
        list(read_blocks(shard))
    os.utime(path, ns=(0, shard.file.modified_ns))
    assert len(list(read_blocks(shard))) == 1


def test_only_a_look_at_the_first_lines_asks_a_store_for_a_small_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"{}\n")
    (shard,) = cut_shards([find_file(tmp_path / "a.jsonl")])
    steps = []

    def opened(file: InputFile, step: int, stop: int) -> BinaryIO:
        steps.append(step)
        return open_file(file, step, stop)

    monkeypatch.setattr("curriculum.reading.blocks.open_file", opened)
    for size in (100, None, BLOCK_BYTES, 4 * BLOCK_BYTES):
        assert [bytes(block.text) for block in read_blocks(shard, size)] == [b"{}\n"]
    assert steps == [100, RANGE_BYTES, RANGE_BYTES, RANGE_BYTES]
