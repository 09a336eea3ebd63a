"""--source with the flags that choose and order rows: they go by the rows' own fields, and by the
scores of their rollouts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.rollouts import Script, rows, tree
from tests.source.data_sets import row, write_parquet, write_rollouts

SOURCES = ("gsm8k", "gsm8k", "math", "code")


@pytest.fixture
def run(tmp_path: Path, bucket: Script, preprocess: Script) -> Any:
    """Preprocess rows 0 to 199, whose rollouts name no data source, with these flags."""
    write_rollouts(tmp_path / "in/a.jsonl", range(180))
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "b", "-m", "success_rate")[0] == 0
    given = [{**row(number), "data_source": SOURCES[number % 4]} for number in range(200)]
    write_parquet(tmp_path / "rows.parquet", given)

    def run(*flags: Any, into: str = "o", code: int = 0) -> Any:
        source = ("--source", tmp_path / "rows.parquet")
        found, _, err = preprocess(
            "-i", tmp_path / "b", "-o", tmp_path / into, *source, *flags, "--val-ratio", 0.2
        )
        assert found == code, err
        if code:
            return err
        return {p.stem: rows(p) for p in sorted((tmp_path / into).glob("*.parquet"))}

    return run


def numbers(found: list[dict[str, Any]]) -> set[int]:
    return {each["extra_info"]["index"] for each in found}


def test_conditions_on_scores_and_on_fields_of_the_rows(run: Any) -> None:
    found = run("--keep", "0.3 < success_rate < 0.7", "--keep", "data_source == math")
    every = set().union(*map(numbers, found.values()))
    # The number of passes is 8 - number % 9.
    assert every == {n for n in range(180) if 0.3 < (8 - n % 9) / 8 < 0.7 and n % 4 == 2}


def test_rows_without_rollouts_are_not_judged(run: Any) -> None:
    found = run("--keep", "success_rate > 0.5", "--unmatched", "keep")
    unseen = numbers(found["unseen_train"]) | numbers(found["unseen_val"])
    assert unseen == set(range(180, 200))


def test_caps_balances_and_controls(run: Any) -> None:
    found = run("--balance", "data_source", "--max-rows", 12, "--control")
    for name in ("easy", "medium", "hard"):
        counts = Counter(each["data_source"] for each in found[f"{name}_train"])
        assert counts == {"gsm8k": 4, "math": 4, "code": 4}
        assert len(found[f"{name}_control_train"]) == 12
        assert not numbers(found[f"{name}_control_train"]) & numbers(found[f"{name}_val"])
    fewer = run("--balance", "data_source", "--max-rows", 6, into="fewer")
    for name in ("easy", "medium", "hard"):
        assert numbers(fewer[f"{name}_train"]) < numbers(found[f"{name}_train"])


def test_a_schedule_numbers_the_batches_of_the_rows(run: Any, tmp_path: Path) -> None:
    flags = ("--combine", "--schedule", "linear", "--batch-size", 10)
    found = run(*flags)
    steps = [each["extra_info"]["curriculum_step"] for each in found["combined_train"]]
    assert steps == [i // 10 for i in range(len(steps))]
    assert {each["extra_info"]["curriculum_step"] for each in found["combined_val"]} == {None}
    run(*flags, "--workers", 1, into="one")
    assert tree(tmp_path / "o") == tree(tmp_path / "one")
    bare = run(*flags, "--no-annotate", into="bare")
    assert [r["extra_info"]["index"] for r in bare["combined_train"]] == [
        r["extra_info"]["index"] for r in found["combined_train"]
    ]
    assert "curriculum_step" not in bare["combined_train"][0]["extra_info"]


def test_a_field_that_no_row_has(run: Any) -> None:
    assert "have no column for sauce" in run("--balance", "sauce", code=1)
    assert "did you mean success_rate?" in run("--keep", "succes_rate > 0", code=1)
    assert "expected one of code, gsm8k, math" in run("--balance", "data_source", "x=1", code=1)


def test_json_lines_are_chosen_alike(tmp_path: Path, run: Any, preprocess: Script) -> None:
    run("--combine", "--keep", "data_source == code", "--max-rows", 9)
    lines = [
        {"prompt": row(n)["prompt"], "data_source": SOURCES[n % 4], "n": n} for n in range(200)
    ]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    flags = ("--combine", "--keep", "data_source == code", "--max-rows", 9, "--val-ratio", 0.2)
    code, _, err = preprocess(
        "-i", tmp_path / "b", "-o", tmp_path / "l", "--source", source, *flags
    )
    assert code == 0, err
    found = list(map(json.loads, (tmp_path / "l/combined_train.jsonl").read_text().splitlines()))
    parquet = rows(tmp_path / "o/combined_train.parquet")
    assert [line["n"] for line in found] == [r["extra_info"]["index"] for r in parquet]
    assert len(found) == 9


def test_rows_without_rollouts_follow_no_schedule(run: Any) -> None:
    flags = ("--combine", "--schedule", "cosine", "--batch-size", 10, "--epochs", 2, "--control")
    found = run(*flags, "--unmatched", "keep")
    assert len(found["combined_train"]) == 2 * len(numbers(found["combined_train"]))
    for name, times in (("unseen_train", 1), ("combined_control_train", 2)):
        assert {each["extra_info"]["curriculum_step"] for each in found[name]} == {None}
        assert len(found[name]) == times * len(numbers(found[name]))
