"""examples/track_rounds.py: how the share of each bucket moved over rounds."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from examples import track_rounds
from tests.helpers.rollouts import Script, rollout, write_jsonl

MakeRound = Callable[..., Path]
TOLD = "Buckets by mean_reward, cut at {} in every round.\n\n"


@pytest.fixture
def track(capsys: pytest.CaptureFixture[str]) -> Script:
    return Script(track_rounds.main, capsys)


@pytest.fixture
def make(tmp_path: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch) -> MakeRound:
    """A function that buckets rollouts of these scores into a directory below tmp_path."""
    monkeypatch.chdir(tmp_path)

    def made(
        name: str, scores: Any, *flags: object, table: bool = False, rewards: Any = ()
    ) -> Path:
        rollouts = [rollout(*some, prompt=f"p{i}") for i, some in enumerate(scores)]
        rollouts += [
            rollout(prompt=f"p{i}", data_source="one") | {"reward": some}
            for i, some in enumerate(rewards)
        ]
        path = write_jsonl(Path(f"{name}.jsonl"), rollouts)
        wanted = ("--scores", f"{name}/scores.parquet") if table else ()
        code, _, err = bucket("-i", path, "-o", name, "--workers", 1, *flags, *wanted)
        assert code == 0, err
        return Path(name)

    return made


def single(*values: float) -> list[list[float]]:
    """Rollouts of one response each."""
    return [[value] for value in values]


FIRST = single(0, 0.2, 0.4, 0.6, 0.8, 1)
THEN = single(0.4, 0.5, 0.6, 0.7, 0.9, 1)


def shares(out: str) -> list[list[int]]:
    """The counts of each round in what was printed."""
    return [
        [int(count) for count in re.findall(r"\((\d+)\)", line)]
        for line in out.splitlines()
        if "(" in line
    ]


def test_rounds_cut_alike_are_counted_by_their_manifests(make: MakeRound, track: Script) -> None:
    make("a", FIRST)
    make("b", THEN, "--cut-like", "a")
    make("c", single(0.7, 1, 1, 1, 1, None), "--cut-like", "b")
    for path in Path().rglob("*.jsonl"):
        path.unlink()  # rollouts are not needed
    assert track("a", "b", "c") == (
        0,
        TOLD.format("0.3 and 0.7") + "round       easy     medium       hard  rollouts  unscored\n"
        "a      33.3% (2)  33.3% (2)  33.3% (2)         6         0\n"
        "b      33.3% (2)  66.7% (4)   0.0% (0)         6         0\n"
        "c      80.0% (4)  20.0% (1)   0.0% (0)         5         1\n",
        "",
    )


def test_rounds_cut_at_the_same_thresholds_are_alike(make: MakeRound, track: Script) -> None:
    make("a", FIRST, "--thresholds", 0.4, 0.7)
    make("b", THEN, "--thresholds", 0.4, 0.7)
    code, out, err = track("a", "b")
    assert (code, shares(out), err) == (0, [[2, 1, 3], [2, 3, 1]], "")


def test_parts_of_each_round_are_not_compared(make: MakeRound, track: Script) -> None:
    make("a", FIRST, table=True)
    make("b", THEN)
    assert track("a", "b") == (
        1,
        "",
        "error: b: its buckets were cut at other values than those of a, or have other names, and "
        "there is no score table of b, expected rounds that were cut alike, or a table of each;\n"
        "bucket the later rounds again with --cut-like a, or all rounds with --scores "
        "DIR/scores.parquet\n",
    )


def test_parts_of_each_round_are_cut_again(make: MakeRound, track: Script) -> None:
    make("a", FIRST, table=True)
    make("b", THEN, table=True)
    assert track("a", "b") == (
        0,
        "Buckets by mean_reward, every round cut again at the values of a: 0.3 and 0.7.\n\n"
        "round       easy     medium       hard  rollouts  mean mean_reward\n"
        "a      33.3% (2)  33.3% (2)  33.3% (2)         6               0.5\n"
        "b      33.3% (2)  66.7% (4)   0.0% (0)         6            0.6833\n",
        "",
    )


def test_names_are_those_of_the_first_round(make: MakeRound, track: Script) -> None:
    make("a", FIRST, "-n", 2, table=True)
    make("b", FIRST, "-n", 2, "--bucket-names", "x", "y", table=True)
    make("c", FIRST, table=True)
    _, out, _ = track("a", "b", "c")
    assert "round       easy       hard  rollouts" in out
    assert shares(out) == [[3, 3]] * 3


METHODS = (
    ("mean_reward", ()),
    ("max_reward", ("-n", 2)),
    ("success_rate", ("-n", 4)),
    ("variance", ()),
    ("mean_reward", ("--thresholds", 0, 0.25, 0.5)),
    ("variance", ("--thresholds", 0, 0.25)),
    ("mean_reward", ("--solved-unsolved",)),
    ("variance", ("--solved-unsolved", "--thresholds", 0.2)),
)


def metric_of(name: str, scores: list[float]) -> float | None:
    """A metric of one rollout; None where it is undefined."""
    if not scores or (name == "variance" and len(scores) < 2):
        return None
    rate = sum(score >= 0.5 for score in scores) / len(scores)
    metrics = {
        "mean_reward": statistics.mean(scores), "max_reward": max(scores), "success_rate": rate,
        "variance": statistics.variance(scores) if len(scores) > 1 else 0,
    }  # fmt: skip
    return metrics[name]


def count(name: str, rollouts: list[list[float]], record: dict[str, Any]) -> list[int]:
    """How many rollouts each bucket has, one by one, easiest first."""
    buckets, method = record["buckets"], record["method"]
    inner = buckets[1:-1] if method["solved_unsolved"] else buckets
    ascending = inner if name == "variance" else inner[::-1]
    halves = [
        (low["highest"] + high["lowest"]) / 2
        for low, high in pairwise(ascending)
        if method["thresholds"] is None
    ]
    found = [0] * len(buckets)
    for scores in rollouts:
        value = metric_of(name, scores)
        if value is None:
            continue
        passes = [score >= 0.5 for score in scores]
        if method["solved_unsolved"] and len(set(passes)) == 1:
            found[0 if passes[0] else -1] += 1
            continue
        place = sum(value > cut + 1e-9 for cut in method["thresholds"] or halves)
        found[buckets.index(ascending[place])] += 1
    return found


@pytest.mark.parametrize(("metric", "flags"), METHODS)
def test_rounds_cut_again_are_those_of_a_plain_count(
    make: MakeRound, track: Script, metric: str, flags: tuple[object, ...]
) -> None:
    chosen, rounds = Random(repr(flags)), []
    for number in range(3):
        levels = [0] * (5 - number) + [0.25, 0.5, 0.75] + [1] * number
        rounds.append(
            [
                [chosen.choice(levels) for _ in range(chosen.choice((1, 3, 4)))]
                for _ in range(150 + number)
            ]
        )
        make(f"r{number}", [some or [None] for some in rounds[-1]], "-m", metric,
             *(flags if number == 0 else ("-n", 5)), table=True)  # fmt: skip
        make(f"like{number}", rounds[-1], *(("-m", metric, *flags) if number == 0 else
             ("--cut-like", "like0")))  # fmt: skip
    code, out, _ = track("r0", "r1", "r2")
    record = json.loads(Path("r0/bucketing.json").read_bytes())
    expected = [count(metric, some, record) for some in rounds]
    assert (code, shares(out)) == (0, expected)
    assert expected[0] == [bucket["count"] for bucket in record["buckets"]]
    assert shares(track("like0", "like1", "like2")[1]) == expected


def test_unscored_and_dropped_rollouts_are_in_no_bucket(make: MakeRound, track: Script) -> None:
    make("a", [*FIRST, [None]], table=True)
    kept = ("--keep", "mean_reward > 0.45", "-n", 2)
    make("b", [[None], *THEN, [None]], *kept, table=True)
    _, out, err = track("a", "b")
    assert [line.split()[-3:] for line in out.splitlines()[3:]] == [
        ["6", "1", "0.5"],
        ["5", "2", "0.74"],
    ]
    assert shares(out) == [[2, 2, 2], [2, 3, 0]]
    assert "b has 1 prompt that a lacks, and lacks 1 of its." in err


def test_tables_are_taken_in_the_order_of_the_rounds(make: MakeRound, track: Script) -> None:
    for name, scores in (("a", FIRST), ("b", [*THEN, [0.1]])):
        make(name, scores, "--scores", f"{name}.parquet")
    code, out, _ = track("a", "b", "--scores", "a.parquet", "b.parquet")
    assert (code, shares(out)) == (0, [[2, 2, 2], [2, 4, 1]])
    code, out, err = track("a", "b", "--scores", "b.parquet", "a.parquet")
    assert (code, out) == (1, "")
    assert "b.parquet: its rollouts are not those that the manifest counts, expected the sc" in err
    code, out, err = track("a", "b", "--scores", "a.parquet")
    assert (code, out) == (2, "")
    assert "--scores: 1 table for 2 rounds, expected one for each DIR, in their order;\n" in err


def test_a_mean_is_shown_where_there_is_a_table(make: MakeRound, track: Script) -> None:
    make("a", FIRST)
    make("b", THEN, "--cut-like", "a", table=True)
    _, out, _ = track("a", "b")
    assert [line.split()[-1] for line in out.splitlines()[2:]] == ["mean_reward", "-", "0.6833"]


def test_a_number_that_rollouts_carry_is_cut_again(
    tmp_path: Path, bucket: Script, track: Script
) -> None:
    for name, rates in (("a", (0.1, 0.5, 0.9)), ("b", (0.6, 0.8, 0.9))):
        found = [{"prompt": f"p{i}", "rate": rate} for i, rate in enumerate(rates)]
        source = write_jsonl(tmp_path / f"{name}.jsonl", found)
        flags = ("--value-field", "rate", "--value-direction", "easier")
        table = ("--scores", tmp_path / name / "scores.parquet")
        assert bucket("-i", source, "-o", tmp_path / name, *flags, *table)[0] == 0
    code, out, err = track(tmp_path / "a", tmp_path / "b")
    assert (code, shares(out), err) == (0, [[1, 1, 1], [2, 1, 0]], "")


def test_other_prompts_are_told(make: MakeRound, track: Script) -> None:
    make("a", FIRST)
    make("b", THEN[:4], "--cut-like", "a")
    assert track("a", "b")[2] == (
        "warning: The rounds have different numbers of rollouts: 6, 4. Shares of different prompts "
        "differ without any learning.\n"
    )
    make("c", FIRST, table=True)
    make("d", THEN[:5], "--cut-like", "c", table=True)
    assert "d has 0 prompts that c lacks, and lacks 1 of its." in track("c", "d")[2]


def test_other_prompts_of_as_many_rollouts_are_told(
    make: MakeRound, bucket: Script, track: Script
) -> None:
    make("a", FIRST, table=True)
    Path("b.jsonl").write_text(Path("a.jsonl").read_text().replace("p0", "x").replace("p1", "y"))
    assert bucket("-i", "b.jsonl", "-o", "b", "--scores", "b/scores.parquet")[0] == 0
    assert track("a", "b")[2] == (
        "warning: b has 2 prompts that a lacks, and lacks 2 of its. Shares of different prompts "
        "differ without any learning.\n"
    )


@pytest.mark.parametrize(
    ("first", "then", "told"),
    [
        (("--ties", "split"), (), "a: it was cut with --ties split, between rollouts of one value, "
         "expected buckets that values of the metric separate;\nbucket it again with --thresholds, "
         "and the later rounds with --cut-like a\n"),
        (("--within", "data_source", "-n", 1), (), "a: it was cut within each data_source, "),
        (("-n", 7), (), "a: level_6 is empty, so nothing says where it begins, expected buckets"),
        ((), ("-m", "max_reward"), "b: its metric is not that of a: name is max_reward, not mean"),
        ((), ("-m", "variance"), "higher_is_easier is False, not True, expected the same metric and"
         " parameters in all rounds;\nbucket it again with --cut-like a\n"),
        (("-m", "pass_at_k"), ("-m", "pass_at_k", "--k", 2), "of a: k is 2, not 1, expected"),
        (("-m", "success_rate", "--pass-threshold", 1), ("-m", "success_rate"),
         "of a: pass_threshold is 0.5, not 1.0, expected the same"),
        (("--score-field", "V_i"), (), "of a: score_field is score, not V_i, expected the same metr"
         "ic and parameters in all rounds;\nbucket it again with --cut-like a --score-field V_i\n"),
    ],
)  # fmt: skip
def test_rounds_without_common_cuts_are_refused(
    make: MakeRound, track: Script, first: tuple[object, ...], then: tuple[object, ...], told: str
) -> None:
    reward = [[{"score": i / 20, "V_i": i / 20}, {"score": i / 20, "V_i": 0}] for i in range(20)]
    rewards = reward[:6] if 7 in first else reward
    make("a", [], *first, rewards=rewards, table=True)
    make("b", [], *then, rewards=rewards, table=True)
    code, out, err = track("a", "b")
    assert (code, out, err.count("error: "), told in err) == (1, "", 1, True), err


def test_what_is_no_round_is_told(make: MakeRound, track: Script) -> None:
    make("a", FIRST)
    Path("empty").mkdir()
    Path("file").write_text("")
    for name, text in (("broken", "{"), ("other", '{"version": 1}')):
        Path(name).mkdir()
        Path(name, "bucketing.json").write_text(text)
    for name, told in (
        ("nowhere", "DIR nowhere: it is not there, expected a directory that bucket_rollouts_by_"),
        ("empty", "DIR empty: there is no bucketing.json in it"),
        ("file", "DIR file: there is no bucketing.json in it"),
        ("broken", "broken/bucketing.json: this is not a manifest of this toolkit ("),
        ("other", "other/bucketing.json: this is not a manifest of this toolkit ("),
    ):
        code, out, err = track("a", name)
        assert (code, out, err.count("error: "), told in err) == (1, "", 1, True), err
        assert "Traceback" not in err


def test_what_is_no_score_table_is_told(make: MakeRound, track: Script) -> None:
    make("a", FIRST, table=True)
    good = pq.read_table("a/scores.parquet")
    texts = good.set_column(
        good.column_names.index("mean_reward"), "mean_reward", pa.array(["x"] * good.num_rows)
    )
    pq.write_table(texts, "texts.parquet")
    pq.write_table(good.drop_columns(["prompt_hash", "num_passes"]), "few.parquet")
    pq.write_table(good.slice(1), "short.parquet")
    Path("fake.parquet").write_text("no parquet")
    for name, told in (
        ("nowhere.parquet", "nowhere.parquet: it cannot be read ("),
        ("fake.parquet", "fake.parquet: it cannot be read ("),
        ("a", "a: it cannot be read ("),
        ("texts.parquet", "texts.parquet: it cannot be read ("),
        ("few.parquet", "few.parquet: it has no column prompt_hash, num_passes, expected the score "
         "table of this round;\nwrite it with bucket_rollouts_by_difficulty.py --scores, and"),
        ("short.parquet", "short.parquet: its rollouts are not those that the manifest counts"),
    ):  # fmt: skip
        code, out, err = track("a", "--scores", name)
        assert (code, out, err.count("error: "), told in err) == (1, "", 1, True), err
        assert "Traceback" not in err


def test_plots_are_pictures_of_their_kind(make: MakeRound, track: Script) -> None:
    pytest.importorskip("matplotlib", reason="the extra plot installs it")
    make("a", FIRST, "--thresholds", 0.4, "--bucket-names", "_easy", "hard")
    make("b", THEN, "--cut-like", "a")
    for name, start in (("p.png", b"\x89PNG"), ("p.svg", b"<?xml"), ("p.pdf", b"%PDF-")):
        kept = []
        for _ in range(2):
            code, _, err = track("a", "b", "--plot", name)
            assert (code, err) == (0, "")
            kept.append(Path(name).read_bytes())
        assert kept[0] == kept[1]
        assert kept[0].startswith(start)


def test_bars_are_stacked_from_easy_and_light_to_hard_and_dark(
    make: MakeRound, track: Script
) -> None:
    mpl = pytest.importorskip("matplotlib", reason="the extra plot installs it")
    from matplotlib.figure import Figure

    directories = [make("x/a/bucketed", FIRST), make("x/b/bucketed", THEN)]
    rounds = track_rounds.read_rounds(directories, None)
    figure = Figure()
    counts = [[2, 2, 2], [0, 1, 3]]
    track_rounds.fill(figure, mpl.colormaps["cividis_r"], rounds, counts)
    (axes,) = figure.axes
    drawn = [[(bar.get_y(), bar.get_height()) for bar in bars] for bars in axes.containers]
    third = 1 / 3
    assert np.array(drawn) == pytest.approx(
        np.array(
            [[(0, third), (0, 0)], [(third, third), (0, 0.25)], [(2 / 3, third), (0.25, 0.75)]]
        )
    )
    grey = [sum(bars[0].get_facecolor()[:3]) for bars in axes.containers]
    assert grey == sorted(grey, reverse=True)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]
    (legend,) = figure.legends
    assert [text.get_text().strip() for text in legend.get_texts()] == ["easy", "medium", "hard"]
    assert {text.get_text() for text in axes.texts} == {"33%", "25%", "75%", ""}


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("round1/bucketed", "round2/bucketed"), ["round1", "round2"]),
        (("/a/b/r1", "/a/b/r2/x"), ["r1", "r2/x"]),
        (("a", "a"), ["a", "a"]),
        (("/a/bucketed",), ["bucketed"]),
        ((".", "a"), [".", "a"]),
        (("a/first-of-a-long-series", "b"), ["a/first-o..ng-series", "b"]),
    ],
)
def test_rounds_are_named_by_what_tells_them_apart(
    paths: tuple[str, ...], names: list[str]
) -> None:
    assert track_rounds.tell_apart([Path(path) for path in paths]) == names


def test_plot_flags_are_checked_before_anything_is_read(
    track: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = track("nowhere", "--plot", "p.jpg")
    assert (code, "--plot" in err, ".png" in err) == (2, True, True)
    monkeypatch.setattr("curriculum.option_checks.find_spec", lambda name: None)
    code, _, err = track("nowhere", "--plot", "p.png")
    assert code == 2
    assert "--plot: matplotlib, which draws the picture, is not installed" in err


def test_flags_are_explained(track: Script) -> None:
    code, out, _ = track("--help")
    assert (code, [flag in out for flag in ("DIR", "--scores", "--plot")]) == (0, [True] * 3)
    assert track()[0] == 2


def test_a_table_of_as_many_others_is_told(make: MakeRound, track: Script) -> None:
    make("a", FIRST, "--scores", "a.parquet")
    make("b", THEN, "--scores", "b.parquet")
    code, out, err = track("a", "b", "--scores", "b.parquet", "a.parquet")
    assert (code, out) == (1, "")
    assert "b.parquet: its rollouts are not those that the manifest counts" in err


def test_a_table_that_an_earlier_run_left_is_not_used(make: MakeRound, track: Script) -> None:
    make("a", FIRST, table=True)
    make("a", THEN)
    make("b", THEN, "--cut-like", "a")
    code, out, err = track("a", "b")
    assert (code, shares(out)) == (0, [[2, 2, 2], [2, 2, 2]])
    assert err == (
        "warning: a/scores.parquet: its rollouts are not those that the manifest counts: it is not "
        "used.\n"
    )


def test_a_picture_of_somebody_else_is_kept(make: MakeRound, track: Script) -> None:
    pytest.importorskip("matplotlib", reason="the extra plot installs it")
    make("a", FIRST)
    Path("own.png").write_text("mine")
    code, out, err = track("a", "--plot", "own.png")
    assert (code, out, Path("own.png").read_text()) == (1, "", "mine")
    assert "own.png: this file is there already, and no such flag wrote it" in err
