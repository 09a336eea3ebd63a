"""Logs of inspect_ai: their samples, in order, and what is wrong with a log."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curriculum.containers.eval_logs import is_eval_log, is_torch_file, read_samples
from curriculum.errors import InputError

SAMPLES = {
    f"samples/{number}_epoch_{epoch}.json": {"id": number, "epoch": epoch, "input": "a\nb"}
    for number in (2, 10, 1)
    for epoch in (1, 2)
}
BESIDE = {"header.json": {"status": "success"}, "summaries.json": [{"id": 1}]}


def write_log(path: Path, members: dict[str, Any], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """As inspect_ai writes it, with indents."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, value in members.items():
            archive.writestr(name, json.dumps(value, indent=2))
    return path


def write_zstd(path: Path, members: dict[str, Any]) -> Path:
    """A log whose members are packed with zstd: stored, and then renamed to that method."""
    codec = pa.Codec("zstd")
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in members.items():
            text = json.dumps(value).encode()
            archive.writestr(name, codec.compress(text).to_pybytes())
            member = archive.getinfo(name)
            member.compress_type, member.file_size = 93, len(text)
            member.CRC = zlib.crc32(text)
    return path


def samples(path: Path, block_bytes: int = 1 << 20) -> list[Any]:
    lines = b"".join(read_samples(path, block_bytes))
    return [json.loads(line) for line in lines.split(b"\n")[:-1]]


@pytest.mark.parametrize("block", [1, 60, 1 << 20])
@pytest.mark.parametrize("packed", ["deflate", "stored", "zstd"])
def test_samples_in_order_of_name(tmp_path: Path, packed: str, block: int) -> None:
    path, members = tmp_path / "a.eval", BESIDE | SAMPLES
    if packed == "zstd":
        write_zstd(path, members)
    else:
        write_log(path, members, {"deflate": zipfile.ZIP_DEFLATED}.get(packed, zipfile.ZIP_STORED))
    assert is_eval_log(path)
    assert samples(path, block) == [SAMPLES[name] for name in sorted(SAMPLES)]


def test_a_sample_whose_id_has_a_slash(tmp_path: Path) -> None:
    path = write_log(tmp_path / "a.eval", {"samples/a/b_epoch_1.json": {"id": "a/b"}})
    assert samples(path) == [{"id": "a/b"}]


def test_samples_in_pieces_are_refused(tmp_path: Path) -> None:
    members = {"samples/1_epoch_1/sample.json": {}, "samples/1_epoch_1/messages/0.json": []}
    with pytest.raises(InputError, match=r"in pieces.*(?s:.*)inspect log convert .*--to json"):
        samples(write_log(tmp_path / "a.eval", members))


def test_damaged_logs(tmp_path: Path) -> None:
    path = write_log(tmp_path / "a.eval", SAMPLES, zipfile.ZIP_STORED)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="this log cannot be read"):
        samples(path)
    path.write_bytes(data.replace(b'"id": 10', b'"id": 11', 1))
    with pytest.raises(InputError, match=r"samples/10_epoch_1\.json: Bad CRC-32"):
        samples(path)
    write_zstd(path, SAMPLES)
    path.write_bytes(path.read_bytes().replace(b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfe", 1))
    with pytest.raises(InputError, match=r"this log cannot be read \(samples/"):
        samples(path)


@pytest.mark.parametrize("text", ["", "{", "{}{}", "[1"])
def test_a_sample_that_is_not_one_value(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.eval"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("samples/1_epoch_1.json", text)
    with pytest.raises(InputError, match=r"this log cannot be read \(samples/1_epoch_1\.json"):
        samples(path)


def test_other_archives(tmp_path: Path) -> None:
    path = write_log(tmp_path / "a.pt", {"archive/data.pkl": 1})
    assert (is_eval_log(path), is_torch_file(path)) == (False, True)
    path = write_log(tmp_path / "a.zip", {"a.jsonl": 1})
    assert (is_eval_log(path), is_torch_file(path)) == (False, False)
