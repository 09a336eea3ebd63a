"""examples/verl: the reward function beside real scores, and the training script beside a stand-in
for verl (tests/real_verl has the real one)."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from examples import generate_rollouts
from examples.verl import check_stages
from examples.verl.reward import CHECKERS, checker, compute_score
from tests.helpers.rollouts import DATA, PYTHON, ROOT, Script, needs_data, rollout, write_jsonl

pytestmark = pytest.mark.slow

GIVEN = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"never_set": None}]}


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@needs_data
def test_every_known_constraint_agrees_with_the_real_evaluation() -> None:
    compared: dict[str, list[bool]] = {}
    for one in read(DATA / "mifeval_es_fr_ja/mifeval_es_fr_ja.jsonl"):
        (given,) = ast.literal_eval(one["ground_truth"])
        for i, pair in enumerate(zip(given["instruction_id"], given["kwargs"], strict=True)):
            truth = {"instruction_id_list": [pair[0]], "kwargs": [pair[1]]}
            if not checker(pair[0]):
                continue
            for choice, judged in zip(one["response"]["choices"], one["reward"], strict=True):
                found = compute_score("", choice["message"]["content"], truth)
                agrees = (found["acc"] == 1.0) == judged["follow_instruction_list"][i]
                compared.setdefault(pair[0], []).append(agrees)
    languages = [language for _, languages in CHECKERS.values() for language in languages.split()]
    assert len(compared) == len(languages) - languages.count("en")
    assert sum(map(len, compared.values())) == 5984
    assert [name for name, agreed in compared.items() if not all(agreed)] == []


def test_sample_rollouts_score_as_their_generator_says(tmp_path: Path) -> None:
    generate_rollouts.main(["-o", str(tmp_path / "rollouts")])
    seen = set()
    for path in (tmp_path / "rollouts").iterdir():
        for one in read(path):
            (given,) = ast.literal_eval(one["ground_truth"])
            truth = {"instruction_id_list": given["instruction_id"], "kwargs": given["kwargs"]}
            seen.update(given["instruction_id"])
            for choice, judged in zip(one["response"]["choices"], one["reward"], strict=True):
                found = compute_score("", choice["message"]["content"], truth)
                bonus = generate_rollouts.BONUS * found["acc"]
                assert found["score"] + bonus == pytest.approx(judged["score"], abs=1e-3)
    assert len(seen) > 8


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("none", ["punctuation:no_comma"], (1.0, 1.0)),
        ("one, two", ["punctuation:no_comma"], (0.0, 0.0)),
        (" ", ["punctuation:no_comma"], (0.0, 0.0)),
        ("<<a, b>>", ["punctuation:no_comma", "detectable_format:title"], (0.5, 0.0)),
        ("any", [], (0.0, 0.0)),
    ],
)
def test_score_is_the_share_that_is_followed(
    text: str, names: list[str], expected: tuple[float, float]
) -> None:
    truth = {"instruction_id_list": names, "kwargs": [None] * len(names)}
    assert tuple(compute_score("x", text, truth).values())[:2] == expected


def test_unset_kwargs_are_dropped() -> None:
    assert compute_score("x", "text", GIVEN)["acc"] == 1.0


def test_unknown_constraints_are_an_error_unless_skipped() -> None:
    truth = {
        "instruction_id_list": ["punctuation:no_comma", "ja:letters:kanji"],
        "kwargs": [None, {"relation": "以上", "kanji_limit": 4}],
    }
    with pytest.raises(ValueError, match="does not know the instruction 'ja:letters:kanji'"):
        compute_score("x", "text", truth)
    assert compute_score("x", "text", truth, unknown="skip") == {
        "score": 1.0, "acc": 1.0, "judged": 0.5,
    }  # fmt: skip


UNEQUAL = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": []}


@pytest.mark.parametrize("truth", ["42", "a(", None, {"target": ["a"]}, UNEQUAL, [GIVEN, GIVEN]])
def test_other_ground_truths_are_an_error(truth: Any) -> None:
    with pytest.raises(ValueError, match="is not that of instruction following"):
        compute_score("x", "text", truth)


@pytest.mark.parametrize(
    "truth",
    [
        GIVEN,
        json.dumps(GIVEN),
        repr([{"instruction_id": ["punctuation:no_comma"], "kwargs": [None]}]),
        json.dumps([GIVEN]),
    ],
)
def test_ground_truths_may_be_text(truth: Any) -> None:
    scores = [compute_score("x", text, truth)["acc"] for text in ("text", "a, b")]
    assert scores == [1.0, 0.0]


@pytest.mark.parametrize("kwargs", [{"keyword": "x"}, {}])
def test_kwargs_that_do_not_fit_are_an_error_that_names_the_instruction(kwargs: Any) -> None:
    truth = {"instruction_id_list": ["keywords:existence"], "kwargs": [kwargs]}
    with pytest.raises(ValueError, match="kwargs of 'keywords:existence' are"):
        compute_score("x", "text", truth)


@pytest.fixture
def stages(tmp_path: Path, bucket: Script, preprocess: Script) -> Path:
    """A directory with preprocessed/{easy,medium,hard}_{train,val}.parquet, 20 rollouts each."""
    rollouts = [
        rollout(score, prompt=f"{score} {i}", ground_truth=GIVEN)
        for score in (0, 0.5, 1)
        for i in range(20)
    ]
    bucket("-i", write_jsonl(tmp_path / "in.jsonl", rollouts), "-o", tmp_path / "bucketed")
    out = tmp_path / "preprocessed"
    assert preprocess("-i", tmp_path / "bucketed", "-o", out, "--val-ratio", 0.2)[0] == 0
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def train(directory: Path, *arguments: str, code: int = 0, **environment: str) -> str:
    """Run train.sh there; what it printed."""
    done = subprocess.run(
        ["bash", ROOT / "examples/verl/train.sh", *arguments],
        cwd=directory, env={**os.environ, "PYTHON": str(directory / "python"), **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout
    return done.stdout


def notes(directory: Path) -> list[dict[str, str]]:
    """The overrides of each run of verl so far."""
    path = directory / "notes.jsonl"
    runs = read(path) if path.is_file() else []
    return [dict(override.split("=", 1) for override in run) for run in runs]


def trained(directory: Path) -> list[tuple[str, str]]:
    """The set of each run of verl so far, and the model it started from, below the directory."""
    keys = ("trainer.experiment_name", "actor_rollout_ref.model.path")
    return [
        (run[keys[0]].strip("'"), run[keys[1]].strip("'").removeprefix(f"{directory}/"))
        for run in notes(directory)
    ]


FLAGS = ("-m", "org/model", "-b", "4")
ALL = ("stages", *FLAGS, "easy", "medium", "hard")
CHAIN = [
    ("easy", "org/model"), ("medium", "checkpoints/easy/merged"),
    ("hard", "checkpoints/medium/merged"),
]  # fmt: skip


def test_each_stage_starts_from_the_merged_model_of_the_one_before(stages: Path) -> None:
    out = train(stages, *ALL)
    assert trained(stages) == CHAIN
    assert out.endswith(f"done: the trained model is in {stages}/checkpoints/hard/merged\n")


def test_every_flag_reaches_verl(stages: Path) -> None:
    (stages / "my reward.py").write_text((ROOT / "examples/verl/reward.py").read_text("utf-8"))
    train(
        stages, "stages", "-d", "preprocessed", "-m", "org/model", "-o", "out, 1", "-b", "4",
        "--responses", "5", "--epochs", "6", "--gpus", "7", "--max-prompt", "10008",
        "--max-response", "10009", "--reward", "my reward.py", "--unknown", "skip", "easy",
        "--", "trainer.nnodes=2",
    )  # fmt: skip
    (run,) = notes(stages)
    assert run == {
        "data.train_files": f"'{stages}/preprocessed/easy_train.parquet'",
        "data.val_files": f"'{stages}/preprocessed/easy_val.parquet'",
        "data.train_batch_size": "4",
        "data.max_prompt_length": "10008",
        "data.max_response_length": "10009",
        "data.filter_overlong_prompts": "True",
        "data.custom_cls.path": f"'{ROOT}/examples/verl/dataset.py'",
        "data.custom_cls.name": "RolloutDataset",
        "data.shuffle": "True",
        "algorithm.adv_estimator": "grpo",
        "actor_rollout_ref.model.path": "'org/model'",
        "actor_rollout_ref.actor.ppo_mini_batch_size": "4",
        "actor_rollout_ref.actor.use_dynamic_bsz": "True",
        "actor_rollout_ref.actor.ppo_max_token_len_per_gpu": "20017",
        "actor_rollout_ref.rollout.name": "vllm",
        "actor_rollout_ref.rollout.n": "5",
        "actor_rollout_ref.rollout.tensor_model_parallel_size": "1",
        "reward.custom_reward_function.path": f"'{stages}/my reward.py'",
        "+reward.custom_reward_function.reward_kwargs.unknown": "skip",
        "trainer.n_gpus_per_node": "7",
        "trainer.project_name": "curriculum",
        "trainer.experiment_name": "'easy'",
        "trainer.default_local_dir": f"'{stages}/out, 1/easy'",
        "trainer.logger": '["console"]',
        "trainer.total_epochs": "6",
        "trainer.save_freq": "50",
        "trainer.max_actor_ckpt_to_keep": "2",
        "trainer.test_freq": "10",
        "trainer.nnodes": "2",
    }


def test_an_ordered_set_is_one_run_that_does_not_shuffle(stages: Path, preprocess: Script) -> None:
    assert "easy is in no order" in train(stages, "ordered", *FLAGS, "easy", code=1)
    preprocess(
        "-i", stages / "bucketed", "-o", stages / "preprocessed", "--val-ratio", 0.2,
        "--combine", "--output-name", "all", "--order", "easy-to-hard",
    )  # fmt: skip
    train(stages, "ordered", *FLAGS, "--epochs", "3", "all")
    (run,) = notes(stages)
    assert (run["data.shuffle"], run["trainer.total_epochs"]) == ("False", "1")
    assert "takes one set" in train(stages, "ordered", *FLAGS, "easy", "hard", code=2)


def test_a_scheduled_set_is_trained_on_in_its_batches(stages: Path, preprocess: Script) -> None:
    preprocess(
        "-i", stages / "bucketed", "-o", stages / "preprocessed", "--val-ratio", 0.2,
        "--combine", "--output-name", "all", "--schedule", "cosine", "--batch-size", 8,
    )  # fmt: skip
    wrong = train(stages, "ordered", *FLAGS, "-b", "4", "all", code=1)
    assert "all is scheduled for batches of 8 rows, and these have 4" in wrong
    train(stages, "ordered", *FLAGS, "-b", "8", "all")
    (run,) = notes(stages)
    assert (run["data.shuffle"], run["data.train_batch_size"]) == ("False", "8")


@pytest.mark.parametrize("step", ["train", "merge"])
def test_training_goes_on_where_it_stopped(stages: Path, step: str) -> None:
    train(stages, *ALL, code=9, FAIL=f"{step} medium")
    train(stages, *ALL)
    assert trained(stages) == [CHAIN[0], CHAIN[1], CHAIN[1], CHAIN[2]]
    again = train(stages, *ALL[:2], "org/model", "-b", "4", "-o", f"{stages}/checkpoints", *ALL[5:])
    assert "training on" not in again


CHANGED = "was made from other rows, flags or models; pass another --output"


@pytest.mark.parametrize(
    ("begun", "flags"),
    [
        ("merge easy", ("-b", "8")),
        ("merge easy", ("--", "trainer.total_training_steps=9")),
        ("nothing", ("-m", "other")),
        ("nothing", ("--epochs", "2")),
    ],
)
def test_a_run_does_not_go_on_with_other_flags(
    stages: Path, begun: str, flags: tuple[str, ...]
) -> None:
    train(stages, *ALL[:-2], code=0 if begun == "nothing" else 9, FAIL=begun)
    before = trained(stages)
    sets = [*ALL[:-2], *flags]
    assert f"{stages}/checkpoints/easy {CHANGED}" in train(stages, *sets, code=2)
    assert trained(stages) == before


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_run_does_not_go_on_with_other_rows(stages: Path, split: str) -> None:
    train(stages, *ALL)
    found = stages / "preprocessed"
    (found / f"medium_{split}.parquet").write_bytes((found / f"hard_{split}.parquet").read_bytes())
    assert f"{stages}/checkpoints/medium {CHANGED}" in train(stages, *ALL, code=2)
    assert trained(stages) == CHAIN


def test_a_stage_that_came_from_another_model_is_not_taken(stages: Path) -> None:
    train(stages, *ALL)
    shutil.rmtree(stages / "checkpoints/easy")
    out = train(stages, "stages", "-m", "other", "-b", "4", *ALL[5:], code=2)
    assert f"{stages}/checkpoints/medium {CHANGED}" in out
    assert trained(stages) == CHAIN


def test_what_failed_before_a_checkpoint_may_begin_anew(stages: Path) -> None:
    train(stages, *ALL, code=9, FAIL="train easy")
    train(stages, "stages", "-m", "other", "-b", "8", "easy")
    assert trained(stages) == [("easy", "org/model"), ("easy", "other")]


def test_an_adapter_is_not_taken_for_a_trained_model(stages: Path) -> None:
    out = train(stages, *ALL, code=2, LORA="yes")
    assert "is the model before training: what was learned is in lora_adapter" in out
    assert trained(stages) == CHAIN[:1]


def test_stages_that_verl_cannot_train_are_told_before(stages: Path) -> None:
    (stages / "preprocessed/hard_val.parquet").unlink()
    out = train(stages, "stages", "-m", "m", "-b", "15", "easy", "hard", "unheard", code=1)
    assert notes(stages) == []
    assert "easy_train.parquet has 14 rows, expected a batch of 15 at least; lower the" in out
    assert "hard_val.parquet is not there; verl needs train and val rows" in out
    assert f"there is no set unheard in {stages}/preprocessed; did you mean hard?" in out
    assert "easy_val" not in out


def test_rows_without_a_reward_are_told_before(stages: Path) -> None:
    text = (ROOT / "examples/verl/reward.py").read_text("utf-8")
    (stages / "reward.py").write_text(text.replace('"punctuation:no_comma"', '"no:such"'))
    flags = ("stages", *FLAGS, "--reward", "reward.py", "easy")
    out = train(stages, *flags, code=1)
    assert "error: 20 rows get no reward: ValueError: examples/verl/reward.py does not know" in out
    assert "does not know the instruction 'punctuation:no_comma'" in out
    out = train(stages, *flags, "--unknown", "skip")
    assert "warning: easy: in 20 rows no instruction is known, so that every response" in out
    out = train(stages, *flags[:-3], "--reward", "", "easy", code=1)
    assert "verl has no reward function for data_source bucketed_curriculum" in out
    out = train(stages, *flags[:-3], "--reward", "nowhere.py", "easy", code=1)
    assert "nowhere.py: no such file, expected a reward function" in out
    assert len(notes(stages)) == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "expected stages or ordered, found ''"),
        (("stages", "easy"), "which model? pass --model"),
        (("stages", "-m", "m"), "which sets?"),
        (("stages", "-m"), "-m needs a value"),
        (("stages", "-m", "m", "easy", "hard", "easy"), "a set is named twice: easy"),
        (("stages", "--such"), "unknown option --such"),
        (("stages", "-m", "m", "-b", "0", "easy"), "'0' is no number from 1 up"),
        (("stages", "-m", "m", "--epochs", "x", "easy"), "'x' is no number from 1 up"),
        (("stages", "-m", "m", "--unknown", "skpi", "easy"), "expected error or skip"),
        (("stages", "-m", "m", "-d", "it's", "easy"), "a path holds a quote"),
        (("stages", "-m", "m", "-d", "${x}", "easy"), "a path holds a quote"),
    ],
)
def test_flags_that_are_wrong(tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    assert said in train(tmp_path, *flags, code=2)


def test_cumulative_sets_are_trained_on_by_their_path(stages: Path, preprocess: Script) -> None:
    flags = ("--val-ratio", 0.2, "--cumulative")
    preprocess("-i", stages / "bucketed", "-o", stages / "preprocessed", *flags)
    train(stages, "stages", *FLAGS, "easy", "cumulative/stage1_and_2")
    assert trained(stages) == [("easy", "org/model"), ("stage1_and_2", CHAIN[1][1])]
    (_, run) = notes(stages)
    sets = f"{stages}/preprocessed/cumulative/stage1_and_2"
    assert run["data.val_files"] == f"'{sets}_val.parquet'"
    assert (stages / "checkpoints/cumulative/stage1_and_2/merged").is_dir()


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Script:
    return Script(check_stages.main, capsys)


def test_sets_that_can_be_trained_on_are_counted(
    stages: Path, preprocess: Script, check: Script
) -> None:
    flags = ("--val-ratio", 0.2, "--cumulative", "--order", "easy-to-hard", "--data-source", "x")
    preprocess("-i", stages / "bucketed", "-o", stages / "preprocessed", *flags)
    sets = ("easy", "cumulative/stage1_and_2")
    assert check("-d", stages / "preprocessed", "--batch-size", 8, "--ordered", *sets) == (
        0,
        "set                     train rows  steps an epoch  val rows  longest prompt\n"
        "easy                            14               1         6         4 chars\n"
        "cumulative/stage1_and_2         32               4         8         6 chars\n",
        "",
    )


@pytest.mark.parametrize(
    ("flags", "code", "told"),
    [
        (("-d", "nowhere", "easy"), 1, "nowhere: no such directory, expected the output directory"),
        (
            ("-d", "bucketed", "easy"),
            1,
            "bucketed: this directory holds no sets, expected the outp",
        ),
        (("-d", "in.jsonl", "easy"), 1, "in.jsonl: this is a file, expected the output directory"),
        (("easy_train",), 1, "there is no set easy_train in preprocessed; did you mean easy?\n"),
        (("stage1_and_2",), 1, "there is no set stage1_and_2 in preprocessed; did you mean "
         "cumulative/stage1_and_2?\n"),
        (("broken",), 1, "preprocessed/broken_train.parquet cannot be read as parquet ("),
        (("other",), 1, "preprocessed/other_train.parquet has no data_source, prompt, reward_mo"),
        (("--reward", "nowhere.py", "easy"), 1, "nowhere.py: no such file, expected a reward"),
        (("--reward", "broken.py", "easy"), 1, "broken.py: SyntaxError: "),
        (("--reward", "empty.py", "easy"), 1, "empty.py: there is no compute_score, expected"),
        ((), 2, "the following arguments are required: SET;\n"),
        (("--batch-size", "0", "easy"), 2, "--batch-size: '0' is no whole number from 1 up;\n"),
        (("--orderd", "easy"), 2, "unrecognized arguments: --orderd;\n"),
    ],
)  # fmt: skip
def test_what_cannot_be_checked_is_told_in_a_line(
    stages: Path, preprocess: Script, check: Script, monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...], code: int, told: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(stages)
    preprocess("-i", "bucketed", "-o", "preprocessed", "--cumulative", "--data-source", "x")
    for split in ("train", "val"):
        (stages / f"preprocessed/broken_{split}.parquet").write_text("no parquet")
        pq.write_table(pa.table({"n": [1]}), stages / f"preprocessed/other_{split}.parquet")
    (stages / "broken.py").write_text("x = (")
    (stages / "empty.py").write_text("")
    found, _, err = check(*flags)
    assert (found, err.count("error: "), f"error: {told}" in err) == (code, 1, True), err


def test_check_explains_itself(check: Script) -> None:
    code, out, _ = check("--help")
    assert (code, "--batch-size ROWS" in out, "cumulative/stage1_and_2" in out) == (0, True, True)
