"""Packages that are missing: one line, with a command that brings them where the script runs."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from curriculum import packages
from curriculum.packages import REQUIRED, how_to_install
from tests.helpers.rollouts import ROOT

PROJECT = (ROOT / "pyproject.toml").read_text("utf-8")
SCRIPTS = ("bucket_rollouts_by_difficulty.py", "preprocess_bucketed_rollouts.py")


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This Python, as that of an environment whose `pip` is on the PATH, in an empty directory."""
    for name in ("python", "pip"):
        (tmp_path / "env/bin").mkdir(parents=True, exist_ok=True)
        (tmp_path / "env/bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "env/bin" / name).chmod(0o755)
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout/pyproject.toml").write_text("")
    monkeypatch.chdir(tmp_path / "checkout")
    monkeypatch.setattr(packages, "CHECKOUT", tmp_path / "checkout")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "env/bin/python"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "env"))
    monkeypatch.setenv("PATH", str(tmp_path / "env/bin"))
    return tmp_path / "env/bin/python"


def test_in_the_checkout(python: Path) -> None:
    assert how_to_install(["numpy", "tqdm"]) == "install them: pip install ."
    assert how_to_install(["matplotlib"], "plot") == "install it: pip install '.[plot]'"


def test_from_another_directory(python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(python.parent)
    checkout = packages.CHECKOUT
    assert how_to_install(["ray"], "ray") == f"install it: pip install '{checkout}[ray]'"


def test_without_a_checkout_packages_go_by_their_own_names(python: Path) -> None:
    (packages.CHECKOUT / "pyproject.toml").unlink()
    assert how_to_install(["matplotlib"], "plot") == "install it: pip install matplotlib"
    assert how_to_install(["numpy", "tqdm"]) == "install them: pip install numpy tqdm"


def test_pip_of_another_python_is_not_named(python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python.with_name("pip").rename(python.parents[1] / "pip")
    assert how_to_install(["tqdm"]) == "install it: python -m pip install ."
    monkeypatch.setenv("PATH", str(python.parents[1]))
    assert how_to_install(["tqdm"]) == f"install it: {python} -m pip install ."


def test_an_environment_that_has_them_is_named(
    python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = packages.CHECKOUT / ".venv/lib/python3.12/site-packages"
    (installed / "numpy").mkdir(parents=True)
    (packages.CHECKOUT / ".venv/bin").mkdir()
    (packages.CHECKOUT / ".venv/bin/python").write_text("")
    assert how_to_install(["numpy"]) == "run this with .venv/bin/python, which has it"
    assert how_to_install(["numpy", "tqdm"]) == "install them: pip install ."
    (installed / "tqdm").mkdir()
    assert how_to_install(["numpy", "tqdm"]) == "run this with .venv/bin/python, which has them"
    monkeypatch.setattr(sys, "prefix", str(packages.CHECKOUT / ".venv"))
    assert how_to_install(["numpy"]) == "install it: pip install ."


def test_the_system_s_own_python_gets_an_environment(
    python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages.sysconfig, "get_path", lambda name: str(packages.CHECKOUT))
    (packages.CHECKOUT / "EXTERNALLY-MANAGED").write_text("")
    assert how_to_install(["tqdm"]) == "install it: pip install ."  # this is an environment
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    assert how_to_install(["matplotlib"], "plot") == (
        "run this with .venv/bin/python when you have installed it there: "
        "python3 -m venv .venv && .venv/bin/python -m pip install '.[plot]'"
    )


def test_what_is_named_is_what_the_project_requires() -> None:
    required = re.search(r"^dependencies = \[\n(.*?)^\]", PROJECT, re.MULTILINE | re.DOTALL)
    assert required is not None
    assert re.findall(r'"(\w+)', required[1]) == list(REQUIRED)
    assert {"plot", "ray"} <= set(re.findall(r"^(\w+) = \[", PROJECT, re.MULTILINE))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python without any package."""
    directory = tmp_path_factory.mktemp("bare")
    venv.create(directory, with_pip=False)
    return directory / "bin/python"


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("flags", [("--help",), ("-i", "a", "-o", "b"), ("--frobnicate",), ()])
def test_a_script_without_packages_says_what_to_install(
    tmp_path: Path, bare: Path, script: str, flags: tuple[str, ...]
) -> None:
    done = subprocess.run(
        [bare, ROOT / script, *flags], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    told = f"error: msgspec, numpy, pandas, pyarrow and tqdm are not installed for {bare}; "
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(told)
    assert done.stderr.count("\n") == 1
    assert str(ROOT) in done.stderr.removeprefix(told)


def test_a_package_that_is_missed_later_is_told_too(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jsonl").write_text('{"reward": [1]}\n')
    probe = (
        "import sys\n"
        "sys.modules['pyarrow'] = None\n"  # a ModuleNotFoundError whose name is that of the package
        "import curriculum.packages as p\n"
        "p.find_spec = lambda name: None if name == 'pyarrow' else 1\n"
        "import bucket_rollouts_by_difficulty as s\n"
        "sys.exit(s.main(['-i', 'in', '-o', 'out', '--scores', 's.parquet']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: pyarrow is not installed for {sys.executable}; ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_old_python_is_told(script: str) -> None:
    probe = (
        "import sys, runpy\n"
        "sys.version_info = (3, 9, 7, 'final', 0)\n"
        f"runpy.run_path({str(ROOT / script)!r}, run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        f"error: {sys.executable} is Python 3.9, expected 3.10 or newer;\n"
        "run this with a newer one, such as python3.12\n",
    )
