"""Rounds over one prompt set: compared with the round before, cut like it, split like it."""

from __future__ import annotations

import json
import math
import random
import re
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.engines.processes import Processes
from tests.helpers.html import Page
from tests.helpers.rollouts import Script, rollout, rows, tree, words, write_jsonl
from tests.torture.runs import BUCKET, PREPROCESS, call


def a_round(prompts: list[int], better: float, count: int = 8) -> list[dict[str, Any]]:
    """Rollouts of these prompts, of which the later ones are easier, by a model this much
    better."""
    drawn, found = random.Random(f"{better}"), []
    for i in prompts:
        rate = min(i % 60 / 60 + better, 1)
        scores = [int(drawn.random() < rate) for _ in range(count)]
        found.append(rollout(*scores, prompt=f"question {i}", key=f"k{i}"))
    return found


@pytest.fixture
def rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: Script) -> Path:
    """A bucketing of round 1 in `one`, and the rollouts of round 2 in two.jsonl."""
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "one.jsonl", a_round([*range(120)], 0))
    write_jsonl(tmp_path / "two.jsonl", a_round([*range(10, 130)], 0.3))
    assert bucket("-i", "one.jsonl", "-o", "one")[0] == 0
    return tmp_path


def by_key(directory: Path) -> dict[str, tuple[str, list[float]]]:
    """The bucket and the scores of each rollout, by its key."""
    names = [b["name"] for b in json.loads((directory / "bucketing.json").read_text())["buckets"]]
    return {
        line["key"]: (name, [entry["score"] for entry in line["reward"]])
        for name in names
        for line in map(json.loads, (directory / f"{name}.jsonl").read_text().splitlines())
    }


def moves(out: str) -> dict[tuple[str, str], int]:
    """The matrix of a summary."""
    at = out.index("then, and now")
    head, *rest = out[at:].partition("\n\n")[0].splitlines()
    new = head.split()[3:-1]
    return {
        (old, name): int(count)
        for old, *counts in map(str.split, rest[:-1])
        for name, count in zip(new, counts[:-1], strict=True)
    }


@pytest.mark.parametrize("by", [(), ("--match-key", "key")])
def test_every_prompt_in_both_is_in_the_matrix_once(
    rounds: Path, bucket: Script, by: tuple
) -> None:
    code, out, err = bucket("-i", "two.jsonl", "-o", "two", "--compare-to", "one", *by)
    assert code == 0, err
    old, new = by_key(rounds / "one"), by_key(rounds / "two")
    both = old.keys() & new.keys()
    expected = Counter((old[key][0], new[key][0]) for key in both)
    assert {move: count for move, count in moves(out).items() if count} == dict(expected)
    named = "key" if by else "prompt"
    assert (
        f"Compared with one by {named}: 110 in both. Not compared: 10 only there; 10 only here."
        in words(out)
    )
    means = [sum(sum(side[key][1]) / 8 for key in both) / len(both) for side in (old, new)]
    found = re.search(r"Mean mean_reward went from (\S+) to (\S+), by (\S+) \(", words(out))
    assert found is not None
    assert [f"{mean:.4g}" for mean in means] == [found[1], found[2]]
    assert found[3] == f"{means[1] - means[0]:+.3g}"
    assert "more than chance would give" in out


def test_the_same_again_is_no_change(rounds: Path, bucket: Script) -> None:
    code, out, err = bucket("-i", "one.jsonl", "-o", "two", "--compare-to", "one")
    assert (code, err) == (0, "")
    assert all(count == 0 for (old, new), count in moves(out).items() if old != new)
    assert "by +0 (95% of paired bootstrap samples of the prompts: +0 to +0), within" in words(out)
    assert "No prompt got harder." in out


def test_what_got_harder_is_named_where_it_is(rounds: Path, bucket: Script) -> None:
    lines = a_round([*range(120)], 0)
    for i in range(100, 120):
        lines[i] = rollout(*[0] * 64, prompt=f"question {i}", key=f"k{i}")
    for i in range(20):
        lines[i] = rollout(*[1] * 64, prompt=f"question {i}", key=f"k{i}")
    write_jsonl(rounds / "three.jsonl", lines)
    code, out, _ = bucket("-i", "three.jsonl", "-o", "three", "--compare-to", "one")
    assert code == 0
    found = re.findall(r"- mean_reward (\S+) to (\S+) \((\d+) of 8 to 0 of 64 pass\): "
                       r"three\.jsonl:(\d+)", words(out))  # fmt: skip
    old = by_key(rounds / "one")
    assert len(found) == 5
    for before, after, passes, line in found:
        scores = old[f"k{int(line) - 1}"][1]
        assert (float(before), float(after)) == (sum(scores) / 8, 0)
        assert sum(scores) == int(passes)
    counted = re.search(r"(\d+) prompts \(\S+\) got harder by more than chance", words(out))
    assert counted is not None
    assert 10 <= int(counted[1]) <= 20


def test_a_round_may_replace_the_one_it_is_compared_with(rounds: Path, bucket: Script) -> None:
    code, out, err = bucket("-i", "two.jsonl", "-o", "one", "--compare-to", "one")
    assert code == 0, err
    assert "110 in both" in out
    assert len(by_key(rounds / "one")) == 120


def test_the_earlier_round_is_left_as_it_is(rounds: Path, bucket: Script) -> None:
    before = tree(rounds / "one")
    flags = ("--compare-to", "one", "--cut-like", "one", "--dry-run", "--report", "p.html")
    assert bucket("-i", "two.jsonl", *flags)[0] == 0
    assert tree(rounds / "one") == before
    page = Page(rounds / "p.html")
    table = page.tables["Prompts by their bucket then, and now"]
    _, out, _ = bucket("-i", "two.jsonl", "--compare-to", "one", "--cut-like", "one", "--dry-run")
    assert {
        (old, new): int(count)
        for old, *counts in table[1:-1]
        for new, count in zip(table[0][1:-1], counts[:-1], strict=True)
    } == moves(out)
    assert "Prompts that got harder" in page.text


def test_numbers_that_lines_carry_are_compared_with_such(rounds: Path, bucket: Script) -> None:
    for number in (1, 2):
        lines = [{"prompt": f"question {i}", "rate": i / 120 / number} for i in range(120)]
        write_jsonl(rounds / f"rate{number}.jsonl", lines)
    flags = ("--value-field", "rate", "--value-direction", "easier")
    assert bucket("-i", "rate1.jsonl", "-o", "r1", *flags)[0] == 0
    like = ("--cut-like", "r1", "--compare-to", "r1")
    code, out, err = bucket("-i", "rate2.jsonl", "-o", "r2", *flags, *like)
    assert (code, err) == (0, "") or "empty" in err
    assert "Mean rate went from 0.4958 to 0.2479, by -0.248 (" in words(out)
    assert "The prompts that got harder by most: - rate 0.9917 to 0.4958: rate2.jsonl:120" in words(
        out
    )
    code, _, err = bucket("-i", "two.jsonl", "-o", "two", "--compare-to", "r1")
    assert (code, "it was bucketed by the number rate, and this run by scores" in err) == (1, True)
    code, _, err = bucket("-i", "rate1.jsonl", "-o", "r3", *flags, "--compare-to", "one")
    assert (code, "it was bucketed by scores, and this run by the number rate" in err) == (1, True)


def test_repeated_prompts_are_not_compared_and_told(rounds: Path, bucket: Script) -> None:
    write_jsonl(rounds / "more.jsonl", a_round([*range(120), 5, 6, 6], 0.1))
    code, out, err = bucket("-i", "more.jsonl", "-o", "more", "--compare-to", "one")
    assert code == 0
    assert (
        "118 in both. Not compared: 0 only there; 0 only here; 2 in both, but in several"
        in words(out)
    )
    assert "2 prompts of several rollouts each were not compared" in words(err)
    assert "--group-by prompt" in err


def test_another_metric_is_computed_for_both(rounds: Path, bucket: Script) -> None:
    flags = ("-m", "variance", "--compare-to", "one")
    code, out, err = bucket("-i", "two.jsonl", "-o", "two", *flags)
    assert (code, "Mean variance went from" in out) == (0, True)
    assert "one was bucketed by mean_reward. Its values of variance are computed" in err
    assert "one was cut by another rule than this run" in err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--compare-to", "nowhere"), "--compare-to nowhere: it is not there, expected a"),
        (("--compare-to", "."), "there is no bucketing.json in it"),
        (("--compare-to", "one", "--match-key", "id"), "no id of it is among the rollouts"),
        (("--match-key", "id"), "--match-key: there is nothing to match with"),
        (("--compare-to", ""), "--compare-to: the path is empty"),
        (("--cut-like", "nowhere"), "--cut-like nowhere: it is not there"),
        (("--cut-like", "one", "-n", 4), "--num-buckets: it is 4, and --cut-like one says 3"),
        (("--cut-like", "one", "-m", "variance"),
         "--metric: it is variance, and --cut-like one says mean_reward"),
        (("--cut-like", "one", "--thresholds", 0.1, 0.2), "--thresholds: it is 0.1 0.2, and"),
        (("--cut-like", "one", "--bucket-names", "a", "b", "c"), "--bucket-names: it is a b c"),
        (("--cut-like", "one", "--ties", "split"), "--ties: it is split"),
        (("--cut-like", "one", "--within", "data_source"), "--within: it is data_source"),
        (("--cut-like", "one", "--solved-unsolved"), "--solved-unsolved: it is asked for"),
        (("--cut-like", "one", "--pass-threshold", 1), "--pass-threshold: it is 1"),
        (("--cut-like", "one", "--value-field", "rate", "--value-direction", "easier"),
         "--value-field: one was bucketed by scores"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_is_refused(rounds: Path, bucket: Script, flags: tuple, told: str) -> None:
    before = tree(rounds)
    code, _, err = bucket("-i", "two.jsonl", "-o", "two", *flags)
    assert (code > 0, told in words(err)) == (True, True), err
    assert tree(rounds) == before


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--ties", "split"), "it was cut with --ties split"),
        (("--within", "kind", "-n", 2), "it was cut within each kind"),
        (("-n", 3, "-m", "max_reward"), "medium is empty"),
        (("--value-field", "rate", "--value-direction", "easier"), "was bucketed by rate"),
    ],
    ids=str,
)
def test_cuts_that_are_not_known_are_refused(
    rounds: Path, bucket: Script, flags: tuple, told: str
) -> None:
    lines = [{**line, "kind": i % 2} for i, line in enumerate(a_round([*range(120)], 0))]
    if "--value-field" in flags:
        lines = [{"prompt": f"question {i}", "rate": i / 120} for i in range(120)]
    write_jsonl(rounds / "odd.jsonl", lines)
    assert bucket("-i", "odd.jsonl", "-o", "odd", *flags)[0] == 0
    code, _, err = bucket("-i", "two.jsonl", "-o", "two", "--cut-like", "odd")
    assert (code > 0, told in words(err)) == (True, True), err


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("-n", 4, "-m", "success_rate", "--pass-threshold", 0.7),
        ("-m", "pass_at_k", "--k", 3, "-n", 5),
        ("-m", "variance", "-n", 2),
        ("--thresholds", 0.25, 0.5, "--bucket-names", "low", "medium", "high"),
        ("--solved-unsolved", "-n", 2, "--bucket-names", "warmup", "stretch"),
        ("--bucket-names", "low", "medium", "high"),
    ],
    ids=str,
)
def test_the_same_rollouts_cut_alike_lie_alike(rounds: Path, bucket: Script, flags: tuple) -> None:
    assert bucket("-i", "one.jsonl", "-o", "first", *flags)[0] == 0
    code, out, err = bucket("-i", "one.jsonl", "-o", "again", "--cut-like", "first")
    assert code == 0, err
    first, again = tree(rounds / "first"), tree(rounds / "again")
    manifests = [json.loads(files.pop("bucketing.json")) for files in (first, again)]
    assert first == again
    assert manifests[0]["metric"] == manifests[1]["metric"]
    assert manifests[0]["buckets"] == manifests[1]["buckets"]
    assert manifests[1]["method"]["cut_like"] == "first"
    assert "Cut like first: " in words(out)
    third = bucket("-i", "two.jsonl", "-o", "third", "--cut-like", "again")
    assert third[0] == 0
    cut = json.loads((rounds / "third/bucketing.json").read_text())["method"]["thresholds"]
    assert cut == manifests[1]["method"]["thresholds"]


def test_hard_means_the_same_in_every_round(rounds: Path, bucket: Script) -> None:
    code, out, _ = bucket("-i", "two.jsonl", "-o", "two", "--cut-like", "one")
    assert code == 0
    manifest = json.loads((rounds / "one/bucketing.json").read_text())
    ranges = {b["name"]: (b["lowest"], b["highest"]) for b in manifest["buckets"]}
    cuts = json.loads((rounds / "two/bucketing.json").read_text())["method"]["thresholds"]
    between = [("hard", "medium"), ("medium", "easy")]
    assert cuts == [(ranges[low][1] + ranges[high][0]) / 2 for low, high in between]
    for name, scores in by_key(rounds / "two").values():
        value = sum(scores) / 8
        assert ranges[name][0] <= value <= ranges[name][1] or all(
            not low <= value <= high for low, high in ranges.values()
        )
    shares = re.search(r"hard was (\S+)%, is (\S+)%", words(out))
    assert shares is not None
    assert float(shares[2]) < float(shares[1])


def val_prompts(directory: Path) -> tuple[set[str], set[str]]:
    """The prompts of the train rows and of the val rows."""
    sides = []
    for side in ("train", "val"):
        files = directory.glob(f"*_{side}.parquet")
        sides.append({row["prompt"][0]["content"] for file in files for row in rows(file)})
    return sides[0], sides[1]


@pytest.mark.slow
@settings(max_examples=12)
@given(st.lists(st.integers(0, 40), min_size=4, max_size=30, unique=True), st.data())
def test_val_stays_val_in_every_round(tmp_path_factory, prompts, data) -> None:
    """Whatever the buckets of a round, in some of which the floor moves prompts."""
    at = tmp_path_factory.mktemp("rounds")
    train, val = set[str](), set[str]()
    for number in range(3):
        some = data.draw(st.lists(st.sampled_from(prompts), min_size=3, unique=True))
        better = data.draw(st.sampled_from([0, 0.2, 0.5]))
        write_jsonl(at / f"{number}.jsonl", a_round(some, better))
        flags = ["-i", at / f"{number}.jsonl", "-o", at / f"b{number}", "--workers", "1"]
        assert call(BUCKET, [*flags, "--no-sync"])[0] == 0
        flags = ["-i", at / f"b{number}", "-o", at / f"s{number}", "--workers", "1", "--no-sync"]
        like = ["--split-like", at / f"s{number - 1}"] if number else []
        code, err = call(PREPROCESS, [*flags, *like, "--val-ratio", "0.2"])
        assert code == 0, err
        here = val_prompts(at / f"s{number}")
        train, val = train | here[0], val | here[1]
    assert train & val == set()


def test_without_it_the_floor_would_move_other_prompts(
    rounds: Path, bucket: Script, preprocess: Script
) -> None:
    """What --split-like is for: a bucket that the floor helped, and then another."""
    sides = []
    for number, prompts in enumerate(([*range(6)], [*range(3, 12)])):
        write_jsonl(rounds / f"{number}.jsonl", a_round(prompts, 0.3 * number))
        assert bucket("-i", f"{number}.jsonl", "-o", f"b{number}", "-n", 1)[0] == 0
        assert preprocess("-i", f"b{number}", "-o", f"s{number}")[0] == 0
        sides.append(val_prompts(rounds / f"s{number}"))
    moved = json.loads((rounds / "s0/preprocessing.json").read_text())["sets"]["level_1"]
    assert len(moved["moved_prompts"]) == 1
    code, _, err = preprocess("-i", "b1", "-o", "s2", "--split-like", "s0")
    assert code == 0
    record = json.loads((rounds / "s2/preprocessing.json").read_text())["sets"]["level_1"]
    assert record["split_like"] == "s0"
    assert [p["prompt_hash"] for p in record["moved_prompts"]] == [
        p["prompt_hash"] for p in moved["moved_prompts"]
    ]
    assert "1 prompt has the side that s0 moved it to" in words(err)
    assert val_prompts(rounds / "s2")[1] <= sides[0][1]


@pytest.mark.parametrize(
    ("made", "flags", "told"),
    [
        ((), ("--split-like", "one"), "there is no preprocessing.json in it"),
        ((), ("--split-like", "sets", "--val-ratio", 0.2), "--val-ratio: it is 0.2, and that of"),
        ((), ("--split-like", "sets", "--seed", 7), "--seed: it is 7"),
        ((), ("--split-like", "sets", "--val-rows", 3), "--val-rows: --split-like says which"),
        (("--val-rows", 3), ("--split-like", "sets"), "easy was split by --val-rows"),
    ],
    ids=str,
)
def test_a_split_that_is_not_known_is_refused(
    rounds: Path, preprocess: Script, made: tuple, flags: tuple, told: str
) -> None:
    assert preprocess("-i", "one", "-o", "sets", *made)[0] == 0
    code, _, err = preprocess("-i", "one", "-o", "other", *flags)
    assert (code > 0, told in words(err)) == (True, True), err
    assert not (rounds / "other").exists()


def test_ratio_and_seed_are_those_of_the_earlier_sets(rounds: Path, preprocess: Script) -> None:
    assert preprocess("-i", "one", "-o", "sets", "--val-ratio", 0.3, "--seed", 5)[0] == 0
    code, out, _ = preprocess("-i", "one", "-o", "again", "--split-like", "sets")
    assert (code, "val ratio 0.3, seed 5" in out) == (0, True)
    assert val_prompts(rounds / "sets") == val_prompts(rounds / "again")


def test_rates_that_run_the_other_way_are_refused(rounds: Path, bucket: Script) -> None:
    lines = [{"prompt": f"question {i}", "rate": i / 120, "other": i} for i in range(120)]
    write_jsonl(rounds / "rate.jsonl", lines)
    flags = ("-i", "rate.jsonl", "--value-field", "rate")
    assert bucket(*flags, "-o", "r1", "--value-direction", "easier")[0] == 0
    other = (*flags, "-o", "r2", "--value-direction", "harder")
    code, _, err = bucket(*other, "--cut-like", "r1")
    told = "--value-direction: it is harder, and --cut-like r1 says easier"
    assert (code, told in err) == (2, True), err
    code, _, err = bucket(*other, "--compare-to", "r1")
    told = "a higher rate was easier there, and is harder here"
    assert (code, told in words(err)) == (1, True), err
    flags = ("--value-field", "other", "--value-direction", "easier", "--compare-to", "r1")
    code, _, err = bucket("-i", "rate.jsonl", "-o", "r2", *flags)
    told = "it was bucketed by the number rate, and this run by the number other"
    assert (code, told in words(err)) == (1, True), err


def test_what_keep_leaves_out_by_its_scores_is_not_left_out_of_a_comparison(
    rounds: Path, bucket: Script
) -> None:
    run = ("-i", "two.jsonl", "-o", "two", "--compare-to", "one")
    code, _, err = bucket(*run, "--keep", "success_rate > 0")
    assert (code, "--keep: it leaves out rollouts by their scores" in err) == (2, True)
    code, out, err = bucket(*run, "--keep", "key != k50")
    assert code == 0, err
    assert "109 in both. Not compared: 10 only there; 10 only here; 1 in both, but without" in (
        words(out)
    )
    assert "one was made with no --keep, this run with --keep" in err


@pytest.mark.parametrize("by", [(), ("--match-key", "key")])
def test_every_prompt_that_is_not_compared_is_counted(
    rounds: Path, bucket: Script, by: tuple
) -> None:
    lines = a_round([*range(10, 130)], 0.3)
    for i in range(20):
        lines[i] = rollout(None, prompt=f"question {i + 10}", key=f"k{i + 10}")
    lines += [{"reward": [1, 0]}, {"reward": [0, 0]}]
    write_jsonl(rounds / "two.jsonl", lines)
    code, out, err = bucket("-i", "two.jsonl", "-o", "two", "--compare-to", "one", *by)
    assert code == 0, err
    absent = "key" if by else "a prompt"
    assert (
        "90 in both. Not compared: 10 only there; 10 only here; 20 in both, but without a value "
        f"there or here; 2 rollouts without {absent}."
    ) in words(out)


def test_an_earlier_bucket_that_was_edited_is_told(rounds: Path, bucket: Script) -> None:
    file = rounds / "one/easy.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-3]))
    code, _, err = bucket("-i", "two.jsonl", "-o", "two", "--compare-to", "one")
    assert (code, "one/easy.jsonl was edited since bucketing" in err) == (0, True)
    file.write_text(file.read_text() + "{\n")
    code, _, err = bucket("-i", "two.jsonl", "-o", "three", "--compare-to", "one")
    assert (code, f"{file.relative_to(rounds)}:" in err) == (1, True), err


def test_where_the_metric_is_no_order_passes_say_what_got_harder(
    rounds: Path, bucket: Script
) -> None:
    for number, scores in ((1, [1] * 8), (2, [0] * 8)):
        lines = [rollout(*scores, prompt="p0"), rollout(1, 0, prompt="p1"), rollout(0, prompt="p2")]
        write_jsonl(rounds / f"v{number}.jsonl", lines)
    assert bucket("-i", "v1.jsonl", "-o", "v1", "-n", 2, "-m", "variance")[0] == 0
    flags = ("-n", 2, "-m", "variance", "--compare-to", "v1")
    code, out, _ = bucket("-i", "v2.jsonl", "-o", "v2", *flags)
    assert (code, "variance 0 to 0 (8 of 8 to 0 of 8 pass): v2.jsonl:1" in words(out)) == (0, True)


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (("--ties", "split"), ("--ties", "split"), "are not known (it was cut with --ties split"),
        ((), ("-n", 4), "one_ was cut at other values than this run"),
        ((), ("--thresholds", 0.2, 0.5), "To cut at the same values, add --cut-like one_."),
        (("--thresholds", 0.3, 0.7), ("--thresholds", 0.3, 0.7, "--bucket-names", "a", "b", "c"),
         None),
        ((), ("--pass-threshold", 0.7), "in one_ a response passed from a score of 0.5 on, and"),
        (("--pass-threshold", 0.7), ("--cut-like", "one_"), None),
        (("--keep", "success_rate < 0.9"), ("--cut-like", "one_"),
         "one_ was made with --keep 'success_rate < 0.9', this run with no --keep"),
    ],
    ids=str,
)  # fmt: skip
def test_what_differs_is_said(
    rounds: Path, bucket: Script, first: tuple, second: tuple, told: str | None
) -> None:
    assert bucket("-i", "one.jsonl", "-o", "one_", *first)[0] == 0
    code, _, err = bucket("-i", "two.jsonl", "-o", "two", "--compare-to", "one_", *second)
    assert code == 0, err
    assert "one_" not in err if told is None else told in words(err)


def test_the_same_input_and_flags_are_no_other_cuts(rounds: Path, bucket: Script) -> None:
    flags = ("-i", "one.jsonl", "--ties", "split")
    assert bucket(*flags, "-o", "split")[0] == 0
    assert bucket(*flags, "-o", "again", "--compare-to", "split")[::2] == (0, "")


def test_other_prompts_behind_a_key_are_told(rounds: Path, bucket: Script) -> None:
    lines = [{**line, "prompt": f"another {i}"} for i, line in enumerate(a_round([*range(120)], 0))]
    write_jsonl(rounds / "other.jsonl", lines)
    flags = ("--compare-to", "one", "--match-key", "key")
    code, _, err = bucket("-i", "other.jsonl", "-o", "two", *flags)
    assert (code, "120 of 120 prompts matched by key have another text in one" in err) == (0, True)


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ((), ("--pass-threshold", 0.5)),
        ((), ("-m", "mean_reward", "-n", 3, "--bucket-names", "easy", "medium", "hard")),
        (("-m", "pass_at_k", "--k", 4), ("--k", 4)),
        (("-m", "pass_at_k", "--k", 4), ("-m", "pass_at_k")),
    ],
    ids=str,
)
def test_flags_that_say_the_same_are_no_contradiction(
    rounds: Path, bucket: Script, first: tuple, again: tuple
) -> None:
    assert bucket("-i", "one.jsonl", "-o", "first", *first)[0] == 0
    code, _, err = bucket("-i", "two.jsonl", "-o", "two", "--cut-like", "first", *again)
    assert code == 0, err
    metrics = [json.loads((rounds / f"{name}/bucketing.json").read_text())["metric"]
               for name in ("first", "two")]  # fmt: skip
    assert metrics[0] == metrics[1]


def test_a_page_says_that_nothing_got_harder(rounds: Path, bucket: Script) -> None:
    flags = ("--compare-to", "one", "--report", "p.html")
    assert bucket("-i", "one.jsonl", "-o", "two", *flags)[0] == 0
    assert "No prompt got harder." in Page(rounds / "p.html").text


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--pass-threshold", 0), 2),  # a number as any other
        (("--k", 4), 2),  # which would change nothing
        (("--k", 4, "--scores", "s.parquet"), 0),
        (("--k", 4, "--compare-metrics"), 0),
        (("--more-responses", 20, "more.jsonl"), 0),
    ],
    ids=str,
)
def test_flags_beside_the_cuts_of_a_rate(
    rounds: Path, bucket: Script, flags: tuple, code: int
) -> None:
    assert bucket("-i", "one.jsonl", "-o", "rate", "-m", "success_rate")[0] == 0
    found, _, err = bucket("-i", "two.jsonl", "-o", "two", "--cut-like", "rate", *flags)
    assert found == code, err
    assert not code or f"error: {flags[0]}: " in err


def test_a_parameter_that_the_metric_does_not_go_by_is_free(rounds: Path, bucket: Script) -> None:
    assert bucket("-i", "one.jsonl", "-o", "first", "--compare-metrics", "--k", 2)[0] == 0
    flags = ("--cut-like", "first", "--compare-to", "first", "--k", 4, "--scores", "s.parquet")
    code, _, err = bucket("-i", "two.jsonl", "-o", "two", *flags)
    assert (code, "first" in err) == (0, False), err
    table = pd.read_parquet(rounds / "s.parquet")
    misses = table.num_responses - table.num_passes
    plain = [1 - math.comb(m, 4) / math.comb(8, 4) for m in misses]
    assert table.pass_at_k.tolist() == pytest.approx(plain, abs=1e-11)


def test_one_bucket_is_cut_like_one(rounds: Path, bucket: Script) -> None:
    assert bucket("-i", "one.jsonl", "-o", "whole", "-n", 1)[0] == 0
    code, out, err = bucket("-i", "two.jsonl", "-o", "two", "--cut-like", "whole")
    assert (code, "120 rollouts in 1 bucket" in out) == (0, True), err


@pytest.mark.parametrize("flags", [("--ties", "split"), ("--within", "group", "-n", 2)], ids=str)
def test_buckets_of_as_many_that_are_not_cut_by_value_are_told(
    rounds: Path, bucket: Script, flags: tuple
) -> None:
    """Rollouts of one value lie in several buckets, by what else their lines hold."""
    for name in ("a", "b"):
        lines = [
            {"prompt": f"q{i}", "reward": [i % 3 > 0, 1, 0], "group": "xy"[i % 2], "note": name}
            for i in range(60)
        ]
        write_jsonl(rounds / f"{name}.jsonl", lines)
    assert bucket("-i", "a.jsonl", "-o", "a", *flags)[0] == 0
    code, _, err = bucket("-i", "b.jsonl", "-o", "b", "--compare-to", "a", *flags)
    assert (code, "the values at which both were cut are not known" in words(err)) == (0, True)


@pytest.mark.parametrize("by", [(), ("--match-key", "key")])
@pytest.mark.parametrize("where", ["there", "here", "both"])
def test_prompts_without_a_score_are_in_both(
    rounds: Path, bucket: Script, by: tuple, where: str
) -> None:
    lines = a_round([*range(120)], 0)
    some = [{**line, "reward": [None] * 8} if i < 7 else line for i, line in enumerate(lines)]
    write_jsonl(rounds / "whole.jsonl", lines)
    write_jsonl(rounds / "some.jsonl", some)
    then, now = {"there": ("some", "whole"), "here": ("whole", "some"), "both": ("some",) * 2}[
        where
    ]
    assert bucket("-i", f"{then}.jsonl", "-o", "then")[0] == 0
    code, out, err = bucket("-i", f"{now}.jsonl", "--dry-run", "--compare-to", "then", *by)
    assert code == 0, err
    assert (
        "113 in both. Not compared: 0 only there; 0 only here; 7 in both, but without a value "
        "there or here."
    ) in words(out)


def test_a_metric_that_was_undefined_there_has_no_bucket_there(
    rounds: Path, bucket: Script
) -> None:
    lines = [rollout(1, prompt="one response"), *a_round([*range(60)], 0)]
    write_jsonl(rounds / "few.jsonl", lines)
    assert bucket("-i", "few.jsonl", "-o", "few", "-m", "variance")[0] == 0
    code, out, err = bucket("-i", "few.jsonl", "--dry-run", "--compare-to", "few")
    assert code == 0, err
    assert "60 in both" in out
    assert "1 in both, but without a value" in words(out)


@pytest.mark.parametrize("flag", [("--val-ratio", 0.05), ("--seed", 42)], ids=str)
def test_a_flag_that_says_the_default_is_a_flag(
    rounds: Path, preprocess: Script, flag: tuple
) -> None:
    assert preprocess("-i", "one", "-o", "sets", "--val-ratio", 0.3, "--seed", 5)[0] == 0
    code, _, err = preprocess("-i", "one", "-o", "again", "--split-like", "sets", *flag)
    assert (code, f"error: {flag[0]}: it is {flag[1]}, and that of" in words(err)) == (2, True)


def test_sets_whose_runs_moved_other_prompts_are_no_one_split(
    rounds: Path, bucket: Script, preprocess: Script
) -> None:
    for name, prompts in (("few", [*range(6)]), ("all", [*range(90)])):
        write_jsonl(rounds / f"{name}.jsonl", a_round(prompts, 0))
        assert bucket("-i", f"{name}.jsonl", "-o", name, "-n", 1)[0] == 0
        flags = ("--combine", "--output-name", f"of_{name}")
        assert preprocess("-i", name, "-o", "sets", *flags)[0] == 0
    records = json.loads((rounds / "sets/preprocessing.json").read_text())["sets"]
    assert [len(records[name]["moved_prompts"]) for name in ("of_few", "of_all")] == [1, 0]
    code, _, err = preprocess("-i", "all", "-o", "again", "--split-like", "sets")
    assert (code, "its sets were written by several runs" in words(err)) == (1, True)


def test_very_large_scores_are_compared(rounds: Path, bucket: Script) -> None:
    for name, sign in (("a", 1), ("b", -1)):
        lines = [rollout(sign * 8e307, sign * (1 - i / 99) * 8e307, prompt=f"q{i}")
                 for i in range(60)]  # fmt: skip
        write_jsonl(rounds / f"{name}.jsonl", lines)
    assert bucket("-i", "a.jsonl", "-o", "a")[0] == 0
    code, out, err = bucket("-i", "b.jsonl", "--dry-run", "--compare-to", "a")
    assert (code, "Warning" in err) == (0, False)
    assert re.search(r"from 6\.\d+e\+307 to -6\.\d+e\+307, by -1\.\d+e\+308 \(", words(out)), out
    assert not {"inf", "nan"} & {*re.findall("[a-z]+", out)}


@pytest.mark.parametrize("count", [1, 19, 20])
def test_few_prompts_cannot_tell(rounds: Path, bucket: Script, count: int) -> None:
    for name, passes in (("a", 1), ("b", 2)):
        lines = [rollout(*[1] * passes, *[0] * (4 - passes), prompt=f"q{i}") for i in range(count)]
        write_jsonl(rounds / f"{name}.jsonl", lines)
    assert bucket("-i", "a.jsonl", "-o", "a", "-n", 1)[0] == 0
    _, out, _ = bucket("-i", "b.jsonl", "-n", 1, "--dry-run", "--compare-to", "a")
    assert "went from 0.25 to 0.5, by +0.25" in words(out)
    few = f"{count} prompt{'s' * (count > 1)} cannot tell whether that is more than chance gives"
    assert (few in words(out)) == (count < 20)
    assert ("more than chance would give" in words(out)) == (count >= 20)


def test_prompts_that_chance_may_have_moved_are_told_apart(rounds: Path, bucket: Script) -> None:
    then = [rollout(*[1] * 8, *[0] * 8, prompt=f"q{i}") for i in range(40)]
    now = [rollout(*[1] * passes, *[0] * (16 - passes), prompt=f"q{i}")
           for i, passes in enumerate([0, 7, 7, *[8] * 37])]  # fmt: skip
    write_jsonl(rounds / "then.jsonl", then)
    write_jsonl(rounds / "now.jsonl", now)
    assert bucket("-i", "then.jsonl", "-o", "then", "-n", 1)[0] == 0
    flags = ("-n", 1, "--dry-run", "--compare-to", "then", "--report", "p.html")
    _, out, _ = bucket("-i", "now.jsonl", *flags)
    told = (
        "1 prompt (2.5%) got harder by more than chance gives (Fisher's exact test, false "
        "discovery rate 5%). It first, then the next worst:"
    )
    assert told in words(out)
    assert told in words(Page(rounds / "p.html").text)


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_no_process_is_forked_beside_a_thread(
    rounds: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch, shards: int
) -> None:
    """It would wait for good for a lock that the thread held."""
    pools = []
    new_pool = Processes._new_pool

    def note(self: Processes, count: int) -> Any:
        pools.append([t.name for t in threading.enumerate() if t.name.startswith("ThreadPool")])
        return new_pool(self, count)

    monkeypatch.setattr(Processes, "_new_pool", note)
    for number in range(shards):
        write_jsonl(rounds / f"many/{number}.jsonl", a_round([*range(number, 120, shards)], 0.3))
    flags = ("--compare-to", "one", "--workers", 4)
    assert bucket("-i", "many", "-o", "two", *flags)[0] == 0
    assert pools == [[]] * (2 if shards == 2 else 1)
