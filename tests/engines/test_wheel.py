"""The package as a wheel: every room and both commands are in it, and Ray is sent all of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from curriculum.engines.workers import Workers
from tests.helpers.rollouts import ROOT, rollout, write_jsonl

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built from a copy: a build leaves files behind."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "curriculum", source / "curriculum")
    for name in (
        "pyproject.toml",
        "README.md",
        "LICENSE",
        *(path.name for path in ROOT.glob("*.py")),
    ):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", target, source]
    subprocess.run(command, check=True, capture_output=True)
    (found,) = target.glob("*.whl")
    return found


def run(installed: Path, cwd: Path, *flags: object) -> str:
    """Bucket with the installed wheel, from a directory without a checkout; the summary."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "bucket_rollouts_by_difficulty", *map(str, flags)]
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_is_in_the_wheel(wheel: Path, tmp_path: Path) -> None:
    package = ROOT / "curriculum"
    files = [*package.rglob("*.py"), *(package / "pages/templates").iterdir()]
    modules = {str(path.relative_to(ROOT)) for path in files}
    with ZipFile(wheel) as archive:
        assert modules - set(archive.namelist()) == set()
        archive.extractall(tmp_path / "installed")
    write_jsonl(tmp_path / "in/a.jsonl", [rollout(i, 1) for i in range(3)])
    run(tmp_path / "installed", tmp_path, "-i", "in", "-o", "out", "--report", "page.html")
    assert (tmp_path / "out/bucketing.json").is_file()
    assert (tmp_path / "page.html").is_file()


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel; the packages it requires are those of this one."""
    directory = tmp_path_factory.mktemp("environment")
    venv.create(directory, with_pip=True)
    python = directory / "bin/python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, capture_output=True)
    (packages,) = directory.glob("lib/*/site-packages")
    (packages / "required.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return directory


def call(environment: Path, cwd: Path, *command: str) -> tuple[int, str, str]:
    """Type a command in a directory, with the environment activated."""
    variables = {"PATH": f"{environment / 'bin'}:/usr/bin:/bin", "COLUMNS": "100"}
    done = subprocess.run(
        command, cwd=cwd, env=variables, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_both_commands_work_in_any_directory(environment: Path, tmp_path: Path) -> None:
    rollouts = [rollout(i % 3, 1, prompt=f"prompt {i}") for i in range(30)]
    write_jsonl(tmp_path / "rollouts/a.jsonl", rollouts)
    bucket, preprocess = "bucket_rollouts_by_difficulty", "preprocess_bucketed_rollouts"
    code, out, _ = call(environment, tmp_path, bucket, "-i", "rollouts", "-o", "bucketed")
    assert (code, out.startswith("30 rollouts in 3 buckets")) == (0, True)
    code, _, err = call(environment, tmp_path, preprocess, "-i", "bucketed", "-o", "preprocessed")
    assert code == 0, err
    assert (tmp_path / "preprocessed/hard_train.parquet").is_file()


@pytest.mark.parametrize(
    ("typed", "prog"),
    [
        ("bucket_rollouts_by_difficulty", "bucket_rollouts_by_difficulty"),
        ("preprocess_bucketed_rollouts", "preprocess_bucketed_rollouts"),
        ("python -m bucket_rollouts_by_difficulty", "python -m bucket_rollouts_by_difficulty"),
    ],
)
def test_a_command_calls_itself_as_it_was_typed(
    environment: Path, tmp_path: Path, typed: str, prog: str
) -> None:
    code, out, _ = call(environment, tmp_path, *typed.split(), "--help")
    assert (code, out.startswith(f"usage: {prog} -i ")) == (0, True)
    assert f"\nexamples:\n  {typed} -i ./" in out
    code, _, err = call(environment, tmp_path, *typed.split(), "--dryrun")
    assert (code, err.splitlines()) == (
        2,
        [
            "error: --dryrun: there is no such flag;",
            f"did you mean --dry-run? All flags: {typed} --help",
        ],
    )


def test_the_package_lists_its_commands(environment: Path, tmp_path: Path) -> None:
    code, out, _ = call(environment, tmp_path, "python", "-m", "curriculum")
    assert (code, out.splitlines()[1:]) == (
        0,
        [
            "",
            "  bucket_rollouts_by_difficulty  Sort rollouts into buckets by difficulty",
            "  preprocess_bucketed_rollouts   Turn bucketed rollouts into parquet files that verl "
            "trains on",
            "",
            "A first run, one after the other:",
            "",
            "  bucket_rollouts_by_difficulty -i ./rollouts -o ./bucketed",
            "  preprocess_bucketed_rollouts -i ./bucketed -o ./preprocessed",
            "",
            "--help after either lists its flags. In Python: help('curriculum')",
        ],
    )


@pytest.mark.skipif(find_spec("ray") is None, reason="`make engines` installs Ray")
def test_ray_is_sent_the_folder_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one machine a node would find the package anyway, along the driver's path."""
    import ray

    sent: dict[str, Any] = {}
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda address, **options: sent.update(options))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with Workers(1, "ray"):
        assert sent["runtime_env"] == {"py_modules": [str(ROOT / "curriculum")]}


@pytest.mark.skipif(find_spec("ray") is None, reason="`make engines` installs Ray")
def test_ray_works_with_the_installed_package(wheel: Path, tmp_path: Path, cluster: object) -> None:
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    module = tmp_path / "installed/curriculum/metrics.py"
    changed = module.read_text().replace(
        "return scores.sums(scores.values) / scores.counts",
        "return scores.sums(scores.values) / scores.counts + 100",
    )
    assert changed != module.read_text()
    module.write_text(changed)  # so that it shows whose metric a worker of Ray takes
    write_jsonl(tmp_path / "in/a.jsonl", [rollout(1, 1)])
    summary = run(
        tmp_path / "installed", tmp_path, "-i", "in", "-o", "out", "-n", 1, "--engine", "ray"
    )
    assert "101" in summary
