"""The files that --scores and --plot name: what is in them, and when they are written."""

from __future__ import annotations

import gzip
import json
import math
import re
import signal
from hashlib import blake2b
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from curriculum.metrics import MetricParameters, measure
from tests.helpers.rollouts import Script, lines, rollout, tree, write_jsonl

pytestmark = pytest.mark.slow


def plain_text(prompt: Any) -> str | None:
    return " ".join(prompt[0]["content"].split())[:200] if prompt else None


def plain_hash(prompt: Any) -> str | None:
    """As documented: BLAKE2b of the lengths and texts of role and content, keyed with the seed."""
    if not prompt:
        return None
    content = " ".join(prompt[0]["content"].split())
    text = f"4:user{len(content)}:{content}".encode()
    return blake2b(text, digest_size=8, key=b"42").digest()[::-1].hex()


def signals(scores: list[float], threshold: float) -> dict[str, float]:
    """learnability and useful_group, plainly."""
    n, c = len(scores), sum(score >= threshold for score in scores)
    alike = [prod((k + 1 + j) / (n + 2 + j) for j in range(8)) for k in (c, n - c)]
    return {
        "learnability": c * (n - c) / (n * (n - 1)) if n > 1 else math.nan,
        "useful_group": 1 - sum(alike) if n else math.nan,
    }


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
                "prompt_hash": plain_hash(loaded.get("prompt")),
                "prompt_text": plain_text(loaded.get("prompt")),
                "file": str(path),
                "line": number,
                **measure(scores, MetricParameters(k, threshold)),
                **signals(present, threshold),
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
    monkeypatch.setattr("curriculum.reading.input_files.SHARD_BYTES", 2_000)
    monkeypatch.setattr("curriculum.bucketing.scan.SCORES_AT_ONCE", 4)
    monkeypatch.setattr("curriculum.reading.blocks.BLOCK_BYTES", 500)
    command = ("-i", odd, "-o", tmp_path / "out", "--on-malformed", "set-aside")
    for workers in (1, 2):
        table = tmp_path / f"{workers}.parquet"
        assert bucket(*command, "--workers", workers, "--scores", table)[0] == 0
    monkeypatch.undo()
    assert bucket(*command, "--scores", tmp_path / "whole.parquet", "--dry-run")[0] == 0
    one, two, whole = (tmp_path / f"{name}.parquet" for name in ("1", "2", "whole"))
    assert one.read_bytes() == two.read_bytes() == whole.read_bytes()


def test_score_table_of_a_dump_says_where_each_rollout_begins(
    tmp_path: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curriculum.reading.input_files.SHARD_BYTES", 200)  # a rollout each
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
    assert "in: 56 rollouts by success_rate" in shown
    assert "← easier     success_rate (higher is easier)     harder →" in shown
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


@pytest.mark.parametrize("flag", ["--plot", "--scores"])
def test_files_of_others_are_not_replaced(
    tmp_path: Path, source: Path, bucket: Script, flag: str
) -> None:
    mine = tmp_path / ("mine.png" if flag == "--plot" else "mine.parquet")
    for text in ("mine", "notes on what rollout-curriculum found"):
        mine.write_text(text)
        code, _, err = bucket("-i", source, "-o", tmp_path / "out", flag, mine)
        assert (code, "no such flag wrote it" in err) == (1, True)
        assert not (tmp_path / "out").exists()
        assert mine.read_text() == text


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
    monkeypatch.setattr("curriculum.option_checks.find_spec", lambda name: None)
    code, _, err = bucket("-i", source, "-o", tmp_path / "out", "--plot", tmp_path / "p.png")
    told = "error: --plot: matplotlib, which draws the picture, is not installed;\n"
    assert (code, err.startswith(told)) == (2, True)


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

    monkeypatch.setattr("curriculum.output.report_files.move", full)
    flags = ("-o", tmp_path / "out", "--scores", tmp_path / "new/s.parquet")
    code, _, err = bucket("-i", source, *flags)
    assert code == 1
    assert "could not be put in place (No space left on device)" in err
    assert "the buckets are new and in place" in err
    assert (tmp_path / "out/bucketing.json").is_file()
    assert not (tmp_path / "new").exists()


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


def test_cuts_beyond_the_bars_are_not_drawn(tmp_path: Path, bucket: Script) -> None:
    pytest.importorskip("matplotlib", reason="the extra plot installs it")
    source = write_jsonl(tmp_path / "a.jsonl", [rollout(i % 2, 1) for i in range(9)])
    command = ("-i", source, "-o", tmp_path / "out", "--plot", tmp_path / "p.svg")
    assert bucket(*command, "--thresholds", -3, 0.6, 5)[0] == 0
    assert (tmp_path / "p.svg").read_text().count("stroke-dasharray") == 1


@pytest.mark.usefixtures("foreground")
def test_an_interrupt_while_files_are_put_in_place_is_answered_afterwards(
    tmp_path: Path, source: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(staged: Path, path: Path) -> None:
        signal.raise_signal(signal.SIGINT)
        staged.replace(path)

    monkeypatch.setattr("curriculum.output.report_files.move", interrupted)
    flags = ("-o", tmp_path / "out", "--scores", tmp_path / "s.parquet")
    code, _, err = bucket("-i", source, *flags)
    assert (code, "the outputs are complete and in place" in err) == (130, True)
    assert len(pd.read_parquet(tmp_path / "s.parquet")) == 64
    assert (tmp_path / "out/bucketing.json").is_file()


def test_a_large_table_is_known_by_its_end(tmp_path: Path, bucket: Script) -> None:
    rng, table = np.random.default_rng(0), tmp_path / "s.parquet"
    rollouts = [{"reward": some} for some in rng.random((5_000, 2)).tolist()]
    source = write_jsonl(tmp_path / "a.jsonl", rollouts)
    command = ("-i", source, "-o", tmp_path / "out", "--scores", table, "--dry-run")
    assert bucket(*command)[0] == 0
    assert table.stat().st_size > 1 << 17
    assert pq.read_metadata(table).num_row_groups == 1
    assert bucket(*command)[0] == 0


def test_a_table_below_a_file_is_refused(tmp_path: Path, source: Path, bucket: Script) -> None:
    (tmp_path / "file").write_text("")
    flags = ("-o", tmp_path / "out", "--scores", tmp_path / "file/s.parquet")
    code, _, err = bucket("-i", source, *flags)
    assert (code, "this is a file" in err) == (1, True)
    assert not (tmp_path / "out").exists()
