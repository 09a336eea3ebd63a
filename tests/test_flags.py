"""Wrong command lines: one error in plain words, with what was meant, and exit code 2."""

from __future__ import annotations

import importlib
import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bucket_rollouts_by_difficulty
import preprocess_bucketed_rollouts
from curriculum.bucket_names import DEFAULT_NAMES
from curriculum.dumps.table import FORMATS
from curriculum.errors import UsageError, closest, did_you_mean
from curriculum.filters import FILTERS
from curriculum.metrics import METRICS
from tests.helpers.rollouts import Script, rollout, write_jsonl

PARSERS = {
    "bucket": bucket_rollouts_by_difficulty.build_parser,
    "preprocess": preprocess_bucketed_rollouts.build_parser,
}
BUCKET = "python bucket_rollouts_by_difficulty.py"
ALL_FLAGS = f"All flags: {BUCKET} --help"

# What follows `-i in -o out` and what is said of it.
WRONG = {
    "--treshold 0.3": f"--treshold: there is no such flag;\ndid you mean --thresholds? {ALL_FLAGS}",
    "--num_buckets 3": "--num_buckets: there is no such flag;\ndid you mean --num-buckets?",
    "--thresh 0.3": "--thresh: there is no such flag;\ndid you mean --thresholds?",
    "--tresh 0.3": "--tresh: there is no such flag;\ndid you mean --thresholds?",
    "--metrics variance": "did you mean --metric or --compare-metrics?",
    "--bucket a b": "--bucket: there is no such flag;\ndid you mean --bucket-names?",
    "--score x": "did you mean --score-field or --score-map or --score-reduce or --scores?",
    "--names a b c": "--names: there is no such flag;\ndid you mean --bucket-names?",
    "-N 3": "-N: there is no such flag;\ndid you mean -n?",
    "-metric variance": "-metric: there is no such flag;\ndid you mean --metric, with two dashes?",
    "-k 4": "-k: there is no such flag;\ndid you mean --k, with two dashes?",
    "--zzz": f"--zzz: there is no such flag;\nleave it out. {ALL_FLAGS}",
    "--treshold 0.3 --plots x.png": "--treshold and --plots: there are no such flags;\n"
    "did you mean --thresholds for --treshold and --plot for --plots?",
    "--val-ratio 0": "--val-ratio: there is no such flag;\n"
    f"--val-ratio is a flag of preprocess_bucketed_rollouts.py. {ALL_FLAGS}",
    "--buckets 3": "--buckets: there is no such flag;\n"
    "--buckets is a flag of preprocess_bucketed_rollouts.py; did you mean --num-buckets?",
    "-n three": "-n: the value is 'three', expected a whole number;\n"
    "write it in digits, such as -n 3\n",
    "-n 5.0": "'5.0', expected a whole number;\nwrite it in digits, such as -n 5\n",
    "-n inf": "'inf', expected a whole number;\nwrite it in digits, such as -n 3\n",
    "--pass-threshold 50%": "--pass-threshold: the value is '50%', expected a number;\n"
    "write it in digits, such as --pass-threshold 0.5\n",
    "--pass-threshold 0,7": "write it in digits, such as --pass-threshold 0.7\n",
    "--pass-threshold high": "write it in digits, such as --pass-threshold 0.5\n",
    "--thresholds 0.3,0.7": "--thresholds: the values are '0.3,0.7', expected numbers with spaces "
    "between them;\nwrite --thresholds 0.3 0.7\n",
    "--thresholds 0.3, 0.7": "write --thresholds 0.3 0.7\n",
    "--thresholds '[0.3, 0.7]'": "write --thresholds 0.3 0.7\n",
    "--thresholds 0,3 0,7": "write --thresholds 0.3 0.7\n",
    "--thresholds 0.3 high": "--thresholds: one value is 'high', expected numbers with spaces",
    "--k": "--k: the value is missing, expected --k K;\nwrite it after the flag. All flags: ",
    "--thresholds -n 3": "the value is missing, expected --thresholds VALUE [VALUE …];\nwrite it",
    "--pass-threshold -.5e1": "write --pass-threshold=-.5e1 if -.5e1 is the value, which begins",
    "--dry-run=yes": "--dry-run: this flag takes no value;\nwrite --dry-run alone.",
    "--dry-run yes": "--dry-run: this flag takes no value, and yes comes after it;\nwrite --dry",
    "-m mean_reward variance": "-m: this flag takes one value, and there is more after it: "
    "variance;\nleave that out, or put a value with spaces in quotes.",
    "-m succes_rate": "--metric: there is no 'succes_rate', expected one of mean_reward, "
    "max_reward, min_reward, variance, pass_at_k, success_rate;\ndid you mean success_rate?\n",
    "-m mean": "did you mean mean_reward?\n",
    "-m pass@k": "did you mean pass_at_k?\n",
    "-m pass@4": "--metric: there is no 'pass@4', expected one of mean_reward, max_reward, "
    "min_reward, variance, pass_at_k, success_rate;\ndid you mean --metric pass_at_k --k 4?\n",
    "-m pass_rate": "success_rate;\ndid you mean --metric success_rate?\n",
    "-m zzz": "success_rate;\nchoose one of them\n",
    "--format nemo_gym": "did you mean nemo-gym?\n",
    "--ties tgether": "did you mean together?\n",
    "--on-malformed setaside": "did you mean set-aside?\n",
    "--engine Ray": "--engine: there is no 'Ray', expected one of local, ray;\ndid you mean ray?\n",
    "--group-by id": "--group-by: the value is 'id', expected prompt, the only choice;\nwrite "
    "--group-by prompt; to group by a field of the lines, --group-field id\n",
    "-n -1": "--num-buckets: the number is -1, expected 1 or more;\n"
    "give the number of buckets, such as -n 3\n",
    "--k 0": "--k: the number is 0, expected 1 or more;\n"
    "give the number of responses that pass_at_k draws, such as --k 4\n",
    "--workers 0": "give the number of processes, such as --workers 4, or leave it out for one",
    "--plot difficulty.jpg": "write --plot difficulty.png\n",
    "--scores s3://b/scores": "write --scores s3://b/scores.parquet\n",
}  # fmt: skip


@pytest.mark.parametrize(("flags", "told"), WRONG.items())
def test_wrong_flags_are_told_what_was_meant(bucket: Script, flags: str, told: str) -> None:
    code, out, err = bucket("-i", "in", "-o", "out", *shlex.split(flags))
    assert (code, out) == (2, "")
    assert told in err
    assert err.startswith("error: ")
    assert "usage:" not in err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--output x", "did you mean --output-dir or --output-name?"),
        ("--thresholds 0.3", "--thresholds is a flag of bucket_rollouts_by_difficulty.py. All"),
        ("--filter best", "did you mean best_only?\n"),
        ("--filter informative-only", "did you mean informative_only?\n"),
        ("--order easy_to_hard", "did you mean easy-to-hard?\n"),
        ("--ground-truth-format str", "did you mean string?\n"),
        ("--seed 0x10", "--seed: the value is '0x10', expected a whole number;\n"),
        ("--val-ratio 5%", "write it in digits, such as --val-ratio 0.05\n"),
        ("-i a b", "-i: this flag takes one value, and there is more after it: b;\n"),
        ("-i ''", "--input-dir: the path is empty, expected the directory of buckets, such as -i"),
        ("-o ''", "--output-dir: the path is empty, expected a directory to write to;\nwrite it"),
    ],
)
def test_wrong_flags_of_preprocessing(preprocess: Script, flags: str, told: str) -> None:
    code, out, err = preprocess("-i", "in", "-o", "out", *shlex.split(flags))
    assert (code, out) == (2, "")
    assert told in err


def test_an_empty_path_is_refused(bucket: Script) -> None:
    code, _, err = bucket("-i", "in", "", "-o", "out")
    assert (code, err) == (
        2,
        "error: --input: the path is empty, expected files or directories of rollouts, such as -i "
        "./rollouts;\nwrite it out, or look whether the variable that holds it is set\n",
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            "",
            "-i and -o are missing, expected what to read and where to write;\n"
            f"for example: {BUCKET} -i ./rollouts -o ./bucketed\n{ALL_FLAGS}\n",
        ),
        (
            "-i 'my rollouts' -n 5",
            "-o is missing, expected where to write;\n"
            f"for example: {BUCKET} -i 'my rollouts' -n 5 -o ./bucketed\n{ALL_FLAGS}\n",
        ),
        (
            "-o out --dry-run",
            "-i is missing, expected what to read;\n"
            f"for example: {BUCKET} -o out --dry-run -i ./rollouts\n{ALL_FLAGS}\n",
        ),
        (
            "rollouts bucketed",
            "rollouts bucketed: there is no flag before this, expected each value after its flag;\n"
            f"for example: {BUCKET} -i ./rollouts -o ./bucketed\n{ALL_FLAGS}\n",
        ),
    ],
)
def test_missing_flags_are_told_with_a_command(bucket: Script, words: str, told: str) -> None:
    assert bucket(*shlex.split(words)) == (2, "", f"error: {told}")


def test_a_bucket_that_is_not_there(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [rollout(i, 1) for i in range(9)])
    assert bucket("-i", source, "-o", tmp_path / "b")[0] == 0
    for given_name, fix in {
        "esy": "did you mean easy?\n",
        "Hard": "did you mean hard?\n",
        "easy,medium": "did you mean --buckets easy medium, with spaces between the names?\n",
        "42": "name buckets that are there with --buckets\n",
    }.items():
        flags = ("-i", tmp_path / "b", "-o", tmp_path / "p", "--buckets", given_name)
        code, _, err = preprocess(*flags)
        assert (code, err.partition(";\n")[2]) == (1, fix)


def long_flags(parser: str) -> list[str]:
    return [flag for flag in PARSERS[parser]()._option_string_actions if flag.startswith("--")]


@pytest.mark.parametrize("parser", PARSERS)
def test_abbreviated_flags_are_refused(parser: str) -> None:
    flags = long_flags(parser)
    assert len(flags) > 20
    for flag in flags:
        short = flag[:-1]
        if short not in flags and len(short) > 3:
            with pytest.raises(UsageError, match=f"did you mean .*{flag}.*"):
                PARSERS[parser]().parse_args(["-i", "a", "-o", "b", short])


@pytest.mark.parametrize("parser", PARSERS)
def test_every_flag_misspelled_by_a_letter_is_known(parser: str) -> None:
    flags = long_flags(parser)
    for flag in (flag for flag in flags if len(flag) > 6):
        for spelled in (flag[:4] + flag[5:], flag[:5] + flag[4:], flag.replace("-", "_"), flag[1:]):
            if spelled not in flags:
                assert flag in closest(spelled, flags), spelled


def test_every_choice_misspelled_by_a_letter_is_known() -> None:
    every = (METRICS, FILTERS, FORMATS, *DEFAULT_NAMES.values())
    for choices in every:
        for name in choices:
            assert closest(name.upper(), choices) == [name]
            if len(name) > 4:
                assert name in closest(name[:2] + name[3:], choices)


@given(st.text(), st.lists(st.text(), unique=True))
def test_suggestions_are_choices(word: str, choices: list[str]) -> None:
    found = closest(word, choices)
    assert set(found) <= set(choices)
    assert len(found) <= 3
    assert did_you_mean(word, choices) == (f"did you mean {' or '.join(found)}?" if found else "")


def arguments() -> Iterator[list[str]]:
    words = [
        "-i",
        "a",
        "-n",
        "3",
        "--dry-run",
        "--plots",
        "--",
        "-x=1",
        "",
        "-",
        "-1",
        "--thresholds",
    ]
    for count in range(4):
        yield from map(list, product(words, repeat=count))


@pytest.mark.parametrize("parser", PARSERS)
def test_no_command_line_is_answered_by_argparse_itself(
    parser: str, capsys: pytest.CaptureFixture[str]
) -> None:
    built = PARSERS[parser]()
    for words in arguments():
        with suppress(UsageError):
            built.parse_args(words)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("original", "argv", "prog", "command"),
    [
        (
            ["python3", "./bucket_rollouts_by_difficulty.py", "-n"],
            ["./bucket_rollouts_by_difficulty.py", "-n"],
            "bucket_rollouts_by_difficulty.py",
            "python3 ./bucket_rollouts_by_difficulty.py",
        ),
        (
            ["/env/bin/python", "/env/bin/bucket_rollouts_by_difficulty", "-n"],
            ["/env/bin/bucket_rollouts_by_difficulty", "-n"],
            "bucket_rollouts_by_difficulty",
            "bucket_rollouts_by_difficulty",
        ),
        (
            ["python", "notebook.py"],
            ["notebook.py"],
            "bucket_rollouts_by_difficulty.py",
            "python bucket_rollouts_by_difficulty.py",
        ),
    ],
)
def test_messages_name_the_program_as_it_was_started(
    monkeypatch: pytest.MonkeyPatch, original: list[str], argv: list[str], prog: str, command: str
) -> None:
    monkeypatch.setattr(sys, "orig_argv", original)
    monkeypatch.setattr(sys, "argv", argv)
    built = bucket_rollouts_by_difficulty.build_parser()
    assert built.format_help().startswith(f"usage: {prog} -i PATH [PATH …] -o DIR [options]\n\n")
    assert f"\n  {command} -i ./rollouts -o ./bucketed -m mean_reward -n 3\n" in built.format_help()


@pytest.mark.parametrize("name", ["bucket_rollouts_by_difficulty", "preprocess_bucketed_rollouts"])
def test_the_usage_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    usage, _, _ = importlib.import_module(name).build_parser().format_help().partition("\n\n")
    assert "\n" not in usage
    assert usage.endswith(" -o DIR [options]")
