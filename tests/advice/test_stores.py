"""Input in an object store: what it is, and commands for a copy of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.advice.inputs import INDENTED, OWN, TEXT, parquet, renamed
from tests.helpers.rollouts import Script
from tests.storage.object_store import Store

pytestmark = pytest.mark.slow

COPIED = "Copy what is in the store to this machine first; the command takes it from here.\n"


def test_other_input_in_a_store(store: Store, tmp_path: Path, bucket: Script) -> None:
    parquet(str(tmp_path / "r.parquet"), OWN)()
    store.put("one/r.parquet", (tmp_path / "r.parquet").read_bytes())
    store.put("two/r.json", TEXT.encode())
    store.put("three/step/r.jsonl", TEXT.encode())
    store.put("four/r.jsonl", INDENTED.encode())
    other = "".join(json.dumps(line) + "\n" for line in renamed(OWN, reward="scores"))
    store.put("five/r.jsonl", other.encode())

    def told(name: str) -> str:
        code, _, err = bucket("-i", store / name, "-o", tmp_path / "out")
        assert (code, (tmp_path / "out").exists()) == (1, False)
        return err

    for name in ("one", "one/r.parquet"):
        err = told(name)
        assert f"{store / 'one/r.parquet'}: this is a parquet file" in err
        assert "it begins with prompt: text, responses: list of 2 texts" in err
        assert COPIED in err
        assert '" r.parquet > converted.jsonl &&' in err
    assert told("two").endswith("rename r.json to r.jsonl, or leave it out of -i\n")
    assert f"-i '{store / 'three'}/*/*.jsonl'" in told("three")
    assert "this is a JSON array" in told("four")
    err = told("five")
    assert COPIED + "Change its fields, then bucket:\n" in err
    assert '" r.jsonl > converted.jsonl &&' in err
