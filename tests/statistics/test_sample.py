"""The sample of rollouts: uniform, and the same whatever the shards."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from curriculum.bucketing.scan import Scanned, ScanTask, scan_shard
from curriculum.metrics import METRICS, MetricParameters, Scores
from curriculum.reading.find_files import find_files
from curriculum.reading.input_files import cut_shards
from curriculum.reading.ledger import Ledger
from curriculum.statistics import sample as sampling
from tests.helpers.rollouts import Script, rollout, write_jsonl

LISTS = st.lists(st.lists(st.sampled_from([0.0, 1.0, 0.5]), max_size=4), max_size=8)


@given(LISTS, st.lists(st.integers(0, 7), max_size=12))
def test_taking_and_joining_scores(rollouts: list[list[float]], chosen: list[int]) -> None:
    scores = Scores.of(rollouts)
    chosen = [i for i in chosen if i < len(rollouts)]
    taken = scores.take(np.array(chosen, np.int64))
    wanted = Scores.of([rollouts[i] for i in chosen])
    joined, twice = Scores.join([scores, taken]), Scores.of([*rollouts, *wanted_lists(wanted)])
    for found, right in ((taken, wanted), (joined, twice)):
        assert found.values.tolist() == right.values.tolist()
        assert found.offsets.tolist() == right.offsets.tolist()


def wanted_lists(scores: Scores) -> list[list[float]]:
    ends = scores.offsets.tolist()
    return [scores.values[a:b].tolist() for a, b in pairwise(ends)]


def scan(path: Path, shard_bytes: int, metric: str) -> Scanned:
    scanned = Scanned(Ledger.of(cut_shards(find_files({str(path): path}), shard_bytes)))
    numbers = {
        path: i for i, path in enumerate(sorted({s.file.path for s in scanned.ledger.shards}))
    }
    for shard in scanned.ledger.shards:
        task = ScanTask(shard, "score", METRICS[metric], MetricParameters(), hash_lines=False)
        file = numbers[shard.file.path]
        scanned.add(scan_shard(replace(task, bound=scanned.sample.bound, file=file)))
    return scanned


@pytest.mark.parametrize("metric", ["mean_reward", "variance"])
def test_shards_do_not_change_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str
) -> None:
    rng = np.random.default_rng(0)
    rollouts = [rollout(*rng.random(rng.integers(0, 4)).tolist()) for _ in range(300)]
    write_jsonl(tmp_path / "in/a.jsonl", rollouts[:200])
    write_jsonl(tmp_path / "in/b.jsonl", rollouts[200:])
    text = (tmp_path / "in/a.jsonl").read_bytes()
    (tmp_path / "in/a.jsonl").write_bytes(text.replace(b"\n", b"\n \n", 50))  # blank lines
    monkeypatch.setattr(sampling, "SAMPLED", 40)
    monkeypatch.setattr("curriculum.bucketing.scan.SCORES_AT_ONCE", 64)
    monkeypatch.setattr("curriculum.reading.blocks.BLOCK_BYTES", 3_000)
    few, many = (scan(tmp_path / "in", size, metric) for size in (1 << 30, 1_000))
    assert (len(few.ledger.shards), len(few.sample.hashes)) == (2, 40)
    assert len(many.ledger.shards) > 20
    for one, other in (
        (few.sample.hashes, many.sample.hashes),
        (few.sample.positions, many.sample.positions),
        (few.sample.scores.values, many.sample.scores.values),
        (few.sample.scores.offsets, many.sample.scores.offsets),
    ):
        assert one.tolist() == other.tolist()
    defined = [r for r in rollouts if len(r["reward"]) > (metric == "variance")]
    for place, scores in zip(few.sample.positions, wanted_lists(few.sample.scores), strict=True):
        assert scores == sorted(entry["score"] for entry in defined[place]["reward"])


def test_the_sample_is_uniform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of one length, as generated data has them: no part of the file is preferred."""
    write_jsonl(tmp_path / "a.jsonl", [rollout(i % 2) for i in range(4_000)])
    monkeypatch.setattr(sampling, "SAMPLED", 1_000)
    sample = scan(tmp_path / "a.jsonl", 1 << 30, "mean_reward").sample
    assert sample.scores.values.mean() == pytest.approx(0.5, abs=0.05)
    assert np.histogram(sample.positions, 4, (0, 4_000))[0].tolist() == pytest.approx(
        [250] * 4, rel=0.2
    )


def test_files_of_one_name_are_not_sampled_alike(
    tmp_path: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a run with a directory per step leaves them: the first lines are all alike."""
    monkeypatch.setattr(sampling, "SAMPLED", 100)
    for step in range(100):
        rollouts = [rollout(1, 1), rollout(0, 1), rollout(0, 1), rollout(0, 0)]
        write_jsonl(tmp_path / f"in/{step:03}/a.jsonl", rollouts)
    seen: list[Scores] = []

    def look(scores: Scores, *given: Any) -> None:
        seen.append(scores)

    monkeypatch.setattr("curriculum.cutting.assign_buckets.estimate_uncertainty", look)
    assert bucket("-i", tmp_path / "in/*/*.jsonl", "-o", tmp_path / "out")[0] == 0
    kinds = [sum(scores) for scores in wanted_lists(seen[0])]
    assert [kinds.count(total) for total in (0, 1, 2)] == pytest.approx([25, 50, 25], abs=14)
