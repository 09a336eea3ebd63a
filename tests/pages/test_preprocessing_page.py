"""The page of a preprocessing run: the numbers of the summary and the manifest, and rows as they
are in the files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from curriculum.display.text import table
from tests.helpers.html import Page
from tests.helpers.rollouts import Script, rollout, rows, words, write_jsonl
from tests.pages.test_bucketing_page import HOSTILE, OWN_TAGS, some_rollouts


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: Script) -> Path:
    """A current directory with buckets in `b`."""
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "a.jsonl", some_rollouts(200))
    assert bucket("-i", "a.jsonl", "-o", "b")[0] == 0
    return tmp_path


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--cumulative", "--filter", "informative_only"),
        ("--combine", "--schedule", "linear", "--batch-size", 8, "--keep", "success_rate < 1"),
        ("--max-rows", 20, "--control", "--keep-data-source"),
        ("--dry-run", "--val-ratio", 0),
    ],
    ids=str,
)
def test_the_page_has_the_numbers_of_the_summary(
    here: Path, preprocess: Script, flags: tuple
) -> None:
    code, out, err = preprocess("-i", "b", "-o", "s", "--report", "page.html", "-v", *flags)
    assert code == 0, err
    page, told = Page(here / "page.html"), out.splitlines()
    for name, left in (
        ("Rows of each set", 1),
        ("More of each set", 1),
        ("What each flag left out", 3),
    ):
        if name in page.tables:
            lines = table(page.tables[name], left=left)
            assert [line for line in told if line in lines] == lines
    assert ("What each flag left out" in page.tables) == ("left out" in out)
    shown = words(page.text)
    for warning in err.splitlines():
        assert warning.removeprefix("warning: ") in shown
    for part in re.findall(r"^- .*(?:\n  .*)*", out, re.MULTILINE):
        assert words(part).removeprefix("- ") in shown
    if "--dry-run" in flags:
        assert "A row of each set" not in page.text
        return
    for facts in json.loads((here / "s/preprocessing.json").read_text())["sets"].values():
        assert all(f"{count:,}" in shown for count in facts["rows"].values())


def test_a_row_is_that_of_the_file(here: Path, preprocess: Script) -> None:
    assert preprocess("-i", "b", "-o", "s", "--report", "page.html")[0] == 0
    page = Page(here / "page.html")
    shown = re.findall(r"(\w+_train\.parquet) · row (\d+) of (\d+), from 0", words(page.text))
    assert [name for name, *_ in shown] == [
        f"{n}_train.parquet" for n in ("easy", "medium", "hard")
    ]
    for name, number, of in shown:
        found = rows(here / "s" / name)
        row = found[int(number)]
        assert len(found) == int(of)
        assert row["prompt"][0]["content"] in page.blocks
        extra = json.dumps(row["extra_info"], ensure_ascii=False, indent=2)
        assert extra in page.blocks
    schema = page.tables["Columns, which all sets have alike"]
    assert [column for column, *_ in schema[1:]] == list(row)


def test_no_text_of_a_row_can_do_anything(here: Path, bucket: Script, preprocess: Script) -> None:
    odd = [
        rollout(i % 2, 0, 1, prompt=f"{HOSTILE}{i}", key=HOSTILE, data_source=HOSTILE,
                ground_truth=HOSTILE)
        for i in range(40)
    ]  # fmt: skip
    write_jsonl(here / "odd.jsonl", odd)
    assert bucket("-i", "odd.jsonl", "-o", "odd", "-n", 1, "--bucket-names", "<i>x")[0] == 0
    flags = ("--keep-data-source", "--report", "page.html")
    assert preprocess("-i", "odd", "-o", "s", *flags)[0] == 0
    page = Page(here / "page.html")
    assert {*page.tags} <= OWN_TAGS
    assert page.tags["meta"] == 5
    assert not {*"\u202e\u200b\0\x1b"} & {*page.source}


def test_rows_of_a_data_set_of_ones_own(here: Path, preprocess: Script) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    given = [{"prompt": [{"role": "user", "content": line["prompt"][0]["content"]}], "note": b"\0",
              "id": line["key"]} for line in some_rollouts(200)]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(given), here / "own.parquet")
    flags = ("--source", "own.parquet", "--report", "page.html")
    code, _, err = preprocess("-i", "b", "-o", "s", *flags)
    assert code == 0, err
    page = Page(here / "page.html")
    assert "200 of 200 rows of the data set" in page.text
    assert "1 B of binary data" in page.blocks


def test_the_page_may_not_be_a_file_of_a_set(here: Path, preprocess: Script) -> None:
    code, _, err = preprocess("-i", "b", "-o", "s", "--report", "page.parquet")
    assert (code, "write --report page.html" in err) == (2, True)


def test_columns_with_dots_are_weighed_by_themselves(here: Path, preprocess: Script) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    given = [{"prompt": line["prompt"], "a": i, "a.b": f"{i}" + "x" * 500, "a.b.c": {"a": i}}
             for i, line in enumerate(some_rollouts(200))]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(given), here / "own.parquet", compression="none")
    flags = ("--source", "own.parquet", "--source-key", "prompt", "--report", "page.html")
    code, _, err = preprocess("-i", "b", "-o", "s", "--combine", "--val-ratio", 0, *flags)
    assert code == 0, err
    sizes: dict[str, int] = {}
    metadata = pq.read_metadata(here / "s/combined_train.parquet").row_group(0)
    for i, name in enumerate(["prompt", "prompt", "a", "a.b", "a.b.c"]):
        sizes[name] = sizes.get(name, 0) + metadata.column(i).total_compressed_size
    shown = Page(here / "page.html").tables["Columns, which all sets have alike"][1:]
    weights = {name: weight for name, _, weight in shown}
    whole = sum(metadata.column(i).total_compressed_size for i in range(metadata.num_columns))
    for name, size in sizes.items():
        assert weights[name] == f"{100 * size / whole:.1f}%"
