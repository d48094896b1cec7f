"""The tutorial on GPUs as its readers have it: unmodified, under nbmake, with pretended GPUs where there are none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import azray_lab

ROOT = Path(__file__).parents[2]
GPUS = ROOT / "notebooks" / "05_gpus.ipynb"
# A generous deadline for machines that are busy with other things; the suite's own comes a little later.
SECONDS = 580.0


@pytest.fixture
def _no_cluster_left() -> Iterator[None]:
    """A notebook that fails skips its own clean-up, so it is done here; and then it is the test that fails."""
    try:
        yield
        assert azray_lab.clusters() == []
    finally:
        for cluster in azray_lab.clusters():
            cluster.down()


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(SECONDS + 20)
@pytest.mark.usefixtures("_no_cluster_left")
def test_the_tutorial_runs_unmodified_under_nbmake(tmp_path: Path):
    """Every cell of the committed notebook works and every check in it holds."""
    bare = tmp_path / "pytest.ini"
    bare.write_text("[pytest]\n")
    arguments = ["--nbmake", f"--nbmake-timeout={SECONDS:.0f}", "-c", str(bare), "-q", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *arguments, str(GPUS)]
    done = subprocess.run(
        command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "1 passed" in done.stdout


def test_the_tutorial_is_committed_as_tools_want_it():
    """Its first code cell is tagged `parameters`, and its outputs are cleared."""
    code = [cell for cell in json.loads(GPUS.read_text())["cells"] if cell["cell_type"] == "code"]
    assert code[0]["metadata"]["tags"] == ["parameters"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
