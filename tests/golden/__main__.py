"""Write the help texts anew: `make golden`."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

SCRIPTS = ("bucket_rollouts_by_difficulty", "preprocess_bucketed_rollouts")


def help_text(script: str) -> str:
    """What `--help` prints; $COLUMNS says how wide the terminal is."""
    text: str = import_module(script).build_parser().format_help()
    return text


if __name__ == "__main__":
    os.environ["COLUMNS"] = "100"
    for script in SCRIPTS:
        Path(__file__).with_name(f"{script}.help.txt").write_text(help_text(script), "utf-8")
