"""`--order easy-to-hard`: the rows of a set by difficulty, and nothing else changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.bucket_directories import (
    TRAIN,
    VAL,
    bucketed,
    buckets,
    hash_prompt,
    three_stages,
)
from tests.helpers.rollouts import Script, rollout, rows, tree

SCORES = st.lists(st.sampled_from([0, 0.25, 1, None]), min_size=1, max_size=3)
PROMPTS = st.sampled_from([*TRAIN[:6], *VAL[:3]])


def sorted_plainly(found: list[dict[str, Any]], sign: int) -> list[dict[str, Any]]:
    """The rule: by difficulty, then by prompt hash, then as they were read."""

    def place(row: dict[str, Any]) -> tuple[float, int, int]:
        (message,) = row["prompt"]
        value = row["extra_info"]["difficulty_metrics"]["value"]
        hashed = hash_prompt((message["role"], message["content"]))
        return float("inf") if value is None else sign * value, hashed, row["extra_info"]["index"]

    return sorted(found, key=place)


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "sign"), [("mean_reward", -1), ("variance", 1)])
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(SCORES, PROMPTS), min_size=1, max_size=25), st.integers(1, 400))
def test_order_equals_the_plain_one(
    tmp_path_factory, bucket, preprocess, monkeypatch, metric, sign, drawn, block_bytes
) -> None:
    directory = tmp_path_factory.mktemp("order")
    rollouts = [
        rollout(*scores, 1, 0, prompt=prompt, key=str(i), extra_info={"i": i, "of": [prompt]})
        for i, (scores, prompt) in enumerate(drawn)
    ]
    with monkeypatch.context() as patched:
        patched.setattr("curriculum.storage.parquet_files.GROUP_ROWS", 4)
        patched.setattr("curriculum.reading.input_files.SHARD_BYTES", 3_000)
        patched.setattr("curriculum.preprocessing.convert.BATCH_BYTES", block_bytes)
        patched.setattr("curriculum.reading.blocks.BLOCK_BYTES", block_bytes)
        source = bucketed(directory, bucket, rollouts, "-m", metric, "-n", 2)
        flags = ("-i", source, "--workers", 1, "--combine")
        assert preprocess(*flags, "-o", directory / "read")[0] == 0
        assert preprocess(*flags, "-o", directory / "sorted", "--order", "easy-to-hard")[0] == 0
    for name in ("combined_train.parquet", "combined_val.parquet"):
        assert (directory / "read" / name).exists() == (directory / "sorted" / name).exists()
        if (directory / "read" / name).exists():
            as_read = rows(directory / "read" / name)
            assert rows(directory / "sorted" / name) == sorted_plainly(as_read, sign)


@pytest.mark.parametrize("flags", [(), ("--combine",), ("--filter", "informative_only")])
def test_order_does_not_depend_on_workers(
    tmp_path: Path,
    bucket: Script,
    preprocess: Script,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple,
) -> None:
    source = bucketed(tmp_path, bucket, three_stages())
    monkeypatch.setattr("curriculum.reading.input_files.SHARD_BYTES", 2_000)
    found = []
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        order = ("--order", "easy-to-hard", "--workers", workers)
        assert preprocess("-i", source, "-o", out, *order, *flags)[0] == 0
        found.append(tree(out))
    assert found[0] == found[1]


def test_order_needs_a_metric(tmp_path: Path, preprocess: Script) -> None:
    buckets(tmp_path / "b", easy=[rollout(1)], hard=[rollout(0, prompt="other")])
    flags = ("-i", tmp_path / "b", "-o", tmp_path / "out", "--order")
    code, _, err = preprocess(*flags, "easy-to-hard")
    assert (code, "there is no difficulty to order the rows by" in err) == (1, True)
    assert not (tmp_path / "out").exists()
    code, _, err = preprocess(*flags, "random")
    assert (code, "--order: there is no 'random'" in err) == (2, True)
    assert preprocess(*flags, "input")[0] == 0
