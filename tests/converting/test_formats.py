"""Each format of other tools: how it is known, and what is taken from its lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.converting.records import (
    CASES,
    HARNESS,
    INSPECT,
    OPEN_R1,
    SKYRL_TOKENS,
    SWIFT,
    SWIFT_OLD,
    TRL,
    in_order,
    taken,
)
from tests.dumps.dump_lines import held
from tests.helpers.rollouts import SHARED, Script, rows, words, write_jsonl

needs_cases = pytest.mark.skipif(
    not (SHARED / "cases").is_dir(), reason="needs ../shared/cases, which is not there"
)


@pytest.mark.parametrize("by_name", [False, True], ids=["auto", "by name"])
@pytest.mark.parametrize("case", CASES)
def test_every_format_as_its_tool_writes_it(
    tmp_path: Path, bucket: Script, case: str, by_name: bool
) -> None:
    name, dump, flags, expected = CASES[case]
    source = write_jsonl(tmp_path / "dump.jsonl", dump)
    named = ("--format", name) if by_name else ()
    code, out, err = bucket("-i", source, "-o", tmp_path / "b", *flags, *named)
    assert (code, err if code else "") == (0, "")
    assert f"(--format {name}): " in words(out)
    assert in_order(list(map(taken, held(tmp_path / "b")))) == in_order(expected)
    record = json.loads((tmp_path / "b/bucketing.json").read_text())
    assert record["dump"]["format"] == name
    assert record["counts"]["read"] == len(expected)


@pytest.mark.parametrize("case", CASES)
def test_the_second_script_takes_what_every_format_became(
    tmp_path: Path, bucket: Script, preprocess: Script, case: str
) -> None:
    _, dump, flags, expected = CASES[case]
    source = write_jsonl(tmp_path / "dump.jsonl", dump)
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1, *flags)[0] == 0
    assert preprocess("-i", tmp_path / "b", "-o", tmp_path / "p", "--val-ratio", "0")[0] == 0
    found = rows(next((tmp_path / "p").glob("*_train.parquet")))
    asked = [[row["prompt"], row["reward_model"]["ground_truth"]] for row in found]
    wanted = [[one.prompt, one.truth] for one in expected]
    assert asked == [
        [[{"role": "user", "content": p}] if isinstance(p, str) else p, truth]
        for p, truth in wanted
    ]


def test_nothing_of_a_line_is_lost(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", [OPEN_R1[1] | {"reward": "x", "key": "mine"}])
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1)[0] == 0
    ((found),) = held_in(tmp_path / "b/level_1.jsonl")
    assert found.items() >= {
        "messages": [], "key": "u2", "source_key": "mine", "source_reward": "x", "uuid": "u2",
        "correctness_math_verify": [False, False], "correctness_llama": [True, False],
        "is_reasoning_complete": [True, False], "finish_reasons": ["stop", "length"],
    }.items()  # fmt: skip


def held_in(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


SEVERAL = {"a": {"value": 1}, "b": {"value": {"x": 1, "y": 2}}}
REFUSED: list[tuple[list[Any], tuple[str, ...], str]] = [
    (TRL, (), "TRL completions with 2 fields that may be the score: accuracy_reward, format_rew"),
    (SWIFT, (), "ms-swift completions with 2 fields that may be the score: MathAccuracy, Format"),
    (
        [one | {"scores": SEVERAL} for one in INSPECT],
        (),
        "scores.a.value, scores.b.value.x, scores.b.value.y",
    ),
    (
        [line | {"metrics": ["exact_match", "f1"], "f1": 0.5} for line in HARNESS],
        (),
        "lm-evaluation-harness samples with 2 fields that may be the score: exact_match, f1",
    ),
    (SKYRL_TOKENS, (), "say with --score-reduce whether its score is their sum, the last or the"),
    (
        [*HARNESS, *(line | {"filter": "flexible"} for line in HARNESS)],
        (),
        "3 malformed lines (3 × of another filter, flexible)",
    ),
    (HARNESS, ("--filter-key", "strict"), "no sound line is of the filter strict: 3 are of other"),
    (OPEN_R1, ("--filter-key", "strict"), "open-r1 generations have no filters"),
    (OPEN_R1, ("--steps", "1:2"), "open-r1 generations have no steps"),
    (OPEN_R1, ("--group-by", "prompt"), "bucket them, then merge the buckets with it"),
    (
        [OPEN_R1[0] | {"generations": ["4"]}],
        (),
        "lists of different lengths: entries in each: generations 1, correctness_math_verify 2",
    ),
    ([OPEN_R1[0] | {"generations": [7, 8]}], (), "a response is not text: generations[0] is 7"),
    ([OPEN_R1[0] | {"correctness_math_verify": ["x", True]}], (), "a score is not a number: corr"),
    ([OPEN_R1[0] | {"correctness_math_verify": 1}], (), "the scores are no list: correctness_math"),
    ([OPEN_R1[0] | {"generations": "4"}], (), "the responses are no list: generations is text"),
    (
        [SWIFT[0], SWIFT[0] | {"completion": ["4"]}],
        ("--score-field", "Format"),
        "lists of different lengths: entries in each: prompt 4, completion 1, Format 4",
    ),
    (
        [{"custom_id": "k", "response": {"body": {"choices": []}}, "error": None}],
        (),
        "It is a batch output of OpenAI's or vLLM's API, and has no scores: it has responses and",
    ),
    (
        [{"prompt": [], "responses": ["4"], "reward_model": {"ground_truth": "4"}}],
        (),
        "It is what verl generated, and has no scores: grade each response",
    ),
    (
        [{"problem": "q", "generations": ["a"], "api_metadata": []}],
        (),
        "It is what open-r1 generated, and has no scores",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("dump", "flags", "told"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_not_clear_is_refused(
    tmp_path: Path, bucket: Script, dump: list[Any], flags: tuple[str, ...], told: str
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, out, err = bucket("-i", source, "-o", tmp_path / "b", *flags)
    assert (code, out) == (1, "")
    assert told in words(err)
    assert not (tmp_path / "b").exists() or not list((tmp_path / "b").iterdir())


# Formats that ask which score is meant, with a first line that does not say it.
FIRST = {
    "trl": TRL[0] | {"accuracy_reward": None},
    "inspect": INSPECT[0] | {"scores": {}, "error": {"message": "timeout"}},
    "inspect, no scores": INSPECT[0] | {"scores": None},
    "lm-eval": HARNESS[0] | {"metrics": []},
}


@pytest.mark.parametrize("name", FIRST)
def test_a_first_line_without_scores_does_not_say_which_are_meant(
    tmp_path: Path, bucket: Script, name: str
) -> None:
    others = {"trl": TRL, "lm-eval": HARNESS}.get(name, INSPECT)[1:]
    source = write_jsonl(tmp_path / "d.jsonl", [FIRST[name], *others])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "-n", 1)
    if name == "trl":
        told = "2 fields that may be the score: accuracy_reward, format_reward"
        assert (code, told in words(err)) == (1, True)
        return
    scores = [taken(one).scores for one in held_in(tmp_path / "b/level_1.jsonl")]
    expected = {"lm-eval": [[1.0], [0.0], [0.0]]}.get(name, [[None, 0.0, 0.5, None, None]])
    assert (code, scores) == (0, expected)


def test_flags_that_rollouts_of_our_own_form_have_no_use_for_are_refused(
    tmp_path: Path, bucket: Script
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", [{"prompt": "q", "reward": [{"score": 1, "b": 2}]}])
    for flags in (("--score-field", "score", "b"), ("--filter-key", "strict")):
        code, _, err = bucket("-i", source, "-o", tmp_path / "b", *flags)
        assert (code, f"{flags[0].strip('-')}" in err) == (1, True)
        assert "these are rollouts, each with all its responses" in err


def test_the_manifest_says_how_scores_were_read(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", TRL)
    flags = ("--score-field", "accuracy_reward", "format_reward", "-n", 1)
    assert bucket("-i", source, "-o", tmp_path / "b", *flags)[0] == 0
    said = json.loads((tmp_path / "b/bucketing.json").read_text())["dump"]
    assert (said["score"], said["added"]) == ("accuracy_reward", ["format_reward"])
    lines = [{"prompt": "q", "reward": [{"score": "C", "source_score": 5}, {"score": [1, 2]}]}]
    source = write_jsonl(tmp_path / "e.jsonl", lines)
    flags = ("--score-map", "C=1", "--score-reduce", "sum", "-n", 1)
    assert bucket("-i", source, "-o", tmp_path / "c", *flags)[0] == 0
    said = json.loads((tmp_path / "c/bucketing.json").read_text())["dump"]
    assert (said["score_map"], said["score_reduce"]) == ({"C": 1.0}, "sum")
    ((found),) = held_in(tmp_path / "c/level_1.jsonl")
    assert found["reward"] == [
        {"score": 1.0, "source_source_score": "C", "source_score": 5},
        {"score": 3, "source_score": [1, 2]},
    ]


def test_lists_that_do_not_add_up_are_missing_and_no_error(tmp_path: Path, bucket: Script) -> None:
    lines = [
        {"prompt": "q", "reward": [[1e308, 1e308], [float("inf"), -1], [0.5, 1], []]},
        {"prompt": "r", "reward": [[0.25, 0.25]]},
    ]
    source = write_jsonl(tmp_path / "d.jsonl", lines)
    flags = ("--score-reduce", "sum", "-n", 1)
    assert bucket("-i", source, "-o", tmp_path / "b", *flags)[0] == 0
    found = held_in(tmp_path / "b/level_1.jsonl")
    assert [taken(one).scores for one in found] == [[None, None, 1.5, None], [0.5]]


def test_one_field_of_all_objects_is_the_score(tmp_path: Path, bucket: Script) -> None:
    def told(*entries: Any) -> str:
        line = {"prompt": "q", "graded": list(entries)}
        source = write_jsonl(tmp_path / "d.jsonl", [line])
        flags = ("--format", "custom", "--score-field", "graded", "-n", 1)
        code, _, err = bucket("-i", source, "-o", tmp_path / "b", *flags)
        return err if code else str(held_in(tmp_path / "b/level_1.jsonl")[0]["reward"])

    assert told({"reward": 1, "t": "x"}, {"reward": None}) == "[1, None]"
    assert told({"a": 1, "score": 0}, {"a": 1}) == "[0, None]"
    both = told({"reward": 1, "tokens": None}, {"reward": None, "tokens": 7})
    assert "the objects in graded have reward, tokens; name one with --score-field gra" in both


def test_a_place_that_no_line_has_is_not_added_up(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", TRL)
    flags = ("--score-field", "accuracy_reward", "fromat_reward")
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", *flags)
    assert (code, "none of the first 3 lines has fromat_reward" in err) == (1, True)


def test_responses_elsewhere_in_the_line_are_not_the_rollouts(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    old = {"choices": [{"message": {"content": "old"}}] * 2}
    line = {"prompt": "q", "response": old, "outs": ["x", "y"], "g": [1, 0]}
    source = write_jsonl(tmp_path / "d.jsonl", [line])
    flags = ("--format", "custom", "--response-field", "outs", "--score-field", "g", "-n", 1)
    assert bucket("-i", source, "-o", tmp_path / "b", *flags)[0] == 0
    (found,) = held_in(tmp_path / "b/level_1.jsonl")
    assert (found["responses"], found["source_response"]) == (["x", "y"], old)
    assert preprocess("-i", tmp_path / "b", "-o", tmp_path / "p", "--val-ratio", "0")[0] == 0
    (row,) = rows(tmp_path / "p/level_1_train.parquet")
    assert row["extra_info"]["best_response"]["content"] == "x"


def test_a_text_that_is_a_number_needs_no_word(tmp_path: Path, bucket: Script) -> None:
    scores = ["Yes", "0.5", "", None, 1]
    lines = [{"prompt": "q", "response": str(i), "score": s} for i, s in enumerate(scores)]
    source = write_jsonl(tmp_path / "d.jsonl", lines)
    flags = ("--format", "custom", "--score-map", "Yes=1", "-n", 1)
    assert bucket("-i", source, "-o", tmp_path / "b", *flags)[0] == 0
    (found,) = held_in(tmp_path / "b/level_1.jsonl")
    assert taken(found).scores == [1, 0.5, None, None, 1]


def test_plain_prompts_of_trl_are_no_templates(tmp_path: Path, bucket: Script) -> None:
    lines = [line | {"prompt": "2+2?", "format_reward": 0.5} for line in TRL]
    source = write_jsonl(tmp_path / "d.jsonl", lines)
    flags = ("--score-field", "accuracy_reward", "-n", 1)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", *flags)
    assert (code, "chat template" in err) == (0, False)


def test_rollouts_of_batches_are_merged_in_a_second_run(tmp_path: Path, bucket: Script) -> None:
    again = SWIFT_OLD[0] | {"step": ["6", "6"]}
    source = write_jsonl(tmp_path / "d.jsonl", [SWIFT_OLD[0], again])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "-n", 1)
    told = f"bucket these buckets again: -i {tmp_path / 'b'} -o DIR --group-by prompt"
    assert (code, told in words(err)) == (0, True)
    flags = ("-o", tmp_path / "c", "--group-by", "prompt", "-n", 1)
    assert bucket("-i", tmp_path / "b", *flags)[0] == 0
    (found,) = held_in(tmp_path / "c/level_1.jsonl")
    assert taken(found).scores == [1.0, 0.0, 1.0, 0.0]


def test_one_filter_of_several_is_chosen(tmp_path: Path, bucket: Script) -> None:
    other = [line | {"filter": "flexible", "exact_match": 1.0} for line in HARNESS]
    source = write_jsonl(tmp_path / "d.jsonl", [*HARNESS, *other])
    flags = ("--filter-key", "flexible", "-n", 1)
    assert bucket("-i", source, "-o", tmp_path / "b", *flags)[0] == 0
    found = held_in(tmp_path / "b/level_1.jsonl")
    assert [one["reward"] for one in found] == [[{"score": 1.0}]] * 3


@needs_cases
@pytest.mark.parametrize(
    ("case", "flags", "means"),
    [
        ("15-openr1.jsonl", (), [0.5] * 3 + [1] * 3),
        ("16-lcb.jsonl", (), [0.5] * 4),
        ("20-ms-swift-batch-lines.jsonl", (), [0, 0.25, 0.5, 1, 1, 1]),
        ("32-score-lists.jsonl", (), [0.5, 1]),
        (
            "33-yes-no.jsonl",
            ("--format", "custom", "--prompt-field", "question", "--response-field", "attempt",
             "--score-field", "grade", "--score-map", "Yes=1", "No=0"),
            [0.5, 1],
        ),
    ],
)  # fmt: skip
def test_small_inputs_that_went_wrong(
    tmp_path: Path, bucket: Script, case: str, flags: tuple[str, ...], means: list[float]
) -> None:
    assert bucket("-i", SHARED / "cases" / case, "-o", tmp_path / "b", *flags)[0] == 0
    scores = [taken(one | {"prompt": ""}).scores for one in held(tmp_path / "b")]
    assert sorted(sum(each) / len(each) for each in scores) == means
