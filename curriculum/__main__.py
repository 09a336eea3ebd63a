"""`python -m curriculum` lists the commands and says how to start them here."""

from __future__ import annotations

import shutil
import sys
from importlib import import_module

from curriculum.packages import CHECKOUT
from curriculum.version import NAME, __version__

COMMANDS = {
    "bucket_rollouts_by_difficulty": "-i ./rollouts -o ./bucketed",
    "preprocess_bucketed_rollouts": "-i ./bucketed -o ./preprocessed",
}
PIPELINE = CHECKOUT / "run_curriculum_pipeline.sh"


def overview() -> str:
    """The commands, what each is for, and what a first run looks like."""
    width = max(map(len, COMMANDS))
    lines = [f"{NAME} {__version__} has two commands:", ""]
    for name in COMMANDS:
        purpose = (import_module(name).__doc__ or "").partition(":")[0]
        lines.append(f"  {name:{width}}  {purpose}")
    lines += ["", "A first run, one after the other:", ""]
    lines += [f"  {_start(name)} {flags}" for name, flags in COMMANDS.items()]
    lines += ["", "--help after either lists its flags. In Python: help('curriculum')"]
    if PIPELINE.is_file():
        lines.append(f"Both, and then training, stage by stage: bash {PIPELINE} --help")
    return "\n".join(lines)


def _start(name: str) -> str:
    """What to type for a command: its name if it is installed, else its module."""
    return name if shutil.which(name) else f"{sys.orig_argv[0]} -m {name}"


if __name__ == "__main__":
    print(overview())
