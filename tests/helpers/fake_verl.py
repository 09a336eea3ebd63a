"""Stands in for `python -m verl…` in examples/verl/train.sh.

A training run notes its overrides, a line of JSON in notes.jsonl, and leaves a checkpoint where
verl leaves its own: that of $CHECKPOINT, or an empty one. A merge makes an empty model, or, with
$VERL_PYTHON, is done by verl.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path


def train(overrides: list[str]) -> None:
    """What `verl.trainer.main_ppo` leaves behind."""
    with Path("notes.jsonl").open("a", encoding="utf-8") as notes:
        notes.write(json.dumps(overrides) + "\n")
    given = dict(override.split("=", 1) for override in overrides)
    output = Path(given["trainer.default_local_dir"].strip("'"))
    if os.environ.get("FAIL") == f"train {output.name}":
        raise SystemExit(9)
    actor = output / "global_step_3/actor"
    if "CHECKPOINT" in os.environ:
        shutil.copytree(os.environ["CHECKPOINT"], actor, dirs_exist_ok=True)
    else:
        actor.mkdir(parents=True, exist_ok=True)
    (output / "latest_checkpointed_iteration.txt").write_text("3")


def merge(flags: list[str]) -> None:
    """What `verl.model_merger` leaves behind."""
    if "VERL_PYTHON" in os.environ:
        python = os.environ["VERL_PYTHON"]
        os.execv(python, [python, "-m", "verl.model_merger", *flags])
    given = dict(zip(flags[1::2], flags[2::2], strict=True))
    assert flags[0] == "merge" and Path(given["--local_dir"]).is_dir()
    target = Path(given["--target_dir"])
    if os.environ.get("FAIL") == f"merge {target.parent.name}":
        raise SystemExit(9)
    (target / "lora_adapter" if "LORA" in os.environ else target).mkdir(parents=True)


if __name__ == "__main__":
    {"verl.trainer.main_ppo": train, "verl.model_merger": merge}[sys.argv[2]](sys.argv[3:])
