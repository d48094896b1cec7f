"""Fixtures of the widgets: a Ray dashboard on the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from azray_lab import registry
from azray_lab.errors import UnsupportedError
from azray_lab.testing import node as nodes
from azray_lab.testing.ray_dashboard import FakeRay, run_dashboard


@pytest.fixture(scope="session")
def node(require: Callable[..., None]) -> str:
    """The Node that runs the scripts of widgets without a page, also that of a package; skips where there is none."""
    try:
        return str(nodes.node())
    except UnsupportedError as error:
        require("node", None, str(error))
        raise


@pytest.fixture
def ray() -> Iterator[FakeRay]:
    """A cluster of three nodes, as its dashboard tells it; what was registered for it is forgotten afterwards."""
    with run_dashboard(nodes=3) as running:
        yield running
    for name in registry.names():
        registry.forget(name)
