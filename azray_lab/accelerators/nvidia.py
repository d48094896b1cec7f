"""NVIDIA GPUs through NVML, whatever it answers: an error is a problem of one device or a reason, never an exception.

NVML: "NVML API Reference Guide" R580. Its Python binding raises a class of its own for each error; those that it does
not know by name have their number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from azray_lab.accelerators import catalog
from azray_lab.accelerators.devices import Device, Process

if TYPE_CHECKING:
    from azray_lab.accelerators.host import Host

T = TypeVar("T")

# nvmlReturn_t. A device that does not offer something is no problem; one that is gone is.
_NOT_SUPPORTED = frozenset({3, 6, 13, 25, 26})
_INVALID_ARGUMENT, _NO_LIBRARY, _NO_FUNCTION, _UNKNOWN = 2, 12, 13, 999
_LOST = frozenset({15, 16, 28})
# NVML says so where it must not or cannot tell (NVML_VALUE_NOT_AVAILABLE).
_NOT_AVAILABLE = (1 << 64) - 1
_MAX_LINKS = 18


class NvmlFailedError(Exception):
    """NVML could not be used at all: `code` is its number (nvmlReturn_t), `text` its words. Never leaves this room."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def read(host: Host) -> list[Device]:
    """The NVIDIA GPUs, and for those in MIG mode their instances; NvmlFailedError where NVML does not work at all."""
    with _library(host) as nvml:
        driver, cuda = _versions(nvml)
        try:
            count = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError as error:
            raise _failed(error) from error
        devices = [device for index in range(count) for device in _Gpu(nvml, host, index).devices()]
        return [replace(device, driver=driver, cuda=cuda) for device in devices]


@contextlib.contextmanager
def _library(host: Host) -> Iterator[Any]:
    try:
        nvml = host.nvml()
        ours = _Whole(nvml)
    except (ImportError, OSError) as error:
        raise NvmlFailedError(_NO_LIBRARY, str(error)) from error
    except Exception as error:  # whatever a broken package raises when it is imported
        raise NvmlFailedError(_UNKNOWN, f"pynvml cannot be imported: {type(error).__name__}: {error}") from error
    try:
        ours.nvmlInit()
    except ours.NVMLError as error:
        raise _failed(error) from error
    try:
        yield ours
    finally:
        # A library that is lost in between refuses to be closed as well, and what was read stays true.
        with contextlib.suppress(ours.NVMLError):
            ours.nvmlShutdown()


class _Whole:
    """A binding of NVML in which nothing lacks: what it does not have answers as NVML does, "function not found"."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self.NVMLError: type[Exception] = nvml.NVMLError  # first: without it this is no binding of NVML

    def __getattr__(self, name: str) -> Any:
        if hasattr(self._nvml, name):
            return getattr(self._nvml, name)
        return partial(self._lacks, name) if name.startswith("nvml") else 0  # a constant, which only such calls take

    def _lacks(self, name: str, *_: Any) -> Any:
        raise self.NVMLError(_NO_FUNCTION) from AttributeError(f"pynvml has no {name}")


def _failed(error: Any) -> NvmlFailedError:
    return NvmlFailedError(_code(error), str(error))


def _code(error: Any) -> int:
    return int(getattr(error, "value", _UNKNOWN))


def _versions(nvml: Any) -> tuple[str, str]:
    """The driver's version, and the newest CUDA that it can run (NVML gives 12040 for 12.4); empty when not told."""
    driver, cuda = "", ""
    with contextlib.suppress(nvml.NVMLError):
        driver = _words(nvml.nvmlSystemGetDriverVersion())
    with contextlib.suppress(nvml.NVMLError):
        number = int(nvml.nvmlSystemGetCudaDriverVersion_v2())
        cuda = f"{number // 1000}.{number % 1000 // 10}"
    return driver, cuda


def _words(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


class _Gpu:
    """One GPU while it is read. The first error that says something is kept as its problem."""

    def __init__(self, nvml: Any, host: Host, index: int) -> None:
        self._nvml = nvml
        self._host = host
        self._index = index
        self._problem = ""
        self._lost = False

    def devices(self) -> list[Device]:
        """The GPU itself, or its MIG instances when it has some."""
        handle = self._ask("handle", lambda: self._nvml.nvmlDeviceGetHandleByIndex(self._index))
        if handle is None:
            told = self._problem or "NVML does not hand it out"
            return [Device(catalog.NVIDIA, "NVIDIA GPU", index=str(self._index), problem=told, lost=True)]
        whole = self._read(handle, str(self._index))
        mode = self._ask("MIG mode", lambda: self._nvml.nvmlDeviceGetMigMode(handle))
        if not mode or not mode[0]:
            return [self._judged(whole)]
        instances = self._instances(handle, whole)
        return instances or [self._judged(replace(whole, mig="on"))]

    def _judged(self, device: Device) -> Device:
        return replace(device, problem=self._problem, lost=self._lost)

    def _ask(self, what: str, question: Callable[[], T], *quiet: int) -> T | None:
        """The answer, or None. What a device does not offer is passed over, everything else is its problem."""
        try:
            return question()
        except self._nvml.NVMLError as error:
            code = _code(error)
            if code in _LOST:
                self._lost, self._problem = True, f"it is lost to this machine: {error}"
            elif code not in {*_NOT_SUPPORTED, *quiet} and not self._problem:
                self._problem = f"{what}: {error}"
            return None

    def _read(self, handle: Any, index: str) -> Device:
        nvml = self._nvml
        name = _words(self._ask("name", lambda: nvml.nvmlDeviceGetName(handle)) or "NVIDIA GPU")
        memory = self._ask("memory", lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        rates = self._ask("utilisation", lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
        return Device(
            vendor=catalog.NVIDIA,
            name=name,
            type=catalog.nvidia_type(name),
            index=index,
            uuid=_words(self._ask("UUID", lambda: nvml.nvmlDeviceGetUUID(handle)) or ""),
            memory_total=int(memory.total) if memory else None,
            memory_used=int(memory.used) if memory else None,
            utilisation=rates.gpu / 100 if rates else None,
            temperature=self._temperature(handle),
            nvlink=self._links(handle),
            processes=self._processes(handle),
            mig=catalog.mig_profile(name),
        )

    def _temperature(self, handle: Any) -> float | None:
        sensor = self._nvml.NVML_TEMPERATURE_GPU
        degrees = self._ask("temperature", lambda: self._nvml.nvmlDeviceGetTemperature(handle, sensor))
        return None if degrees is None else float(degrees)

    def _links(self, handle: Any) -> int | None:
        """How many NVLinks are up; None for a GPU that has none."""
        states = []
        for link in range(_MAX_LINKS):
            # Numbers above the last link are invalid arguments to some drivers and not supported to others.
            state = self._ask("NVLink", partial(self._nvml.nvmlDeviceGetNvLinkState, handle, link), _INVALID_ARGUMENT)
            if state is None:
                break
            states.append(state)
        return sum(map(bool, states)) if states else None

    def _processes(self, handle: Any) -> tuple[Process, ...]:
        found: dict[int, Process] = {}
        for ask in (self._nvml.nvmlDeviceGetComputeRunningProcesses, self._nvml.nvmlDeviceGetGraphicsRunningProcesses):
            for one in self._ask("processes", partial(ask, handle)) or []:
                found[int(one.pid)] = self._process(one)
        return tuple(found.values())

    def _process(self, one: Any) -> Process:
        used = one.usedGpuMemory
        memory = None if used is None or used == _NOT_AVAILABLE else int(used)
        return Process(int(one.pid), memory, self._host.text(f"/proc/{one.pid}/comm"))

    def _instances(self, handle: Any, whole: Device) -> list[Device]:
        nvml = self._nvml
        most = self._ask("MIG instances", lambda: nvml.nvmlDeviceGetMaxMigDeviceCount(handle)) or 0
        found = []
        for number in range(most):
            instance = self._ask("MIG instance", partial(nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, number))
            if instance is not None:
                one = self._read(instance, f"{self._index}:{number}")
                profile = one.mig or catalog.mig_profile(one.name) or "instance"
                # An instance has no sensor of its own: the heat and the links are the whole GPU's.
                found.append(
                    replace(one, type=whole.type, mig=profile, temperature=whole.temperature, nvlink=whole.nvlink)
                )
        return [self._judged(one) for one in found]
