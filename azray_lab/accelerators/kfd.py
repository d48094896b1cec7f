"""AMD's compute driver (KFD): which GPUs on the bus it computes on, and who holds their memory.

/sys/class/kfd of Linux 6.12: `topology/nodes/<n>/{gpu_id,properties}` and `proc/<pid>/vram_<gpu id>`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from azray_lab.accelerators.devices import Process

if TYPE_CHECKING:
    from pathlib import Path

    from azray_lab.accelerators.host import Host


def computes(host: Host, address: str, vendor: int) -> bool:
    """Whether a PCI device is a GPU of its own to the driver; one inside of a CPU may be a part of the CPU's node."""
    _, properties = _node(host, address, vendor)
    return properties.get("simd_count", "0") != "0" and properties.get("cpu_cores_count", "0") == "0"


def processes(host: Host, address: str, vendor: int) -> tuple[Process, ...]:
    """Who holds memory of the GPU at a PCI address."""
    gpu, _ = _node(host, address, vendor)
    if not gpu:
        return ()
    files = sorted(host.path("/sys/class/kfd/kfd/proc").glob(f"*/vram_{gpu}"))
    return tuple(_process(host, file) for file in files if host.number(file))


def _process(host: Host, file: Path) -> Process:
    pid = int(file.parent.name)
    return Process(pid, host.number(file), host.text(f"/proc/{pid}/comm"))


def _node(host: Host, address: str, vendor: int) -> tuple[str, dict[str, str]]:
    """The driver's number for a GPU and what it says of it; its `location_id` is bus << 8 | device << 3 | function."""
    bus, slot = address.split(":")[1:]
    number, _, function = slot.partition(".")
    location = int(bus, 16) << 8 | int(number, 16) << 3 | int(function, 16)
    for node in host.path("/sys/class/kfd/kfd/topology/nodes").glob("*"):
        pairs = dict(line.split(maxsplit=1) for line in host.text(node / "properties").splitlines() if " " in line)
        if pairs.get("location_id") == str(location) and pairs.get("vendor_id") == str(vendor):
            return host.text(node / "gpu_id"), pairs
    return "", {}
