"""AMD GPUs: through amdsmi where ROCm has installed it, else from what the kernel's driver shows in /sys.

amdsmi: "AMD SMI Python API" of ROCm 6.4. sysfs: "AMDGPU driver misc information" of Linux 6.12 (`mem_info_vram_*`,
`gpu_busy_percent`), and /sys/class/kfd for the processes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from azray_lab.accelerators import catalog
from azray_lab.accelerators.devices import Device, Process

if TYPE_CHECKING:
    from pathlib import Path

    from azray_lab.accelerators.host import Host
    from azray_lab.accelerators.pci import PciDevice

T = TypeVar("T")
_MIB = 2**20


def read(host: Host, found: list[PciDevice]) -> list[Device]:
    """The AMD GPUs among `found` that have the amdgpu driver."""
    driven = [pci for pci in found if catalog.VENDORS[pci.vendor] == catalog.AMD and pci.driver == "amdgpu"]
    if not driven:
        return []
    with _library(host) as smi:
        if smi is not None and (devices := _through_library(smi)):
            return devices
    return [_from_sysfs(host, pci, index) for index, pci in enumerate(driven)]


@contextlib.contextmanager
def _library(host: Host) -> Iterator[Any]:
    """The library, ready to be asked, or None: without it sysfs says nearly as much."""
    try:
        smi = host.amdsmi()
        smi.amdsmi_init()
    except Exception:  # noqa: BLE001 - its import ends with whatever its C library or its path handling raise
        yield None
        return
    try:
        yield smi
    finally:
        with contextlib.suppress(smi.AmdSmiException):
            smi.amdsmi_shut_down()


def _through_library(smi: Any) -> list[Device]:
    try:
        handles = smi.amdsmi_get_processor_handles()
    except smi.AmdSmiException:
        return []  # sysfs is asked instead
    return [_Asked(smi, handle, index).device() for index, handle in enumerate(handles)]


class _Asked:
    """One GPU while amdsmi is asked for it; the first error is kept as its problem."""

    def __init__(self, smi: Any, handle: Any, index: int) -> None:
        self._smi, self._handle, self._index = smi, handle, index
        self._problem = ""

    def _ask(self, what: str, question: Callable[..., T], *more: Any) -> T | None:
        try:
            return question(self._handle, *more)
        except self._smi.AmdSmiException as error:
            self._problem = self._problem or f"{what}: {error}"
            return None

    def device(self) -> Device:
        """What amdsmi says of it."""
        smi = self._smi
        asic = self._ask("name", smi.amdsmi_get_gpu_asic_info) or {}
        kind, name = catalog.amd(_hex(asic.get("device_id")))
        memory = self._ask("memory", smi.amdsmi_get_gpu_vram_usage) or {}
        activity = self._ask("utilisation", smi.amdsmi_get_gpu_activity) or {}
        driver = self._ask("driver", smi.amdsmi_get_gpu_driver_info) or {}
        degrees = self._ask(
            "temperature",
            smi.amdsmi_get_temp_metric,
            smi.AmdSmiTemperatureType.HOTSPOT,
            smi.AmdSmiTemperatureMetric.CURRENT,
        )
        return Device(
            vendor=catalog.AMD,
            name=str(asic.get("market_name") or name),
            type=kind,
            index=str(self._index),
            uuid=str(self._ask("UUID", smi.amdsmi_get_gpu_device_uuid) or ""),
            memory_total=_times(memory.get("vram_total"), _MIB),
            memory_used=_times(memory.get("vram_used"), _MIB),
            utilisation=_share(activity.get("gfx_activity")),
            temperature=float(degrees) if isinstance(degrees, int | float) else None,
            driver=str(driver.get("driver_version") or ""),
            processes=self._processes(),
            problem=self._problem,
        )

    def _processes(self) -> tuple[Process, ...]:
        listed = self._ask("processes", self._smi.amdsmi_get_gpu_process_list) or []
        return tuple(Process(int(p["pid"]), _times(p.get("mem"), 1), str(p.get("name") or "")) for p in listed)


def _hex(value: Any) -> int:
    """An id, which some versions of amdsmi give as text (`0x74a1`) and others as a number."""
    return int(value, 16) if isinstance(value, str) else int(value or 0)


def _times(value: Any, unit: int) -> int | None:
    """A number times its unit; None for amdsmi's `N/A`."""
    return int(value) * unit if isinstance(value, int | float) else None


def _share(percent: Any) -> float | None:
    return percent / 100 if isinstance(percent, int | float) else None


def _from_sysfs(host: Host, pci: PciDevice, index: int) -> Device:
    folder = f"/sys/bus/pci/devices/{pci.address}"
    kind, name = catalog.amd(pci.device)
    unique = host.text(f"{folder}/unique_id")
    sensors = sorted(host.path(folder).glob("hwmon/hwmon*/temp1_input"))
    millidegrees = host.number(sensors[0]) if sensors else None
    device = Device(
        vendor=catalog.AMD,
        name=host.text(f"{folder}/product_name") or name,
        type=kind,
        index=str(index),
        uuid=f"GPU-{unique}" if unique else pci.address,
        memory_total=host.number(f"{folder}/mem_info_vram_total"),
        memory_used=host.number(f"{folder}/mem_info_vram_used"),
        utilisation=_share(host.number(f"{folder}/gpu_busy_percent")),
        temperature=None if millidegrees is None else millidegrees / 1000,
        driver=host.text("/sys/module/amdgpu/version"),
        processes=_kfd_processes(host, pci),
    )
    if device.memory_total is None:
        return replace(device, problem="its driver tells no memory", lost=True)
    return device


def _kfd_processes(host: Host, pci: PciDevice) -> tuple[Process, ...]:
    """Who holds memory of the GPU: /sys/class/kfd/kfd/proc/<pid>/vram_<gpu id>, in bytes."""
    gpu = _kfd_id(host, pci)
    if not gpu:
        return ()
    files = sorted(host.path("/sys/class/kfd/kfd/proc").glob(f"*/vram_{gpu}"))
    return tuple(_kfd_process(host, file) for file in files if host.number(file))


def _kfd_process(host: Host, file: Path) -> Process:
    pid = int(file.parent.name)
    return Process(pid, host.number(file), host.text(f"/proc/{pid}/comm"))


def _kfd_id(host: Host, pci: PciDevice) -> str:
    """The number by which the compute driver calls a GPU; its `location_id` is bus << 8 | device << 3 | function."""
    bus, slot = pci.address.split(":")[1:]
    number, _, function = slot.partition(".")
    location = int(bus, 16) << 8 | int(number, 16) << 3 | int(function, 16)
    for node in host.path("/sys/class/kfd/kfd/topology/nodes").glob("*"):
        pairs = dict(line.split(maxsplit=1) for line in host.text(node / "properties").splitlines() if " " in line)
        if pairs.get("location_id") == str(location) and pairs.get("vendor_id") == str(pci.vendor):
            return host.text(node / "gpu_id")
    return ""
