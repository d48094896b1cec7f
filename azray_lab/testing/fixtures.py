"""The pytest fixtures themselves; `pytest_plugins = ["azray_lab.testing"]` gives them all."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest

from azray_lab.errors import UnsupportedError
from azray_lab.testing.azurite import Azurite, run_azurite

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", name="azurite")
def azurite_fixture() -> Iterator[Azurite]:
    """A Blob service of its own for the test module, on a free port of 127.0.0.1.

    One for each module, because Azurite stalls after many overwrites. Where it is not installed the test is skipped, or
    fails when the environment variable AZRAY_REQUIRE (comma separated) names `azurite`.
    """
    with contextlib.ExitStack() as running:
        try:
            server = running.enter_context(run_azurite())
        except UnsupportedError as error:
            if "azurite" in os.environ.get("AZRAY_REQUIRE", "").replace(" ", "").split(","):
                pytest.fail(f"AZRAY_REQUIRE names azurite: {error}")
            pytest.skip(f"azurite: {error}")
        yield server
