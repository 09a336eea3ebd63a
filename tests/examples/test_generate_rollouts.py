"""The example generator: deterministic, honest about its writers, and every score a real check."""

import ast
import hashlib
import importlib.util
import json
import random
import re
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "generate_rollouts.py"


def load_script():
    spec = importlib.util.spec_from_file_location("generate_rollouts", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


example = load_script()


def generate(folder, *flags):
    assert example.main(["-o", str(folder), *flags]) == 0
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*"))}


def records(files):
    return [json.loads(line) for content in files.values() for line in content.splitlines()]


def constraints_of(record):
    [truth] = ast.literal_eval(record["ground_truth"])
    assert list(truth) == ["instruction_id", "kwargs"]
    return list(zip(truth["instruction_id"], truth["kwargs"], strict=True))


def texts_of(record):
    return [choice["message"]["content"] for choice in record["response"]["choices"]]


@pytest.fixture(scope="module")
def rollouts(tmp_path_factory):
    return records(generate(tmp_path_factory.mktemp("defaults")))


# The constraints a second time, without regular expressions where that is possible.


def words_of(text):
    return "".join(c if c.isalnum() or c == "_" else " " for c in text).split()


def number_words(text, num_words, relation):
    return {
        "at least": len(words_of(text)) >= num_words,
        "less than": len(words_of(text)) < num_words,
    }[relation]


def number_bullets(text, num_bullets):
    return sum(line.strip()[:2] in ("- ", "* ") for line in text.split("\n")) == num_bullets


def number_paragraphs(text, num_paragraphs):
    blocks = re.split(r"^\*\*\*$", text, flags=re.MULTILINE)
    return len(blocks) == num_paragraphs and "" not in [block.strip() for block in blocks]


def postscript(text, postscript_marker):
    lines = [
        line for line in text.split("\n") if line.lower().startswith(postscript_marker.lower())
    ]
    return any(words_of(line[len(postscript_marker) :]) for line in lines)


CHECKERS = {
    "change_case:english_lowercase": lambda text: text == text.lower() != text.upper(),
    "detectable_content:postscript": postscript,
    "detectable_format:number_bullet_lists": number_bullets,
    "detectable_format:title": lambda text: any(
        line.startswith("<<") and line.endswith(">>") and len(line) > 4 for line in text.split("\n")
    ),
    "keywords:existence": lambda text, keywords: (
        {k.lower() for k in keywords} <= set(words_of(text.lower()))
    ),
    "keywords:forbidden_words": lambda text, forbidden_words: (
        not set(forbidden_words) & set(words_of(text.lower()))
    ),
    "length_constraints:number_paragraphs": number_paragraphs,
    "length_constraints:number_words": number_words,
    "punctuation:no_comma": lambda text: text.count(",") == 0,
    "startend:end_checker": lambda text, end_phrase: (
        text[-len(end_phrase) :].lower() == end_phrase.lower()
    ),
}


def test_every_reward_follows_from_the_text(rollouts):
    seen = set()
    for record in rollouts:
        constraints = constraints_of(record)
        expected = []
        for text in texts_of(record):
            holds = [CHECKERS[id](text, **(kwargs or {})) for id, kwargs in constraints]
            seen.update((id, hold) for (id, _), hold in zip(constraints, holds, strict=True))
            share = holds.count(True) / len(holds)
            expected.append(
                {
                    "score": 1.25 if all(holds) else share,
                    "V_i": share,
                    "follow_instruction_list": holds,
                }
            )
        assert record["reward"] == expected
    assert seen == {(id, hold) for id in CHECKERS for hold in (True, False)}


@pytest.mark.parametrize(
    ("id", "kwargs", "holding", "failing"),
    [
        (
            "length_constraints:number_words",
            {"relation": "at least", "num_words": 4},
            ["one two, three four"],
            ["one two, three", "a  -  b ! c", ""],
        ),
        (
            "length_constraints:number_words",
            {"relation": "less than", "num_words": 4},
            ["one two, three", ""],
            ["one two three four"],
        ),
        (
            "length_constraints:number_paragraphs",
            {"num_paragraphs": 2},
            ["a\n\n***\n\nb"],
            ["a\n\nb", "a\n***\n", "a\n***\nb\n***\nc"],
        ),
        (
            "keywords:existence",
            {"keywords": ["cup", "leaf"]},
            ["A Cup and a leaf."],
            ["A cup.", "leaf", ""],
        ),
        (
            "keywords:forbidden_words",
            {"forbidden_words": ["day", "time"]},
            ["Today, sometimes."],
            ["Some Day.", "Good times, good time!"],
        ),
        (
            "detectable_format:number_bullet_lists",
            {"num_bullets": 2},
            ["x\n- a\n- b", "* a\n  * b"],
            ["- a", "- a\n- b\n- c", "a - b - c", "-a\n-b"],
        ),
        ("startend:end_checker", {"end_phrase": "The end."}, ["x\nthe end. "], ["The end. x", "x"]),
        ("detectable_format:title", {}, ["<<Tea>>\nx"], ["<Tea>", "<<>>", "<< >>", "<<a\nb>>"]),
        ("punctuation:no_comma", {}, ["a; b"], ["a, b"]),
        ("change_case:english_lowercase", {}, ["all small, 1."], ["One capital", "tail enD"]),
        (
            "detectable_content:postscript",
            {"postscript_marker": "P.S."},
            ["x\n\nP.S. More.", "x\np.s. more"],
            ["x", "x P.S. More.", "x\nP.S.\nMore.", "P.P.S. More."],
        ),
    ],
)
def test_a_constraint_is_checked_on_the_text(id, kwargs, holding, failing):
    check = example.CONSTRAINTS[id].check
    assert [check(text, kwargs) for text in holding] == [True] * len(holding)
    assert [check(text, kwargs) for text in failing] == [False] * len(failing)


def test_a_writer_who_forgets_nothing_keeps_each_constraint_on_its_own():
    for seed in range(50):
        for id, constraint in example.CONSTRAINTS.items():
            rng = random.Random(seed)
            topic = rng.choice(list(example.TOPICS))
            task = example.Task("a note", topic, {id: constraint.make(rng, topic)})
            assert (task, task.check(example.write(task, float("inf"), rng))) == (task, [True])


def test_every_task_can_be_done():
    for seed in range(1000):
        task = example.make_task(random.Random(seed))
        tries = (example.write(task, float("inf"), random.Random(i)) for i in range(100))
        assert (task, any(all(task.check(text)) for text in tries)) == (task, True)


def test_a_text_is_not_cut_below_one_sentence_a_paragraph():
    draft = example.Draft("tea", ("One.", "Two.", "Three.", "Four."), ("Five.",), paragraphs=3)
    assert draft.resized(-1, lambda text: False).text() == "One.\n\n***\n\nTwo.\n\n***\n\nThree."
    assert draft.resized(1, lambda text: False).body == ("One.", "Two.", "Three.", "Four.", "Five.")


def test_a_writer_who_forgets_everything_keeps_little(rollouts):
    kept = []
    for record in rollouts:
        task = example.Task(
            "a note", record["extra_info"]["topic"],
            {id: kwargs or {} for id, kwargs in constraints_of(record)},
        )  # fmt: skip
        kept += task.check(example.write(task, float("-inf"), random.Random(0)))
    assert sum(kept) / len(kept) < 0.1


def test_better_writers_score_higher(rollouts):
    scores = {name: [] for name in example.WRITERS}
    for record in rollouts:
        for choice, reward in zip(record["response"]["choices"], record["reward"], strict=True):
            scores[choice["writer"]].append(reward["score"])
    means = [sum(values) / len(values) for values in scores.values()]
    assert means == sorted(means) and means[-1] > 2 * means[0]


def test_a_record_has_the_fields_of_the_guide(tmp_path):
    [record] = records(generate(tmp_path, "--prompts", "1", "--responses", "6", "--seed", "7"))
    [message] = record["prompt"]
    ids = [id for id, _ in constraints_of(record)]
    assert list(record) == [
        "num", "prompt", "response", "reward", "parameters", "key", "messages", "ground_truth",
        "constraint", "constraint_type", "extra_info",
    ]  # fmt: skip
    assert (record["num"], record["parameters"]) == (0, {"responses": 6, "seed": 7})
    assert record["key"] == "template-writers-7-0"
    assert record["messages"] == record["prompt"]
    assert (list(message), message["role"]) == (["role", "content"], "user")
    assert message["content"].endswith(f"about {record['extra_info']['topic']}. "
                                       f"{record['constraint']}")  # fmt: skip
    assert record["constraint_type"] == ("single" if len(ids) == 1 else "multi")
    assert list(record["response"]) == ["choices"]
    assert [
        (choice["index"], choice["writer"], choice["message"]["role"], list(choice))
        for choice in record["response"]["choices"]
    ] == [
        (i, f"template-writer-{i % 4 + 1}", "assistant", ["index", "writer", "message"])
        for i in range(6)
    ]
    assert all(texts_of(record))
    assert len(record["reward"]) == 6


def test_numbers_and_keys_are_unique_over_the_files(rollouts):
    assert [record["num"] for record in rollouts] == list(range(300))
    assert len({record["key"] for record in rollouts}) == 300
    assert {len(texts_of(record)) for record in rollouts} == {8}


def test_absent_kwargs_are_none_and_given_ones_are_in_the_prompt(rollouts):
    given = {id: set() for id in CHECKERS}
    for record in rollouts:
        for id, kwargs in constraints_of(record):
            given[id].add(kwargs is not None)
            for value in (kwargs or {}).values():
                for part in value if isinstance(value, list) else [value]:
                    assert str(part) in record["prompt"][0]["content"]
    bare = {"change_case:english_lowercase", "detectable_format:title", "punctuation:no_comma"}
    assert given == {id: {id not in bare} for id in CHECKERS}


def test_difficulty_spreads(rollouts):
    solved = [[reward["score"] == 1.25 for reward in record["reward"]] for record in rollouts]
    means = [sum(r["score"] for r in record["reward"]) / 8 for record in rollouts]
    values = sorted(round(mean, 9) for mean in means)
    assert sum(all(passes) for passes in solved) >= 5
    assert sum(not any(passes) for passes in solved) >= 5
    assert len(set(values)) >= 30
    assert max(values.count(value) for value in set(values)) <= 30
    assert values[100] - values[0] > 0.3 and values[-1] - values[200] > 0.3


def test_same_flags_same_bytes(tmp_path):
    first = generate(tmp_path / "a", "--prompts", "40", "--seed", "3")
    assert generate(tmp_path / "b", "--prompts", "40", "--seed", "3") == first
    assert generate(tmp_path / "a", "--prompts", "40", "--seed", "3") == first


def test_another_seed_gives_other_prompts_and_texts(tmp_path):
    first = records(generate(tmp_path / "a", "--prompts", "20", "--seed", "3"))
    other = records(generate(tmp_path / "b", "--prompts", "20", "--seed", "4"))
    same = [a["prompt"] == b["prompt"] for a, b in zip(first, other, strict=True)]
    assert same.count(True) <= 1
    assert not {text for r in first for text in texts_of(r)} & {
        text for r in other for text in texts_of(r)
    }


def test_the_defaults_give_these_bytes_on_any_machine(tmp_path):
    """A change of this digest is a change of the example's rollouts: say so in the changelog."""
    content = b"".join(generate(tmp_path).values())
    assert (
        hashlib.sha256(content).hexdigest()
        == "a003b82bbbf65782c9a9c04b02543e0f48ce6802080fa0622526619fadc8cb0f"
    )


def test_files_are_contiguous_parts(tmp_path):
    whole = generate(tmp_path / "one", "--prompts", "10", "--files", "1")
    parts = generate(tmp_path / "four", "--prompts", "10", "--files", "4")
    assert list(whole) == ["rollouts-000.jsonl"]
    assert list(parts) == [f"rollouts-00{i}.jsonl" for i in range(4)]
    assert [content.count(b"\n") for content in parts.values()] == [2, 3, 2, 3]
    assert b"".join(parts.values()) == b"".join(whole.values())


def test_no_file_is_without_a_prompt(tmp_path):
    files = generate(tmp_path, "--prompts", "2", "--files", "5")
    assert [content.count(b"\n") for content in files.values()] == [1, 1]


def test_more_prompts_leave_the_earlier_ones(tmp_path):
    few = records(generate(tmp_path / "few", "--prompts", "5"))
    assert records(generate(tmp_path / "many", "--prompts", "9"))[:5] == few


def test_more_responses_leave_the_earlier_ones(tmp_path):
    few = records(generate(tmp_path / "few", "--prompts", "5", "--responses", "3"))
    many = records(generate(tmp_path / "many", "--prompts", "5", "--responses", "9"))
    assert [texts_of(record)[:3] for record in many] == [texts_of(record) for record in few]


def test_it_says_in_one_line_what_it_wrote(tmp_path, capsys):
    generate(tmp_path, "--prompts", "1200", "--responses", "2")
    captured = capsys.readouterr()
    assert captured.out == (
        f"wrote {tmp_path / 'rollouts-000.jsonl'} to rollouts-002.jsonl: "
        "1,200 prompts x 2 responses\n"
    )
    assert captured.err == ""


def test_the_default_directory_is_rollouts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert example.main(["--prompts", "3"]) == 0
    assert [str(path) for path in sorted(Path().glob("*/*"))] == [
        str(Path("rollouts", f"rollouts-00{i}.jsonl")) for i in range(3)
    ]


def test_other_files_are_left_alone_and_named(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "mine.jsonl").write_text("{}\n")
    generate(tmp_path, "--prompts", "6", "--files", "3")
    files = generate(tmp_path, "--prompts", "6", "--files", "2")
    assert (files["notes.txt"], files["mine.jsonl"]) == (b"mine", b"{}\n")
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"warning: {tmp_path} also holds mine.jsonl, rollouts-002.jsonl; "
        "bucketing would read that too"
    )


def test_rollouts_of_another_origin_are_not_replaced(tmp_path, capsys):
    theirs = tmp_path / "rollouts-001.jsonl"
    theirs.write_text('{"num": 0, "key": "real", "reward": []}\n')
    assert example.main(["-o", str(tmp_path)]) == 1
    assert list(tmp_path.iterdir()) == [theirs]
    assert theirs.read_text() == '{"num": 0, "key": "real", "reward": []}\n'
    assert capsys.readouterr() == (
        "",
        f"error: {theirs}: not written by this script, so not replaced;\n"
        "choose another --output-dir, or make room in this one\n",
    )


def test_an_empty_file_of_that_name_is_replaced(tmp_path):
    (tmp_path / "rollouts-000.jsonl").touch()
    assert records(generate(tmp_path, "--prompts", "1"))[0]["num"] == 0


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert example.main(["-o", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'file'}: ")


@pytest.mark.parametrize("flag", ["--prompts", "--responses", "--files"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", ""])
def test_nonsense_numbers_are_refused(tmp_path, capsys, flag, value):
    with pytest.raises(SystemExit) as stopped:
        example.main(["-o", str(tmp_path / "out"), f"{flag}={value}"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.endswith(
        f"argument {flag}: expected a whole number of at least 1, not {value!r}\n"
    )
    assert not (tmp_path / "out").exists()


def test_a_later_round_has_the_same_prompts_and_better_writers(rollouts, tmp_path):
    means = []
    for number, some in enumerate((rollouts, records(generate(tmp_path, "--round", "1")))):
        assert [one["prompt"] for one in some] == [one["prompt"] for one in rollouts]
        assert {one["parameters"].get("round", 0) for one in some} == {number}
        scores = [entry["V_i"] for one in some for entry in one["reward"]]
        means.append(sum(scores) / len(scores))
        assert (list(map(texts_of, some)) == list(map(texts_of, rollouts))) == (number == 0)
    assert means[0] + 0.03 < means[1] < 1
