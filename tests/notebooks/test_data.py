"""The tutorial on data as its readers have it: unmodified, with what this machine can mount, and without FUSE."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from azure.storage.blob import BlobServiceClient

import azray_lab
from azray_lab.storage.blobfuse import mountinfo

if TYPE_CHECKING:
    from azray_lab.testing.azurite import Azurite

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "04_data.ipynb"
SECONDS = 580.0
pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.azurite, pytest.mark.timeout(SECONDS + 20)]


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


def test_the_tutorial_runs_unmodified(tmp_path: Path, azurite: Azurite):
    """Every cell works and every check in it holds; no blob, mount or cluster is left."""
    code, text = _executed(tmp_path, **azurite.environment())
    assert "No cluster, no mount, no blobs are left" in text, code
    assert ("Skipped" in text) == (not _can_mount())
    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        assert [container.name for container in service.list_containers()] == []
    assert not [there for there in mountinfo.read() if "azray-data-" in there.path]


def _can_mount() -> bool:
    from azray_lab.storage.blobfuse.request import obstacle

    return obstacle(os.environ) is None and os.geteuid() == 0


def _executed(folder: Path, **environment: str) -> tuple[int, str]:
    out = folder / "out.ipynb"
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", str(NOTEBOOK), str(out)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=SECONDS,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    cells = json.loads(out.read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return done.returncode, "".join("".join(output.get("text", [])) for output in outputs)


def test_the_tutorial_is_committed_as_tools_want_it():
    """Its first code cell is tagged `parameters`, its outputs are cleared, and it prints no secret."""
    code: list[dict[str, Any]] = [c for c in json.loads(NOTEBOOK.read_text())["cells"] if c["cell_type"] == "code"]
    assert code[0]["metadata"]["tags"] == ["parameters"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert not any("print(os.environ" in "".join(cell["source"]) for cell in code)
