"""Every module has its room, and imports point one way (docs/ARCHITECTURE.md)."""

from __future__ import annotations

import re

import pytest

from tests.support import ROOT

ROOMS = (
    ("errors", "arrays", "text", "version"),
    (
        "metrics", "bucketers", "filters", "prompts", "ground_truth", "shapes", "arrow", "verl",
        "inputs", "rollouts", "columns", "rows", "directory", "manifests", "lock", "dump_values",
        "formats", "raw_json", "hashes", "dump_read", "processes",
        "stores", "store_requests", "blocks", "sample", "histogram", "trust", "prior", "compare",
    ),
    ("scan", "copying", "infer", "convert", "parquet", "place", "workers", "progress", "rejected",
     "journal", "merge", "dump_index", "dump_responses", "dump_assemble", "dump_gather",
     "dump_find", "score_rows"),
    ("outputs", "plot", "options", "plan", "settings", "sets", "dump_summary", "bucket_summary",
     "bucket_warnings", "named_files", "preprocess_summary", "cli"),
    ("write_sets", "dumps", "line_files", "bucket_record", "bucket_errors", "cut"),
    ("score_table", "bucket_report"),
    ("bucket", "preprocess"),
)  # fmt: skip
FLOOR = {module: floor for floor, room in enumerate(ROOMS) for module in room}
MODULES = sorted(path.stem for path in (ROOT / "curriculum").glob("[a-z]*.py"))


def test_every_module_has_a_room_and_stands_in_the_picture() -> None:
    assert sorted(FLOOR) == MODULES
    picture = (ROOT / "docs/ARCHITECTURE.md").read_text("utf-8")
    assert [module for module in MODULES if f"{module}.py" not in picture] == []


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    source = (ROOT / f"curriculum/{module}.py").read_text("utf-8")
    imported = re.findall(r"^ *from curriculum\.(\w+) import", source, re.MULTILINE)
    assert [name for name in imported if FLOOR[name] > FLOOR[module]] == []
    assert {"bucket", "preprocess"}.isdisjoint(imported)
