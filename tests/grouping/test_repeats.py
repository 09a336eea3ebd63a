"""Results that are there twice count once, where responses have ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.dumps.dump_lines import ASKED, CASES, EPISODE, UIDS, held, user, verl_uid
from tests.helpers.rollouts import Script, lines, rollout, words, write_jsonl

VERL = {"input": ASKED, "output": "4", "gts": "4", "step": 1}


def gym(task: int, index: int, reward: float, **more: Any) -> dict[str, Any]:
    return {
        "_ng_task_index": task,
        "_ng_rollout_index": index,
        "responses_create_params": {"input": [user(f"{task}?")]},
        "response": {"output": [], "id": f"{task}/{index}"},
        "reward": reward,
        **more,
    }


def scores(directory: Path) -> list[list[Any]]:
    return sorted([entry["score"] for entry in r["reward"]] for r in held(directory))


def test_results_that_were_appended_twice_count_once(tmp_path: Path, bucket: Script) -> None:
    dump = [gym(0, 0, 1.0), *[gym(0, 1, 0.0)] * 3, gym(1, 0, 1.0), gym(1, 1, 1.0)]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, out, err = bucket("-i", source, "-o", tmp_path / "b", "-n", 2)
    assert (code, scores(tmp_path / "b")) == (0, [[1.0, 0.0], [1.0, 1.0]])
    assert "2 lines repeat a response that is there already, with the same id." in err
    assert "4 responses, 0 malformed, 2 repeated grouped" in words(out)
    assert "into 2 rollouts of 2 responses" in words(out)
    record = json.loads((tmp_path / "b/bucketing.json").read_text())["dump"]
    assert (record["repeated"], record["lines_per_rollout"]) == (2, [2, 2])
    assert "notes" in record


def test_a_copy_of_a_file_counts_once(tmp_path: Path, bucket: Script) -> None:
    dump = [gym(0, 0, 1.0), gym(0, 1, 0.0)]
    for name in ("one", "two"):
        write_jsonl(tmp_path / f"in/{name}.jsonl", dump)
    code, _, err = bucket("-i", tmp_path / "in", "-o", tmp_path / "b", "-n", 1)
    assert (code, "2 lines repeat a response" in err) == (0, True)
    (found,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    assert [entry["score"] for entry in found["reward"]] == [1.0, 0.0]
    assert found["response"]["choices"] == [{"message": {"content": None}}] * 2


@pytest.mark.parametrize(
    "dump",
    [
        [{**VERL, "score": s, "uid": verl_uid(0, i)} for i, s in ((0, 1), (1, 0), (0, 1))],
        [{**VERL, "score": s, "request_id": i} for i, s in (("a", 1), ("b", 0), ("a", 1))],
        [{**VERL, "score": s, "uid": "set_1_2", "request_id": i} for i, s in (("a", 1), ("b", 0))]
        + [{**VERL, "score": 1, "uid": "set_1_2", "request_id": "a"}],
        [{**EPISODE, "id": i, "traces": [{"rewards": {"r": {"score": s}}}]}
         for i, s in (("a", 1), ("b", 0), ("a", 1))],
        [{**CASES["areal"][1][0][0], "sample_idx": i, "reward": s}
         for i, s in ((0, 1), (1, 0), (0, 1))],
        [gym(0, 0, 1), gym(0, 1, 0), dict(reversed(gym(0, 0, 1).items()))],
        [gym(0, 0, 1), gym(0, 1, 0), gym(0, 0, 1, response={"id": "0/0", "output": []})],
        [gym(0, i, s, agent_ref={"name": "a"}) for i, s in ((0, 1), (1, 0), (0, 1))],
    ],
)  # fmt: skip
def test_every_format_with_an_id_for_each_response(
    tmp_path: Path, bucket: Script, dump: list[dict[str, Any]]
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    assert bucket("-i", source, "-o", tmp_path / "b")[0] == 0
    assert scores(tmp_path / "b") == [[1, 0]]
    differs = dump[-1] | {"output": "other", "note": 1}
    write_jsonl(source, [*dump[:-1], differs])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b")
    assert (code, f"{source}:1 and {source}:3: different responses with one id" in err) == (1, True)
    assert "take the responses of all runs with --group-by prompt" in words(err)


@pytest.mark.parametrize(
    "dump",
    [
        [{**VERL, "score": s} for s in (1, 0, 1)],
        [{**VERL, "score": s, "uid": "gsm8k_train_12"} for s in (1, 0, 1)],
        [{**VERL, "score": s, "uid": UIDS[0]} for s in (1, 0, 1)],
        [{**VERL, "score": s, "request_id": None} for s in (1, 0, 1)],
        [CASES["humaneval"][1][0][i] for i in (0, 1, 0)],
        [CASES["verifiers"][1][0][0] | {"reward": s} for s in (1, 0, 1)],
        [{**gym(0, 0, s), "_ng_rollout_index": None} for s in (1, 0, 1)],
    ],
)
def test_equal_responses_without_an_id_all_count(
    tmp_path: Path, bucket: Script, dump: list[dict[str, Any]]
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b")
    assert (code, scores(tmp_path / "b"), "repeat" in err) == (0, [[1, 0, 1]], False)


def test_runs_that_use_the_same_ids_are_told_apart_by_nobody(
    tmp_path: Path, bucket: Script
) -> None:
    runs = [[gym(0, i, float(i == run), run=run) for i in range(2)] for run in range(2)]
    paths = [write_jsonl(tmp_path / f"in/{i}.jsonl", run) for i, run in enumerate(runs)]
    flags = ("-i", tmp_path / "in", "-o", tmp_path / "b")
    code, _, err = bucket(*flags)
    told = f"{paths[0]}:1 and {paths[1]}:1: different responses with one id"
    assert (code, told in err, "4 malformed lines" in err) == (1, True, True)
    assert not (tmp_path / "b/bucketing.json").exists()
    code, _, _ = bucket(*flags, "--on-malformed", "set-aside")
    assert code == 1  # nothing is left
    code, _, err = bucket(*flags, "--group-by", "prompt")
    assert (code, scores(tmp_path / "b"), "repeat" in err) == (0, [[1.0, 0.0, 0.0, 1.0]], False)


def test_by_prompt_the_same_results_count_once_too(tmp_path: Path, bucket: Script) -> None:
    asked = {"responses_create_params": {"input": "one prompt"}}
    dump = [gym(task, 0, 1.0, **asked) for task in (0, 1, 0)]
    dump.append(gym(1, 0, 0.5, **asked))  # of another run
    dump.append(dump[-1])
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "--group-by", "prompt")
    assert (code, scores(tmp_path / "b")) == (0, [[1.0, 1.0, 0.5]])
    assert "2 lines repeat a response" in err


def test_a_uid_that_is_the_id_of_a_data_set_groups_as_it_is(tmp_path: Path, bucket: Script) -> None:
    dump = [
        {**VERL, "gts": str(i), "input": f"{i}", "score": s, "uid": f"gsm8k_train_{i}"}
        for i in range(3)
        for s in (i > 0, i > 1)
    ]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    assert bucket("-i", source, "-o", tmp_path / "b")[0] == 0
    found = {r["key"]: [entry["score"] for entry in r["reward"]] for r in held(tmp_path / "b")}
    keys = [f'["gsm8k_train_{i}",1]' for i in range(3)]
    assert found == dict(zip(keys, [[False, False], [True, False], [True, True]], strict=True))


def test_rollouts_that_are_there_twice_are_told(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "r.jsonl", [rollout(1, 0), rollout(1, 0), rollout(1)])
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "--group-by", "prompt")
    assert (code, scores(tmp_path / "b")) == (0, [[1, 0, 1, 0, 1]])
    assert "1 rollout repeats another one byte for byte, and the responses count each" in err
