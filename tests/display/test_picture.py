"""What a picture shows where: bars, cuts and numbers, without drawing them."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from curriculum.bucket import bucket_rollouts
from curriculum.display.picture import Block, Picture, PictureBucket, blocks
from curriculum.display.picture_axis import BAR, PictureAxis
from curriculum.options import BucketOptions
from curriculum.reports.bucketing_summary import picture
from curriculum.statistics.bins import bars_of, choose_bins, main_range
from tests.helpers.rollouts import DATA, Script, needs_data, rollout, write_jsonl


def picture_of(parts: list[np.ndarray], cuts: list[float]) -> Picture:
    """The picture of buckets that are cut at these values, from the lowest bucket to the highest;
    values on a cut are above it."""
    every = np.concatenate(parts)
    bins = choose_bins(np.unique(every), None, main_range(every.copy()))
    bounds = [-np.inf, *cuts, np.inf]
    buckets = [
        PictureBucket("", bars_of(np.sort(part), bins), (bounds[i], bounds[i + 1]))
        for i, part in enumerate(parts)
    ]
    return Picture("", "", "", "", False, buckets, bins, np.array(cuts))


def cut(values: list[float], cuts: list[float]) -> Picture:
    every, cuts = np.array(values), sorted(set(cuts))
    place = np.searchsorted(cuts, every, side="right")
    return picture_of([every[place == i] for i in range(len(cuts) + 1)], cuts)


def holds(block: Block, place: float) -> bool:
    return block.left - 1e-6 <= place <= block.right + 1e-6


NUMBERS = st.lists(st.integers(-300, 300), min_size=21, max_size=60, unique=True).map(
    lambda some: [value / 100 for value in some]
)
CUTS = st.lists(st.integers(-300, 300), max_size=4).map(
    lambda some: [v / 100 + 0.005 for v in some]
)


@given(NUMBERS, CUTS)
def test_each_bucket_lies_where_its_values_lie(values: list[float], cuts: list[float]) -> None:
    shown = cut(values, cuts)
    axis, found = PictureAxis(shown.bins), list(blocks(shown))
    for i, bucket in enumerate(shown.buckets):
        low, high = bucket.region
        mine = [block for block in found if block.bucket == i]
        for value in (v for v in values if low <= v < high):
            column = int(np.searchsorted(shown.bins.starts, value, side="right")) - 1
            place = axis.at(value) if shown.bins.scaled[column] else float(axis.middles[column])
            assert any(holds(block, place) for block in mine)
        scaled = [block for block in mine if block.left >= 0 and block.right <= axis.at(np.inf)]
        for block in scaled:
            assert axis.at(low) - 1e-6 <= block.left < block.right <= axis.at(high) + 1e-6


@given(NUMBERS, CUTS)
def test_bars_are_as_high_as_the_rollouts_in_them(values: list[float], cuts: list[float]) -> None:
    shown = cut(values, cuts)
    axis, found = PictureAxis(shown.bins), list(blocks(shown))
    starts = [*shown.bins.starts.tolist(), np.inf]
    for i, (start, stop) in enumerate(pairwise(starts)):
        inside = [b for b in found if axis.lefts[i] <= (b.left + b.right) / 2 <= axis.rights[i]]
        top = max((block.bottom + block.height for block in inside), default=0)
        assert top == sum(start <= value < stop for value in values)


@given(NUMBERS)
def test_nothing_is_drawn_beyond_the_lowest_and_the_highest_value(values: list[float]) -> None:
    shown = cut(values, [0.0])
    axis = PictureAxis(shown.bins)
    edges = shown.bins.starts[shown.bins.scaled], shown.bins.ends[shown.bins.scaled]
    places = axis.lefts[shown.bins.scaled], axis.rights[shown.bins.scaled]
    for values_at, there in zip(edges, places, strict=True):
        assert [axis.at(v) for v in values_at.tolist()] == pytest.approx(there.tolist())
    assert (axis.rights - axis.lefts > 0).all()


def test_a_score_of_exactly_one_is_not_drawn_beyond_one() -> None:
    shown = cut((np.arange(52) / 51).tolist(), [0.5])
    axis = PictureAxis(shown.bins)
    assert max(block.right for block in blocks(shown)) == axis.at(1.0) == 10
    places, texts = axis.ticks()
    assert (places[texts.index("1")], places[texts.index("0")]) == (10, 0)


def test_a_bar_with_a_cut_has_two_colours_and_one_height() -> None:
    values = np.linspace(0, 1, 101)
    inside = [b for b in blocks(cut(values.tolist(), [0.46])) if b.left >= 4 and b.right <= 5]
    assert [(b.bucket, round(b.left, 6), round(b.right, 6), b.height) for b in inside] == [
        (0, 4, 4.6, 10), (1, 4.6, 5, 10),
    ]  # fmt: skip


def test_a_bucket_without_values_in_a_bar_has_no_part_of_it() -> None:
    values = [*np.linspace(0, 0.39, 40).tolist(), *np.linspace(0.47, 1, 54).tolist()]
    inside = [b for b in blocks(cut(values, [0.43])) if b.left >= 4 and b.right <= 5]
    assert [(b.bucket, round(b.left, 6), round(b.right, 6)) for b in inside] == [(1, 4.3, 5)]


def test_buckets_that_no_cut_makes_are_stacked_on_the_others() -> None:
    values = np.linspace(0, 1, 101)
    shown = cut(values.tolist(), [0.46])
    solved = PictureBucket("solved", bars_of(np.full(7, 0.45), shown.bins), None)
    shown = replace(shown, buckets=[solved, *shown.buckets])
    (found,) = [block for block in blocks(shown) if block.bucket == 0]
    assert (found.left, round(found.right, 6), found.bottom, found.height) == (4, 5, 10, 7)


def test_tied_rollouts_that_are_split_are_stacked() -> None:
    shown = picture_of(
        [np.array([0.0, 0.5]), np.array([0.5] * 3), np.array([0.5, 1.0])], [0.5, 0.5]
    )
    tied = [block for block in blocks(shown) if block.left < 1 < block.right]
    assert [(b.bucket, b.bottom, b.height) for b in tied] == [(0, 0, 1), (1, 1, 3), (2, 4, 1)]
    many = np.linspace(0, 1, 40)
    shown = picture_of([many[many < 0.5], np.full(9, 0.5), many[many > 0.5]], [0.5, 0.5])
    (middle,) = [block for block in blocks(shown) if block.bucket == 1]
    assert middle.height == 9


# --- cuts


@given(
    st.lists(st.sampled_from([0.0, 0.125, 0.25, 1.0, 5.0, -100.0]), min_size=1, unique=True),
    st.floats(-110, 10),
)
def test_cuts_are_between_bars_of_single_values(values: list[float], at: float) -> None:
    bins = choose_bins(np.unique(values))
    axis, found = PictureAxis(bins), PictureAxis(bins).cut(at)
    below, above = [v for v in values if v < at], [v for v in values if v > at]
    if at in values or not below or not above:
        assert found is None
        return
    ordered = sorted(values)
    i = ordered.index(max(below))
    assert found is not None
    assert axis.rights[i] < found < axis.lefts[i + 1]


def test_cuts_on_a_scale_are_where_they_are() -> None:
    axis = PictureAxis(choose_bins(np.linspace(0, 1, 101)))
    assert axis.cut(0.46) == pytest.approx(4.6)
    assert axis.cut(-0.1) is None
    assert axis.cut(1.1) is None


# --- numbers on the axis


@pytest.mark.parametrize("size", [1, 7.3, 1e-6, 1e300])
@pytest.mark.parametrize("start", [0.0, -0.37, 2.0])
def test_numbers_on_a_scale_do_not_touch(size: float, start: float) -> None:
    axis = PictureAxis(choose_bins((start + np.linspace(0, 1, 101)) * size))
    places, texts = axis.ticks()
    assert len(places) >= 3
    ordered = sorted(zip(places, texts, strict=True))
    assert axis.have_room([place for place, _ in ordered], [text for _, text in ordered])


def test_the_bars_beside_the_scale_are_named_by_what_they_hold() -> None:
    values = np.concatenate([[-100.0, -90.0], np.linspace(0, 1, 400), [500.0]])
    axis = PictureAxis(choose_bins(values, None, main_range(values.copy())))
    places, texts = axis.ticks()
    named = dict(zip(texts, places, strict=True))
    assert named["-100\nto -90"] < -BAR / 2
    assert named["500"] > axis.at(1.0) + BAR / 2


def test_few_bars_are_not_broad_ones() -> None:
    for values in ([1.0], [0.0, 1.0]):
        low, high = PictureAxis(choose_bins(np.array(values))).ends
        assert high - low >= 4


@pytest.mark.parametrize(
    "values",
    [
        [0.0, 1e-310],
        [i * 1e-311 for i in range(30)],
        [-1.7e308, 1.7e308],
        [i * 1e307 - 1.5e308 for i in range(30)],
    ],
)
def test_extreme_values_have_places(values: list[float]) -> None:
    shown = cut(values, [values[len(values) // 2]])
    axis = PictureAxis(shown.bins)
    assert np.isfinite([*axis.lefts, *axis.rights, *axis.ends, *axis.ticks()[0]]).all()
    assert all(block.right > block.left for block in blocks(shown))


# --- the picture of a run


def report_picture(source: Path, tmp_path: Path, **options: Any) -> Picture:
    found = BucketOptions([str(source)], str(tmp_path / "out"), dry_run=True, **options)
    return picture(bucket_rollouts(found))


def colours(shown: Picture) -> dict[int, list[tuple[float, float]]]:
    found: dict[int, list[tuple[float, float]]] = {}
    for block in blocks(shown):
        found.setdefault(block.bucket, []).append((block.left, block.right))
    return found


@pytest.mark.parametrize("metric", ["mean_reward", "variance"])
def test_the_buckets_of_a_run_do_not_overlap(tmp_path: Path, metric: str) -> None:
    rng = np.random.default_rng(1)
    rollouts = [rollout(*scores) for scores in rng.normal(0, 1, (200, 5)).tolist()]
    source = write_jsonl(tmp_path / "a.jsonl", rollouts)
    shown = report_picture(source, tmp_path, metric=metric, num_buckets=4)
    ends = [(min(lo for lo, _ in some), max(hi for _, hi in some))
            for _, some in sorted(colours(shown).items())]  # fmt: skip
    if shown.higher_is_easier:
        ends.reverse()  # easiest first, and positions grow with the metric
    assert len(ends) == 4
    for (_, before), (after, _) in pairwise(ends):
        assert before <= after + 1e-9


def test_title_label_and_note_say_what_is_shown(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "mine.jsonl", [rollout(v, v) for v in (-100, 0, 0.5, 1)])
    shown = report_picture(source, tmp_path, metric="pass_at_k", k=2)
    assert (shown.title, shown.note) == ("mine: 4 rollouts by pass@2", "")
    assert shown.label == "pass@2 (higher is easier)"
    shown = report_picture(source, tmp_path)
    assert shown.note == "one bar per value, not to scale"
    shown = report_picture(source, tmp_path, metric="variance")
    assert shown.label == "variance (higher is harder)"


@pytest.mark.parametrize("metric", ["success_rate", "variance"])
def test_easy_is_on_the_left_and_said_to_be(
    tmp_path: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch, metric: str
) -> None:
    """Text stays text in this SVG, so that it can be read here."""
    mpl = pytest.importorskip("matplotlib", reason="the extra plot installs it")
    source = write_jsonl(tmp_path / "mine.jsonl", [rollout(0, 0, i % 2, i % 3) for i in range(60)])
    with mpl.rc_context({"svg.fonttype": "none"}):
        flags = ("-m", metric, "--plot", tmp_path / "p.svg", "--dry-run")
        assert bucket("-i", source, "-o", tmp_path / "out", *flags)[0] == 0
    text = (tmp_path / "p.svg").read_text()
    direction = "easier" if metric == "success_rate" else "harder"
    assert f"← easier     {metric} (higher is {direction})     harder →" in text
    assert f">mine: 60 rollouts by {metric}<" in text
    axis = text[text.index('id="matplotlib.axis_1"') : text.index('id="matplotlib.axis_2"')]
    ticks = re.findall(r'(?: x="|translate\()([\d.]+)[^>]*>([\d.]+)</text>', axis)
    places = [float(x) for x, _ in sorted(ticks, key=lambda tick: float(tick[1]))]
    assert len(places) >= 3
    assert places == sorted(places, reverse=metric == "success_rate")


@needs_data
@pytest.mark.parametrize(
    ("name", "options", "note"),
    [
        ("gsm8k_mixed6/gsm8k_mixed6.jsonl", {}, ""),
        ("gsm8k_mixed6/gsm8k_mixed6.jsonl", {"metric": "variance"}, ""),
        ("mifeval_es_fr_ja/mifeval_es_fr_ja.jsonl", {"num_buckets": 5}, ""),
        ("flat/nemo_gym_rollouts_raw.jsonl", {}, "one bar per value, not to scale"),
    ],
)
def test_real_data_are_drawn_where_they_are(
    tmp_path: Path, name: str, options: dict[str, Any], note: str
) -> None:
    shown = report_picture(DATA / name, tmp_path, **options)
    assert shown.note == note
    assert shown.title.startswith(f"{Path(name).stem}: ")
    axis = PictureAxis(shown.bins)
    high = float(axis.rights[-1])
    if not shown.bins.single:
        assert high == axis.at(1.0)
    assert max(block.right for block in blocks(shown)) == high
    assert min(block.left for block in blocks(shown)) == float(axis.lefts[0])
