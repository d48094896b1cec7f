"""Detection on machines with T4, V100, A10, A100 with MIG, H100, H200, GB200, MI300X, others and none."""

from __future__ import annotations

import pynvml
import pytest
import ray.util.accelerators.accelerators as rays
from ray._private.accelerators.amd_gpu import amd_product_dict
from ray._private.accelerators.nvidia_gpu import NvidiaGPUAcceleratorManager

from azray_lab.accelerators import Process, catalog, detect
from azray_lab.testing.nvml import FUNCTIONS, FakeNvml

GIB, MIB = 2**30, 2**20


@pytest.mark.parametrize(
    ("machine", "count", "vendor", "kind", "memory", "nvlink", "cuda"),
    [
        ("t4", 1, "NVIDIA", "T4", 15360 * MIB, None, "12.2"),
        ("v100", 2, "NVIDIA", "V100", 16160 * MIB, None, "11.4"),
        ("a10", 1, "NVIDIA", "A10", 4 * GIB, None, "12.4"),
        ("h100", 8, "NVIDIA", "H100", 81559 * MIB, 18, "12.8"),
        ("h200", 8, "NVIDIA", "H200", 143771 * MIB, 18, "12.8"),
        ("gb200", 4, "NVIDIA", "GB200", 189471 * MIB, 18, "13.0"),
        ("mi300x", 8, "AMD", "AMD-Instinct-MI300X-OAM", 196592 * MIB, None, ""),
    ],
)
def test_what_is_there_is_found(machines, machine, count, vendor, kind, memory, nvlink, cuda):
    """Number, vendor, Ray's type, memory, links and CUDA of each machine, and every device is usable."""
    devices = detect(machines(machine).host).devices
    assert len(devices) == count
    assert {(d.vendor, d.type, d.memory_total, d.nvlink, d.cuda) for d in devices} == {
        (vendor, kind, memory, nvlink, cuda)
    }
    assert all(device.usable and not device.problem for device in devices)
    assert len({device.uuid for device in devices}) == count


def test_units(machines):
    """Memory in bytes, utilisation from 0 to 1, degrees Celsius, and who holds the memory."""
    (t4,) = detect(machines("t4").host).devices
    assert (t4.memory_used, t4.utilisation, t4.temperature) == (4812 * MIB, 0.63, 58.0)
    assert t4.processes == (Process(4242, 4806 * MIB, "python"),)
    assert t4.driver == "535.161.08"


def test_mig_instances_are_devices(machines):
    """A GPU with instances is seen as these; one in MIG mode without any is named and not usable."""
    found = detect(machines("a100_mig").host)
    assert [(d.index, d.mig, d.usable) for d in found.devices] == [
        ("0:0", "3g.40gb", True),
        ("0:1", "2g.20gb", True),
        ("0:2", "1g.10gb", True),
        ("1", "", True),
        ("2", "on", False),
    ]
    first = found.devices[0]
    assert (first.type, first.memory_total, first.utilisation, first.nvlink) == ("A100", 40192 * MIB, None, 12)
    assert first.uuid.startswith("MIG-")
    assert first.processes == (Process(900, 8 * GIB, "ray::Model"),)
    assert [(r.code, r.text) for r in found.reasons] == [
        ("fraction", "GPU 2 is in MIG mode and has no instance, so CUDA cannot use it")
    ]


def test_amd_through_sysfs(machines):
    """Without amdsmi the kernel's files say memory, load, heat and who holds memory."""
    devices = detect(machines("mi300x").host).devices
    third = devices[2]
    assert (third.memory_used, third.utilisation, third.temperature) == (320 * MIB, 0.02, 43.0)
    assert third.driver == "6.12.12"


@pytest.mark.parametrize(
    ("machine", "code", "words"),
    [
        ("none", "no-device", "no GPU and no other accelerator"),
        ("no_driver", "no-driver", "on the PCI bus, but its driver is not installed"),
        ("not_loaded", "no-driver", "on the PCI bus, but its driver is not loaded"),
        ("mismatch", "mismatch", "the kernel has 535.161.08"),
        ("container", "no-runtime", "neither its devices nor its libraries are in this container"),
        ("intel_laptop", "no-device", "no GPU and no other accelerator"),
        ("ryzen_laptop", "no-device", "no GPU and no other accelerator"),
        ("amd_no_driver", "no-driver", "1 of 1 AMD GPUs on the PCI bus has no amdgpu driver"),
    ],
)
def test_where_there_is_none_it_says_why(machines, machine, code, words):
    """No device, and one reason with what to do about it where something can be done."""
    found = detect(machines(machine).host)
    assert found.devices == ()
    (reason,) = found.reasons
    assert reason.code == code
    assert words in reason.text
    assert bool(reason.next_step) == (code != "no-device")


@pytest.mark.parametrize(("memory", "cores", "count"), [(24 * GIB, 0, 1), (2 * GIB, 0, 0), (24 * GIB, 16, 0)])
def test_an_amd_gpu_of_its_own_counts_where_its_driver_computes(machines, memory, cores, count):
    """An id that is not known: a node of the compute driver without CPU cores, and memory that is the GPU's own."""
    host = machines("ryzen_laptop").host
    host.path("/sys/bus/pci/devices/0000:c4:00.0/mem_info_vram_total").write_text(str(memory))
    node = host.path("/sys/class/kfd/kfd/topology/nodes/1/properties")
    node.write_text(node.read_text().replace("cpu_cores_count 0", f"cpu_cores_count {cores}"))
    assert [device.memory_total for device in detect(host).devices] == [memory] * count


def test_a_container_that_was_given_some_of_the_gpus(machines):
    """It sees the whole bus and one device: that is no fault. The same outside of a container is one."""
    captured = machines("container_one")
    found = detect(captured.host)
    assert [device.index for device in found.devices] == ["0"]
    assert [(r.code, r.text) for r in found.reasons] == [
        ("hidden", "this container was given 1 of 8 NVIDIA GPUs of its host")
    ]
    captured.host.path("/.dockerenv").unlink()
    assert [r.code for r in detect(captured.host).reasons] == ["failed"]


@pytest.mark.parametrize(
    ("mark", "content"),
    [
        ("/run/.containerenv", ""),
        ("/proc/self/mountinfo", "612 480 0:88 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/a"),
    ],
)
def test_containers_have_many_marks(machines, mark, content):
    """Podman's file, and Kubernetes' root of layers."""
    host = machines("container_one").host
    host.path("/.dockerenv").unlink()
    assert not host.in_container
    host.path(mark).parent.mkdir(parents=True, exist_ok=True)
    host.path(mark).write_text(content)
    assert host.in_container


@pytest.mark.parametrize(
    ("setting", "left"), [("0", ["0:0"]), ("1", ["1"]), ("1,0", ["1", "0:0"]), ("MIG-00000065", ["0:1"]), ("3", [])]
)
def test_a_number_on_a_machine_with_mig_is_the_first_instance(machines, setting, left):
    """As CUDA takes it; an instance is named by its UUID."""
    found = detect(machines("a100_mig", CUDA_VISIBLE_DEVICES=setting).host)
    assert [device.index for device in found.devices] == left


def test_a_part_of_a_gpu_says_which(machines):
    """A vGPU is a device with less memory, and the reason names the profile and the part."""
    found = detect(machines("a10").host)
    assert found.devices[0].temperature is None
    assert [(r.code, r.text) for r in found.reasons] == [
        ("fraction", "GPU 0 is 1/6 of one A10 (profile A10-4Q): its memory is all there is")
    ]


@pytest.mark.parametrize(
    ("setting", "left"),
    [
        ("", []),
        ("-1", []),
        ("1", ["1"]),
        ("1,0", ["1", "0"]),
        ("0,9,1", ["0"]),
        ("1,1,0", ["1"]),
        ("GPU-00000002", ["1"]),
        ("NoDevFiles", []),
    ],
)
def test_cuda_visible_devices_hides_as_cuda_does(machines, setting, left):
    """In its order, by index or UUID; what is wrong in it hides all that comes behind."""
    found = detect(machines("v100", CUDA_VISIBLE_DEVICES=setting).host)
    assert [device.index for device in found.devices] == left
    hidden = [reason for reason in found.reasons if reason.code == "hidden"]
    assert len(hidden) == (len(left) < 2)
    assert all(f"hides {2 - len(left)} of 2" in reason.text for reason in hidden)


def test_other_accelerators_are_named(machines):
    """What has no library that we ask is named from its PCI ids, and one without a driver is not usable."""
    devices = detect(machines("others").host).devices
    assert [(d.vendor, d.name, d.type, d.usable) for d in devices] == [
        ("Intel Habana", "Gaudi 2", "Intel-GAUDI", True),
        ("Google", "TPU v5e", "TPU-V5LITEPOD", False),
        ("Intel", "Data Center GPU Max 1100", "Intel-GPU-Max-1100", True),
    ]


def test_a_gpu_that_the_driver_lacks_is_missed(machines):
    """Two GPUs on the bus and one from the driver: the reason counts both."""
    captured = machines("v100")
    assert captured.nvml
    captured.nvml.machine["gpus"] = captured.nvml.machine["gpus"][:1]
    found = detect(captured.host)
    assert len(found.devices) == 1
    assert [r.text for r in found.reasons] == ["the PCI bus has 2 NVIDIA GPUs and the driver has 1"]


# Names are Ray's.


@pytest.mark.parametrize(
    "name",
    [
        "Tesla T4", "Tesla V100-PCIE-16GB", "NVIDIA A10-4Q", "NVIDIA A10", "NVIDIA A100-SXM4-80GB", "Tesla M60",
        "NVIDIA A100-SXM4-80GB MIG 1g.10gb", "NVIDIA H100 80GB HBM3", "NVIDIA H100 NVL", "NVIDIA H200", "NVIDIA GB200",
        "NVIDIA GB300", "NVIDIA L40S", "NVIDIA RTX PRO 6000 Blackwell Server Edition", "NVIDIA GeForce RTX 5090", "X",
    ],
)  # fmt: skip
def test_nvidia_types_are_rays_reading_of_the_name(name):
    """Our reading of a product name gives what Ray 2.60 puts on the node."""
    assert catalog.nvidia_type(name) == NvidiaGPUAcceleratorManager._gpu_name_to_accelerator_type(name)  # type: ignore[no-untyped-call]


def test_amd_types_are_rays_table_and_more():
    """Every Instinct id that Ray knows has Ray's type; the virtual function of the MI300X is one that it lacks."""
    ours = {f"0x{number:04x}": kind for number, (kind, _) in catalog.AMD_DEVICES.items()}
    theirs = {number: kind for number, kind in amd_product_dict.items() if "Instinct" in kind}
    assert {number: ours.get(number) for number in theirs} == theirs
    assert ours["0x74b5"] == rays.AMD_INSTINCT_MI300x
    assert "0x74b5" not in amd_product_dict


def test_sized_and_other_types_are_constants_of_ray():
    """The names that we add by hand are those that `ray.util.accelerators` has constants for."""
    known = {value for name, value in vars(rays).items() if name.isupper() and isinstance(value, str)}
    assert {catalog.sized_type("A100", 80 * GIB), catalog.sized_type("A100", 40 * GIB)} <= known
    assert {kind for kind, _ in catalog.OTHER_DEVICES.values() if kind} <= known
    assert catalog.sized_type("H100", 80 * GIB) == ""


def test_the_fake_has_the_functions_of_the_real_library():
    """Each function that the stand-in has is one of nvidia-ml-py's, so what is tested here is what is called there."""
    assert [name for name in FUNCTIONS if not callable(getattr(pynvml, name, None))] == []
    assert issubclass(FakeNvml.NVMLError, Exception)
