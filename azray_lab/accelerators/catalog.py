"""Names: what vendors call their accelerators, and what Ray calls them (`ray.util.accelerators`, 2.60).

Ray's names are written down here and not imported, because detection must not cost the import of Ray; a test holds
them to Ray's own constants and to its own reading of product names.
"""

from __future__ import annotations

import re

NVIDIA, AMD, INTEL, HABANA, GOOGLE = "NVIDIA", "AMD", "Intel", "Intel Habana", "Google"
ANNAPURNA, HUAWEI = "AWS Annapurna", "Huawei"

# PCI vendor ids (the PCI ID Repository, pci-ids.ucw.cz) of makers of accelerators.
VENDORS = {
    0x10DE: NVIDIA,
    0x1002: AMD,
    0x8086: INTEL,
    0x1DA3: HABANA,
    0x1AE0: GOOGLE,
    0x1D0F: ANNAPURNA,
    0x19E5: HUAWEI,
}

# AMD's PCI device ids -> (Ray's type, AMD's name). Ray's own table (`_private/accelerators/amd_gpu.py`, 2.60) lacks
# the virtual functions that Azure's ND MI300X v5 hands to its machines (0x74b5, amdgpu's list of ids).
AMD_DEVICES = {
    0x66A1: ("AMD-Instinct-MI50", "Instinct MI50"),
    0x738C: ("AMD-Instinct-MI100", "Instinct MI100"),
    0x7408: ("AMD-Instinct-MI250X", "Instinct MI250X"),
    0x740C: ("AMD-Instinct-MI250X-MI250", "Instinct MI250X / MI250"),
    0x740F: ("AMD-Instinct-MI210", "Instinct MI210"),
    0x74A0: ("AMD-Instinct-MI300A", "Instinct MI300A"),
    0x74A1: ("AMD-Instinct-MI300X-OAM", "Instinct MI300X"),
    0x74A2: ("AMD-Instinct-MI308X-OAM", "Instinct MI308X"),
    0x74A5: ("AMD-Instinct-MI325X-OAM", "Instinct MI325X"),
    0x74A9: ("AMD-Instinct-MI300X-HF", "Instinct MI300X HF"),
    0x74B5: ("AMD-Instinct-MI300X-OAM", "Instinct MI300X VF"),
    0x75A0: ("AMD-Instinct-MI350X-OAM", "Instinct MI350X"),
    0x75A3: ("AMD-Instinct-MI355X-OAM", "Instinct MI355X"),
    0x7461: ("", "Radeon PRO V710"),
}

# Other accelerators by PCI ids -> (Ray's type, name). Intel: ray 2.60 `intel_gpu.py`; Habana: the habanalabs driver's
# hldev ids; Google: `gasket` and `tpu_v*` ids in the tpu-info tool.
OTHER_DEVICES = {
    (0x8086, 0x0BD5): ("Intel-GPU-Max-1550", "Data Center GPU Max 1550"),
    (0x8086, 0x0BDA): ("Intel-GPU-Max-1100", "Data Center GPU Max 1100"),
    (0x1DA3, 0x1000): ("Intel-GAUDI", "Gaudi"),
    (0x1DA3, 0x1010): ("Intel-GAUDI", "Gaudi"),
    (0x1DA3, 0x1020): ("Intel-GAUDI", "Gaudi 2"),
    (0x1DA3, 0x1060): ("Intel-GAUDI", "Gaudi 3"),
    (0x1AE0, 0x0027): ("", "TPU v2 or v3"),
    (0x1AE0, 0x005E): ("TPU-V4", "TPU v4"),
    (0x1AE0, 0x0062): ("TPU-V5P", "TPU v5p"),
    (0x1AE0, 0x0063): ("TPU-V5LITEPOD", "TPU v5e"),
    (0x1AE0, 0x006F): ("TPU-V6E", "TPU v6e"),
    (0x1D0F, 0x7064): ("aws-neuron-core", "Inferentia"),
    (0x1D0F, 0x7164): ("aws-neuron-core", "Trainium"),
    (0x1D0F, 0x7264): ("aws-neuron-core", "Inferentia 2"),
    (0x1D0F, 0x7364): ("aws-neuron-core", "Trainium 2"),
    (0x19E5, 0xD802): ("Ascend910B", "Ascend 910B"),
}

# The model in an NVML device name, as Ray's own reading takes it (`_private/accelerators/nvidia_gpu.py`, 2.60).
_NVIDIA_MODEL = re.compile(r"\w+\s+((?:[A-Z]+\s+)*[A-Z0-9]*\d[A-Z0-9]*)")
# A part of a GPU that a hypervisor gives (NVIDIA vGPU profiles, "Virtual GPU Types" of the vGPU documentation):
# "A10-4Q" has 4 GiB of an A10. Azure's NVadsA10 v5 machines have 1/6, 1/3, 1/2 or a whole A10.
_VGPU_PROFILE = re.compile(r"\b([A-Z]+\d+[A-Z]*)-(\d+)[QCAB]$")
# A MIG instance's NVML name ends with its profile: "NVIDIA A100-SXM4-80GB MIG 1g.10gb".
_MIG_PROFILE = re.compile(r"\bMIG (\S+)$")
# Memory of whole GPUs of which hypervisors give parts, in GiB (NVIDIA's data sheets).
_WHOLE_GIB = {"A10": 24, "A16": 16, "A40": 48, "L4": 24, "L40": 48, "L40S": 48, "M60": 8, "T4": 16}
_GIB = 2**30


def nvidia_type(name: str) -> str:
    """Ray's accelerator type for an NVML device name: `NVIDIA A100-SXM4-80GB` is `A100`."""
    match = _NVIDIA_MODEL.match(name)
    if match and len(match.group(1)) > 1:
        return match.group(1).replace(" ", "-")
    return re.sub(r"^NVIDIA\s+", "", name).strip().replace(" ", "-")


def mig_profile(name: str) -> str:
    """The MIG profile at the end of a device name, or an empty string."""
    match = _MIG_PROFILE.search(name)
    return match.group(1) if match else ""


def fraction(name: str) -> tuple[str, str] | None:
    """For a part of a GPU that a hypervisor gives, its profile and the part: `("A10-4Q", "1/6")`; None for a whole."""
    match = _VGPU_PROFILE.search(name)
    if not match:
        return None
    whole, part = _WHOLE_GIB.get(match.group(1)), int(match.group(2))
    if whole is None or not part:
        return match.group(0), "a part"
    return None if part >= whole else (match.group(0), f"1/{whole // part}")


def amd(device: int) -> tuple[str, str]:
    """Ray's type and the name of an AMD PCI device id; the type is empty where Ray has none."""
    return AMD_DEVICES.get(device, ("", f"AMD GPU 0x{device:04x}"))


def other(vendor: int, device: int) -> tuple[str, str]:
    """Ray's type and the name of another vendor's PCI device."""
    return OTHER_DEVICES.get((vendor, device), ("", f"{VENDORS.get(vendor, 'PCI')} device 0x{device:04x}"))


def sized_type(kind: str, memory: int | None) -> str:
    """The type with its memory where Ray has a name for it (`A100-80G`), else an empty string; `memory` in bytes.

    Ray never adds these by itself (`ray.util.accelerators`, 2.60), so nodes get them from us.
    """
    if kind != "A100" or not memory:
        return ""
    return "A100-80G" if memory > 60 * _GIB else "A100-40G"


def vendor_of(kind: str) -> str:
    """The vendor of a type by Ray's name for it; types of unknown vendors are NVIDIA's, whose names have no prefix."""
    prefixes = {
        "AMD-": AMD,
        "Intel-GAUDI": HABANA,
        "Intel-": INTEL,
        "TPU-": GOOGLE,
        "aws-": ANNAPURNA,
        "Ascend": HUAWEI,
    }
    return next((vendor for prefix, vendor in prefixes.items() if kind.startswith(prefix)), NVIDIA if kind else "")
