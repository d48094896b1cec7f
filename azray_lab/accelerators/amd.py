"""AMD GPUs: through amdsmi where ROCm has installed it, else from what the kernel's driver shows in /sys.

amdsmi: "AMD SMI Python API" of ROCm 6.4. sysfs: "AMDGPU driver misc information" of Linux 6.12 (`mem_info_vram_*`,
`gpu_busy_percent`), and /sys/class/kfd for the processes.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from azray_lab.accelerators import catalog, kfd
from azray_lab.accelerators.devices import Device, Process

if TYPE_CHECKING:
    from azray_lab.accelerators.host import Host
    from azray_lab.accelerators.pci import PciDevice

T = TypeVar("T")
_MIB = 2**20
_NOT_TOLD = "N/A"
_HEX = re.compile(r"(0x)?[0-9a-fA-F]+")


def read(host: Host, found: list[PciDevice]) -> list[Device]:
    """The AMD GPUs among `found` that have the amdgpu driver."""
    driven = [pci for pci in found if catalog.VENDORS[pci.vendor] == catalog.AMD and pci.driver == "amdgpu"]
    if not driven:
        return []
    with _library(host) as smi:
        if smi is not None and (devices := _through_library(smi, driven)):
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


def _through_library(smi: Any, driven: Sequence[PciDevice]) -> list[Device]:
    """What amdsmi has, less GPUs inside of CPUs: those are none of `driven`. A GPU's partitions share its id."""
    try:
        handles = smi.amdsmi_get_processor_handles()
    except smi.AmdSmiException:
        return []  # sysfs is asked instead
    asked = [_Asked(smi, handle, index) for index, handle in enumerate(handles)]
    return [one.device() for one in asked if one.id in {0, *(pci.device for pci in driven)}]


class _Asked:
    """One GPU while amdsmi is asked for it; the first error is kept as its problem."""

    def __init__(self, smi: Any, handle: Any, index: int) -> None:
        self._smi, self._handle, self._index = smi, handle, index
        self._problem = ""
        self._asic: dict[str, Any] = self._ask("name", smi.amdsmi_get_gpu_asic_info) or {}

    @property
    def id(self) -> int:
        """Its PCI device id, 0 when amdsmi does not tell."""
        return _hex(self._asic.get("device_id"))

    def _ask(self, what: str, question: Callable[..., T], *more: Any) -> T | None:
        try:
            answer: T | None = _told(question(self._handle, *more))
        except self._smi.AmdSmiException as error:
            self._problem = self._problem or f"{what}: {error}"
            return None
        return answer

    def device(self) -> Device:
        """What amdsmi says of it."""
        smi = self._smi
        kind, name = catalog.amd(self.id) if self.id else ("", "AMD GPU")
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
            name=str(self._asic.get("market_name") or name),
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
        known = (p for p in listed if p.get("pid") is not None)
        return tuple(Process(int(p["pid"]), _times(p.get("mem"), 1), str(p.get("name") or "")) for p in known)


def _told(answer: Any) -> Any:
    """The answer without what amdsmi cannot tell, which it calls `N/A` instead of raising an error."""
    if isinstance(answer, list):
        return [part for part in map(_told, answer) if part is not None]
    if isinstance(answer, dict):
        return {name: value for name, value in answer.items() if value != _NOT_TOLD}
    return None if answer == _NOT_TOLD else answer


def _hex(value: Any) -> int:
    """An id, which some versions of amdsmi give as text (`0x74a1`) and others as a number; 0 for anything else."""
    if isinstance(value, str):
        return int(value, 16) if _HEX.fullmatch(value) else 0
    return int(value or 0)


def _times(value: Any, unit: int) -> int | None:
    """A number times its unit; None for what is not told."""
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
        processes=kfd.processes(host, pci.address, pci.vendor),
    )
    if device.memory_total is None:
        return replace(device, problem="its driver tells no memory", lost=True)
    return device
