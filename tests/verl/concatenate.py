"""Load parquet files with HF datasets as verl does, each alone, then together in several orders.

The first argument is the orders, a JSON list of lists of places; the others are the files. Prints
JSON: the version of datasets, and the rows of each file. Stops with a traceback where a file does
not load, the files do not go together in an order, or rows change when they do.
"""

from __future__ import annotations

import json
import sys

import datasets


def main() -> None:
    """Read the files named on the command line."""
    datasets.disable_progress_bars()
    orders, paths = json.loads(sys.argv[1]), sys.argv[2:]
    alone = [datasets.load_dataset("parquet", data_files=path)["train"] for path in paths]
    rows = [found.to_list() for found in alone]
    for order in orders:
        together = datasets.concatenate_datasets([alone[i] for i in order])
        assert together.to_list() == [row for i in order for row in rows[i]], order
    print(
        json.dumps({"version": datasets.__version__, "rows": dict(zip(paths, rows, strict=True))})
    )


if __name__ == "__main__":
    main()
