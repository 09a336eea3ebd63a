"""Load parquet files with HF datasets as verl does, each alone, then together in several orders.

Prints its version of datasets as a line of JSON, then answers each line of standard input, a JSON
object with `paths` and `orders` (lists of places in `paths`), with the rows of each file. Stops
with a traceback where a file does not load, the files do not go together in an order, or rows
change when they do.
"""

from __future__ import annotations

import json
import sys

import datasets


def read(paths: list[str], orders: list[list[int]]) -> list[list[dict[str, object]]]:
    """The rows of each file."""
    alone = [datasets.load_dataset("parquet", data_files=path)["train"] for path in paths]
    rows = [found.to_list() for found in alone]
    for order in orders:
        together = datasets.concatenate_datasets([alone[i] for i in order])
        assert together.to_list() == [row for i in order for row in rows[i]], order
    return rows


def main() -> None:
    """Answer until standard input ends."""
    datasets.disable_progress_bars()
    print(json.dumps(datasets.__version__), flush=True)
    for line in sys.stdin:
        print(json.dumps(read(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
