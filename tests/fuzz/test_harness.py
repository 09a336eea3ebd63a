"""The C file without Python: no warning, no byte beyond its input, and no harm without memory."""

from __future__ import annotations

import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import pytest

from curriculum.scanner.compiled import SOURCE
from tests.fuzz.compilers import PLAIN, SANITIZERS, STRICT, compile_c, compilers, has_headers
from tests.fuzz.inputs import write_inputs
from tests.helpers.rollouts import ROOT

pytestmark = pytest.mark.skipif(not compilers(), reason="there is no C compiler here")
COMPILERS = compilers() or ["cc"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_inputs(tmp_path_factory.mktemp("fuzz") / "inputs")


@pytest.mark.parametrize("flags", [(), PLAIN], ids=["usual", "plain"])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_without_python_there_are_no_warnings_and_nothing_beyond_the_input_is_read(
    tmp_path: Path, files: list[Path], compiler: str, flags: Sequence[str]
) -> None:
    done = compile_c(compiler, [*STRICT, *flags], tmp_path / "harness")
    assert (done.returncode, done.stderr) == (0, "")
    try_files(tmp_path / "harness", files)


@pytest.mark.slow
@pytest.mark.skipif(not has_headers(), reason="the headers of this Python are not here")
@pytest.mark.parametrize("flags", [(), PLAIN], ids=["usual", "plain"])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_with_python_there_are_no_warnings(
    tmp_path: Path, compiler: str, flags: Sequence[str]
) -> None:
    python = ["-DPy_LIMITED_API=0x030a0000", "-fPIC", f"-I{sysconfig.get_path('include')}", "-c"]
    done = compile_c(compiler, [*STRICT, *flags, *python], tmp_path / "scanner.o", SOURCE)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("compiler", COMPILERS)
def test_sanitizers_find_nothing_and_no_memory_is_lost(
    tmp_path: Path, files: list[Path], compiler: str
) -> None:
    works = tmp_path / "works.c"
    works.write_text("int main(void) { return 0; }\n")
    built = compile_c(compiler, SANITIZERS, tmp_path / "works", works)
    if built.returncode or subprocess.run([tmp_path / "works"], check=False).returncode:
        pytest.skip(f"{compiler} has no sanitizers that work here")
    flags = ["-std=c11", "-O1", "-DBEGINNINGS=12", *SANITIZERS]
    done = compile_c(compiler, flags, tmp_path / "harness")
    assert done.returncode == 0, done.stderr
    try_files(tmp_path / "harness", files)


def try_files(harness: Path, files: list[Path]) -> None:
    done = subprocess.run([harness, *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_function_that_python_calls_is_tried() -> None:
    source, harness = SOURCE.read_text(), (ROOT / "tests/fuzz/fuzz_scanner.c").read_text()
    methods = source.partition("METHODS[] = {")[2].partition("};")[0]
    called = {line.split('"')[1] for line in methods.splitlines() if line.startswith('    {"')}
    assert {"scan_scores", "hash64"} <= called
    for name in called - {"simd"}:
        assert f"\n    run_{name},\n" in harness
