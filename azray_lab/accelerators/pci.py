"""What the PCI bus has: accelerators by their ids, whether anybody drives them or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from azray_lab.accelerators import catalog, kfd
from azray_lab.accelerators.devices import Device

if TYPE_CHECKING:
    from azray_lab.accelerators.host import Host

# PCI base classes: display controllers, and processing accelerators (PCI Code and ID Assignment Specification 1.16).
_DISPLAY, _ACCELERATOR = 0x03, 0x12
# What a firmware takes off the machine's memory for a GPU inside of the CPU is mostly less than this; the smallest GPU
# that ROCm 6.4 supports has twice as much of its own.
_OWN_MEMORY = 4 * 2**30


@dataclass(frozen=True)
class PciDevice:
    """A device on the bus: its address, its ids, and the driver that has it (empty without one)."""

    address: str
    vendor: int
    device: int
    driver: str = ""


def accelerators(host: Host) -> list[PciDevice]:
    """The accelerators of known makers on the bus, by address.

    Display adapters of hypervisors and server boards are none, and neither are GPUs inside of CPUs: Ray would place
    work on them that they cannot do.
    """
    found = [_read(host, folder.name) for folder in sorted(host.path("/sys/bus/pci/devices").glob("*"))]
    return [device for device in found if device]


def _read(host: Host, address: str) -> PciDevice | None:
    folder = f"/sys/bus/pci/devices/{address}"
    kind, vendor, device = (host.number(f"{folder}/{name}", 16) for name in ("class", "vendor", "device"))
    if kind is None or vendor not in catalog.VENDORS or device is None:
        return None
    if not _counts(host, address, kind >> 16, vendor, device):
        return None
    link = host.path(f"{folder}/driver")
    return PciDevice(address, vendor, device, link.resolve().name if link.exists() else "")


def _counts(host: Host, address: str, kind: int, vendor: int, device: int) -> bool:
    """Whether a device of a known maker is an accelerator: by its ids, by its class, or since its driver computes."""
    maker = catalog.VENDORS[vendor]
    if maker == catalog.AMD:
        return device in catalog.AMD_DEVICES or (kind in {_DISPLAY, _ACCELERATOR} and _computes(host, address, vendor))
    if maker == catalog.NVIDIA:
        return kind in {_DISPLAY, _ACCELERATOR}
    return kind == _ACCELERATOR or (vendor, device) in catalog.OTHER_DEVICES


def _computes(host: Host, address: str, vendor: int) -> bool:
    memory = host.number(f"/sys/bus/pci/devices/{address}/mem_info_vram_total")
    return kfd.computes(host, address, vendor) and (memory or 0) >= _OWN_MEMORY


def others(found: list[PciDevice]) -> list[Device]:
    """The devices whose vendors have no library that is asked here: named, and nothing more."""
    asked = (catalog.NVIDIA, catalog.AMD)
    rest = [pci for pci in found if catalog.VENDORS[pci.vendor] not in asked]
    return [_named(pci, index) for index, pci in enumerate(rest)]


def _named(pci: PciDevice, index: int) -> Device:
    kind, name = catalog.other(pci.vendor, pci.device)
    problem = "" if pci.driver else "no driver has it"
    vendor = catalog.VENDORS[pci.vendor]
    return Device(
        vendor, name, kind, str(index), uuid=pci.address, driver=pci.driver, problem=problem, lost=not pci.driver
    )
