"""Fixtures: the two scripts as functions."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

import bucket_rollouts_by_difficulty
import preprocess_bucketed_rollouts
from tests.support import Script

# The clock decides nothing, and what fails once fails again.
settings.register_profile(
    "project", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("project")


@pytest.fixture
def bucket(capsys: pytest.CaptureFixture[str]) -> Script:
    return Script(bucket_rollouts_by_difficulty.main, capsys)


@pytest.fixture
def preprocess(capsys: pytest.CaptureFixture[str]) -> Script:
    return Script(preprocess_bucketed_rollouts.main, capsys)
