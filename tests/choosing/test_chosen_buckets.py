"""`--keep` and `--within` of the first script, and its table of groups."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.readers import without_scanner
from tests.helpers.rollouts import Script, rollout, tree, words, write_jsonl

SOURCES = ("gsm8k", "math", "code")


def made(count: int, sources: tuple[Any, ...] = SOURCES) -> list[dict[str, Any]]:
    """Rollouts that are easy in the first source and hard in the last."""
    rng = np.random.default_rng(3)
    found = []
    for i in range(count):
        at = i % len(sources)
        scores = (rng.random(8) < (0.8, 0.5, 0.25, 0.6, 0.6)[at]).astype(float).tolist()
        fields = {} if sources[at] is None else {"data_source": sources[at]}
        found.append(rollout(*scores, prompt=f"p{i}", key=str(i), **fields, level=i % 5))
    return found


def buckets(directory: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        path.stem: [json.loads(line) for line in path.read_text().splitlines()]
        for path in directory.glob("*.jsonl")
    }


def manifest(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "bucketing.json").read_text())
    return found


def test_what_is_not_kept_is_in_no_bucket_and_cuts_nothing(tmp_path: Path, bucket: Script) -> None:
    every = [*made(90), rollout(None, prompt="none", data_source="math", level=1)]
    write_jsonl(tmp_path / "in/a.jsonl", every)
    flags = ("--keep", "0.1 < success_rate < 0.9", "--keep", "level != 0", "-m", "success_rate")
    code, out, err = bucket("-i", tmp_path / "in", "-o", tmp_path / "o", *flags)
    assert code == 0
    assert "1 of 91 rollouts is unscored" in err

    def is_kept(each: dict[str, Any]) -> tuple[bool, bool]:
        scores = [entry["score"] for entry in each["reward"]]
        return 0 < sum(scores) < 8, each["level"] != 0

    kept = [each for each in every[:90] if all(is_kept(each))]
    found = buckets(tmp_path / "o")
    written = [each for name in ("easy", "medium", "hard") for each in found[name]]
    assert sorted(each["key"] for each in written) == sorted(each["key"] for each in kept)
    first = sum(not is_kept(each)[0] for each in every[:90])
    record = manifest(tmp_path / "o")
    assert record["kept"] == [
        {"rule": "--keep '0.1 < success_rate < 0.9'", "before": 90, "dropped": first,
         "after": 90 - first},
        {"rule": "--keep 'level != 0'", "before": 90 - first,
         "dropped": 90 - first - len(kept), "after": len(kept)},
    ]  # fmt: skip
    counts = record["counts"]
    assert counts["read"] == 91 == counts["bucketed"] + counts["dropped"] + counts["unscored"]
    assert f"{len(kept)} bucketed, {90 - len(kept)} left out, 1 unscored" in words(out)
    # The same as bucketing only what is kept.
    write_jsonl(tmp_path / "kept/a.jsonl", kept)
    assert bucket("-i", tmp_path / "kept", "-o", tmp_path / "p", "-m", "success_rate")[0] == 0
    for name in ("easy", "medium", "hard"):
        assert (tmp_path / "o" / f"{name}.jsonl").read_bytes() == (
            tmp_path / "p" / f"{name}.jsonl"
        ).read_bytes()


def test_a_score_table_and_a_comparison_know_what_was_kept(tmp_path: Path, bucket: Script) -> None:
    import pyarrow.parquet as pq

    write_jsonl(tmp_path / "in/a.jsonl", made(60))
    flags = (
        "--scores",
        tmp_path / "s.parquet",
        "--compare-metrics",
        "--keep",
        "data_source != code",
    )
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "o", *flags)[0] == 0
    table = pq.read_table(tmp_path / "s.parquet").to_pylist()
    assert len(table) == 60
    assert [row["bucket"] is None for row in table] == [i % 3 == 2 for i in range(60)]
    assert {row["learnability"] is not None for row in table} == {True}
    out = bucket("-i", tmp_path / "in", "--dry-run", *flags[2:])[1]
    write_jsonl(tmp_path / "k/a.jsonl", [r for r in made(60) if r["data_source"] != "code"])
    other = bucket("-i", tmp_path / "k", "--dry-run", "--compare-metrics")[1]

    def matrix(text: str) -> list[str]:
        return [
            line
            for line in text.splitlines()
            if re.match(r"(mean|max|min|var|pass|succ)\S+  ", line)
        ]

    assert len(matrix(out)) == 4
    assert matrix(out) == matrix(other)


@pytest.mark.parametrize(
    ("flags", "code", "why"),
    [
        (("--keep", "mean_reward > 1"), 1, 'drops all 30 rollouts with a score'),
        (("--keep", "succes_rate > 1"), 1, "did you mean success_rate?"),
        (("--within", "source"), 1, "none of 30 rollouts has anything in source"),
        (("--within", "key"), 1, "no value of key is held by 30 rollouts"),
        (("--within", "a..b"), 2, "the place is 'a..b'"),
        (("--within", "data_source", "--thresholds", 0.5), 2, "leave out --thresholds or --within"),
        (("--keep", "x"), 2, "it is not a comparison"),
        (("--group-size", 4), 2, "only useful_group goes by it"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_for(
    tmp_path: Path, bucket: Script, flags: tuple[Any, ...], code: int, why: str
) -> None:
    write_jsonl(tmp_path / "in/a.jsonl", made(30))
    found, _, err = bucket("-i", tmp_path / "in", "-o", tmp_path / "o", *flags)
    assert (found, why in words(err)) == (code, True), err
    assert not (tmp_path / "o").exists()


def test_k_may_be_for_a_condition(tmp_path: Path, bucket: Script) -> None:
    write_jsonl(tmp_path / "in/a.jsonl", made(30))
    flags = ("-i", tmp_path / "in", "--dry-run", "--k", 4)
    assert bucket(*flags, "--keep", "pass_at_k < 1")[0] == 0
    assert bucket(*flags)[0] == 2


def test_within_cuts_every_group_by_itself(tmp_path: Path, bucket: Script) -> None:
    every = made(300)
    write_jsonl(tmp_path / "in/a.jsonl", every)
    code, out, err = bucket("-i", tmp_path / "in", "-o", tmp_path / "o", "--within", "data_source")
    assert (code, err) == (0, "")
    found = buckets(tmp_path / "o")
    for source in SOURCES:
        write_jsonl(tmp_path / source / "a.jsonl", [r for r in every if r["data_source"] == source])
        assert bucket("-i", tmp_path / source, "-o", tmp_path / f"{source}-o")[0] == 0
        alone = buckets(tmp_path / f"{source}-o")
        for name, lines in alone.items():
            assert [r for r in found[name] if r["data_source"] == source] == lines
    counts = Counter((name, r["data_source"]) for name, part in found.items() for r in part)
    for source in SOURCES:
        row = " ".join(str(counts[name, source]) for name in ("easy", "medium", "hard"))
        assert f"{source} {row} 100" in words(out)
    assert "in parts as equal as ties allow within each data_source" in words(out)
    assert manifest(tmp_path / "o")["method"]["within"] == "data_source"
    assert "cut within each data_source" in out


def test_small_groups_are_cut_together_and_named(tmp_path: Path, bucket: Script) -> None:
    few = [rollout(1, 0, i % 2, prompt=f"q{i}", data_source=f"rare {i % 2}") for i in range(6)]
    none = [rollout(1, 0, prompt=f"n{i}") for i in range(3)]
    write_jsonl(tmp_path / "in/a.jsonl", [*made(120), *few, *none])
    code, out, err = bucket("-i", tmp_path / "in", "-o", tmp_path / "o", "--within", "data_source")
    assert code == 0
    assert "rare 0, rare 1 are too small to be cut by themselves: a group is cut by itself" in err
    assert "if it has 30 rollouts" in err
    assert "3 rollouts without data_source were cut together." in err
    assert "(none)" in out


def test_a_data_source_may_be_in_extra_info(tmp_path: Path, bucket: Script) -> None:
    every = made(60)
    for each in every:
        each["extra_info"] = {"data_source": each.pop("data_source")}
    write_jsonl(tmp_path / "in/a.jsonl", every)
    code, out, _ = bucket(
        "-i", tmp_path / "in", "-o", tmp_path / "o", "--within", "data_source", "-n2"
    )
    assert (code, all(f"{source} " in out for source in SOURCES)) == (0, True)


def test_the_table_of_groups_is_there_where_there_are_several(
    tmp_path: Path, bucket: Script
) -> None:
    write_jsonl(tmp_path / "a/a.jsonl", made(30))
    write_jsonl(tmp_path / "b/a.jsonl", made(30, ("gsm8k",)))
    write_jsonl(tmp_path / "c/a.jsonl", made(30, (None,)))
    write_jsonl(tmp_path / "d/a.jsonl", made(30, ("gsm8k", None)))
    shown = {
        name: "data_source" in bucket("-i", tmp_path / name, "--dry-run")[1] for name in "abcd"
    }
    assert shown == {"a": True, "b": False, "c": False, "d": True}


GROUP = st.sampled_from(["a", "b", 'é"\\', None, 3, True, ["x"]])


@pytest.mark.slow
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(GROUP, st.lists(st.sampled_from([0, 1, None]), max_size=4)), min_size=1),
    st.sampled_from(["group", "meta.group"]),
    st.sampled_from(["together", "split"]),
)
def test_within_equals_the_plain_rule_whatever_reads_the_lines(
    tmp_path_factory, bucket, monkeypatch, drawn, place, ties
) -> None:
    directory = tmp_path_factory.mktemp("within")
    every = []
    for i, (group, scores) in enumerate(drawn):
        fields = {"group": group} if place == "group" else {"meta": {"group": group}}
        every.append(rollout(*scores, prompt=f"p{i}", key=str(i), **fields))
    write_jsonl(directory / "in/a.jsonl", every)
    monkeypatch.setattr("curriculum.cutting.cut_values.LEAST_OF_GROUP", 2)
    flags = ("-i", directory / "in", "--within", place, "-n", 2, "--ties", ties)
    trees = []
    for name, shard, block, workers in (("a", 1 << 20, 1 << 20, 1), ("b", 900, 300, 2)):
        with monkeypatch.context() as patched:
            patched.setattr("curriculum.reading.input_files.SHARD_BYTES", shard)
            patched.setattr("curriculum.reading.blocks.BLOCK_BYTES", block)
            code, _, err = bucket(*flags, "-o", directory / name, "--workers", workers)
            if code:
                assert (
                    "nothing was written" in err.lower()
                    or "has anything in" in err
                    or ("none of the" in err)
                )
                return
            trees.append(tree(directory / name))
    with without_scanner():
        assert bucket(*flags, "-o", directory / "c", "--workers", 1)[0] == 0
    assert trees[0] == trees[1] == tree(directory / "c")
    if ties == "split":
        return
    # The plain rule, bucket by bucket of each group that is large enough.
    groups = defaultdict(list)
    means = {}
    for each, (group, scores) in zip(every, drawn, strict=True):
        there = [s for s in scores if s is not None]
        if there:
            means[each["key"]] = sum(there) / len(there)
            text = group if isinstance(group, str) or group is None else json.dumps(group)
            groups[text].append(each["key"])
    large = {
        name for name, keys in groups.items()
        if name is not None and len(keys) >= 4 and len({means[k] for k in keys}) >= 2
    }  # fmt: skip
    parts = [keys for name, keys in groups.items() if name in large]
    parts.append([key for name, keys in groups.items() if name not in large for key in keys])
    found = {r["key"]: name for name, part in buckets(directory / "a").items() for r in part}
    for part in parts:
        if not part:
            continue
        values = sorted({means[key] for key in part}, reverse=True)
        # A cut in two is between the values that leave the parts most alike in size, the earlier
        # of two equally good ones; a single value is in the first bucket.
        easy = [sum(means[k] >= v for k in part) for v in values[:-1]]
        cut = min(easy, key=lambda size: abs(2 * size - len(part))) if easy else len(part)
        assert sum(found[key] == "easy" for key in part) == cut
        assert min((means[k] for k in part if found[k] == "easy"), default=2) > max(
            (means[k] for k in part if found[k] == "hard"), default=-1
        )
