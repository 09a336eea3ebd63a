"""The guide's commands as written, the pipeline script, and the examples, as real processes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.rollouts import PYTHON, ROOT, SHARED, rollout, rows, write_jsonl
from tests.storage.object_store import Store

pytestmark = pytest.mark.slow

GUIDE = SHARED / "CURRICULUM_PIPELINE_GUIDE.md"
# Trains nothing: notes its arguments and fails where a real trainer would.
TRAIN = """
import sys
import pyarrow.parquet as pq
flags = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert pq.read_metadata(flags["--data"]).num_rows > 0
for flag in ("--load",):
    assert flag not in flags or open(flags[flag]).read() == "weights"
for flag in ("--output", "--checkpoint"):
    if flag in flags:
        open(flags[flag], "w").write("weights")
open("trained.txt", "a").write(" ".join(sys.argv[1:]) + "\\n")
"""
GENERATE = """
import sys
sys.path.insert(0, {examples!r})
import generate_rollouts
for directory in ("rollouts", "code_rollouts"):
    generate_rollouts.main(["-o", directory])
"""


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A user's working directory: the scripts, a trainer, a `python` that is this one."""
    for name in (
        "bucket_rollouts_by_difficulty.py", "preprocess_bucketed_rollouts.py",
        "run_curriculum_pipeline.sh", "curriculum", "examples",
    ):  # fmt: skip
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "evaluate.py").write_text(TRAIN)
    (tmp_path / "generate_rollouts.py").write_text(GENERATE.format(examples=str(ROOT / "examples")))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").write_text(PYTHON)
    (tmp_path / "bin/python").chmod(0o755)
    return tmp_path


def run(directory: Path, *command: str, code: int = 0) -> tuple[str, str]:
    """Run a command in a directory; what it printed."""
    environment = {**os.environ, "PATH": f"{directory / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def blocks(page: Path) -> list[str]:
    """The bash blocks of a page."""
    return re.findall(r"^```bash\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def without_sizes(text: str) -> str:
    """The text without sizes of parquet files, which follow the version of the writer."""
    return re.sub(r" +[\d.]+ [kM]?B +\S+ [\d.]+%", " SIZE", text)


def trained(directory: Path) -> list[str]:
    return (directory / "trained.txt").read_text().splitlines()


@pytest.mark.skipif(not GUIDE.is_file(), reason="the user's guide is not here")
def test_every_block_of_the_guide_runs_as_written(scratch: Path) -> None:
    found = blocks(GUIDE)
    assert len(found) == 13
    for block in found:
        run(scratch, "bash", "-euo", "pipefail", "-c", block)
    promised = {
        "bucketed": ["easy.jsonl", "medium.jsonl", "hard.jsonl"],
        "preprocessed": [f"{b}_{s}.parquet" for b in ("easy", "medium", "hard")
                         for s in ("train", "val")],
        "progressive": ["phase2_train.parquet", "phase3_train.parquet"],
        "preprocessed_5stage": [f"stage{i}_train.parquet" for i in range(1, 6)],
        "cumulative": [f"cumulative_stage{i}_train.parquet" for i in (1, 2, 3)],
        "custom_buckets": ["low.jsonl", "medium.jsonl", "high.jsonl"],
        "preprocessed/cumulative": ["stage1_and_2_train.parquet"],
    }  # fmt: skip
    for directory, names in promised.items():
        assert [name for name in names if not (scratch / directory / name).is_file()] == []


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_our_pages_run_and_print_what_is_shown(
    scratch: Path, page: Path, request: pytest.FixtureRequest
) -> None:
    run(scratch, "python", "generate_rollouts.py")
    if page.name == "CLUSTERS.md":
        request.getfixturevalue("cluster")
        store = Store(request.getfixturevalue("s3"), "my-bucket")
        store.request("PUT", store.bucket)
        for path in (scratch / "rollouts").iterdir():
            store.put(f"rollouts/{path.name}", path.read_bytes())
    printed = ""
    for block in blocks(page):
        out, err = run(scratch, "bash", "-euo", "pipefail", "-c", block)
        printed += out + err
    shown = re.findall(r"^```text\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(shown) == {"README.md": 2, "DIFFICULTY.md": 4, "DUMPS.md": 1}.get(page.name, 0)
    for text in shown:
        assert without_sizes(text) in without_sizes(printed)


def test_pictures_are_those_that_their_script_draws(scratch: Path) -> None:
    image = pytest.importorskip("matplotlib.image", reason="the extra plot installs it")
    run(scratch, "bash", ROOT / "docs/draw_pictures.sh", "drawn")
    shown = set(re.findall(r"\(pictures/(.*)\)", (ROOT / "docs/DIFFICULTY.md").read_text("utf-8")))
    kept, drawn = ROOT / "docs/pictures", scratch / "drawn"
    assert (
        {path.name for path in drawn.iterdir()} == {path.name for path in kept.iterdir()} == shown
    )
    for name in shown:
        one, other = (image.imread(directory / name) for directory in (kept, drawn))
        assert one.shape == other.shape
        # Other versions of matplotlib draw letters another way; other bars would be 0.03 and more.
        assert abs(one - other).mean() < 0.02


def test_pipeline_script_without_flags_follows_the_guide(scratch: Path) -> None:
    run(scratch, "python", "generate_rollouts.py")
    out, _ = run(scratch, "bash", "run_curriculum_pipeline.sh")
    assert trained(scratch) == [
        "--data ./preprocessed/easy_train.parquet --output stage1.ckpt",
        "--data ./preprocessed/stage1_and_2_train.parquet --load stage1.ckpt --output stage2.ckpt",
        "--data ./preprocessed/hard_train.parquet --load stage2.ckpt --output final.ckpt",
    ]
    assert (scratch / "preprocessed/stage1_to_3_train.parquet").is_file()
    steps = re.findall(r"^Step \d|^Pipeline complete!", out, re.M)
    assert steps == ["Step 1", "Step 2", "Step 3", "Pipeline complete!"]


def test_pipeline_script_with_every_flag_and_spaces(scratch: Path) -> None:
    (scratch / "train.py").rename(scratch / "my trainer.py")
    run(scratch, "python", "generate_rollouts.py")
    (scratch / "rollouts").rename(scratch / "my rollouts")
    run(
        scratch, "bash", "run_curriculum_pipeline.sh", "-i", "my rollouts", "-o", "my out",
        "--stages", "warm up,core,hard tail,rest", "-m", "success_rate", "-f", "informative_only",
        "--train", "python 'my trainer.py' --note 'a b'",
    )  # fmt: skip
    assert trained(scratch) == [
        "--note a b --data my out/preprocessed/warm up_train.parquet --output my out/stage1.ckpt",
        "--note a b --data my out/preprocessed/stage1_and_2_train.parquet "
        "--load my out/stage1.ckpt --output my out/stage2.ckpt",
        "--note a b --data my out/preprocessed/stage1_to_3_train.parquet "
        "--load my out/stage2.ckpt --output my out/stage3.ckpt",
        "--note a b --data my out/preprocessed/rest_train.parquet "
        "--load my out/stage3.ckpt --output my out/final.ckpt",
    ]
    found = rows(scratch / "my out/preprocessed/stage1_to_4_train.parquet")
    metrics = [row["extra_info"]["difficulty_metrics"] for row in found]
    assert {m["metric"] for m in metrics} == {"success_rate"}
    assert all(m["max_score"] > m["min_score"] for m in metrics)


def test_pipeline_script_sets_malformed_lines_aside(scratch: Path) -> None:
    found = write_jsonl(scratch / "rollouts/a.jsonl", [rollout(1), rollout(0, prompt="b")])
    found.write_text(found.read_text() + '{"reward": [1]}\n{"cut')
    command = ("bash", "run_curriculum_pipeline.sh", "-n", "2", "-o", "out")
    _, err = run(scratch, *command, code=1)
    assert "1 malformed line" in err
    run(scratch, *command, "--on-malformed", "set-aside")
    assert (scratch / "out/bucketed/rejected/malformed.jsonl").read_text() == '{"cut\n'
    no_prompt = (scratch / "out/preprocessed/rejected/malformed.jsonl").read_text()
    assert no_prompt == '{"reward": [1]}\n'


@pytest.mark.parametrize("flags", [("-n", "2"), ("--stages", "2"), ("--stages", "easy hard")])
def test_pipeline_script_prints_the_commands_without_a_trainer(
    scratch: Path, flags: tuple[str, str]
) -> None:
    (scratch / "train.py").unlink()
    run(scratch, "python", "generate_rollouts.py")
    out, _ = run(scratch, "bash", "run_curriculum_pipeline.sh", "-o", "a b", *flags)
    printed = [line for line in out.splitlines() if line.startswith("python train.py")]
    assert printed == [
        r"python train.py --data a\ b/preprocessed/easy_train.parquet --output a\ b/stage1.ckpt",
        r"python train.py --data a\ b/preprocessed/hard_train.parquet --load a\ b/stage1.ckpt "
        r"--output a\ b/final.ckpt",
    ]


@pytest.mark.parametrize(
    ("filter", "skipped"), [("passing_only", {3}), ("informative_only", {1, 3})]
)
def test_pipeline_script_skips_stages_without_rows(
    scratch: Path, filter: str, skipped: set[int]
) -> None:
    scores = ((1, 1), (1, 0), (0, 0))
    rollouts = [rollout(*scores[i % 3], prompt=f"p{i}") for i in range(60)]
    write_jsonl(scratch / "rollouts/a.jsonl", rollouts)
    out, _ = run(scratch, "bash", "run_curriculum_pipeline.sh", "-f", filter)
    assert {int(n) for n in re.findall(r"^stage (\d) has no train rows", out, re.M)} == skipped
    assert len(trained(scratch)) == 3 - len(skipped)
    assert trained(scratch)[-1].endswith("--output final.ckpt")


def test_pipeline_script_skips_a_cumulative_set_without_rows(scratch: Path) -> None:
    scores = ((1, 1), (1, 1), (0.5, 0.5), (1, 0))
    rollouts = [rollout(*scores[i % 4], prompt=f"p{i}") for i in range(60)]
    write_jsonl(scratch / "rollouts/a.jsonl", rollouts)
    flags = ("-m", "min_reward", "-f", "informative_only")
    _, err = run(scratch, "bash", "run_curriculum_pipeline.sh", *flags)
    assert "stage1_and_2 has no train rows" in err
    assert len(trained(scratch)) == 1


def test_failing_step_stops_the_pipeline(scratch: Path) -> None:
    out, err = run(scratch, "bash", "run_curriculum_pipeline.sh", code=1)
    assert err.startswith("error: ./rollouts: no such file")
    assert "Step 2" not in out
    run(scratch, "python", "generate_rollouts.py")
    out, _ = run(scratch, "bash", "run_curriculum_pipeline.sh", "-t", "false", code=1)
    assert "Step 3" in out
    assert "Pipeline complete!" not in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--frobnicate",), "unknown option --frobnicate"),
        (("-n",), "-n needs a value"),
        (("--stages", "a b", "-n", "3"), "--stages asks for 2 buckets, -n for 3"),
    ],
)
def test_pipeline_script_refuses_wrong_flags(scratch: Path, flags, message) -> None:
    _, err = run(scratch, "bash", "run_curriculum_pipeline.sh", *flags, code=2)
    assert message in err


def test_pipeline_script_explains_itself(scratch: Path) -> None:
    out, _ = run(scratch, "bash", "run_curriculum_pipeline.sh", "-h")
    for flag in ("-i", "-o", "-n", "-m", "-f", "--stages", "-t", "--train", "-h"):
        assert f"{flag}," in out or f" {flag} " in out


def test_demo_ends_with_a_row(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".venv", ".git", "demo", ".*cache"))
    (copy / "bin").mkdir()
    (copy / "bin/python").write_text(PYTHON)
    (copy / "bin/python").chmod(0o755)
    out, _err = run(copy, "bash", "examples/demo.sh")
    assert '"curriculum_stage": "hard"' in out
    assert "rollouts in 3 buckets by mean_reward" in out


def test_library_example_runs_part_by_part(scratch: Path) -> None:
    run(scratch, "python", "generate_rollouts.py")
    for part in ("bucket", "preprocess", "metrics", "own_metric", "compare", "score_table"):
        out, _ = run(scratch, "python", "examples/example_bucketing_usage.py", part)
        assert out.startswith(f"\n{part}: ")
        assert len(out.splitlines()) > 3
    _, err = run(scratch, "python", "examples/example_bucketing_usage.py", "nothing", code=2)
    assert "no part nothing" in err
