"""Rows in the form that verl reads: values of rollouts → one schema → Arrow columns.

In: lines of bucket files. Out: record batches with the schema that all files of a run share.
Promise: no ground truth is changed, and all files of one bucket directory load together.
"""

from curriculum.verl.rows import OwnField, RowForm, Stage, build_rows, finish_rows

__all__ = ["OwnField", "RowForm", "Stage", "build_rows", "finish_rows"]
