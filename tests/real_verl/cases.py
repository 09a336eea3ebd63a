"""Rollouts that are hard to put into parquet files which load together, by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.helpers.rollouts import rollout

Fields = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """Fields of the rollouts of three buckets, taken in turn, and flags of preprocessing."""

    easy: Fields
    medium: Fields
    hard: Fields
    flags: tuple[str, ...] = ()

    def rollouts(self, each: int = 6) -> list[dict[str, Any]]:
        """`each` rollouts per bucket, each with a prompt of its own."""
        found = []
        for bucket, scores in (("easy", (1, 1)), ("medium", (0.1, 1)), ("hard", (0, 1e-300))):
            given = getattr(self, bucket)
            found += [
                {**rollout(*scores, prompt=f"{bucket} {i}"), **given[i % len(given)]}
                for i in range(each)
            ]
        return found


def truths(*values: Any) -> Fields:
    """Rollouts with these ground truths."""
    return [{"ground_truth": value} for value in values]


def infos(*values: Any) -> Fields:
    """Rollouts with these values of extra_info."""
    return [{"extra_info": value} for value in values]


def following(*kwargs: Any) -> dict[str, Any]:
    """The ground truth of instruction following with one instruction per kwargs."""
    names = [f"family:constraint_{i}" for i in range(len(kwargs))]
    return {"instruction_id_list": names, "kwargs": list(kwargs)}


AS_STRING = ("--ground-truth-format", "string")
MIXED = (
    truths("42", "007", json.dumps(following({"n": 1}))),
    truths(4, 2.5, True, [1, "a"], None),
    truths({"a": 1}, [following(None)], repr([following({"k": ["x"]})])),
)
CASES: dict[str, Case] = {
    "kwargs with different keys": Case(
        truths(following({"num_words": 3, "relation": "at least"})),
        truths(following({"keywords": ["a", "b"]}, {"language": "fr"})),
        truths(following({"ratio": 0.5}, None, {})),
    ),
    "no kwargs": Case(*[truths({"instruction_id_list": [], "kwargs": []})] * 3),
    "no kwargs in one bucket": Case(
        truths({"instruction_id_list": [], "kwargs": []}),
        truths(following({"n": 1})),
        truths(following({"m": "x"}), {"instruction_id_list": [], "kwargs": []}),
    ),
    "every kwargs null": Case(*[truths(following(None, None))] * 3),
    "every kwargs null in one bucket": Case(
        truths(following(None)), truths(following({"n": 1})), truths(following({"n": None}))
    ),
    "a kwargs value that is a map": Case(
        truths(following({"word_to_accentuate": {"ete": "été"}})),
        truths(following({"word_to_accentuate": {"leger": "léger", "a": "à"}})),
        truths(following({"n": 1})),
    ),
    "instruction following as JSON and as Python literals": Case(
        truths(json.dumps(following({"n": 1}))),
        truths(repr([following({"keywords": ["it's", 'a "b"']}, None)])),
        truths([following({"n": 2})]),
    ),
    "plain strings": Case(
        truths("007", "1e5", "0.10"),
        truths("2024-01-31", "12345678901234567890", "null", "NaN"),
        truths("", " 4 ", "#### 5", '{"a": 1}', "[1, 2]"),
    ),
    "integers": Case(truths(1, -7), truths(2**63 - 1), truths(0, None)),
    "doubles": Case(truths(0.1), truths(1e300, -0.0), truths(5e-324)),
    "booleans": Case(truths(True), truths(False), truths(None, True)),
    "dicts": Case(
        truths({"target": ["a", "b"]}),
        truths({"target": ["c"], "unit": "m"}),
        truths({"target": []}, {"unit": None, "target": ["d"]}),
    ),
    "lists": Case(truths(["a"]), truths([]), truths(["b", "c"], None)),
    "lists of dicts": Case(truths([{"in": "1", "out": "2"}]), truths([{"in": "3"}]), truths([])),
    "none at all": Case(*[truths(None)] * 3),
    "mixed kinds, as strings": Case(*MIXED, flags=AS_STRING),
    "extra_info of other types": Case(
        infos({"a": 1, "b": "x", "c": [1], "d": {"e": 1}}),
        infos({"a": "1", "b": 2.5, "c": ["y"], "d": {"f": [{}]}}),
        infos({"a": None, "b": None, "c": [], "d": {}}, {}, None),
    ),
    "extra_info of other types, in one bucket": Case(
        infos({"level": 1}, {"level": "hard"}, {"level": [1, 2]}), infos({"level": 2.5}), infos({})
    ),
    "extra_info, nested": Case(
        infos({"meta": {"source": {"name": "a", "ids": [1, 2]}, "tags": [["x"], []]}}),
        infos({"meta": {"source": {"name": None, "ids": []}, "tags": []}}),
        infos({"meta": None}, {"meta": {"source": None, "tags": [[None]]}}),
    ),
    "extra_info, empty": Case(infos({}), infos(None), infos({"empty": {}, "none": []})),
    "extra_info with names of ours and of verl's": Case(
        infos({"index": "a7", "split": "test", "key": 1, "curriculum_stage": 9, "num_turns": 3}),
        infos({"index": "b1", "best_response": "x", "tool_rewards": [1.0], "turn_scores": [0.5]}),
        infos({"rollout_reward_scores": {"a": 1}, "source_index": 3, "raw_prompt": "x", "uid": 1}),
    ),
    "tools_kwargs and interaction_kwargs": Case(
        infos({"tools_kwargs": {"calc": {"create_kwargs": {"answer": "4"}}}, "index": 5}),
        infos({"interaction_kwargs": {"name": "gsm8k", "ground_truth": "4"}, "split": "train"}),
        infos({}, None, {"tools_kwargs": None}),
    ),
    "rollouts without responses": Case(
        [{"response": None}, {"response": {"choices": []}}],
        [{"response": {"choices": [{"message": {"content": None}}]}}],
        [{}],
    ),
    "no responses anywhere": Case(*[[{"response": None}]] * 3, flags=("--no-best-response",)),
    "texts beyond ASCII": Case(
        [{"ground_truth": "café", "response": {"choices": [{"message": {"content": "é😀"}}] * 2}}],
        [{"ground_truth": "\u2028\ufeff𝒳"}, {"extra_info": {"ключ": "值", "émoji 🎈": "🎉"}}],
        [{"ground_truth": "\x00\t\r\n"}, {"key": "鍵"}],
    ),
    "messages with more keys": Case(
        [
            {"messages": [{"role": "user", "content": f"q {i}", "turn": i}], "prompt": None}
            for i in range(6)
        ],
        [{"prompt": f"a plain string {i}"} for i in range(6)],
        [
            {"prompt": [{"role": "system", "content": ""}, {"role": "user", "content": c, "x": 1}]}
            for c in "abcdef"
        ],
    ),
}  # fmt: skip
