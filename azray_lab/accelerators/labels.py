"""What Ray is told of a node's accelerators: resources and labels, and how they are read back from a node.

Ray puts `accelerator_type:X` and the label `ray.io/accelerator-type` on a node by itself when its own detection works
(`_private/resource_and_label_spec.py`, 2.60); giving both makes them true for pretended GPUs, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from azray_lab.accelerators import catalog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from azray_lab.accelerators.devices import Device

TYPE_LABEL = "ray.io/accelerator-type"
# Ours: where the GPUs of a node come from, and the memory of one of them in MiB.
GPUS_LABEL = "azray.io/gpus"
MEMORY_LABEL = "azray.io/gpu-memory-mib"
PRETENDED = "pretended"
TYPE_RESOURCE = "accelerator_type:"
# Resources by which Ray counts accelerators (`_private/accelerators`, 2.60).
COUNTED = ("GPU", "TPU", "HPU", "NPU", "neuron_cores")


def type_resources(kind: str, memory: int | None = None) -> dict[str, float]:
    """The custom resources by which tasks ask for a type: `accelerator_type:A100`, and with the size where Ray has it.

    `memory` in bytes. Ray gives such a resource the amount 1, of which a task with `accelerator_type=` takes 0.001.
    """
    kinds = [kind, catalog.sized_type(kind, memory)]
    return {f"{TYPE_RESOURCE}{each}": 1 for each in kinds if each}


def labels(kind: str, *, pretended: bool, devices: Sequence[Device] = ()) -> dict[str, str]:
    """The labels of a node that has GPUs of type `kind`: the type, pretended or which ones, and their true memory."""
    out = {TYPE_LABEL: kind} if kind else {}
    if pretended:
        return out | {GPUS_LABEL: PRETENDED}
    if devices:
        # A label's value has at most 63 characters; a node of more devices than fit has all of its machine's.
        names = "_".join(device.index.replace(":", ".") for device in devices)
        out |= {GPUS_LABEL: names} if len(names) <= 63 else {}  # noqa: PLR2004 - Ray's limit for values
        sizes = [device.memory_total for device in devices if device.memory_total]
        out |= {MEMORY_LABEL: str(min(sizes) // 2**20)} if sizes else {}
    return out


def is_pretended(node_labels: Mapping[str, str]) -> bool:
    """Whether a node's GPUs are pretended."""
    return node_labels.get(GPUS_LABEL) == PRETENDED


def indices(node_labels: Mapping[str, str]) -> frozenset[str] | None:
    """The devices of its machine that a node has, by index; None when it has all of them."""
    names = node_labels.get(GPUS_LABEL, "")
    if not names or names == PRETENDED:
        return None
    return frozenset(name.replace(".", ":") for name in names.split("_"))


def type_of(resources: Mapping[str, float], node_labels: Mapping[str, str]) -> str:
    """The accelerator type of a node as Ray has it: its label, else its resource; the shortest, so without the size."""
    if kind := node_labels.get(TYPE_LABEL):
        return kind
    kinds = [name.removeprefix(TYPE_RESOURCE) for name in resources if name.startswith(TYPE_RESOURCE)]
    return min(kinds, key=len, default="")


def count(resources: Mapping[str, float]) -> int:
    """How many accelerators Ray may schedule on a node."""
    return int(sum(resources.get(name, 0) for name in COUNTED))
