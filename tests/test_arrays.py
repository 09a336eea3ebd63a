"""Distinct values and rows: as np.unique finds them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curriculum.arrays import distinct, distinct_rows

NUMBERS = st.sampled_from([-1.5, -0.0, 0.0, 0.25, 1e300, 7])


@given(st.lists(NUMBERS))
def test_distinct_values(values: list[float]) -> None:
    given_array = np.array(values, np.float64)
    assert distinct(given_array).tolist() == np.unique(given_array).tolist()
    assert given_array.tolist() == values


@given(st.lists(st.tuples(NUMBERS, st.integers(-2, 2), st.booleans())), st.integers(1, 3))
def test_distinct_rows(rows: list[tuple[float, int, bool]], width: int) -> None:
    columns = [np.array([row[i] for row in rows], np.float64) for i in range(width)]
    found, numbers = distinct_rows(*columns)
    table = np.stack(columns, axis=1)
    expected, inverse = np.unique(table, axis=0, return_inverse=True)
    assert found.tolist() == expected.tolist()
    assert numbers.tolist() == inverse.reshape(-1).tolist()
