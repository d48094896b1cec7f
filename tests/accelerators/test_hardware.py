"""The hardware of this machine, where there is some: skipped with detection's own reason where there is none."""

from __future__ import annotations

import shutil
import subprocess

import pytest
import ray

import azray_lab
from azray_lab.accelerators import catalog, detect
from azray_lab.targets.local.gpus import schedulable

pytestmark = [pytest.mark.gpu]


def test_every_device_says_what_it_is():
    """Memory, type and UUID of each GPU that Ray schedules, in units that can be."""
    for device in schedulable(detect().devices):
        assert device.type
        assert device.uuid
        assert 2**30 <= (device.memory_total or 0) <= 2**40
        assert 0 <= (device.memory_used or 0) <= (device.memory_total or 0)
        assert device.utilisation is None or 0 <= device.utilisation <= 1


def test_it_is_what_the_vendors_tool_says():
    """The names, drivers and memory of `nvidia-smi`."""
    if not shutil.which("nvidia-smi"):
        pytest.skip("gpu: no nvidia-smi on PATH")
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits"]
    lines = subprocess.run(query, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
    found = [device for device in detect().devices if device.vendor == catalog.NVIDIA and not device.mig]
    assert [line.split(", ") for line in lines] == [
        [device.name, device.driver, str((device.memory_total or 0) // 2**20)] for device in found
    ]


@pytest.mark.ray
@pytest.mark.slow
def test_a_local_cluster_has_them():
    """A cluster of this machine gives Ray what was found: count, type, label, and the live numbers in its report."""
    usable = schedulable(detect().devices)
    with azray_lab.up({"name": "real", "head": {"gpus": len(usable)}}) as cluster:
        cluster.connect(log_to_driver=False)
        assert ray.cluster_resources()["GPU"] == len(usable)  # type: ignore[no-untyped-call]
        row = cluster.gpus().rows[0]
        assert (row.type, row.count, row.pretended) == (usable[0].type, len(usable), False)
        assert row.memory_total
        cluster.disconnect()
