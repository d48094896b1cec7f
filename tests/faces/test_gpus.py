"""The verb `gpus` in a terminal and in a kernel: JSON, watching, and how watching ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

WATCH = ("gpus", "--watch", "--every", "0.1")


def test_json_is_one_document_with_the_reason(azray):
    """This machine as JSON: rows, and for a machine without usable GPUs why there is none."""
    done = azray("gpus", "--json")
    assert done.code == 0
    assert done.document["where"] == "this machine"
    assert done.document["rows"] or done.document["reasons"]["this machine"][0]["text"]


@pytest.mark.slow
def test_watching_ends_after_so_many_readings(azray):
    """`--times 3 --json` is three lines, each one document; as text the same table three times."""
    lines = azray(*WATCH, "--times", "3", "--json").out.splitlines()
    read = [json.loads(line)["read"] for line in lines]
    assert len(read) == 3
    assert read == sorted(set(read))
    assert azray(*WATCH, "--times", "3").out.count("this machine: ") >= 3


def test_times_without_watch_is_wrong_use(azray):
    """Exit code 2 and the option that is missing."""
    done = azray("gpus", "--times", "3")
    assert done.code == 2
    assert "add --watch" in done.err


@pytest.mark.parametrize("seconds", ["nan", "inf", "1e10", "0"])
def test_a_pause_that_is_no_time_is_wrong_use(azray, seconds):
    """Exit code 2 and the option, before anything is read."""
    done = azray("gpus", "--watch", "--every", seconds, "--times", "2")
    assert done.code == 2
    assert "--every" in done.err
    assert "Traceback" not in done.err


def test_an_unknown_cluster_is_named(azray):
    """The error of every verb that takes a cluster."""
    done = azray("gpus", "nowhere", "--json")
    assert done.code == 2
    assert done.document["error"]["code"] == "UnknownCluster"


def test_ctrl_c_ends_watching_quietly():
    """An interrupt is how watching ends: exit code 0 and nothing on stderr."""
    command = [sys.executable, "-m", "azray_lab", *WATCH, "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ), start_new_session=True
    ) as process:
        assert process.stdout
        first = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert first["where"] == "this machine"
    assert (process.returncode, err) == (0, "")


def test_a_cell_watches_in_one_place():
    """Three readings below a cell are one display that was updated, and the cell has no value."""
    sources = ["%load_ext azray_lab", "%azray gpus --watch --times 3 --every 0.1"]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]  # type: ignore[no-untyped-call]
    notebook = nbformat.v4.new_notebook(cells=cells)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    (output,) = cells[1].outputs
    assert output.output_type == "display_data"
    assert "this machine" in output.data["text/plain"]
    assert 'class="azray"' in output.data["text/html"]
