"""The tutorial on data as its readers have it: unmodified, with what this machine can mount, and without FUSE."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from azure.storage.blob import BlobServiceClient

import azray_lab
from azray_lab.storage.blobfuse import mountinfo

if TYPE_CHECKING:
    from azray_lab.testing.azurite import Azurite

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "04_data.ipynb"
pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.azurite, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """A notebook that fails skips its own clean-up, so it is done here; and then it is the test that fails."""
    try:
        yield
        assert azray_lab.clusters() == []
        assert [mount for mount in azray_lab.mounts().to_dict() if mount["owners"]] == []
    finally:
        for cluster in azray_lab.clusters():
            cluster.down()
        for mount in azray_lab.mounts().to_dict():
            if mount["owners"]:
                azray_lab.unmount(mount["path"], lazy=True)


def test_the_tutorial_runs_unmodified(nbmake: Callable[..., None], tmp_path: Path, azurite: Azurite):
    """Every cell works and every check in it holds; no blob, mount or cluster is left."""
    copy = Path(shutil.copy(NOTEBOOK, tmp_path))
    nbmake(copy, overwrite=True, **azurite.environment())
    text = _printed(copy)
    assert "No cluster, no mount, no blobs are left" in text, text
    assert ("Skipped" in text) == (not _can_mount())
    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        assert [container.name for container in service.list_containers()] == []
    assert not [there for there in mountinfo.read() if "azray-data-" in there.path]


def _can_mount() -> bool:
    from azray_lab.storage.blobfuse.request import obstacle

    return obstacle(os.environ) is None and os.geteuid() == 0


def _printed(notebook: Path) -> str:
    cells = json.loads(notebook.read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return "".join("".join(output.get("text", [])) for output in outputs)
