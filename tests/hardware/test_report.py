"""The report: of machines that are written down, and of clusters whose dashboard is a server of the test."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pynvml
import pytest

from azray_lab import gpus
from azray_lab.accelerators import Device, Host
from azray_lab.accelerators.labels import GPUS_LABEL, PRETENDED, indices, labels
from azray_lab.errors import ClusterLostError
from azray_lab.hardware import GpuReport, GpuRow, Holder, reading
from azray_lab.hardware.cells import cell_of
from azray_lab.testing.nvml import FakeNvml

GIB, MIB = 2**30, 2**20
H100 = "NVIDIA H100 80GB HBM3"


def host(nvml: dict[str, Any]) -> Host:
    """A machine of which only NVML is known."""
    return Host(Path("/nonexistent"), nvml=FakeNvml(nvml), amdsmi=lambda: None, environment={})


NO_LIBRARY = host({"init_error": pynvml.NVML_ERROR_LIBRARY_NOT_FOUND})


def one_gpu(**more: Any) -> dict[str, Any]:
    """What NVML says of a machine with one H100."""
    device = {"name": H100, "uuid": "GPU-0", "memory": [80 * GIB, 30 * GIB], "busy": 90, "temperature": 61}
    return {"driver": "570.133.20", "cuda": 12080, "gpus": [device | {"nvlinks": [1] * 18, "processes": []} | more]}


@pytest.fixture
def machines_of_mig() -> Host:
    """A machine with one A100 that is cut into two instances."""
    part = {"name": "NVIDIA A100-SXM4-80GB MIG 1g.10gb", "memory": [10 * GIB, 0], "processes": []}
    parts = [part | {"uuid": f"MIG-{number}"} for number in range(2)]
    return host(one_gpu(name="NVIDIA A100-SXM4-80GB", nvlinks=[1] * 12, mig_mode=1, instances=parts))


# This machine.


def test_a_machine_is_one_row_for_each_type():
    """Memory is summed, and a process that nobody of Ray's is holds what it holds."""
    machine = one_gpu(processes=[[99, 29 * GIB]])
    machine["gpus"].append({"name": "Tesla T4", "uuid": "GPU-1", "memory": [16 * GIB, 0]})
    report = gpus(host=host(machine))
    assert [(row.type, row.count, row.memory_used, row.memory_total) for row in report.rows] == [
        ("H100", 1, 30 * GIB, 80 * GIB),
        ("T4", 1, 0, 16 * GIB),
    ]
    assert [(h.kind, h.pid, h.memory) for h in report.rows[0].holders] == [("process", 99, 29 * GIB)]
    assert report.reasons == {}


def test_links_are_those_of_one_gpu(machines_of_mig):
    """MIG instances share the links of their GPU, so they are not added up."""
    (row,) = gpus(host=machines_of_mig).rows
    assert (row.count, row.nvlink, row.mig) == (2, 12, ("2 x 1g.10gb",))


def test_without_a_gpu_the_report_says_why():
    """No rows, one reason, and the text says both."""
    report = gpus(host=NO_LIBRARY)
    assert (report.rows, report.count) == ((), 0)
    assert str(report) == (
        "this machine: no GPUs\n  this machine: there is no GPU and no other accelerator on the PCI bus"
    )


def test_a_gpu_that_falls_off_while_it_is_watched():
    """Reading again and again: the row stays, its numbers go, and the report says what happened."""
    machine = one_gpu()
    nvml = FakeNvml(machine)
    here = Host(Path("/nonexistent"), nvml=nvml, amdsmi=lambda: None, environment={})
    assert gpus(host=here).rows[0].utilisation == 0.9
    nvml.failing = dict.fromkeys(("nvmlDeviceGetHandleByIndex",), (pynvml.NVML_ERROR_GPU_IS_LOST, 1))
    after = gpus(host=here)
    assert (after.rows[0].utilisation, after.rows[0].memory_total) == (None, None)
    assert "GPU 0: it is lost to this machine: GPU is lost" in str(after)
    nvml.failing = {"nvmlInit": (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, 1)}
    assert gpus(host=here).count == 0


# A cluster.


def test_a_cluster_of_real_gpus(dashboard):
    """Live memory, use and heat of each node; actors and tasks hold what they asked for, with their memory and job."""
    live = [dashboard.gpu(i, H100, 40_960, 81_559, *([700] if i == 0 else [])) for i in range(8)]
    dashboard.node("head", [], count=0)
    dashboard.node("gpu-1", live, count=8, kind="H100")
    group = "0" * 31 + "f"
    wanted = {f"GPU_group_{group}": 2.0, f"GPU_group_0_{group}": 2.0, f"bundle_group_{group}": 0.001}
    dashboard.actor("gpu-1", "trainer", 700, wanted)
    dashboard.actor("gpu-1", "cpu only", 702, {"CPU": 1.0})
    task: dict[str, Any] = {
        "task_id": "t",
        "name": "score",
        "type": "NORMAL_TASK",
        "state": "RUNNING",
        "job_id": "01000000",
    }
    task |= {"node_id": dashboard.id("gpu-1"), "worker_pid": 701, "required_resources": {"GPU": 0.5}, "call_site": None}
    dashboard.tasks += [task, task | {"type": "ACTOR_TASK", "task_id": "u"}, task | {"state": "FINISHED"}]
    dashboard.jobs.append({"job_id": "01000000", "submission_id": "raysubmit_1", "entrypoint": "python train.py"})

    report = reading.cluster("a", dashboard.endpoint, NO_LIBRARY)
    (row,) = report.rows
    assert (row.node, row.vendor, row.type, row.count) == ("gpu-1", "NVIDIA", "H100", 8)
    assert (row.memory_used, row.memory_total) == (8 * 40_960 * MIB, 8 * 81_559 * MIB)
    assert (row.utilisation, row.temperature, row.pretended) == (0.5, 60.0, False)
    assert [(h.kind, h.name, h.gpus, h.memory, h.job) for h in row.holders] == [
        ("actor", "trainer", 2.0, 40_960 * MIB, "raysubmit_1"),
        ("task", "score", 0.5, None, "raysubmit_1"),
    ]
    assert row.holders[0].entrypoint == "python train.py"
    assert [reason.text for reason in report.reasons["head"]] == ["Ray was told of no GPU here"]


def test_the_number_of_requests_does_not_depend_on_the_number_of_nodes(dashboard):
    """Five for two hundred nodes with GPUs, one for a cluster without any."""
    dashboard.node("head", [], count=0)
    assert reading.cluster("a", dashboard.endpoint, NO_LIBRARY).count == 0
    assert dashboard.asked == ["/api/v0/nodes"]
    for number in range(200):
        dashboard.node(f"gpu-{number}", [dashboard.gpu(0, H100, 0, 81_559)], count=1)
    dashboard.asked.clear()
    assert reading.cluster("a", dashboard.endpoint, NO_LIBRARY).count == 200
    assert len(dashboard.asked) == 5


def test_nodes_of_one_machine_show_their_own_devices(dashboard):
    """Every agent of a machine reports all of its GPUs; a node shows those in its label, completed from here."""
    live = [dashboard.gpu(index, H100, 1_000 * index, 81_559) for index in range(4)]
    dashboard.node("head", live, count=1, labels={GPUS_LABEL: "0"})
    dashboard.node("worker-1", live, count=2, labels={GPUS_LABEL: "2_3"})
    report = reading.cluster("a", dashboard.endpoint, host(one_gpu()))
    assert [(row.node, row.count, row.memory_used) for row in report.rows] == [
        ("head", 1, 0),
        ("worker-1", 2, 5_000 * MIB),
    ]
    assert (report.rows[0].driver, report.rows[0].cuda, report.rows[0].nvlink) == ("570.133.20", "12.8", 18)


def test_amd_gpus_of_another_machine_have_the_type_of_their_node(dashboard):
    """Agents report product names, which are no types of Ray; the node's label is."""
    live = [dashboard.gpu(index, "AMD Instinct MI300X VF", 300, 196_592) for index in range(8)]
    kind = "AMD-Instinct-MI300X-OAM"
    dashboard.node("head", live, count=8, labels={"ray.io/accelerator-type": kind})
    (row,) = reading.cluster("a", dashboard.endpoint, NO_LIBRARY).rows
    assert (row.vendor, row.type, row.count) == ("AMD", kind, 8)


def test_mig_instances_of_a_node(dashboard):
    """An agent numbers instance 2 of GPU 1 as 1002; use is not told for instances."""
    name = "NVIDIA A100-SXM4-80GB MIG 1g.10gb"
    live = [dashboard.gpu(1000 + i, name, 10, 9_728, utilizationGpu=-1, temperatureC=None) for i in range(3)]
    dashboard.node("head", live, count=3, kind="A100")
    (row,) = reading.cluster("a", dashboard.endpoint, NO_LIBRARY).rows
    assert (row.type, row.mig, row.utilisation, row.temperature) == ("A100", ("3 x 1g.10gb",), None, None)
    assert [device.index for device in row.devices] == ["1:0", "1:1", "1:2"]


def test_a_part_of_a_gpu_on_a_node_says_which(dashboard):
    """What an agent reports as a vGPU is named as the part that it is."""
    dashboard.node("head", [dashboard.gpu(0, "NVIDIA A10-4Q", 10, 4_096)], count=1, kind="A10")
    report = reading.cluster("a", dashboard.endpoint, NO_LIBRARY)
    assert [(reason.code, reason.text[:22]) for reason in report.reasons["head"]] == [
        ("fraction", "GPU 0 is 1/6 of one A1")
    ]


def test_a_dashboard_without_a_part_of_its_own_is_our_error(dashboard):
    """404 for a module that is not up: ClusterLostError that names it."""
    dashboard.node("head", [], count=1)
    dashboard.missing = "/nodes"
    with pytest.raises(ClusterLostError, match="has no /nodes"):
        reading.cluster("a", dashboard.endpoint, NO_LIBRARY)


def test_pretended_gpus_say_so_everywhere(dashboard):
    """In the row, in the text, in HTML, in JSON, and in the reason for the missing numbers; also beside real ones."""
    given = {GPUS_LABEL: PRETENDED, "ray.io/accelerator-type": "A100"}
    dashboard.node("head", [dashboard.gpu(0, H100, 1, 2)], count=4, kind="A100", labels=given)
    report = reading.cluster("a", dashboard.endpoint, NO_LIBRARY)
    (row,) = report.rows
    assert (row.type, row.count, row.pretended, row.devices, row.memory_total) == ("A100", 4, True, (), None)
    assert "4 GPUs, all pretended" in str(report)
    assert "A100 (pretended)" in report._repr_html_()
    assert report.to_dict()["rows"][0]["pretended"] is True
    assert report.reasons["head"][0].text.startswith("its GPUs are pretended")


def test_gpus_that_nobody_reports(dashboard):
    """Ray counts GPUs and the agent sees none: the count stays, and the reason says so."""
    dashboard.node("head", [], count=2, kind="T4")
    report = reading.cluster("a", dashboard.endpoint, NO_LIBRARY)
    assert (report.rows[0].type, report.rows[0].count) == ("T4", 2)
    assert report.reasons["head"][0].text == "Ray counts GPUs here, but its agent reports none"


def test_a_gpu_that_falls_off_a_node_while_it_is_watched(dashboard):
    """The next reading has one device less than Ray counts, and says so."""
    live = [dashboard.gpu(index, H100, 0, 81_559) for index in range(2)]
    dashboard.node("head", live, count=2, kind="H100")
    assert reading.cluster("a", dashboard.endpoint, NO_LIBRARY).reasons == {}
    live.pop()
    report = reading.cluster("a", dashboard.endpoint, NO_LIBRARY)
    assert report.rows[0].count == 1
    assert report.reasons["head"][0].text == "Ray counts 2 GPUs here, and its agent reports 1"


def test_a_cluster_that_is_gone_is_our_error(dashboard):
    """Nobody listens: ClusterLostError, not a report without GPUs."""
    gone = replace(dashboard.endpoint, dashboard_url="http://127.0.0.1:1")
    with pytest.raises(ClusterLostError):
        reading.cluster("a", gone, NO_LIBRARY)


# How it looks, and what it is made of.


def test_names_are_text_in_html():
    """Whatever an actor or a node is called, the HTML has it as text."""
    evil = "<script>alert(1)</script>"
    report = GpuReport(evil, (GpuRow(evil, "NVIDIA", "T4", 1, holders=(Holder("actor", evil, cell=evil),)),))
    assert "<script" not in report._repr_html_()
    assert report._repr_html_().count("&lt;script&gt;") >= 4


def test_the_text_has_what_was_told_and_who_holds_it(dashboard):
    """Columns in which nobody told anything are left out; holders have a table of their own."""
    dashboard.node("head", [], count=2, kind="A100", labels={GPUS_LABEL: PRETENDED})
    dashboard.actor("head", "half", 7, {"GPU": 0.5})
    dashboard.jobs.append({"job_id": "01000000", "submission_id": None, "entrypoint": "python train.py"})
    assert str(reading.cluster("a", dashboard.endpoint, NO_LIBRARY)).splitlines() == [
        "a: 2 GPUs, all pretended",
        "  NODE  VENDOR  TYPE              COUNT  HELD BY",
        "  head  NVIDIA  A100 (pretended)  2      1 actor",
        "  NODE  HELD BY     GPUS  MEMORY  CELL  JOB",
        "  head  actor half  0.5   -       -     01000000: python train.py",
        "  head: its GPUs are pretended: names for teaching, without memory or utilisation",
    ]


def test_a_holder_is_one_line():
    """Kind, name, how much, memory and cell, each where it is known."""
    assert str(Holder("task", "score", gpus=0.5, memory=3 * GIB, cell="In[2], line 1")) == (
        "task score, 0.5 GPU, 3.0 GiB, from In[2], line 1"
    )
    assert str(Holder("process", "python")) == "process python"


def test_the_same_reason_of_many_nodes_is_one_line(dashboard):
    """Ten nodes without GPUs are four names and a number."""
    for number in range(10):
        dashboard.node(f"cpu-{number}", [], count=0)
    text = str(reading.cluster("a", dashboard.endpoint, NO_LIBRARY))
    assert text.splitlines()[1:] == ["  cpu-0, cpu-1, cpu-2, cpu-3 and 6 more: Ray was told of no GPU here"]


def test_a_report_is_plain_json():
    """`to_dict` survives JSON, with units as documented."""
    data = json.loads(json.dumps(gpus(host=host(one_gpu())).to_dict()))
    assert data["rows"][0]["devices"][0]["memory_total"] == 80 * GIB


@pytest.mark.parametrize("chosen", [[], ["0"], ["3", "1"], ["0:0", "0:1"], [str(n) for n in range(16)]])
def test_labels_give_back_the_devices(chosen):
    """What a node's label says is read back as the same devices, and is a value that Ray takes."""
    devices = [Device("NVIDIA", "T4", "T4", index) for index in chosen]
    made = labels("T4", pretended=False, devices=devices)
    assert indices(made) == (frozenset(chosen) if chosen else None)
    assert re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?", made.get(GPUS_LABEL, ""))


def test_the_innermost_cell_of_a_call_site_counts():
    """Frames outside of cells, of libraries above and below, are passed over."""
    site = (
        '  File "/usr/lib/runpy.py", line 1, in run\n    exec()\n'
        '  File "/cells/ipykernel_7/11.py", line 3, in <module>\n    start()\n'
        '  File "/cells/ipykernel_7/22.py", line 9, in start\n    A.remote()\n'
        '  File "/lib/ray/actor.py", line 77, in remote\n    return ...\n'
    )
    cells = {"/cells/ipykernel_7/11.py": "In[2]", "/cells/ipykernel_7/22.py": "In[1]"}
    assert cell_of(site, cells.get) == "In[1], line 9"
    assert cell_of(site, lambda _: None) == cell_of(None, cells.get) == ""
