"""The tutorial on tuning as its readers have it: unmodified, under nbmake; and nothing of it is left afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from azure.storage.blob import BlobServiceClient

import azray_lab

if TYPE_CHECKING:
    from azray_lab.testing.azurite import Azurite

ROOT = Path(__file__).parents[2]
TUNE = ROOT / "notebooks" / "06_tune.ipynb"
# A generous deadline for machines that are busy with other things; the suite's own comes a little later.
SECONDS = 580.0
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
@pytest.mark.timeout(SECONDS + 20)
def test_the_tutorial_runs_unmodified_and_leaves_nothing(tmp_path: Path, azurite: Azurite, mark: str):
    """Every cell works and every check in it holds; no cluster, no process, no blob and no file stays."""
    bare = tmp_path / "pytest.ini"
    bare.write_text("[pytest]\n")
    arguments = ["--nbmake", f"--nbmake-timeout={SECONDS:.0f}", "-c", str(bare), "-q", "-p", "no:cacheprovider"]
    before = sorted(TUNE.parent.iterdir())
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, str(TUNE)],
        cwd=ROOT,
        env={**os.environ, **azurite.environment(), MARK: mark},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "1 passed" in done.stdout
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


def test_it_is_committed_as_tools_want_it():
    """Its first code cell is tagged `parameters`, its outputs are cleared, and it needs no torch."""
    code = _code_cells()
    assert code[0]["metadata"]["tags"] == ["parameters"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert not any("torch" in "".join(cell["source"]) for cell in code)


def _code_cells() -> list[dict[str, Any]]:
    return [cell for cell in json.loads(TUNE.read_text())["cells"] if cell["cell_type"] == "code"]
