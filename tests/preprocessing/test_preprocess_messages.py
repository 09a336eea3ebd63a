"""The preprocessing script end to end: what is told, what is refused, nothing written then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curriculum.preprocessing.split import Split, split_prompts
from tests.helpers.bucket_directories import TRAIN, bucketed, buckets, three_stages
from tests.helpers.rollouts import Script, lines, rollout, rows, tree, write_jsonl

MIXED = {
    "string and number": (["4", 4], "string at {0}:1, integer at {0}:2"),
    "whole and fraction": ([1, 2.5], "integer at {0}:1, number at {0}:2"),
    "too large": ([1, 2**63], "integer at {0}:1, integer beyond int64 at {0}:2"),
    "text and dict": (["a", {"a": 1}], "string at {0}:1, object at {0}:2"),
    "inside": ([{"a": [1]}, {"a": ["x"]}], "ground_truth.a[] is integer at {0}:1, string at {0}:2"),
}


@pytest.mark.parametrize(("truths", "message"), MIXED.values(), ids=MIXED)
def test_mixed_ground_truths_name_the_way_out(
    tmp_path: Path, bucket: Script, preprocess: Script, truths: list[Any], message: str
) -> None:
    rollouts = [rollout(1, prompt=p, ground_truth=t) for p, t in zip(TRAIN, truths, strict=False)]
    source = bucketed(tmp_path, bucket, rollouts, "-n", 1)
    typed = ("--ground-truth-format", "typed")
    code, out, err = preprocess("-i", source, "-o", tmp_path / "out", *typed)
    assert (code, out) == (1, "")
    assert message.format(source / "level_1.jsonl") in err
    assert "--ground-truth-format string" in err
    assert not (tmp_path / "out").exists()
    flags = ("--ground-truth-format", "string", "--val-ratio", 0)
    assert preprocess("-i", source, "-o", tmp_path / "out", *flags)[0] == 0
    found = [
        r["reward_model"]["ground_truth"] for r in rows(tmp_path / "out/level_1_train.parquet")
    ]
    assert found == [t if isinstance(t, str) else json.dumps(t) for t in truths]


def test_what_is_left_out_or_replaced_is_told(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    message = {"role": "user", "content": TRAIN[1], "mood": "calm"}
    rollouts = [
        rollout(1, 1, prompt=TRAIN[0], responses=[]),
        {**rollout(1, 1), "prompt": [message], "response": {"choices": [{"text": "a"}]}},
        {**rollout(1, None), "prompt": f"{TRAIN[2]}\ud800", "response": None},
    ]
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rollouts))
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "bucketed", "-n", 1)[0] == 0
    _, _, err = preprocess("-i", tmp_path / "bucketed", "-o", tmp_path / "out", "--val-ratio", 0)
    told = [
        line.removeprefix("warning: ")
        .replace(f"1 of 3 rollouts in {tmp_path / 'bucketed'} ", "")
        .split(",")[0]
        .split(";")[0]
        for line in err.splitlines()
    ]
    assert told == [
        "message keys other than role",
        "has no text for the best response",
        "has another number of responses than of rewards",
        "has lone surrogates",
        "1 of 6 scores is missing (null",
    ]
    found = rows(tmp_path / "out/level_1_train.parquet")
    assert [row["prompt"][0]["content"] for row in found] == [*TRAIN[:2], f"{TRAIN[2]}\ufffd"]


CHATML = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("prompt", "expected", "told"),
    [
        ([("user", "{}"), ("assistant", "<think>\n")], [("user", "{}"), ("assistant", "<think>\n")],
         ["ends with the opening of an answer, such as <think>. It is kept"]),
        ([("user", "{}"), ("assistant", "It is 4.")], [("user", "{}")],
         ["ends with an answer. Trailing assistant turns"]),
        (CHATML, [("user", "{}")], ["It was taken apart into messages"]),
        (f"{CHATML}<think>\n", [("user", "{}")],
         ["It was taken apart into messages", "at its end an opening of the answer"]),
        ("[INST] {} [/INST]", [("user", "[INST] {} [/INST]")], ["in a form that is not known"]),
        ("{}", [("user", "{}")], []),
    ],
)  # fmt: skip
def test_prompts_that_are_not_what_they_seem_are_told(
    tmp_path: Path, bucket: Script, preprocess: Script, prompt: Any, expected: Any, told: list[str]
) -> None:
    def messages(turns: Any, text: str) -> Any:
        if isinstance(turns, str):
            return turns.format(text)
        return [{"role": role, "content": said.format(text)} for role, said in turns]

    rollouts = [rollout(1, 0) | {"prompt": messages(prompt, text)} for text in TRAIN[:2]]
    source = bucketed(tmp_path, bucket, [*rollouts, rollout(1, 1, prompt=TRAIN[2])], "-n", 1)
    code, _, err = preprocess("-i", source, "-o", tmp_path / "p", "--val-ratio", 0)
    assert code == 0
    found = rows(tmp_path / "p/level_1_train.parquet")
    assert [row["prompt"] for row in found[:2]] == [messages(expected, t) for t in TRAIN[:2]]
    warnings = [line for line in err.splitlines() if "prompt" in line]
    assert len(warnings) == len(told)
    for words in told:
        assert f"2 of 3 rollouts in {source} have " in err
        assert words in err


def test_rollouts_without_a_score_are_set_aside(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    source = buckets(
        tmp_path / "b", easy=three_stages()[:5], hard=[rollout(None, prompt=TRAIN[50])]
    )
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out", "--val-ratio", 0)
    assert code == 0
    unscored = tmp_path / "out/rejected/unscored.jsonl"
    assert unscored.read_bytes() == (source / "hard.jsonl").read_bytes()
    reason = json.loads((tmp_path / "out/rejected/reasons.jsonl").read_text())
    assert (reason["file"], reason["line"]) == (str(source / "hard.jsonl"), 1)
    assert "1 rollout without any score became no row" in err
    assert "hard_train.parquet would have no rows" in err


def test_without_a_manifest_the_order_is_guessed(tmp_path: Path, preprocess: Script) -> None:
    stages = three_stages()
    source = buckets(tmp_path / "b", medium=stages[10:20], zzz=stages[20:], easy=stages[:10])
    (source / ".x.jsonl").write_text("not a bucket")
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out", "--combine")
    assert code == 0
    found = [row["extra_info"] for row in rows(tmp_path / "out/combined_train.parquet")]
    assert list(dict.fromkeys(r["curriculum_stage"] for r in found)) == ["easy", "medium", "zzz"]
    assert {r["difficulty_metrics"]["value"] for r in found} == {None}
    assert {r["difficulty_metrics"]["metric"] for r in found} == {None}
    assert "has no bucketing.json" in err
    assert "(easy medium zzz)" in err


def test_edited_and_unknown_files_are_told(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    source = bucketed(tmp_path, bucket, three_stages())
    with (source / "hard.jsonl").open("ab") as file:
        file.write(b"\n" + lines(source / "easy.jsonl")[0])
    write_jsonl(source / "old.jsonl", three_stages()[:1])
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out")
    assert code == 0
    assert f"{source}/hard.jsonl was edited since bucketing: it has 11 rollouts" in err
    assert "old.jsonl in" in err
    assert "left alone" in err
    assert not list((tmp_path / "out").glob("old*"))


def test_other_splits_in_the_same_directory_are_told(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    source = bucketed(tmp_path, bucket, three_stages())
    flags = ("-i", source, "-o", tmp_path / "out")
    assert preprocess(*flags, "--combine", "--output-name", "phase2")[2] == ""
    _, _, err = preprocess(*flags, "--combine", "--output-name", "phase3", "--seed", 7)
    assert "also holds phase2, made with another --seed" in err


def test_malformed_lines_stop_the_run(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    rollouts = three_stages()
    del rollouts[3]["prompt"]
    rollouts[25]["extra_info"] = [1]
    source = bucketed(tmp_path, bucket, rollouts)
    code, out, err = preprocess("-i", source, "-o", tmp_path / "out", "--buckets", "medium")
    assert (code, out) == (1, "")
    assert f"{source}/easy.jsonl:4: no prompt" in err
    assert f"{source}/hard.jsonl:6: extra_info is not an object: it is a list" in err
    assert not (tmp_path / "out").exists()


USAGE = {
    "filter": (("--filter", "some"), "--filter: there is no 'some', expected one of all, best"),
    "format": (("--ground-truth-format", "x"), "--ground-truth-format: there is no 'x'"),
    "ratio": (("--val-ratio", 1), "--val-ratio: the ratio is 1.0, expected 0 or more and below 1"),
    "negative": (("--val-ratio", -0.1), "--val-ratio: the ratio is -0.1"),
    "no ratio": (("--val-ratio", "nan"), "--val-ratio: the ratio is nan"),
    "name": (("--output-name", "x"), "--output-name: it names the combined set, and there is none"),
    "bad name": (("--combine", "--output-name", "a[1]"), "--output-name: the name 'a[1]' holds"),
    "threshold": (("--pass-threshold", "inf"), "--pass-threshold: the score is inf"),
    "seed": (("--seed", 2**64), "--seed: the seed is 18446744073709551616"),
    "source": (("--data-source", ""), "--data-source: the name is empty"),
}


@pytest.mark.parametrize(("flags", "message"), USAGE.values(), ids=USAGE)
def test_wrong_flags_exit_2(tmp_path: Path, preprocess: Script, flags: tuple, message: str) -> None:
    code, out, err = preprocess("-i", tmp_path / "gone", "-o", tmp_path / "out", *flags)
    assert (code, out) == (2, "")
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_what_the_disk_says_exits_1(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    out = tmp_path / "out"

    def refused(message: str, *flags: Any) -> None:
        code, stdout, err = preprocess(*flags)
        assert (code, stdout) == (1, "")
        assert message in err
        assert ", expected " in err

    source = bucketed(tmp_path, bucket, three_stages())
    refused(f"{tmp_path}/gone: no such directory", "-i", tmp_path / "gone", "-o", out)
    refused("easy.jsonl: this is a file", "-i", source / "easy.jsonl", "-o", out)
    (tmp_path / "none").mkdir()
    refused("there are no bucket files here", "-i", tmp_path / "none", "-o", out)
    refused("there is no bucket 'esy', expected one of easy, medium, hard",
            "-i", source, "-o", out, "--buckets", "esy")  # fmt: skip
    refused("'easy' is the name of a bucket", "-i", source, "-o", out, "--combine",
            "--output-name", "easy")  # fmt: skip
    refused("the output directory is the input directory", "-i", source, "-o", source)
    refused("has a score in reward[i].V_i", "-i", source, "-o", out, "--score-field", "V_i")
    (source / "medium.jsonl").unlink()
    refused("medium.jsonl: bucketing.json names this bucket file", "-i", source, "-o", out)
    buckets(tmp_path / "odd", **{"a[1]": three_stages()[:1]})
    refused("the bucket's name holds '['", "-i", tmp_path / "odd", "-o", out)
    assert not out.exists()


def test_files_of_others_are_not_replaced(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    source = bucketed(tmp_path, bucket, three_stages())
    (tmp_path / "out").mkdir()
    (tmp_path / "out/hard_val.parquet").write_text("mine")
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out")
    assert code == 1
    assert f"{tmp_path}/out/hard_val.parquet: this file is there already" in err
    assert tree(tmp_path / "out") == {"hard_val.parquet": b"mine"}


def test_places_are_right_in_later_shards(
    tmp_path: Path, bucket: Script, preprocess: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts = [rollout(1, prompt=p, ground_truth="4") for p in TRAIN[:9]]
    rollouts[7]["ground_truth"] = ["4"]
    source = bucketed(tmp_path, bucket, rollouts, "-n", 1)
    monkeypatch.setattr("curriculum.reading.input_files.SHARD_BYTES", 300)
    _, _, err = preprocess("-i", source, "-o", tmp_path / "out")
    assert f"string at {source}/level_1.jsonl:1, list at {source}/level_1.jsonl:8" in err


def test_own_files_under_rejected_are_not_touched(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    mine = tmp_path / "out/rejected/reasons.jsonl"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    source = bucketed(tmp_path, bucket, three_stages())
    for script, given in ((bucket, tmp_path / "in"), (preprocess, source)):
        code, _, err = script("-i", given, "-o", tmp_path / "out")
        assert code == 1
        assert f"{mine}: this file is there already" in err
    assert tree(tmp_path / "out") == {"rejected/reasons.jsonl": b"mine"}


def test_each_script_has_its_own_directory(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    source = bucketed(tmp_path, bucket, three_stages())
    shutil.copytree(source, tmp_path / "other")
    assert preprocess("-i", source, "-o", tmp_path / "out")[0] == 0
    before = tree(tmp_path)
    code, _, err = preprocess("-i", source, "-o", tmp_path / "other")
    assert (code, "it holds bucketing.json" in err) == (1, True)
    code, _, err = bucket("-i", tmp_path / "in", "-o", tmp_path / "out")
    assert (code, "it holds preprocessing.json" in err) == (1, True)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("in_the_way", ["easy_train.parquet/x", "rejected"])
def test_what_is_in_the_way_is_found_before_anything_is_written(
    tmp_path: Path, bucket: Script, preprocess: Script, in_the_way: str
) -> None:
    source = bucketed(tmp_path, bucket, three_stages())
    assert preprocess("-i", source, "-o", tmp_path / "out")[0] == 0
    path = tmp_path / "out" / in_the_way
    path.parent.unlink(missing_ok=True) if path.parent != tmp_path / "out" else None
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    before = tree(tmp_path / "out")
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out", "--seed", 7)
    assert (code, "directory" in err) == (1, True)
    assert tree(tmp_path / "out") == before


def test_sets_of_another_bucketing_or_format_are_told(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    source = bucketed(tmp_path, bucket, three_stages(), "-n", 5)
    out = tmp_path / "out"
    assert preprocess("-i", source, "-o", out)[0] == 0
    flags = ("--combine", "--output-name", "all")
    _, _, err = preprocess("-i", source.resolve(), "-o", out, *flags)
    assert "also holds" not in err
    _, _, err = preprocess("-i", source, "-o", out, *flags, "--ground-truth-format", "string")
    assert "made with another --ground-truth-format: verl cannot load them together" in err
    bucketed(tmp_path, bucket, three_stages(), "-n", 3)
    _, _, err = preprocess("-i", source, "-o", out)
    assert "also holds all, very_easy, very_hard, made from another bucketing" in err


def test_kept_data_sources_are_counted_from_the_rows(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    rollouts = [rollout(1, prompt=p, data_source="openai/gsm8k") for p in TRAIN[:3]]
    source = bucketed(tmp_path, bucket, rollouts, "-n", 1)
    _, out, _ = preprocess("-i", source, "-o", tmp_path / "out", "--keep-data-source")
    assert "no reward function" not in out
    del rollouts[0]["data_source"]
    bucketed(tmp_path, bucket, rollouts, "-n", 1)
    _, out, _ = preprocess("-i", source, "-o", tmp_path / "out", "--keep-data-source")
    assert "no reward function for data_source bucketed_curriculum (1 of 3 rows)" in out


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"extra_info": {"tools_kwargs": "calc"}}, "extra_info.tools_kwargs is string"),
        ({"ground_truth": {}}, "ground_truth is an empty object at"),
        ({"ground_truth": eval("[" * 60 + "]" * 60)}, "nested more than 40 deep at"),
    ],
)
def test_what_parquet_or_verl_cannot_hold_is_refused(
    tmp_path: Path, bucket: Script, preprocess: Script, fields: dict, message: str
) -> None:
    source = bucketed(tmp_path, bucket, [rollout(1, **fields)], "-n", 1)
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out")
    assert code == 1
    assert message in err
    assert not (tmp_path / "out").exists()


def test_the_first_empty_ground_truth_is_named(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    rollouts = [rollout(1, prompt="a", ground_truth=None), rollout(1, prompt="b", ground_truth={})]
    source = bucketed(tmp_path, bucket, rollouts, "-n", 1)
    _, _, err = preprocess("-i", source, "-o", tmp_path / "out")
    assert f"ground_truth is an empty object at {source}/level_1.jsonl:2" in err


def test_invalid_utf8_is_malformed_even_where_no_row_takes_it(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    good = b'{"prompt": "x", "reward": [1]}\n'
    source = tmp_path / "a.jsonl"
    source.write_bytes(good + b'{"prompt": "y", "reward": [1], "parameters": "\xff"}\n' + good)
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1)[0] == 0
    code, _, err = preprocess("-i", tmp_path / "b", "-o", tmp_path / "out")
    assert code == 1
    assert "level_1.jsonl:2: invalid UTF-8: byte 46 of the line" in err
    assert "1 malformed line (" in err


def test_file_that_changes_during_the_run_is_refused(
    tmp_path: Path, bucket: Script, preprocess: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = bucketed(tmp_path, bucket, three_stages())

    def touch_and_split(*given: Any) -> Any:
        path = source / "hard.jsonl"
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
        return split_prompts(*given)

    monkeypatch.setattr("curriculum.preprocess.split_prompts", touch_and_split)
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out")
    assert (code, "hard.jsonl: the file changed while it was read" in err) == (1, True)
    assert not (tmp_path / "out").exists()


def test_prompt_on_both_sides_is_an_internal_error(
    tmp_path: Path, bucket: Script, preprocess: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = bucketed(tmp_path, bucket, [rollout(1, prompt=TRAIN[0])] * 4, "-n", 1)

    class Coin(Split):
        def is_val(self, hashes: Any) -> Any:
            return np.arange(len(hashes)) % 2 == 0

    monkeypatch.setattr("curriculum.preprocess.split_prompts", lambda *_: Coin(1))
    code, _, err = preprocess("-i", source, "-o", tmp_path / "out")
    assert (code, "internal error: 1 prompts are on both sides of the split" in err) == (1, True)
    assert not (tmp_path / "out").exists()
