"""How rows and rollouts meet: by a field, by the prompt, by its last message of the user."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.metrics import Scores
from curriculum.reading.prompts import PromptHashes
from curriculum.source.keys import WAYS, hash_keys
from curriculum.source.match import Rollouts, match_rows
from tests.helpers.rollouts import Script, rollout, rows, write_jsonl
from tests.source.data_sets import buckets_of, row, write_parquet, write_rollouts

NAMES = ("easy", "medium", "hard")


@given(rows=st.lists(st.tuples(*[st.integers(0, 4)] * 3), max_size=12),
       rollouts=st.lists(st.tuples(*[st.integers(0, 4)] * 3), max_size=12))  # fmt: skip
def test_rows_and_rollouts_meet_as_in_a_dict(
    rows: list[tuple[int, ...]], rollouts: list[tuple[int, ...]]
) -> None:
    def hashes(found: list[tuple[int, ...]]) -> dict[str, Any]:
        columns = np.array(found, np.uint64).reshape(-1, 3).T
        return dict(zip(WAYS, columns, strict=True))

    scores = Scores.of([[float(i), i + 0.5] for i in range(len(rollouts))])
    nothing = np.zeros(len(rollouts), np.uint64)
    match = match_rows(
        hashes(rows), Rollouts(hashes(rollouts), nothing, nothing.astype(np.int8), scores)
    )
    counts = []
    for way in range(3):
        found = defaultdict(list)
        for number, keys in enumerate(rollouts):
            found[keys[way]].append(number)
        if way == WAYS.index("text"):  # only where it belongs to one prompt
            found = {t: n for t, n in found.items() if len({rollouts[i][1] for i in n}) == 1}
        groups = [found.get(keys[way], []) if keys[way] else [] for keys in rows]
        counts.append((sum(map(bool, groups)), groups))
    most = max(count for count, _ in counts)
    way, groups = next((i, groups) for i, (count, groups) in enumerate(counts) if count == most)
    assert match.way == WAYS[way]
    for group, wanted in zip(match.groups.tolist(), groups, strict=True):
        if group < 0:
            assert wanted == []
            continue
        start, stop = match.scores.offsets[group : group + 2]
        together = sorted(score for number in wanted for score in (number, number + 0.5))
        assert match.scores.values[start:stop].tolist() == together
        assert match.first[group] == wanted[0]
    used = {number for wanted in groups for number in wanted}
    assert match.without_row.tolist() == [i for i in range(len(rollouts)) if i not in used]


def test_a_prompt_is_matched_whatever_form_it_has() -> None:
    said = "What  is\n2+2? "
    same = [
        said,
        [{"role": "user", "content": said}],
        [{"role": "user", "content": "What is 2+2?", "name": "x"}],
        [{"role": "user", "content": [{"type": "text", "text": said}]}],
        [{"role": "user", "content": said}, {"role": "assistant", "content": "4"}],
        "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n",
    ]
    found = PromptHashes.of(same, seed=42)
    assert len(set(found.prompts.tolist())) == len(set(found.texts.tolist())) == 1
    system = [{"role": "system", "content": "Be brief."}, *same[1]]  # type: ignore[misc]
    other = PromptHashes.of([system, None, "", 7, []], seed=42)
    assert other.texts.tolist() == [found.texts[0], 0, 0, 0, 0]
    assert other.prompts[0] not in (0, found.prompts[0])


def test_the_first_field_that_holds_a_prompt(
    tmp_path: Path, bucketed: Path, preprocess: Script
) -> None:
    given = [
        {"prompt": None, "question": f"prompt {n}"} if n % 2 else {"prompt": f"prompt {n}"}
        for n in range(60)
    ]
    schema = pa.schema([("prompt", pa.string()), ("question", pa.string())])
    source = write_parquet(tmp_path / "a.parquet", given, schema)
    lines = write_jsonl(tmp_path / "a.jsonl", given)
    for path in (source, lines):
        code, out, _ = preprocess("-i", bucketed, "-o", tmp_path / "out", "--source", path)
        assert (code, "60 of 60 rows of the data set" in " ".join(out.split())) == (0, True)


def test_keys_are_matched_as_text() -> None:
    found = hash_keys(["7", 7, 7.0, True, None, {"a": 1}, float("nan"), 7.5]).tolist()
    assert found[0] == found[1] == found[2]
    assert found[4] == found[6] == 0
    assert len(set(found)) == 5


@pytest.fixture
def bucketed(tmp_path: Path, bucket: Script) -> Path:
    write_rollouts(tmp_path / "in/a.jsonl", range(60))
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "buckets")[0] == 0
    return tmp_path / "buckets"


def stages(output: Path) -> dict[int, str]:
    """The stage of each row, by the index in its extra_info."""
    every = [r for file in output.glob("*.parquet") for r in rows(file)]
    found = {r["extra_info"]["index"]: r["extra_info"]["curriculum_stage"] for r in every}
    assert len(found) == len(every)
    return found


@pytest.mark.parametrize("key", ["extra_info.index=key", "reward_model.ground_truth=ground_truth"])
def test_a_field_of_both(tmp_path: Path, bucketed: Path, preprocess: Script, key: str) -> None:
    given = [row(n, prompt=f"in other words {n}") for n in range(60)]
    source = write_parquet(tmp_path / "a.parquet", given)
    flags = ("-i", bucketed, "-o", tmp_path / "out", "--source", source)
    code, out, _ = preprocess(*flags, "--source-key", key)
    assert code == 0
    place, _, other = key.partition("=")
    assert f"matched by {place} = {other} of the rollouts." in " ".join(out.split())
    of_prompt = buckets_of(bucketed)
    assert stages(tmp_path / "out") == {n: of_prompt[f"prompt {n}"][0] for n in range(60)}


def test_the_last_message_where_a_system_prompt_was_added(
    tmp_path: Path, bucketed: Path, preprocess: Script
) -> None:
    given = [row(n) for n in range(60)]
    for found in given:
        found["prompt"].insert(0, {"role": "system", "content": "You are helpful."})
    source = write_parquet(tmp_path / "a.parquet", given)
    code, out, _ = preprocess("-i", bucketed, "-o", tmp_path / "out", "--source", source)
    assert code == 0
    told = "60 of 60 rollouts matched by the text of the last user message."
    assert told in " ".join(out.split())
    of_prompt = buckets_of(bucketed)
    assert stages(tmp_path / "out") == {n: of_prompt[f"prompt {n}"][0] for n in range(60)}


def test_a_prompt_field_of_another_name(tmp_path: Path, bucketed: Path, preprocess: Script) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [{"asked": f"prompt {n}"} for n in range(60)])
    flags = ("-i", bucketed, "-o", tmp_path / "out", "--source", source)
    code, _, err = preprocess(*flags)
    assert code == 1
    assert f"error: {source}: its rows have no prompt, expected one of prompt, messages" in err
    fix = "there are asked; name a field of both with --source-key, or PLACE=prompt"
    assert fix in " ".join(err.split())
    assert not (tmp_path / "out").exists()
    code, out, _ = preprocess(*flags, "--source-key", "asked=prompt")
    assert code == 0
    told = "60 of 60 rows of the data set and 60 of 60 rollouts matched by the messages"
    assert told in " ".join(out.split())


def test_rollouts_of_one_prompt_count_together(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    """The second half of the responses in other rollouts, which were bucketed apart."""
    found = []
    for n in range(60):
        scores = [float(i >= n % 9) for i in range(8)]
        found += [
            rollout(*some, prompt=f"prompt {n}", ground_truth=str(n))
            for some in (scores[:3], scores[3:])
        ]
    write_jsonl(tmp_path / "in/a.jsonl", found)
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "buckets")[0] == 0
    source = write_parquet(tmp_path / "a.parquet", [row(n) for n in range(60)])
    flags = ("-i", tmp_path / "buckets", "-o", tmp_path / "out", "--source", source)
    code, _, err = preprocess(*flags)
    assert code == 0
    assert "60 prompts have several rollouts, " in err
    every = [r for file in (tmp_path / "out").glob("*.parquet") for r in rows(file)]
    assert len(every) == 60
    ranges = {}
    for r in every:
        info = r["extra_info"]
        rate = (8 - info["index"] % 9) / 8
        assert info["difficulty_metrics"]["success_rate"] == rate
        assert info["difficulty_metrics"]["num_responses"] == 8
        low, high = ranges.get(info["curriculum_stage"], (rate, rate))
        ranges[info["curriculum_stage"]] = min(low, rate), max(high, rate)
    assert ranges["hard"][1] <= ranges["medium"][0] <= ranges["medium"][1] <= ranges["easy"][0]


def test_rollouts_of_one_prompt_with_other_truths_are_refused(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    found = [rollout(1, 0, prompt="2+2?", ground_truth=truth) for truth in ("4", "four")]
    write_jsonl(tmp_path / "in/a.jsonl", [*found, rollout(0, 0, prompt="x")])
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "buckets")[0] == 0
    source = write_parquet(tmp_path / "a.parquet", [row(1, "2+2?"), row(2, "x")])
    flags = ("-i", tmp_path / "buckets", "-o", tmp_path / "out", "--source", source)
    code, _, err = preprocess(*flags)
    assert code == 1
    assert "two rollouts with one prompt have different ground truths: " in err
    assert '.jsonl:1: "2+2?", and ' in err
    assert "bucket again with --group-by prompt" in err
    assert not (tmp_path / "out").exists()


def test_keys_of_two_kinds_are_told(tmp_path: Path, bucketed: Path, preprocess: Script) -> None:
    given = [{"prompt": "x", "id": n if n % 2 else str(n)} for n in range(60)]
    source = write_jsonl(tmp_path / "a.jsonl", given)
    flags = ("-i", bucketed, "-o", tmp_path / "out", "--source", source)
    code, _, err = preprocess(*flags, "--source-key", "id=key")
    assert code == 0
    assert "the keys of the rows are of several types (int, str); they were compared as text" in err


def test_conversations_that_end_alike_are_matched_by_all_they_say(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    """Five rows that nobody sampled end like others: they stay unmatched."""

    def talk(n: int) -> list[dict[str, str]]:
        said = [("user", f"topic {n}"), ("assistant", "Well."), ("user", "Continue.")]
        return [{"role": role, "content": content} for role, content in said]

    found = [{**rollout(*[1] * (n % 9), *[0] * (8 - n % 9)), "prompt": talk(n)} for n in range(60)]
    write_jsonl(tmp_path / "in/a.jsonl", found)
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "b")[0] == 0
    source = write_jsonl(tmp_path / "a.jsonl", [{"prompt": talk(n), "n": n} for n in range(65)])
    flags = ("-i", tmp_path / "b", "-o", tmp_path / "out", "--source", source, "--val-ratio", 0)
    code, out, err = preprocess(*flags)
    assert (code, "60 of 65 rows of the data set" in " ".join(out.split())) == (0, True)
    assert "5 of 65 rows match no rollout" in err
    of_prompt = {
        str(json.loads(line)["prompt"]): name
        for name in NAMES
        for line in (tmp_path / f"b/{name}.jsonl").read_text().splitlines()
    }
    written = {
        json.loads(line)["n"]: name
        for name in NAMES
        for line in (tmp_path / f"out/{name}_train.jsonl").read_text().splitlines()
    }
    assert written == {n: of_prompt[str(talk(n))] for n in range(60)}


def test_rows_of_one_rollout_are_on_one_side(
    tmp_path: Path, bucketed: Path, preprocess: Script
) -> None:
    """With and without a system prompt: matched by the last message, so one prompt, and the split
    is that of rows made from rollouts."""
    given = [row(n) for n in range(60)] + [row(n) for n in range(60)]
    for found in given[60:]:
        found["prompt"].insert(0, {"role": "system", "content": "Be brief."})
    source = write_parquet(tmp_path / "a.parquet", given)
    flags = ("-i", bucketed, "--val-ratio", 0.3, "--combine", "-o")
    assert preprocess(*flags, tmp_path / "out", "--source", source)[0] == 0
    assert preprocess(*flags, tmp_path / "plain")[0] == 0
    for side in ("train", "val"):
        ours = rows(tmp_path / f"out/combined_{side}.parquet")
        theirs = rows(tmp_path / f"plain/combined_{side}.parquet")
        assert sorted(r["extra_info"]["index"] for r in ours) == sorted(
            int(r["extra_info"]["key"]) for r in theirs for _ in range(2)
        )
