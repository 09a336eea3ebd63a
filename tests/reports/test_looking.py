"""Looking at the difficulty before and while bucketing: dry runs, end buckets, comparison."""

from __future__ import annotations

import json
import math
import random
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.bucket import bucket_rollouts
from curriculum.bucketers import cut_at, percentile_edges
from curriculum.options import BucketOptions
from curriculum.statistics.metric_agreement import compare
from tests.helpers.rollouts import Script, lines, rollout, tree, write_jsonl
from tests.storage.object_store import Store, store_tree

# --- dry runs


def test_a_dry_run_says_the_same_and_leaves_nothing(
    tmp_path: Path, source: Path, bucket: Script
) -> None:
    before = tree(tmp_path)
    code, dry, warned = bucket("-i", source, "-o", tmp_path / "out/deep", "--dry-run")
    assert code == 0
    assert tree(tmp_path) == before
    assert not (tmp_path / "out").exists()
    code, real, err = bucket("-i", source, "-o", tmp_path / "out/deep")
    would = f"Dry run: no bucket was written. {real}".replace("\nwrote ", "\nwould write ")
    assert dry.split() == would.split()
    assert warned == err.replace("They are in", "They would be in")


def test_a_dry_run_leaves_an_earlier_run_as_it_was(
    tmp_path: Path, source: Path, bucket: Script, preprocess: Script
) -> None:
    assert bucket("-i", source, "-o", tmp_path / "out")[0] == 0
    assert preprocess("-i", tmp_path / "out", "-o", tmp_path / "sets")[0] == 0
    before = tree(tmp_path)
    assert bucket("-i", source, "-o", tmp_path / "out", "-n", 5, "--dry-run")[0] == 0
    flags = ("--combine", "--filter", "passing_only", "--dry-run")
    assert preprocess("-i", tmp_path / "out", "-o", tmp_path / "sets", *flags)[0] == 0
    assert tree(tmp_path) == before


@pytest.mark.parametrize("flags", [(), ("--group-by", "prompt")])
def test_a_dry_run_counts_what_would_be_set_aside(
    tmp_path: Path, source: Path, bucket: Script, flags: tuple[str, ...]
) -> None:
    with (source / "a.jsonl").open("a") as file:
        file.write("broken\n")
    before = tree(tmp_path)
    command = ("-i", source, "-o", tmp_path / "out", *flags, "--dry-run")
    code, _, err = bucket(*command)
    assert (code, "1 malformed line" in err) == (1, True)
    code, _, err = bucket(*command, "--on-malformed", "set-aside")
    assert code == 0
    assert "1 malformed line would be set aside" in err
    assert tree(tmp_path) == before


def test_a_dry_run_of_preprocessing_says_the_same_but_for_sizes(
    tmp_path: Path, source: Path, bucket: Script, preprocess: Script
) -> None:
    assert bucket("-i", source, "-o", tmp_path / "out")[0] == 0
    with (tmp_path / "out/easy.jsonl").open("a") as file:
        file.write("broken\n")
    before = tree(tmp_path)
    command = ("-i", tmp_path / "out", "-o", tmp_path / "sets", "--on-malformed", "set-aside")
    flags = ("--cumulative", "--filter", "informative_only")
    code, dry, warned = preprocess(*command, *flags, "--dry-run")
    assert code == 0
    assert tree(tmp_path) == before
    code, real, err = preprocess(*command, *flags)
    dry = dry.removeprefix("Dry run: nothing was written.\n\n").replace("would write", "wrote")
    assert squeezed(dry) == squeezed(re.sub(r"[\d.]+ k?B ", "- ", real))
    verbs = (
        ("would be set aside", "set aside"),
        ("it would not be", "it was not"),
        ("they would not be", "they were not"),
        ("would list", "lists"),
    )
    for would, did in verbs:
        warned = warned.replace(would, did)
    assert warned == err


def squeezed(text: str) -> str:
    return re.sub(" +", " ", text)


def test_a_dry_run_refuses_what_a_run_would(
    tmp_path: Path, source: Path, bucket: Script, preprocess: Script
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/easy.jsonl").write_text("mine")
    code, _, err = bucket("-i", source, "-o", tmp_path / "out", "--dry-run")
    assert (code, "this file is there already" in err) == (1, True)
    assert bucket("-i", source, "-o", tmp_path / "other")[0] == 0
    flags = ("--buckets", "none", "--dry-run")
    code, _, err = preprocess("-i", tmp_path / "other", "-o", tmp_path / "sets", *flags)
    assert (code, "there is no bucket 'none'" in err) == (1, True)


# --- solved and unsolved


@pytest.mark.parametrize("cut", [("-n", 2), ("-n", 2, "--ties", "split"), ("--thresholds", 0.55)])
def test_solved_and_unsolved_rollouts_are_apart(
    tmp_path: Path, source: Path, bucket: Script, cut: tuple[Any, ...]
) -> None:
    flags = (*cut, "--bucket-names", "a", "b")
    code, out, _ = bucket("-i", source, "-o", tmp_path / "out", *flags, "--solved-unsolved")
    assert code == 0
    every = lines(source / "a.jsonl") + lines(source / "b.jsonl")
    kinds = {2: "unsolved", 4: "unsolved", 0: "solved", 5: "solved", 7: "solved"}
    ends = dict.fromkeys(("solved", "unsolved"), b"")
    for i, line in enumerate(every):
        if i % 8 in kinds:
            ends[kinds[i % 8]] += line
    found = tree(tmp_path / "out")
    assert {name: found[f"{name}.jsonl"] for name in ends} == ends
    inner = sorted(lines(tmp_path / "out/a.jsonl") + lines(tmp_path / "out/b.jsonl"))
    assert inner == sorted(line for i, line in enumerate(every) if i % 8 in (1, 3))
    manifest = json.loads(found["bucketing.json"])
    assert [b["name"] for b in manifest["buckets"]] == ["solved", "a", "b", "unsolved"]
    assert manifest["method"]["num_buckets"] == 2
    assert manifest["method"]["solved_unsolved"] is True
    assert "solved and unsolved apart, the rest " in out
    assert "---- above: every response passes" in out
    assert "---- below: no response passes" in out


def test_the_rest_is_cut_as_if_the_ends_were_not_there(tmp_path: Path, bucket: Script) -> None:
    rng = random.Random(1)
    rollouts = [rollout(*rng.choices([0, 1], k=6), prompt=f"{i}") for i in range(200)]
    between = [r for r in rollouts if 0 < sum(e["score"] for e in r["reward"]) < 6]
    assert 0 < len(between) < 200
    write_jsonl(tmp_path / "all.jsonl", rollouts)
    write_jsonl(tmp_path / "between.jsonl", between)
    for ties in ("together", "split"):
        for name, flags in (("all", ("--solved-unsolved",)), ("between", ())):
            command = ("-i", tmp_path / f"{name}.jsonl", "-o", tmp_path / name)
            assert bucket(*command, "--ties", ties, *flags)[0] == 0
        one, other = tree(tmp_path / "all"), tree(tmp_path / "between")
        for name in ("easy", "medium", "hard"):
            assert one[f"{name}.jsonl"] == other[f"{name}.jsonl"]


def test_pass_threshold_says_what_is_solved(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(
        tmp_path / "a.jsonl",
        [rollout(*scores, prompt=f"{scores}") for scores in ((0.5, 1), (1, 1), (0.1, 0.7))],
    )
    flags = ("--solved-unsolved", "--pass-threshold", 0.8, "-n", 1)
    code, _, err = bucket("-i", source, "-o", tmp_path / "out", *flags)
    assert code == 0
    line = lines(source)
    found = tree(tmp_path / "out")
    assert [found[f"{name}.jsonl"] for name in ("solved", "level_1", "unsolved")] == [
        line[1], line[0], line[2],
    ]  # fmt: skip
    assert "warning" not in err


def test_nothing_between_solved_and_unsolved_is_told(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [rollout(1, 1), rollout(0, 0)])
    code, out, err = bucket("-i", source, "-o", tmp_path / "out", "--solved-unsolved")
    assert code == 0
    assert "easy, medium, hard are empty: every rollout is in solved or unsolved" in err
    assert "medium    empty" in out


def test_a_bucket_cannot_be_called_solved_too(tmp_path: Path, source: Path, bucket: Script) -> None:
    flags = ("--bucket-names", "Solved", "hard", "--solved-unsolved")
    code, _, err = bucket("-i", source, "-o", tmp_path / "out", *flags)
    assert (code, "is the name of a bucket of --solved-unsolved" in err) == (2, True)


# --- the comparison of metrics


def ranks(values: list[float]) -> list[float]:
    return [
        (sum(b < a for b in values) + sum(b <= a for b in values) + 1) / 2 for a in values
    ]  # fmt: skip


def pearson(one: list[float], other: list[float]) -> float | None:
    if not one:
        return None
    a, b = (np.array(some) - np.mean(some) for some in (one, other))
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size else None


VALUE = st.one_of(st.sampled_from([0.0, 0.5, 1.0, math.nan]), st.floats(-5, 5))


@given(st.lists(st.tuples(VALUE, VALUE, VALUE), min_size=1, max_size=12), st.integers(1, 4))
def test_comparison_equals_its_plain_version(table: list[tuple[float, ...]], parts: int) -> None:
    names, easier = "abc", {"a": True, "b": True, "c": False}
    columns = {name: np.array([row[i] for row in table]) for i, name in enumerate(names)}
    harder = {n: [-v if easier[n] else v for v in columns[n].tolist()] for n in names}
    for found, (one, other) in zip(
        compare(columns, easier, parts), combinations(names, 2), strict=True
    ):
        both = [i for i in range(len(table)) if harder[one][i] == harder[one][i]]
        both = [i for i in both if harder[other][i] == harder[other][i]]
        assert (found.one, found.other, found.rollouts) == (one, other, len(both))
        either = [
            i for i in range(len(table)) if any(harder[n][i] == harder[n][i] for n in (one, other))
        ]
        assert found.identical == (
            bool(both) and all(harder[one][i] == harder[other][i] for i in either)
        )
        right = pearson(*(ranks([harder[n][i] for i in both]) for n in (one, other)))
        assert found.correlation == (None if right is None else pytest.approx(right))
        places = []
        for name in (one, other):
            defined = sorted(v for v in harder[name] if v == v)
            edges = percentile_edges(np.array(defined), parts)
            places.append([int(cut_at(np.array([harder[name][i]]), edges)[0]) for i in both])
        same = sum(a == b for a, b in zip(*places, strict=True))
        assert found.same_bucket == (pytest.approx(same / len(both)) if both else None)


# --- files that flags name


def test_a_dry_run_leaves_nothing_in_a_store(
    store: Store, bucket: Script, preprocess: Script
) -> None:
    rollouts = "".join(json.dumps(rollout(i % 2, prompt=str(i))) + "\n" for i in range(9))
    store.put("in/a.jsonl", rollouts.encode())
    assert bucket("-i", store / "in", "-o", store / "out", "-n", 2, "--dry-run")[0] == 0
    assert store_tree(store / "out") == {}
    assert bucket("-i", store / "in", "-o", store / "out", "-n", 2)[0] == 0
    assert preprocess("-i", store / "out", "-o", store / "sets", "--dry-run")[0] == 0
    assert store_tree(store / "sets") == {}


def test_one_score_beyond_all_measure_stops_nothing(tmp_path: Path, bucket: Script) -> None:
    for worst in (-1.7976931348623157e308, 1e155, 1e200):
        rollouts = [rollout(*(i * j % 3 % 2 for j in range(4)), prompt=str(i)) for i in range(30)]
        rollouts[7]["reward"][1]["score"] = worst
        write_jsonl(tmp_path / "a.jsonl", rollouts)
        command = ("-i", tmp_path / "a.jsonl", "-o", tmp_path / "out")
        assert bucket(*command, "--compare-metrics")[0] == 0
        assert bucket(*command, "-m", "variance", "--solved-unsolved")[0] in (0, 1)


def test_few_rollouts_with_several_responses_say_nothing_of_the_others(
    tmp_path: Path, bucket: Script
) -> None:
    rollouts = [rollout(i % 2, prompt=str(i)) for i in range(98)]
    rollouts += [rollout(1, 1, 1, 1), rollout(0, 0, 0, 0)]
    write_jsonl(tmp_path / "a.jsonl", rollouts)
    _, out, _ = bucket("-i", tmp_path / "a.jsonl", "-o", tmp_path / "out", "-n", 2)
    assert "With 1 to 4 responses, nothing says how many rollouts truly belong" in out


def test_cuts_are_at_thresholds_and_else_half_way(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [rollout(v) for v in (0.0, 0.5, 0.9)])
    options = BucketOptions([str(source)], str(tmp_path / "out"), dry_run=True)
    found = bucket_rollouts(options).cuts.edges
    assert found.tolist() == pytest.approx([-0.7, -0.25])
    found = bucket_rollouts(replace(options, thresholds=[0.1, 0.8])).cuts.edges
    assert found.tolist() == [-0.8, -0.1]


@pytest.mark.parametrize("metric", ["success_rate", "mean_reward"])
def test_solved_and_unsolved_misplace_as_many_rollouts_as_expected(
    tmp_path: Path, metric: str
) -> None:
    rng, n = np.random.default_rng(2), 8
    rates = rng.random(3_000)
    passes = (rng.random((len(rates), n)) < rates[:, None]).tolist()
    source = write_jsonl(tmp_path / "a.jsonl", ({"reward": list(map(int, p))} for p in passes))
    table = tmp_path / "s.parquet"
    options = BucketOptions(
        [str(source)], str(tmp_path / "out"), metric, solved_unsolved=True, dry_run=True,
        scores=str(table),
    )  # fmt: skip
    report = bucket_rollouts(options)
    ranges = {b.name: (b.lowest, b.highest) for b in report.manifest.buckets}
    easy_from, hard_to = (
        (ranges[harder][1] + ranges[easier][0]) / 2
        for easier, harder in (("easy", "medium"), ("medium", "hard"))
    )
    ends = [
        (1 / 2 / n, "unsolved"),
        (hard_to, "hard"),
        (easy_from, "medium"),
        (1 - 1 / 2 / n, "easy"),
    ]
    truth = [next((name for end, name in ends if p < end), "solved") for p in rates.tolist()]
    found = pd.read_parquet(table)["bucket"].tolist()
    true_share = sum(a != b for a, b in zip(truth, found, strict=True)) / len(truth)
    assert report.uncertainty is not None
    assert report.uncertainty.share == pytest.approx(true_share, abs=0.03)


def test_thresholds_are_shown_where_they_cut(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [rollout(v) for v in (0.0, 0.5, 0.9)])
    command = ("-i", source, "-o", tmp_path / "out", "--thresholds", 0.1, 0.8, "--dry-run")
    for flags, cuts in (((), ["0.8", "0.1"]), (("-m", "max_reward"), ["0.8", "0.1"])):
        found = re.findall(r"^---- cut at (\S+)", bucket(*command, *flags)[1], re.M)
        assert found == cuts
    rollouts = [rollout(0, v) for v in (0.1, 1, 3)]
    source = write_jsonl(tmp_path / "a.jsonl", rollouts)
    _, out, _ = bucket(*command, "-m", "variance")
    assert re.findall(r"^---- cut at (\S+)", out, re.M) == ["0.1", "0.8"]
