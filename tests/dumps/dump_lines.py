"""Dumps of every format, built to its documented fields: two groups of two responses each, with
the rollouts that they are. And single lines, and what the tests of dumps share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.helpers.rollouts import lines

Case = tuple[list[dict[str, Any]], list[dict[str, Any]]]  # lines, rollouts

UIDS = ["7f3c0d52-93a1-4c1e-8b0f-5d2a6c9e1b47", "9c41e6aa-0b7d-4f02-a3c5-1e8f7d6b5a90"]
ASKED = "user\n2+2?\nassistant\n"
ASKED_WITH_SYSTEM = "system\nBe brief.\nuser\n3+3?\nassistant\n<think>\n"


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def verl_uid(group: int, sample: int) -> str:
    """A uid as verl writes it."""
    return f"{UIDS[group]}_{sample}_0"


def choices(*texts: str | None) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}} for text in texts]}


def _verl() -> Case:
    def line(asked: str, text: str, truth: str, **more: Any) -> dict[str, Any]:
        return {"input": asked, "output": text, "gts": truth, "score": -1.0, "step": 12, **more}

    lines = [
        line(ASKED, "4", "4", score=1.0, acc=True, pred="4", request_id="a"),
        line(ASKED_WITH_SYSTEM, "5", "6", acc=False, pred="5", request_id="b"),
        line(ASKED, "5", "4", acc=False, pred="5", request_id="c"),
        line(ASKED_WITH_SYSTEM, "7", "6", acc=False, pred="7", request_id="d"),
    ]
    first = {
        "key": None,
        "prompt": [user("2+2?")],
        "response": choices("4", "5"),
        "reward": [
            {"score": True, "source_score": 1.0, "pred": "4", "request_id": "a"},
            {"score": False, "source_score": -1.0, "pred": "5", "request_id": "c"},
        ],
        "ground_truth": "4",
        "input": ASKED,
        "step": 12,
    }
    second = {
        "key": None,
        "prompt": [{"role": "system", "content": "Be brief."}, user("3+3?")],
        "response": choices("5", "7"),
        # The scores are the same in both, so they stand beside the reward: only `score` may not.
        "reward": [
            {"score": False, "pred": "5", "request_id": "b"},
            {"score": False, "pred": "7", "request_id": "d"},
        ],
        "ground_truth": "6",
        "input": ASKED_WITH_SYSTEM,
        "step": 12,
        "score": -1.0,
    }
    return lines, [first, second]


def _verl_with_uid() -> Case:
    def line(uid: str, step: int, text: str, score: float) -> dict[str, Any]:
        return {
            "input": ASKED, "output": text, "gts": "4", "score": score, "step": step, "uid": uid,
        }  # fmt: skip

    lines = [
        line(verl_uid(0, 0), 1, "4", 1.0),  # one prompt twice in a step, as a dataset may have it
        line(verl_uid(1, 0), 1, "5", 0.0),
        line(verl_uid(0, 1), 1, "4!", 1.0),
        line(verl_uid(1, 1), 1, "4", 1.0),
    ]

    def rollout(group: int, texts: list[str], scores: list[float]) -> dict[str, Any]:
        pairs = zip(scores, (verl_uid(group, i) for i in range(2)), strict=True)
        return {
            "key": f'["{UIDS[group]}",1]',
            "prompt": [user("2+2?")],
            "response": choices(*texts),
            "reward": [{"score": score, "uid": uid} for score, uid in pairs],
            "ground_truth": "4",
            "input": ASKED,
            "step": 1,
        }

    return lines, [
        rollout(0, ["4", "4!"], [1.0, 1.0]),
        rollout(1, ["5", "4"], [0.0, 1.0]),
    ]


def _verl_validation() -> Case:
    lines, rollouts = _verl()
    for line in lines:
        line["reward"] = line["score"]
    rewards = [[1.0, -1.0], [-1.0, -1.0]]
    for rollout, values in zip(rollouts, rewards, strict=True):
        for entry, value in zip(rollout["reward"], values, strict=True):
            entry["reward"] = value
    return lines, rollouts


def _verifiers() -> Case:
    def line(number: int, text: str, reward: float, **more: Any) -> dict[str, Any]:
        return {
            "example_id": number,
            "prompt": [user(f"{number}+1?")],
            "completion": [{"role": "assistant", "content": text}],
            "answer": str(number + 1),
            "info": {},
            "reward": reward,
            "error": None,
            "is_completed": True,
            "is_truncated": False,
            "metrics": {"correct": reward},
            **more,
        }

    lines = [
        line(3, "4", 1.0),
        line(0, "1", 1.0),
        line(3, "", 0.0, error="timeout"),
        line(0, "cut", 0.0, is_truncated=True),
    ]
    same = {"info": {}, "is_completed": True}

    def message(text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text}}

    first = {
        "key": 3,
        "prompt": [user("3+1?")],
        "response": {"choices": [message("4"), message("")]},
        "reward": [
            {"score": 1.0, "error": None, "metrics": {"correct": 1.0}},
            {"score": None, "reward": 0.0, "error": "timeout", "metrics": {"correct": 0.0}},
        ],
        "ground_truth": "4",
        "example_id": 3,
        "is_truncated": False,
        **same,
    }
    second = {
        "key": 0,
        "prompt": [user("0+1?")],
        "response": {"choices": [message("1"), message("cut")]},
        "reward": [
            {"score": 1.0, "is_truncated": False, "metrics": {"correct": 1.0}},
            {"score": 0.0, "is_truncated": True, "metrics": {"correct": 0.0}},
        ],
        "ground_truth": "1",
        "example_id": 0,
        "error": None,
        **same,
    }
    return lines, [first, second]


def _traces() -> Case:
    def trace(text: str, *rewards: tuple[float, float], trained: bool = True) -> dict[str, Any]:
        return {
            "rewards": {
                f"r{i}": {"score": score, "weight": weight}
                for i, (score, weight) in enumerate(rewards)
            },
            "nodes": [
                {"message": user("?"), "sampled": False, "parent": None},
                {"message": {"role": "assistant", "content": text}, "sampled": True, "parent": 0},
            ],
            "ok": True,
            "agent": {"trainable": trained},
        }

    def line(id: str, number: int, *traces: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {
            "id": id,
            "task": {"data": {"idx": number, "prompt": f"{number}?"}, "key": f"t/{number}"},
            "ok": True,
            "errors": [],
            "traces": list(traces),
            **more,
        }

    lines = [
        line(
            "a", 0, trace("judge", (0.0, 1.0), trained=False), trace("a", (1.0, 0.5), (2.0, 0.25))
        ),
        line("b", 1, trace("b", (1.0, 1.0))),
        line("c", 0, trace("c", (0.0, 1.0)), ok=False, errors=["lost"]),
        line("d", 1, trace("d", (0.0, 1.0))),
    ]
    first = {
        "key": "t/0",
        "prompt": "0?",
        "response": choices("a", "c"),
        "reward": [
            {"score": 1.0, "id": "a", "ok": True, "errors": [], "traces": lines[0]["traces"]},
            {
                "score": None,
                "id": "c",
                "ok": False,
                "errors": ["lost"],
                "traces": lines[2]["traces"],
            },
        ],
        "ground_truth": None,
        "task": lines[0]["task"],
    }
    second = {
        "key": "t/1",
        "prompt": "1?",
        "response": choices("b", "d"),
        "reward": [
            {"score": 1.0, "id": "b", "traces": lines[1]["traces"]},
            {"score": 0.0, "id": "d", "traces": lines[3]["traces"]},
        ],
        "ground_truth": None,
        "task": lines[1]["task"],
        "ok": True,
        "errors": [],
    }
    return lines, [first, second]


def _nemo_gym() -> Case:
    def response(text: str, **more: Any) -> dict[str, Any]:
        part = {"type": "output_text", "text": text, "annotations": []}
        message = {"type": "message", "role": "assistant", "content": [part]}
        return {"output": [{"type": "reasoning"}, message], "status": "completed", **more}

    def line(number: int, turn: int, answer: Any, reward: float) -> dict[str, Any]:
        parts = [{"type": "input_text", "text": "2"}, {"type": "input_text", "text": f"+{number}?"}]
        return {
            "_ng_task_index": number,
            "_ng_rollout_index": turn,
            "responses_create_params": {"input": [{"role": "user", "content": parts}]},
            "response": answer,
            "reward": reward,
        }

    cut_off = response("I think", incomplete_details={"reason": "max_output_tokens"})
    lines = [
        line(0, 0, response("2"), 1.0),
        line(1, 0, response("3"), 1.0),
        line(1, 1, None, 0.0),
        line(0, 1, cut_off, 0.0),
    ]

    def rollout(
        number: int, texts: tuple[str, str | None], of: tuple[int, int], second: dict[str, Any]
    ) -> dict[str, Any]:
        one, other = (lines[i] for i in of)
        return {
            "key": number,
            "prompt": [user(f"2+{number}?")],
            "response": choices(*texts),
            "reward": [
                {"score": 1.0, "_ng_rollout_index": 0, "response": one["response"]},
                {**second, "_ng_rollout_index": 1, "response": other["response"]},
            ],
            "ground_truth": None,
            "_ng_task_index": number,
            "responses_create_params": one["responses_create_params"],
        }

    return lines, [
        rollout(0, ("2", "I think"), (0, 3), {"score": 0.0}),
        rollout(1, ("3", None), (1, 2), {"score": None, "reward": 0.0}),
    ]


def _areal() -> Case:
    def line(task: str, sample: int, text: str, reward: float) -> dict[str, Any]:
        return {
            "task_id": task, "sample_idx": sample, "seqlen": 90, "prompt_len": 30,
            "head_version": 4, "tail_version": 4, "reward": reward, "prompt": f"{task}?",
            "completion": text,
        }  # fmt: skip

    lines = [
        line("t", 0, "x", 1.0),
        line("t", 1, "y", 0.0),
        line("u", 0, "z", 0.5),
        line("u", 1, "z", 0.25),
    ]

    def rollout(task: str, texts: tuple[str, str], scores: tuple[float, float]) -> dict[str, Any]:
        return {
            "key": f'["{task}",4]',
            "prompt": f"{task}?",
            "response": choices(*texts),
            "reward": [
                {"score": score, "sample_idx": i} for i, score in enumerate(scores)
            ],
            "ground_truth": None,
            "task_id": task, "seqlen": 90, "prompt_len": 30, "head_version": 4, "tail_version": 4,
        }  # fmt: skip

    return lines, [rollout("t", ("x", "y"), (1.0, 0.0)), rollout("u", ("z", "z"), (0.5, 0.25))]


def _humaneval() -> Case:
    def line(task: int, text: str, passed: bool) -> dict[str, Any]:
        result = "passed" if passed else "timed out"
        return {
            "task_id": f"HumanEval/{task}", "completion": text, "result": result, "passed": passed,
        }  # fmt: skip

    lines = [line(0, "a", True), line(0, "b", False), line(1, "c", False), line(1, "d", True)]

    def rollout(task: int, texts: str, passed: tuple[bool, bool]) -> dict[str, Any]:
        return {
            "key": f"HumanEval/{task}",
            "prompt": None,
            "response": choices(*texts),
            "reward": [
                {"score": score, "result": "passed" if score else "timed out"} for score in passed
            ],
            "ground_truth": None,
            "task_id": f"HumanEval/{task}",
        }

    return lines, [rollout(0, "ab", (True, False)), rollout(1, "cd", (False, True))]


CASES: dict[str, tuple[str, Case]] = {
    "verl": ("verl", _verl()),
    "verl with uid": ("verl", _verl_with_uid()),
    "verl validation": ("verl-val", _verl_validation()),
    "verifiers": ("verifiers", _verifiers()),
    "traces": ("traces", _traces()),
    "nemo-gym": ("nemo-gym", _nemo_gym()),
    "areal": ("areal", _areal()),
    "humaneval": ("humaneval", _humaneval()),
}

GOOD = {"example_id": 1, "prompt": "p", "completion": "c", "answer": "a", "reward": 1.0}
TRACE = {"rewards": {"r": {"score": 1.0}}, "nodes": []}
EPISODE = {"task": {"key": "k", "data": {"prompt": "p"}}, "traces": [TRACE]}
GYM = {
    "_ng_task_index": 0,
    "responses_create_params": {"input": "p"},
    "response": {"output": [], "status": "completed"},
    "reward": 1.0,
}
BUCKETS = ("easy", "medium", "hard")


def held(directory: Path) -> list[dict[str, Any]]:
    """The rollouts of all buckets, and of the unscored ones."""
    paths = [directory / f"{name}.jsonl" for name in BUCKETS]
    paths.append(directory / "rejected/unscored.jsonl")
    return [json.loads(line) for path in paths if path.exists() for line in lines(path)]


def step_dump(steps: int) -> list[dict[str, Any]]:
    """Of each step two responses to one prompt; the score is the step."""
    return [
        {"input": ASKED, "output": str(i), "gts": "4", "score": step, "step": step}
        for step in range(steps)
        for i in range(2)
    ]


def check_nothing_lost(found: dict[str, Any], group: list[dict[str, Any]]) -> None:
    """Every field of every line stands beside the reward, in its entry, or in its own place."""
    texts = [choice["message"]["content"] for choice in found["response"]["choices"]]
    for i, line in enumerate(group):
        entry = found["reward"][i]
        own = {"output": texts[i], "score": entry["score"], "gts": found["ground_truth"]}
        own |= {"input": found["prompt"]}
        taken = {"key"}  # which is ours
        for name, value in line.items():
            beside = [found[name]] if name in found and name not in taken else []
            places = [*beside, *([entry[name]] if name in entry else []), own.get(name)]
            assert (name, value) in [(name, place) for place in places], (name, line, found)
