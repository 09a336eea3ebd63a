"""--more-responses: where further responses help most, against a plain greedy and an experiment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.statistics.cuts import Cuts
from curriculum.statistics.settling import LADDER, Kinds, Settling
from tests.helpers.rollouts import Script, rollout, tree, words, write_jsonl

CUTS = Cuts(np.array([-0.7, -0.3]), np.arange(3), higher_is_easier=True)


ENDS = Cuts(np.array([-0.6]), np.array([1, 2]), higher_is_easier=True, ends=(0, 3))


def settling(counts: list[int], passes: list[int], cuts: Cuts = CUTS) -> Settling:
    n, c = np.array(counts), np.array(passes)
    return Settling(Kinds.of(n, c, cuts.bucket_of(c / n, c / n, n)), cuts)


@pytest.mark.parametrize("cuts", [CUTS, ENDS])
@pytest.mark.parametrize("more", [0, 1, 5])
def test_the_chance_is_what_experiments_find(cuts: Cuts, more: int) -> None:
    found = settling([8, 8, 8, 8, 3], [0, 3, 6, 8, 2], cuts)
    rng = np.random.default_rng(0)
    for kind in range(5):
        n, c = int(found.kinds.counts[kind]), int(found.kinds.passes[kind])
        rates = rng.beta(c + 1, n - c + 1, 300_000)
        true = cuts.bucket_of(rates, rates, np.full(len(rates), n))
        seen = (c + rng.binomial(more, rates)) / (n + more)
        put_into = cuts.bucket_of(seen, seen, np.full(len(rates), n + more))
        assert abs(found.elsewhere(kind, more) - float((true != put_into).mean())) < 0.005


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12),
    st.integers(1, 60),
)
def test_no_other_step_gains_more_for_each_response(drawn: Any, budget: int) -> None:
    found = settling([n for n, _ in drawn], [min(c, n) for n, c in drawn])
    spent, kinds = found.spend(budget).tolist(), found.kinds.of_rollout.tolist()
    assert sum(spent) <= budget
    plain, left = [0] * len(drawn), budget
    while True:  # the step that gains most for each of its responses, to any number of LADDER
        steps = [
            ((found.elsewhere(kind, at) - found.elsewhere(kind, to)) / (to - at), -kind, to)
            for kind, at in {*zip(kinds, plain, strict=True)}
            for to in LADDER
            if to > at and at in LADDER
        ]
        gain, kind, to = max(steps, default=(0, 0, 0))
        mine = [i for i, of in enumerate(kinds) if of == -kind]
        if gain <= 0:
            assert left == budget - sum(spent)
            break
        at = plain[mine[0]]
        if left < (to - at) * len(mine):  # some of them get all of the step, one what is left
            whole, rest = divmod(left, to - at)
            wanted = [to] * whole + [at + rest] + [at] * (len(mine) - whole - 1)
            assert sorted(spent[i] for i in mine) == sorted(wanted)
            break
        left -= (to - at) * len(mine)
        for i in mine:
            plain[i] = to
    done = [i for i in range(len(drawn)) if plain[i] in (spent[i], 0) or spent[i] == plain[i]]
    assert len(done) >= len(drawn) - len(mine)


def test_it_settles_more_than_as_many_responses_for_everyone() -> None:
    rng = np.random.default_rng(5)
    rates = rng.beta(1, 1, 6_000)
    passes = rng.binomial(8, rates)
    found = settling([8] * len(rates), passes.tolist())
    ours, same = found.spend(12_000), np.full(len(rates), 2)
    assert ours.sum() == 12_000
    true = CUTS.bucket_of(rates, rates, np.full(len(rates), 8))

    def misplaced(more: np.ndarray) -> float:
        n, c = 8 + more, passes + rng.binomial(more, rates)
        return float((CUTS.bucket_of(c / n, c / n, n) != true).mean())

    before, plain, settled = (misplaced(more) for more in (np.zeros_like(same), same, ours))
    assert settled < plain - 0.01 < before


def test_the_file_says_what_to_sample(tmp_path: Path, bucket: Script) -> None:
    given_rollouts = [
        rollout(*(float(j < i % 9) for j in range(8)), prompt=f"p{i} é", key=str(i), n=i)
        for i in range(60)
    ]
    write_jsonl(tmp_path / "in/a.jsonl", [*given_rollouts[:30], rollout(None, prompt="none")])
    write_jsonl(tmp_path / "in/b.jsonl", given_rollouts[30:])
    flags = ("-i", tmp_path / "in", "-m", "success_rate", "--more-responses", 40)
    code, out, _ = bucket(*flags, tmp_path / "more.jsonl", "-o", tmp_path / "o")
    assert code == 0
    found = [json.loads(line) for line in (tmp_path / "more.jsonl").read_text().splitlines()]
    assert sum(each["more_responses"] for each in found) == 40
    assert f"{len(found)} rollouts whose bucket 40 further responses would settle" in words(out)
    by_bucket = {
        json.loads(line)["key"]: path.stem
        for path in (tmp_path / "o").glob("*.jsonl")
        for line in path.read_text().splitlines()
    }
    for each in found:
        number = int(each["key"])
        path, line = ("a", number + 1) if number < 30 else ("b", number - 29)
        assert each == {
            "prompt": given_rollouts[number]["prompt"],
            "key": str(number),
            "ground_truth": "4",
            "bucket": by_bucket[str(number)],
            "num_responses": 8,
            "num_passes": number % 9,
            "more_responses": each["more_responses"],
            "file": str(tmp_path / f"in/{path}.jsonl"),
            "line": line,
        }
    assert [int(each["key"]) for each in found] == sorted(int(each["key"]) for each in found)
    # The same bytes with shards, blocks and workers of other numbers, and without buckets.
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("curriculum.reading.input_files.SHARD_BYTES", 2_000)
        patched.setattr("curriculum.reading.blocks.BLOCK_BYTES", 500)
        again = tmp_path / "again.jsonl"
        assert bucket(*flags, again, "-o", tmp_path / "p", "--workers", 2)[0] == 0
        assert bucket(*flags, tmp_path / "dry.jsonl", "--dry-run")[0] == 0
    assert again.read_bytes() == (tmp_path / "more.jsonl").read_bytes()
    assert again.read_bytes() == (tmp_path / "dry.jsonl").read_bytes()
    assert bucket(*flags, again, "--dry-run")[0] == 0  # it may write over its own file
    code, _, err = bucket(*flags, tmp_path / "in/a.jsonl", "--dry-run")
    assert (code, "this file is there already" in err) == (1, True)
    assert tree(tmp_path / "o") == tree(tmp_path / "p")


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--more-responses", "many", "x.jsonl"), "a number of responses and a file"),
        (("--more-responses", 0, "x.jsonl"), "a number of responses and a file"),
        (("--more-responses", 5, "x.json"), "--more-responses 5 x.jsonl"),
        (("--more-responses", 5, "x.jsonl", "-m", "variance"), "not of variance"),
        (("--more-responses", 5, "x.jsonl"), "expected -m success_rate"),
        (
            ("--more-responses", 5, "x.jsonl", "-m", "success_rate", "--within", "a"),
            "leave out --within",
        ),
    ],
)
def test_flags_that_do_not_fit(
    tmp_path: Path, bucket: Script, flags: tuple[Any, ...], why: str
) -> None:
    write_jsonl(tmp_path / "in/a.jsonl", [rollout(1, 0)])
    code, _, err = bucket("-i", tmp_path / "in", "-o", tmp_path / "o", *flags)
    assert (code, why in words(err)) == (2, True), err
