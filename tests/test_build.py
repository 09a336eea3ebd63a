"""What is built: with a C compiler, wheels that hold the scanner; else wheels for any platform."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.fuzz.compilers import compilers, has_headers
from tests.helpers.rollouts import ROOT, rollout, write_jsonl

pytestmark = pytest.mark.slow
NO_COMPILER = {"CC": "/nonexistent"}
needs_compiler = pytest.mark.skipif(
    not (compilers() and has_headers()), reason="there is no C compiler here, or no Python.h"
)


def pip(*arguments: object, **environment: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", *map(str, arguments)]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def copy_checkout(target: Path) -> Path:
    """This checkout without what was built in it."""
    unwanted = shutil.ignore_patterns(".*", "*.so", "build", "demo", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, target, ignore=unwanted)
    return target


@pytest.fixture(scope="module", autouse=True)
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What builds, installed once for all of these tests."""
    directory = tmp_path_factory.mktemp("tools")
    pip("install", "--target", directory, "setuptools>=77")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(directory))
        yield directory


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution; pip alone cannot make one."""
    source = copy_checkout(tmp_path_factory.mktemp("source") / "checkout")
    target = tmp_path_factory.mktemp("sdist")
    code = f"from setuptools import build_meta; build_meta.build_sdist({str(target)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    (found,) = target.glob("*.tar.gz")
    return found


def build_wheel(source: Path, target: Path, environment: Mapping[str, str]) -> Path:
    pip("wheel", "--no-build-isolation", "--no-deps", "-w", target, source, **environment)
    (found,) = target.glob("*.whl")
    return found


def use(wheel: Path, directory: Path) -> tuple[list[str], str]:
    """Bucket with a wheel; the compiled files in it, and what its --version says."""
    with ZipFile(wheel) as archive:
        archive.extractall(directory / "installed")
        compiled = [name for name in archive.namelist() if name.endswith((".so", ".c", ".pyd"))]
    write_jsonl(directory / "in.jsonl", [rollout(i, 1) for i in range(10)])
    environment = {**os.environ, "PYTHONPATH": str(directory / "installed"), "PYTHONSAFEPATH": "1"}
    environment.pop("CURRICULUM_NO_SCANNER", None)
    said = ""
    for flags in (["-i", "in.jsonl", "-o", "out"], ["--version"]):
        command = [sys.executable, "-m", "bucket_rollouts_by_difficulty", *flags]
        done = subprocess.run(
            command, cwd=directory, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        said = done.stdout
    assert (directory / "out/bucketing.json").is_file()
    return compiled, said


def test_the_source_distribution_holds_the_c_file(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"curriculum/scanner/scanner.c", "setup.py"} <= names
    assert not [name for name in names if name.endswith(".so")]


def test_without_a_compiler_the_wheel_is_for_any_platform(sdist: Path, tmp_path: Path) -> None:
    wheel = build_wheel(sdist, tmp_path / "wheel", NO_COMPILER)
    assert wheel.name.endswith("-py3-none-any.whl")
    compiled, said = use(wheel, tmp_path)
    assert compiled == []
    assert "Python readers (no scanner is built" in said


@needs_compiler
def test_with_a_compiler_the_wheel_is_for_this_platform_and_all_pythons(
    sdist: Path, tmp_path: Path
) -> None:
    wheel = build_wheel(sdist, tmp_path / "wheel", {})
    name = wheel.name.split("-")
    assert (name[2:4], name[4] != "any.whl") == (["cp310", "abi3"], True)
    compiled, said = use(wheel, tmp_path)
    assert len(compiled) == 1 and compiled[0].startswith("curriculum/scanner/_scanner.")
    assert "compiled scanner (" in said


@needs_compiler
def test_what_an_earlier_build_left_is_not_taken_for_this_one(tmp_path: Path) -> None:
    source = copy_checkout(tmp_path / "checkout")
    before = build_wheel(source, tmp_path / "before", {})
    with (source / "curriculum/scanner/scanner.c").open("a") as stream:
        stream.write("\n/* changed */\n")
    wheel = build_wheel(source, tmp_path / "after", NO_COMPILER)
    assert ("abi3" in before.name, wheel.name.endswith("-py3-none-any.whl")) == (True, True)
    assert use(wheel, tmp_path)[0] == []


def test_without_a_compiler_a_checkout_can_be_installed(tmp_path: Path) -> None:
    source = copy_checkout(tmp_path / "checkout")
    how = ["--no-build-isolation", "--no-deps", "--target", tmp_path / "there"]
    pip("install", *how, "--editable", source, **NO_COMPILER)
    assert not list(source.rglob("*.so"))
