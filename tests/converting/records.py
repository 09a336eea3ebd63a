"""Lines of tools that hold whole rollouts, batches, or one response, built to the tools' sources,
and what becomes of them: the prompt, the ground truth, the responses and the scores."""

from __future__ import annotations

import json
from typing import Any, NamedTuple


class Taken(NamedTuple):
    """What is taken of a rollout."""

    prompt: Any
    truth: Any
    responses: list[Any]
    scores: list[Any]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


OPEN_R1 = [
    {
        "problem": "2+2?", "solution": "Adding.", "answer": "4", "uuid": "u1",
        "is_reasoning_complete": [True, True], "generations": ["4", "5"],
        "correctness_math_verify": [True, False], "correctness_llama": None,
        "finish_reasons": None, "correctness_count": 1,
        "messages": [user("2+2?"), {"role": "assistant", "content": "4"}],
    },
    {
        "problem": "7*8?", "answer": "56", "uuid": "u2", "is_reasoning_complete": [True, False],
        "generations": ["it is 56", "5"], "correctness_math_verify": [False, False],
        "correctness_llama": [True, False], "finish_reasons": ["stop", "length"],
        "messages": [],
    },
]  # fmt: skip
PASS_RATES = [
    {"prompt": "2+2?", "solution": "$4$", "pass_rate_generations": ["4", "5"],
     "pass_rate_rewards": [1.0, 0.0]},
]  # fmt: skip
LIVECODEBENCH = [
    {
        "question_title": "A. Sum", "question_content": "Print a+b.", "question_id": "1873_A",
        "difficulty": "easy", "output_list": ["Here: print(4)", ""], "code_list": ["print(4)", ""],
        "graded_list": [True, False], "pass@1": 0.5, "metadata": ["{}", "{}"],
    },
]  # fmt: skip
QWEN_MATH = [
    {"idx": 0, "question": "2+2?", "gt": "4", "answer": "4", "code": ["4", "5"],
     "pred": ["4", "5"], "report": ["Done", "Done"], "score": [True, False]},
]  # fmt: skip
SKILLFACTORY = [
    {"question": "2+2?", "answer": "4", "prompt": [user("2+2?")], "model_responses": ["4", "5"],
     "model_responses__eval_is_correct": [True, False], "metadata": "{}"},
]  # fmt: skip
REASONING_GYM = [
    {
        "question": "2+2?", "expected_answer": "4", "best_score": 1.0, "mean_score": 0.55,
        "completions": [
            {"model_answer": "4", "full_model_response": "it is 4", "score": 1.0},
            {"model_answer": "5", "full_model_response": "it is 5", "score": 0.1},
        ],
        "metadata": {},
    },
]  # fmt: skip
PROFILE = [
    {
        "_ng_task_index": 3, "mean/reward": 0.5, "std/reward": 0.7, "num_rollouts": 2,
        "sample": {"responses_create_params": {"input": [user("2+2?")]}},
        "rollout_infos": [{"rollout_id": "3:0", "reward": 1.0}, {"rollout_id": "3:1", "reward": 0}],
    },
]  # fmt: skip


def _inspect(epoch: int, value: Any, text: str, **more: Any) -> dict[str, Any]:
    message = {"id": "m", "content": text, "source": "generate", "role": "assistant"}
    return {
        "id": "q1", "epoch": epoch, "input": "2+2?", "target": "4", "messages": [],
        "output": {"choices": [{"message": message, "stop_reason": "stop"}], "completion": text},
        "scores": {"match": {"value": value, "answer": text}}, "metadata": {}, "error": None,
        **more,
    }  # fmt: skip


INSPECT = [
    _inspect(1, "C", "4"), _inspect(2, "I", "5"), _inspect(3, "P", "4?"), _inspect(4, None, ""),
    _inspect(5, "C", "4", error={"message": "timeout"}),
]  # fmt: skip


def _sample(document: int, score: Any, filter: str = "none") -> dict[str, Any]:
    return {
        "doc_id": document, "doc": {"question": f"{document}?"}, "target": str(document),
        "arguments": {"gen_args_0": {"arg_0": f"Q: {document}?\nA:", "arg_1": {"until": ["Q:"]}}},
        "resps": [["first", "second"]], "filtered_resps": ["first"], "filter": filter,
        "metrics": ["exact_match"], "doc_hash": f"h{document}", "exact_match": score,
    }  # fmt: skip


HARNESS = [_sample(0, 1.0), _sample(1, "0.0"), _sample(2, False)]


def _trl(text: str, accuracy: float | None, style: float | None) -> dict[str, Any]:
    return {
        "step": 5, "prompt": "user\n2+2?\nassistant\n", "completion": text,
        "accuracy_reward": accuracy, "format_reward": style, "advantage": 0.7,
    }  # fmt: skip


TRL = [_trl("4", 1.0, 0.5), _trl("5", 0.0, None), _trl("?", None, None)]
TEMPLATE = "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n"


def _skyrl(text: str, score: Any) -> dict[str, Any]:
    extras = {"reward_spec": {"method": "rule", "ground_truth": "4"}}
    return {
        "input_prompt": TEMPLATE, "output_response": text, "score": score, "stop_reason": "stop",
        "env_class": "gsm8k", "env_extras": extras, "data_source": "openai/gsm8k",
    }  # fmt: skip


SKYRL = [_skyrl("4", 1.0), _skyrl("5", 0.0)]
SKYRL_TOKENS = [_skyrl("4", [0.0, 0.25, 0.5]), _skyrl("5", [0.0, 0.0])]


def _nemo(content: Any, reward: float, index: int, **more: Any) -> dict[str, Any]:
    return {
        "content": [content], "rewards": [reward], "input_lengths": [9], "token_ids": [[1, 2]],
        "advantages": [[0.3]], "idx": index, **more,
    }  # fmt: skip


NEMO_RL = [_nemo([TEMPLATE, "4"], 1.0, 0), _nemo([TEMPLATE, "5"], 0.0, 1)]
NEMO_RL_FILTERED = [
    _nemo([TEMPLATE, "4"], 0.0, 0, filtered_rewards=[1.0]),
    _nemo([TEMPLATE, "5"], 1.0, 1, filtered_rewards=[0.0]),
]
NEMO_RL_VAL = [
    {"content": [[user("2+2?"), {"role": "assistant", "content": text}]], "rewards": [score],
     "idx": i}
    for i, (text, score) in enumerate((("4", 1.0), ("5", 0.0)))
]  # fmt: skip
SWIFT = [
    {
        "step": ["5"] * 4, "prompt": ["2+2?", "2+2?", "3+3?", "3+3?"],
        "completion": ["4", "5", "6", "7"], "MathAccuracy": [1.0, 0.0, 1.0, 0.0],
        "Format": [1.0, None, 1.0, 1.0], "advantages": [0.7, -0.7, 0.1, -0.1],
    },
]  # fmt: skip
SWIFT_OLD = [
    {
        "step": ["5"] * 2, "messages": [[user("2+2?")], [user("2+2?")]],
        "completion": ["4", "5"], "reward": [1.0, 0.0],
    },
]  # fmt: skip

PAIR = (["4", "5"], [1, 0])
ASKED = [user("2+2?")]
# By case: the format, the lines, the flags, and what is taken.
CASES: dict[str, tuple[str, list[Any], tuple[str, ...], list[Taken]]] = {
    "open-r1": ("open-r1", OPEN_R1, (), [
        Taken("2+2?", "4", ["4", "5"], [True, False]),
        Taken("7*8?", "56", ["it is 56", "5"], [True, False]),
    ]),
    "open-r1 missing": ("open-r1", OPEN_R1, ("--truncated", "missing"), [
        Taken("2+2?", "4", ["4", "5"], [True, False]),
        Taken("7*8?", "56", ["it is 56", "5"], [True, None]),
    ]),
    "pass rates": ("open-r1-pass-rate", PASS_RATES, (), [Taken("2+2?", "$4$", *PAIR)]),
    "livecodebench": ("livecodebench", LIVECODEBENCH, (), [
        Taken("Print a+b.", None, ["print(4)", ""], [True, False]),
    ]),
    "qwen-math": ("qwen-math", QWEN_MATH, (), [Taken("2+2?", "4", *PAIR)]),
    "skillfactory": ("skillfactory", SKILLFACTORY, (), [Taken(ASKED, "4", *PAIR)]),
    "reasoning-gym": ("reasoning-gym", REASONING_GYM, (), [
        Taken("2+2?", "4", ["it is 4", "it is 5"], [1.0, 0.1]),
    ]),
    "profile": ("nemo-gym-profile", PROFILE, (), [Taken(ASKED, None, [], [1.0, 0])]),
    "inspect": ("inspect", INSPECT, (), [
        Taken("2+2?", "4", ["4", "5", "4?", "", "4"], [1.0, 0.0, 0.5, None, None]),
    ]),
    "lm-eval": ("lm-eval", HARNESS, (), [
        Taken(f"Q: {i}?\nA:", str(i), ["first"], [score]) for i, score in ((0, 1), (1, 0), (2, 0))
    ]),
    "trl": ("trl", TRL, ("--score-field", "accuracy_reward", "format_reward"), [
        Taken(ASKED, None, ["4", "5", "?"], [1.5, 0.0, None]),
    ]),
    "skyrl": ("skyrl", SKYRL, (), [Taken(ASKED, "4", *PAIR)]),
    "skyrl tokens": ("skyrl", SKYRL_TOKENS, ("--score-reduce", "sum"), [
        Taken(ASKED, "4", ["4", "5"], [0.75, 0.0]),
    ]),
    "nemo-rl": ("nemo-rl", NEMO_RL, (), [Taken(ASKED, None, *PAIR)]),
    "nemo-rl filtered": ("nemo-rl-filtered", NEMO_RL_FILTERED, (), [Taken(ASKED, None, *PAIR)]),
    "nemo-rl val": ("nemo-rl", NEMO_RL_VAL, (), [Taken(ASKED, None, *PAIR)]),
    "ms-swift": ("ms-swift", SWIFT, ("--score-field", "MathAccuracy", "Format"), [
        Taken("2+2?", None, ["4", "5"], [2.0, 0.0]), Taken("3+3?", None, ["6", "7"], [2.0, 1.0]),
    ]),
    "ms-swift 3.2": ("ms-swift", SWIFT_OLD, (), [Taken(ASKED, None, *PAIR)]),
}  # fmt: skip


def taken(rollout: dict[str, Any]) -> Taken:
    """What a rollout of our own form holds."""
    choices = rollout.get("response", {}).get("choices", [])
    texts = [choice["message"]["content"] for choice in choices]
    reward = rollout["reward"]
    return Taken(
        rollout["prompt"],
        rollout.get("ground_truth"),
        rollout.get("responses", texts),
        [entry["score"] if isinstance(entry, dict) else entry for entry in reward],
    )


def in_order(rollouts: list[Taken]) -> list[Taken]:
    return sorted(rollouts, key=lambda one: json.dumps(one))
