"""The real verl loads every file we write, alone and together, and gives back what was in it."""

from __future__ import annotations

import ast
import copy
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from examples.verl.reward import checker
from tests.helpers.rollouts import DATA, ROOT, Script, needs_data, rollout, rows, write_jsonl
from tests.real_verl.cases import AS_STRING, CASES, Case

pytestmark = pytest.mark.slow

KEEPING_ALL = ("data.filter_overlong_prompts=True", "data.max_prompt_length=100000")
OURS = ("data_source", "ability", "reward_model", "extra_info")


class Written:
    """Sets that our scripts wrote of some rollouts."""

    def __init__(self, directory: Path, bucket: Script, preprocess: Script) -> None:
        self.directory, self._bucket, self._preprocess = directory, bucket, preprocess

    def bucketed(self, source: Path, *flags: object) -> None:
        code, _, err = self._bucket(
            "-i", source, "-o", self.directory / "bucketed", "--workers", 1, *flags
        )
        assert code == 0, err

    def preprocessed(self, *flags: object, into: str = "sets") -> list[Path]:
        """Preprocess the buckets; the files that the directory has then, train before val."""
        out = self.directory / into
        code, _, err = self._preprocess(
            "-i", self.directory / "bucketed", "-o", out, "--workers", 1, *flags
        )
        assert code == 0, err
        return sorted(out.glob("*_train.parquet")) + sorted(out.glob("*_val.parquet"))


@pytest.fixture
def written(tmp_path: Path, bucket: Script, preprocess: Script) -> Written:
    return Written(tmp_path, bucket, preprocess)


def assert_rows(loaded: Sequence[dict[str, Any]], files: Sequence[Path]) -> None:
    """verl's rows are the rows of the files, in their order."""
    expected = [row for path in files for row in rows(path)]
    assert repr([{name: row[name] for name in OURS} for row in loaded]) == repr(
        [{name: row[name] for name in OURS} for row in expected]
    )
    assert [row["raw_prompt"] for row in loaded] == [row["prompt"] for row in expected]
    assert [row["index"] for row in loaded] == [row["extra_info"]["index"] for row in expected]


def assert_loads(verl: Any, readers: Any, files: list[Path]) -> None:
    """Each alone, all together forwards and backwards; with both versions of datasets the three
    train sets, and the three val sets, in every order."""
    for path in files:
        assert_rows(verl.load([path]), [path])
    assert_rows(verl.load(files), files)
    assert_rows(verl.load(files[::-1]), files[::-1])
    sides = [range(3), range(3, 6)]
    orders = [order for side in sides for order in itertools.permutations(side)]
    assert_read(readers, files, [*map(list, orders), list(range(6))])


def assert_read(readers: Any, files: list[Path], orders: Sequence[Sequence[int]]) -> None:
    """Both versions of datasets read the rows that the files have, alone and in these orders."""
    for reader in readers:
        assert reader.read(files, orders) == [rows(path) for path in files]


def holds(given: Any, got: Any, json_text: bool = False) -> bool:
    """Whether what was written is what was given. Nulls may fill up dicts, a dict without keys may
    be null, and what is no string (with `json_text` any value) may be its JSON text."""
    if isinstance(given, dict) and isinstance(got, dict):
        filled = all(value is None for key, value in got.items() if key not in given)
        return filled and all(holds(given[key], got.get(key), json_text) for key in given)
    if isinstance(given, list) and isinstance(got, list):
        return len(given) == len(got) and all(
            holds(*pair, json_text) for pair in zip(given, got, strict=True)
        )
    if got is None:
        return given is None or given == {}
    if type(given) is type(got) and repr(given) == repr(got):
        return True
    readable = isinstance(got, str) and (json_text or not isinstance(given, str))
    return readable and repr(json.loads(got)) == repr(given)


def names(row: dict[str, Any]) -> list[str]:
    """The instructions of a row."""
    found: list[str] = row["reward_model"]["ground_truth"]["instruction_id_list"]
    return found


def messages(given: dict[str, Any]) -> list[dict[str, str]]:
    """The prompt of a rollout, in the plain way."""
    found = given["prompt"] or given["messages"]
    if isinstance(found, str):
        found = [{"role": "user", "content": found}]
    return [{"role": one["role"], "content": one["content"]} for one in found]


def truth(value: Any) -> Any:
    """The ground truth of a row, in the plain way: one form for instruction following."""
    found = value
    if isinstance(value, str) and "instruction_id" in value:
        found = ast.literal_eval(value.replace("null", "None"))
    if isinstance(found, list) and len(found) == 1 and "instruction_id_list" in found[0]:
        found = found[0]
    return found if isinstance(found, dict) and "instruction_id_list" in found else value


RESERVED = {
    "index", "split", "key", "curriculum_stage", "best_response", "num_turns", "tool_rewards",
    "turn_scores", "rollout_reward_scores",
}  # fmt: skip
STRUCTS = {"tools_kwargs", "interaction_kwargs"}  # with null for {}: verl calls .get on them


def own_fields(given: dict[str, Any], sources: set[str]) -> dict[str, Any]:
    """A rollout's own fields of extra_info under the names of the row, in the plain way."""
    found = {}
    for source, value in (given.get("extra_info") or {}).items():
        name = source
        while name in RESERVED or (name != source and name in sources):
            name = f"source_{name}"
        found[name] = value
    return {name: found.get(name) or {} for name in STRUCTS & sources} | {
        name: value for name, value in found.items() if name not in STRUCTS
    }


def assert_survived(given: list[dict[str, Any]], found: list[dict[str, Any]], case: Case) -> None:
    """Each rollout's values, in the row that has its place as `index`."""
    sources = {name for one in given for name in one.get("extra_info") or {}}
    for one, row in zip(given, found, strict=True):
        assert row["prompt"] == messages(one)
        expected = one["ground_truth"] if case.flags == AS_STRING else truth(one["ground_truth"])
        assert holds(expected, row["reward_model"]["ground_truth"]), (one, row)
        for name, value in own_fields(one, sources).items():
            assert holds(value, row["extra_info"].get(name), json_text=True), (name, one, row)
        scores = [entry["score"] for entry in one["reward"]]
        measures = row["extra_info"]["difficulty_metrics"]
        assert repr(measures["max_score"]) == repr(float(max(scores)))
        assert repr(measures["min_score"]) == repr(float(min(scores)))
        assert measures["mean_score"] == pytest.approx(sum(scores) / len(scores), rel=1e-11)
        best = row["extra_info"].get("best_response")
        if best:
            choices = (one.get("response") or {}).get("choices") or [{}] * len(scores)
            choice = choices[best["index"]] if best["index"] < len(choices) else {}
            assert best["index"] == scores.index(max(scores))
            assert repr(best["score"]) == repr(float(max(scores)))
            assert json.loads(best["reward"]) == one["reward"][best["index"]]
            assert best["content"] == choice.get("message", {}).get("content")


@pytest.mark.parametrize("name", CASES)
def test_hard_cases_load_and_survive(verl: Any, readers: Any, written: Written, name: str) -> None:
    case = CASES[name]
    given = case.rollouts()
    written.bucketed(write_jsonl(written.directory / "in.jsonl", given))
    files = written.preprocessed("--val-ratio", 0.3, *case.flags)
    assert len(files) == 6
    assert_loads(verl, readers, files)
    found = [row for path in files for row in rows(path)]
    found.sort(key=lambda row: row["extra_info"]["index"])
    assert_survived(given, found, case)


def test_sets_of_one_row(verl: Any, readers: Any, written: Written) -> None:
    written.bucketed(
        write_jsonl(written.directory / "in.jsonl", CASES["plain strings"].rollouts(2))
    )
    files = written.preprocessed()
    assert [pq.read_metadata(path).num_rows for path in files] == [1] * 6
    assert_loads(verl, readers, files)


def test_sets_of_two_runs_over_the_same_buckets(verl: Any, readers: Any, written: Written) -> None:
    """Other buckets, filters, seeds: the schema is that of the whole directory."""
    case = CASES["kwargs with different keys"]
    written.bucketed(write_jsonl(written.directory / "in.jsonl", case.rollouts(20)))
    files = written.preprocessed("--buckets", "hard", "--combine", "--output-name", "one")
    files = written.preprocessed(
        "--buckets",
        "easy",
        "medium",
        "--combine",
        "--output-name",
        "two",
        "--order",
        "easy-to-hard",
    )
    files += written.preprocessed("--filter", "informative_only", "--seed", 7, into="other")
    assert {path.name for path in files} >= {"one_train.parquet", "two_val.parquet"}
    assert len(files) == 8
    assert_rows(verl.load(files), files)
    assert_rows(verl.load(files[::-1]), files[::-1])
    assert_read(readers, files, [list(range(8)), list(range(7, -1, -1))])


def test_all_sets_of_a_run_in_every_order(verl: Any, readers: Any, written: Written) -> None:
    """The sets of two buckets, with verl's filter of long prompts too."""
    case = CASES["kwargs with different keys"]
    source = write_jsonl(written.directory / "in.jsonl", case.rollouts())
    written.bucketed(source, "-n", 2)
    files = written.preprocessed("--val-ratio", 0.3)
    orders = list(itertools.permutations(range(4)))
    assert_rows(verl.load(files, *KEEPING_ALL), files)
    for order in orders:
        some = [files[i] for i in order]
        assert_rows(verl.load(some), some)
    assert_read(readers, files, orders)


def test_sets_of_twenty_thousand_rows(verl: Any, written: Written) -> None:
    given = [rollout(i % 3, prompt=f"prompt {i}", ground_truth=str(i)) for i in range(63_000)]
    written.bucketed(write_jsonl(written.directory / "in.jsonl", given))
    files = written.preprocessed()
    assert [pq.read_metadata(path).num_rows >= 19_000 for path in files] == [True] * 3 + [False] * 3
    trainer = verl.loaders(files[:3], files[3:], "data.train_batch_size=1000")
    found = verl.read(trainer.train_dataloader) + verl.read(trainer.val_dataloader)
    indexes = [row["index"] for row in found]
    assert len(set(indexes)) == len(indexes) > 59_000
    assert all(row["reward_model"]["ground_truth"] == row["raw_prompt"][0]["content"][7:]
               for row in found)  # fmt: skip


def test_an_ordered_set_trains_from_easy_to_hard(verl: Any, written: Written) -> None:
    given = [rollout(i / 100, prompt=f"prompt {i}") for i in range(100)]
    written.bucketed(write_jsonl(written.directory / "in.jsonl", given))
    train, val = written.preprocessed(
        "--combine", "--output-name", "all", "--order", "easy-to-hard"
    )
    trainer = verl.loaders([train], [val], "data.train_batch_size=8", "data.shuffle=False")
    found = verl.read(trainer.train_dataloader)
    scores = [row["extra_info"]["difficulty_metrics"]["mean_score"] for row in found]
    assert scores == sorted(scores, reverse=True)
    assert len(found) == pq.read_metadata(train).num_rows // 8 * 8


@needs_data
@pytest.mark.parametrize("name", ["mifeval_es_fr_ja", "gsm8k_mixed6"])
def test_real_rollouts_load(verl: Any, readers: Any, written: Written, name: str) -> None:
    written.bucketed(DATA / name)
    assert_loads(verl, readers, written.preprocessed("--val-ratio", 0.1))


@pytest.mark.parametrize("truth", ["18", "007", "-3", "70000", "2.50"])
def test_a_truth_scores_one_with_the_scorer_of_verl(
    verl: Any, written: Written, truth: str
) -> None:
    given = [rollout(1, prompt=str(i), ground_truth=truth) for i in range(3)]
    written.bucketed(write_jsonl(written.directory / "in.jsonl", given), "-n", 1)
    files = written.preprocessed("--data-source", "openai/gsm8k", "--val-ratio", 0)
    loader = verl.loaders(files, files, "data.shuffle=False").train_dataloader
    for answer, score in ((f"it is\n#### {truth}", 1.0), (f"#### {truth}1", 0.0), (truth, 0.0)):
        judged = verl.rewards(loader, [answer] * 3)
        assert [one["reward_score"] for one in judged] == [score] * 3


@needs_data
def test_gsm8k_truths_score_one_with_the_scorer_of_verl(verl: Any, written: Written) -> None:
    written.bucketed(DATA / "gsm8k_mixed6")
    files = written.preprocessed("--data-source", "openai/gsm8k")
    loader = verl.loaders(files, files, "data.shuffle=False").train_dataloader
    truths = [row["reward_model"]["ground_truth"] for row in verl.read(loader)]
    right = verl.rewards(loader, [f"#### {value}" for value in truths])
    assert len(right) == 1319
    assert {found["reward_score"] for found in right} == {1.0}
    wrong = verl.rewards(loader, [f"#### {value}1" for value in truths])
    assert {found["reward_score"] for found in wrong} == {0.0}


@needs_data
def test_instruction_following_scores_are_the_real_ones(verl: Any, written: Written) -> None:
    """The example's reward function, called by verl on the rows and responses of a real run."""
    source = DATA / "mifeval_es_fr_ja/mifeval_es_fr_ja.jsonl"
    written.bucketed(source)
    files = written.preprocessed()
    loader = verl.loaders(files, files, "data.shuffle=False").train_dataloader
    found = verl.read(loader)
    given = {one["key"]: one for one in map(json.loads, source.read_text("utf-8").splitlines())}
    reward = f"reward.custom_reward_function.path={ROOT / 'examples/verl/reward.py'}"
    skip = "+reward.custom_reward_function.reward_kwargs.unknown=skip"
    known = [all(map(checker, names(row))) for row in found]
    assert (len(found), sum(known)) == (522, 214)
    for response in range(0, 17, 4):
        originals = [given[row["extra_info"]["key"]] for row in found]
        answers = [one["response"]["choices"][response]["message"]["content"] for one in originals]
        judged = verl.rewards(loader, answers, reward, skip)
        for one, original, whole in zip(judged, originals, known, strict=True):
            assert not whole or one["reward_score"] == pytest.approx(
                original["reward"][response]["score"], abs=1e-4
            )
    with pytest.raises(ValueError, match="does not know the instruction"):
        verl.rewards(loader, ["x"] * len(found), reward)


def test_tools_and_interactions_reach_the_batch(verl: Any, written: Written) -> None:
    case = CASES["tools_kwargs and interaction_kwargs"]
    written.bucketed(write_jsonl(written.directory / "in.jsonl", case.rollouts()))
    found = verl.load(written.preprocessed())
    tools = [row["tools_kwargs"] for row in found if row["tools_kwargs"]["calc"]]
    assert tools == [{"calc": {"create_kwargs": {"answer": "4"}}}] * 6
    assert all(hasattr(row["interaction_kwargs"], "get") for row in found)


def test_rows_of_a_data_set(verl: Any, readers: Any, written: Written) -> None:
    """--source: rows that are not ours, with a type of their own and the features of `datasets`."""
    given = CASES["plain strings"].rollouts(20)
    written.bucketed(write_jsonl(written.directory / "in.jsonl", given))
    data = [
        {
            "data_source": "openai/gsm8k",
            "prompt": messages(one),
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": str(number)},
            "extra_info": {"index": number, "split": "train"},
            "steps": ["think"] * (number % 4),
        }
        for number, one in enumerate(given)
    ]
    table = pa.Table.from_pylist(data)
    table = table.set_column(0, "data_source", table["data_source"].cast(pa.large_string()))
    pq.write_table(table, written.directory / "train.parquet", row_group_size=7)
    files = written.preprocessed(
        "--val-ratio", 0.3, "--source", written.directory / "train.parquet"
    )
    assert len(files) == 6
    assert_loads(verl, readers, files)
    found = [row for path in files for row in rows(path)]
    assert sorted(row["extra_info"]["index"] for row in found) == list(range(len(data)))
    for row in found:
        assert row["extra_info"]["curriculum_stage"] in ("easy", "medium", "hard")
        row["extra_info"] = {name: row["extra_info"][name] for name in ("index", "split")}
        assert row == data[row["extra_info"]["index"]]


CALLS = [
    {
        "id": "c1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Rom"}'},
    },
    {"id": "c2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
]
# Asks whether a message has a field, as Llama 3.1's does.
ASKS_FOR_KEYS = (
    "{% for m in messages %}{% if 'tool_calls' in m %}[{% for c in m.tool_calls %}"
    "{{ c.function.name }}{{ c.function.arguments }}{% endfor %}]"
    "{% elif m.role == 'tool' %}{{ m.name }}={{ m.content }}({{ m.tool_call_id }})"
    "{% else %}{{ m.role }}: {{ m.content }}{% endif %}|{% endfor %}"
)
OUR_DATASET = (
    f"data.custom_cls.path={ROOT / 'examples/verl/dataset.py'}",
    "data.custom_cls.name=RolloutDataset",
)


def conversation(number: int) -> list[dict[str, Any]]:
    """What an agent was asked: every third time with a call of a tool."""
    asked = {"role": "user", "content": f"Weather {number}?"}
    if number % 3:
        return [asked]
    called = {"role": "assistant", "content": None, "tool_calls": CALLS[: 1 + number % 2]}
    answer = {"role": "tool", "content": "12C", "tool_call_id": "c1", "name": "weather"}
    return [asked, called, answer]


def test_tool_calls_reach_the_chat_template(verl: Any, readers: Any, written: Written) -> None:
    given = [rollout(i % 3 / 2, 1) | {"prompt": conversation(i)} for i in range(36)]
    written.bucketed(write_jsonl(written.directory / "in.jsonl", given))
    files = written.preprocessed("--val-ratio", 0.3)
    assert_loads(verl, readers, files)
    found = {row["index"]: row["raw_prompt"] for row in verl.load(files, *KEEPING_ALL)}
    ours = {row["index"]: row["raw_prompt"] for row in verl.load(files, *OUR_DATASET, *KEEPING_ALL)}
    asked = [one for stage in (2, 1, 0) for one in given if one["reward"][0]["score"] == stage / 2]
    expected = {index: one["prompt"] for index, one in enumerate(asked)}
    assert ours == expected
    fields = ("role", "content", "tool_calls", "tool_call_id", "name")
    padded = {
        index: [{name: message.get(name) for name in fields} for message in messages]
        for index, messages in expected.items()
    }
    assert found == padded
    tokenizer = copy.deepcopy(verl.byte_tokenizer())
    tokenizer.chat_template = ASKS_FOR_KEYS

    def text(messages: Any) -> str:
        written_out: str = tokenizer.apply_chat_template(messages, tokenize=False)
        return written_out

    assert [text(ours[i]) for i in expected] == [text(one["prompt"]) for one in asked]
    with pytest.raises(TypeError, match="NoneType"):
        text(found[0])


def test_long_prompts_are_left_out_as_the_template_writes_them(
    verl: Any, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """verl leaves out each row whose prompt a template cannot write, with no more than a line."""
    given = [rollout(i % 3 / 2, 1) | {"prompt": conversation(i)} for i in range(36)]
    given[5]["prompt"] = [{"role": "user", "content": "long " * 100}]
    written.bucketed(write_jsonl(written.directory / "in.jsonl", given))
    files = written.preprocessed("--val-ratio", 0)
    monkeypatch.setattr(verl.byte_tokenizer(), "chat_template", ASKS_FOR_KEYS)
    short = ("data.filter_overlong_prompts=True", "data.max_prompt_length=300")
    assert len(verl.load(files, *OUR_DATASET, *short)) == 35
    with pytest.raises(ValueError, match="batch_size=0"):
        verl.load(files, *short)


def test_arguments_of_other_forms_are_text(verl: Any, written: Written) -> None:
    """Objects with one set of keys stay; of others, and beside texts, they are JSON text."""

    def asked(number: int, arguments: Any) -> dict[str, Any]:
        call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
        called = {"role": "assistant", "content": None, "tool_calls": [call]}
        first = {"role": "user", "content": f"q {number}"}
        return rollout(number / 10, 1) | {"prompt": [first, called, {**first, "content": "?"}]}

    for arguments, expected in (
        ([{"city": "a", "at": 1}, {"city": "b", "at": None}], None),
        ([{"city": "a"}, {"at": 1}], ['{"city": "a"}', '{"at": 1}']),
        ([{"city": "ü"}, '{"city":"b"}'], ['{"city": "ü"}', '{"city":"b"}']),
        ([{}, {}], ["{}", "{}"]),
    ):
        given = [asked(i, one) for i, one in enumerate(arguments)]
        written.bucketed(write_jsonl(written.directory / "in.jsonl", given), "-n", 1)
        found = verl.load(written.preprocessed("--val-ratio", 0), *OUR_DATASET)
        calls = [row["raw_prompt"][1]["tool_calls"][0] for row in found]
        assert [call["function"]["arguments"] for call in calls] == (expected or arguments)
        assert [list(call) for call in calls] == [["type", "function"]] * 2


def test_tools_of_a_dump_are_text_that_verl_leaves_alone(verl: Any, written: Written) -> None:
    """verl has tools from a file of its own; a row may choose among them with tool_selection."""
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
    info = {"tools": json.dumps(tools), "tool_selection": ["weather"]}
    given = [rollout(i, 1, prompt=f"q {i}", extra_info=info) for i in range(3)]
    written.bucketed(write_jsonl(written.directory / "in.jsonl", given))
    for row in verl.load(written.preprocessed("--val-ratio", 0)):
        assert json.loads(row["extra_info"]["tools"]) == tools
        assert row["extra_info"]["tool_selection"] == ["weather"]


@pytest.mark.parametrize("kind", ["linear", "gaussian", "cosine"])
def test_verl_trains_on_the_rows_of_each_scheduled_batch_together(
    verl: Any, written: Written, tmp_path: Path, kind: str
) -> None:
    given = [
        rollout(
            *(float(j < i % 9) for j in range(8)), prompt=f"prompt {i}", data_source="ab"[i % 2]
        )
        for i in range(100)
    ]
    written.bucketed(write_jsonl(tmp_path / "in.jsonl", given))
    flags = (
        "--combine",
        "--schedule",
        kind,
        "--batch-size",
        16,
        "--epochs",
        2,
        "--keep-data-source",
    )
    train, val = written.preprocessed(*flags, "--balance", "data_source")
    overrides = ("data.shuffle=False", "data.train_batch_size=16", "trainer.total_epochs=1")
    loader = verl.loaders([train], [val], *overrides).train_dataloader
    steps = [[info["curriculum_step"] for info in batch["extra_info"]] for batch in loader]
    assert steps == [[step] * 16 for step in range(len(rows(train)) // 16)]
    sources = [list(batch["data_source"]) for batch in loader]
    assert all(abs(names.count("a") - 8) < 2 for names in sources)
