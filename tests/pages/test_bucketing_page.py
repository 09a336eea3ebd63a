"""The page of a bucketing run: the numbers of the summary and the manifest, and rollouts as they
are in their files."""

from __future__ import annotations

import gzip
import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curriculum.display.text import table
from curriculum.pages import render
from tests.helpers.html import Page
from tests.helpers.rollouts import DATA, Script, needs_data, rollout, words, write_jsonl

OWN_TAGS = {
    "a", "bdi", "body", "br", "caption", "details", "div", "figcaption", "figure", "footer", "h1",
    "h2", "h3", "head", "header", "html", "li", "line", "link", "main", "meta", "nav", "p", "pre",
    "rect", "span", "style", "summary", "svg", "table", "tbody", "td", "text", "th", "thead",
    "title", "tr", "ul",
}  # fmt: skip
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)></pre></details></style></title>"
    "{{ 7 * 7 }}{% raw %}&lt;\u202e\u200b\0\x1b[31m' onload='alert(3)"
)


def some_rollouts(count: int = 80) -> list[dict[str, Any]]:
    """Rollouts of 8 responses, of two data sources, whose texts grow with the difficulty."""
    drawn, found = random.Random(3), []
    for i in range(count):
        rate = i / count
        scores = [int(drawn.random() < rate) for _ in range(8)]
        line = rollout(*scores, prompt=f"question {i} " + "x" * (count - i), key=f"k{i}")
        line["data_source"] = "abc"[i % 3]
        found.append(line)
    return found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def in_text(rows: list[list[str]]) -> list[str]:
    """A table of a page as the summary prints it."""
    return table(rows, left=1)


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("-n", 5, "-m", "success_rate"),
        ("--thresholds", 0.3, 0.7, "--bucket-names", "low", "medium", "high"),
        ("--solved-unsolved", "--keep", "success_rate < 0.9"),
        ("--within", "data_source", "-n", 2),
        ("-m", "pass_at_k", "--k", 4, "--ties", "split"),
        ("--dry-run",),
    ],
    ids=str,
)
def test_the_page_has_the_numbers_of_the_summary(here: Path, bucket: Script, flags: tuple) -> None:
    write_jsonl(here / "a.jsonl", some_rollouts())
    run = ("-i", "a.jsonl", "-o", "b", "--report", "page.html", "--compare-metrics", *flags)
    code, out, err = bucket(*run)
    assert code == 0, err
    page, told = Page(here / "page.html"), out.splitlines()
    names = ["What each bucket holds", "Rollouts of each group by bucket"]
    names += ["Rank correlation, and share in the same part"]
    names += ["What --keep left out"] if "--keep" in flags else []
    for name in names:
        assert in_text(page.tables[name]) == [
            line for line in told if line in in_text(page.tables[name])
        ], name
    shown = words(page.text)
    prose = [words(part) for part in out.split("\n\n")]
    starts = ("With ", "Metrics compared", "How many rollouts", "Dry run")
    for part in (part for part in prose if part.startswith(starts)):
        assert part in shown
    assert sum(part.startswith(starts) for part in prose) >= 2
    for warning in err.splitlines():
        assert warning.removeprefix("warning: ") in shown
    first, *_ = words(out).split(":")
    assert first.removeprefix("Dry run: no bucket was written. ") in shown


def test_the_bars_hold_what_the_manifest_counts(here: Path, bucket: Script) -> None:
    write_jsonl(here / "a.jsonl", some_rollouts())
    assert bucket("-i", "a.jsonl", "-o", "b", "--report", "page.html", "-n", 4)[0] == 0
    manifest = json.loads((here / "b/bucketing.json").read_text())
    counts = {bucket["name"]: bucket["count"] for bucket in manifest["buckets"]}
    page = Page(here / "page.html")
    for bars in (
        [(name, count) for name, _, count in page.tables["Rollouts by value"][1:]],
        [(t.rpartition(" in ")[2], t.rpartition(" in ")[0].split(": ")[1]) for t in page.titles[1:]
         if " in " in t],
    ):  # fmt: skip
        found = dict.fromkeys(counts, 0)
        for name, count in bars:
            found[name] += int(count.replace(",", ""))
        assert found == counts


def test_rollouts_are_shown_as_they_are_in_their_files(here: Path, bucket: Script) -> None:
    given = some_rollouts()
    write_jsonl(here / "in/a.jsonl", given[::2])
    write_jsonl(here / "in/b.jsonl", [{"reward": [None]}, *given[1::2]])
    assert bucket("-i", "in", "-o", "b", "--report", "page.html")[0] == 0
    buckets = {
        json.loads(line)["key"]: path.stem
        for path in (here / "b").glob("*.jsonl")
        for line in path.read_text().splitlines()
    }
    page = Page(here / "page.html")
    shown = [summary for summary in page.summaries if "mean_reward" in summary]
    assert len(shown) > 12
    for summary in map(words, shown):
        found = re.match(r"(\w+) mean_reward (\S+) · (in/[ab]\.jsonl):(\d+) · key (\w+)", summary)
        assert found is not None, summary
        name, value, file, number, key = found.groups()
        line = json.loads((here / file).read_text().splitlines()[int(number) - 1])
        scores = [entry["score"] for entry in line["reward"]]
        assert (line["key"], f"{np.mean(scores):.4g}") == (key, value)
        assert name == buckets[key]
        assert summary.endswith(line["prompt"][0]["content"])
    every = {line["prompt"][0]["content"] for line in given}
    assert every & {*page.blocks}


def test_best_and_worst_are_those_of_the_scores(here: Path, bucket: Script) -> None:
    one = rollout(0.5, None, 2, 0.25, 2, 0.25, prompt="p")
    write_jsonl(here / "a.jsonl", [one])
    assert bucket("-i", "a.jsonl", "-o", "b", "-n", 1, "--report", "page.html")[0] == 0
    page = Page(here / "page.html")
    shown = words(page.text)
    assert "0.5 - 2 0.25 2 0.25" in shown
    assert "response[2], score 2, best answer 2" in shown
    assert "response[3], score 0.25, worst answer 3" in shown


def test_lengths_are_those_of_prompts_and_responses(here: Path, bucket: Script) -> None:
    given = some_rollouts(30)
    write_jsonl(here / "a.jsonl", given)
    assert bucket("-i", "a.jsonl", "-o", "b", "--report", "page.html")[0] == 0
    rows = Page(here / "page.html").tables[
        "Characters: the median, and from the 10th to the 90th percentile"
    ][1:]
    for name, middle, spread, *_ in rows:
        held = [json.loads(line) for line in (here / f"b/{name}.jsonl").read_text().splitlines()]
        lengths = [len(line["prompt"][0]["content"]) for line in held]
        low, median, high = np.percentile(lengths, (10, 50, 90), method="nearest").tolist()
        assert (middle, spread) == (str(median), f"{low} to {high}")


def test_no_text_can_do_anything(here: Path, bucket: Script) -> None:
    odd = rollout(1, 0, 1, prompt=HOSTILE, key=HOSTILE, data_source=HOSTILE, ground_truth=HOSTILE)
    odd["response"]["choices"][0]["message"]["content"] = HOSTILE
    surrogate = json.dumps({**rollout(0, 0, 0), "key": "\ud800"})
    text = "".join(json.dumps(line) + "\n" for line in [odd] * 30) + surrogate + "\n"
    name = "<b onclick=alert(1)>.jsonl"
    (here / name).write_text(text)
    flags = ("--bucket-names", "<i>easy", "hard' onload='x", "--report", "page.html")
    assert bucket("-i", name, "-o", "b", "-n", 2, *flags)[0] == 0
    page = Page(here / "page.html")
    assert {*page.tags} <= OWN_TAGS
    assert page.tags["meta"] == 5
    assert page.tags["link"] == page.tags["style"] == 1
    assert not [a for a in page.attributes if a[1].startswith("on") or a[1] in ("style", "src")]
    links = [value for _, attribute, value in page.attributes if attribute == "href"]
    assert [link for link in links if link != "data:," and (link or "")[0] != "#"] == []
    assert "U+202E" in page.text
    assert not {*"\u202e\u200b\0\x1b\ud800"} & {*page.source}
    shown = HOSTILE.replace("\u202e\u200b\0\x1b", "U+202EU+200BU+0000U+001B")
    assert shown in page.blocks


def test_a_page_stays_below_3_mb(here: Path, bucket: Script) -> None:
    given = [rollout(*[i % 9 > j for j in range(8)], prompt="\u202e\u200b" * 20_000)
             for i in range(40)]  # fmt: skip
    for line in given:
        for choice in line["response"]["choices"]:
            choice["message"]["content"] = "<&\0\x01" * 5_000
    write_jsonl(here / "a.jsonl", given)
    assert bucket("-i", "a.jsonl", "-o", "b", "-n", 8, "--report", "page.html")[0] == 0
    assert (here / "page.html").stat().st_size < 3_000_000
    assert "characters left out" in Page(here / "page.html").text


def test_the_page_is_the_same_whoever_makes_it(here: Path, bucket: Script) -> None:
    path = write_jsonl(here / "a.jsonl", some_rollouts(300))
    pages = []
    for flags in (("--workers", 1), ("--workers", 2), ("--scores", "s.parquet")):
        assert bucket("-i", "a.jsonl", "-o", "b", "--report", "page.html", *flags)[0] == 0
        pages.append((here / "page.html").read_bytes())
    path.with_suffix(".jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert bucket("-i", "a.jsonl.gz", "-o", "b", "--report", "page.html")[0] == 0
    pages.append(
        re.sub(rb"read 300 rollouts \([^)]*\)", b"", (here / "page.html").read_bytes())
        .replace(b"jsonl.gz", b"jsonl")
    )  # fmt: skip
    pages[:3] = [re.sub(rb"read 300 rollouts \([^)]*\)", b"", page) for page in pages[:3]]
    assert len({*pages}) == 1


@pytest.mark.parametrize(
    ("line", "flags", "told"),
    [
        ({"reward": [1, 0]}, (), "It has no prompt."),
        ({"reward": [1, 0], "prompt": "a"}, (), "score 1, best: its text is not there"),
        ({"reward": [1], "prompt": "a", "responses": ["b"]}, (), "score 1, the only one"),
        ({"reward": [1, 1], "prompt": "a", "responses": ["b", "c"]}, (), "as all others"),
        ({"prompt": "a", "rate": 0.5}, ("--value-field", "rate", "--value-direction", "easier"),
         "rate 0.5"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_there_is_said(
    here: Path, bucket: Script, line: dict, flags: tuple, told: str
) -> None:
    write_jsonl(here / "a.jsonl", [line])
    code, _, err = bucket("-i", "a.jsonl", "-o", "b", "-n", 1, "--report", "page.html", *flags)
    assert code == 0, err
    shown = words(Page(here / "page.html").text)
    assert told in shown
    assert ("response[0]" in shown) == ("reward" in line)


def test_a_text_that_cannot_be_read_is_said(here: Path, bucket: Script) -> None:
    (here / "a.jsonl").write_bytes(b'{"reward": [1, 0], "prompt": "a", "other": "\xff"}\n')
    code, _, err = bucket("-i", "a.jsonl", "-o", "b", "-n", 1, "--report", "page.html")
    assert code == 0, err
    assert "Its texts cannot be read: invalid UTF-8" in words(Page(here / "page.html").text)


def test_many_buckets_show_some(here: Path, bucket: Script) -> None:
    given = [rollout(*[j < i % 60 for j in range(60)]) for i in range(600)]
    write_jsonl(here / "a.jsonl", given)
    assert bucket("-i", "a.jsonl", "-o", "b", "-n", 60, "--report", "page.html")[0] == 0
    assert "Of 60 buckets, rollouts of 36 are shown." in Page(here / "page.html").text


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("page.htm", "write --report page.html"),
        ("page", "write --report page.html"),
        ("there.html", "this file is there already, and no such flag wrote it"),
    ],
)
def test_what_the_page_cannot_be_is_refused(
    here: Path, bucket: Script, name: str, told: str
) -> None:
    (here / "there.html").write_text("<!doctype html> mine")
    write_jsonl(here / "a.jsonl", some_rollouts(6))
    code, _, err = bucket("-i", "a.jsonl", "-o", "b", "--report", name)
    assert (code > 0, told in err) == (True, True), err
    assert not (here / "b").exists()
    assert (here / "there.html").read_text() == "<!doctype html> mine"


def test_without_jinja2_it_is_said_what_to_install(
    here: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curriculum.option_checks.find_spec", lambda name: None)
    code, _, err = bucket("-i", "a.jsonl", "-o", "b", "--report", "page.html")
    assert (code, "Jinja2, which the page is made with, is not installed" in err) == (2, True)


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["gsm8k_mixed6", "mifeval_es_fr_ja", "flat"])
def test_pages_of_real_rollouts(here: Path, bucket: Script, name: str) -> None:
    for number, path in enumerate(sorted((DATA / name).glob("*.jsonl"))):
        assert bucket("-i", path, "-o", f"b{number}", "--report", f"{number}.html")[0] == 0
        page = Page(here / f"{number}.html")
        assert {*page.tags} <= OWN_TAGS
        assert len(page.blocks) > 10
        assert len(page.source.encode()) < render.MOST_BYTES


def test_names_and_tables_have_limits_of_their_own(here: Path, bucket: Script) -> None:
    """Whatever is long in a page: roles, keys, groups, many buckets then and many now."""
    long = "\u202e\u200b" * 200
    given = [
        {
            "prompt": [{"role": f"{long}{i}", "content": f"q{i}"}] * 6, "key": f"{long}{i}",
            "reward": [i / 900, i / 901], "responses": ["a", "b"],
            "data_source": f"{long}{i % 50}",
        }
        for i in range(900)
    ]  # fmt: skip
    write_jsonl(here / "a.jsonl", given)
    assert bucket("-i", "a.jsonl", "-o", "old", "-n", 700)[0] == 0
    flags = ("-n", 300, "--report", "page.html", "--compare-to", "old", "--match-key", "reward")
    code, _, err = bucket("-i", "a.jsonl", "-o", "b", *flags)
    assert code == 0, err
    assert (here / "page.html").stat().st_size < 3_000_000
    page = Page(here / "page.html")
    assert "Of 300 buckets, the first 200 are shown." in page.text
    moved = page.tables["Prompts by their bucket then, and now"]
    assert {len(row) for row in moved} == {render.MOST_COLUMNS}
    assert len(moved) == render.MOST_CELLS // render.MOST_COLUMNS
    assert moved[-2][0] == "(503 more)"
    assert moved[0][-2:] == ["(243 more)", "all"]
    assert (moved[-1][0], moved[-1][-1]) == ("all", "900")


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (200, 60), (201, 60), (9, 61), (999, 400)])
def test_of_a_large_table_the_ends_are_shown(rows: int, columns: int) -> None:
    whole = [[f"{i} {j}" for j in range(columns)] for i in range(rows)]
    shown = render.few(whole)
    assert (shown == whole) == (columns <= 60 and rows <= 200)
    assert (len(shown), {*map(len, shown)}) == (min(rows, 200), {min(columns, 60)})
    assert (shown[0][0], shown[-1][-1]) == (whole[0][0], whole[-1][-1])
    left = [int(cell[1:].split()[0].replace(",", "")) for row in shown for cell in row
            if cell.endswith(" more)")]  # fmt: skip
    gone = [total - most + 1 for total, most in ((columns, 60), (rows, 200)) if total > most]
    assert left == gone


def test_the_page_says_what_further_responses_are_for(here: Path, bucket: Script) -> None:
    write_jsonl(here / "a.jsonl", some_rollouts())
    flags = ("-m", "success_rate", "--more-responses", 50, "more.jsonl", "--report", "page.html")
    code, out, err = bucket("-i", "a.jsonl", "-o", "b", *flags)
    assert code == 0, err
    (told,) = re.findall(r"wrote more\.jsonl: .*? would settle most", words(out))
    assert told in words(Page(here / "page.html").text)
    assert "wrote page.html, a page to look at" in words(out)


def test_rollouts_without_a_group_are_named_as_such(here: Path, bucket: Script) -> None:
    given = [rollout(*[int(i > 0)] * 4, prompt=f"q{i}") for i in range(40)]
    given += [{**rollout(0, 0, 0, 1, prompt=f"r{i}"), "data_source": "other"} for i in range(60)]
    write_jsonl(here / "a.jsonl", given)
    assert bucket("-i", "a.jsonl", "-o", "b", "--report", "page.html")[0] == 0
    assert "no response passes, as in only 2.5% of (none)" in words(Page(here / "page.html").text)


def test_rollouts_at_a_cut_are_on_its_sides_where_ties_are_split(
    here: Path, bucket: Script
) -> None:
    given = [rollout(*[1] * (1 + i % 3), *[0] * 3, prompt=f"q{i}") for i in range(30)]
    write_jsonl(here / "a.jsonl", given)
    flags = ("--ties", "split", "-n", 2, "--report", "page.html")
    assert bucket("-i", "a.jsonl", "-o", "b", *flags)[0] == 0
    shown = [
        words(summary) for summary in Page(here / "page.html").summaries if "cut, on" in summary
    ]
    assert [(text.split()[0], "easier side" in text) for text in shown] == [
        ("easy", True),
        ("hard", False),
    ]


@pytest.mark.parametrize("longer", ["harder", "easier"])
def test_lengths_and_their_correlation_are_plain_ones(
    here: Path, bucket: Script, longer: str
) -> None:
    given = []
    for i in range(30):
        line = rollout(*[j < i for j in range(30)], prompt="p" * (3 + i), key=f"k{i}")
        size = 40 - i if longer == "harder" else 10 + i
        for number, choice in enumerate(line["response"]["choices"]):
            choice["message"]["content"] = "r" * (size + number % 2 * 4)
        given.append(line)
    write_jsonl(here / "a.jsonl", given)
    assert bucket("-i", "a.jsonl", "-o", "b", "--report", "page.html")[0] == 0
    page = Page(here / "page.html")
    told = "prompts -1.00, responses " + ("+1.00" if longer == "harder" else "-1.00")
    assert told in words(page.text)
    rows = page.tables["Characters: the median, and from the 10th to the 90th percentile"][1:]
    for name, *_, middle, spread, _ in rows:
        held = [json.loads(line) for line in (here / f"b/{name}.jsonl").read_text().splitlines()]
        lengths = [
            np.mean([len(c["message"]["content"]) for c in line["response"]["choices"]])
            for line in held
        ]
        low, median, high = np.percentile(lengths, (10, 50, 90), method="nearest").tolist()
        assert (middle, spread) == (f"{median:.0f}", f"{low:.0f} to {high:.0f}")


def test_parts_of_a_move_have_the_colours_of_the_legend(here: Path, bucket: Script) -> None:
    for name, turn in (("a", 1), ("b", 7)):
        lines = [rollout(*[j < i * turn % 30 for j in range(30)], prompt=f"q{i}")
                 for i in range(30)]  # fmt: skip
        write_jsonl(here / f"{name}.jsonl", lines)
    assert bucket("-i", "a.jsonl", "-o", "a")[0] == 0
    assert bucket("-i", "b.jsonl", "-o", "b", "--compare-to", "a", "--report", "page.html")[0] == 0
    source = Page(here / "page.html").source
    fills = re.findall(r'fill="(#\w+)"><title>from \w+ to (\w+):', source)
    change = source.partition('id="change"')[2]
    legend = re.findall(r'fill="(#\w+)"/></svg> <bdi>(\w+)</bdi>', change)
    assert len({*legend}) == 3
    assert {*fills} == {*legend}
