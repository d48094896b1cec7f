"""The real nvidia-ml-py and Ray's own agents over a libnvidia-ml.so.1 that this test compiles: two H100."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import azray_lab

SOURCE = Path(__file__).with_name("nvml.c")
MIB = 2**20


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the compiled library."""
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("no C compiler on PATH")
    folder = tmp_path_factory.mktemp("nvml")
    command = [compiler, "-shared", "-fPIC", "-o", str(folder / "libnvidia-ml.so.1"), str(SOURCE)]
    subprocess.run(command, check=True, timeout=60)
    return folder


def test_the_real_binding_reads_the_library(library: Path):
    """`azray gpus --json` in a process whose loader finds the library: all that it says arrives, in our units."""
    command = [sys.executable, "-m", "azray_lab", "gpus", "--json"]
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run(
        command, env=environment | {"LD_LIBRARY_PATH": str(library)}, capture_output=True, timeout=60, check=True
    )
    (row,) = json.loads(done.stdout)["rows"]
    assert (row["type"], row["count"], row["nvlink"]) == ("H100", 2, 18)
    assert (row["memory_used"], row["memory_total"]) == (3000 * MIB, 2 * 81_559 * MIB)
    assert (row["utilisation"], row["temperature"]) == (0.375, 51.0)
    assert (row["driver"], row["cuda"]) == ("570.133.20", "12.8")
    assert row["problems"] == []


def test_a_gpu_that_falls_off_does_not_end_the_watching(library: Path, tmp_path: Path):
    """`azray gpus --watch` goes on: the GPU is named with NVML's words, and the other one keeps its numbers."""
    sign = tmp_path / "lost"
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    environment |= {"LD_LIBRARY_PATH": str(library), "STAND_IN_LOST": str(sign)}
    command = [sys.executable, "-m", "azray_lab", "gpus", "--watch", "--every", "0.1", "--json"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout
        readings = map(json.loads, process.stdout)
        assert [row["count"] for row in next(readings)["rows"]] == [2]
        sign.touch()
        after = next(reading for reading in readings if reading["reasons"])
        next(readings)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    whole, lost = after["rows"]
    assert (whole["type"], whole["count"], whole["memory_used"]) == ("H100", 1, 1000 * MIB)
    assert (lost["count"], lost["memory_total"]) == (1, None)
    assert lost["problems"] == ["GPU 1: it is lost to this machine: GPU is lost"]
    assert [(each["code"], each["next_step"]) for each in after["reasons"]["this machine"]] == [
        ("lost", "sudo dmesg | grep -i xid")
    ]


@pytest.fixture
def up_with(library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[azray_lab.Cluster]:
    """A cluster whose processes find the library, made by a process that finds it as well."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(library))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    command = [sys.executable, "-m", "azray_lab", "up", "--name", "h100", "--workers", "1"]
    subprocess.run(command, check=True, timeout=280)
    with azray_lab.attach("h100") as cluster:
        yield cluster


@pytest.mark.slow
@pytest.mark.ray
def test_rays_agents_report_what_each_node_has(up_with: azray_lab.Cluster):
    """The local target divides the two GPUs; Ray has their type, and each node's live numbers are its own GPU's."""
    deadline = time.monotonic() + 60
    report = up_with.gpus()
    while not all(row.devices for row in report.rows):
        assert time.monotonic() < deadline, f"the agents report nothing: {report}"
        time.sleep(0.2)
        report = up_with.gpus()
    assert [(row.node, row.type, row.count, row.pretended) for row in report.rows] == [
        ("head", "H100", 1, False),
        ("worker-1", "H100", 1, False),
    ]
    assert [(row.memory_used, row.utilisation, row.temperature) for row in report.rows] == [
        (1000 * MIB, 0.25, 50.0),
        (2000 * MIB, 0.5, 51.0),
    ]
    assert [node.resources["accelerator_type:H100"] for node in up_with.nodes] == [1.0, 1.0]
    labels = [node.labels for node in up_with.nodes]
    assert [(each["azray.io/gpus"], each["azray.io/gpu-memory-mib"]) for each in labels] == [
        ("0", "81559"),
        ("1", "81559"),
    ]
