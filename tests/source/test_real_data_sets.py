"""Data sets of real prompts: those of the real rollouts, in the forms that trainers read."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.helpers.rollouts import DATA, Script, needs_data, rows, write_jsonl
from tests.source.data_sets import without_added

pytestmark = [needs_data, pytest.mark.slow]

FILES = {
    "gsm8k": DATA / "gsm8k_mixed6/gsm8k_mixed6.jsonl",
    "mifeval": DATA / "mifeval_es_fr_ja/mifeval_es_fr_ja.jsonl",
}
NAMES = ("easy", "medium", "hard")


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def question(rollout: dict[str, Any]) -> str:
    said: str = rollout["prompt"][-1]["content"]
    return said


def buckets_of(directory: Path) -> dict[str, str]:
    return {question(r): name for name in NAMES for r in read(directory / f"{name}.jsonl")}


@pytest.mark.parametrize("name", FILES)
def test_a_parquet_of_verl(tmp_path: Path, bucket: Script, preprocess: Script, name: str) -> None:
    assert bucket("-i", FILES[name], "-o", tmp_path / "b")[0] == 0
    found = random.Random(1).sample(read(FILES[name]), k=len(read(FILES[name])))
    given = [
        {
            "data_source": name,
            "prompt": r["prompt"],
            "reward_model": {"style": "rule", "ground_truth": json.dumps(r["ground_truth"])},
            "extra_info": {"index": number, "question": question(r)},
        }
        for number, r in enumerate(found)
    ]
    pd.DataFrame(given).to_parquet(tmp_path / "train.parquet")
    flags = ("-i", tmp_path / "b", "-o", tmp_path / "out", "--source", tmp_path / "train.parquet")
    code, _, err = preprocess(*flags)
    assert (code, "match no" in err) == (0, False), err
    of_prompt, seen = buckets_of(tmp_path / "b"), []
    for stage in NAMES:
        for side in ("train", "val"):
            for r in rows(tmp_path / f"out/{stage}_{side}.parquet"):
                assert of_prompt[question(r)] == r["extra_info"]["curriculum_stage"] == stage
                assert without_added(r) == given[r["extra_info"]["index"]]
                seen.append(r["extra_info"]["index"])
    assert sorted(seen) == list(range(len(given)))


def test_lines_as_other_trainers_read_them(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    assert bucket("-i", FILES["gsm8k"], "-o", tmp_path / "b")[0] == 0
    of_prompt = buckets_of(tmp_path / "b")
    for name, place in (("slime", "prompt"), ("openrlhf", "input"), ("nemo", "problem")):
        given = [
            {place: question(r), "label": r["ground_truth"], "n": n}
            for n, r in enumerate(read(FILES["gsm8k"]))
        ]
        source = write_jsonl(tmp_path / f"{name}.jsonl", given)
        out = tmp_path / name
        assert preprocess("-i", tmp_path / "b", "-o", out, "--source", source)[0] == 0
        every = []
        for stage in NAMES:
            for side in ("train", "val"):
                found = (out / f"{stage}_{side}.jsonl").read_bytes().splitlines()
                assert {of_prompt[json.loads(line)[place]] for line in found} == {stage}
                every += found
        assert sorted(every) == sorted(source.read_bytes().splitlines())


def test_a_dump_of_decoded_chat_templates(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    """verl's own dump has the system message of the template, the data set has not."""
    assert bucket("-i", DATA / "flat/verl_dev_step1.jsonl", "-o", tmp_path / "b")[0] == 0
    of_prompt = buckets_of(tmp_path / "b")
    given = [{"prompt": [{"role": "user", "content": said}]} for said in of_prompt]
    source = write_jsonl(tmp_path / "train.jsonl", given)
    code, out, _ = preprocess("-i", tmp_path / "b", "-o", tmp_path / "out", "--source", source)
    told = "128 of 128 rows of the data set and 128 of 128 rollouts matched by the text of the last"
    assert (code, told in " ".join(out.split())) == (0, True)
    for stage in ("easy", "hard"):
        for path in (tmp_path / "out").glob(f"{stage}_*.jsonl"):
            assert {of_prompt[question(r)] for r in read(path)} == {stage}


def test_keys_of_a_dump(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    """NeMo-Gym's rollouts, by the index of their task, as far as they have one."""
    dump = DATA / "flat/nemo_gym_rollouts_raw.jsonl"
    assert bucket("-i", dump, "-o", tmp_path / "b")[0] == 0
    found = [r["key"] for name in NAMES for r in read(tmp_path / f"b/{name}.jsonl")]
    keys = list(filter(None, found))
    source = write_jsonl(tmp_path / "train.jsonl", [{"id": key, "x": 1} for key in keys])
    flags = ("-i", tmp_path / "b", "-o", tmp_path / "out", "--source", source)
    code, _, err = preprocess(*flags, "--source-key", "id=key")
    assert (code, f"{len(found) - len(keys)} of 124 rollouts match no row" in err) == (0, True), err
    written = [r["id"] for path in (tmp_path / "out").glob("*.jsonl") for r in read(path)]
    assert sorted(written) == sorted(keys)


def test_a_dump_of_verl_and_the_parquet_it_was_sampled_from(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    """The responses lie apart, and the parquet is in another order, with columns of its own."""
    found = read(FILES["gsm8k"])
    dump = [
        {
            "input": f"system\nBe brief.\nuser\n{question(r)}\nassistant\n",
            "output": f"answer {k}",
            "gts": str(r["ground_truth"]),
            "score": r["reward"][k]["score"],
            "step": 1,
        }
        for k in range(6)
        for r in found
    ]
    write_jsonl(tmp_path / "in/1.jsonl", dump)
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "b")[0] == 0
    given = [
        {
            "prompt": question(r),
            "answer": str(r["ground_truth"]),
            "image": bytes([n % 256]) * (n % 9),
            "nothing": None,
        }
        for n, r in enumerate(random.Random(2).sample(found, k=len(found)))
    ]
    pd.DataFrame(given).to_parquet(tmp_path / "trl.parquet")
    flags = ("-i", tmp_path / "b", "-o", tmp_path / "out", "--source", tmp_path / "trl.parquet")
    code, out, err = preprocess(*flags)
    told = "1,319 of 1,319 rows of the data set and 1,319 of 1,319 rollouts matched by the text of"
    assert (code, told in " ".join(out.split())) == (0, True), err
    of_prompt, every = buckets_of(tmp_path / "b"), []
    for stage in NAMES:
        for side in ("train", "val"):
            written = rows(tmp_path / f"out/{stage}_{side}.parquet")
            assert {of_prompt[r["prompt"]] for r in written} == {stage}
            every += [without_added(r) for r in written]
    assert sorted(every, key=repr) == sorted(given, key=repr)
