"""The tutorial on tuning as its readers have it: unmodified, under nbmake; and nothing of it is left afterwards."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from azure.storage.blob import BlobServiceClient

import azray_lab

if TYPE_CHECKING:
    from azray_lab.testing.azurite import Azurite

TUNE = Path(__file__).parents[2] / "notebooks" / "06_tune.ipynb"
# Every process of the notebook inherits it, the cluster's as well.
MARK = "TUNE_TEST"
GRACE_SECONDS = 15.0


@pytest.fixture
def mark() -> Iterator[str]:
    """What marks the processes of this test; a cluster that a failed notebook has left is ended."""
    try:
        yield uuid.uuid4().hex
    finally:
        for cluster in azray_lab.clusters():
            cluster.down()


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.azurite
@pytest.mark.timeout(600)
def test_the_tutorial_runs_unmodified_and_leaves_nothing(nbmake: Callable[..., None], azurite: Azurite, mark: str):
    """Every cell works and every check in it holds; no cluster, no process, no blob and no file stays."""
    before = sorted(TUNE.parent.iterdir())
    nbmake(TUNE, **azurite.environment(), **{MARK: mark})
    assert azray_lab.clusters() == []
    assert _started_by(mark) == []
    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        assert list(service.list_containers()) == []
    assert sorted(TUNE.parent.iterdir()) == before
    assert not (Path.home() / "ray_results").exists()


def _started_by(mark: str) -> list[str]:
    """The processes that carry the mark, when those that are ending have had some time."""
    deadline = time.monotonic() + GRACE_SECONDS
    while (left := list(_marked(mark))) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def _marked(mark: str) -> Iterator[str]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                yield f"{process.pid} {process.name()}"
