"""What is loaded before it is needed: nothing that a person would wait for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.rollouts import ROOT, rollout, write_jsonl

PROBE = """
import importlib, sys
module = importlib.import_module({script!r})
try:
    code = module.main({flags!r}) if hasattr(module, "main") else 0 * len(module.answer({flags!r}))
except SystemExit as stop:
    code = stop.code
slow = sorted({{"pandas", "pyarrow", "tqdm", "matplotlib", "ray"}} & set(sys.modules))
print("loaded", code or 0, *slow)
"""


@pytest.mark.parametrize(
    ("script", "flags", "code"),
    [
        ("bucket_rollouts_by_difficulty", ["--help"], 0),
        ("bucket_rollouts_by_difficulty", ["--version"], 0),
        ("bucket_rollouts_by_difficulty", ["-i", "x", "-o", "y", "-n", "0"], 2),
        ("bucket_rollouts_by_difficulty", ["-i", "not there", "-o", "y"], 1),
        ("preprocess_bucketed_rollouts", ["--help"], 0),
        ("preprocess_bucketed_rollouts", ["--version"], 0),
        ("curriculum.pipeline.plan", ["--help"], 0),
        ("curriculum.pipeline.plan", ["--buckets", "easy", "hard"], 0),
        ("preprocess_bucketed_rollouts", ["-i", "x", "-o", "y", "--val-ratio", "2"], 2),
    ],
)
def test_help_and_wrong_flags_load_nothing_slow(script: str, flags: list[str], code: int) -> None:
    probe = PROBE.format(script=script, flags=flags)
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == f"loaded {code}"


RUN = """
import importlib, sys
script, *flags = sys.argv[1:]
assert importlib.import_module(script).main([*flags, "--quiet", "--workers", "1"]) == 0
print("loaded", *sorted({"pandas", "pyarrow", "tqdm", "numpy.ma"} & set(sys.modules)))
"""


def test_runs_do_not_load_what_they_do_not_need(tmp_path: Path) -> None:
    truths = [
        {"instruction_id_list": ["a"], "kwargs": [{"n": i, "x": [0.5, None]}]} for i in (1, 2)
    ]
    rollouts = [
        rollout(i, 1, prompt=f"p {i}", ground_truth=truths[i % 2], extra_info={"on": True, "o": {}})
        for i in range(9)
    ]
    source = write_jsonl(tmp_path / "a.jsonl", rollouts)

    def loaded(script: str, *flags: str | Path) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", RUN, script, *flags],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return set(done.stdout.split()) - {"loaded"}

    buckets = tmp_path / "b"
    assert loaded("bucket_rollouts_by_difficulty", "-i", source, "-o", buckets) == set()
    flags = ("-i", buckets, "-o", tmp_path / "p")
    assert loaded("preprocess_bucketed_rollouts", *flags) == {"pyarrow"}


POOL = """
import preprocess_bucketed_rollouts
preprocess_bucketed_rollouts.main(["-i", "not there", "-o", "y"])
import pyarrow
print(pyarrow.default_memory_pool().backend_name)
"""


def test_pyarrow_takes_its_memory_from_the_system_unless_told_otherwise() -> None:
    import pyarrow as pa

    for chosen in (None, *pa.supported_memory_backends()):
        environment = {k: v for k, v in os.environ.items() if k != "ARROW_DEFAULT_MEMORY_POOL"}
        if chosen:
            environment["ARROW_DEFAULT_MEMORY_POOL"] = chosen
        done = subprocess.run(
            [sys.executable, "-c", POOL],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.splitlines()[-1] == (chosen or "system")
