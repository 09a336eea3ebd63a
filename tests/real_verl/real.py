"""The real verl, called the way its trainer calls itself."""

from __future__ import annotations

import asyncio
import copy
import functools
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import verl
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from verl import DataProto
from verl.trainer.ppo.reward import load_reward_manager
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.utils.tensordict_utils import get_tensordict

CONFIG = Path(verl.__file__).parent / "trainer/config"
TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@functools.cache
def config(*overrides: str) -> DictConfig:
    """The config that `python -m verl.trainer.main_ppo` makes of overrides."""
    with initialize_config_dir(str(CONFIG), version_base=None):
        return compose("ppo_trainer", list(overrides))


@functools.cache
def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte, so that texts come back as they are."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*alphabet, "<end>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
    fast.chat_template = TEMPLATE
    return fast


def loaders(train: Sequence[Path], val: Sequence[Path], *overrides: str) -> SimpleNamespace:
    """The data loaders of verl's trainer over these files: train_dataloader, val_dataloader."""
    ours = ("data.dataloader_num_workers=0", "data.train_batch_size=1")
    settings = copy.deepcopy(config(*ours, *overrides))
    settings.data.train_files = [str(path) for path in train]
    settings.data.val_files = [str(path) for path in val]
    trainer = SimpleNamespace(
        config=settings,
        tokenizer=byte_tokenizer(),
        processor=None,
        trainer_mode="sync",
        parameter_sync_step=1,
    )
    PPOTrainer._init_dataloader(trainer)
    return trainer


def read(loader: Any) -> list[dict[str, Any]]:
    """Every row that a data loader of verl gives, in its order, out of the batches that verl hands
    to its rollout workers."""
    found = []
    for batch in loader:
        handed = get_tensordict(batch)
        columns = {name: list(handed[name]) for name in batch if name != "dummy_tensor"}
        found += [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
    return found


def load(files: Sequence[Path], *overrides: str) -> list[dict[str, Any]]:
    """The rows of these files as one list of verl's, in their order."""
    trainer = loaders(files, files[:1], "data.shuffle=False", *overrides)
    return read(trainer.train_dataloader)


def rewards(loader: Any, answers: Sequence[str], *overrides: str) -> list[dict[str, Any]]:
    """What verl's naive reward manager says of one answer per row of a loader, in its order."""

    async def judge() -> list[dict[str, Any]]:
        tokenizer = byte_tokenizer()
        manager = load_reward_manager(config(*overrides), tokenizer)
        given, found = iter(answers), []
        for batch in loader:
            data = DataProto.from_single_dict(batch)
            for i in range(len(data)):
                one = data[i : i + 1]
                tokens = tokenizer(next(given), add_special_tokens=False)["input_ids"]
                one.batch["responses"] = torch.tensor([tokens])
                one.batch["attention_mask"] = torch.ones(1, len(tokens), dtype=torch.long)
                found.append(await manager.run_single(one))
        return found

    return asyncio.run(judge())
