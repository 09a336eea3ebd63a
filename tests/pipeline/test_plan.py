"""The flags of run_curriculum_pipeline.sh: whose they are, and which stages they ask for."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bucket_rollouts_by_difficulty
import preprocess_bucketed_rollouts
from curriculum.cli import run
from curriculum.errors import InputError, UsageError
from curriculum.pipeline import flags as pipeline_flags
from curriculum.pipeline.flags import ONE_SET, both_scripts, build_parser
from curriculum.pipeline.plan import answer, plan, share
from curriculum.pipeline.stages import list_stages, split_names
from tests.helpers.rollouts import ROOT, Script, rollout, write_jsonl


def planned(*argv: str) -> dict[str, Any]:
    """The variables that these flags give."""
    scripts = both_scripts()
    found: dict[str, Any] = plan(build_parser(scripts).read(argv), scripts)
    return found


def values(parser: argparse.ArgumentParser, flags: Sequence[str]) -> dict[str, Any]:
    """What a script's own parser makes of flags."""
    return vars(parser.parse_args(flags))


def parsers() -> list[argparse.ArgumentParser]:
    return [
        bucket_rollouts_by_difficulty.build_parser(),
        preprocess_bucketed_rollouts.build_parser(),
    ]


OWN = {"help", "version", "inputs", "input_dir", "output_dir"}
FLAGS = {
    (action.dest, string): action
    for parser in parsers()
    for action in parser._actions
    for string in action.option_strings
    if action.dest not in OWN
}
FIRST_ONLY = {"dry_run", "score_field", "pass_threshold", "keep", "plot", "report"}
FIELDS = {"prompt_field", "ground_truth_field"}  # whose they are, the input says


@pytest.mark.parametrize(("dest", "flag"), FLAGS, ids=lambda part: part)
def test_every_flag_reaches_the_scripts_that_have_it(dest: str, flag: str) -> None:
    action = FLAGS[dest, flag]
    value = "-3" if action.type or dest == "thresholds" else f"a 'b' {dest}"
    words = [] if action.nargs == 0 else [value, value] if action.nargs in ("+", 2) else [value]
    scripts = both_scripts()
    handed_on = build_parser(scripts).read([flag, *words]).handed_on
    if dest == "group_size":  # whose it is, other flags say
        handed_on += [
            ("keep", ["--keep=useful_group > 0"]),
            ("top", ["--top", "1", "useful_group"]),
        ]
    input_is_a_dump = [*handed_on, ("format", ["--format=custom"])]
    shares = share(input_is_a_dump if dest in FIELDS else handed_on, scripts, ["x"])
    paths = ["-i", "x", "-o", "y"]
    for parser, found in zip(parsers(), shares, strict=True):
        second = parser.description == parsers()[1].description
        takes = knows(parser, flag) and not (second and dest in FIRST_ONLY | FIELDS)
        wanted = values(parser, [*paths, *([flag, *words] if takes else [])])
        others = dict.fromkeys(["format", *(["keep", "top"] if dest == "group_size" else [])])
        assert {**values(parser, [*paths, *found]), **others} == {**wanted, **others}


def knows(parser: argparse.ArgumentParser, flag: str) -> bool:
    return any(flag in action.option_strings for action in parser._actions)


def test_flags_are_taken_in_each_way_they_can_be_written() -> None:
    found = planned("-n5", "--metric=max_reward", "-f", "best_only", "--data-source=-x")
    bucketing, preprocessing = parsers()
    assert values(bucketing, found["bucket_flags"])["num_buckets"] == 5
    assert values(bucketing, found["bucket_flags"])["metric"] == "max_reward"
    assert values(preprocessing, found["preprocess_flags"])["filter"] == "best_only"
    assert values(preprocessing, found["preprocess_flags"])["data_source"] == "-x"


def test_files_lie_where_they_are_asked_for() -> None:
    found = planned()
    assert found["bucket_flags"] == ["-i", "./rollouts", "-o", "./bucketed"]
    assert found["preprocess_flags"][:4] == ["-i", "./bucketed", "-o", "./preprocessed"]
    assert (found["preprocessed"], found["checkpoints"]) == ("./preprocessed", "")
    found = planned("-i", "a b", "c", "--input", "d", "-o", "my out/")
    assert found["bucket_flags"] == ["-i", "a b", "c", "d", "-o", "my out/bucketed"]
    assert (found["preprocessed"], found["checkpoints"]) == ("my out/preprocessed", "my out/")
    found = planned("-i=-x", "-o=-y")
    assert found["bucket_flags"] == ["-i", "./-x", "-o", "./-y/bucketed"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["a, b"], ["a", "b"]),
        ([" warm up ,core,hard tail "], ["warm up", "core", "hard tail"]),
        (["a,b,"], ["a", "b"]),
        (["a b  c"], ["a", "b", "c"]),
        (["warm up", "core"], ["warm up", "core"]),
        (["a,", "b"], ["a", "b"]),
    ],
)
def test_names_of_stages_have_no_blanks_around_them(words: list[str], names: list[str]) -> None:
    assert split_names(words) == names
    found = values(parsers()[0], planned("--stages", *words)["bucket_flags"])
    assert found["bucket_names"] == names


def test_rollouts_may_come_through_a_pipe_or_lie_deeper() -> None:
    found = planned("-i", "-", "--recursive")
    assert found["bucket_flags"][:2] == ["-i", "-"]
    assert "--recursive" in found["bucket_flags"]
    assert "--recursive" not in found["preprocess_flags"]


def test_a_pipe_cannot_be_looked_at_first() -> None:
    with pytest.raises(InputError, match="this is a pipe, and it has to be read twice here"):
        planned("-i", "-", "--prompt-field", "x")


def test_stages_may_be_a_number() -> None:
    for words in (["--stages", " 4 "], ["--stages=4", "-n", "4"]):
        assert values(parsers()[0], planned(*words)["bucket_flags"])["num_buckets"] == 4
        assert len(planned(*words)["stages"]) == 4


@given(st.integers(1, 9))
def test_first_stage_is_the_easiest_bucket_the_last_the_hardest(count: int) -> None:
    names = [f"b{i}" for i in range(count)]
    stages = list_stages(names)
    assert [len(stage.buckets) for stage in stages] == [1, *range(2, count), 1][:count]
    for stage in stages[:-1]:
        assert list(stage.buckets) == names[: len(stage.buckets)]
    assert list(stages[-1].buckets) == names[-1:]


def test_sets_are_those_that_preprocessing_writes() -> None:
    found = planned("-n", "5")
    names = ["very_easy", "easy", "medium", "hard", "very_hard"]
    assert found["buckets"] == names
    assert found["sets"] == [
        "very_easy", "cumulative/stage1_and_2", "cumulative/stage1_to_3", "cumulative/stage1_to_4",
        "very_hard",
    ]  # fmt: skip
    assert found["stages"][1] == "very_easy, easy"
    assert planned("-n", "9")["stages"][5:] == [
        "level_1 to level_6 (6 buckets)", "level_1 to level_7 (7 buckets)",
        "level_1 to level_8 (8 buckets)", "level_9",
    ]  # fmt: skip


def test_the_last_stage_is_explained() -> None:
    assert planned("-n", "1")["reasons"] == []
    reasons = planned("-o", "x" * 40, "-n", "2")["reasons"]
    assert max(map(len, reasons)) <= 100
    assert " ".join(reasons) == (
        "The last stage trains on hard alone: the easier buckets have had their turn. To train it "
        f"on all buckets instead, use {'x' * 40}/preprocessed/cumulative/stage1_and_2_train"
        ".parquet."
    )


def test_stages_are_between_solved_and_unsolved() -> None:
    found = planned("--solved-unsolved", "--stages", "warmup core")
    assert found["stages"] == ["warmup", "core"]
    assert found["preprocess_flags"][-3:] == ["--buckets", "warmup", "core"]
    assert "No stage trains on solved and unsolved:" in " ".join(found["reasons"])
    found = planned("--solved-unsolved", "-n", "1", "--buckets", "unsolved", "level_1", "solved")
    assert found["stages"] == ["solved", "solved, level_1", "unsolved"]
    assert "No stage trains on" not in " ".join(found["reasons"])


def test_stages_are_the_buckets_asked_for() -> None:
    found = planned("-n", "5", "--buckets", "hard", "easy", "--buckets", "medium")
    assert found["stages"] == ["easy", "easy, medium", "hard"]


def test_names_run_from_easy_to_hard_in_the_stages_too() -> None:
    found = planned("--thresholds", "0.3", "0.7", "--bucket-names", "low", "medium", "high")
    assert found["stages"] == ["high", "high, medium", "low"]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--frobnicate", "3"], "--frobnicate: there is no such flag;\nbash run_curriculum_pipel"),
        (["--thresh", "3"], "--thresh: there is no such flag;\ndid you mean --thresholds? "),
        (["--stage=2"], "--stage: there is no such flag;\ndid you mean --stages? "),
        (["rollouts"], "rollouts: this belongs to no flag;\nname rollouts with -i"),
        (["-n"], "-n/--num-buckets: expected one argument;\nbash run_curriculum_pipeline.sh --h"),
        (["--k", "x"], "--k: the value is 'x', expected a whole number;"),
        (["-m", "mean"], "--metric: there is no 'mean', expected one of mean_reward, "),
        (["--val-ratio", "2"], "--val-ratio: the ratio is 2.0, expected"),
        (["--buckets", "easy", "hrad"], "--buckets: there will be no bucket 'hrad', expected one "
         "of easy, medium, hard;\ndid you mean hard? "),
        (["--combine"], "--combine: this asks for one set of all buckets"),
        (["--output-name", "x"], "--output-name: this asks for one set of all buckets"),
        (["--source", "a.parquet", "b.jsonl"], "--source: b.jsonl is no parquet file, and the "),
        (["-o", ""], "--output: the name is empty"),
        (["-o", "s3://bucket/x"], "--output: this is in a store"),
        (["--stages", " , "], "--stages: there is no name"),
        (["--stages", "a,,b"], "--stages: the name '' is empty"),
        (["--stages", "a a"], "--stages: the name 'a' is there twice"),
        (["--stages", "hard easy"], "write --stages easy hard"),
        (["--stages", "a b", "-n", "3"], "--stages asks for 2 buckets, -n for 3, expected one"),
        (["--stages", "2", "--bucket-names", "a", "b"], "--stages and --bucket-names both say"),
    ],
)  # fmt: skip
def test_wrong_flags_are_told_before_anything_runs(
    capsys: pytest.CaptureFixture[str], argv: list[str], told: str
) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert (out, err.startswith("error: "), told in err) == ("", True, True), err


def with_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the second script say, too, where rollouts have their ground truth."""
    build = preprocess_bucketed_rollouts.build_parser

    def build_with_place() -> argparse.ArgumentParser:
        parser = build()
        if not knows(parser, "--ground-truth-field"):
            parser.add_argument("--ground-truth-field")
        return parser

    monkeypatch.setattr(preprocess_bucketed_rollouts, "build_parser", build_with_place)


DUMP = {"input": "2+2?", "output": "4", "gts": "4", "score": 1.0, "step": 1}


@pytest.mark.parametrize(
    ("line", "flags", "script"),
    [
        (DUMP, (), "bucket_flags"),
        (rollout(1, 0), (), "preprocess_flags"),
        ({"q": "2+2?", "a": "4"}, ("--format", "custom"), "bucket_flags"),
        ({"q": "2+2?", "a": "4"}, ("--format", "rollouts"), "preprocess_flags"),
    ],
)
def test_places_of_a_dump_are_for_bucketing_those_of_rollouts_for_preprocessing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: dict[str, Any],
    flags: tuple[str, ...],
    script: str,
) -> None:
    with_places(monkeypatch)
    write_jsonl(tmp_path / "a.jsonl", [line])
    found = planned("-i", str(tmp_path), "--ground-truth-field", "answer", *flags)
    names = ("bucket_flags", "preprocess_flags")
    assert [name for name in names if "--ground-truth-field=answer" in found[name]] == [script]


def test_input_that_is_not_there_is_told_where_it_has_to_be_looked_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_places(monkeypatch)
    assert main(["-i", "not there", "--ground-truth-field", "answer"]) == 1
    assert capsys.readouterr().err.startswith("error: not there: no such file")


@pytest.mark.parametrize("text", ["a b", "it's", '"', "$HOME `id` \\", "a\nb", "é…", "*", ""])
def test_bash_reads_what_was_meant(text: str) -> None:
    code = answer(["-i", text or "x", "-t", text, "--data-source", text or "x"])
    show = 'printf "%s\\0" "${bucket_flags[@]}" "$train" "${preprocess_flags[@]}"'
    shown = subprocess.run(
        ["bash", "-euc", f"{code}\n{show}"], capture_output=True, text=True, check=True
    )
    words = shown.stdout.split("\0")
    assert words[:2] == ["-i", text or "x"]
    assert words[4] == text
    assert f"--data-source={text or 'x'}" in words


def test_help_and_version_are_printed_instead_of_a_run() -> None:
    for flags, shown in ((["-x", "--help"], "usage: bash run_"), (["--version"], "run_curriculum")):
        done = subprocess.run(
            ["bash", "-euc", f"{answer(flags)}\necho and then"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.startswith(shown)
        assert "and then" not in done.stdout


def test_help_names_every_flag_that_is_taken() -> None:
    text = build_parser(both_scripts()).format_help()
    assert max(map(len, text.splitlines())) <= 100
    words = set(text.replace(",", " ").split())
    for dest, flag in FLAGS:
        assert (flag in words) == (dest not in ONE_SET)
    assert {"-t", "-f", "-o"} <= words


def test_names_of_flags_are_those_of_the_parsers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No flag is listed a second time: one that a script gets is taken at once."""
    build = bucket_rollouts_by_difficulty.build_parser

    def build_more() -> argparse.ArgumentParser:
        parser = build()
        parser.add_argument("--brand-new", type=int)
        return parser

    with pytest.raises(UsageError):
        planned("--brand-new", "3")
    monkeypatch.setattr(pipeline_flags.bucket_rollouts_by_difficulty, "build_parser", build_more)
    assert "--brand-new=3" in planned("--brand-new", "3")["bucket_flags"]


def test_a_set_of_every_stage_is_written(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    rollouts = [rollout(i % 7, i % 5, prompt=str(i)) for i in range(140)]
    write_jsonl(tmp_path / "rollouts/a.jsonl", rollouts)
    argv = ("-i", str(tmp_path / "rollouts"), "-o", str(tmp_path), "-n", "4", "--solved-unsolved")
    found = planned(*argv)
    assert bucket(*found["bucket_flags"])[0] == 0
    assert preprocess(*found["preprocess_flags"])[0] == 0
    for name in found["sets"]:
        assert (tmp_path / f"preprocessed/{name}_train.parquet").is_file()


def main(argv: Sequence[str]) -> int:
    """Print the answer, as the shell script asks for it; the exit code."""
    return run(lambda: (answer(argv), []), quiet=False, debug=False)


def test_without_its_packages_the_shell_script_says_what_to_install(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')  # -S: no packages
    python.chmod(0o755)
    done = subprocess.run(
        ["bash", ROOT / "run_curriculum_pipeline.sh", "--help"], env={"PATH": os.environ["PATH"],
        "PYTHON": str(python)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: msgspec, numpy, pandas, pyarrow and tqdm are not inst")
    assert "Traceback" not in done.stderr
