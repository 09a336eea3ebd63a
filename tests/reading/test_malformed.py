"""What is malformed and what is not, line by line, in both scripts; and where it goes."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from curriculum.dumps.formats import OWN
from tests.helpers.rollouts import Script, lines, rows, tree
from tests.helpers.strategies import LINE, ROLLOUT
from tests.torture.runs import BUCKET, PREPROCESS, call

GOOD = (
    b'{"prompt":"a","reward":[{"score":1},{"score":0}],"ground_truth":"4",'
    b'"response":{"choices":[{"message":{"content":"x"}},{"message":{"content":"y"}}]}}'
)
ASIDE = ("--on-malformed", "set-aside")


def good(old: str, new: str | bytes) -> bytes:
    """A good line with something else in it."""
    assert GOOD.count(old.encode()) == 1
    return GOOD.replace(old.encode(), new if isinstance(new, bytes) else new.encode())


# The line, and what both scripts say of it; None where it is as good as any.
FAULTS = {
    "cut off": (GOOD[:60], "not valid JSON: Unterminated string"),
    "something after it": (GOOD + b" x", "not valid JSON: Extra data"),
    "two on a line": (GOOD + GOOD, "not valid JSON: Extra data"),
    "a list": (b"[1, 2]", "not a JSON object: the line is a list"),
    "a number": (b"3", "not a JSON object: the line is 3"),
    "no reward": (b'{"prompt": "a"}', 'no "reward"'),
    "null as reward": (b'{"reward": null}', "reward is not a list: it is null"),
    "one reward": (b'{"reward": {"score": 1}}', "reward is not a list: it is an object"),
    "score in quotes": (good('"score":0', '"score":"0"'), 'reward[1].score is "0"'),
    "object as score": (good('"score":0', '"score":{}'), "reward[1].score is an object"),
    "list as entry": (good('{"score":0}', "[0]"), "reward[1] is a list"),
    "too many digits": (good('"score":0', '"score":' + "9" * 5000), "not valid JSON: Exceeds"),
    "nested thousands deep": (b'{"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "nested too deep"),
    "nothing but NULs": (b"\0" * 40, "NUL bytes: byte 0 of the line; a crash or a full disk"),
    "a NUL in a string": (good('"a"', b'"a\0"'), "NUL bytes: byte 12 of the line"),
    "a control character": (good('"a"', b'"a\x01"'), "not valid JSON: Invalid control character"),
    "a byte order mark inside": (b"\xef\xbb\xbf" + GOOD, "not valid JSON: Unexpected UTF-8 BOM"),
    "beyond a double": (good('"score":0', '"score":1e400'), None),
    "far beyond a double": (good('"score":0', '"score":' + "9" * 400), None),
    "NaN": (good('"score":0', '"score":NaN'), None),
    "Infinity": (good('"score":0', '"score":-Infinity'), None),
    "NaN in a field nobody reads": (good('"4"', '"4","x":NaN'), None),
    "CRLF": (GOOD + b"\r", None),
    "a line separator": (good('"a"', '"a\u2028b"'), None),
    "a lone surrogate": (good('"a"', '"a\\ud800"'), None),
    "a key twice": (good('"ground', '"reward":[{"score":1}],"ground'), None),
    "more rewards": (good('{"score":0}', '{"score":0},{"score":0.5},{"score":2}'), None),
    "fewer rewards": (good(',{"score":0}', ""), None),
    "null as text": (good('"x"', "null"), None),
    "yes and no": (b'{"prompt": "a", "reward": [true, false]}', None),
}  # fmt: skip
# What only preprocessing has to read.
LATER_FAULTS = {
    "invalid UTF-8 in the prompt": (good('"a"', b'"a\xff"'), "invalid UTF-8: byte 12 of the line"),
    "invalid UTF-8 where nobody reads": (good('"4"', b'"4","x":"\xff"'), "invalid UTF-8: byte 73"),
    "empty prompt": (good('"a"', '""'), "no prompt"),
    "a prompt of parts": (
        good('"a"', '[{"role":"user","content":[{"type":"image"}]}]'),
        "a message has parts that are not text: prompt[0].content[0] is of type",
    ),
    "a message without a role": (good('"a"', '[{"content":"hi"}]'), "prompt[0].role is null"),
    "text as extra_info": (good('"ground', '"extra_info":"x","ground'), "extra_info is not an obj"),
}


def reasons(directory: Path) -> list[dict]:
    """What `rejected/reasons.jsonl` says."""
    path = directory / "rejected/reasons.jsonl"
    return [json.loads(line) for line in lines(path)] if path.exists() else []


@pytest.mark.parametrize("name", FAULTS)
def test_fault_in_a_line(tmp_path: Path, bucket: Script, preprocess: Script, name: str) -> None:
    line, reason = FAULTS[name]
    source, out, sets = tmp_path / "a.jsonl", tmp_path / "out", tmp_path / "sets"
    source.write_bytes(GOOD + b"\n" + line + b"\n" + GOOD)  # the last line lacks its newline
    code, _, err = bucket("-i", source, "-o", out, "-n", 1)
    if reason is None:
        assert (code, lines(out / "level_1.jsonl")) == (
            0,
            [GOOD + b"\n", line + b"\n", GOOD + b"\n"],
        )
        assert preprocess("-i", out, "-o", sets, "--val-ratio", 0)[0] == 0
        assert len(rows(sets / "level_1_train.parquet")) == 3
        return
    assert (code, out.exists()) == (1, False)
    assert f"{source}:2: " in err
    assert reason in err
    assert bucket("-i", source, "-o", out, "-n", 1, *ASIDE)[0] == 0
    assert lines(out / "level_1.jsonl") == [GOOD + b"\n"] * 2
    assert lines(out / "rejected/malformed.jsonl") == [line + b"\n"]
    (record,) = reasons(out)
    assert (record["file"], record["line"], record["offset"]) == (str(source), 2, len(GOOD) + 1)
    assert record["reason"].startswith("malformed: ")
    assert reason in record["reason"]


@pytest.mark.parametrize("name", LATER_FAULTS)
def test_fault_that_preprocessing_finds(
    tmp_path: Path, bucket: Script, preprocess: Script, name: str
) -> None:
    line, reason = LATER_FAULTS[name]
    source, out, sets = tmp_path / "a.jsonl", tmp_path / "out", tmp_path / "sets"
    source.write_bytes(GOOD + b"\n" + line + b"\n" + GOOD)
    assert bucket("-i", source, "-o", out, "-n", 1)[0] == 0
    assert lines(out / "level_1.jsonl")[1] == line + b"\n"
    code, _, err = preprocess("-i", out, "-o", sets)
    assert (code, sets.exists()) == (1, False)
    assert f"{out}/level_1.jsonl:2: " in err
    assert reason in err
    code, _, err = preprocess("-i", out, "-o", sets, "--val-ratio", 0, *ASIDE)
    assert (code, len(rows(sets / "level_1_train.parquet"))) == (0, 2)
    assert "1 malformed line set aside" in err
    assert "edited" not in err
    assert lines(sets / "rejected/malformed.jsonl") == [line + b"\n"]
    (record,) = reasons(sets)
    assert (record["line"], record["offset"]) == (2, len(GOOD) + 1)
    assert reason in record["reason"]


def test_last_of_two_equal_keys_counts_in_both_scripts(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    line = good('"ground', '"reward":[{"score":0.25},{"score":0.75}],"ground')
    (tmp_path / "a.jsonl").write_bytes(line)
    assert bucket("-i", tmp_path / "a.jsonl", "-o", tmp_path / "out", "-n", 1)[0] == 0
    assert preprocess("-i", tmp_path / "out", "-o", tmp_path / "sets")[0] == 0
    (row,) = rows(tmp_path / "sets/level_1_train.parquet")
    assert row["extra_info"]["difficulty_metrics"]["value"] == 0.5
    assert row["extra_info"]["best_response"]["content"] == "y"


def test_summary_and_manifest_add_up(tmp_path: Path, bucket: Script) -> None:
    bad, unscored = b"{}", b'{"reward": [null]}'
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([GOOD, bad, b"", unscored, GOOD, bad]))
    (tmp_path / "b.jsonl").write_bytes(b"\n".join([b'{"reward": 1}', GOOD, b"\r"]))
    out = tmp_path / "out"
    code, text, err = bucket("-i", tmp_path, "-o", out, "-n", 1, *ASIDE)
    assert code == 0
    assert "read 7 rollouts" in text
    assert "3 bucketed, 1 unscored, 3 malformed; 2 blank lines skipped" in text
    assert (
        f'3 malformed lines set aside (2 × no "reward", 1 × reward is not a list): in '
        f"{out}/rejected/malformed.jsonl" in err
    )
    assert f"By file: {tmp_path}/a.jsonl 2, {tmp_path}/b.jsonl 1." in err
    manifest = json.loads((out / "bucketing.json").read_text())
    assert manifest["counts"] == {
        "read": 7, "bucketed": 3, "unscored": 1, "malformed": 3, "blank": 2
    }  # fmt: skip
    assert manifest["rejected"] == [
        "rejected/unscored.jsonl", "rejected/malformed.jsonl", "rejected/reasons.jsonl"
    ]  # fmt: skip
    where = [(Path(r["file"]).name, r["line"], r["reason"].split(":")[0]) for r in reasons(out)]
    assert where == [
        ("a.jsonl", 2, "malformed"), ("a.jsonl", 4, "unscored"), ("a.jsonl", 6, "malformed"),
        ("b.jsonl", 1, "malformed"),
    ]  # fmt: skip


def test_rejected_lines_go_with_the_next_run(tmp_path: Path, bucket: Script) -> None:
    source = tmp_path / "a.jsonl"
    source.write_bytes(GOOD + b"\n{}\n")
    flags = ("-i", source, "-o", tmp_path / "out", "-n", 1)
    assert bucket(*flags, *ASIDE)[0] == 0
    source.write_bytes(GOOD)
    assert bucket(*flags, *ASIDE)[0] == 0
    assert sorted(tree(tmp_path / "out")) == ["bucketing.json", "level_1.jsonl"]
    assert not (tmp_path / "out/rejected").exists()


def test_each_kind_of_rejected_line_has_its_file(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    no_prompt, no_score = b'{"reward": [{"score": 1, "V_i": 1}]}', b'{"prompt": "a", "reward": [1]}'
    scored = good('{"score":1}', '{"score":1,"V_i":1}')
    (tmp_path / "a.jsonl").write_bytes(
        b"\n".join([no_score, no_prompt, scored, no_score, no_prompt])
    )
    out, sets = tmp_path / "out", tmp_path / "sets"
    assert bucket("-i", tmp_path / "a.jsonl", "-o", out, "-n", 1)[0] == 0
    text = (out / "level_1.jsonl").read_bytes().replace(b'"reward": [1]', b'"reward": [null]')
    (out / "level_1.jsonl").write_bytes(text)
    assert preprocess("-i", out, "-o", sets, *ASIDE)[0] == 0
    assert len(rows(sets / "level_1_train.parquet")) == 1
    unscored = no_score.replace(b"[1]", b"[null]") + b"\n"
    assert lines(sets / "rejected/unscored.jsonl") == [unscored] * 2
    assert lines(sets / "rejected/malformed.jsonl") == [no_prompt + b"\n"] * 2
    found = [(r["line"], r["offset"], r["reason"].split(":")[0]) for r in reasons(sets)]
    every = lines(out / "level_1.jsonl")
    offsets = [sum(map(len, every[:i])) for i in range(5)]
    assert found == [
        (1, offsets[0], "unscored"), (2, offsets[1], "malformed"),
        (4, offsets[3], "unscored"), (5, offsets[4], "malformed"),
    ]  # fmt: skip


def test_lost_line_is_an_internal_error(
    tmp_path: Path, bucket: Script, preprocess: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out, sets = tmp_path / "a.jsonl", tmp_path / "out", tmp_path / "sets"
    source.write_bytes(GOOD)
    flags = ("-i", source, "-o", out, "-n", 1)
    with monkeypatch.context() as patched:
        patched.setattr("curriculum.reading.ledger.Ledger.well_formed", 5)
        code, _, err = bucket(*flags)
        assert (code, "internal error: the counts do not add up" in err) == (1, True)
        assert not out.exists()
    assert bucket(*flags)[0] == 0
    monkeypatch.setattr("curriculum.preprocessing.row_plan.RowPlan.dropped", lambda *_: 1)
    code, _, err = preprocess("-i", out, "-o", sets)
    assert (code, "the counts of level_1 do not add up to its 1 lines" in err) == (1, True)
    assert not sets.exists()


@pytest.mark.parametrize("flags", [(), ASIDE])
def test_input_without_a_good_line(tmp_path: Path, bucket: Script, flags: tuple) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"{}\n[]\n")
    code, _, err = bucket("-i", tmp_path / "a.jsonl", "-o", tmp_path / "out", *flags)
    assert (code, (tmp_path / "out").exists()) == (1, False)
    assert ("all 2 lines are malformed" if flags else "2 malformed lines") in err


def test_buckets_without_a_good_line(tmp_path: Path, bucket: Script, preprocess: Script) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"reward": [1]}')
    assert bucket("-i", tmp_path / "a.jsonl", "-o", tmp_path / "out", "-n", 1)[0] == 0
    code, _, err = preprocess("-i", tmp_path / "out", "-o", tmp_path / "sets", *ASIDE)
    assert (code, "all 1 lines are malformed" in err) == (1, True)


def test_unknown_choice_is_a_usage_error(bucket: Script, preprocess: Script) -> None:
    for script in (bucket, preprocess):
        code, _, err = script("-i", "x", "-o", "y", "--on-malformed", "skip")
        assert (code, "--on-malformed: there is no 'skip'" in err) == (2, True)


ANY_LINE = st.one_of(
    st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")),
    (LINE | ROLLOUT).map(lambda value: json.dumps(value).encode()),
    st.sampled_from(
        [GOOD, b"", b" \t\r", *(line for line, _ in FAULTS.values() if len(line) < 300)]
    ),
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(ANY_LINE, max_size=8), st.lists(ANY_LINE, max_size=8))
def test_every_line_is_somewhere(tmp_path_factory, first, second) -> None:
    """Input lines = bucketed lines + rejected lines, in their order; the same of the rows."""
    assume(not any(map(is_array, (first, second))))
    directory = tmp_path_factory.mktemp("lines")
    (directory / "in").mkdir()
    for name, found in (("a", first), ("b", second)):
        (directory / f"in/{name}.jsonl").write_bytes(b"\n".join([b" ", *found]))
    out, sets = directory / "out", directory / "sets"
    flags = [*ASIDE, "--workers", "1", "--no-sync"]
    own = ["--format", OWN, "-n", "1"]
    code, err = call(BUCKET, ["-i", directory / "in", "-o", out, *own, *flags])
    given_lines = [line + b"\n" for line in first + second if line.strip(b" \t\r")]
    if code:
        assert not out.exists(), err
        return
    parts = [
        out / "level_1.jsonl",
        out / "rejected/malformed.jsonl",
        out / "rejected/unscored.jsonl",
    ]
    kept = [lines_of(part) for part in parts]
    assert Counter(line for part in kept for line in part) == Counter(given_lines)
    for part in kept:
        rest = iter(given_lines)
        assert all(line in rest for line in part)  # in their order
    flags += ["--ground-truth-format", "string"]
    code, err = call(PREPROCESS, ["-i", out, "-o", sets, *flags])
    if not code:
        found = [sets / f"level_1_{side}.parquet" for side in ("train", "val")]
        count = sum(len(rows(path)) for path in found if path.exists())
        rejected = [sets / f"rejected/{name}.jsonl" for name in ("malformed", "unscored")]
        assert count + sum(len(lines_of(path)) for path in rejected) == len(kept[0])
    shutil.rmtree(directory)


def is_array(lines: list[bytes]) -> bool:
    """Whether a file of these lines is one array, whose items are its records."""
    text = b"\n".join(lines).strip()
    try:
        return any(isinstance(item, dict) for item in json.loads(text)) and text[:1] == b"["
    except (ValueError, TypeError, RecursionError):
        return False


def lines_of(path: Path) -> list[bytes]:
    """The lines of a file, by newlines alone; none where there is no file."""
    text = path.read_bytes() if path.exists() else b""
    return [line + b"\n" for line in text.split(b"\n")[:-1]]
