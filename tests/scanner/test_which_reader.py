"""Which reader runs: the scanner unless it is switched off, missing or stale; --version says it."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from curriculum.scanner import compiled
from curriculum.scanner.compiled import scanner
from curriculum.scanner.score_lines import scan_scores
from curriculum.version import __version__
from tests.helpers.rollouts import Script
from tests.scanner.compare import simd_kinds


def said(script: Script) -> str:
    """What --version says reads the lines."""
    code, out, err = script("--version")
    assert (code, err) == (0, "")
    name, _, reader = out.rstrip("\n").partition(f" {__version__}, ")
    assert name.endswith(".py")
    return reader


def test_the_scanner_with_the_fastest_instructions(bucket: Script, preprocess: Script) -> None:
    fastest = simd_kinds()[-1]
    assert scanner().simd(fastest) == fastest
    assert said(bucket) == said(preprocess) == f"compiled scanner ({fastest})"


def fail(error: Exception) -> Any:
    """An import that fails with this error."""

    def load(name: str) -> ModuleType:
        raise error

    return load


@pytest.mark.parametrize(
    ("load", "why"),
    [
        (
            fail(ModuleNotFoundError("no such module")),
            "no scanner is built: `pip install` builds it where there is a C compiler",
        ),
        (fail(ImportError("bad magic")), "the scanner cannot be loaded: bad magic"),
        (ModuleType, "scanner.c has changed since it was compiled: `pip install` again"),
    ],
)
def test_no_scanner(monkeypatch: pytest.MonkeyPatch, bucket: Script, load: Any, why: str) -> None:
    monkeypatch.setattr(compiled, "import_module", load)
    loaded, reason = compiled._load()
    assert (loaded, reason) == (None, why)
    monkeypatch.setattr(compiled, "_COMPILED", loaded)
    monkeypatch.setattr(compiled, "_WHY_NOT", reason)
    assert said(bucket) == f"Python readers ({why})"
    assert scan_scores(b"{}", 2, "score") is None


@pytest.mark.parametrize(("value", "is_off"), [("1", True), ("0", True), ("", False)])
def test_the_switch(
    monkeypatch: pytest.MonkeyPatch, preprocess: Script, value: str, is_off: bool
) -> None:
    monkeypatch.setenv("CURRICULUM_NO_SCANNER", value)
    assert (said(preprocess) == "Python readers (CURRICULUM_NO_SCANNER is set)") == is_off
    assert (scan_scores(b"{}", 2, "score") is None) == is_off
