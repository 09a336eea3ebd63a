"""Dumps with one response a line become rollouts: grouped as they should be, with nothing lost."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import curriculum.grouping.grouped_dump
import curriculum.grouping.responses
import curriculum.reading.blocks
import curriculum.reading.input_files
from curriculum import BucketOptions, bucket_rollouts
from curriculum.dumps.json_values import NOTHING, hash_column, hash_value, mix
from curriculum.grouping.assemble import Assembler
from tests.dumps.dump_lines import (
    CASES,
    GOOD,
    UIDS,
    check_nothing_lost,
    held,
    step_dump,
)
from tests.helpers.rollouts import Script, lines, tree, words, write_jsonl


def test_groups_that_disagree_are_malformed_and_both_lines_named(
    tmp_path: Path, bucket: Script
) -> None:
    (a, b, c, d), _ = CASES["verifiers"][1]
    one = write_jsonl(tmp_path / "1.jsonl", [a, b])
    two = write_jsonl(tmp_path / "2.jsonl", [{**c, "answer": "5"}, {**d, "prompt": "other"}])
    extra = write_jsonl(tmp_path / "3.jsonl", [{**a, "example_id": 9, "answer": None}])
    other = write_jsonl(tmp_path / "4.jsonl", [{**a, "example_id": 9}])
    inputs = ("-i", one, two, extra, other, "-o", tmp_path / "b")
    code, _, err = bucket(*inputs)
    assert code == 1
    for told in (
        "4 malformed lines (2 × responses of one group with different ground truths, "
        "2 × responses of one group with different prompts)",
        f"{one}:1 and {two}:1: responses of one group with different ground truths",
        f"{one}:2 and {two}:2: responses of one group with different prompts",
        "--group-field",
    ):
        assert told in err
    assert not (tmp_path / "b/easy.jsonl").exists()
    code, _, _ = bucket(*inputs, "--on-malformed", "set-aside")
    assert (code, [r["key"] for r in held(tmp_path / "b")]) == (0, [9])
    assert (tmp_path / "b/rejected/malformed.jsonl").read_bytes() == (
        one.read_bytes() + two.read_bytes()
    )
    record = json.loads((tmp_path / "b/bucketing.json").read_text())
    assert record["dump"]["grouped_by"] == {"example_id": 2}
    first = json.loads(lines(tmp_path / "b/rejected/reasons.jsonl")[0])
    assert first["reason"] == (
        f"malformed: responses of one group with different ground truths: {one}:1 and {two}:1"
    )
    reasons = [json.loads(line) for line in lines(tmp_path / "b/rejected/reasons.jsonl")]
    assert [(r["file"], r["line"], r["offset"]) for r in reasons] == [
        (str(one), 1, 0), (str(one), 2, len(lines(one)[0])),
        (str(two), 1, 0), (str(two), 2, len(lines(two)[0])),
    ]  # fmt: skip


def test_lines_of_later_shards_and_files_have_their_places(
    tmp_path: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curriculum.reading.input_files, "SHARD_BYTES", 200)
    dump = [{"input": f"{i % 10}", "output": "x", "score": i, "gts": "4"} for i in range(40)]
    dump[34]["gts"] = "5"
    dump[17] = {"input": "new", "output": "y", "score": None, "gts": "4"}
    one = write_jsonl(tmp_path / "1.jsonl", dump[:20])
    two = write_jsonl(tmp_path / "2.jsonl", dump[20:])
    flags = ("-i", one, two, "-o", tmp_path / "b")
    code, _, err = bucket(*flags)
    assert (code, f"{one}:5 and {two}:15: responses of one group" in err) == (1, True)
    assert bucket(*flags, "--on-malformed", "set-aside")[0] == 0
    reasons = [json.loads(line) for line in lines(tmp_path / "b/rejected/reasons.jsonl")]
    assert [(r["file"], r["line"]) for r in reasons] == [
        (str(one), 5), (str(one), 15), (str(two), 5), (str(two), 15), (str(one), 18),
    ]  # fmt: skip
    assert reasons[-1]["offset"] == sum(map(len, lines(one)[:17]))
    # Lines of all files have one length, so those of a group seem to follow one another.
    found = [[e["score"] for e in r["reward"]] for r in held(tmp_path / "b") if r["prompt"] == "0"]
    assert found == [[0, 10, 20, 30]]


def test_lines_of_two_files_are_not_read_as_neighbours(tmp_path: Path, bucket: Script) -> None:
    dump = [{"input": text, "output": text, "score": 1} for text in "abba"]
    one, two = (write_jsonl(tmp_path / f"{i}.jsonl", dump[2 * i : 2 * i + 2]) for i in (0, 1))
    assert bucket("-i", one, two, "-o", tmp_path / "b")[0] == 0
    texts = [
        [c["message"]["content"] for c in r["response"]["choices"]] for r in held(tmp_path / "b")
    ]
    assert sorted(texts) == [["a", "a"], ["b", "b"]]


def test_where_prompts_may_vary_they_are_only_told(tmp_path: Path, bucket: Script) -> None:
    dump = [json.loads(json.dumps(line)) for line in CASES["nemo-gym"][1][0]]
    dump[1]["responses_create_params"]["input"] = "another hand of cards"
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b")
    assert (code, "1 of 2 rollouts has responses to different prompts" in err) == (0, True)
    assert sorted(str(r["prompt"]) for r in held(tmp_path / "b"))[-1] == "another hand of cards"


def test_an_unscored_rollout_is_told_at_its_first_line(tmp_path: Path, bucket: Script) -> None:
    dump = [*CASES["verifiers"][1][0], {**CASES["verifiers"][1][0][2], "example_id": 5}]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, out, err = bucket("-i", source, "-o", tmp_path / "b")
    assert (code, "1 unscored" in words(out), f"{source} 1" in err) == (0, True, True)
    (reason,) = map(json.loads, lines(tmp_path / "b/rejected/reasons.jsonl"))
    assert reason == {
        "file": str(source),
        "line": 5,
        "offset": sum(map(len, lines(source)[:4])),
        "reason": "unscored: no score is present",
    }
    (unscored,) = map(json.loads, lines(tmp_path / "b/rejected/unscored.jsonl"))
    assert (unscored["key"], unscored["reward"][0]["score"]) == (5, None)


ODD = '{"input":"\\u00e9","output":%s,"gts":{"b":1E1,"a":[1.10]},"score":%s,"step":1}\n'


def test_values_pass_byte_for_byte(tmp_path: Path, bucket: Script) -> None:
    source = tmp_path / "d.jsonl"
    source.write_text(ODD % ('"\\u00e9 \\/"', "1e0") + ODD % ("[ 1.0 ]", "0.10"), "utf-8")
    assert bucket("-i", source, "-o", tmp_path / "b")[0] == 0
    (line,) = lines(tmp_path / "b/medium.jsonl")
    text, truth = '"\\u00e9 \\/"', '{"b":1E1,"a":[1.10]}'
    for piece in (text, "[ 1.0 ]", '"score":1e0', '"score":0.10', truth):
        assert piece in line.decode()


NAN = '{"input":"a\\ud800","output":"x","gts":"4","score":%s,"step":1,"acc":NaN,"n":%s}\n'


def test_what_only_python_reads_is_read(tmp_path: Path, bucket: Script) -> None:
    source = tmp_path / "d.jsonl"
    big = "9" * 30
    source.write_text(NAN % ("NaN", big) + NAN % ("1", big) + NAN % ("0.5", "1"), "utf-8")
    flags = ("--score-field", "score")
    assert bucket("-i", source, "-o", tmp_path / "b", *flags)[0] == 0
    (found,) = held(tmp_path / "b")
    assert found["prompt"] == "a\ud800"
    scores = [entry["score"] for entry in found["reward"]]
    assert (str(scores[0]), scores[1:]) == ("nan", [1, 0.5])
    assert [entry["n"] for entry in found["reward"]] == [int(big), int(big), 1]


def test_a_line_that_only_python_reads_is_grouped_with_the_others(
    tmp_path: Path, bucket: Script
) -> None:
    dump = [{"input": "12", "output": "x", "score": i, "note": n} for i, n in enumerate((1, 1e999))]
    source = write_jsonl(tmp_path / "d.jsonl", [*dump, *dump])
    assert bucket("-i", source, "-o", tmp_path / "b")[0] == 0
    (found,) = held(tmp_path / "b")
    assert [entry["score"] for entry in found["reward"]] == [0, 1, 0, 1]


# One line in many ways: every group mark there or not, in any order, far apart.
LINE = st.fixed_dictionaries(
    {
        "input": st.sampled_from(["a", "b", "user\nc\nassistant\n"]),
        "output": st.text(max_size=3),
        "score": st.sampled_from([0, 1, 0.5, None, True]),
    },
    optional={
        "step": st.integers(0, 2),
        "uid": st.builds("{}_{}_0".format, st.sampled_from([*UIDS, "set"]), st.integers(0, 2)),
        "request_id": st.sampled_from(["r", "s"]),
        "gts": st.sampled_from(["4", None]),
        "note": st.sampled_from([{"k": 1}, {"k": 2}]),
        "key": st.integers(0, 1),
    },
)


# Some lines again, as they were.
DUMP = st.lists(LINE, min_size=1, max_size=9).flatmap(
    lambda lines: st.lists(st.sampled_from(lines), max_size=3).map(lambda again: lines + again)
)


def as_text(line: dict[str, Any]) -> str:
    return json.dumps(line, sort_keys=True)


def plain_groups(dump: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The rule, line by line: by uid and step, by uid, by step and prompt, by prompt."""
    groups: dict[Any, list[dict[str, Any]]] = {}
    for line in dump:
        uid = line.get("uid")
        if uid and uid.split("_")[0] in UIDS:
            uid = uid.split("_")[0]
        mark = (uid, line.get("step"), line["input"] if uid is None else None)
        groups.setdefault(mark, []).append(line)
    return list(groups.values())


def plain_id(line: dict[str, Any]) -> str | None:
    """The id of a response: verl's own uid, else the id of its request."""
    uid = line.get("uid", "")
    return uid if uid.split("_")[0] in UIDS else line.get("request_id")


def plain_responses(group: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """The lines of a group without repeats; None if they disagree."""
    kept: list[dict[str, Any]] = []
    for line in group:
        same = [other for other in kept if plain_id(line) and plain_id(other) == plain_id(line)]
        if same and as_text(same[0]) != as_text(line):
            return None
        kept += [] if same else [line]
    return kept if len({line["input"] for line in group}) == 1 else None


@settings(max_examples=100)
@given(dump=DUMP, parts=st.integers(1, 3))
def test_grouping_is_the_plain_rule_and_keeps_every_field(
    tmp_path_factory: pytest.TempPathFactory, dump: list[dict[str, Any]], parts: int
) -> None:
    tmp_path = tmp_path_factory.mktemp("d")
    for part in range(parts):
        write_jsonl(tmp_path / f"in/{part}.jsonl", dump[part * len(dump) // parts :][
            : (part + 1) * len(dump) // parts - part * len(dump) // parts
        ])  # fmt: skip
    wrong = [group for group in plain_groups(dump) if plain_responses(group) is None]
    groups = [kept for group in plain_groups(dump) if (kept := plain_responses(group))]
    options = BucketOptions(
        inputs=[str(tmp_path / "in")],
        output_dir=str(tmp_path / "b"),
        num_buckets=1,
        workers=1,
        on_malformed="set-aside",
        sync=False,
    )
    scored = [group for group in groups if any(line["score"] is not None for line in group)]
    if not scored:
        return
    report = bucket_rollouts(options)
    assert report.manifest.counts.malformed == sum(map(len, wrong))
    names = [record.file for record in report.manifest.buckets]
    found = [json.loads(line) for name in names for line in lines(tmp_path / "b" / name)]
    assert [[entry["score"] for entry in r["reward"]] for r in found] == [
        [line["score"] for line in group] for group in scored
    ]
    for rollout_, group in zip(found, scored, strict=True):
        check_nothing_lost(rollout_, group)


@pytest.mark.parametrize("codec", ["", ".gz"])
@pytest.mark.parametrize("workers", [1, 3])
def test_bytes_do_not_depend_on_workers_shards_or_compression(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, codec: str
) -> None:
    dump = [
        {"input": f"p{i % 37}", "output": "x" * (i % 50), "score": i % 3, "step": i % 2, "i": i}
        for i in range(400)
    ]

    def run(directory: Path, workers: int, codec: str) -> dict[str, bytes]:
        source = write_jsonl(directory / "dump.jsonl", dump)
        if codec:
            packed = gzip.compress(b"\xef\xbb\xbf" + source.read_bytes())
            source.unlink()
            source = directory / "dump.jsonl.gz"
            source.write_bytes(packed)
        options = BucketOptions([str(source)], str(directory / "b"), workers=workers, sync=False)
        bucket_rollouts(options)
        found = tree(directory / "b")
        del found["bucketing.json"]
        return found

    expected = run(tmp_path / "plain", 1, "")
    monkeypatch.setattr(curriculum.reading.input_files, "SHARD_BYTES", 1000)
    monkeypatch.setattr(curriculum.reading.blocks, "BLOCK_BYTES", 300)
    monkeypatch.setattr(curriculum.grouping.responses, "BATCH_BYTES", 2000)
    assert run(tmp_path / "cut", workers, codec) == expected


def test_values_with_one_text_or_one_set_of_keys_are_not_confused() -> None:
    values = [
        "1",
        1,
        1.0,
        True,
        "true",
        {"a": 1, "b": 2},
        '{"a":1,"b":2}',
        [1],
        "[1]",
        "",
        "\ud800",
    ]
    assert len({hash_value(value) for value in values}) == len(values)
    assert hash_value({"b": 2, "a": 1}) == hash_value({"a": 1, "b": 2})
    assert hash_value(None) == NOTHING
    odd = [float("nan"), float("inf"), -float("inf"), [None], [float("nan")]]
    assert len({hash_value(value) for value in odd}) == len(odd)
    one, other = (np.array([hash_value(text)], np.uint64) for text in "ab")
    assert mix(1, [one, other]) != mix(1, [other, one])
    assert mix(1, [one]) != mix(2, [one])
    assert list(hash_column(values)) == [hash_value(value) for value in values]
    texts = [str(i) for i in range(6000)] * 2
    assert list(hash_column(texts)) == [hash_value(text) for text in texts]


def test_a_dump_of_very_many_files(tmp_path: Path, bucket: Script) -> None:
    import resource

    for i in range(150):
        write_jsonl(tmp_path / f"d/{i:03}.jsonl", [{"input": "p", "output": str(i), "score": i}])
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    here = len([*Path("/proc/self/fd").iterdir()])  # other tests leave some open
    resource.setrlimit(resource.RLIMIT_NOFILE, (here + 90, before[1]))
    try:
        code, _, err = bucket("-i", tmp_path / "d", "-o", tmp_path / "b", "-n", 1, "--workers", 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert (code, err.startswith("warning")) == (0, True)
    (found,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    assert [entry["score"] for entry in found["reward"]] == list(range(150))


def test_files_of_several_models_are_told(tmp_path: Path, bucket: Script) -> None:
    for name in ("one", "two"):
        write_jsonl(tmp_path / f"{name}.jsonl", [GOOD, {**GOOD, "example_id": name}])
    _, _, err = bucket("-i", tmp_path, "-o", tmp_path / "b", "-n", 1)
    assert "1 rollout with responses of several files" in err
    assert "only one response in 2 of 3 rollouts" in err


def test_fields_of_the_second_script_stay_with_the_rollout(tmp_path: Path, bucket: Script) -> None:
    infos = [{"a": 1, "i": 7}, {"a": 1, "i": 8}]
    dump = [{**GOOD, "extra_info": info, "source_score": i, "score": i}
            for i, info in enumerate(infos)]  # fmt: skip
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    assert bucket("-i", source, "-o", tmp_path / "b", "-n", 1)[0] == 0
    (found,) = map(json.loads, lines(tmp_path / "b/level_1.jsonl"))
    assert found["extra_info"] == infos[0]
    assert found["reward"] == [
        {"score": 1.0, "extra_info": info, "source_score": i, "source_source_score": i}
        for i, info in enumerate(infos)
    ]


def test_two_groups_with_one_hash_are_not_put_together(
    tmp_path: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", step_dump(2))
    monkeypatch.setattr(
        "curriculum.grouping.group_hashes.mix", lambda _, hashes: np.ones_like(hashes[0])
    )
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "--workers", 1)
    assert (code, "internal error: two groups have one hash: " in err) == (1, True)
    assert not (tmp_path / "b/easy.jsonl").exists()


@pytest.mark.parametrize("flags", [(), ("--on-malformed", "set-aside")])
def test_a_rollout_that_was_put_together_wrongly_is_an_internal_error(
    tmp_path: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch, flags: tuple
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", step_dump(3))
    assemble = Assembler.__call__

    def break_one(self: Any, lines: list[bytes]) -> tuple[bytes, int]:
        rollout, count = assemble(self, lines)
        return rollout.replace(b'"reward"', b'"rewarb"'), count

    monkeypatch.setattr(Assembler, "__call__", break_one)
    monkeypatch.setenv("CURRICULUM_NO_SCANNER", "1")
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "--workers", 1, *flags)
    assert (code, "internal error: a rollout that was put together" in err) == (1, True)
    assert not (tmp_path / "b/easy.jsonl").exists()


def deepest() -> int:
    """How deep a list can be nested that Python still reads here, about."""
    low, high = 100, 100_000
    while high - low > 1:
        depth = (low + high) // 2
        try:
            json.loads("[" * depth + "]" * depth)
            low = depth
        except RecursionError:
            high = depth
    return low


@pytest.mark.parametrize("field", ["note", "input", "gts"])
def test_lines_that_are_nearly_nested_too_deep(tmp_path: Path, bucket: Script, field: str) -> None:
    line = {"input": "p", "output": "x", "score": 1, "step": 1}
    others = "".join(json.dumps({**line, "step": step}) + "\n" for step in (2, 1))
    limit, codes = deepest(), set()
    for depth in (limit - 200, *range(limit - 50, limit + 3)):
        text = json.dumps({**line, field: "deep"}).replace('"deep"', "[" * depth + "]" * depth)
        source = tmp_path / "d.jsonl"
        source.write_text(f"{others}{text}\n")
        flags = ("-i", source, "-o", tmp_path / "b", "-n", 1, "--workers", 1, "--no-sync")
        code, _, err = bucket(*flags)
        codes.add(code)
        assert code == 0 or f"  {source}:3: nested too deep" in err
        if code:
            assert bucket(*flags, "--on-malformed", "set-aside")[0] == 0
            assert lines(tmp_path / "b/rejected/malformed.jsonl")[-1] == f"{text}\n".encode()
    assert codes == {0, 1}


def test_truths_that_differ_by_prompt_name_a_flag_that_helps(
    tmp_path: Path, bucket: Script
) -> None:
    dump = step_dump(2)
    dump[2]["gts"] = "5"
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "--group-by", "prompt")
    assert (code, "--group-field" in err, "leave out --group-by prompt" in err) == (1, False, True)
    _, _, err = bucket("-i", source, "-o", tmp_path / "b")
    assert "name fields that tell them apart with --group-field" in words(err)


def test_single_responses_by_prompt_name_a_flag_that_helps(tmp_path: Path, bucket: Script) -> None:
    dump = [{"input": str(i), "output": "", "score": i, "step": 1} for i in range(2)]
    source = write_jsonl(tmp_path / "d.jsonl", dump)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "-n", 1, "--group-by", "prompt")
    assert (code, "with --group-field instead of --group-by prompt" in err) == (0, True)


def test_a_dump_that_changes_meanwhile_is_told(
    tmp_path: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_jsonl(tmp_path / "d.jsonl", step_dump(3))
    assemble = curriculum.grouping.grouped_dump.Gatherer._assemble

    def cut(*arguments: Any) -> None:
        source.write_bytes(source.read_bytes()[:-40])
        assemble(*arguments)

    monkeypatch.setattr(curriculum.grouping.grouped_dump.Gatherer, "_assemble", cut)
    code, _, err = bucket("-i", source, "-o", tmp_path / "b", "--workers", 1)
    assert (code, f"{source}: the file changed while it was read" in err) == (1, True)
    assert not (tmp_path / "b/easy.jsonl").exists()
