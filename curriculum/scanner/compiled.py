"""The compiled scanner, if it was built here and is not switched off."""

from __future__ import annotations

import os
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

SWITCH = "CURRICULUM_NO_SCANNER"  # any value but an empty one switches the scanner off
SOURCE = Path(__file__).with_name("scanner.c")


def _load() -> tuple[ModuleType | None, str]:
    """The compiled module, or None and the reason."""
    try:
        module = import_module("curriculum.scanner._scanner")
    except ModuleNotFoundError:
        return (
            None,
            "no scanner is built: `pip install` builds it where there is a C compiler",
        )
    except ImportError as error:
        return None, f"the scanner cannot be loaded: {error}"
    if _is_stale(module):
        return None, "scanner.c has changed since it was compiled: `pip install` again"
    return module, ""


def _is_stale(module: ModuleType) -> bool:
    """Whether a module was built from another source than the one beside it."""
    if not SOURCE.exists():  # installed from a wheel
        return False
    digest = blake2b(SOURCE.read_bytes(), digest_size=8).hexdigest()
    return digest != getattr(module, "SOURCE", "")


_COMPILED, _WHY_NOT = _load()


def scanner() -> Any:
    """The compiled module; None where the Python readers do all the work."""
    return None if os.environ.get(SWITCH) else _COMPILED


def which_reader() -> str:
    """What reads the lines, for `--version`."""
    if os.environ.get(SWITCH):
        return f"Python readers ({SWITCH} is set)"
    if _COMPILED is None:
        return f"Python readers ({_WHY_NOT})"
    return f"compiled scanner ({_COMPILED.simd()})"
