"""Positions drawn by weight are those that a search in the cumulative weights finds."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from curriculum.statistics.posterior import WeightedPositions

WEIGHT = st.sampled_from([0.0, 1e-300, 1e-9, 0.1, 0.3, 1.0, 7.0]) | st.floats(0, 1e6)


@given(weights=st.lists(WEIGHT, min_size=1, max_size=60), seed=st.integers(0, 2**32))
def test_positions_are_those_of_a_search(weights: list[float], seed: int) -> None:
    ends = np.cumsum(weights)
    assume(ends[-1] > 0)
    found = WeightedPositions(ends).draw(np.random.default_rng(seed), (50, 4))
    drawn = np.random.default_rng(seed).random((50, 4)) * ends[-1]
    assert found.tolist() == np.searchsorted(ends, drawn).clip(max=len(ends) - 1).tolist()
