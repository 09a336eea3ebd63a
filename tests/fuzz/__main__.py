"""libFuzzer over the scanner for some seconds; a message where there is no clang with it.

Whatever input made the scanner do something new is also read by the Python readers and compared.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from curriculum.scanner.compiled import scanner, which_reader
from tests.fuzz.compilers import SANITIZERS, compile_c
from tests.fuzz.inputs import write_inputs, write_words
from tests.helpers.rollouts import ROOT
from tests.scanner.compare import compare_rows, compare_scores

LIBFUZZER = ("-std=c11", "-O2", "-DWITH_LIBFUZZER", "-fsanitize=fuzzer", *SANITIZERS)
LONGEST = 4_096  # bytes of an input


def main() -> int:
    """0 if nothing was found, or if it cannot be tried here."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="how long (default: 60)")
    parser.add_argument("--directory", type=Path, default=ROOT / "build/fuzz")
    flags = parser.parse_args()
    shutil.rmtree(flags.directory, ignore_errors=True)
    flags.directory.mkdir(parents=True)
    problem = _build(flags.directory / "fuzz_scanner")
    if problem:
        print(f"not fuzzed: {problem}")
        return 0
    write_words(flags.directory / "words")
    count = len(write_inputs(flags.directory / "inputs"))
    print(f"fuzzing scanner.c for {flags.seconds} seconds, from {count} inputs", flush=True)
    return _run(flags.directory, flags.seconds)


def _build(target: Path) -> str:
    """Build the harness; why it cannot be built here, or ""."""
    if not shutil.which("clang"):
        return "there is no clang here (Debian and Ubuntu: apt install clang libclang-rt-dev)"
    works = target.with_name("works.c")
    works.write_text("int LLVMFuzzerTestOneInput(const char *at, unsigned long size)"
                     " { return !at && size; }\n")  # fmt: skip
    if compile_c("clang", LIBFUZZER, target, works).returncode:
        return "this clang has no libFuzzer (Debian and Ubuntu: apt install libclang-rt-dev)"
    done = compile_c("clang", LIBFUZZER, target)
    if done.returncode:
        sys.exit(done.stderr)
    return ""


def _run(directory: Path, seconds: int) -> int:
    corpus = directory / "corpus"
    corpus.mkdir()
    command = [
        directory / "fuzz_scanner", corpus, directory / "inputs", f"-max_total_time={seconds}",
        f"-max_len={LONGEST}", f"-dict={directory / 'words'}", "-timeout=10",
        "-print_final_stats=1", "-verbosity=0", f"-artifact_prefix={directory}/",
    ]  # fmt: skip
    done = subprocess.run([*map(str, command)], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(done.stderr[-8_000:])
        found = ", ".join(str(path) for path in directory.glob("*-*") if path.is_file())
        print(f"found: {found or 'see above'}; again: {command[0]} FILE")
        return 1
    tried = next(line for line in done.stderr.splitlines() if "number_of_executed_units" in line)
    print(f"nothing found in {int(tried.split()[-1]):,} inputs")
    _compare(sorted(corpus.iterdir()))
    return 0


def _compare(paths: Sequence[Path]) -> None:
    """Read the inputs in Python, too; an assertion fails where one is read otherwise."""
    if scanner() is None:
        print(f"not compared: {which_reader()} read the lines")
        return
    for path in paths:
        compare_scores(path.read_bytes())
        compare_rows(path.read_bytes())
    print(f"{len(paths):,} of them did something new; the Python readers read them alike")


if __name__ == "__main__":
    raise SystemExit(main())
