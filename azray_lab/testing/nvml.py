"""NVML as an object: the functions of nvidia-ml-py, with its own error classes, over a machine written down in JSON.

It is given to the code as an argument, as the real module is. `failing` makes a function raise an NVML error from its
n-th call on, as a GPU does that falls off the bus.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml

NOT_SUPPORTED, NOT_FOUND = pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_NOT_FOUND


@dataclass
class FakeNvml:
    """One machine. `calls` counts what was asked; `open` how often it was initialised and not shut down."""

    machine: dict[str, Any]
    failing: dict[str, tuple[int, int]] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    open: int = 0

    NVMLError = pynvml.NVMLError
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU

    def __call__(self) -> FakeNvml:
        """The library itself, as `Host.nvml` gives it."""
        return self

    def _asked(self, name: str) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1
        code, first = self.failing.get(name, (0, 1))
        if code and self.calls[name] >= first:
            raise pynvml.NVMLError(code)

    def _value(self, handle: dict[str, Any], function: str, key: str) -> Any:
        self._asked(function)
        if key not in handle:
            raise pynvml.NVMLError(NOT_SUPPORTED)
        return handle[key]

    def nvmlInit(self) -> None:  # noqa: N802, D102 - the names are NVIDIA's, in this whole class
        self._asked("nvmlInit")
        if code := self.machine.get("init_error"):
            raise pynvml.NVMLError(code)
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802, D102
        self.open -= 1
        self._asked("nvmlShutdown")

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802, D102
        self._asked("nvmlSystemGetDriverVersion")
        return str(self.machine["driver"])

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:  # noqa: N802, D102
        self._asked("nvmlSystemGetCudaDriverVersion_v2")
        return int(self.machine["cuda"])

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802, D102
        self._asked("nvmlDeviceGetCount")
        return len(self.machine["gpus"])

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:  # noqa: N802, D102
        self._asked("nvmlDeviceGetHandleByIndex")
        return dict(self.machine["gpus"][index])

    def nvmlDeviceGetName(self, handle: dict[str, Any]) -> str:  # noqa: N802, D102
        return str(self._value(handle, "nvmlDeviceGetName", "name"))

    def nvmlDeviceGetUUID(self, handle: dict[str, Any]) -> str:  # noqa: N802, D102
        return str(self._value(handle, "nvmlDeviceGetUUID", "uuid"))

    def nvmlDeviceGetMemoryInfo(self, handle: dict[str, Any]) -> Any:  # noqa: N802, D102
        total, used = self._value(handle, "nvmlDeviceGetMemoryInfo", "memory")
        return SimpleNamespace(total=total, used=used, free=total - used)

    def nvmlDeviceGetUtilizationRates(self, handle: dict[str, Any]) -> Any:  # noqa: N802, D102
        return SimpleNamespace(gpu=self._value(handle, "nvmlDeviceGetUtilizationRates", "busy"), memory=0)

    def nvmlDeviceGetTemperature(self, handle: dict[str, Any], sensor: int) -> int:  # noqa: N802, D102
        if sensor != pynvml.NVML_TEMPERATURE_GPU:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return int(self._value(handle, "nvmlDeviceGetTemperature", "temperature"))

    def nvmlDeviceGetNvLinkState(self, handle: dict[str, Any], link: int) -> int:  # noqa: N802, D102
        links = self._value(handle, "nvmlDeviceGetNvLinkState", "nvlinks")
        if link >= len(links):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return int(links[link])

    def nvmlDeviceGetComputeRunningProcesses(self, handle: dict[str, Any]) -> list[Any]:  # noqa: N802, D102
        found = self._value(handle, "nvmlDeviceGetComputeRunningProcesses", "processes")
        return [SimpleNamespace(pid=pid, usedGpuMemory=memory) for pid, memory in found]

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: dict[str, Any]) -> list[Any]:  # noqa: N802, D102
        self._value(handle, "nvmlDeviceGetGraphicsRunningProcesses", "processes")
        return []

    def nvmlDeviceGetMigMode(self, handle: dict[str, Any]) -> list[int]:  # noqa: N802, D102
        mode = int(self._value(handle, "nvmlDeviceGetMigMode", "mig_mode"))
        return [mode, mode]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: dict[str, Any]) -> int:  # noqa: N802, D102
        self._asked("nvmlDeviceGetMaxMigDeviceCount")
        return 7 if handle.get("mig_mode") else 0

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: dict[str, Any], index: int) -> dict[str, Any]:  # noqa: N802, D102
        self._asked("nvmlDeviceGetMigDeviceHandleByIndex")
        instances = handle.get("instances", [])
        if index >= len(instances):
            raise pynvml.NVMLError(NOT_FOUND)
        return dict(instances[index])


FUNCTIONS = sorted(name for name in vars(FakeNvml) if name.startswith("nvml"))
ERRORS = sorted({value for name, value in vars(pynvml).items() if name.startswith("NVML_ERROR_")})
