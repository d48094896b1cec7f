"""What `azray mounts --tune` may take of the network, of the disk and of time; by the stub, which reads nothing."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from azray_lab.operation import Operation
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.blobfuse.capacity import MIB
from azray_lab.storage.blobfuse.tuning import Advice, tune


def _tuned(stage: Any, uri: str, seconds: float) -> Advice:
    operation: Operation[Advice] = Operation("tune")
    return operation.run(lambda work: tune(stage.mounts, BlobUri.parse(uri), work, seconds))


def test_a_copy_is_measured_by_a_sample(stage):
    """Of 1,000 small files and 40 large ones 200 small and one large come, whatever lies below the folder."""
    stage.server.seed("data", "much/small-{}", 1000, b"x" * 100)
    stage.server.seed("data", "much/large-{}", 40, os.urandom(MIB), 4)
    stage.server.faults()
    advice = _tuned(stage, "az://data/much", 8.0)
    [copy] = [one for one in advice.measured if one.engine == "hydrate"]
    assert not copy.problem
    assert copy.files > 0
    assert copy.random > 0
    assert advice.best == copy
    assert stage.server.counts()["GET"] <= 200 + 4
    assert not list(stage.mounts.records.root.parent.glob("tune-*"))


@pytest.mark.slow
def test_a_large_blob_is_not_copied_to_be_measured(stage):
    """Above 64 MiB a copy has no figure for large files; the small ones tell."""
    stage.server.seed("data", "huge/small-{}", 60, b"x" * 100)
    stage.server.seed("data", "huge/large", 1, os.urandom(MIB), 65)
    stage.server.faults()
    [copy] = [one for one in _tuned(stage, "az://data/huge", 8.0).measured if one.engine == "hydrate"]
    assert (copy.problem, copy.sequential) == ("", 0.0)
    assert stage.server.counts()["GET"] <= 60


@pytest.mark.slow
def test_a_copy_that_is_slow_is_measured_by_what_came(stage):
    """A service that answers half of the requests and hangs in the others ends no later than its share of the time."""
    stage.server.seed("data", "slow/small-{}", 100, b"x" * 100)
    stage.server.faults({"method": "GET", "path": "small-9", "hang": 0})
    began = time.monotonic()
    [copy] = [one for one in _tuned(stage, "az://data/slow", 8.0).measured if one.engine == "hydrate"]
    assert not copy.problem
    assert copy.files > 0
    assert time.monotonic() - began < 60  # a deadline, not a figure: one request in silence takes as long
