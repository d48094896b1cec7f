"""Fixtures of the widgets: patience, and a Ray dashboard on the wire."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from azray_lab import registry
from azray_lab.testing.ray_dashboard import FakeRay, run_dashboard


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], Any], str], Any]:
    """Polls a condition until it is true and returns what it gave; fails after 60 s, naming what was waited for."""

    def wait(check: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if value := check():
                return value
            time.sleep(0.01)
        raise AssertionError(f"waited 60 s for {what}")

    return wait


@pytest.fixture
def ray() -> Iterator[FakeRay]:
    """A cluster of three nodes, as its dashboard tells it; what was registered for it is forgotten afterwards."""
    with run_dashboard(nodes=3) as running:
        yield running
    for name in registry.names():
        registry.forget(name)
