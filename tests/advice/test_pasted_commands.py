"""Input that cannot be read: what is said of it, and that the command works as it is printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bucket_rollouts_by_difficulty
import preprocess_bucketed_rollouts
from tests.advice.inputs import (
    GRADED,
    ONE,
    OTHER_FIELDS,
    OTHER_KINDS,
    OWN,
    PASSED,
    PROMPTS,
    SCORES,
    TEXT,
    Write,
    lines,
    parquet,
    renamed,
    table,
    text,
)
from tests.helpers.rollouts import ROOT, Script, rows

EVERY = OTHER_KINDS | OTHER_FIELDS | GRADED
# These are pasted in the quick tests, too: one of each way to go on.
QUICK = {
    "parquet with one response a row", "zip", "gzip named jsonl", "scalar reward",
    "scores, completions and question",
}  # fmt: skip
MAINS = {
    "bucket_rollouts_by_difficulty.py": bucket_rollouts_by_difficulty.main,
    "preprocess_bucketed_rollouts.py": preprocess_bucketed_rollouts.main,
}
SCRIPTS = tuple(MAINS)


# A script `python`: notes the arguments of both scripts, as the shell hands them over.
NOTE = f"""#!/bin/sh
case "$1" in
    {" | ".join(SCRIPTS)}) printf '%s\\0' "$#" "$@" >>../notes ;;
    *) if [ -e ../notes ]; then exit 9; fi; exec "{sys.executable}" "$@" ;;
esac
"""


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with both scripts, and a `python` for what is pasted."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").write_text(NOTE)
    (tmp_path / "bin/python").chmod(0o755)
    (tmp_path / "desk").mkdir()
    for script in SCRIPTS:
        (tmp_path / "desk" / script).symlink_to(ROOT / script)
    monkeypatch.chdir(tmp_path / "desk")
    return tmp_path / "desk"


def paste(message: str, desk: Path) -> None:
    """Run what the message prints after its last sentence, as a shell does; the scripts, which
    come last, in this process."""
    commands = message.partition("\n\n")[2]
    path = f"{desk.parent / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=desk, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, commands + done.stderr
    notes = desk.parent / "notes"
    noted = notes.read_text().split("\0")[:-1]
    notes.unlink()
    while noted:
        count, script = int(noted[0]), noted[1]
        assert MAINS[script](noted[2 : count + 1]) == 0, commands
        noted = noted[count + 1 :]


def bucketed(directory: str = "out") -> dict[str, list[float]]:
    """The scores of each prompt in a bucket directory."""
    found = {}
    manifest = json.loads(Path(directory, "bucketing.json").read_text())
    field = manifest["metric"]["score_field"]
    for bucket in manifest["buckets"]:
        for line in Path(directory, bucket["file"]).read_text().splitlines():
            rollout = json.loads(line)
            prompt = rollout.get("prompt") or rollout["messages"]
            entries = rollout["reward"]
            found[prompt if isinstance(prompt, str) else prompt[0]["content"]] = sorted(
                float(entry[field] if isinstance(entry, dict) else entry) for entry in entries
            )
    return found


def scores_of(name: str) -> dict[str, list[float]]:
    found = PASSED if name in GRADED else dict(zip(PROMPTS, SCORES, strict=True))
    return {prompt: sorted(scores) for prompt, scores in found.items()}


def in_order(parts: list[str], message: str) -> list[str]:
    """The parts that the message does not have, each after the one before."""
    missing, at = [], 0
    for part in parts:
        here = message.find(part, at)
        missing += [part] if here < 0 else []
        at = max(here, at)
    return missing


@pytest.mark.parametrize("name", EVERY)
def test_what_is_said_of_input_that_cannot_be_read(bucket: Script, name: str) -> None:
    write, given, told = EVERY[name]
    write()
    code, out, err = bucket("-i", given, "-o", "out", "--thresholds", "0.3", "0.7")
    assert (code, out, Path("out").exists()) == (1, "", False)
    assert in_order(told, err) == []
    found, _, commands = err.partition("\n\n")
    assert "-o out --thresholds 0.3 0.7" in commands.replace(" \\\n   ", "")
    assert len(found.splitlines()) <= 5
    assert max(map(len, found.splitlines())) <= 100
    assert err.count("expected") == 1


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in EVERY]
)
def test_the_command_works_as_printed(desk: Path, bucket: Script, name: str) -> None:
    write, given, _ = EVERY[name]
    write()
    _, _, err = bucket("-i", given, "-o", "out", "-n", 2)
    paste(err, desk)
    assert bucketed() == scores_of(name)


@pytest.mark.slow
def test_the_flags_are_the_users_own(desk: Path, bucket: Script) -> None:
    lines("r r.jsonl", renamed(OWN, reward="rewards"))()
    flags = ("-m", "pass_at_k", "--k", 2, "-n", 2, "--bucket-names", "a b", "c", "--ties", "split")
    _, _, err = bucket("-i", "r r.jsonl", "-o", "an out", *flags)
    paste(err, desk)
    manifest = json.loads(Path("an out/bucketing.json").read_text())
    assert (manifest["metric"]["name"], manifest["metric"]["k"]) == ("pass_at_k", 2)
    assert manifest["method"]["ties"] == "split"
    assert [bucket["name"] for bucket in manifest["buckets"]] == ["a b", "c"]


def test_numbers_and_texts_are_converted_without_a_change(desk: Path, bucket: Script) -> None:
    odd = {
        "prompt": "ü “$HOME” `x` \\n\u2028 \U0001f600",
        "reward": [0.1 + 0.2, 1e-300, float("nan"), 2**60 + 1],
        "ground_truth": "007",
        "n": 12345678901234567890,
    }
    odd["rewards"] = odd.pop("reward")
    text("a.json", json.dumps([odd], indent=1))()
    _, _, err = bucket("-i", "a.json", "-o", "out", "-n", 1)
    paste(err, desk)
    odd["reward"] = odd.pop("rewards")
    (line,) = Path("out/level_1.jsonl").read_text().splitlines()
    assert {k: repr(v) for k, v in json.loads(line).items()} == {k: repr(v) for k, v in odd.items()}


@pytest.mark.slow
def test_cells_of_csv_keep_their_commas_and_lines(desk: Path, bucket: Script) -> None:
    long = "x" * 200_000  # more than Python's csv takes by default
    text("t.csv", f'prompt,response,score\n"a, ""b""\nc",{long},1\n"a, ""b""\nc",no,\n')()
    _, _, err = bucket("-i", "t.csv", "-o", "out", "-n", 1)
    paste(err, desk)
    (line,) = Path("out/level_1.jsonl").read_text().splitlines()
    made = json.loads(line)
    assert made["prompt"] == 'a, "b"\nc'
    texts = [choice["message"]["content"] for choice in made["response"]["choices"]]
    assert texts == [long, "no"]
    assert str(made["reward"][1]["score"]) in ("nan", "None")


@pytest.mark.slow
def test_converted_rollouts_replace_no_file(desk: Path, bucket: Script) -> None:
    text("converted.jsonl", "mine")()
    text("r.csv", table(","))()
    _, _, err = bucket("-i", "r.csv", "-o", "out", "-n", 2)
    paste(err, desk)
    assert Path("converted.jsonl").read_text() == "mine"
    assert bucketed() == scores_of("")


def test_other_files_of_a_directory_are_kept(desk: Path, bucket: Script) -> None:
    lines("d/a.jsonl", OWN[:3])()
    text("d/b.jsonl", "".join(f"{line!r}\n" for line in OWN[3:]))()
    _, _, err = bucket("-i", "d", "-o", "out", "-n", 2)
    paste(err, desk)
    assert bucketed() == scores_of("")


@pytest.mark.slow
def test_other_inputs_are_kept(desk: Path, bucket: Script) -> None:
    lines("a.jsonl", OWN[:3])()
    text("b.jsonl", "".join(f"{line!r}\n" for line in OWN[3:]))()
    _, _, err = bucket("-i", "a.jsonl", "b.jsonl", "-o", "out", "-n", 2)
    paste(err, desk)
    assert bucketed() == scores_of("")


@pytest.mark.slow
def test_lines_of_another_form_in_one_of_the_files(desk: Path, bucket: Script) -> None:
    lines("d/a.jsonl", OWN[:3])()
    lines("d/b.jsonl", renamed(OWN[3:5], reward="rewards"))()
    lines("d/c.jsonl", renamed(OWN[5:], reward="rewards"))()
    text("d/0.jsonl", "\n")()
    _, _, err = bucket("-i", "d", "-o", "out", "-n", 1)
    assert 'd/b.jsonl:1: no "reward"' in err
    assert "It is not like d/a.jsonl.\nBucket it apart.\nEach line is a rollout;" in err
    paste(err, desk)
    assert bucketed() == dict(list(scores_of("").items())[3:])


@pytest.mark.slow
def test_responses_in_one_of_the_files_are_bucketed_apart(desk: Path, bucket: Script) -> None:
    lines("d/a.jsonl", OWN[:3])()
    lines("d/b.jsonl", ONE)()
    _, _, err = bucket("-i", "d", "-o", "out", "-n", 1)
    assert "It is not like d/a.jsonl.\nBucket it apart.\nEach line is one response;" in err
    paste(err, desk)
    assert bucketed() == scores_of("")


def test_a_file_of_another_kind_is_refused_whatever_is_set_aside(bucket: Script) -> None:
    text("d/b.jsonl", TEXT.encode("utf-16"))()
    code, _, err = bucket("-i", "d", "-o", "out", "--on-malformed", "set-aside")
    assert (code, "this is text in UTF-16" in err) == (1, True)


def test_lines_that_are_set_aside_are_not_all_of_them(bucket: Script) -> None:
    """Only when all were read and none is a rollout, the first ones say how to read them."""
    lines("a.jsonl", renamed(OWN, reward="rewards"))()
    flags = ("-o", "out", "--on-malformed", "set-aside", "-n", 1)
    code, _, err = bucket("-i", "a.jsonl", *flags)
    assert (code, "--score-field rewards" in err) == (1, True)
    long = [line | {"x": "x" * 20_000} for line in OWN]
    lines("a.jsonl", [*renamed(long, reward="scores"), *OWN])()
    code, _, err = bucket("-i", "a.jsonl", *flags)
    assert (code, "6 malformed lines set aside" in err) == (0, True)


NOTHING: dict[str, tuple[str | bytes, list[str]]] = {
    "git lfs": (
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        ["this is a Git LFS pointer, not the data", "fetch the file itself with `git lfs pull`"],
    ),
    "html": ("<!DOCTYPE html>\n<html></html>", ["this is an HTML page", "/resolve/"]),
    "xml": ('<?xml version="1.0"?><Error/>', ["this is an XML document", "download the data"]),
    "pickle": (b"\x80\x04\x95\0", ["this is a Python pickle", "write it as JSON lines"]),
    "empty": ("", ["there are no rollouts in these files", "they are empty (0 bytes): check"]),
    "blank": ("\n \n", ["there are no rollouts in these files", "they hold only blank lines"]),
    "text": ("Step 1\nStep 2\n", ["no line is a JSON object, the first is Step 1", "leave it out"]),
    "lists": ("[1, 2]\n[3]\n", ["no line is a JSON object, the first is [1, 2]"]),
    "no scores": (
        '{"prompt": "a", "answer": "b"}\n' * 3,
        ['all 3 lines are malformed (3 × no "reward"), expected one rollout per line\n  r.jsonl:1: '
         'no "reward": it has prompt: text, answer: text\n  … and 2 more;\n',
         "A rollout has reward, a list with one score per response."],
    ),
    "responses without scores": (
        '{"prompt": "a", "responses": ["b", "c"]}',
        ['r.jsonl:1: no "reward": it has prompt: text, responses: list of 2 texts;\n'],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTHING)
def test_what_no_command_reads(bucket: Script, name: str) -> None:
    content, told = NOTHING[name]
    text("r.jsonl", content)()
    code, _, err = bucket("-i", "r.jsonl", "-o", "out")
    assert (code, in_order(told, err)) == (1, [])
    assert "\n\n" not in err
    assert max(map(len, err.splitlines())) <= 100


def test_files_that_begin_like_nothing_are_left_out(bucket: Script) -> None:
    text("README.md", "# Rollouts")()
    code, _, err = bucket("-i", "README.md", "-o", "out")
    assert (code, "README.md: this file does not begin like JSON" in err) == (1, True)
    assert "\n\n" not in err


def test_a_directory_says_what_it_holds(bucket: Script) -> None:
    text("d/run.py", "import x")()
    text("d/.hidden.jsonl", TEXT)()
    code, _, err = bucket("-i", "d", "-o", "out")
    assert (
        code,
        "d: holds no rollout files (it holds run.py), expected rollouts;" in err,
    ) == (
        1,
        True,
    )


@pytest.mark.slow
def test_a_directory_of_a_dataset_is_its_data(desk: Path, bucket: Script) -> None:
    """Hugging Face's save_to_disk writes two small JSON files beside the Arrow files."""
    OTHER_KINDS["arrow stream"][0]()
    Path("d").mkdir()
    Path("d.arrow").rename("d/data-00000-of-00001.arrow")
    text("d/state.json", '{\n  "_data_files": [\n    {\n      "filename": "x"\n    }\n  ]\n}')()
    _, _, err = bucket("-i", "d", "-o", "out", "-n", 2)
    assert "this is an Arrow stream, as Hugging Face datasets keeps it" in err
    paste(err, desk)
    assert bucketed() == scores_of("")


def test_the_scripts_are_named_as_they_were_started(
    bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    text("r.csv", table(","))()
    for started, shown in (
        (
            "../bin/bucket_rollouts_by_difficulty.py",
            "python ../bin/bucket_rollouts_by_difficulty.py",
        ),
        ("/env/bin/bucket_rollouts_by_difficulty", "bucket_rollouts_by_difficulty"),
        ("/env/bin/pytest", "python bucket_rollouts_by_difficulty.py"),
    ):
        monkeypatch.setattr(sys, "argv", [started])
        assert (
            f"&&\n{shown} -i converted.jsonl -o out --score"
            in bucket("-i", "r.csv", "-o", "out")[2]
        )


# What the second script is given instead of a directory of buckets.
GIVEN: dict[str, tuple[Write, str, list[str]]] = {
    "rollouts": (
        text("r.jsonl", TEXT), "r.jsonl", ["r.jsonl: this is a file", "bucket the rollouts first:"],
    ),
    "parquet": (parquet("r.parquet", OWN), "r.parquet", ["r.parquet: this is a file", "first:"]),
    "a directory of a dump": (
        lines("d/1.jsonl", renamed(ONE, reward="score", prompt="input", response="output")),
        "d",
        ["d: these files are not buckets, but a verl trainer dump"],
    ),
    "a directory of responses": (
        lines("d/1.jsonl", ONE), "d", ["these files are not buckets (reward is not a list: it is"],
    ),
    "a directory of other fields": (
        lines("d/easy.jsonl", renamed(OWN, reward="scores")),
        "d",
        ['these files are not buckets (no "reward")', "the line has prompt: text, "],
    ),
    "a directory of directories": (
        text("d/a/r.jsonl", TEXT), "d", ["d: there are no bucket files here (holds no rollout"],
    ),
    "a directory of compressed files": (
        lambda: [OTHER_KINDS["gzip named jsonl"][0](), Path("d").mkdir(),
                 Path("g.jsonl").rename("d/a.jsonl.gz")],
        "d",
        ["there are no bucket files here"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == "parquet" else pytest.mark.slow) for n in GIVEN]
)
def test_the_second_script_buckets_first(desk: Path, preprocess: Script, name: str) -> None:
    write, given, told = GIVEN[name]
    write()
    code, out, err = preprocess("-i", given, "-o", "out", "--val-ratio", 0, "--combine")
    assert (code, out, Path("out").exists()) == (1, "", False)
    assert in_order([*told, "python preprocess_bucketed_rollouts.py -i bucketed -o out"], err) == []
    paste(err, desk)
    assert bucketed("bucketed") == scores_of("")
    assert len(rows(Path("out/combined_train.parquet"))) == 6


ELSEWHERE: dict[str, tuple[str, list[str], str]] = {
    "a bucket file": (
        "b/easy.jsonl",
        ["b/easy.jsonl: this is a file", "name the bucket"],
        "easy_t",
    ),
    "the directory above": (".", ["there are no bucket files here", "-i ./b -o out"], "hard_train"),
    "the rejected lines": (
        "b/rejected",
        ["there are no bucket files", "-i b -o out"],
        "hard_train",
    ),
    "a typing error": ("bb", ["bb: no such directory", "did you mean this one?"], "hard_train"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ELSEWHERE)
def test_buckets_that_are_elsewhere(
    desk: Path, bucket: Script, preprocess: Script, name: str
) -> None:
    given, told, made = ELSEWHERE[name]
    lines("../r.jsonl", [*OWN, {"prompt": "x", "reward": [None]}])()
    assert bucket("-i", "../r.jsonl", "-o", "b", "-n", 2)[0] == 0
    given = given.replace("bb", "bucketed_rollout") if name == "a typing error" else given
    if name == "a typing error":
        Path("b").rename("bucketed_rollouts")
        told = [part.replace("bb", given) for part in told]
    code, _, err = preprocess("-i", given, "-o", "out", "--val-ratio", 0)
    assert (code, in_order(told, err)) == (1, [])
    paste(err, desk)
    assert [path.name for path in sorted(Path("out").glob("*.parquet"))][-1].startswith(made)


def test_its_own_output_is_not_its_input(bucket: Script, preprocess: Script) -> None:
    lines("r.jsonl", OWN)()
    bucket("-i", "r.jsonl", "-o", "b")
    preprocess("-i", "b", "-o", "p", "--val-ratio", 0)
    code, _, err = preprocess("-i", "p", "-o", "q")
    assert (code, "p: this is the output of this script" in err) == (1, True)


def test_rollouts_that_were_never_bucketed_are_told(
    desk: Path, bucket: Script, preprocess: Script
) -> None:
    lines("d/part-1.jsonl", OWN)()
    code, _, err = preprocess("-i", "d", "-o", "out", "--val-ratio", 0)
    told = "never bucketed: python bucket_rollouts_by_difficulty.py -i d -o bucketed\n"
    assert (code, told in err) == (0, True)
    lines("e/easy.jsonl", OWN)()
    code, _, err = preprocess("-i", "e", "-o", "out", "--val-ratio", 0)
    assert (code, "is a guess from their names" in err, "never" in err) == (0, True, False)


def test_what_lies_beside_bucket_files_does_not_matter(preprocess: Script) -> None:
    lines("e/easy.jsonl", OWN)()
    text("e/old.jsonl.gz", b"damaged")()
    parquet("e/r.parquet", ONE)()
    assert preprocess("-i", "e", "-o", "out", "--val-ratio", 0)[0] == 0


def test_bucket_files_of_other_lines_can_be_set_aside(preprocess: Script) -> None:
    lines("e/easy.jsonl", OWN)()
    lines("e/hard.jsonl", ONE)()
    flags = ("-i", "e", "-o", "out", "--val-ratio", 0)
    code, _, err = preprocess(*flags)
    assert (code, "these files are not buckets (reward is not a list" in err) == (1, True)
    code, _, err = preprocess(*flags, "--on-malformed", "set-aside")
    assert (code, "12 malformed lines set aside" in err) == (0, True)


def test_a_bucket_file_that_is_a_pointer_is_fetched(bucket: Script, preprocess: Script) -> None:
    lines("r.jsonl", OWN)()
    bucket("-i", "r.jsonl", "-o", "b")
    text("b/easy.jsonl", NOTHING["git lfs"][0])()
    code, _, err = preprocess("-i", "b", "-o", "p")
    assert (code, "b/easy.jsonl: this is a Git LFS pointer" in err, "git lfs pull" in err) == (
        1,
        1,
        1,
    )
    text("b/easy.jsonl", b"PAR1")()
    assert "or bucket again" in preprocess("-i", "b", "-o", "p")[2]


def test_the_guide_shows_what_is_printed(bucket: Script) -> None:
    page = (ROOT / "docs/BUCKETING_GUIDE.md").read_text("utf-8")
    command, _, shown = page.partition("```console\n$ ")[2].partition("```")[0].partition("\n")
    line: dict[str, Any] = {"question": "q", "completions": ["a"] * 8, "scores": [0.5] * 8}
    lines("answers.jsonl", [line])()
    assert bucket(*command.split()[2:])[2] == shown
