"""Options → the command that has them, and back."""

from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bucket_rollouts_by_difficulty
import preprocess_bucketed_rollouts
from curriculum.advice.commands import COLUMNS, command, new_name, renaming
from curriculum.advice.text import fields_of, with_commands
from curriculum.metrics import METRICS
from curriculum.options import BucketOptions
from curriculum.preprocess_options import PreprocessOptions

WORD = st.text(st.sampled_from("ab $'\"\\*?é-"), min_size=1, max_size=8).map(lambda s: f"x{s}")
PATHS = st.lists(WORD, min_size=1, max_size=3, unique=True)
SOME = st.none() | WORD


def parse(script: Any, text: str) -> dict[str, Any]:
    """The options of a command, as the script reads them."""
    words = shlex.split(text.replace(" \\\n", " "))
    assert words[0] == "python"
    flags = vars(script.build_parser().parse_args(words[2:]))
    return {
        name: value for name, value in flags.items() if value is not None and name not in MESSAGES
    }


MESSAGES = ("quiet", "debug", "verbose")


@given(
    inputs=PATHS,
    output_dir=WORD,
    metric=st.sampled_from([*METRICS]),
    num_buckets=st.none() | st.integers(1, 9),
    k=st.integers(1, 9),
    pass_threshold=st.floats(0, 2),
    ties=st.sampled_from(["together", "split"]),
    dry_run=st.booleans(),
    sync=st.booleans(),
    prompt_field=st.none() | st.just("a.b"),
    group_field=st.none() | PATHS,
    steps=st.none() | st.just("3:7"),
)
def test_the_bucketing_command_has_the_options(**options: Any) -> None:
    if options["metric"] != "pass_at_k":  # no other metric has a k
        options["k"] = None
    expected = BucketOptions(**options)
    assert BucketOptions(**parse(bucket_rollouts_by_difficulty, command(expected))) == expected


@given(
    input_dir=WORD,
    output_dir=WORD,
    buckets=st.none() | PATHS,
    cumulative=st.booleans(),
    filter=st.sampled_from(["all", "best_only"]),
    val_ratio=st.floats(0, 0.9),
    best_response=st.booleans(),
    sync=st.booleans(),
    data_source=WORD,
)
def test_the_preprocessing_command_has_the_options(**options: Any) -> None:
    expected = PreprocessOptions(**options)
    assert PreprocessOptions(**parse(preprocess_bucketed_rollouts, command(expected))) == expected


def test_every_option_is_a_flag_of_its_script() -> None:
    """Or a command could print a flag that is not there."""
    for options, script in (
        (BucketOptions, bucket_rollouts_by_difficulty),
        (PreprocessOptions, preprocess_bucketed_rollouts),
    ):
        flags = {flag for a in script.build_parser()._actions for flag in a.option_strings}
        names = {field.name.replace("_", "-") for field in fields(options)}
        assert {n for n in names if not {f"--{n}", f"--no-{n}"} & flags} <= {"inputs"}


def test_a_metric_of_ones_own_is_no_flag() -> None:
    options = BucketOptions(["a"], "b", metric=METRICS["variance"], ties="split")
    assert command(options).endswith("-i a -o b --ties split")


def test_a_long_command_is_broken_between_flags() -> None:
    options = BucketOptions([f"rollouts/{i}.jsonl" for i in range(9)], "out", thresholds=[0.25])
    lines = command(options).split(" \\\n")
    assert [line.split()[0] for line in lines] == ["python", "-i", "-o"]
    assert len(lines[0]) < COLUMNS < len(lines[1])


def test_fields_are_wrapped_between_two_of_them() -> None:
    line = {f"scores_{i}": [0.5] * 8 for i in range(4)}
    assert with_commands([f"the line has {fields_of(line)}."], []).splitlines() == [
        "the line has scores_0: list of 8 numbers, scores_1: list of 8 numbers,",
        "scores_2: list of 8 numbers, scores_3: list of 8 numbers.",
    ]


def test_many_files_are_renamed_in_a_loop(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.json" for i in range(5)]
    for path in paths:
        path.write_text("{}")
    names = [f"{path.stem}.jsonl" for path in paths]
    assert renaming(paths, names) == f'for f in {tmp_path}/*.json; do mv -i "$f" "${{f}}l"; done'
    moves = renaming(paths[:2], names[:2]).split(" &&\n")
    assert moves == [f"mv -i {tmp_path}/{i}.json {tmp_path}/{i}.jsonl" for i in range(2)]
    (tmp_path / "mine.json").write_text("{}")
    assert renaming(paths, names).count("mv -i") == 5


def test_a_new_name_is_of_nothing_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert new_name("a", ".b") == "a.b"
    for name in ("a.b", "a1.b"):
        Path(name).write_text("")
    assert new_name("a", ".b") == "a2.b"
