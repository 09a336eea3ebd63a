"""The guide's commands as written, the pipeline script, and the examples, as real processes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from examples import generate_rollouts
from tests.helpers.rollouts import PYTHON, ROOT, SHARED, rollout, rows, tree, write_jsonl
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


needs_guide = pytest.mark.skipif(not GUIDE.is_file(), reason="the user's guide is not here")


@pytest.fixture(scope="session")
def sample_rollouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What GENERATE makes in a user's working directory."""
    directory = tmp_path_factory.mktemp("samples")
    for name in ("rollouts", "code_rollouts"):
        generate_rollouts.main(["-o", str(directory / name)])
    return directory


@pytest.fixture
def samples(scratch: Path, sample_rollouts: Path) -> None:
    """A working directory with sample rollouts."""
    shutil.copytree(sample_rollouts, scratch, dirs_exist_ok=True)


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


def run(directory: Path, *command: str, code: int = 0, path: Path | None = None) -> tuple[str, str]:
    """Run a command in a directory; what it printed."""
    environment = {**os.environ, "PATH": f"{path or directory / 'bin'}:{os.environ['PATH']}"}
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
    sizes = re.sub(r" +[\d.]+ [kM]?B\b", " SIZE", text)
    return re.sub(" +", " ", sizes)


def without_bytecode(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files but for what Python keeps of the scripts, unless it is told not to."""
    return {name: data for name, data in files.items() if "__pycache__" not in name}


def trained(directory: Path) -> list[str]:
    return (directory / "trained.txt").read_text().splitlines()


@needs_guide
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


@pytest.mark.usefixtures("samples")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_our_pages_run_and_print_what_is_shown(
    scratch: Path, page: Path, request: pytest.FixtureRequest
) -> None:
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
    counts = {"README.md": 2, "DIFFICULTY.md": 4, "DUMPS.md": 1, "ROUNDS.md": 3}
    assert len(shown) == counts.get(page.name, 0)
    for text in shown:
        assert without_sizes(text) in without_sizes(printed)


def test_pictures_are_those_that_their_script_draws(scratch: Path) -> None:
    image = pytest.importorskip("matplotlib.image", reason="the extra plot installs it")
    run(scratch, "bash", ROOT / "docs/draw_pictures.sh", "drawn")
    pages = (ROOT / "docs/DIFFICULTY.md", ROOT / "README.md")
    shown = {
        name
        for page in pages
        for name in re.findall(r"\((?:docs/)?pictures/(.*)\)", page.read_text("utf-8"))
    }
    kept, drawn = ROOT / "docs/pictures", scratch / "drawn"
    assert (
        {path.name for path in drawn.iterdir()} == {path.name for path in kept.iterdir()} == shown
    )
    for name in shown:
        one, other = (image.imread(directory / name) for directory in (kept, drawn))
        assert one.shape == other.shape
        # Other versions of matplotlib draw letters another way; other bars would be 0.03 and more.
        assert abs(one - other).mean() < 0.02


@pytest.mark.usefixtures("samples")
def test_pipeline_script_without_flags_follows_the_guide(scratch: Path) -> None:
    out, _ = run(scratch, "bash", "run_curriculum_pipeline.sh")
    both = "./preprocessed/cumulative/stage1_and_2_train.parquet"
    assert trained(scratch) == [
        "--data ./preprocessed/easy_train.parquet --output stage1.ckpt",
        f"--data {both} --load stage1.ckpt --output stage2.ckpt",
        "--data ./preprocessed/hard_train.parquet --load stage2.ckpt --output final.ckpt",
    ]
    assert (scratch / "preprocessed/cumulative/stage1_to_3_train.parquet").is_file()
    steps = re.findall(r"^Step \d|^Pipeline complete!|^Stage.*", out, re.M)
    assert steps == [
        "Step 1", "Step 2", "Step 3", "Stage 1 of 3: training on easy...",
        "Stage 2 of 3: training on easy, medium...", "Stage 3 of 3: training on hard...",
        "Pipeline complete!",
    ]  # fmt: skip
    shown = out[out.index("Step 3") : out.index("Stage 1")].splitlines()
    assert shown[1:4] == [
        "  stage 1  easy          ./preprocessed/easy_train.parquet",
        f"  stage 2  easy, medium  {both}",
        "  stage 3  hard          ./preprocessed/hard_train.parquet",
    ]
    assert shown[4].startswith("The last stage trains on hard alone: ")


@pytest.mark.usefixtures("samples")
@needs_guide
def test_pipeline_script_and_that_of_the_guide_do_the_same(scratch: Path) -> None:
    """Each also over what the other made."""
    guide = next(block for block in blocks(GUIDE) if "#!/bin/bash" in block)
    made = []
    for script in (guide, "bash run_curriculum_pipeline.sh", guide):
        run(scratch, "bash", "-euo", "pipefail", "-c", script)
        made.append(tree(scratch / "preprocessed"))
    lines = trained(scratch)
    assert lines == lines[:3] * 3
    assert {name: data for name, data in made[1].items() if name in made[0]}.keys() == made[
        0
    ].keys()
    assert made[1] == made[2]


@pytest.mark.usefixtures("samples")
def test_pipeline_script_with_every_flag_and_spaces(scratch: Path) -> None:
    (scratch / "train.py").rename(scratch / "my trainer.py")
    (scratch / "rollouts").rename(scratch / "my rollouts")
    run(
        scratch, "bash", "run_curriculum_pipeline.sh", "-i", "my rollouts", "-o", "my out",
        "--stages", "warm up, core, hard tail, rest", "-m", "success_rate",
        "-f", "informative_only", "--data-source", "a 'b' $c", "--val-ratio", "0.2",
        "--scores", "my scores.parquet", "--train", "python 'my trainer.py' --note 'a b'",
    )  # fmt: skip
    sets = "my out/preprocessed/"
    assert trained(scratch) == [
        f"--note a b --data {sets}warm up_train.parquet --output my out/stage1.ckpt",
        f"--note a b --data {sets}cumulative/stage1_and_2_train.parquet "
        "--load my out/stage1.ckpt --output my out/stage2.ckpt",
        f"--note a b --data {sets}cumulative/stage1_to_3_train.parquet "
        "--load my out/stage2.ckpt --output my out/stage3.ckpt",
        f"--note a b --data {sets}rest_train.parquet "
        "--load my out/stage3.ckpt --output my out/final.ckpt",
    ]
    found = rows(scratch / sets / "cumulative/stage1_to_4_train.parquet")
    metrics = [row["extra_info"]["difficulty_metrics"] for row in found]
    assert {m["metric"] for m in metrics} == {"success_rate"}
    assert all(m["max_score"] > m["min_score"] for m in metrics)
    assert {row["data_source"] for row in found} == {"a 'b' $c"}
    assert (scratch / "my scores.parquet").is_file()


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


@pytest.mark.usefixtures("samples")
def test_pipeline_script_with_solved_and_unsolved_apart(scratch: Path) -> None:
    flags = ("--solved-unsolved", "--k", "2", "-m", "pass_at_k", "--quiet")
    out, _ = run(scratch, "bash", "run_curriculum_pipeline.sh", *flags)
    assert "No stage trains on solved and unsolved: " in out
    assert [line.split()[1] for line in trained(scratch)] == [
        "./preprocessed/easy_train.parquet",
        "./preprocessed/cumulative/stage1_and_2_train.parquet",
        "./preprocessed/hard_train.parquet",
    ]
    assert (scratch / "bucketed/unsolved.jsonl").is_file()
    assert not (scratch / "preprocessed/unsolved_train.parquet").exists()


@pytest.mark.usefixtures("samples")
@pytest.mark.parametrize("flags", [("-n", "2"), ("--stages", "2"), ("--stages", "easy hard")])
def test_pipeline_script_offers_verl_without_a_trainer(
    scratch: Path, flags: tuple[str, str]
) -> None:
    (scratch / "train.py").unlink()
    run_flags = ("-o", "a b", "--val-ratio", "0.2", *flags)
    out, _ = run(scratch, "bash", "run_curriculum_pipeline.sh", *run_flags)
    assert out.endswith("Pipeline complete but for the training.\n")
    (command,) = re.findall(r"^  (bash .*\n.*\n.*)$", out, re.M)
    assert command == (
        "bash examples/verl/train.sh stages -m MODEL \\\n"
        "      -d a\\ b/preprocessed -o a\\ b/checkpoints \\\n"
        "      easy hard"
    )
    run(scratch, "bash", "-euc", command.replace("MODEL", "org/model -b 16"))
    assert (scratch / "a b/checkpoints/hard/merged").is_dir()


@pytest.mark.usefixtures("samples")
def test_command_that_is_offered_trains_on_cumulative_sets(scratch: Path) -> None:
    (scratch / "train.py").unlink()
    out, _ = run(scratch, "bash", "run_curriculum_pipeline.sh", "--val-ratio", "0.2")
    (command,) = re.findall(r"^  (bash .*\n.*\n.*)$", out, re.M)
    out, _ = run(scratch, "bash", "-euc", command.replace("MODEL", "org/model -b 16"))
    assert f"training on hard, from {scratch}/checkpoints/cumulative/stage1_and_2/merged" in out


@pytest.mark.parametrize("trainer", [True, False])
@pytest.mark.parametrize(
    ("filter", "empty", "full"),
    [
        ("passing_only", ["stage 3 (hard)"], "easy medium"),
        ("informative_only", ["stage 1 (easy)", "stage 3 (hard)"], "medium"),
    ],
)
def test_a_stage_without_rows_ends_the_pipeline(
    scratch: Path, filter: str, empty: list[str], full: str, trainer: bool
) -> None:
    scores = ((1, 1), (1, 0), (0, 0))
    rollouts = [rollout(*scores[i % 3], prompt=f"p{i}") for i in range(60)]
    write_jsonl(scratch / "rollouts/a.jsonl", rollouts)
    if not trainer:
        (scratch / "train.py").unlink()
    command = ("bash", "run_curriculum_pipeline.sh", "-f", filter)
    out, err = run(scratch, *command, code=1)
    assert re.findall(r"^warning: (stage .*) has no train rows$", err, re.M) == empty
    assert f"Nothing was trained. Leave out buckets without rows (--buckets {full})" in err
    assert "Pipeline complete" not in out
    assert "train.sh" not in out
    assert not (scratch / "trained.txt").exists()
    out, _ = run(scratch, *command, "--buckets", *full.split())
    assert "Pipeline complete" in out


def test_a_cumulative_stage_without_rows_ends_the_pipeline(scratch: Path) -> None:
    scores = ((1, 1), (1, 1), (0.5, 0.5), (1, 0))
    rollouts = [rollout(*scores[i % 4], prompt=f"p{i}") for i in range(60)]
    write_jsonl(scratch / "rollouts/a.jsonl", rollouts)
    flags = ("-m", "min_reward", "-f", "informative_only")
    _, err = run(scratch, "bash", "run_curriculum_pipeline.sh", *flags, code=1)
    assert "warning: stage 2 (easy, medium) has no train rows" in err


def test_an_empty_bucket_that_adds_nothing_to_its_stage_is_told(scratch: Path) -> None:
    rollouts = [rollout(1, i % 2, prompt=f"p{i}") for i in range(60)]
    write_jsonl(scratch / "rollouts/a.jsonl", rollouts)
    _, err = run(scratch, "bash", "run_curriculum_pipeline.sh", "--quiet")
    told = (
        "warning: medium has no train rows, so the stage that adds it trains on the rows of the one"
    )
    assert told in err
    assert len(trained(scratch)) == 3


@pytest.mark.usefixtures("samples")
def test_dry_run_of_the_pipeline_writes_nothing_and_says_what_would_come(scratch: Path) -> None:
    before = without_bytecode(tree(scratch))
    command = ("bash", "run_curriculum_pipeline.sh", "-o", "a b", "--data-source", "x y")
    out, _ = run(scratch, *command, "--dry-run")
    assert without_bytecode(tree(scratch)) == before
    assert "Dry run: no bucket was written" in out
    assert "Step 2 was left out: a dry run writes no buckets to preprocess." in out
    assert "  stage 3  hard          a b/preprocessed/hard_train.parquet" in out
    assert "Pipeline complete" not in out
    run(scratch, *command)
    (shown,) = re.findall(r"^  (python preprocess.*)$", out, re.M)
    made = tree(scratch / "a b/preprocessed")
    shutil.rmtree(scratch / "a b/preprocessed")
    run(scratch, "bash", "-euc", shown)
    assert tree(scratch / "a b/preprocessed") == made


def test_failing_step_stops_the_pipeline(scratch: Path) -> None:
    out, err = run(scratch, "bash", "run_curriculum_pipeline.sh", code=1)
    assert err.startswith("error: ./rollouts: no such file")
    assert "Step 2" not in out
    run(scratch, "python", "generate_rollouts.py")
    out, err = run(scratch, "bash", "run_curriculum_pipeline.sh", "-t", "exit 7 #", code=7)
    assert "Stage 1 of 3" in out
    assert err.endswith("error: stage 1 of 3: the command that trains ended with exit code 7\n")
    assert "Stage 2 of 3" not in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--frobnicate",), "--frobnicate: there is no such flag"),
        (("-n",), "-n/--num-buckets: expected one argument"),
        (("--stages", "a b", "-n", "3"), "--stages asks for 2 buckets, -n for 3"),
        (("--val-ratio", "2"), "--val-ratio: the ratio is 2.0"),
    ],
)
def test_pipeline_script_refuses_wrong_flags(scratch: Path, flags, message) -> None:
    out, err = run(scratch, "bash", "run_curriculum_pipeline.sh", *flags, code=2)
    assert (out, err.startswith(f"error: {message}")) == ("", True)


def test_pipeline_script_explains_itself(scratch: Path) -> None:
    out, _ = run(scratch, "bash", "run_curriculum_pipeline.sh", "-h")
    for flag in ("-i", "-o", "-n", "-m", "-f", "--stages", "-t", "--train", "-h"):
        assert re.search(rf"(^|\s){flag}\b", out)


@pytest.mark.usefixtures("samples")
def test_pipeline_script_reads_its_own_code_wherever_it_is_started(scratch: Path) -> None:
    """Not a curriculum.py that is there, too."""
    (scratch / "work").mkdir()
    (scratch / "work/curriculum.py").write_text("raise SystemExit(9)")
    command = ("bash", "../run_curriculum_pipeline.sh", "-i", "../rollouts", "-n", "2")
    out, _ = run(scratch / "work", *command, path=scratch / "bin")
    assert f"bash {scratch}/examples/verl/train.sh stages" in out


def test_without_python_the_pipeline_says_so(scratch: Path) -> None:
    (scratch / "empty").mkdir()
    for name in ("bash", "dirname"):
        (scratch / "empty" / name).symlink_to(str(shutil.which(name)))
    done = subprocess.run(
        ["bash", "run_curriculum_pipeline.sh"], cwd=scratch, capture_output=True, text=True,
        check=False, env={"PATH": str(scratch / "empty")},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(
        "error: there is no python on the PATH; activate your environment"
    )


def test_demo_ends_with_a_row(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".venv", ".git", "demo", ".*cache"))
    (copy / "bin").mkdir()
    (copy / "bin/python").write_text(PYTHON)
    (copy / "bin/python").chmod(0o755)
    out, _err = run(copy, "bash", "examples/demo.sh")
    assert ", bucket hard ----" in out
    assert "rollouts in 3 buckets by mean_reward" in out


@pytest.mark.usefixtures("samples")
def test_library_example_runs_part_by_part(scratch: Path) -> None:
    for part in ("bucket", "preprocess", "metrics", "own_metric", "compare", "score_table"):
        out, _ = run(scratch, "python", "examples/example_bucketing_usage.py", part)
        assert out.startswith(f"\n{part}: ")
        assert len(out.splitlines()) > 3
    _, err = run(scratch, "python", "examples/example_bucketing_usage.py", "nothing", code=2)
    assert "there is no part 'nothing'" in err
