"""The GPUs of this machine for the nodes of a local cluster: chosen, named to Ray, and made visible to its workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from azray_lab.accelerators import Device
from azray_lab.accelerators.devices import Reason
from azray_lab.errors import ResourceError
from azray_lab.spec.models import ClusterSpec
from azray_lab.targets.local import commands, gpus
from azray_lab.targets.local.machine import Machine, Share, shares

GIB = 2**30
A100 = [Device("NVIDIA", "NVIDIA A100-SXM4-80GB", "A100", str(i), f"GPU-{i}", 80 * GIB) for i in range(2)]
T4 = [Device("NVIDIA", "Tesla T4", "T4", str(i), f"GPU-{i}", 15 * GIB) for i in range(2, 4)]
MIG = [Device("NVIDIA", "A100 MIG", "A100", f"0:{i}", f"MIG-{i}", 10 * GIB, mig="1g.10gb") for i in range(2)]
MI300X = [
    Device("AMD", "Instinct MI300X VF", "AMD-Instinct-MI300X-OAM", str(i), memory_total=192 * GIB) for i in (0, 1)
]


def machine(*devices: Device, why: tuple[Reason, ...] = ()) -> Machine:
    """A machine that has enough of everything, and these devices."""
    return Machine(16, 64 * GIB, 60 * GIB, 30 * GIB, gpus.schedulable(devices), why)


def share(found: Machine, **head: Any) -> Share:
    """What the only node of a cluster on it gets."""
    return shares(found, {"head": ClusterSpec.model_validate({"head": head}).head})["head"]


def started(
    one: Share, environment: dict[str, str] | None = None, **head: Any
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The command and the environment with which the node starts."""
    spec = ClusterSpec.model_validate({"head": head})
    command = commands.start_command("head", "head", spec, one, ip="127.64.0.1", temp_dir=Path("/t"))
    token = Path("/t/token")
    return command, commands.node_environment(environment or {}, spec, one, cluster_id="a", name="head", token=token)


def test_what_is_found_is_told_to_ray():
    """Without a word in the spec a node gets all, with count, type as resource and label, the size, and the memory."""
    one = share(machine(*A100))
    command, environment = started(one)
    assert "--num-gpus=2" in command
    assert '--resources={"accelerator_type:A100": 1, "accelerator_type:A100-80G": 1}' in command
    (labels,) = [word for word in command if word.startswith("--labels=")]
    assert "ray.io/accelerator-type=A100" in labels
    assert "azray.io/gpus=0_1" in labels
    assert f"azray.io/gpu-memory-mib={80 * 1024}" in labels
    assert (environment["CUDA_VISIBLE_DEVICES"], environment["CUDA_DEVICE_ORDER"]) == ("0,1", "PCI_BUS_ID")


def test_a_type_chooses_among_the_devices():
    """A spec that names a type gets devices of it; `A100-80G` is an A100 with 80 GB."""
    found = machine(*A100, *T4)
    assert [d.index for d in share(found, gpus={"count": 1, "type": "T4"}).devices] == ["2"]
    assert [d.index for d in share(found, gpus={"count": 2, "type": "A100-80G"}).devices] == ["0", "1"]
    with pytest.raises(ResourceError, match=r"wants 1 H100 GPU: this machine has 2 A100 and 2 T4\. Next: .*type: H100"):
        share(found, gpus={"count": 1, "type": "H100"})
    with pytest.raises(ResourceError, match="wants 2 A100-40G GPUs"):
        share(found, gpus={"count": 2, "type": "A100-40G"})


def test_the_error_has_the_reason_of_detection():
    """What hides the GPUs is part of the cause; that there simply is none says nothing more than the count."""
    hidden = Reason("hidden", "CUDA_VISIBLE_DEVICES=0 hides 1 of 2")
    with pytest.raises(ResourceError, match=r"has 1 T4, of which 1 are left \(CUDA_VISIBLE_DEVICES=0 hides 1 of 2\)"):
        share(machine(T4[0], why=(hidden,)), gpus=2)
    with pytest.raises(ResourceError, match=r"this machine has no GPU\. Next"):
        share(machine(why=(Reason("no-device", "there is no GPU"),)), gpus=1)


def test_mig_instances_are_visible_by_name():
    """CUDA has no numbers for instances, so a node's variable has their names; Ray counts each as a GPU."""
    one = share(machine(*MIG))
    command, environment = started(one)
    assert "--num-gpus=2" in command
    assert environment["CUDA_VISIBLE_DEVICES"] == "MIG-0,MIG-1"
    assert any("azray.io/gpus=0.0_0.1" in word for word in command)


def test_amd_devices_are_visible_to_hip():
    """ROCm's variable instead of CUDA's, and Ray's name for the type."""
    command, environment = started(share(machine(*MI300X)))
    assert environment["HIP_VISIBLE_DEVICES"] == "0,1"
    assert "CUDA_VISIBLE_DEVICES" not in environment
    assert '--resources={"accelerator_type:AMD-Instinct-MI300X-OAM": 1}' in command


def test_what_cannot_be_used_is_not_given():
    """A lost device, and one in MIG mode without instances, are no GPUs for Ray."""
    lost = Device("NVIDIA", "Tesla T4", "T4", "0", lost=True, problem="GPU is lost")
    empty = Device("NVIDIA", "A100", "A100", "1", mig="on")
    assert machine(lost, empty).gpus == ()
    assert [device.index for device in machine(lost, empty, T4[0]).gpus] == ["2"]


def test_a_node_that_runs_keeps_its_devices():
    """Scaling from one to three nodes gives new nodes only what nobody has, whatever an even split would be."""
    nodes = ClusterSpec.model_validate({"workers": 2})
    wanted = {"head": nodes.head, "worker-1": nodes.workers[0], "worker-2": nodes.workers[0]}
    found = shares(machine(*A100, *T4), wanted, held={"head": ["0", "1", "2"]})
    assert {name: [d.index for d in one.devices] for name, one in found.items()} == {
        "head": ["0", "1", "2"],
        "worker-1": ["3"],
        "worker-2": [],
    }


def test_pretended_gpus_are_told_to_ray_alone():
    """Ray's count, type and label; no variable that would show real devices or make Ray refuse the count."""
    given = {"count": 4, "type": "H100", "pretend": True}
    one = share(machine(T4[0]), gpus=given)
    command, environment = started(one, {"CUDA_VISIBLE_DEVICES": "0"}, gpus=given)
    assert "--num-gpus=4" in command
    assert '--resources={"accelerator_type:H100": 1}' in command
    assert any("azray.io/gpus=pretended" in word and "ray.io/accelerator-type=H100" in word for word in command)
    assert "CUDA_VISIBLE_DEVICES" not in environment


def test_a_node_without_gpus_sees_none():
    """Nodes beside one that has all devices must not use them behind Ray's back."""
    _, environment = started(share(machine(*T4), gpus=0), {"CUDA_VISIBLE_DEVICES": "0,1"}, gpus=0)
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
