"""Looking at the difficulty before and while bucketing: dry runs, pictures, tables, end buckets."""

from __future__ import annotations

import gzip
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
from curriculum.compare import compare
from curriculum.metrics import METRICS, MetricParameters, measure
from curriculum.options import BucketOptions
from tests.stores import Store, store_tree
from tests.support import Script, lines, rollout, tree, write_jsonl

FEW = ([1, 1], [0, 1, 1], [0, 0], [1, 0], [0, 0, 0], [1, 1, None], [None], [0.5, 0.7])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Rollouts of every kind, several times."""
    found = [rollout(*FEW[i % 8], prompt=f"prompt {i}", key=f"k{i}") for i in range(64)]
    write_jsonl(tmp_path / "in/a.jsonl", found[:40])
    write_jsonl(tmp_path / "in/b.jsonl", found[40:])
    return tmp_path / "in"


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
    assert dry == f"Dry run: no bucket was written.\n\n{real}"
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
    assert squeezed(dry) == squeezed(re.sub(r"[\d.]+ k?B +(\S+ [\d.]+%|-)", "- -", real))
    verbs = (
        ("would be set aside", "set aside"),
        ("would not be", "was not"),
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
    flags = (*cut, "--bucket-names", *(("b", "a") if "--thresholds" in cut else ("a", "b")))
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
    source = write_jsonl(tmp_path / "a.jsonl", [rollout(0.5, 1), rollout(1, 1), rollout(0.1, 0.7)])
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
        right = pearson(*(ranks([harder[n][i] for i in both]) for n in (one, other)))
        assert found.correlation == (None if right is None else pytest.approx(right))
        places = []
        for name in (one, other):
            defined = sorted(v for v in harder[name] if v == v)
            edges = percentile_edges(np.array(defined), parts)
            places.append([int(cut_at(np.array([harder[name][i]]), edges)[0]) for i in both])
        same = sum(a == b for a, b in zip(*places, strict=True))
        assert found.same_bucket == (pytest.approx(same / len(both)) if both else None)


def test_every_pair_of_metrics_is_compared(tmp_path: Path, source: Path, bucket: Script) -> None:
    flags = ("--compare-metrics", "--k", 2, "-m", "pass_at_k")
    code, out, _ = bucket("-i", source, "-o", tmp_path / "out", *flags)
    assert code == 0
    assert "Metrics compared, each cutting all rollouts into 3 parts:" in out
    found = [line.split() for line in out.splitlines() if re.search(r"(\d%|-)$", line)]
    labels = ["pass@2" if name == "pass_at_k" else name for name in METRICS]
    assert [tuple(row[:2]) for row in found[-15:]] == list(combinations(labels, 2))
    assert {row[2] for row in found[-15:]} == {"56"}


# --- the score table


def plain_rows(paths: list[Path], k: int, threshold: float) -> list[dict[str, Any]]:
    """What the table has of each rollout but its bucket."""
    found = []
    for path in paths:
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for number, line in enumerate(text.split(b"\n"), 1):
            if not line.strip() or line.startswith(b"broken"):
                continue
            loaded = json.loads(line.decode("utf-8", "replace"))
            scores = [entry["score"] for entry in loaded["reward"]]
            present = [s for s in scores if s is not None and math.isfinite(s)]
            key = loaded.get("key")
            found.append({
                "key": key if key is None or isinstance(key, str) else json.dumps(key),
                "file": str(path),
                "line": number,
                **measure(scores, MetricParameters(k, threshold)),
                "num_responses": len(present),
                "num_passes": sum(s >= threshold for s in present),
            })  # fmt: skip
    return found


@pytest.fixture
def odd(tmp_path: Path, source: Path) -> Path:
    """The same with blank and broken lines, odd keys, NaN, bytes that are no text, a .gz."""
    with (source / "a.jsonl").open("ab") as file:
        file.write(b'\n{"key":7,"reward":[{"score":1}]}\n  \nbroken\n')
        file.write(b'{"key":{"a":[1, "\xc3\xbc"]},"reward":[{"score":NaN},{"score":1}]}\n')
        file.write(b'{"x":"\xff","key":"\xe9","reward":[{"score":0.25}]}\n{"reward":[]}\n')
    plain = source / "b.jsonl"
    (source / "b.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    return source


def test_score_table_has_every_rollout(tmp_path: Path, odd: Path, bucket: Script) -> None:
    flags = ("--k", 2, "--pass-threshold", 0.6, "--on-malformed", "set-aside", "-m", "pass_at_k")
    command = ("-i", odd, "-o", tmp_path / "out", *flags, "--scores", tmp_path / "new/s.parquet")
    assert bucket(*command)[0] == 0
    table = pd.read_parquet(tmp_path / "new/s.parquet")
    wanted = plain_rows(sorted(odd.iterdir()), 2, 0.6)
    for row in wanted:  # as JSON text of our own has them
        row["key"] = row["key"].replace("\\u00fc", "ü") if row["key"] else row["key"]
    pd.testing.assert_frame_equal(
        table.drop(columns="bucket"), pd.DataFrame(wanted), check_dtype=False
    )
    by_line = {}
    for name in ("easy", "medium", "hard"):
        for line in lines(tmp_path / f"out/{name}.jsonl"):
            by_line.setdefault(line, name)
    assert table["bucket"].isna().sum() == table["pass_at_k"].isna().sum() > 0
    counts = {
        name: len(lines(tmp_path / f"out/{name}.jsonl")) for name in ("easy", "medium", "hard")
    }
    assert table["bucket"].value_counts().to_dict() == {n: c for n, c in counts.items() if c}
    first = lines(odd / "a.jsonl")
    for row in table[table["file"] == str(odd / "a.jsonl")].dropna(subset="bucket").itertuples():
        assert by_line[first[row.line - 1]] == row.bucket


def test_score_table_is_the_same_for_any_number_of_workers(
    tmp_path: Path, odd: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curriculum.inputs.SHARD_BYTES", 2_000)
    command = ("-i", odd, "-o", tmp_path / "out", "--on-malformed", "set-aside")
    for workers in (1, 2):
        table = tmp_path / f"{workers}.parquet"
        assert bucket(*command, "--workers", workers, "--scores", table)[0] == 0
    monkeypatch.undo()
    assert bucket(*command, "--scores", tmp_path / "whole.parquet", "--dry-run")[0] == 0
    one, two, whole = (tmp_path / f"{name}.parquet" for name in ("1", "2", "whole"))
    assert one.read_bytes() == two.read_bytes() == whole.read_bytes()


def test_score_table_of_a_dump_says_where_each_rollout_begins(
    tmp_path: Path, bucket: Script
) -> None:
    responses = [
        {"task_id": f"t{i % 3}", "completion": str(i), "result": "", "passed": i % 2 == 0}
        for i in range(12)
    ]
    write_jsonl(tmp_path / "in/a.jsonl", responses[:7])
    write_jsonl(tmp_path / "in/b.jsonl", responses[7:])
    command = ("-i", tmp_path / "in", "-o", tmp_path / "out", "--scores", tmp_path / "s.parquet")
    assert bucket(*command)[0] == 0
    table = pd.read_parquet(tmp_path / "s.parquet")
    assert table[["key", "line", "num_responses", "num_passes"]].values.tolist() == [
        ["t0", 1, 4, 2], ["t1", 2, 4, 2], ["t2", 3, 4, 2],
    ]  # fmt: skip
    assert set(table["file"]) == {str(tmp_path / "in/a.jsonl")}


# --- the picture


@pytest.fixture
def drawing() -> None:
    pytest.importorskip("matplotlib", reason="the extra plot installs it")


@pytest.mark.usefixtures("drawing")
@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_picture_is_drawn_and_drawn_again(
    tmp_path: Path, source: Path, bucket: Script, suffix: str, start: bytes
) -> None:
    picture = tmp_path / f"pictures/difficulty.{suffix}"
    command = ("-i", source, "-o", tmp_path / "out", "--plot", picture, "--dry-run")
    assert bucket(*command)[0] == 0
    drawn = picture.read_bytes()
    assert drawn.startswith(start)
    assert bucket(*command)[0] == 0
    assert picture.read_bytes() == drawn
    assert [path.name for path in picture.parent.iterdir()] == [picture.name]


@pytest.mark.usefixtures("drawing")
def test_picture_says_what_it_shows(tmp_path: Path, source: Path, bucket: Script) -> None:
    """Text stays text in this SVG, so that it can be read here."""
    import matplotlib as mpl

    names = ("$a_1$", "_b", "c&d")
    with mpl.rc_context({"svg.fonttype": "none"}):
        flags = ("--bucket-names", *names, "--plot", tmp_path / "p.svg", "-m", "success_rate")
        assert bucket("-i", source, "-o", tmp_path / "out", *flags)[0] == 0
    drawn = (tmp_path / "p.svg").read_text()
    counts = {
        b["name"]: b["count"]
        for b in json.loads((tmp_path / "out/bucketing.json").read_text())["buckets"]
    }
    shown = re.findall(r">([^<>]+)</text>", drawn)
    for name, count in counts.items():
        words = f"{name}: {count} ({100 * count / 56:.1f}%)".replace("&", "&amp;")
        assert words in [text.strip() for text in shown]
    assert drawn.count("stroke-dasharray") == 2  # the cuts
    assert "56 rollouts by success_rate" in shown
    assert "success_rate (higher is easier)" in shown
    assert {"0", "0.5", "0.667", "1"} <= set(shown)


@pytest.mark.usefixtures("drawing")
@pytest.mark.parametrize(
    "flags",
    [
        ("-n", 1), ("-n", 20), ("-m", "variance"), ("--solved-unsolved",), ("--ties", "split"),
        ("--thresholds", -5, 0.5, 5), ("--bucket-names", "容易", "難"),
    ],
)  # fmt: skip
def test_pictures_of_all_sorts(tmp_path: Path, bucket: Script, flags: tuple[Any, ...]) -> None:
    rng = np.random.default_rng(0)
    rollouts = [rollout(*scores) for scores in rng.normal(0, 1, (50, 3)).tolist()]
    write_jsonl(tmp_path / "a.jsonl", [*rollouts, rollout(0, 0), rollout(1, 1)])
    command = ("-i", tmp_path / "a.jsonl", "-o", tmp_path / "out", "--plot", tmp_path / "p.png")
    code, _, err = bucket(*command, *flags)
    assert (code, "Glyph" in err) == (0, False)


# --- files that flags name


@pytest.mark.parametrize("flag", ["--plot", "--scores"])
def test_files_of_others_are_not_replaced(
    tmp_path: Path, source: Path, bucket: Script, flag: str
) -> None:
    mine = tmp_path / ("mine.png" if flag == "--plot" else "mine.parquet")
    mine.write_text("mine")
    code, _, err = bucket("-i", source, "-o", tmp_path / "out", flag, mine)
    assert (code, "no such flag wrote it" in err) == (1, True)
    assert not (tmp_path / "out").exists()
    assert mine.read_text() == "mine"


def test_a_run_that_fails_leaves_the_files_that_flags_name(
    tmp_path: Path, source: Path, bucket: Script
) -> None:
    flags = ("-o", tmp_path / "out", "--scores", tmp_path / "named/s.parquet")
    assert bucket("-i", source, *flags)[0] == 0
    before = tree(tmp_path / "named")
    assert bucket("-i", source, *flags, "-n", 5)[0] == 0
    assert tree(tmp_path / "named") != before
    before = tree(tmp_path / "named")
    with (source / "a.jsonl").open("a") as file:
        file.write("broken\n")
    assert bucket("-i", source, *flags)[0] == 1
    assert tree(tmp_path / "named") == before
    (tmp_path / "out/hard.jsonl").unlink()  # the commit fails
    (tmp_path / "out/hard.jsonl").mkdir()
    assert bucket("-i", source, *flags, "--on-malformed", "set-aside")[0] == 1
    assert tree(tmp_path / "named") == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--plot", "p.jpg"), "expected a name that ends in .png, .svg, .pdf"),
        (("--scores", "s.csv"), "expected a name that ends in .parquet"),
        (("--scores", "http://x/s.parquet"), "no URL that is known"),
    ],
)
def test_wrong_names_are_refused(
    tmp_path: Path, source: Path, bucket: Script, flags: tuple[str, str], message: str
) -> None:
    code, _, err = bucket("-i", source, "-o", tmp_path / "out", *flags)
    assert (code, message in err) == (2, True)


def test_without_matplotlib_the_flag_says_how_to_get_it(
    tmp_path: Path, source: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curriculum.plot.find_spec", lambda name: None)
    code, _, err = bucket("-i", source, "-o", tmp_path / "out", "--plot", tmp_path / "p.png")
    assert (code, "pip install 'rollout-curriculum[plot]'" in err) == (2, True)


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


def test_a_link_stays_a_link(tmp_path: Path, source: Path, bucket: Script) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "s.parquet"
    link.symlink_to(tmp_path / "there/real.parquet")
    assert bucket("-i", source, "-o", tmp_path / "out", "--scores", link)[0] == 0
    assert link.is_symlink()
    assert len(pd.read_parquet(tmp_path / "there/real.parquet")) == 64


@pytest.mark.parametrize("name", ["rejected/s.parquet", ".curriculum-s.parquet"])
def test_places_of_the_toolkit_are_no_place_for_a_table(
    tmp_path: Path, source: Path, bucket: Script, name: str
) -> None:
    out = tmp_path / "out"
    code, _, err = bucket("-i", source, "-o", out, "--scores", out / name)
    assert (code, "has files of its own there" in err) == (1, True)
    assert not out.exists()


def test_a_table_that_cannot_be_put_in_place_says_what_is(
    tmp_path: Path, source: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("curriculum.named_files.move", full)
    flags = ("-o", tmp_path / "out", "--scores", tmp_path / "new/s.parquet")
    code, _, err = bucket("-i", source, *flags)
    assert code == 1
    assert "could not be put in place (No space left on device)" in err
    assert "the buckets are new and in place" in err
    assert (tmp_path / "out/bucketing.json").is_file()
    assert not (tmp_path / "new").exists()


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


@pytest.mark.usefixtures("drawing")
@pytest.mark.parametrize("flags", [("-n", 5), ("-n", 10), ("--bucket-names", "w" * 60, "x" * 60)])
def test_the_legend_is_in_the_picture(
    tmp_path: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch, flags: tuple[Any, ...]
) -> None:
    from matplotlib.figure import Figure

    seen: list[tuple[float, float]] = []
    save = Figure.savefig

    def look(figure: Figure, *given: Any, **named: Any) -> None:
        figure.draw_without_rendering()
        (legend,) = figure.legends
        box = legend.get_window_extent()
        seen.append((box.x0, figure.bbox.width - box.x1))
        save(figure, *given, **named)

    monkeypatch.setattr(Figure, "savefig", look)
    rollouts = [rollout(i / 50_000, prompt=str(i)) for i in range(20_000)]
    write_jsonl(tmp_path / "a.jsonl", rollouts)
    command = ("-i", tmp_path / "a.jsonl", "-o", tmp_path / "out", "--plot", tmp_path / "p.png")
    assert bucket(*command, *flags)[0] == 0
    assert min(seen[0]) >= -1


def test_cuts_are_at_thresholds_and_else_half_way(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [rollout(v) for v in (0.0, 0.5, 0.9)])
    options = BucketOptions([str(source)], str(tmp_path / "out"), dry_run=True)
    found = bucket_rollouts(options).cuts.edges
    assert found.tolist() == pytest.approx([-0.7, -0.25])
    found = bucket_rollouts(replace(options, thresholds=[0.1, 0.8])).cuts.edges
    assert found.tolist() == [-0.8, -0.1]


def test_cuts_beyond_the_bars_are_not_drawn(tmp_path: Path, bucket: Script) -> None:
    pytest.importorskip("matplotlib", reason="the extra plot installs it")
    source = write_jsonl(tmp_path / "a.jsonl", [rollout(i % 2, 1) for i in range(9)])
    command = ("-i", source, "-o", tmp_path / "out", "--plot", tmp_path / "p.svg")
    assert bucket(*command, "--thresholds", -3, 0.6, 5)[0] == 0
    assert (tmp_path / "p.svg").read_text().count("stroke-dasharray") == 1
