#!/usr/bin/env python3
"""Print the first row of a parquet file; long texts are cut and unset keys left out."""

from __future__ import annotations

import json
import sys
from typing import Any

import pyarrow.parquet as pq


def shortened(value: Any) -> Any:
    """The value with every text cut to a line's length, and unset keys left out."""
    if isinstance(value, str):
        return value if len(value) <= 70 else value[:67] + "…"
    if isinstance(value, dict):
        return {key: shortened(inner) for key, inner in value.items() if inner is not None}
    return [shortened(item) for item in value] if isinstance(value, list) else value


def main() -> int:
    """Show the file named on the command line."""
    if len(sys.argv) != 2:
        print("usage: show_row.py FILE.parquet", file=sys.stderr)
        return 2
    (row,) = pq.read_table(sys.argv[1]).slice(0, 1).to_pylist()
    print(json.dumps(shortened(row), indent=2, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
