"""The live chart of GPUs: what it makes of a report, and how it goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import azray_lab
from azray_lab import registry
from azray_lab.accelerators import Host
from azray_lab.accelerators.devices import Device, Reason
from azray_lab.hardware import GpuReport, Holder, reading
from azray_lab.hardware.report import GpuRow, row_of
from azray_lab.testing.ray_dashboard import run_dashboard
from azray_lab.widgets.display import _key
from azray_lab.widgets.feed import feed
from azray_lab.widgets.gpu_chart import GpuChart, GpuSource

if TYPE_CHECKING:
    from azray_lab.testing.ray_dashboard import FakeRay

Until = Callable[[Callable[[], Any], str], Any]
A100 = Device("NVIDIA", "NVIDIA A100", "A100", "0", memory_total=80 * 2**30, memory_used=20 * 2**30, utilisation=0.5)
HOLDER = Holder("actor", "<b>Trainer</b>", gpus=0.5)


@pytest.fixture
def report() -> GpuReport:
    """A cluster's report: one GPU that tells, one that fell off, and two pretended ones."""
    lost = Device("NVIDIA", "NVIDIA A100", "A100", "1", problem="it has fallen off the bus", lost=True)
    pretended = GpuRow("worker-1", "NVIDIA", "H100", 2, pretended=True)
    return GpuReport("no-such-cluster", (row_of("head", [A100, lost], [HOLDER]), pretended), read=1000.0)


def test_each_device_has_its_line_and_what_is_unknown_has_none(report: GpuReport):
    """Shares of utilisation and memory where a device tells; a lost one has its problem, pretended ones no numbers."""
    chart = GpuChart(report)
    try:
        devices = chart.document["devices"]
        assert (devices["head/0"]["utilisation"], devices["head/0"]["memory"]) == (0.5, 0.25)
        assert devices["head/1"]["problem"] == "it has fallen off the bus"
        assert devices["head/1"]["utilisation"] is None
        assert devices["worker-1/H100"]["pretended"]
        assert chart.whole_now()["history"][0][1]["head/0"] == [0.5, 0.25]
        assert "<b>Trainer" not in chart.static_html()
        devices, held = chart.document["tables"]
        assert {"vendor", "type", "memory", "held by"} <= set(devices["columns"])
        assert [row[0] for row in devices["rows"]] == ["head", "worker-1"]
        assert held["rows"][0][:3] == ["head", "actor <b>Trainer</b>", "0.5"]
    finally:
        chart.close()


def test_a_thousand_nodes_without_a_gpu_have_one_reason():
    """The chart says once what all nodes have in common, as the report does."""
    reasons: dict[str, tuple[Reason, ...]] = {f"worker-{number}": (reading.NO_GPU,) for number in range(1000)}
    document = GpuSource(GpuReport("many", reasons=reasons)).document()
    assert document["reasons"] == ["worker-0, worker-1, worker-2, worker-3 and 996 more: Ray was told of no GPU here"]


def test_a_cluster_that_has_ended_has_no_gpus_any_more(report: GpuReport, until: Until):
    """Reading fails: the chart says so, shows no device as if it were there, and does not end the thread."""
    chart = GpuChart(report)
    try:
        until(lambda: chart.document["problem"], "the word that it cannot be read")
        assert "no-such-cluster" in chart.document["problem"]
        assert (chart.document["devices"], chart.document["tables"], chart.document["count"]) == ({}, [], 0)
        assert feed().running
    finally:
        chart.close()


def test_the_report_of_a_given_host_is_not_replaced_by_this_machine(tmp_path: Path):
    """Only what can be read again by its name is shown live; a captured host's report stays what it was."""
    given = reading.machine(Host(root=tmp_path))
    assert _key(given) == ""
    assert _key(reading.machine()) == "gpus/this machine"
    assert "live" not in given.to_dict()


@pytest.mark.slow
def test_a_dashboard_that_hangs_does_not_hold_the_chart(ray: FakeRay):
    """A chart gives up at the first request that is not answered, so that the other cards of the kernel are fed."""
    ray.register("hangs")
    source = GpuSource(GpuReport("hangs"))
    ray.free.clear()
    assert not source.read()
    assert "does not answer" in source.document()["problem"]
    assert sum(ray.asked.values()) == 1


def test_what_a_dead_cluster_told_last_has_its_time_and_is_not_drawn_on():
    """While nothing answers the devices stay, marked with when they were read, and no reading is added to the lines."""
    with run_dashboard(nodes=2, gpus=2) as ray:
        ray.register("dies")
        source = GpuSource(reading.cluster("dies", azray_lab.attach("dies").endpoint))
        assert source.read()
        before = source.document()
        assert (len(before["devices"]), before["as_of"], before["problem"]) == (4, None, "")
        readings = len(source.history)
        ray.kill()
        assert not source.read()
        after = source.document()
        assert after["problem"]
        assert after["as_of"] == round(source.report.read, 1)
        assert (after["devices"], len(source.history)) == (before["devices"], readings)
        registry.forget("dies")
        assert not source.read()
        assert (source.document()["devices"], source.document()["as_of"]) == ({}, None)
