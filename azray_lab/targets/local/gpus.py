"""The GPUs of this machine for the nodes of a cluster: found, chosen by type, pretended, and told to Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azray_lab.accelerators import catalog, labels
from azray_lab.errors import ResourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from azray_lab.accelerators import Device, Reason
    from azray_lab.spec.models import GpuSpec
    from azray_lab.targets.local.machine import Share

# Which variable names the devices that a process of CUDA or of ROCm's HIP may use.
_VISIBLE = {catalog.NVIDIA: "CUDA_VISIBLE_DEVICES", catalog.AMD: "HIP_VISIBLE_DEVICES"}


def schedulable(devices: Sequence[Device]) -> tuple[Device, ...]:
    """The devices that Ray counts as `GPU`: those of one vendor, NVIDIA first as Ray does, that can be used."""
    for vendor in _VISIBLE:
        if found := tuple(device for device in devices if device.vendor == vendor and device.usable):
            return found
    return ()


def take(
    node: str, wanted: GpuSpec | None, rest: list[Device], *, everything: Sequence[Device], even: int, why: str
) -> tuple[Device, ...]:
    """The devices of one node, taken out of `rest`; `even` of them where the spec says nothing.

    ResourceError where there are not as many, or not of that type; `why` says what detection found out.
    """
    count = wanted.count if wanted else even
    kind = wanted.type if wanted else None
    fitting = [device for device in rest if kind in {None, device.type, _sized(device)}]
    if count > len(fitting):
        raise _too_few(node, count, kind, fitting, everything, why)
    taken = tuple(fitting[:count])
    rest[:] = [device for device in rest if device not in taken]
    return taken


def _sized(device: Device) -> str:
    return catalog.sized_type(device.type, device.memory_total)


def _too_few(
    node: str, count: int, kind: str | None, fitting: Sequence[Device], everything: Sequence[Device], why: str
) -> ResourceError:
    what = f"{kind} GPU" if kind else "GPU"
    there = _counted(everything)
    left = f", of which {len(fitting)} are left" if everything and kind is None else ""
    pretend = f"{{count: {count}, type: {kind}, pretend: true}}" if kind else f"{{count: {count}, pretend: true}}"
    return ResourceError(
        f"node {node} wants {count} {what}{'' if count == 1 else 's'}",
        cause=f"this machine has {there}{left}" + (f" ({why})" if why else ""),
        next_step=f"give fewer, or `gpus: {pretend}` to try things without hardware",
        needed=count,
        available=len(fitting),
    )


def _counted(devices: Sequence[Device]) -> str:
    kinds = [device.type or device.name for device in devices]
    return " and ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)) or "no GPU"


def reasons(why: Sequence[Reason]) -> str:
    """What detection has to say of missing devices; that there simply is none says no more than the count."""
    return "; ".join(reason.text for reason in why if reason.code != "no-device")


def custom_resources(share: Share) -> dict[str, float]:
    """The custom resources of a node by which tasks ask for an accelerator type."""
    if share.pretended:
        return labels.type_resources(share.gpu_type)
    out: dict[str, float] = {}
    for device in share.devices:
        out |= labels.type_resources(device.type, device.memory_total)
    return out


def node_labels(share: Share) -> dict[str, str]:
    """The labels of a node that say which GPUs it has."""
    return labels.labels(share.gpu_type, pretended=share.pretended, devices=share.devices) if share.gpus else {}


def environment(share: Share) -> dict[str, str | None]:
    """What a node's environment says of devices, by variable; None for one that must not be there.

    A node without GPUs sees none. Pretended ones are counted by Ray alone, which would refuse more than the variable
    lists. CUDA is to number devices as NVML does, by their place on the bus.
    """
    if share.pretended:
        return dict.fromkeys(_VISIBLE.values())
    if not share.devices:
        return {"CUDA_VISIBLE_DEVICES": ""}
    vendor = share.devices[0].vendor
    return {_VISIBLE[vendor]: ",".join(map(_visible, share.devices)), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def _visible(device: Device) -> str:
    # A MIG instance has no number for CUDA, only a name.
    return device.uuid if device.mig else device.index
