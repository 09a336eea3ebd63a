"""Input in an object store: what it is, and commands for a copy of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.advice.inputs import OWN, TALKS, TEXT, parquet, renamed
from tests.helpers.rollouts import Script
from tests.storage.object_store import Store

pytestmark = pytest.mark.slow

COPIED = "Copy what is in the store to this machine first; the command takes it from here.\n"


def test_other_input_in_a_store(store: Store, tmp_path: Path, bucket: Script) -> None:
    parquet(str(tmp_path / "r.parquet"), TALKS)()
    store.put("one/r.parquet", (tmp_path / "r.parquet").read_bytes())
    store.put("three/step/r.jsonl", TEXT.encode())
    store.put("four/r.jsonl", f"[{TEXT}".encode())
    other = "".join(json.dumps(line) + "\n" for line in renamed(OWN, reward="scores"))
    store.put("five/r.jsonl", other.encode())

    def told(name: str) -> str:
        code, _, err = bucket("-i", store / name, "-o", tmp_path / "out")
        assert (code, (tmp_path / "out").exists()) == (1, False)
        return err

    for name in ("one", "one/r.parquet"):
        err = told(name)
        assert f'{store / "one/r.parquet"}:1: no "reward"' in err
        assert "the line has conversations: list of 2 objects (from, value)" in err
        assert COPIED in err
        assert '" r.parquet > converted.jsonl &&' in err
    assert f"-i {store / 'three'}" in (err := told("three")) and "--recursive" in err
    assert "between the items, at byte" in told("four")
    err = told("five")
    assert COPIED not in err
    assert f"-i {store / 'five'}" in err
    assert "--score-field scores" in err
