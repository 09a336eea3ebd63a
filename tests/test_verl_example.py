"""examples/verl: the reward function beside real scores, and the training script beside a stand-in
for verl (tests/verl has the real one)."""

from __future__ import annotations

import ast
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from examples import generate_rollouts
from examples.verl.reward import CHECKERS, checker, compute_score
from tests.support import DATA, PYTHON, ROOT, Script, needs_data, rollout, write_jsonl

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
    assert tuple(compute_score("x", text, truth).values()) == expected


def test_unset_kwargs_are_dropped() -> None:
    assert compute_score("x", "text", GIVEN)["acc"] == 1.0


def test_unknown_constraints_are_an_error_unless_skipped() -> None:
    truth = {
        "instruction_id_list": ["punctuation:no_comma", "ja:letters:kanji"],
        "kwargs": [None, {"relation": "以上", "kanji_limit": 4}],
    }
    with pytest.raises(ValueError, match="does not know the instruction 'ja:letters:kanji'"):
        compute_score("x", "text", truth)
    assert compute_score("x", "text", truth, unknown="skip") == {"score": 1.0, "acc": 1.0}


@pytest.mark.parametrize("truth", ["42", None, {"target": ["a"]}])
def test_other_ground_truths_are_an_error(truth: Any) -> None:
    with pytest.raises(ValueError, match="expected instruction_id_list"):
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


def train(directory: Path, *arguments: str, code: int = 0) -> str:
    """Run train.sh there; what it printed."""
    done = subprocess.run(
        ["bash", ROOT / "examples/verl/train.sh", *arguments],
        cwd=directory, env={**os.environ, "PYTHON": str(directory / "python")},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout
    return done.stdout


def notes(directory: Path) -> list[dict[str, str]]:
    """The overrides of each run of verl so far."""
    path = directory / "notes.jsonl"
    runs = read(path) if path.is_file() else []
    return [dict(override.split("=", 1) for override in run) for run in runs]


def test_each_stage_starts_from_the_merged_model_of_the_one_before(stages: Path) -> None:
    out = train(stages, "stages", "-m", "org/model", "-b", "4", "easy", "medium", "hard")
    assert out.endswith("done: the trained model is in ./checkpoints/hard/merged\n")
    assert [
        (run["data.train_files"], run["actor_rollout_ref.model.path"], run["data.shuffle"])
        for run in notes(stages)
    ] == [
        ("'./preprocessed/easy_train.parquet'", "'org/model'", "True"),
        ("'./preprocessed/medium_train.parquet'", "'./checkpoints/easy/merged'", "True"),
        ("'./preprocessed/hard_train.parquet'", "'./checkpoints/medium/merged'", "True"),
    ]


def test_an_ordered_set_is_one_run_that_does_not_shuffle(stages: Path) -> None:
    train(stages, "ordered", "-m", "org/model", "-b", "4", "--epochs", "3", "easy")
    (run,) = notes(stages)
    assert (run["data.shuffle"], run["trainer.total_epochs"]) == ("False", "1")
    assert "expected" not in train(stages, "ordered", "-m", "org/model", "-b", "4", "easy")
    assert "takes one set" in train(stages, "ordered", "-m", "m", "easy", "hard", code=2)


def test_training_goes_on_where_it_stopped(stages: Path) -> None:
    flags = ("stages", "-m", "org/model", "-b", "4", "easy", "hard")
    train(stages, *flags, "--", "fail=9", code=9)
    train(stages, *flags)
    assert [run["data.train_files"] for run in notes(stages)] == [
        "'./preprocessed/easy_train.parquet'",
        "'./preprocessed/easy_train.parquet'",
        "'./preprocessed/hard_train.parquet'",
    ]
    assert "training on" not in train(stages, *flags)


def test_a_run_does_not_go_on_with_other_rows(stages: Path, preprocess: Script) -> None:
    flags = ("-m", "org/model", "-b", "4", "easy")
    train(stages, "stages", *flags)
    assert "other rows or another model" in train(stages, "stages", "-m", "b", *flags[2:], code=2)
    changed = preprocess(
        "-i", stages / "bucketed", "-o", stages / "preprocessed", "--seed", 1, "--val-ratio", 0.2
    )
    assert changed[0] == 0
    assert "other rows or another model" in train(stages, "stages", *flags, code=2)
    assert len(notes(stages)) == 1


def test_stages_that_verl_cannot_train_are_told_before(stages: Path) -> None:
    (stages / "preprocessed/hard_val.parquet").unlink()
    out = train(stages, "stages", "-m", "m", "-b", "15", "easy", "hard", "unheard", code=1)
    assert notes(stages) == []
    assert "easy_train.parquet has 14 rows, expected a batch of 15 at least; lower the" in out
    assert "hard_val.parquet is not there, expected one row at least; raise --val-ratio" in out
    assert "unheard_train.parquet is not there, expected a batch of 15 at least" in out
    assert "easy_val" not in out


def test_unknown_instructions_are_told_before(stages: Path, tmp_path: Path) -> None:
    text = (ROOT / "examples/verl/reward.py").read_text("utf-8")
    (tmp_path / "reward.py").write_text(text.replace('"punctuation:no_comma"', '"no:such"'))
    flags = ("stages", "-m", "m", "-b", "4", "--reward", "reward.py", "easy")
    out = train(stages, *flags, code=1)
    assert "easy_train.parquet: the reward function knows no punctuation:no_comma (" in out
    train(stages, *flags, "--unknown", "skip")
    (run,) = notes(stages)
    assert run["+reward.custom_reward_function.reward_kwargs.unknown"] == "skip"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "expected stages or ordered, found ''"),
        (("stages", "easy"), "which model? pass --model"),
        (("stages", "-m", "m"), "which sets?"),
        (("stages", "-m"), "-m needs a value"),
        (("stages", "--such"), "unknown option --such"),
    ],
)
def test_flags_that_are_wrong(tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    assert said in train(tmp_path, *flags, code=2)
