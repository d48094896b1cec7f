"""Every error that NVML knows at any of its calls, and GPUs that fall off the bus while they are watched."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pynvml
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from azray_lab.accelerators import detect
from azray_lab.testing.nvml import ERRORS, FUNCTIONS

MACHINES = ["t4", "a100_mig", "h100"]
OF_DEVICES = [name for name in FUNCTIONS if name.startswith("nvmlDevice") and name != "nvmlDeviceGetCount"]
# By NVML's reference: what a device does not offer or does not have, and that it is gone.
QUIET = {
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_NOT_FOUND,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
    pynvml.NVML_ERROR_DEPRECATED,
}
GONE = {pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED, pynvml.NVML_ERROR_GPU_NOT_FOUND}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("machine", MACHINES)
def test_every_error_at_every_call_is_told_and_never_raised(machines, machine, function):
    """Detection ends with devices or a reason, says what was wrong, and shuts the library down as often as it began."""
    for code in ERRORS:
        captured = machines(machine, failing={function: (code, 1)})
        found = detect(captured.host)
        assert found.devices or found.reasons, (function, code)
        assert captured.nvml.open == 0, (function, code)
        if function in {"nvmlInit", "nvmlDeviceGetCount"}:
            assert found.devices == ()
            assert found.reasons[0].text
        if function == "nvmlDeviceGetHandleByIndex":
            assert all(device.lost and device.problem for device in found.devices), code


@pytest.mark.parametrize("function", OF_DEVICES)
@pytest.mark.parametrize("machine", MACHINES)
def test_every_error_of_a_device_stands_with_it_in_nvmls_words(machines, machine, function):
    """What a device does not offer is no problem, that it is gone makes it lost, and all else is its problem."""
    for code in ERRORS:
        captured = machines(machine, failing={function: (code, 1)})
        asked_all = function not in {"nvmlDeviceGetMaxMigDeviceCount", "nvmlDeviceGetMigDeviceHandleByIndex"}
        devices = [device for device in detect(captured.host).devices if asked_all or device.mig]
        if function not in captured.nvml.calls:
            return  # a machine without MIG is not asked for instances
        said = [device for device in devices if str(pynvml.NVMLError(code)) in device.problem]
        if code in GONE or function == "nvmlDeviceGetHandleByIndex":
            assert said or code in QUIET, (function, code)
            assert all(device.lost and not device.usable for device in devices), (function, code)
        elif code in QUIET or (function, code) == ("nvmlDeviceGetNvLinkState", pynvml.NVML_ERROR_INVALID_ARGUMENT):
            assert [device.problem for device in devices] == [""] * len(devices), (function, code)
        else:
            assert said == devices, (function, code)
            assert not any(device.lost for device in devices), (function, code)


@given(first=st.integers(1, 40), code=st.sampled_from(ERRORS), function=st.sampled_from(FUNCTIONS))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_errors_that_begin_at_any_call(machines, first, code, function):
    """The same when the first calls went well: the other GPUs keep what they said."""
    captured = machines("h100", failing={function: (code, first)})
    found = detect(captured.host)
    assert captured.nvml.open == 0
    assert found.devices or found.reasons
    assert len({device.index for device in found.devices}) == len(found.devices)


def test_a_gpu_that_falls_off_is_a_device_with_a_problem(machines):
    """GPU 2 of 8 is lost in the middle of being read: it is listed with the reason, and the others are well."""
    lost = pynvml.NVML_ERROR_GPU_IS_LOST
    found = detect(machines("h100", failing={"nvmlDeviceGetMemoryInfo": (lost, 8)}).host)
    assert len(found.devices) == 8
    assert [device.index for device in found.devices if device.lost] == ["7"]
    assert "GPU is lost" in found.devices[7].problem
    assert [(r.code, r.next_step) for r in found.reasons] == [("lost", "sudo dmesg | grep -i xid")]


def test_what_a_device_does_not_offer_is_no_problem(machines):
    """Not supported is an answer: the value is missing, and nothing is said."""
    failing = {"nvmlDeviceGetUtilizationRates": (pynvml.NVML_ERROR_NOT_SUPPORTED, 1)}
    (t4,) = detect(machines("t4", failing=failing).host).devices
    assert (t4.utilisation, t4.problem, t4.usable) == (None, "", True)


def test_what_a_device_refuses_is_said_and_it_stays_usable(machines):
    """Without the right to see processes the device is whole, and the problem says which number is missing."""
    failing = {"nvmlDeviceGetComputeRunningProcesses": (pynvml.NVML_ERROR_NO_PERMISSION, 1)}
    (t4,) = detect(machines("t4", failing=failing).host).devices
    assert (t4.problem, t4.usable) == ("processes: Insufficient Permissions", True)


@pytest.mark.parametrize("kind", [KeyError, AttributeError, RuntimeError, SyntaxError])
def test_a_package_that_cannot_be_imported_is_a_reason(machines, kind):
    """Whatever the import of pynvml raises, the reason says it, and nothing is raised."""

    def broken():
        raise kind("half an installation")

    found = detect(replace(machines("t4").host, nvml=broken))
    assert found.devices == ()
    assert f"pynvml cannot be imported: {kind.__name__}" in found.reasons[0].text


def test_a_package_that_is_no_binding_of_nvml_is_a_reason(machines):
    """A module of that name without NVML's errors is not used."""
    found = detect(replace(machines("t4").host, nvml=SimpleNamespace))
    assert found.devices == ()
    assert "NVMLError" in found.reasons[0].text


def test_a_package_that_lacks_functions_gives_what_it_has(machines):
    """An old binding with the beginning alone: no traceback; what it cannot tell is left out, or is the reason."""
    whole = machines("t4").nvml
    names = ["NVMLError", "nvmlInit", "nvmlShutdown", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"]
    for count in range(2, len(names) + 1):
        part = SimpleNamespace(**{name: getattr(whole, name) for name in names[:count]})
        found = detect(replace(machines("t4").host, nvml=lambda part=part: part))
        assert found.devices or "Function Not Found" in found.reasons[0].text, names[:count]
