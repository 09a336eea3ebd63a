"""verl's data set, with messages as the rollouts had them.

Parquet gives every message all fields that any message has, so one without tool calls arrives with
`tool_calls: None`. verl 0.9.1 hands that to the chat template as it is. Templates that ask whether
a message has tool calls do not mind; those that ask whether it has such a field at all, as Llama
3.1's does, fail, and then verl's filter of long prompts leaves out all rows. `train.sh` gives verl

    data.custom_cls.path=examples/verl/dataset.py data.custom_cls.name=RolloutDataset
"""

from __future__ import annotations

from typing import Any

from verl.utils.dataset.rl_dataset import RLHFDataset


class RolloutDataset(RLHFDataset):
    """The same rows as verl's own, without the nulls that parquet puts into messages."""

    def _build_messages(self, example: dict[str, Any], key: str) -> list[dict[str, Any]]:
        """The messages of a row; verl's own puts images into them."""
        example[key] = without_nulls(example[key])
        built: list[dict[str, Any]] = super()._build_messages(example, key)
        return built

    def maybe_filter_out_long_prompts(self, dataframe: Any = None) -> Any:
        """The rows with prompts that fit, as the chat template writes them."""
        own = self.tokenizer
        self.tokenizer = _Tokenizer(own)
        try:
            return super().maybe_filter_out_long_prompts(dataframe)
        finally:
            self.tokenizer = own


class _Tokenizer:
    """A tokenizer whose chat template gets messages without nulls."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def apply_chat_template(self, messages: list[dict[str, Any]], **options: Any) -> Any:
        """What the tokenizer makes of the messages."""
        return self._tokenizer.apply_chat_template(without_nulls(messages), **options)


def without_nulls(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages without fields that are null, in them, in their tool calls and in the functions that
    these call. Content stays, and so do arguments, which hold no null that the rollout had not."""
    return [_without_nulls(message) for message in messages]


def _without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in fields.items() if name == "content" or value is not None}
    if "tool_calls" in kept:
        kept["tool_calls"] = [_without_nulls(call) for call in kept["tool_calls"]]
    if isinstance(kept.get("function"), dict):
        kept["function"] = _without_nulls(kept["function"])
    return kept
