"""The first lines: which flags they need, and what preprocessing would refuse of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.dumps.dump_lines import CASES
from tests.helpers.rollouts import Script, rollout, write_jsonl


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current directory, so that commands have short paths."""
    monkeypatch.chdir(tmp_path)


ONE = [{"prompt": f"q{i}", "answer_text": "a", "my_score": i % 2} for i in range(4)]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            ("--response-field", "answer", "--score-field", "my_scores"),
            "no answer and no my_scores, expected in every line (custom dump);\nthe line has "
            "prompt: text, answer_text: text, my_score: number.\n"
            "Did you mean --score-field my_score and --response-field answer_text?\n\n",
        ),
        (
            ("--response-field", "text", "--score-field", "my_score"),
            "no text, expected in every line (custom dump);\nthe line has prompt: text, "
            "answer_text: text, my_score: number.\nName one of these fields with "
            "--response-field.\n",
        ),
    ],
)
def test_a_place_that_no_line_has(bucket: Script, flags: tuple[str, ...], told: str) -> None:
    source = write_jsonl(Path("d.jsonl"), ONE)
    code, _, err = bucket("-i", source, "-o", "b", "--format", "custom", *flags)
    assert (code, err.startswith(f"error: {source}:1: {told}")) == (1, True)


def test_lines_of_another_format_than_the_flag_says(bucket: Script) -> None:
    source = write_jsonl(Path("d.jsonl"), CASES["verifiers"][1][0])
    for given in ("verl", "rollouts"):
        code, _, err = bucket("-i", source, "-o", "b", "--format", given)
        assert (code, "These lines are verifiers results:\n\n" in err) == (1, True)
        assert err.endswith(f"python bucket_rollouts_by_difficulty.py -i {source} -o b\n")
    rollouts = write_jsonl(Path("r.jsonl"), [rollout(0, 1)])
    flags = ("--format", "verl", "--prompt-field", "prompt")
    code, _, err = bucket("-i", rollouts, "-o", "b", *flags)
    assert (code, "These lines are rollouts:\n\n" in err) == (1, True)
    assert err.endswith(f"python bucket_rollouts_by_difficulty.py -i {rollouts} -o b\n")


def test_flags_without_a_format_are_kept_in_the_command(bucket: Script) -> None:
    source = write_jsonl(Path("d.jsonl"), ONE)
    flags = ("--response-field", "answer_text", "--score-field", "my_score")
    code, _, err = bucket("-i", source, "-o", "b", *flags)
    assert (code, 'd.jsonl:1: no "reward"' in err) == (1, True)
    command = err.partition("\n\n")[2].replace(" \\\n   ", "")
    for flag in (
        " ".join(flags[:2]),
        " ".join(flags[2:]),
        "--format custom --",
        "--group-by prompt",
    ):
        assert flag in command


def test_rollouts_with_their_prompt_elsewhere_are_told_which_script_reads_it(
    bucket: Script,
) -> None:
    source = write_jsonl(Path("r.jsonl"), [{"question": "q", "reward": [0, 1]}])
    code, _, err = bucket("-i", source, "-o", "b", "--prompt-field", "question")
    assert (code, "leave it out here, and give it to preprocess_bucketed" in err) == (1, True)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            [{"question": "q", "reward": [0, 1]}] * 2,
            "2 of 2 rollouts have no prompt, neither in prompt nor in messages, and "
            "preprocess_bucketed_rollouts.py would refuse them. If it is in question, give that "
            "script --prompt-field question.",
        ),
        (
            [rollout(0, 1), {"id": 3, "reward": [0, 1]}],
            "1 of 2 rollouts has no prompt, neither in prompt nor in messages, and "
            "preprocess_bucketed_rollouts.py would refuse them. Name the field that has it with "
            "--prompt-field, or add the prompts.",
        ),
    ],
)
def test_rollouts_without_a_prompt_are_counted_and_a_likely_field_is_named(
    bucket: Script, preprocess: Script, lines: list[dict[str, Any]], told: str
) -> None:
    source = write_jsonl(Path("r.jsonl"), lines)
    code, out, err = bucket("-i", source, "-o", "b", "-n", 1)
    assert (code, err) == (0, f"warning: {told}\n")
    assert "where the prompts are" in out
    assert preprocess("-i", "b", "-o", "p")[0] == 1


def refusals(err: str) -> list[str]:
    start = "warning: preprocess_bucketed_rollouts.py would refuse "
    return [line.removeprefix(start) for line in err.splitlines() if line.startswith(start)]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            [{"prompt": "q", "response": ["a", "b"], "reward": [0, 1]}],
            "1 of the first rollouts, such as {0}:1: response is not an object: it is a list,"
            " expected {{choices: […]}}; a list of strings is named responses. Give that script "
            "--no-best-response, or rename the field and bucket again.",
        ),
        (
            [{"prompt": [{"role": "user"}], "reward": [0, 1]}],
            "1 of the first rollouts, such as {0}:1: a message's content is not a string: "
            "prompt[0].content is null. Fix these prompts and bucket again.",
        ),
    ],
)
def test_rollouts_that_preprocessing_would_refuse_are_told(
    bucket: Script, preprocess: Script, lines: list[dict[str, Any]], told: str
) -> None:
    source = write_jsonl(Path("r.jsonl"), lines)
    code, _, err = bucket("-i", source, "-o", "b", "-n", 1)
    assert (code, refusals(err)) == (0, [told.format(source)])
    assert preprocess("-i", "b", "-o", "p")[0] == 1


def test_every_file_is_looked_into(bucket: Script) -> None:
    write_jsonl(Path("in/a.jsonl"), [rollout(0, 1)] * 3)
    write_jsonl(Path("in/b.jsonl"), [rollout(0, 1, responses=3, response=None), rollout(0, 1)])
    _, _, err = bucket("-i", "in", "-o", "b", "-n", 1)
    (told,) = refusals(err)
    assert told.startswith("1 of the first rollouts, such as in/b.jsonl:1: ")


@pytest.mark.parametrize("name", CASES)
def test_known_formats_have_prompts(bucket: Script, name: str) -> None:
    source = write_jsonl(Path("d.jsonl"), CASES[name][1][0])
    assert refusals(bucket("-i", source, "-o", "b", "-n", 1)[2]) == []


def test_a_dump_without_prompts_names_the_flag(bucket: Script) -> None:
    lines = [line | {"question": "2+2?"} for line in CASES["nemo-gym"][1][0]]
    for line in lines:
        line["responses_create_params"] = {"input": []}
    source = write_jsonl(Path("d.jsonl"), lines)
    code, _, err = bucket("-i", source, "-o", "b", "-n", 1)
    assert (code, "has a prompt in responses_create_params.input" in err) == (1, True)
    assert "take what these lines have in question: --prompt-field question" in err
    flags = ("-n", 1, "--prompt-field", "question")
    code, _, err = bucket("-i", source, "-o", "b", *flags)
    assert (code, refusals(err)) == (0, [])


def test_prompts_that_no_bucket_has_are_looked_for_once(bucket: Script, preprocess: Script) -> None:
    source = write_jsonl(Path("r.jsonl"), [{"problem": "q", "reward": [0, 1]}] * 3)
    bucket("-i", source, "-o", "b", "-n", 1)
    code, _, err = preprocess("-i", "b", "-o", "p")
    assert (code, err.splitlines()) == (
        1,
        [
            "error: all 3 lines are malformed (3 × no prompt), expected one rollout per line",
            "  b/level_1.jsonl:1: no prompt: neither prompt nor messages holds any text to answer",
            "  … and 2 more;",
            "nothing was written; if the prompt is in problem:",
            "",
            "python preprocess_bucketed_rollouts.py -i b -o p --prompt-field problem",
        ],
    )


def test_what_preprocessing_would_refuse_is_to_be_decided(bucket: Script) -> None:
    source = write_jsonl(Path("r.jsonl"), [{"prompt": [{"role": "user"}], "reward": [0, 1]}])
    code, out, _ = bucket("-i", source, "-o", "b", "-n", 1)
    assert code == 0
    assert "Decide first:\n- what to do about rollouts that preprocessing would refuse\n" in out


def test_a_prompt_field_that_no_rollout_has_is_named_and_not_added_again(
    bucket: Script, preprocess: Script
) -> None:
    source = write_jsonl(Path("r.jsonl"), [rollout(0, 1)] * 2)
    assert bucket("-i", source, "-o", "b", "-n", 1)[0] == 0
    code, _, err = preprocess("-i", "b", "-o", "p", "--prompt-field", "question")
    assert (code, "these have nothing in question" in err) == (1, True)
    assert "leave out --prompt-field" in err
    empty = [{"prompt": [], "reward": [0, 1]}]
    assert bucket("-i", write_jsonl(Path("e.jsonl"), empty), "-o", "e", "-n", 1)[0] == 0
    code, _, err = preprocess("-i", "e", "-o", "p")
    assert (code, "--prompt-field prompt" in err) == (1, False)
