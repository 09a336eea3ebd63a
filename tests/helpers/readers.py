"""Read with the compiled scanner or without it, and look at rows as plain Python values."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from curriculum.scanner.compiled import SWITCH
from curriculum.verl.row_batch import RowBatch


@contextmanager
def without_scanner() -> Iterator[None]:
    """Meanwhile the Python readers do all the work."""
    with patch.dict(os.environ, {SWITCH: "1"}):
        yield


def values_of(batch: RowBatch) -> dict[str, Any]:
    """The columns of a batch as lists; missing scores are None, prompts lists of (role, text). The
    fields of extra_info are in order of their names."""
    found = {name: _as_list(getattr(batch, name)) for name in RowBatch.__annotations__}
    found["scores"] = [s if abs(s) < float("inf") else None for s in found["scores"]]
    found["prompts"] = [[tuple(m.values()) for m in prompt] for prompt in found["prompts"]]
    found["own"] = {name: _as_list(values) for name, (values, _) in sorted(batch.own.items())}
    return found


def _as_list(values: Any) -> Any:
    for method in ("tolist", "to_pylist"):
        if hasattr(values, method):
            return getattr(values, method)()
    return values
