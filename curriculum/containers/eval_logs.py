"""Logs of inspect_ai (.eval) → the samples in them, a line each.

Such a log is a zip archive, in which samples/{id}_epoch_{epoch}.json is a sample; see
`_sample_filename` in src/inspect_ai/log/_recorders/eval.py of inspect_ai. What is beside them
(header.json, summaries.json, reductions.json, _journal/) repeats them or describes the run. Newer
logs may hold a sample in pieces, in a directory of its own; see _recorders/chunked/format.py there.
"""

from __future__ import annotations

import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from curriculum.containers.json_items import Broken, read_items
from curriculum.errors import InputError
from curriculum.storage.paths import AnyPath

BLOCK_BYTES = 1 << 20
ZSTD = 93  # the method that newer logs are compressed with, which zipfile knows from Python 3.14 on
_SAMPLE = re.compile(r"samples/.+_epoch_\d+\.json", re.DOTALL)
_PIECES = re.compile(r"samples/.+_epoch_\d+/sample\.json", re.DOTALL)
_CONVERT = "convert it with `inspect log convert {} --to json --output-dir converted`"


def is_eval_log(path: AnyPath) -> bool:
    """Whether a zip archive is a log of inspect_ai. Raises InputError if it is named like one and
    damaged."""
    if not path.name.endswith(".eval"):
        return any(name.startswith(("samples/", "_journal/")) for name in _members(path))
    with _opened(path):
        return True


def is_torch_file(path: AnyPath) -> bool:
    """Whether a zip archive is what `torch.save` writes: a pickle, with tensors beside it."""
    return any(name.endswith("/data.pkl") for name in _members(path))


def _members(path: AnyPath) -> list[str]:
    """The names of what is in an archive; none if it is damaged."""
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            return archive.namelist()
    except zipfile.BadZipFile:
        return []


def read_samples(path: AnyPath, block_bytes: int = BLOCK_BYTES) -> Iterator[bytearray]:
    """The samples of a log in order of their names, as lines with newlines, some at a time. Raises
    InputError if the log is damaged, or if it holds samples in pieces."""
    with _opened(path) as archive:
        names = archive.namelist()
        pieces = next(filter(_PIECES.fullmatch, names), None)
        if pieces:
            raise InputError(
                f"its samples are in pieces, such as {pieces}",
                where=path,
                expected="a log with one file for each sample",
                fix=_CONVERT.format(path),
            )
        lines = bytearray()
        for name in sorted(filter(_SAMPLE.fullmatch, names)):
            lines += _read_sample(archive, name, path)
            if len(lines) >= block_bytes:
                yield lines
                lines = bytearray()
        if lines:
            yield lines


def _read_sample(archive: zipfile.ZipFile, name: str, path: AnyPath) -> bytes:
    try:
        text = _read_member(archive, archive.getinfo(name))
        lines = b"".join(read_items(io.BytesIO(text), in_array=False))
    except Broken as error:
        raise _damaged(path, f"{name}: {error.found}") from error
    except NotImplementedError as error:
        raise InputError(
            f"this Python cannot decompress {name} ({error})",
            where=path,
            expected="a log compressed with deflate or zstd",
            fix=_CONVERT.format(path),
        ) from error
    except (OSError, EOFError, ValueError, RuntimeError, *_NOT_A_ZIP) as error:
        raise _damaged(path, f"{name}: {error}") from error
    if (count := lines.count(b"\n")) != 1:
        raise _damaged(path, f"{name} holds {count} values, not one sample")
    return lines


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if member.compress_type != ZSTD:
        return archive.read(member)
    import pyarrow as pa

    stream = archive.fp
    assert stream is not None
    stream.seek(member.header_offset)
    header = stream.read(30)
    name_size, extra_size = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    stream.seek(name_size + extra_size, io.SEEK_CUR)
    packed = stream.read(member.compress_size)
    with pa.input_stream(pa.BufferReader(packed), compression="zstd") as text:
        data: bytes = text.read()
    if len(data) != member.file_size or zlib.crc32(data) != member.CRC:
        raise ValueError("its checksum is wrong")
    return data


# RuntimeError is what zipfile raises for a member with a password.
_NOT_A_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError)


@contextmanager
def _opened(path: AnyPath) -> Iterator[zipfile.ZipFile]:
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            yield archive
    except zipfile.BadZipFile as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: AnyPath, found: str) -> InputError:
    return InputError(
        f"this log cannot be read ({found})",
        where=path,
        expected="a complete log of inspect_ai",
        fix="fetch it again; a log that a run is still writing can be read when it has finished",
    )
