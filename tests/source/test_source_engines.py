"""--source on every engine and in a store: the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curriculum.storage.paths import to_path
from tests.helpers.rollouts import Script, tree
from tests.source.data_sets import row, write_parquet, write_rollouts
from tests.storage.object_store import Store, store_tree

pytestmark = pytest.mark.slow


def read(store: Store, name: str) -> bytes:
    """The content of an object."""
    path = to_path(store / name)
    return path.read_bytes()


def without_paths(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files that hold rows: a manifest names where the others are."""
    return {name: data for name, data in files.items() if not name.endswith(".json")}


@pytest.mark.parametrize("engine", ["pool", "ray"])
def test_in_a_store_and_on_a_disk(
    tmp_path: Path,
    store: Store,
    request: pytest.FixtureRequest,
    bucket: Script,
    preprocess: Script,
    engine: str,
) -> None:
    flags: tuple[Any, ...] = ("--workers", 2)
    if engine == "ray":
        flags = ("--engine", "ray", "--ray-address", request.getfixturevalue("cluster").address)
    write_rollouts(tmp_path / "in/a.jsonl", range(120))
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "b")[0] == 0
    assert bucket("-i", tmp_path / "in", "-o", store / "b")[0] == 0
    train = write_parquet(tmp_path / "train.parquet", [row(n) for n in range(100)])
    val = write_parquet(tmp_path / "val.parquet", [row(n) for n in range(100, 120)])
    store.put("data/train.parquet", train.read_bytes())
    store.put("data/val.parquet", val.read_bytes())
    own = ("--source", train, "--source-val", val, "--annotate", tmp_path / "all.parquet")
    sets = ("--cumulative", "--order", "easy-to-hard")
    assert preprocess("-i", tmp_path / "b", "-o", tmp_path / "p", *own, *sets)[0] == 0
    there = ("--source", store / "data/tr*.parquet", "--source-val", store / "data/val.parquet")
    there = (*there, "--annotate", store / "all.parquet")
    code, _, err = preprocess("-i", store / "b", "-o", store / "p", *there, *sets, *flags)
    assert code == 0, err
    assert without_paths(store_tree(store / "p")) == without_paths(tree(tmp_path / "p"))
    assert (tmp_path / "all.parquet").read_bytes() == read(store, "all.parquet")
    assert preprocess("-i", tmp_path / "b", "-o", tmp_path / "q", *own, *sets, *flags)[0] == 0
    assert tree(tmp_path / "q") == tree(tmp_path / "p")
