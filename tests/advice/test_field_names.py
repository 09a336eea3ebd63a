"""Advice about a line: whatever the line holds, what the advice makes of it can be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.advice.field_names import IDS, KNOWN, advise, prompt_field
from curriculum.converting.convert_line import LineConverter
from curriculum.dumps.detect import FirstLines, find_dump
from curriculum.dumps.formats import OWN, Holds
from curriculum.dumps.table import fitting
from curriculum.grouping.index import LineReader, wrong_scores
from curriculum.options import BucketOptions
from curriculum.reading.input_files import InputFile
from curriculum.reading.rollouts import check_reward

OPTIONS = BucketOptions(["in.jsonl"], "out")

NUMBER = st.floats(allow_nan=False) | st.integers(-5, 5) | st.booleans()
TEXT = st.sampled_from(["a", "0.5", "yes", "No", "correct", "what?", "", "C"])
MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": TEXT})
TURN = st.fixed_dictionaries({"from": st.sampled_from(["human", "gpt"]), "value": TEXT})
ENTRY = st.dictionaries(st.sampled_from(["score", "V_i", "x"]), NUMBER | TEXT, max_size=2)
VALUE = st.one_of(
    st.none(),
    NUMBER,
    TEXT,
    st.lists(NUMBER, max_size=3),
    st.lists(TEXT, max_size=3),
    st.lists(NUMBER | TEXT | st.none(), max_size=3),
    st.lists(MESSAGE, max_size=3),
    st.lists(TURN, max_size=3),
    st.lists(ENTRY, max_size=3),
    ENTRY,
    st.dictionaries(st.sampled_from(["match", "text"]), ENTRY | TEXT, max_size=2),
)
NAME = st.sampled_from(KNOWN) | st.sampled_from(["solve_rate", "x", "it's", 'a"b', "$HOME", "a.b"])
LINES = st.dictionaries(NAME, VALUE, max_size=6)


def changed(line: dict[str, Any], changes: tuple[str, ...]) -> dict[str, Any]:
    """The line after the changes, which have to be whole in a shell's double quotes."""
    script = "\n".join(changes)
    assert not set('"$`\\') & set(script)
    names: dict[str, Any] = {"row": json.loads(json.dumps(line))}
    exec(script, names)
    found: dict[str, Any] = names["row"]
    return found


@settings(max_examples=500)
@given(LINES)
def test_what_is_advised_can_be_read(line: dict[str, Any]) -> None:
    advice = advise(line, OPTIONS)
    if advice is None or fitting(line):
        return
    assert advice.changes or advice.flags
    row = changed(line, advice.changes)
    options = BucketOptions(["in.jsonl"], "out", **advice.flags)
    seen = FirstLines(InputFile(Path("in.jsonl"), 1, None, None, 0), [(1, row)])
    dump = find_dump([seen], options.dump_flags, options.reward_field)
    if dump is None or (dump.by_prompt and dump.form.name == OWN):
        check_reward(row, options.reward_field)
        return
    form = dump.form
    if form.holds is not Holds.RESPONSE:
        LineConverter(form)(json.dumps(row).encode())
        return
    fields = LineReader(form).read(json.dumps(row).encode())
    columns = {name: [value] for name, value in fields.items()}
    assert wrong_scores(form, columns) == []


def advised(line: dict[str, Any], **flags: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    advice = advise(line, BucketOptions(["in.jsonl"], "out", **flags))
    assert advice is not None
    return advice.changes, {name: flag for name, flag in advice.flags.items() if flag is not None}


CUSTOM = {"format": "custom", "group_by": "prompt"}


def test_flags_of_the_user_come_first() -> None:
    line = {"question": "q", "text": "t", "a": "x", "response": "y", "grade": 1, "mine": 0.5}
    assert advised(line) == (
        (), CUSTOM | {"prompt_field": "question", "score_field": "grade"}
    )  # fmt: skip
    given = {"prompt_field": "text", "response_field": "a", "score_field": "mine"}
    assert advised(line, **given) == ((), CUSTOM | given)
    assert advised(line, group_field=["x"])[1]["group_field"] == ("x",)


@pytest.mark.parametrize("name", IDS[:3])
def test_an_id_groups_where_no_prompt_is(name: str) -> None:
    changes, flags = advised({name: 7, "response": "a", "score": 1})
    assert (changes, flags) == ((), {"format": "custom", "group_field": (name,)})


def test_a_list_beside_the_responses_is_preferred_to_a_mean() -> None:
    line = {"prompt": "q", "reward": 0.5, "scores": [0, 1], "outputs": ["a", "b"]}
    flags = {"format": "custom", "score_field": "scores", "response_field": "outputs"}
    assert advised(line) == ((), flags)


def test_a_rate_is_a_score_and_other_rates_are_not() -> None:
    flags = {"value_field": "solve_rate", "value_direction": "easier"}
    assert advised({"prompt": "q", "solve_rate": 0.3}) == ((), flags)
    assert advise({"prompt": "q", "learning_rate": 0.3}, OPTIONS) is None


@pytest.mark.parametrize(
    "line",
    [
        {"prompt": "q", "answer": "a"},
        {"prompt": "q", "responses": ["a", "b"]},
        {"prompt": "q", "score": "good"},
        {"prompt": "q", "score": ["good", "bad"]},
        {"prompt": "q", "score": [1, "bad"]},
        {"prompt": "q", "score": ["0.5", "yes"]},
        {"prompt": "q", "score": []},
        {"error": "timeout"},
        {},
    ],
)
def test_where_no_field_looks_like_scores_nothing_is_advised(line: dict[str, Any]) -> None:
    assert advise(line, OPTIONS) is None


@pytest.mark.parametrize(
    ("grade", "pairs"),
    [
        ("Incorrect", ("Correct=1", "Incorrect=0")),
        ("no", ("yes=1", "no=0")),
        ("C", ("C=1", "I=0")),
        (["PASS", "FAIL"], ("PASS=1", "FAIL=0")),
    ],
)
def test_grades_in_words_are_given_their_scores(grade: Any, pairs: tuple[str, ...]) -> None:
    line = {"question": "q", "attempt": "a", "outputs": ["a"], "grade": grade}
    assert advised(line)[1]["score_map"] == pairs


def test_grades_in_a_conversation_become_numbers_and_others_missing_scores() -> None:
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    line = {"messages": talk, "grade": "Incorrect"}
    changes, _ = advised(line)
    grades = ("Correct", "INCORRECT", "unknown", None)
    made = [changed(line | {"grade": grade}, changes)["reward"] for grade in grades]
    assert made == [[1], [0], [None], [None]]


def test_a_prompt_that_holds_the_answer_is_no_place() -> None:
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    line = {"prompt": talk, "response": "a", "score": 1}
    assert advised(line) == (
        (
            "row['reward'] = [row['score']]",
            "row['messages'] = row.pop('prompt')",
            "row['responses'] = [row['messages'][-1]['content']]",
        ),
        {"group_by": "prompt"},
    )
    assert advised(line | {"prompt": talk[:1]}) == ((), CUSTOM)


def test_names_that_a_shell_would_read_are_not_put_into_a_script() -> None:
    line = {"prompt": "q", "response": "a", "$(x)": "0.5"}
    assert advise(line, BucketOptions(["in.jsonl"], "out", score_field="$(x)")) is None


def test_a_missing_number_stays_missing() -> None:
    line = {"prompt": "q", "score": "0.5"}
    changes, _ = advised(line)
    made = [changed(line | {"score": text}, changes)["reward"] for text in ("1", "", None)]
    assert [made[0], *map(str, made[1:])] == [[1.0], "[nan]", "[nan]"]


def test_prompts_have_text() -> None:
    assert prompt_field({"prompt": " ", "messages": [], "problem": "2+2?"}) == "problem"
    assert prompt_field({"prompt": ["a", "b"], "question": {"text": "a"}}) is None
