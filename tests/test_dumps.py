"""Dumps with one response a line become rollouts: each format, what is kept, what is refused."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import curriculum.dump_responses
import curriculum.dumps
import curriculum.inputs
from curriculum import BucketOptions, bucket_rollouts
from curriculum.dump_values import template_prompt, written_number
from curriculum.hashes import NOTHING, Hashes, hash_value, mix
from tests.dumps import ASKED, CASES, choices, user
from tests.support import DATA, Script, lines, needs_data, rollout, rows, tree, write_jsonl

BUCKETS = ("easy", "medium", "hard")


def held(directory: Path) -> list[dict[str, Any]]:
    """The rollouts of all buckets, and of the unscored ones."""
    paths = [directory / f"{name}.jsonl" for name in BUCKETS]
    paths.append(directory / "rejected/unscored.jsonl")
    return [json.loads(line) for path in paths if path.exists() for line in lines(path)]


def by_key(rollouts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rollouts, key=lambda rollout: json.dumps(rollout, sort_keys=True))


@pytest.mark.parametrize("flag", ["auto", "by name"])
@pytest.mark.parametrize("case", CASES)
def test_every_format_as_it_is_documented(
    tmp_path: Path, bucket: Script, case: str, flag: str
) -> None:
    name, (dump, expected) = CASES[case]
    source = write_jsonl(tmp_path / "dump.jsonl", dump)
    format = () if flag == "auto" else ("--format", name)
    code, out, _ = bucket("-i", source, "-o", tmp_path / "b", *format)
    assert (code, f"(--format {name}): 4 responses, 0 malformed\ngrouped by " in out) == (0, True)
    assert "into 2 rollouts of 2 responses, scores from" in out
    assert by_key(held(tmp_path / "b")) == by_key(expected)
    record = json.loads((tmp_path / "b/bucketing.json").read_text())
    assert (record["metric"]["score_field"], record["dump"]["format"]) == ("score", name)
    assert record["counts"]["read"] == 2


@pytest.mark.parametrize("case", sorted(CASES.keys() - {"humaneval"}))
def test_the_second_script_takes_what_every_format_became(
    tmp_path: Path, bucket: Script, preprocess: Script, case: str
) -> None:
    _, (dump, expected) = CASES[case]
    source = write_jsonl(tmp_path / "dump.jsonl", dump)
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1)[0] == 0
    flags = ("-i", tmp_path / "b", "-o", tmp_path / "p", "--val-ratio", "0")
    assert preprocess(*flags)[0] == 0
    found = rows(next((tmp_path / "p").glob("*_train.parquet")))
    assert [row["reward_model"]["ground_truth"] for row in found] == [
        rollout["ground_truth"] for rollout in expected
    ]
    prompts = [rollout["prompt"] for rollout in expected]
    assert [row["prompt"] for row in found] == [
        [user(prompt)] if isinstance(prompt, str) else prompt for prompt in prompts
    ]


def test_templates_that_are_not_known_are_told(tmp_path: Path, bucket: Script) -> None:
    asked = (ASKED, "user\n1\nassistant\n2\nuser\n3\nassistant\n", "[INST] 2+2? [/INST]", "a")
    dump = [{"input": text, "output": "x", "score": 1, "step": 1} for text in asked]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b")
    assert (code, "the prompts of 3 rollouts are decoded chat templates" in err) == (0, True)
    prompts = [r["prompt"] for r in held(tmp_path / "b")]
    assert sorted(map(str, prompts)) == sorted([str([user("2+2?")]), *asked[1:]])
    write_jsonl(source, dump[:1])
    assert "decoded chat templates" not in bucket("-i", source, "-o", tmp_path / "b")[2]


def test_scores_that_older_verl_wrote_as_text_are_numbers(tmp_path: Path, bucket: Script) -> None:
    texts = ("1.0", "True", "False", "-0.5", "no score")
    dump = [
        {"input": f"user\n{i}\nassistant\n", "output": "", "score": text, "step": 1}
        for i, text in enumerate(texts)
    ]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b")
    told = 'd.jsonl:5: a score is not a number: score is "no score"'
    assert (code, told in err, "expected one response per line" in err) == (1, True, True)
    write_jsonl(source, dump[:4])
    assert bucket("-i", source, "-o", tmp_path / "b")[0] == 0
    found = {r["score"]: r["reward"][0]["score"] for r in held(tmp_path / "b")}
    assert found == {"1.0": 1.0, "True": True, "False": False, "-0.5": -0.5}


@pytest.mark.parametrize(
    ("dump", "told"),
    [
        ([{**CASES["areal"][1][0][0], **CASES["humaneval"][1][0][0]}], "areal or humaneval"),
        ([CASES["verl"][1][0][0], CASES["traces"][1][0][0]], "verl in {0}, traces in {0}"),
        ([CASES["verl"][1][0][0], rollout(1)], "verl in {0}, rollouts in {0}"),
    ],
)
def test_two_formats_are_not_guessed_between(
    tmp_path: Path, bucket: Script, dump: list[dict[str, Any]], told: str
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b")
    assert (code, told.format(source) in err, "--format" in err) == (1, True, True)
    assert not (tmp_path / "b/bucketing.json").exists()


def test_a_first_line_that_is_nothing_does_not_hide_the_format(
    tmp_path: Path, bucket: Script
) -> None:
    source = tmp_path / "d.jsonl"
    good = b"".join(json.dumps(line).encode() + b"\n" for line in CASES["verl"][1][0])
    source.write_bytes(b'{"a": 1}\n\n{"cut off": \n' + good)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b")
    assert code == 1
    assert f"{source}:1: no input: every line of a verl trainer dump has it" in err
    assert f"{source}:3: not valid JSON" in err
    flags = ("-i", source, "-o", tmp_path / "b", "--on-malformed", "set-aside")
    code, out, _ = bucket(*flags)
    assert (code, "2 malformed; 1 blank line skipped" in out) == (0, True)
    assert (tmp_path / "b/rejected/malformed.jsonl").read_bytes() == (b'{"a": 1}\n{"cut off": \n')
    assert len(held(tmp_path / "b")) == 2


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--steps", "1:2"), "--steps: these are rollouts"),
        (("--prompt-field", "q"), "--prompt-field: these are rollouts"),
        (("--group-field", "q"), "--group-field: these are rollouts"),
    ],
)
def test_flags_of_dumps_are_not_ignored_for_rollouts(
    tmp_path: Path, bucket: Script, flags: tuple[str, ...], told: str
) -> None:
    source = write_jsonl(tmp_path / "r.jsonl", [rollout(1, 0)])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", *flags)
    assert (code, told in err) == (1, True)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--format", "verl2"), "--format: there is no 'verl2', expected one of auto, rollouts, v"),
        (("--steps", "7:3"), "--steps: the steps are '7:3'"),
        (("--steps", "a"), "--steps: the steps are 'a'"),
        (("--group-by", "id"), "--group-by: there is no 'id', expected one of prompt"),
        (("--group-by", "prompt", "--group-field", "id"), "--group-field: --group-by prompt"),
        (("--response-field", ""), "--response-field: the place is ''"),
        (("--group-field", ""), "--group-field: the place is ''"),
        (("--prompt-field", "a..b"), "--prompt-field: the place is 'a..b'"),
        (
            ("--prompt-field", "m", "--response-field", "m"),
            "--response-field: the place is that of",
        ),
    ],
)
def test_wrong_flags(bucket: Script, flags: tuple[str, ...], told: str) -> None:
    code, _, err = bucket("-i", "not read", "-o", "not written", *flags)
    assert (code, told in err) == (2, True)


def test_steps_of_a_dump_without_them_are_refused(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", CASES["verifiers"][1][0])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "--steps", "1")
    assert (code, "--steps: verifiers results have no steps" in err) == (1, True)


def step_dump(steps: int) -> list[dict[str, Any]]:
    """Of each step two responses to one prompt; the score is the step."""
    return [
        {"input": ASKED, "output": str(i), "gts": "4", "score": step, "step": step}
        for step in range(steps)
        for i in range(2)
    ]


@pytest.mark.parametrize(
    ("wanted", "expected"), [("2:3", [2, 3]), (":1", [0, 1]), ("3:", [3, 4]), ("2", [2])]
)
def test_only_the_steps_asked_for(
    tmp_path: Path, bucket: Script, wanted: str, expected: list[int]
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", step_dump(5))
    code, out, err = bucket("-i", source, "-o", tmp_path / "b", "--steps", wanted)
    skipped = 10 - 2 * len(expected)
    assert (code, f"{skipped} of other steps skipped" in out) == (0, True)
    assert ("several policies" in err) == (len(expected) > 1)
    assert sorted(r["step"] for r in held(tmp_path / "b")) == expected


def test_no_line_of_the_steps_asked_for(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", step_dump(2))
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "--steps", "7:")
    assert (code, "no sound line is of the steps 7:: 4 are of other" in err) == (1, True)


def test_steps_are_policies_and_the_prompt_alone_merges_them(
    tmp_path: Path, bucket: Script
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", step_dump(3))
    code, _, err = bucket("-i", source, "-o", tmp_path / "b")
    assert (code, "several policies wrote these responses, those of steps 0 to 2" in err) == (0, 1)
    assert sorted(len(r["reward"]) for r in held(tmp_path / "b")) == [2, 2, 2]
    assert bucket("-i", source, "-o", tmp_path / "b", "--group-by", "prompt")[0] == 0
    (merged,) = held(tmp_path / "b")
    assert merged["reward"] == [{"score": s, "step": s} for s in (0, 0, 1, 1, 2, 2)]


CUSTOM = [
    {"q": {"text": "2+2?"}, "a": "4", "r": {"total": 1}, "id": 7, "want": "4"},
    {"q": {"text": "2+3?"}, "a": "4", "r": {"total": 0}, "id": 8, "want": "5"},
    {"q": {"text": "2+2?"}, "a": "5", "r": {"total": 0}, "id": 7, "want": "4"},
]
FIELDS = (
    "--format", "custom", "--prompt-field", "q.text", "--response-field", "a",
    "--score-field", "r.total", "--ground-truth-field", "want",
)  # fmt: skip


@pytest.mark.parametrize("group", [(), ("--group-field", "id"), ("--group-field", "id", "want")])
def test_a_custom_dump_by_flags(tmp_path: Path, bucket: Script, group: tuple[str, ...]) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", CUSTOM)
    code, out, err = bucket("-i", source, "-o", tmp_path / "b", "-n", 2, *FIELDS, *group)
    assert (code, "scores from r.total" in out) == (0, True)
    assert ("nothing but the prompt says" in err) == (not group)
    record = json.loads((tmp_path / "b/bucketing.json").read_text())
    assert (record["metric"]["score_field"], record["dump"]["score"]) == ("score", "r.total")
    found = [r for r in held(tmp_path / "b") if len(r["reward"]) == 2]
    assert found == [
        {
            "key": {0: None, 2: 7, 3: '[7,"4"]'}[len(group)],
            "prompt": "2+2?",
            "response": choices("4", "5"),
            "reward": [{"score": 1, "r": {"total": 1}}, {"score": 0, "r": {"total": 0}}],
            "ground_truth": "4",
            "q": {"text": "2+2?"},
            "id": 7,
        }
    ]


def test_ids_of_ones_own_are_taken_as_they_are(tmp_path: Path, bucket: Script) -> None:
    dump = [
        {"input": ASKED, "output": "x", "score": i % 2, "uid": "a_0_0", "id": f"a_{i // 2}_0"}
        for i in range(4)
    ]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    flags = ("--group-field", "id", "--score-field", "score")
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1, *flags)[0] == 0
    found = [json.loads(line)["key"] for line in lines(tmp_path / "b/level_1.jsonl")]
    assert found == ["a_0_0", "a_1_0"]


def test_a_custom_dump_has_what_its_flags_name(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", [*CUSTOM, {"q": {"text": "?"}, "r": {}}])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", *FIELDS)
    assert (code, f"{source}:4: no a: every line of a custom dump has it" in err) == (1, True)
    flags = ("--format", "custom", "--response-field", "q.text", "--group-field", "nr")
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", *flags, "--score-field", "r.total")
    told = f"{source}:1: nothing says which responses belong together: expected nr"
    assert (code, told in err) == (1, True)


@pytest.mark.parametrize("empty", ["", [], None])
def test_an_empty_prompt_says_of_no_responses_that_they_belong_together(
    tmp_path: Path, bucket: Script, empty: Any
) -> None:
    dump = [{"prompt": empty, "response": "x", "score": 1}] * 2
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "--format", "custom")
    told = f"{source}:2: nothing says which responses belong together: expected prompt"
    assert (code, told in err) == (1, True)


def test_groups_that_disagree_are_malformed_and_both_lines_named(
    tmp_path: Path, bucket: Script
) -> None:
    (a, b, c, d), _ = CASES["verifiers"][1]
    one = write_jsonl(tmp_path / "1.jsonl", [a, b])
    two = write_jsonl(tmp_path / "2.jsonl", [{**c, "answer": "5"}, {**d, "prompt": "other"}])
    extra = write_jsonl(tmp_path / "3.jsonl", [{**a, "example_id": 9, "answer": None}])
    other = write_jsonl(tmp_path / "4.jsonl", [{**a, "example_id": 9}])
    inputs = ("-i", one, two, extra, other, "-o", tmp_path / "b")
    code, _, err = bucket(*inputs)
    assert code == 1
    for told in (
        "4 malformed lines (2 × responses of one group with different ground truths, "
        "2 × responses of one group with different prompts)",
        f"{one}:1 and {two}:1: responses of one group with different ground truths",
        f"{one}:2 and {two}:2: responses of one group with different prompts",
        "--group-field",
    ):
        assert told in err
    assert not (tmp_path / "b/easy.jsonl").exists()
    code, _, _ = bucket(*inputs, "--on-malformed", "set-aside")
    assert (code, [r["key"] for r in held(tmp_path / "b")]) == (0, [9])
    assert (tmp_path / "b/rejected/malformed.jsonl").read_bytes() == (
        one.read_bytes() + two.read_bytes()
    )
    record = json.loads((tmp_path / "b/bucketing.json").read_text())
    assert record["dump"]["grouped_by"] == {"example_id": 2}
    first = json.loads(lines(tmp_path / "b/rejected/reasons.jsonl")[0])
    assert first["reason"] == (
        f"malformed: responses of one group with different ground truths: {one}:1 and {two}:1"
    )
    reasons = [json.loads(line) for line in lines(tmp_path / "b/rejected/reasons.jsonl")]
    assert [(r["file"], r["line"], r["offset"]) for r in reasons] == [
        (str(one), 1, 0), (str(one), 2, len(lines(one)[0])),
        (str(two), 1, 0), (str(two), 2, len(lines(two)[0])),
    ]  # fmt: skip


def test_lines_of_later_shards_and_files_have_their_places(
    tmp_path: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curriculum.inputs, "SHARD_BYTES", 200)
    dump = [{"input": f"{i % 10}", "output": "x", "score": i, "gts": "4"} for i in range(40)]
    dump[34]["gts"] = "5"
    dump[17] = {"input": "new", "output": "y", "score": None, "gts": "4"}
    one = write_jsonl(tmp_path / "1.jsonl", dump[:20])
    two = write_jsonl(tmp_path / "2.jsonl", dump[20:])
    flags = ("-i", one, two, "-o", tmp_path / "b")
    code, _, err = bucket(*flags)
    assert (code, f"{one}:5 and {two}:15: responses of one group" in err) == (1, True)
    assert bucket(*flags, "--on-malformed", "set-aside")[0] == 0
    reasons = [json.loads(line) for line in lines(tmp_path / "b/rejected/reasons.jsonl")]
    assert [(r["file"], r["line"]) for r in reasons] == [
        (str(one), 5), (str(one), 15), (str(two), 5), (str(two), 15), (str(one), 18),
    ]  # fmt: skip
    assert reasons[-1]["offset"] == sum(map(len, lines(one)[:17]))
    # Lines of all files have one length, so those of a group seem to follow one another.
    found = [[e["score"] for e in r["reward"]] for r in held(tmp_path / "b") if r["prompt"] == "0"]
    assert found == [[0, 10, 20, 30]]


def test_lines_of_two_files_are_not_read_as_neighbours(tmp_path: Path, bucket: Script) -> None:
    dump = [{"input": text, "output": text, "score": 1} for text in "abba"]
    one, two = (write_jsonl(tmp_path / f"{i}.jsonl", dump[2 * i : 2 * i + 2]) for i in (0, 1))
    assert bucket("-i", one, two, "-o", tmp_path / "b")[0] == 0
    texts = [
        [c["message"]["content"] for c in r["response"]["choices"]] for r in held(tmp_path / "b")
    ]
    assert sorted(texts) == [["a", "a"], ["b", "b"]]


def test_another_place_for_the_prompt_of_a_known_format(tmp_path: Path, bucket: Script) -> None:
    dump = [
        {"input": ASKED, "question": f"{ASKED}{i // 2}", "output": "", "score": i, "step": 1}
        for i in range(4)
    ]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, out, _ = bucket("-i", source, "-o", tmp_path / "b", "--prompt-field", "question")
    assert (code, "grouped by step and question" in out) == (0, True)
    assert sorted(r["prompt"] for r in held(tmp_path / "b")) == [f"{ASKED}0", f"{ASKED}1"]


def test_where_prompts_may_vary_they_are_only_told(tmp_path: Path, bucket: Script) -> None:
    dump = [json.loads(json.dumps(line)) for line in CASES["nemo-gym"][1][0]]
    dump[1]["responses_create_params"]["input"] = "another hand of cards"
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b")
    assert (code, "1 rollout with responses to different prompts" in err) == (0, True)
    assert sorted(str(r["prompt"]) for r in held(tmp_path / "b"))[-1] == "another hand of cards"


def test_an_unscored_rollout_is_told_at_its_first_line(tmp_path: Path, bucket: Script) -> None:
    dump = [*CASES["verifiers"][1][0], {**CASES["verifiers"][1][0][2], "example_id": 5}]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, out, err = bucket("-i", source, "-o", tmp_path / "b")
    assert (code, "1 unscored" in out, f"{source} 1" in err) == (0, True, True)
    (reason,) = map(json.loads, lines(tmp_path / "b/rejected/reasons.jsonl"))
    assert reason == {
        "file": str(source),
        "line": 5,
        "offset": sum(map(len, lines(source)[:4])),
        "reason": "unscored: no score is present",
    }
    (unscored,) = map(json.loads, lines(tmp_path / "b/rejected/unscored.jsonl"))
    assert (unscored["key"], unscored["reward"][0]["score"]) == (5, None)


ODD = '{"input":"\\u00e9","output":%s,"gts":{"b":1E1,"a":[1.10]},"score":%s,"step":1}\n'


def test_values_pass_byte_for_byte(tmp_path: Path, bucket: Script) -> None:
    source = tmp_path / "d.jsonl"
    source.write_text(ODD % ('"\\u00e9 \\/"', "1e0") + ODD % ("[ 1.0 ]", "0.10"), "utf-8")
    assert bucket("-i", source, "-o", tmp_path / "b")[0] == 0
    (line,) = lines(tmp_path / "b/medium.jsonl")
    text, truth = '"\\u00e9 \\/"', '{"b":1E1,"a":[1.10]}'
    for piece in (text, "[ 1.0 ]", '"score":1e0', '"score":0.10', truth):
        assert piece in line.decode()


NAN = '{"input":"a\\ud800","output":"x","gts":"4","score":%s,"step":1,"acc":NaN,"n":%s}\n'


def test_what_only_python_reads_is_read(tmp_path: Path, bucket: Script) -> None:
    source = tmp_path / "d.jsonl"
    big = "9" * 30
    source.write_text(NAN % ("NaN", big) + NAN % ("1", big) + NAN % ("0.5", "1"), "utf-8")
    flags = ("--score-field", "score")
    assert bucket("-i", source, "-o", tmp_path / "b", *flags)[0] == 0
    (found,) = held(tmp_path / "b")
    assert found["prompt"] == "a\ud800"
    scores = [entry["score"] for entry in found["reward"]]
    assert (str(scores[0]), scores[1:]) == ("nan", [1, 0.5])
    assert [entry["n"] for entry in found["reward"]] == [int(big), int(big), 1]


# One line in many ways: every group mark there or not, in any order, far apart.
LINE = st.fixed_dictionaries(
    {
        "input": st.sampled_from(["a", "b", "user\nc\nassistant\n"]),
        "output": st.text(max_size=3),
        "score": st.sampled_from([0, 1, 0.5, None, True]),
    },
    optional={
        "step": st.integers(0, 2),
        "uid": st.builds("{}_{}_0".format, st.sampled_from("xyz"), st.integers(0, 3)),
        "gts": st.sampled_from(["4", None]),
        "note": st.sampled_from([{"k": 1}, {"k": 2}]),
        "key": st.integers(0, 1),
    },
)


def plain_groups(dump: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The rule, line by line: by uid and step, by uid, by step and prompt, by prompt."""
    groups: dict[Any, list[dict[str, Any]]] = {}
    for line in dump:
        uid = line["uid"][:-4] if "uid" in line else None
        mark = (uid, line.get("step"), line["input"] if uid is None else None)
        groups.setdefault(mark, []).append(line)
    return list(groups.values())


@settings(max_examples=60)
@given(dump=st.lists(LINE, min_size=1, max_size=12), parts=st.integers(1, 3))
def test_grouping_is_the_plain_rule_and_keeps_every_field(
    tmp_path_factory: pytest.TempPathFactory, dump: list[dict[str, Any]], parts: int
) -> None:
    tmp_path = tmp_path_factory.mktemp("d")
    for part in range(parts):
        write_jsonl(tmp_path / f"in/{part}.jsonl", dump[part * len(dump) // parts :][
            : (part + 1) * len(dump) // parts - part * len(dump) // parts
        ])  # fmt: skip
    groups = plain_groups(dump)
    wrong = [g for g in groups if len({line["input"] for line in g}) > 1]
    options = BucketOptions(
        inputs=[str(tmp_path / "in")],
        output_dir=str(tmp_path / "b"),
        num_buckets=1,
        workers=1,
        on_malformed="set-aside",
        sync=False,
    )
    scored = [g for g in groups if g not in wrong and any(x["score"] is not None for x in g)]
    if not scored:
        return
    report = bucket_rollouts(options)
    assert report.manifest.counts.malformed == sum(map(len, wrong))
    names = [record.file for record in report.manifest.buckets]
    found = [json.loads(line) for name in names for line in lines(tmp_path / "b" / name)]
    assert [[entry["score"] for entry in r["reward"]] for r in found] == [
        [line["score"] for line in group] for group in scored
    ]
    for rollout_, group in zip(found, scored, strict=True):
        check_nothing_lost(rollout_, group)


def check_nothing_lost(found: dict[str, Any], group: list[dict[str, Any]]) -> None:
    """Every field of every line stands beside the reward, in its entry, or in its own place."""
    texts = [choice["message"]["content"] for choice in found["response"]["choices"]]
    for i, line in enumerate(group):
        entry = found["reward"][i]
        own = {"output": texts[i], "score": entry["score"], "gts": found["ground_truth"]}
        own |= {"input": found["prompt"]}
        taken = {"key"}  # which is ours
        for name, value in line.items():
            beside = [found[name]] if name in found and name not in taken else []
            places = [*beside, *([entry[name]] if name in entry else []), own.get(name)]
            assert (name, value) in [(name, place) for place in places], (name, line, found)


@pytest.mark.parametrize("codec", ["", ".gz"])
@pytest.mark.parametrize("workers", [1, 3])
def test_bytes_do_not_depend_on_workers_shards_or_compression(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, codec: str
) -> None:
    dump = [
        {"input": f"p{i % 37}", "output": "x" * (i % 50), "score": i % 3, "step": i % 2, "i": i}
        for i in range(400)
    ]

    def run(directory: Path, workers: int, codec: str) -> dict[str, bytes]:
        source = write_jsonl(directory / "dump.jsonl", dump)
        if codec:
            packed = gzip.compress(b"\xef\xbb\xbf" + source.read_bytes())
            source.unlink()
            source = directory / "dump.jsonl.gz"
            source.write_bytes(packed)
        options = BucketOptions([str(source)], str(directory / "b"), workers=workers, sync=False)
        bucket_rollouts(options)
        found = tree(directory / "b")
        del found["bucketing.json"]
        return found

    expected = run(tmp_path / "plain", 1, "")
    monkeypatch.setattr(curriculum.inputs, "SHARD_BYTES", 1000)
    monkeypatch.setattr(curriculum.inputs, "BLOCK_BYTES", 300)
    monkeypatch.setattr(curriculum.dump_responses, "BATCH_BYTES", 2000)
    assert run(tmp_path / "cut", workers, codec) == expected


def test_rollouts_that_repeat_a_prompt_become_one(tmp_path: Path, bucket: Script) -> None:
    alone = rollout(1, 0, prompt="alone", num=3)
    first = rollout(1, 0, prompt="twice", num=1, key="a", parameters={"t": 1})
    again = rollout(0, prompt=" twice\n", num=2, key="a", parameters={"t": 1})
    third = {
        "messages": [user("twice"), {"role": "assistant", "content": "4"}],
        "responses": ["third", "ungraded"],
        "reward": [0.5],
        "key": "c",
        "ground_truth": None,
    }
    one = write_jsonl(tmp_path / "1.jsonl", [alone, first])
    two = write_jsonl(tmp_path / "2.jsonl", [again, third])
    flags = ("-i", one, two, "-o", tmp_path / "b", "-n", 2, "--group-by", "prompt")
    code, out, _ = bucket(*flags)
    told = "grouped by prompt into 2 rollouts of 1 to 3 lines, scores from score: 2 bucketed"
    assert (code, "(--format rollouts): 4 rollouts" in out, told in out) == (0, True, True)
    record = json.loads((tmp_path / "b/bucketing.json").read_text())
    assert (record["dump"]["format"], record["metric"]["score_field"]) == ("rollouts", "score")
    assert (tmp_path / "b/easy.jsonl").read_bytes() == lines(one)[0]
    (merged,) = map(json.loads, lines(tmp_path / "b/hard.jsonl"))
    prompt = [user(" twice\n")]
    assert merged == {
        **first,
        "messages": third["messages"],
        "response": choices("answer 0", "answer 1", "answer 0", "third", "ungraded"),
        "reward": [
            {"score": 1},
            {"score": 0},
            {"score": 0, "prompt": prompt, "num": 2},
            {"score": 0.5, "key": "c"},
            {"key": "c"},
        ],
    }


def test_merged_rollouts_keep_their_score_field_and_plain_scores(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    graded = {"prompt": "p", "reward": [{"V_i": 1}], "num": 1, "responses": ["x"]}
    graded["ground_truth"] = None
    plain = {"prompt": "p", "reward": [{"V_i": 0.25, "num": 9}, None, 0.25], "num": 2}
    plain["ground_truth"] = "4"
    source = write_jsonl(tmp_path / "r.jsonl", [graded, plain])
    flags = ("--group-by", "prompt", "--score-field", "V_i", "-n", 1)
    assert bucket("-i", source, "-o", tmp_path / "b", *flags)[0] == 0
    (merged,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    assert merged["reward"] == [
        {"V_i": 1},
        {"V_i": 0.25, "num": 9, "source_num": 2},
        {"V_i": None, "num": 2},
        {"V_i": 0.25, "num": 2},
    ]
    assert merged["response"]["choices"] == [{"message": {"content": "x"}}, None, None, None]
    assert (merged["num"], merged["ground_truth"]) == (1, "4")
    assert preprocess("-i", tmp_path / "b", "-o", tmp_path / "p", "--val-ratio", 0)[0] == 0
    (row,) = rows(tmp_path / "p/level_1_train.parquet")
    metrics, best = row["extra_info"]["difficulty_metrics"], row["extra_info"]["best_response"]
    assert (metrics["mean_score"], metrics["num_responses"]) == (0.5, 3)
    assert (best["index"], best["content"]) == (0, "x")


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (rollout(1, ground_truth="5"), "r.jsonl:1 and {0}:2: responses of one group with differ"),
        ({"reward": [1]}, "{0}:2: no prompt"),
        ({"prompt": "a", "reward": ["x"]}, '{0}:2: a score is not a number: reward[0] is "x"'),
        ({"prompt": "a"}, '{0}:2: no "reward"'),
    ],
)
def test_what_cannot_be_merged_is_malformed(
    tmp_path: Path, bucket: Script, other: dict[str, Any], told: str
) -> None:
    source = write_jsonl(tmp_path / "r.jsonl", [rollout(1), other])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "--group-by", "prompt")
    assert (code, told.format(source) in err, "one rollout per line" in err) == (1, True, True)


REPEATING = st.lists(
    st.tuples(st.sampled_from("abc"), st.lists(st.sampled_from([0, 1, None]), max_size=3)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40)
@given(repeating=REPEATING)
def test_merging_keeps_every_score_in_order(
    tmp_path_factory: pytest.TempPathFactory, repeating: list[tuple[str, list[Any]]]
) -> None:
    tmp_path = tmp_path_factory.mktemp("m")
    made = [rollout(*scores, prompt=p, num=i) for i, (p, scores) in enumerate(repeating)]
    expected: dict[str, list[Any]] = {}
    for prompt, scores in repeating:
        expected.setdefault(prompt, []).extend(scores)
    if all(score is None for scores in expected.values() for score in scores):
        return
    source = write_jsonl(tmp_path / "r.jsonl", made)
    options = BucketOptions([str(source)], str(tmp_path / "b"), group_by="prompt", workers=1)
    bucket_rollouts(options)
    found = held(tmp_path / "b")
    assert {r["prompt"][0]["content"]: [e["score"] for e in r["reward"]] for r in found} == expected
    assert all(len(r["response"]["choices"]) == len(r["reward"]) for r in found if r["reward"])


def test_a_dump_without_prompts_cannot_be_grouped_by_them(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", CASES["humaneval"][1][0])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "--group-by", "prompt")
    assert (code, "--group-by: HumanEval results have no prompts" in err) == (1, True)


@needs_data
@pytest.mark.parametrize(
    ("name", "format", "rollouts"),
    [("verl_dev_step1", "verl", 128), ("nemo_gym_rollouts_raw", "nemo-gym", 124)],
)
def test_real_dumps(
    tmp_path: Path, bucket: Script, preprocess: Script, name: str, format: str, rollouts: int
) -> None:
    source = DATA / f"flat/{name}.jsonl"
    code, out, _ = bucket("-i", source, "-o", tmp_path / "b")
    assert (code, f"--format {format}" in out) == (0, True)
    found, given_ = held(tmp_path / "b"), [json.loads(line) for line in lines(source)]
    assert len(found) == rollouts
    scores = [entry["score"] for r in found for entry in r["reward"]]
    expected = [line["score" if format == "verl" else "reward"] for line in given_]
    assert Counter(scores) == Counter(expected)
    if format == "verl":
        for r, line in zip(
            sorted(found, key=lambda r: str(r["input"])),
            sorted(given_, key=lambda line: str(line["input"])),
            strict=True,
        ):
            check_nothing_lost(r, [line])
            assert [m["role"] for m in r["prompt"]] == ["system", "user"]
    flags = ("-i", tmp_path / "b", "-o", tmp_path / "p", "--on-malformed", "set-aside")
    code, _, err = preprocess(*flags)
    assert (code, "5 × no prompt" in err) == (0, format == "nemo-gym")


GOOD = {"example_id": 1, "prompt": "p", "completion": "c", "answer": "a", "reward": 1.0}
TRACE = {"rewards": {"r": {"score": 1.0}}, "nodes": []}
EPISODE = {"task": {"key": "k", "data": {"prompt": "p"}}, "traces": [TRACE]}
GYM = {
    "_ng_task_index": 0,
    "responses_create_params": {"input": "p"},
    "response": {"output": [], "status": "completed"},
    "reward": 1.0,
}


@pytest.mark.parametrize(
    ("line", "failed"),
    [
        (GOOD, {"error": "timeout"}),
        (GOOD, {"is_completed": False}),
        (GOOD, {"is_truncated": True}),
        (EPISODE, {"ok": False}),
        (EPISODE, {"errors": ["lost"]}),
        (EPISODE, {"traces": [{**TRACE, "ok": False}]}),
        (EPISODE, {"traces": [{**TRACE, "errors": ["lost"]}]}),
        (EPISODE, {"traces": [{**TRACE, "is_completed": False}]}),
        (EPISODE, {"traces": []}),
        (GYM, {"response": None}),
        (GYM, {"response": {"output": [], "error": {"code": 500}}}),
        (GYM, {"response": {"output": [], "status": "incomplete"}}),
        (GYM, {"response": {"output": [], "status": "failed"}}),
        (GYM, {"response": {"output": [], "incomplete_details": {"reason": "length"}}}),
    ],
)
def test_a_failed_response_has_no_score(
    tmp_path: Path, bucket: Script, line: dict[str, Any], failed: dict[str, Any]
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", [line, {**line, **failed}])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "-n", 1)
    assert (code, "1 of 2 scores missing" in err) == (0, True)
    (found,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    assert [entry["score"] for entry in found["reward"]] == [1.0, None]


@pytest.mark.parametrize(
    ("traces", "found"),
    [
        (5, "traces is not a list: it is 5"),
        ([{"rewards": [1.0]}], "the rewards of a trace are no object: they are a list"),
        ([{"rewards": {"r": 1.0}}], "a reward is no score and weight: there is 1.0"),
        ([{"rewards": {"r": {"score": "x"}}}], 'no score and weight: there is "x"'),
        ([{"rewards": {"r": {"score": 1, "weight": "a"}}}], 'weight: there is "a"'),
    ],
)
def test_traces_of_another_form_are_malformed(
    tmp_path: Path, bucket: Script, traces: Any, found: str
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", [EPISODE, {**EPISODE, "traces": traces}])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b")
    assert (code, f"{source}:2: " in err, found in err) == (1, True, True)


def test_the_better_score_is_taken_only_if_all_responses_have_it(
    tmp_path: Path, bucket: Script
) -> None:
    dump = [
        {"input": str(i // 2), "output": "x", "score": i % 2, "step": 1, "acc": 1 - i % 2}
        for i in range(40)
    ]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    flags = ("-i", source, "-o", tmp_path / "b", "-n", 1)
    assert "scores from acc" in bucket(*flags)[1]
    del dump[33]["acc"]
    write_jsonl(source, dump)
    _, out, err = bucket(*flags)
    assert "scores from score" in out
    assert "39 of 40 responses have a score in acc, which would be taken if all had" in err
    found = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    assert [[e["score"] for e in r["reward"]] for r in found] == [[0, 1]] * 20


def test_a_format_by_name_takes_what_refines_it(tmp_path: Path, bucket: Script) -> None:
    dump = [{"input": "a", "output": "x", "score": 1, "reward": 1}]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, out, _ = bucket("-i", source, "-o", tmp_path / "b", "--format", "verl", "-n", 1)
    assert (code, "scores from score" in out) == (0, True)


def test_an_answer_is_the_last_assistant_turn(tmp_path: Path, bucket: Script) -> None:
    said = {"role": "assistant", "content": [{"type": "text", "text": "4"}]}
    first = {"role": "assistant", "content": "not yet"}
    talk = [first, user("and?"), said, user("done")]
    dump = [{**GOOD, "completion": talk}, {**GOOD, "completion": [user("no")]}]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1)[0] == 0
    (found,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    messages = [choice["message"] for choice in found["response"]["choices"]]
    assert messages == [{"role": "assistant", "content": "4"}, {"content": None}]
    assert [e["completion"] for e in found["reward"]] == [line["completion"] for line in dump]


def test_a_message_keeps_its_bytes(tmp_path: Path, bucket: Script) -> None:
    message = '{"role": "assistant", "content": "x", "n": 1.0E5}'
    line = json.dumps(GOOD).replace('"c"', f"[ {message} ]")
    (tmp_path / "d.jsonl").write_text(line + "\n")
    assert bucket("-i", tmp_path, "-o", tmp_path / "b", "-n", 1)[0] == 0
    (found,) = lines(tmp_path / "b/level_1.jsonl")
    assert f'"choices":[{{"message":{message}}}]' in found.decode()
    assert b"completion" not in found


def test_a_prompt_with_the_answer_in_it_is_malformed(tmp_path: Path, bucket: Script) -> None:
    talk = [user("2+2?"), {"role": "assistant", "content": "4"}]
    source = write_jsonl(tmp_path / "d.jsonl", [{"talk": talk, "score": 1, "response": "4"}])
    flags = ("-i", source, "-o", tmp_path / "b", "--format", "custom", "--prompt-field", "talk")
    code, _, err = bucket(*flags)
    assert (code, f"{source}:1: the prompt has the answer in it: talk ends" in err) == (1, True)


def test_instructions_of_nemo_gym_are_the_system_message(tmp_path: Path, bucket: Script) -> None:
    asked = {"input": [user("2+2?")], "instructions": "Be brief."}
    plain = {"input": "3+3?", "instructions": "Be brief."}
    dump = [{**GYM, "responses_create_params": asked}]
    dump += [{**GYM, "_ng_task_index": 1, "responses_create_params": plain}]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1)[0] == 0
    system = {"role": "system", "content": "Be brief."}
    prompts = [json.loads(line)["prompt"] for line in lines(tmp_path / "b/level_1.jsonl")]
    assert prompts == [[system, user("2+2?")], [system, user("3+3?")]]


def test_parts_that_are_no_text_stay_what_they_are(tmp_path: Path, bucket: Script) -> None:
    parts = [{"type": "input_text", "text": "What is it?"}, {"type": "input_image"}]
    asked = [{"role": "user", "content": parts}]
    source = write_jsonl(
        tmp_path / "d.jsonl", [{**GYM, "responses_create_params": {"input": asked}}]
    )
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1)[0] == 0
    (found,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    assert found["prompt"] == asked


def test_the_last_message_is_the_response(tmp_path: Path, bucket: Script) -> None:
    said = [{"type": "message", "content": [{"type": "output_text", "text": t}]} for t in "ab"]
    nodes = [{"sampled": True, "message": {"content": text}} for text in "ab"]
    gym = {**GYM, "response": {"output": said}}
    episode = {**EPISODE, "traces": [{**TRACE, "nodes": nodes}]}
    for name, line in (("gym", gym), ("traces", episode)):
        source = write_jsonl(tmp_path / f"{name}.jsonl", [line])
        assert bucket("-i", source, "-o", tmp_path / name, "-n", 1)[0] == 0
        (found,) = map(json.loads, lines(tmp_path / name / "level_1.jsonl"))
        assert found["response"] == choices("b")


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("user\na\n\n\nassistant\n", [user("a\n\n")]),
        ("user\na\nassistant\n<think>\n\n</think>\n\n", [user("a")]),
        ("user\nyou are an assistant\n", None),
        ("user\na\nuser\nb\nassistant\n", None),
        ("user\na\nassistant\nb\nuser\nc\nassistant\n", None),
        ("system\ns\nassistant\nx\nuser\nc\nassistant\n", None),
        ("systems\nuser\na\nassistant\n", None),
        ("system\nthe user\nis new\nuser\na\nassistant\n",
         [{"role": "system", "content": "the user\nis new"}, user("a")]),
    ],
)  # fmt: skip
def test_templates_are_taken_apart_exactly_or_not_at_all(text: str, prompt: Any) -> None:
    assert template_prompt(text) == (prompt or text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1.0), ("-2.5e-1", -0.25), ("True", True), ("1_0", "1_0"), (" 1", " 1"), ("٣", "٣"),
     ("", ""), (3, 3), ("0x1", "0x1")],
)  # fmt: skip
def test_written_numbers(text: Any, value: Any) -> None:
    found = written_number(text)
    assert (found, type(found)) == (value, type(value))


def test_values_with_one_text_or_one_set_of_keys_are_not_confused() -> None:
    values = [
        "1",
        1,
        1.0,
        True,
        "true",
        {"a": 1, "b": 2},
        '{"a":1,"b":2}',
        [1],
        "[1]",
        "",
        "\ud800",
    ]
    assert len({hash_value(value) for value in values}) == len(values)
    assert hash_value({"b": 2, "a": 1}) == hash_value({"a": 1, "b": 2})
    assert hash_value(None) == NOTHING
    one, other = (np.array([hash_value(text)], np.uint64) for text in "ab")
    assert mix(1, [one, other]) != mix(1, [other, one])
    assert mix(1, [one]) != mix(2, [one])
    assert list(Hashes().column(values)) == [hash_value(value) for value in values]
    texts = [str(i) for i in range(6000)] * 2
    assert list(Hashes().column(texts)) == [hash_value(text) for text in texts]


def test_a_dump_of_very_many_files(tmp_path: Path, bucket: Script) -> None:
    import resource

    for i in range(150):
        write_jsonl(tmp_path / f"d/{i:03}.jsonl", [{"input": "p", "output": str(i), "score": i}])
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, before[1]))
    try:
        code, _, err = bucket("-i", tmp_path / "d", "-o", tmp_path / "b", "-n", 1, "--workers", 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert (code, err.startswith("warning")) == (0, True)
    (found,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    assert [entry["score"] for entry in found["reward"]] == list(range(150))


def test_files_of_several_models_are_told(tmp_path: Path, bucket: Script) -> None:
    for name in ("one", "two"):
        write_jsonl(tmp_path / f"{name}.jsonl", [GOOD, {**GOOD, "example_id": name}])
    _, _, err = bucket("-i", tmp_path, "-o", tmp_path / "b", "-n", 1)
    assert "1 rollout with responses of several files" in err
    assert "2 of 3 rollouts have one response" in err


def test_fields_of_the_second_script_stay_with_the_rollout(tmp_path: Path, bucket: Script) -> None:
    infos = [{"a": 1, "i": 7}, {"a": 1, "i": 8}]
    dump = [{**GOOD, "extra_info": info, "source_score": i, "score": i}
            for i, info in enumerate(infos)]  # fmt: skip
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1)[0] == 0
    (found,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    assert found["extra_info"] == infos[0]
    assert found["reward"] == [
        {"score": 1.0, "extra_info": info, "source_score": i, "source_source_score": i}
        for i, info in enumerate(infos)
    ]


def test_a_place_of_the_format_itself_is_read_as_ever(tmp_path: Path, bucket: Script) -> None:
    dump = [{"input": ASKED, "output": "4", "score": "1.0", "step": "3", "uid": "a_0_0"}] * 2
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    flags = ("--score-field", "score", "--prompt-field", "input", "--group-field", "uid")
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "-n", 1, "--steps", "3", *flags)
    (found,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    assert (code, found["prompt"], found["key"]) == (0, [user("2+2?")], "a")
    assert [entry["score"] for entry in found["reward"]] == [1.0, 1.0]
    write_jsonl(source, [{**line, "asked": "2+2?"} for line in dump])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "-n", 1, "--prompt-field", "asked")
    assert (code, "chat templates" in err) == (0, False)


def test_steps_and_what_is_wrong_with_the_rest_are_told_apart(
    tmp_path: Path, bucket: Script
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", [*step_dump(1), {"step": 7}])
    flags = ("-i", source, "-o", tmp_path / "b", "--on-malformed", "set-aside")
    code, _, err = bucket(*flags, "--steps", "5:")
    assert (code, "no sound line is of the steps 5:: 2 are of other steps" in err) == (1, True)
    assert ", 1 malformed, expected" in err


def test_a_bad_score_of_another_step_is_no_matter(tmp_path: Path, bucket: Script) -> None:
    bad = {"input": "p", "output": "", "score": "x", "step": 1}
    source = write_jsonl(tmp_path / "d.jsonl", [*step_dump(1), bad])
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1, "--steps", "0")[0] == 0
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1)[0] == 1


def test_a_dump_that_changes_meanwhile_is_told(
    tmp_path: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", step_dump(3))
    group = curriculum.dumps.Gatherer._group

    def cut(*arguments: Any) -> None:
        group(*arguments)
        source.write_bytes(source.read_bytes()[:-40])

    monkeypatch.setattr(curriculum.dumps.Gatherer, "_group", cut)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "--workers", 1)
    assert (code, f"{source}: the file changed while it was read" in err) == (1, True)
    assert not (tmp_path / "b/easy.jsonl").exists()


def test_other_fields_of_a_response_stay_when_rollouts_are_merged(
    tmp_path: Path, bucket: Script
) -> None:
    one, other = rollout(1), rollout(0)
    one["response"]["id"], other["response"]["id"] = "x", "y"
    source = write_jsonl(tmp_path / "r.jsonl", [one, other])
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1, "--group-by", "prompt")[0] == 0
    (found,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    assert found["response"]["id"] == "x"
    assert found["reward"] == [{"score": 1}, {"score": 0, "response": {"id": "y"}}]
