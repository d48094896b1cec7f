"""fsspec's own tests of a file system, on a real Blob service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from fsspec.tests import abstract

from azray_lab.storage.filesystem import filesystem

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from azray_lab.testing.azurite import Azurite

pytestmark = [
    pytest.mark.slow,
    pytest.mark.azurite,
    # aiohttp dislikes how the SDK hands it a body of more than 1 MiB.
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),
]


class Fixtures(abstract.AbstractFixtures):  # type: ignore[misc]  # fsspec has no types
    """A container of its own for each test class."""

    @pytest.fixture
    def fs(self, azurite: Azurite) -> AbstractFileSystem:
        """The file system under test."""
        azurite.container("abstract")
        return filesystem("az://abstract", environ=azurite.environment())

    @pytest.fixture
    def fs_path(self, fs: AbstractFileSystem) -> Iterator[str]:
        """A folder that is empty at the start and at the end."""
        yield "abstract/test"
        if fs.exists("abstract/test"):
            fs.rm("abstract/test", recursive=True)

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        """A folder of a flat account is there as long as a blob is in it."""
        return False


class TestCopy(abstract.AbstractCopyTests, Fixtures):  # type: ignore[misc]
    """Between blobs."""


class TestGet(abstract.AbstractGetTests, Fixtures):  # type: ignore[misc]
    """To files."""


class TestPut(abstract.AbstractPutTests, Fixtures):  # type: ignore[misc]
    """From files."""


class TestPipe(abstract.AbstractPipeTests, Fixtures):  # type: ignore[misc]
    """Bytes, also only where nothing is yet."""


class TestOpen(abstract.AbstractOpenTests, Fixtures):  # type: ignore[misc]
    """Opening, also only where nothing is yet."""
