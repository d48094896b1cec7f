"""File systems on Azurite and on a server that counts, for all tests of storage that look through fsspec."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from azray_lab.storage.filesystem import BlobFileSystem, filesystem
from azray_lab.testing.blob_server import BlobServer, run_blob_server

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from azray_lab.testing.azurite import Azurite


@pytest.fixture
def files(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> AbstractFileSystem:
    """A file system on Azurite with the container `data`; the environment points there."""
    for name, value in azurite.environment().items():
        monkeypatch.setenv(name, value)
    azurite.container("data")
    BlobFileSystem.clear_instance_cache()
    return filesystem()


@pytest.fixture(scope="module")
def counted() -> Iterator[BlobServer]:
    """A server that counts."""
    with run_blob_server() as server:
        server.seed("data")
        yield server


@pytest.fixture
def on_counted(counted: BlobServer) -> AbstractFileSystem:
    """A file system on the server that counts, whose count is zero."""
    counted.faults()
    return filesystem(environ=counted.environment())
