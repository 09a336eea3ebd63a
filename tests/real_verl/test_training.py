"""examples/verl/train.sh beside the real verl: its config takes every override, its merger merges
the checkpoint of a stage into the model that the next one starts from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.rollouts import PYTHON, ROOT, Script, rollout, write_jsonl

pytestmark = pytest.mark.slow

# Parquet gives each the kwargs of both.
TRUTHS = (
    {"instruction_id_list": ["keywords:existence"], "kwargs": [{"keywords": ["none"]}]},
    {"instruction_id_list": ["punctuation:no_comma", "startend:end_checker"],
     "kwargs": [None, {"end_phrase": "of it"}]},
)  # fmt: skip
ANSWER = "None of it"


@pytest.fixture
def working(tmp_path: Path, bucket: Script, preprocess: Script) -> Path:
    """A directory with sets in a folder whose name needs quotes, and a `python`."""
    given = [
        rollout(score, prompt=f"{score} {i}", ground_truth=TRUTHS[i % 2])
        for score in (0, 1)
        for i in range(20)
    ]
    source = write_jsonl(tmp_path / "in.jsonl", given)
    bucket("-i", source, "-o", tmp_path / "bucketed", "-n", 2, "--workers", 1)
    out = tmp_path / "a=b, {set} ü"
    assert preprocess("-i", tmp_path / "bucketed", "-o", out, "--val-ratio", 0.2)[0] == 0
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def train(directory: Path, *arguments: str, **environment: str) -> list[list[str]]:
    """Run train.sh; the overrides of each run of verl."""
    subprocess.run(
        ["bash", ROOT / "examples/verl/train.sh", *arguments],
        cwd=directory,
        env={**os.environ, "PYTHON": str(directory / "python"), **environment},
        check=True,
    )
    return [json.loads(line) for line in (directory / "notes.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("way", ["stages", "ordered"])
def test_verl_takes_every_override(verl: Any, working: Path, preprocess: Script, way: str) -> None:
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    data = working / "a=b, {set} ü"
    name = "easy" if way == "stages" else "all"
    ordered = ("--combine", "--output-name", "all", "--order", "easy-to-hard")
    preprocess("-i", working / "bucketed", "-o", data, "--val-ratio", 0.2, *ordered)
    flags = ("-d", data.name, "-o", "./out, 1", "-m", "org/model", "-b", "8", "--unknown", "skip")
    (run,) = train(working, way, *flags, name, "--", 'trainer.logger=["console","wandb"]')
    config = verl.config(*run)
    validate_config(config, need_reference_policy(config), need_critic(config))
    assert config.data.train_files == str(data / f"{name}_train.parquet")
    assert config.reward.custom_reward_function.path == str(ROOT / "examples/verl/reward.py")
    assert (config.data.shuffle, config.trainer.total_epochs) == (way == "stages", 1)
    assert config.trainer.default_local_dir == str(working / "out, 1" / name)
    assert list(config.trainer.logger) == ["console", "wandb"]
    files = [data / f"{name}_{side}.parquet" for side in ("train", "val")]
    truths = [row["reward_model"]["ground_truth"] for row in verl.load(files)]
    loader = verl.loaders(files, files).train_dataloader
    judged = verl.rewards(loader, [ANSWER] * len(truths), *run)
    assert {one["reward_score"] for one in judged} == {1.0}


def test_the_older_name_of_the_reward_function_is_ignored(verl: Any, working: Path) -> None:
    """Why everything here says reward.custom_reward_function."""
    files = [working / "a=b, {set} ü/easy_train.parquet"]
    loader = verl.loaders(files, files).train_dataloader
    older = f"custom_reward_function.path={ROOT / 'examples/verl/reward.py'}"
    with pytest.raises(NotImplementedError, match="bucketed_curriculum"):
        verl.rewards(loader, [ANSWER], older)


def test_a_stage_starts_from_the_model_that_verl_merged(verl: Any, working: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config

    checkpoint = working / "checkpoint"
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 300}
    model = AutoModelForCausalLM.from_config(Qwen2Config(**shape, **heads))
    model.config.architectures = ["Qwen2ForCausalLM"]
    model.config.save_pretrained(checkpoint / "huggingface")
    verl.byte_tokenizer().save_pretrained(checkpoint / "huggingface")
    torch.save(model.state_dict(), checkpoint / "model_world_size_1_rank_0.pt")
    (checkpoint / "fsdp_config.json").write_text('{"FSDP_version": 1, "world_size": 1}')

    flags = ("-d", "a=b, {set} ü", "-m", "org/model", "-b", "8", "easy", "hard")
    real = {"CHECKPOINT": str(checkpoint), "VERL_PYTHON": sys.executable}
    runs = train(working, "stages", *flags, **real)
    configs = [verl.config(*run) for run in runs]
    models = [config.actor_rollout_ref.model.path for config in configs]
    assert models == ["org/model", str(working / "checkpoints/easy/merged")]
    merged = AutoModelForCausalLM.from_pretrained(models[1], dtype=torch.float32)
    for name, weight in model.state_dict().items():  # verl's merger rounds them
        assert torch.equal(weight.bfloat16().float(), merged.state_dict()[name]), name
