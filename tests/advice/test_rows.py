"""The rows of a file: of damaged ones nothing is said, and no reader fails."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.advice.rows import rows_of
from curriculum.containers import file_kinds
from curriculum.containers.file_kinds import FileKind
from curriculum.errors import InputError
from tests.advice.inputs import OTHER_KINDS

KINDS = [kind for kind in vars(file_kinds).values() if isinstance(kind, FileKind)]
STARTS = (
    *(b"PAR1", b"ARROW1\0\0", b"FEA1", b"\xff" * 4, b"\xfd7zXZ\0"),
    *(b"[", b"{", b"{'", b"a,b\n", b""),
)


@given(st.sampled_from(KINDS), st.sampled_from(STARTS), st.binary(max_size=30))
def test_damaged_files_have_no_rows(kind: FileKind, start: bytes, rest: bytes) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, "a.jsonl")
        path.write_bytes(start + rest)
        rows = rows_of(path, kind)
        assert rows is None or all(line.startswith("for ") for line in rows.loop)


@pytest.mark.parametrize("name", OTHER_KINDS)
def test_no_reader_fails_on_a_file_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write, given_path, _ = OTHER_KINDS[name]
    write()
    path = Path(given_path)
    if not path.is_file():
        return
    data = path.read_bytes()
    for size in range(1, len(data), max(len(data) // 40, 1)):
        path.write_bytes(data[:size])
        for kind in KINDS:
            with suppress(InputError):  # the compression of its name is damaged
                rows_of(path, kind)


def test_a_large_object_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"x": {"a": 1}}')
    rows = rows_of(path, file_kinds.JSON_OBJECT)
    assert rows is not None
    assert (rows.loop, rows.first) == (
        ("for row in json.load(open(file, 'rb')).values():",), [{"a": 1}]
    )  # fmt: skip
    monkeypatch.setattr("curriculum.advice.rows._BYTES_LOADED", 9)
    assert rows_of(path, file_kinds.JSON_OBJECT) is None
