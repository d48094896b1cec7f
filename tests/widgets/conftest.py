"""Fixtures of the widgets: a Ray dashboard on the wire."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from azray_lab import registry
from azray_lab.testing.ray_dashboard import FakeRay, run_dashboard


@pytest.fixture(scope="session")
def node() -> str:
    """The Node that runs the scripts of widgets without a page; skips the test where there is none."""
    return shutil.which("node") or pytest.skip("node: no node on PATH")


@pytest.fixture
def ray() -> Iterator[FakeRay]:
    """A cluster of three nodes, as its dashboard tells it; what was registered for it is forgotten afterwards."""
    with run_dashboard(nodes=3) as running:
        yield running
    for name in registry.names():
        registry.forget(name)
