"""Fixtures: the two scripts as functions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import bucket_rollouts_by_difficulty
import curriculum
import examples
import preprocess_bucketed_rollouts
from tests.helpers.rollouts import Script, rollout, write_jsonl
from tests.helpers.signals import as_in_the_foreground
from tests.storage.object_store import Store, s3_server

# The clock decides nothing, and what fails once fails again.
settings.register_profile(
    "project", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("project")
# Hypothesis takes the constants of all modules that are loaded into its examples: with the same
# ones loaded everywhere, no test depends on the tests before it in its process.
for package in (curriculum, examples):
    for found in walk_packages(package.__path__, f"{package.__name__}."):
        import_module(found.name)
for name in ("check_stages", "reward"):
    import_module(f"examples.verl.{name}")

# The Python that `make` used is none of the scripts' business.
os.environ.pop("PYTHON", None)


@pytest.fixture
def bucket(capsys: pytest.CaptureFixture[str]) -> Script:
    return Script(bucket_rollouts_by_difficulty.main, capsys)


@pytest.fixture
def preprocess(capsys: pytest.CaptureFixture[str]) -> Script:
    return Script(preprocess_bucketed_rollouts.main, capsys)


@pytest.fixture
def foreground() -> Iterator[None]:
    """No signal that ends a run is ignored, even where the tests run in the background."""
    with as_in_the_foreground():
        yield


@pytest.fixture(autouse=True)
def small_experiments(request: pytest.FixtureRequest) -> Iterator[None]:
    """Bucketing draws a million scores to say how many more responses would help: most of the time
    of a small run. No file depends on it, and tests/statistics draws all of them."""
    with pytest.MonkeyPatch.context() as patch:
        if "statistics" not in request.path.parts:
            patch.setattr("curriculum.statistics.more_responses.NUMBERS", 1_000)
        yield


FEW = ([1, 1], [0, 1, 1], [0, 0], [1, 0], [0, 0, 0], [1, 1, None], [None], [0.5, 0.7])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Rollouts of every kind, several times."""
    found = [rollout(*FEW[i % 8], prompt=f"prompt {i}", key=f"k{i}") for i in range(64)]
    write_jsonl(tmp_path / "in/a.jsonl", found[:40])
    write_jsonl(tmp_path / "in/b.jsonl", found[40:])
    return tmp_path / "in"


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of an S3 server."""
    pytest.importorskip("moto", reason="`make engines` installs a server")
    with s3_server() as endpoint:
        yield endpoint


_NUMBERS = count()


@pytest.fixture
def store(s3: str) -> Iterator[Store]:
    """A new bucket on a server that works."""
    bucket = Store(s3, f"bucket-{next(_NUMBERS)}")
    bucket.counts()
    bucket.request("PUT", bucket.bucket)
    yield bucket
    bucket.counts()


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A Ray cluster of one node, to which tests add another."""
    if find_spec("moto"):
        request.getfixturevalue("s3")  # nodes have the environment that is there at their start
    # Ray reads this when it is loaded, and then stays on loopback.
    os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    pytest.importorskip("ray", reason="`make engines` installs Ray")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    os.environ["RAY_ADDRESS"] = cluster.address  # for commands that name none
    yield cluster
    del os.environ["RAY_ADDRESS"]
    cluster.shutdown()


@pytest.fixture
def node(cluster: Any) -> Iterator[Any]:
    """A second node of the cluster, which a test may take away."""
    added = cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
    yield added
    if added in cluster.worker_nodes:
        cluster.remove_node(added)
