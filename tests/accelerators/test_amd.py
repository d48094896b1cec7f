"""AMD through amdsmi, by a stand-in with its functions: what it tells, and every call of it failing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest

from azray_lab.accelerators import Process, detect

MIB = 2**20


class AmdSmiException(Exception):  # noqa: N818 - amdsmi's own name
    """The base of amdsmi's errors."""


@dataclass
class FakeAmdSmi:
    """amdsmi of ROCm 6.4 on a machine with MI300X; `failing` is a function that raises."""

    failing: str = ""
    gpus: int = 8
    silent: str = ""  # a function that answers `N/A`; with a dot and a key, a part of its answer does

    AmdSmiException = AmdSmiException
    AmdSmiTemperatureType = SimpleNamespace(HOTSPOT=1)
    AmdSmiTemperatureMetric = SimpleNamespace(CURRENT=0)

    def __call__(self) -> FakeAmdSmi:
        """The library itself, as `Host.amdsmi` gives it."""
        return self

    def __getattr__(self, name: str) -> Any:
        answers = {
            "amdsmi_init": None,
            "amdsmi_shut_down": None,
            "amdsmi_get_processor_handles": list(range(self.gpus)),
            "amdsmi_get_gpu_asic_info": {"market_name": "AMD Instinct MI300X VF", "device_id": "0x74b5"},
            "amdsmi_get_gpu_vram_usage": {"vram_total": 196_592, "vram_used": 283},
            "amdsmi_get_gpu_activity": {"gfx_activity": 37, "umc_activity": "N/A"},
            "amdsmi_get_gpu_driver_info": {"driver_version": "6.12.12"},
            "amdsmi_get_gpu_device_uuid": "05ff74b5-0000-1000-80ff-000000000001",
            "amdsmi_get_temp_metric": 46,
            "amdsmi_get_gpu_process_list": [{"name": "python3", "pid": 777, "mem": 300 * MIB}],
        }
        if name not in answers:
            raise AttributeError(name)

        def function(*_: Any) -> Any:
            if name == self.failing:
                raise AmdSmiException("AMDSMI_STATUS_NOT_SUPPORTED")
            silent, *keys = self.silent.split(".")
            if name != silent:
                return answers[name]
            return _without(answers[name], *keys) if keys else "N/A"

        return function


def _without(answer: Any, key: str) -> Any:
    return [_without(part, key) for part in answer] if isinstance(answer, list) else answer | {key: "N/A"}


FUNCTIONS = [
    "amdsmi_init", "amdsmi_shut_down", "amdsmi_get_processor_handles", "amdsmi_get_gpu_asic_info",
    "amdsmi_get_gpu_vram_usage", "amdsmi_get_gpu_activity", "amdsmi_get_gpu_driver_info", "amdsmi_get_temp_metric",
    "amdsmi_get_gpu_device_uuid", "amdsmi_get_gpu_process_list",
]  # fmt: skip


def test_amdsmi_tells_more_than_sysfs(machines):
    """Names, memory in bytes, use, heat and processes, in the same units as for every other device."""
    host = replace(machines("mi300x").host, amdsmi=FakeAmdSmi())
    devices = detect(host).devices
    assert len(devices) == 8
    first = devices[0]
    assert (first.name, first.type) == ("AMD Instinct MI300X VF", "AMD-Instinct-MI300X-OAM")
    assert (first.memory_total, first.memory_used) == (196_592 * MIB, 283 * MIB)
    assert (first.utilisation, first.temperature, first.driver) == (0.37, 46.0, "6.12.12")
    assert first.processes == (Process(777, 300 * MIB, "python3"),)
    assert not first.problem


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_call_may_fail(machines, function):
    """Eight GPUs are found whichever call fails; a question that failed is the device's problem."""
    host = replace(machines("mi300x").host, amdsmi=FakeAmdSmi(failing=function))
    devices = detect(host).devices
    assert len(devices) == 8
    assert all(device.memory_total for device in devices) or function == "amdsmi_get_gpu_vram_usage"
    asked = function.startswith("amdsmi_get_") and function != "amdsmi_get_processor_handles"
    assert all(bool(device.problem) == asked for device in devices)


SILENT = [
    *FUNCTIONS[3:],
    "amdsmi_get_gpu_asic_info.device_id", "amdsmi_get_gpu_asic_info.market_name",
    "amdsmi_get_gpu_vram_usage.vram_total", "amdsmi_get_gpu_vram_usage.vram_used",
    "amdsmi_get_gpu_activity.gfx_activity",
    "amdsmi_get_gpu_driver_info.driver_version", "amdsmi_get_gpu_process_list.pid", "amdsmi_get_gpu_process_list.mem",
    "amdsmi_get_gpu_process_list.name",
]  # fmt: skip


@pytest.mark.parametrize("silent", SILENT)
def test_what_amdsmi_calls_not_available_is_missing(machines, silent):
    """`N/A` is neither a value nor an error: the eight GPUs are there, and one value of each is None or empty."""
    heard, unheard = (
        detect(replace(machines("mi300x").host, amdsmi=FakeAmdSmi(silent=name))).devices for name in ("", silent)
    )
    assert len(unheard) == 8
    assert not any(device.problem for device in unheard)
    assert "N/A" not in str(unheard)
    assert unheard != heard


def test_a_gpu_inside_of_the_cpu_is_left_out_of_what_amdsmi_lists(machines):
    """A machine with an Instinct and a Ryzen: amdsmi lists both, and only the first has an accelerator's id."""

    class WithRyzen(FakeAmdSmi):
        def amdsmi_get_gpu_asic_info(self, handle: int) -> dict[str, str]:
            return {"market_name": "GPU", "device_id": "0x15bf" if handle else "0x74b5"}

    found = detect(replace(machines("mi300x").host, amdsmi=WithRyzen(gpus=2))).devices
    assert [device.type for device in found] == ["AMD-Instinct-MI300X-OAM"]


@pytest.mark.parametrize("error", [ImportError("no amdsmi"), OSError("no librocm"), KeyError("ROCM_PATH")])
def test_without_the_library_sysfs_is_read(machines, error):
    """However the import of amdsmi ends."""

    def broken() -> Any:
        raise error

    devices = detect(replace(machines("mi300x").host, amdsmi=broken)).devices
    assert [device.memory_total for device in devices] == [196_592 * MIB] * 8
