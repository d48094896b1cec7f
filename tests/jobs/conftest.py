"""One real cluster for each module that asks: a head and a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import azray_lab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from azray_lab.cluster import Cluster
    from azray_lab.targets.base import Endpoint


@pytest.fixture(scope="module")
def cluster(azray_home: object) -> Iterator[Cluster]:
    """A cluster named `jobs` with one worker."""
    del azray_home  # it comes first, so that the cluster is registered in this module's home
    running = azray_lab.up(name="jobs", workers=1)
    try:
        yield running
    finally:
        running.down()


@pytest.fixture(scope="module")
def endpoint(cluster: Cluster) -> Endpoint:
    """Where the cluster answers."""
    return cluster.endpoint
