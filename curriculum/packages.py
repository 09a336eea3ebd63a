"""Packages that this Python does not have → what to type to get them.

No index of packages has this toolkit: in a checkout its packages come with `pip install .`, which
knows their versions, and elsewhere by their own names.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

REQUIRED = ("msgspec", "numpy", "pandas", "pyarrow", "tqdm")
CHECKOUT = Path(__file__).parents[1]


def missing_packages() -> list[str]:
    """The required packages that are not installed."""
    return [name for name in REQUIRED if find_spec(name) is None]


def how_to_install(packages: Sequence[str], extra: str = "") -> str:
    """What to do to get these packages, which come with the toolkit or with one of its extras."""
    them = "it" if len(packages) == 1 else "them"
    made = CHECKOUT / ".venv"
    if _holds(made, packages):
        return f"run this with {_short(made / 'bin/python')}, which has {them}"
    if (CHECKOUT / "pyproject.toml").is_file():
        what = [_short(CHECKOUT) + (f"[{extra}]" if extra else "")]
    else:
        what = list(packages)
    if _is_managed():
        install = shlex.join([".venv/bin/python", "-m", "pip", "install", *what])
        new = f"python3 -m venv .venv && {install}"
        return f"run this with .venv/bin/python when you have installed {them} there: {new}"
    return f"install {them}: {shlex.join([*_pip(), 'install', *what])}"


def _holds(environment: Path, packages: Sequence[str]) -> bool:
    """Whether another environment than this one has the packages."""
    if environment == Path(sys.prefix) or not (environment / "bin/python").exists():
        return False
    return all(any(environment.glob(f"lib/*/site-packages/{name}")) for name in packages)


def _short(path: Path) -> str:
    """A path as one would type it here."""
    try:
        return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
    except FileNotFoundError:  # the current directory is gone
        return str(path)


def _is_managed() -> bool:
    """Whether this is a system's own Python, in which pip refuses to install (PEP 668)."""
    marker = Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED"
    return sys.prefix == sys.base_prefix and marker.is_file()


def _pip() -> list[str]:
    """The command `pip` of this Python."""
    found = shutil.which("pip")
    if found and Path(found).parent == Path(sys.executable).parent:
        return ["pip"]
    names = [name for name in ("python", "python3") if shutil.which(name) == sys.executable]
    return [(names or [_short(Path(sys.executable))])[0], "-m", "pip"]
