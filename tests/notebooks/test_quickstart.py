"""The quickstart as its readers have it: unmodified, under nbmake; and the demo around it, also when it goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from azure.storage.blob import BlobServiceClient

if TYPE_CHECKING:
    from azray_lab.testing.azurite import Azurite

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "notebooks" / "01_quickstart.ipynb"
DEMO = ROOT / "scripts" / "demo.py"
# A generous deadline for machines that are busy with other things; the suite's own comes a little later.
SECONDS = 580.0
MARKS = [pytest.mark.slow, pytest.mark.ray, pytest.mark.azurite, pytest.mark.timeout(SECONDS + 20)]
pytestmark = [*MARKS, pytest.mark.usefixtures("no_cluster_left")]


def test_the_quickstart_runs_unmodified_under_nbmake(nbmake: Callable[..., None], azurite: Azurite):
    """Every cell of the committed notebook works and every check in it holds, in a pytest run of nbmake's own."""
    nbmake(QUICKSTART, **azurite.environment())
    assert _containers(azurite) == []


def _containers(azurite: Azurite) -> list[str]:
    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        return [container.name for container in service.list_containers()]


def _code_cells(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


# The demo, with notebooks that end sooner than the quickstart.

UP = "%load_ext azray_lab\ncluster = %azray up --name {cluster_name} --workers 0"
BLOB = "import azray_lab\nazray_lab.filesystem('az://').mkdir('demo')"
SHOW = "import os\nprint('endpoint', os.environ['AZURE_STORAGE_CONNECTION_STRING'].partition('BlobEndpoint=')[2])"

Notebook = Callable[..., Path]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def notebook(tmp_path: Path) -> Notebook:
    """Writes a notebook whose first cell holds the parameters, and returns its path."""

    def write(*sources: str) -> Path:
        tags = [["parameters"], *([] for _ in sources)]
        texts = ['cluster_name = "unset"', *sources]
        cells = [_code_cell(f"c{n}", text, tag) for n, (text, tag) in enumerate(zip(texts, tags, strict=True))]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        document = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
        path = tmp_path / "small.ipynb"
        path.write_text(json.dumps(document))
        return path

    return write


def _code_cell(cell: str, source: str, tags: list[str]) -> dict[str, Any]:
    fixed: dict[str, Any] = {"cell_type": "code", "outputs": [], "execution_count": None}
    return {**fixed, "id": cell, "source": source, "metadata": {"tags": tags}}


def _command(path: Path) -> list[str]:
    return [str(DEMO), str(path), "--output", str(path.parent / "out")]


def test_the_demo_says_in_five_lines_what_it_did(notebook: Notebook, python: Run, azurite: Azurite):
    """It executes a notebook against a Blob service of its own, ends a forgotten cluster, and shows the way."""
    path = notebook(UP, BLOB, SHOW)
    done = python(*_command(path), folder=ROOT, **azurite.environment())
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1 + 5
    out = path.parent / "out"
    for result in (out / "small.ipynb", out / "small.html"):
        assert str(result) in done.stdout
        assert "endpoint" in result.read_text()
        assert azurite.blob_endpoint not in result.read_text(), "the demo used the Blob service of its caller"
    assert "ending the cluster demo-" in done.stderr


def test_a_cell_that_fails_is_named_in_one_line_and_nothing_stays(notebook: Notebook, python: Run):
    """Exit status 1, the cell with its error in one line, the executed copy with the error in it, no cluster left."""
    path = notebook(UP, "assert 1 + 1 == 3, 'sums are\\nwrong'", "never = True")
    done = python(*_command(path), folder=ROOT)
    assert done.returncode == 1, done.stdout + done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("demo failed: cell [")
    assert "AssertionError: sums are wrong" in last
    assert "Traceback" not in done.stderr
    executed = _code_cells(path.parent / "out" / "small.ipynb")
    assert any(output["output_type"] == "error" for cell in executed for output in cell["outputs"])


def test_ctrl_c_ends_all_that_the_demo_started(notebook: Notebook, tmp_path: Path):
    """An interrupt in the middle of a cell gives exit status 130, and cluster, Azurite and kernel are gone."""
    here = tmp_path / "here"
    path = notebook(UP, f"import pathlib, time\npathlib.Path({str(here)!r}).touch()\ntime.sleep({SECONDS})")
    process = subprocess.Popen(
        [sys.executable, *_command(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _wait_for(lambda: here.exists() or process.poll() is not None)
        started = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: everybody in the foreground gets it
        out, err = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, out + err
    assert err.splitlines()[-1] == "demo interrupted; everything that it had started is stopped"
    assert started
    assert not [child for child in started if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)
