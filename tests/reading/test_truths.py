"""Prompts with several ground truths, found in the lines of prompts that repeat."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.engines.workers import Workers
from curriculum.messages.hashes import hash_of_text
from curriculum.reading import blocks
from curriculum.reading.blocks import read_blocks
from curriculum.reading.find_files import find_file
from curriculum.reading.input_files import cut_shards
from curriculum.reading.ledger import TAKEN, Ledger, LineRecorder
from curriculum.reading.truths import NO_TRUTH, Repeated, SeveralTruths, TruthTask, find_several
from tests.helpers.readers import without_scanner
from tests.helpers.rollouts import write_jsonl

TRUTHS = st.sampled_from(
    ["4", "5", "", "é\n", 4, 4.5, True, None, "\ud800", {"b": 1, "a": "é"}, {"a": "é", "b": 1},
     [4], ["4"], float("nan")],
)  # fmt: skip
WHERE = st.sampled_from(["ground_truth", "reward_model", "nowhere", "extra_info", "label"])


def line(where: str, truth: Any, prompt: int) -> dict[str, Any]:
    held: dict[str, Any] = {"p": prompt, "filler": "x" * (prompt * 50)}
    if where in ("ground_truth", "label"):
        held[where] = truth
    elif where != "nowhere":
        held |= {"ground_truth": None, where: {"ground_truth": truth}}
    return held


def plain_truth(held: dict[str, Any], place: str | None) -> str | None:
    """The rule, plainly."""
    if place is None:
        truth = held.get("ground_truth")
        truth = (held.get("reward_model") or {}).get("ground_truth") if truth is None else truth
    else:
        outer, _, inner = place.partition(".")
        truth = held.get(outer)
        truth = (truth or {}).get(inner) if inner else truth
    if truth is None or isinstance(truth, str):
        return truth
    return json.dumps(truth, sort_keys=True, ensure_ascii=False)


def ledger_of(path: Path, shard_bytes: int) -> Ledger:
    """The ledger of a file, every line of which is a rollout."""
    ledger = Ledger.of(cut_shards([find_file(path)], shard_bytes))
    for shard in ledger.shards:
        recorder = LineRecorder()
        for block in read_blocks(shard):
            recorder.add_block(block, [])
        ledger.add(recorder.result())
    return ledger


def find(ledger: Ledger, lines: list[dict[str, Any]], place: str | None = None) -> SeveralTruths:
    """What is found if all prompts were to repeat."""
    repeated, first = [], 0
    for of_shard in ledger.shard_lines:
        numbers = np.flatnonzero(of_shard.kinds == TAKEN)
        prompts = [lines[first + number]["p"] for number in numbers.tolist()]
        repeated.append(Repeated(numbers, np.array(prompts, np.uint64)))
        first += len(of_shard.kinds)
    with Workers(1) as workers:
        return find_several(workers, ledger, repeated, place)


@given(
    lines=st.lists(st.builds(line, WHERE, TRUTHS, st.integers(1, 3)), min_size=1, max_size=9),
    place=st.sampled_from([None, None, "label", "extra_info.ground_truth"]),
    few=st.sampled_from([0, 0.2, 2]),
    shard_bytes=st.sampled_from([1, 300, 1 << 20]),
)
def test_several_truths_equal_the_plain_rule(
    tmp_path_factory: pytest.TempPathFactory, lines: list[dict], place: str | None, few: float,
    shard_bytes: int,
) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("truths") / "a.jsonl"
    path.write_text("".join(json.dumps(held) + "\n" for held in lines))
    ledger = ledger_of(path, shard_bytes)
    texts = [plain_truth(held, place) for held in lines]
    by_prompt: dict[int, set[str]] = {}
    for held, text in zip(lines, texts, strict=True):
        if text is not None:
            by_prompt.setdefault(held["p"], set()).add(text)
    several = {prompt for prompt, found in by_prompt.items() if len(found) > 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "FEW", few)
        found = find(ledger, lines, place)
        with without_scanner():
            assert find(ledger, lines, place) == found
    assert found.prompts == len(several)
    firsts = ledger.first_lines()
    at = [firsts[one.shard] - 1 + one.line for one in found.example]
    there = [i for i, held in enumerate(lines) if held["p"] in several and texts[i] is not None]
    if several:
        one = there[0]
        other = next(
            i for i in there if lines[i]["p"] == lines[one]["p"] and texts[i] != texts[one]
        )
        assert at == [one, other]
    else:
        assert at == []


def test_lines_are_read_alike_one_by_one_and_of_compressed_files(tmp_path: Path) -> None:
    given = [line("ground_truth", str(i), 1) for i in range(400)]
    plain = write_jsonl(tmp_path / "a.jsonl", given)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    wanted = [0, 3, 4, 399]
    for path in (plain, tmp_path / "a.jsonl.gz"):
        ledger = ledger_of(path, 1 << 20)
        lines = np.array(wanted)
        task = TruthTask(ledger.shard_lines[0].chosen(ledger.shards[0], lines), None)
        assert task.texts() == list(map(str, wanted))
        assert task.hashes().tolist() == [hash_of_text(str(i)) for i in wanted]


def test_a_line_that_cannot_be_read_has_no_truth(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"ground_truth": "4"\n{"ground_truth": "\xff"}\n{"ground_truth": "4"}\n')
    ledger = ledger_of(path, 1 << 20)
    task = TruthTask(ledger.shard_lines[0].chosen(ledger.shards[0], np.arange(3)), None)
    assert task.hashes().tolist() == [NO_TRUTH, NO_TRUTH, hash_of_text("4")]


def test_long_truths_are_shown_where_they_differ(tmp_path: Path) -> None:
    given = [line("ground_truth", "same " * 100 + end, 1) for end in ("one", "other")]
    ledger = ledger_of(write_jsonl(tmp_path / "a.jsonl", given), 1 << 20)
    shown = [at.text for at in find(ledger, given).example]
    assert shown == ["…ame same same same one", "…ame same same same other"]
