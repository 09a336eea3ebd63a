"""The bucketing script end to end: files, manifest, summary, warnings, errors."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.bucket import bucket_rollouts
from curriculum.bucketers import cut_at
from curriculum.bucketing.scan import ScanTask, scan_shard
from curriculum.metrics import METRICS, MetricParameters, Scores
from curriculum.options import BucketOptions
from curriculum.reading.find_files import find_files
from curriculum.reading.input_files import cut_shards
from tests.golden.__main__ import SCRIPTS, help_text
from tests.helpers.rollouts import ROOT, Script, lines, rollout, tree, write_jsonl


def graded(*means: float) -> list[dict[str, Any]]:
    return [rollout(mean, prompt=f"prompt {i}") for i, mean in enumerate(means)]


def test_easy_holds_what_is_solved_and_hard_what_is_not(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "in/a.jsonl", graded(0, 1, 0.5, 0, 1, 0.5))
    assert bucket("-i", source.parent, "-o", tmp_path / "out")[0] == 0
    line = lines(source)
    assert {
        name: data for name, data in tree(tmp_path / "out").items() if name != "bucketing.json"
    } == {
        "easy.jsonl": line[1] + line[4],
        "medium.jsonl": line[2] + line[5],
        "hard.jsonl": line[0] + line[3],
    }


def test_lines_are_copied_byte_for_byte(tmp_path: Path, bucket: Script) -> None:
    odd = [
        b'{ "reward" : [1.0e0], "prompt": "\xff\xfe not utf-8" }',
        b'\t{"reward":[true],"a":"\\ud800", "b": NaN}\r',
        '{"reward":[0],"t":"\u2028 \x85 é"}'.encode(),
        b'{"reward":[0],"reward":[2]}',
    ]
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jsonl").write_bytes(b"\xef\xbb\xbf" + odd[0] + b"\n\n \t\r\n" + odd[1])
    (tmp_path / "in/b.ndjson").write_bytes(odd[2] + b"\n" + odd[3] + b"\n")
    code, out, _ = bucket("-i", tmp_path / "in", "-o", tmp_path / "out", "-n", 2)
    assert code == 0
    assert (tmp_path / "out/easy.jsonl").read_bytes() == odd[3] + b"\n"
    assert (tmp_path / "out/hard.jsonl").read_bytes() == b"".join(
        line + b"\n" for line in (odd[0], odd[1], odd[2])
    )
    assert "2 blank lines skipped" in out


MANIFEST = {
    "metric": {
        "name": "pass_at_k",
        "higher_is_easier": True,
        "score_field": "V_i",
        "k": 2,
        "pass_threshold": 0.25,
    },
    "method": {
        "name": "percentiles",
        "num_buckets": 2,
        "ties": "together",
        "thresholds": None,
        "solved_unsolved": False,
    },
    "counts": {"read": 4, "bucketed": 3, "unscored": 1, "malformed": 0, "blank": 1},
}


def test_manifest_says_what_was_read_and_written(tmp_path: Path, bucket: Script) -> None:
    entries = [[0.25, 1], [0, 0], [0], [0.3, 0.3]]
    rollouts = [{"reward": [{"V_i": v} for v in values]} for values in entries]
    source = write_jsonl(tmp_path / "a.jsonl", rollouts)
    source.write_bytes(source.read_bytes() + b"\n")
    flags = ("-m", "pass_at_k", "--k", 2, "--score-field", "V_i", "--pass-threshold", 0.25, "-n", 2)
    code, _, _ = bucket("-i", source, "-o", tmp_path / "out", *flags)
    assert code == 0
    manifest = json.loads((tmp_path / "out/bucketing.json").read_text())
    line = lines(source)
    assert {key: manifest[key] for key in MANIFEST} == MANIFEST
    assert manifest["inputs"] == [{"path": str(source), "bytes": source.stat().st_size, "lines": 5}]
    assert manifest["buckets"] == [
        {"name": "easy", "order": 0, "file": "easy.jsonl", "count": 2,
         "bytes": len(line[0] + line[3]), "lowest": 1.0, "highest": 1.0},
        {"name": "hard", "order": 1, "file": "hard.jsonl", "count": 1,
         "bytes": len(line[1]), "lowest": 0.0, "highest": 0.0},
    ]  # fmt: skip
    assert sorted(manifest) == [
        "buckets", "counts", "inputs", "method", "metric", "rejected", "version",
    ]  # fmt: skip
    assert manifest["rejected"] == ["rejected/unscored.jsonl", "rejected/reasons.jsonl"]


def test_same_input_same_bytes(tmp_path: Path, bucket: Script) -> None:
    write_jsonl(tmp_path / "in/a.jsonl", graded(*np.random.default_rng(0).random(50)))
    for name in ("one", "two"):
        assert bucket("-i", tmp_path / "in", "-o", tmp_path / name)[0] == 0
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_unscored_rollouts_are_set_aside_with_their_reasons(tmp_path: Path, bucket: Script) -> None:
    rollouts = [rollout(1, 0), rollout(None, prompt="ü"), rollout(0.5), rollout(0, 1)]
    write_jsonl(tmp_path / "in/a.jsonl", rollouts[:1])
    source = write_jsonl(tmp_path / "in/b.jsonl", rollouts[1:])
    code, out, err = bucket("-i", tmp_path / "in", "-o", tmp_path / "out", "-m", "variance")
    assert code == 0
    line = lines(source)
    assert (tmp_path / "out/rejected/unscored.jsonl").read_bytes() == line[0] + line[1]
    reasons = [json.loads(text) for text in lines(tmp_path / "out/rejected/reasons.jsonl")]
    assert reasons == [
        {"file": str(source), "line": 1, "offset": 0, "reason": "unscored: no score is present"},
        {"file": str(source), "line": 2, "offset": len(line[0]),
         "reason": "unscored: variance is undefined for its scores"},
    ]  # fmt: skip
    assert "2 bucketed, 2 unscored" in out
    assert f"2 of 4 rollouts are unscored and in no bucket: {source} 2." in err
    assert "1 of 6 scores is missing" in err


def test_rerun_removes_what_it_no_longer_writes(tmp_path: Path, bucket: Script) -> None:
    write_jsonl(tmp_path / "in/a.jsonl", [*graded(0, 0.2, 0.4, 0.6, 0.8), rollout(None)])
    out = tmp_path / "out"
    assert bucket("-i", tmp_path / "in", "-o", out, "-n", 5)[0] == 0
    (out / "notes.txt").write_text("mine")
    write_jsonl(tmp_path / "in/a.jsonl", graded(0, 0.2, 0.4))
    assert bucket("-i", tmp_path / "in", "-o", out, "-n", 3)[0] == 0
    assert sorted(tree(out)) == [
        "bucketing.json", "easy.jsonl", "hard.jsonl", "medium.jsonl", "notes.txt",
    ]  # fmt: skip
    assert not (out / "rejected").exists()


def test_every_bucket_has_a_file_an_empty_one_too(tmp_path: Path, bucket: Script) -> None:
    write_jsonl(tmp_path / "in/a.jsonl", graded(1, 1, 0))
    code, _, err = bucket("-i", tmp_path / "in", "-o", tmp_path / "out")
    assert code == 0
    assert (tmp_path / "out/medium.jsonl").read_bytes() == b""
    assert (
        "medium is empty: there are only 2 distinct values of mean_reward for 3 buckets. Use -n 2"
        in err
    )


def test_lopsided_bucket_is_explained(tmp_path: Path, bucket: Script) -> None:
    write_jsonl(tmp_path / "in/a.jsonl", graded(*[0] * 7, 0.5, 0.75, 1))
    _, _, err = bucket("-i", tmp_path / "in", "-o", tmp_path / "out")
    assert "easy 20.0%, medium 10.0%, hard 70.0% of the rollouts, instead of 33.3%" in err
    assert "Rollouts with the same value stay together, and 7 have mean_reward 0." in err
    assert "--ties split" in err
    _, _, err = bucket("-i", tmp_path / "in", "-o", tmp_path / "out", "--ties", "split")
    assert "instead of" not in err


def test_bucket_that_nobody_solved_is_announced(tmp_path: Path, bucket: Script) -> None:
    rollouts = [rollout(1, 1), rollout(1, 0), rollout(0, 0)]
    write_jsonl(tmp_path / "in/a.jsonl", rollouts)
    _, _, err = bucket("-i", tmp_path / "in", "-o", tmp_path / "out")
    assert (
        "hard holds only prompts that nobody solved: --filter passing_only and informative_only"
        in err
    )
    write_jsonl(tmp_path / "in/a.jsonl", [*rollouts[:2], rollout(0, 0.25)])
    _, _, err = bucket("-i", tmp_path / "in", "-o", tmp_path / "out")
    assert "--filter passing_only will leave it empty" in err


def test_variance_is_called_no_order_of_difficulty(tmp_path: Path, bucket: Script) -> None:
    write_jsonl(tmp_path / "in/a.jsonl", [rollout(0, 0), rollout(1, 0), rollout(1, 0.5)])
    _, out, err = bucket("-i", tmp_path / "in", "-o", tmp_path / "out", "-m", "variance")
    assert "variance (higher is harder)" in out
    assert "1 of the 1 rollout in easy has no pass" in err


def test_ties_split_makes_equal_parts_that_do_not_depend_on_the_files(
    tmp_path: Path, bucket: Script
) -> None:
    rollouts = graded(*[0] * 9)
    write_jsonl(tmp_path / "one/a.jsonl", rollouts)
    write_jsonl(tmp_path / "two/a.jsonl", rollouts[5:])
    write_jsonl(tmp_path / "two/b.jsonl", rollouts[:5])
    for name in ("one", "two"):
        flags = ("-o", tmp_path / f"out-{name}", "--ties", "split")
        assert bucket("-i", tmp_path / name, *flags)[0] == 0
    for name in ("easy", "medium", "hard"):
        one, two = (lines(tmp_path / f"out-{side}/{name}.jsonl") for side in ("one", "two"))
        assert len(one) == 3
        assert sorted(one) == sorted(two)


def test_thresholds_and_names(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "in/a.jsonl", graded(0.3, 0.7, 0.71, 0.1, 0.31))
    flags = ("--thresholds", 0.3, 0.7, "--bucket-names", "low", "medium", "high")
    code, out, _ = bucket("-i", tmp_path / "in", "-o", tmp_path / "out", *flags)
    assert code == 0
    line = lines(source)
    assert (tmp_path / "out/low.jsonl").read_bytes() == line[0] + line[3]
    assert (tmp_path / "out/medium.jsonl").read_bytes() == line[1] + line[4]
    assert (tmp_path / "out/high.jsonl").read_bytes() == line[2]
    manifest = json.loads((tmp_path / "out/bucketing.json").read_text())
    assert [b["name"] for b in manifest["buckets"]] == ["high", "medium", "low"]
    assert "cut at 0.3, 0.7" in out


def test_empty_interval_is_explained(tmp_path: Path, bucket: Script) -> None:
    write_jsonl(tmp_path / "in/a.jsonl", graded(0.1, 0.2, 0.9))
    _, _, err = bucket("-i", tmp_path / "in", "-o", tmp_path / "out", "--thresholds", 0.3, 0.7)
    assert "medium is empty: mean_reward runs from 0.1 to 0.9" in err


def test_compressed_input_gives_the_same_buckets(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "plain/a.jsonl", [*graded(0, 0.5, 1), rollout(None)])
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed/a.jsonl.gz").write_bytes(gzip.compress(source.read_bytes()))
    for name in ("plain", "packed"):
        assert bucket("-i", tmp_path / name, "-o", tmp_path / f"out-{name}")[0] == 0
    plain, packed = tree(tmp_path / "out-plain"), tree(tmp_path / "out-packed")
    for manifest in (plain, packed):
        del manifest["bucketing.json"], manifest["rejected/reasons.jsonl"]
    assert plain == packed


def test_files_are_taken_in_sorted_order_whatever_the_flags(tmp_path: Path, bucket: Script) -> None:
    a = write_jsonl(tmp_path / "a.jsonl", graded(0))
    b = write_jsonl(tmp_path / "b.jsonl", graded(0, 0)[1:])
    assert bucket("-i", b, "-i", a, b, "-o", tmp_path / "out", "-n", 1)[0] == 0
    assert (tmp_path / "out/level_1.jsonl").read_bytes() == a.read_bytes() + b.read_bytes()


@pytest.mark.slow
@given(
    scores=st.lists(
        st.lists(st.sampled_from([0, 0.5, 1, None]), max_size=4), min_size=1, max_size=12
    ),
    metric=st.sampled_from(sorted(METRICS)),
    n=st.integers(1, 5),
    ties=st.sampled_from(["together", "split"]),
    files=st.integers(1, 3),
)
def test_every_rollout_lands_in_one_place(tmp_path_factory, scores, metric, n, ties, files) -> None:
    directory = tmp_path_factory.mktemp("run")
    rollouts = [rollout(*s, num=i) for i, s in enumerate(scores)]
    for i in range(files):
        write_jsonl(directory / f"in/{i}.jsonl", rollouts[i::files])
    options = BucketOptions(
        [str(directory / "in")],
        str(directory / "out"),
        metric,
        n,
        k=2 if metric == "pass_at_k" else None,
        ties=ties,
    )
    values = METRICS[metric].values(Scores.of(scores), MetricParameters(k=2))
    if np.isnan(values).all():
        with pytest.raises(Exception, match="expected"):
            bucket_rollouts(options)
        assert not (directory / "out").exists()
        return
    manifest = bucket_rollouts(options).manifest
    held = [lines(directory / "out" / b.file) for b in manifest.buckets]
    rejected = directory / "out/rejected/unscored.jsonl"
    unscored = lines(rejected) if rejected.exists() else []
    read = [line for i in range(files) for line in lines(directory / f"in/{i}.jsonl")]
    assert sorted([line for part in held for line in part] + unscored) == sorted(read)
    numbers = [[json.loads(line)["num"] for line in part] for part in held]
    harder = -values if METRICS[metric].higher_is_easier else values
    ordered = [harder[i] for part in numbers for i in sorted(part, key=lambda i: harder[i])]
    assert ordered == sorted(ordered)
    order = {num: at for at, num in enumerate(json.loads(line)["num"] for line in read)}
    assert all([order[i] for i in part] == sorted(order[i] for i in part) for part in numbers)


@pytest.mark.parametrize("shard_bytes", [1, 100, 10_000])
def test_scan_does_not_depend_on_shards(tmp_path: Path, shard_bytes: int) -> None:
    rng = random.Random(0)
    write_jsonl(tmp_path / "a.jsonl", [rollout(*rng.choices([0, 1, None], k=4)) for _ in range(40)])
    files = find_files({str(tmp_path): tmp_path})

    def scan(size: int) -> tuple[bytes, ...]:
        found = [
            scan_shard(ScanTask(s, "score", METRICS["mean_reward"], MetricParameters(), True))
            for s in cut_shards(files, size)
        ]
        names = ("values", "means", "hashes")
        lines = [(f.lines.lengths, f.lines.kinds) for f in found]
        columns = [*zip(*lines, strict=True), *([getattr(f, n) for f in found] for n in names)]
        return tuple(np.concatenate(column).tobytes() for column in columns)

    assert scan(shard_bytes) == scan(1 << 20)


BAD = b'{"reward": [1]}\n{"reward": [{"score": "n/a"}]}\n{"reward": [1]\n'


def test_malformed_lines_stop_the_run_before_anything_is_written(
    tmp_path: Path, bucket: Script
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jsonl").write_bytes(BAD + b"[]\n" * 12)
    code, out, err = bucket("-i", tmp_path / "in", "-o", tmp_path / "out")
    assert (code, out) == (1, "")
    assert not (tmp_path / "out").exists()
    assert f'{tmp_path}/in/a.jsonl:2: a score is not a number: reward[0].score is "n/a"' in err
    assert f"{tmp_path}/in/a.jsonl:3: not valid JSON" in err
    assert "14 malformed lines (12 × not a JSON object, 1 × a score is not a number, " in err
    assert "… and 4 more" in err
    assert "nothing was written" in err
    assert "Traceback" not in err


def test_failed_run_leaves_the_old_output(tmp_path: Path, bucket: Script) -> None:
    write_jsonl(tmp_path / "in/a.jsonl", graded(0, 1, 0.5))
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "out")[0] == 0
    before = tree(tmp_path / "out")
    (tmp_path / "in/a.jsonl").write_bytes(BAD)
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "out")[0] == 1
    assert tree(tmp_path / "out") == before


USAGE = {
    "unknown metric": (("-m", "median"), "--metric: there is no 'median', expected one of mean"),
    "no buckets": (("-n", 0), "--num-buckets: the number is 0, expected 1 or more"),
    "names": (("-n", 2, "--bucket-names", "a"), "--bucket-names: 1 name (a) for 2 buckets"),
    "descending": (("--thresholds", 0.7, 0.3), "--thresholds: the thresholds are 0.7 0.3, exp"),
    "repeated": (("--thresholds", 0.3, 0.3), "strictly ascending"),
    "infinite": (("--thresholds", "inf"), "finite metric values"),
    "both": (("--thresholds", 0.3, "-n", 3), "--thresholds: 1 threshold beside --num-buckets 3"),
    "direction": (
        ("--thresholds", 0.3, 0.7, "--bucket-names", "hard", "medium", "easy"),
        "write --bucket-names easy medium hard",
    ),
    "k": (("--k", 0), "--k: the number is 0"),
    "ties": (("--ties", "maybe"), "--ties: there is no 'maybe', expected one of together, split"),
    "ties of thresholds": (("--thresholds", 0.3, "--ties", "split"), "expected one of the two"),
    "pass threshold": (("--pass-threshold", "nan"), "--pass-threshold: the score is nan"),
    "score field": (("--score-field", ""), "--score-field: the name is empty"),
    "quoted field": (("--score-field", 'a"b'), "--score-field: the name is"),
    "no number": (("-n", "three"), "-n: the value is 'three', expected a whole number"),
    "unknown flag": (("--frobnicate",), "--frobnicate: there is no such flag"),
}


@pytest.mark.parametrize(("flags", "message"), USAGE.values(), ids=USAGE)
def test_wrong_flags_exit_2_before_any_data_is_read(
    tmp_path: Path, bucket: Script, flags: tuple, message: str
) -> None:
    code, out, err = bucket("-i", tmp_path / "not there", "-o", tmp_path / "out", *flags)
    assert (code, out) == (2, "")
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_missing_flags_exit_2(bucket: Script) -> None:
    assert bucket()[0] == 2


def refused(found: tuple[int, str, str], message: str) -> None:
    code, out, err = found
    assert (code, out) == (1, "")
    assert message in err
    assert err.startswith("error: ")
    assert ", expected " in err
    assert ";\n" in err


def test_what_the_disk_says_exits_1(tmp_path: Path, bucket: Script) -> None:
    out = tmp_path / "out"
    source = write_jsonl(tmp_path / "in/a.jsonl", graded(0, 1))
    refused(bucket("-i", tmp_path / "gone", "-o", out), f"{tmp_path}/gone: no such file")
    (tmp_path / "none").mkdir()
    refused(bucket("-i", tmp_path / "none", "-o", out), "holds no rollout files")
    (tmp_path / "none/a.jsonl").write_bytes(b"\n\n")
    refused(bucket("-i", tmp_path / "none", "-o", out), "there are no rollouts in these files")
    refused(bucket("-i", tmp_path / "in", "-o", source), "this is a file")
    refused(bucket("-i", tmp_path / "in", "-o", source / "x"), f"{source} is a file")
    refused(bucket("-i", tmp_path / "in", "-o", tmp_path / "in"), "is an input directory")
    refused(bucket("-i", source, "-o", out, "--score-field", "V_i"), "in reward[i].V_i")
    flags = ("-m", "pass_at_k", "--k", 2)
    refused(bucket("-i", source, "-o", out, *flags), "undefined for all 2 rollouts")
    assert not out.exists()


def test_output_never_replaces_its_own_input(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "data/easy.jsonl", graded(0, 1, 0.5))
    before = source.read_bytes()
    found = bucket("-i", source, "-o", tmp_path / "data")
    refused(found, f"{source}: this input file would be replaced")
    (tmp_path / "link").symlink_to("data")
    refused(bucket("-i", source, "-o", tmp_path / "link"), "would be replaced by the output")
    assert tree(tmp_path / "data") == {"easy.jsonl": before}


def test_files_of_others_are_not_replaced(tmp_path: Path, bucket: Script) -> None:
    write_jsonl(tmp_path / "in/a.jsonl", graded(0, 1, 0.5))
    mine = write_jsonl(tmp_path / "out/hard.jsonl", graded(1))
    refused(bucket("-i", tmp_path / "in", "-o", tmp_path / "out"), f"{mine}: this file is there")
    assert list(tree(tmp_path / "out")) == ["hard.jsonl"]
    (tmp_path / "out/bucketing.json").write_text("{}")
    refused(bucket("-i", tmp_path / "in", "-o", tmp_path / "out"), "not a manifest of this toolkit")


def test_quiet_says_nothing_but_warnings(tmp_path: Path, bucket: Script) -> None:
    write_jsonl(tmp_path / "in/a.jsonl", graded(0, 1))
    code, out, err = bucket("-i", tmp_path / "in", "-o", tmp_path / "out", "--quiet")
    assert (code, out) == (0, "")
    assert err.startswith("warning: medium is empty")


def test_debug_shows_the_traceback_and_keeps_the_exit_code(tmp_path: Path, bucket: Script) -> None:
    flags = ("-i", tmp_path / "gone", "-o", tmp_path / "out", "--debug")
    for more, expected in (((), 1), (("-n", 0), 2)):
        code, _, err = bucket(*flags, *more)
        assert code == expected
        assert err.startswith("Traceback")
        assert "\nerror: " in err


def test_reader_that_has_gone_and_a_full_disk_undo_nothing(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", graded(0, 1, 0.5))
    script = f"{sys.executable} {ROOT}/bucket_rollouts_by_difficulty.py -i {source} -o {tmp_path}"
    for name, end in (("pipe", "| true"), ("full", "> /dev/full"), ("ascii", "> /dev/null")):
        command = f"set -o pipefail; {script}/{name} --bucket-names leicht größer schwer {end}"
        done = subprocess.run(
            ["bash", "-c", command],
            env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert (tmp_path / name / "größer.jsonl").is_file()


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="argparse words its help anew there")
@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_a_contract(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert help_text(script) == (ROOT / f"tests/golden/{script}.help.txt").read_text()


def test_version(bucket: Script) -> None:
    from curriculum import __version__

    code, out, _ = bucket("--version")
    assert (code, out.split()[1]) == (0, f"{__version__},")


@pytest.mark.parametrize(("shard_bytes", "block_bytes"), [(1 << 20, 50), (60, 1 << 20)])
def test_malformed_line_has_its_number_in_later_blocks_and_shards(
    tmp_path: Path,
    bucket: Script,
    monkeypatch: pytest.MonkeyPatch,
    shard_bytes: int,
    block_bytes: int,
) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"reward": [1]}\n\n' * 20 + b"{}\n")
    monkeypatch.setattr("curriculum.reading.input_files.SHARD_BYTES", shard_bytes)
    monkeypatch.setattr("curriculum.reading.blocks.BLOCK_BYTES", block_bytes)
    _, _, err = bucket("-i", tmp_path / "a.jsonl", "-o", tmp_path / "out")
    assert f'{tmp_path}/a.jsonl:41: no "reward"' in err


def test_file_that_changes_during_the_run_is_refused(
    tmp_path: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", graded(0, 1, 0.5))

    def touch_and_cut(*given: Any) -> Any:
        data = source.read_bytes()
        source.unlink()
        source.write_bytes(data)
        return cut_at(*given)

    monkeypatch.setattr("curriculum.cutting.cut_values.cut_at", touch_and_cut)
    code, _, err = bucket("-i", source, "-o", tmp_path / "out")
    assert (code, "a.jsonl: the file changed while it was read" in err) == (1, True)
    assert not (tmp_path / "out").exists()


def test_mean_score_is_shown_beside_the_metric(tmp_path: Path, bucket: Script) -> None:
    write_jsonl(tmp_path / "a.jsonl", [rollout(1, 0.25), rollout(0.5, 0)])
    _, out, _ = bucket("-i", tmp_path / "a.jsonl", "-o", tmp_path / "out", "-m", "max_reward")
    easy, _ = [line.split() for line in out.splitlines() if line.startswith("easy")]
    assert easy[-2:] == ["1", "0.625"]


def test_small_bucket_beside_a_tie_is_told_but_not_one_of_few_rollouts(
    tmp_path: Path, bucket: Script
) -> None:
    write_jsonl(tmp_path / "a.jsonl", graded(*[0.5] * 8, 1, *[0.1] * 6))
    _, _, err = bucket("-i", tmp_path / "a.jsonl", "-o", tmp_path / "out")
    assert "easy 6.7%, medium 53.3% of the rollouts, instead of 33.3%" in err
    write_jsonl(tmp_path / "a.jsonl", graded(0.1, 0.2, 0.3, 0.4, 0.5))
    _, _, err = bucket("-i", tmp_path / "a.jsonl", "-o", tmp_path / "out")
    assert "instead of" not in err


def test_more_buckets_than_rollouts_is_told_shortly(tmp_path: Path, bucket: Script) -> None:
    write_jsonl(tmp_path / "a.jsonl", graded(*[0.5] * 4))
    flags = ("-o", tmp_path / "out", "-n", 40)
    _, _, err = bucket("-i", tmp_path / "a.jsonl", *flags, "--ties", "split")
    assert "and 26 more are empty: every rollout has mean_reward 0.5." in err


@pytest.mark.parametrize("name", ["gone.jsonl", "empty.jsonl.gz"])
def test_nothing_in_a_directory_is_passed_over_silently(
    tmp_path: Path, bucket: Script, name: str
) -> None:
    write_jsonl(tmp_path / "in/a.jsonl", graded(0, 1))
    path = tmp_path / "in" / name
    path.write_bytes(b"") if name.startswith("empty") else path.symlink_to("nowhere")
    code, _, err = bucket("-i", tmp_path / "in", "-o", tmp_path / "out")
    assert (code, f"{path}: cannot be read" in err) == (1, True)
