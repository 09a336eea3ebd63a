"""Every module has its room, and the page names it (imports are checked by import-linter)."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.rollouts import ROOT

PACKAGE = ROOT / "curriculum"
ROOMS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
PAGE = (ROOT / "docs/ARCHITECTURE.md").read_text("utf-8")


def test_every_module_is_in_the_picture_and_nothing_else() -> None:
    files = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    modules = {str(path.relative_to(PACKAGE)) for path in files}
    picture = PAGE.partition("## The rooms")[2].split("```")[1]
    named, room = set(), ""
    for line in picture.splitlines():
        if found := re.match(r"  (\w+)/ ", line):
            room = f"{found[1]}/"
        elif found := re.match(r"( +)(\w+)\.py ", line):
            named.add((room if len(found[1]) > 2 else "") + f"{found[2]}.py")
    assert named == modules


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_room_has_three_to_nine_modules_and_says_what_it_is_for(room: Path) -> None:
    assert 3 <= len(list(room.glob("[a-z]*.py"))) <= 9
    docstring = ast.get_docstring(ast.parse((room / "__init__.py").read_text("utf-8"))) or ""
    for part in ("In:", "Out:", "Promise:"):
        assert part in docstring


def test_imports_run_one_way_between_rooms() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_no_module_imports_a_private_name_of_another() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("curriculum"):
                names = [alias.name for alias in node.names]
                assert [name for name in names if re.match(r"_[a-z]", name)] == [], path


def test_the_page_shows_the_contract_of_imports() -> None:
    contract = (ROOT / "pyproject.toml").read_text("utf-8")
    layers = re.search(r"^layers = \[\n(.*?)^\]", contract, re.MULTILINE | re.DOTALL)
    assert layers is not None
    below = re.findall(r'"(.*)"', layers[1])
    shown = re.search(r"```\n(pipeline\n.*?)```", PAGE, re.DOTALL)
    assert shown is not None
    assert shown[1].splitlines() == [layer.replace(" | ", ", ") for layer in below]


def test_every_name_that_the_page_follows_is_there() -> None:
    walks = PAGE.partition("## Follow one line")[2]
    names = set(re.findall(r"`([a-z_]+(?:\.\w+)+)`", walks)) - {"easy_train.parquet"}
    names = {name for name in names if not name.endswith((".jsonl", ".json", ".parquet"))}
    assert len(names) > 20
    assert [name for name in sorted(names) if not _is_there(name)] == []


def _is_there(name: str) -> bool:
    """Whether a module, or a name in a module, is in the package or is one of the scripts."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        module = ".".join(parts[:end])
        for full in (f"curriculum.{module}", module):
            try:
                found: object = importlib.import_module(full)
            except ModuleNotFoundError:
                continue
            return _has(found, parts[end:])
    return False


def _has(found: object, names: list[str]) -> bool:
    for name in names:
        fields = getattr(found, "__dataclass_fields__", {})
        if not hasattr(found, name) and name not in fields:
            return False
        found = getattr(found, name, None)
    return True
