"""What is in a machine, and where there is less than one would think, why."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from azray_lab.accelerators import amd, catalog, nvidia, pci
from azray_lab.accelerators.devices import Detection, Device, Reason
from azray_lab.accelerators.host import Host

if TYPE_CHECKING:
    from collections.abc import Sequence

    from azray_lab.accelerators.pci import PciDevice

# nvmlReturn_t: what NVML answers when it cannot be used at all.
_NO_PERMISSION, _DRIVER_NOT_LOADED, _NO_LIBRARY, _BLOCKED, _MISMATCH = 4, 9, 12, 17, 18
_INSTALL = "install the driver (on Ubuntu: sudo ubuntu-drivers install; on Azure: the NVIDIA GPU driver extension)"


def detect(host: Host | None = None) -> Detection:
    """The accelerators of `host` (default: this machine) with the reasons why there are not more. Raises nothing.

    Costs some milliseconds without a GPU, and with NVIDIA GPUs the start of NVML (tens of milliseconds).
    """
    host = host or Host()
    bus = pci.accelerators(host)
    devices, reasons = _nvidia(host, bus)
    devices += amd.read(host, bus)
    reasons += _amd_reasons(bus, devices)
    devices += pci.others(bus)
    reasons += parts(devices)
    if not devices and not reasons:
        reasons = [Reason("no-device", "there is no GPU and no other accelerator on the PCI bus")]
    return Detection(tuple(devices), tuple(reasons))


def _nvidia(host: Host, bus: Sequence[PciDevice]) -> tuple[list[Device], list[Reason]]:
    seen = [device for device in bus if catalog.VENDORS[device.vendor] == catalog.NVIDIA]
    try:
        found = nvidia.read(host)
    except nvidia.NvmlFailedError as error:
        reason = _unusable(host, len(seen), error)
        return [], [reason] if reason else []
    visible, reasons = _visible(host, found)
    lost = [device for device in found if device.lost]
    reasons += [Reason("lost", f"GPU {d.index}: {d.problem}", "sudo dmesg | grep -i xid") for d in lost]
    if len(seen) > len({device.index.partition(":")[0] for device in found}):
        reasons.append(_fewer(host, len(seen), len({device.index.partition(":")[0] for device in found})))
    return visible, reasons


def _fewer(host: Host, seen: int, given: int) -> Reason:
    """Why the driver has fewer GPUs than the bus, which a container sees whole, whatever it was given of it."""
    devices = list(host.path("/dev").glob("nvidia[0-9]*"))
    if host.in_container and len(devices) < seen:
        text = f"this container was given {given} of {seen} NVIDIA GPUs of its host"
        return Reason("hidden", text, "docker run --gpus all ..., or a larger nvidia.com/gpu in the pod's limits")
    text = f"the PCI bus has {seen} NVIDIA GPUs and the driver has {given}"
    return Reason("failed", text, "sudo dmesg | grep -i nvrm")


def _unusable(host: Host, seen: int, error: nvidia.NvmlFailedError) -> Reason | None:
    """Why NVML does not work, from its error and from what the machine shows; None where nobody would expect it to."""
    driver = host.text("/proc/driver/nvidia/version")
    if error.code == _MISMATCH:
        return _mismatch(driver)
    if driver and error.code in {_NO_LIBRARY, _NO_PERMISSION, _DRIVER_NOT_LOADED, _BLOCKED}:
        return _without_runtime(host)
    if error.code in {_NO_LIBRARY, _DRIVER_NOT_LOADED}:
        if not seen:
            return None
        what = "NVIDIA GPU is" if seen == 1 else f"{seen} NVIDIA GPUs are"
        cause = "its driver is not installed" if error.code == _NO_LIBRARY else "its driver is not loaded"
        step = _INSTALL if error.code == _NO_LIBRARY else "sudo modprobe nvidia; sudo dmesg | grep -i nvrm says why not"
        return Reason("no-driver", f"{what} on the PCI bus, but {cause}", step)
    return Reason("failed", f"NVIDIA's library NVML does not work: {error.text}", "nvidia-smi")


def _mismatch(driver: str) -> Reason:
    version = re.search(r"\b\d+\.\d+(\.\d+)?\b", driver)
    loaded = f" (the kernel has {version.group(0)})" if version else ""
    text = f"the NVIDIA driver in the kernel and its libraries are of different versions{loaded}"
    return Reason("mismatch", text, "restart the machine, which loads the driver that was installed last")


def _without_runtime(host: Host) -> Reason:
    there = sorted(path.name for path in host.path("/dev").glob("nvidia[0-9]*"))
    missing = "NVIDIA's libraries are" if there else "neither its devices nor its libraries are"
    text = f"the host has an NVIDIA driver, but {missing} in this container"
    return Reason("no-runtime", text, "docker run --gpus all ... (needs the NVIDIA Container Toolkit on the host)")


def _visible(host: Host, found: list[Device]) -> tuple[list[Device], list[Reason]]:
    """The devices that CUDA_VISIBLE_DEVICES leaves, in its order; what is wrong in it hides all behind it, as in CUDA.

    "CUDA C++ Programming Guide" 13, environment variables.
    """
    wanted = host.environment.get("CUDA_VISIBLE_DEVICES")
    if wanted is None or not found:
        return found, []
    chosen: list[Device] = []
    for part in (text.strip() for text in wanted.split(",")):
        match = next((d for d in found if _means(part, d)), None)
        if match is None or match in chosen:
            break
        chosen.append(match)
    if len(chosen) == len(found):
        return chosen, []
    text = f"CUDA_VISIBLE_DEVICES={wanted or repr('')} hides {len(found) - len(chosen)} of {len(found)}"
    return chosen, [Reason("hidden", text, "unset CUDA_VISIBLE_DEVICES")]


def _means(part: str, device: Device) -> bool:
    # CUDA uses one instance of a GPU in MIG mode, and a bare number means its first (`found` is in their order).
    named = part.startswith(("GPU-", "MIG-")) and device.uuid.startswith(part)
    return named or part == device.index.partition(":")[0]


def _amd_reasons(bus: Sequence[PciDevice], devices: Sequence[Device]) -> list[Reason]:
    seen = [device for device in bus if catalog.VENDORS[device.vendor] == catalog.AMD]
    missing = len(seen) - sum(device.vendor == catalog.AMD for device in devices)
    if missing <= 0:
        return []
    text = f"{missing} of {len(seen)} AMD GPUs on the PCI bus {'has' if missing == 1 else 'have'} no amdgpu driver"
    return [Reason("no-driver", text, "install ROCm's driver (amdgpu-dkms) and: sudo modprobe amdgpu")]


def parts(devices: Sequence[Device]) -> list[Reason]:
    """What is only a part of a GPU: a profile of a hypervisor, or a MIG mode without instances."""
    reasons = []
    for device in devices:
        if part := catalog.fraction(device.name):
            text = (
                f"GPU {device.index} is {part[1]} of one {device.type} (profile {part[0]}): its memory is all there is"
            )
            reasons.append(Reason("fraction", text, "a larger VM size has the whole GPU"))
        elif device.mig == "on":
            text = f"GPU {device.index} is in MIG mode and has no instance, so CUDA cannot use it"
            reasons.append(Reason("fraction", text, f"sudo nvidia-smi mig -i {device.index} -cgi 0 -C, or -mig 0"))
    return reasons
