"""Reading the report: of this machine through the vendors' libraries, of a cluster through its dashboard."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from azray_lab.accelerators import catalog, labels
from azray_lab.accelerators.detect import detect, parts
from azray_lab.accelerators.devices import Device, Process, Reason
from azray_lab.hardware import state
from azray_lab.hardware.holders import holders
from azray_lab.hardware.report import GpuReport, GpuRow, Holder, row_of
from azray_lab.jobs.dashboard import ANSWER_SECONDS, Dashboard

if TYPE_CHECKING:
    from azray_lab.accelerators.host import Host
    from azray_lab.targets.base import Endpoint

HERE = "this machine"
_MIB = 2**20
NODE_LABEL = "azray.io/node"
NO_GPU = Reason("no-device", "Ray was told of no GPU here")
PRETENDED = Reason("no-device", "its GPUs are pretended: names for teaching, without memory or utilisation")
NOT_REPORTED = Reason("no-runtime", "Ray counts GPUs here, but its agent reports none", "nvidia-smi, in a task there")


def machine(host: Host | None = None) -> GpuReport:
    """The GPUs of this machine (or of `host`). Raises nothing: what is wrong stands in the reasons."""
    found = detect(host)
    rows = [_with_processes(row_of(HERE, devices)) for devices in _grouped(found.devices)]
    reasons = {HERE: found.reasons} if found.reasons else {}
    return GpuReport(HERE, tuple(rows), reasons, time.time(), live=host is None)


def _grouped(devices: Iterable[Device]) -> list[list[Device]]:
    groups: dict[tuple[str, str], list[Device]] = defaultdict(list)
    for device in devices:
        groups[device.vendor, device.type or device.name].append(device)
    return list(groups.values())


def _with_processes(row: GpuRow, known: Sequence[Holder] = ()) -> GpuRow:
    """The row with its holders: `known` ones with the memory of their process, then processes that nobody knows."""
    memory: dict[int, int | None] = {}
    names: dict[int, str] = {}
    for process in (process for device in row.devices for process in device.processes):
        held = memory.get(process.pid)
        memory[process.pid] = (held or 0) + process.memory if process.memory is not None else held
        names[process.pid] = process.name
    ours = [replace(holder, memory=memory.pop(holder.pid, None)) if holder.pid else holder for holder in known]
    rest = [Holder("process", names[pid] or str(pid), pid=pid, memory=held) for pid, held in memory.items()]
    return replace(row, holders=(*ours, *rest))


def cluster(name: str, endpoint: Endpoint, host: Host | None = None, *, seconds: float = ANSWER_SECONDS) -> GpuReport:
    """The GPUs of a cluster: five requests, whatever the number of nodes; ClusterLostError when it does not answer.

    DeadlineError when one request is not answered in `seconds`.

    Live numbers are those that each node's agent last sent (every 2.5 s, Ray 2.60).
    """
    dashboard = Dashboard(endpoint, seconds=seconds)
    nodes = state.rows(dashboard, "nodes", state="ALIVE")
    with_gpus = any(labels.count(node["resources_total"]) for node in nodes)
    live = _live(dashboard) if with_gpus else {}
    held = holders(dashboard) if with_gpus else {}
    here = _here(live, host)
    rows, reasons = [], {}
    for node in sorted(nodes, key=lambda node: not node.get("is_head_node")):
        one = _Node(node, live.get(node["node_id"], []), held.get(node["node_id"], []), here)
        rows += one.rows()
        if why := one.reasons():
            reasons[one.name] = why
    return GpuReport(name, tuple(rows), reasons, time.time(), live=host is None)


def _live(dashboard: Dashboard) -> dict[str, list[dict[str, Any]]]:
    """What the agents of the nodes report of their GPUs, by node id."""
    # The dashboard answers from a cache of some seconds unless it is told not to.
    answer = state.get(dashboard, "/nodes", view="summary", nocache=1)
    summary = state.part(answer, "what its nodes report", "data", "summary")
    return {node["raylet"]["nodeId"]: node.get("gpus") or [] for node in summary if node["raylet"]}


def _here(live: Mapping[str, Sequence[Any]], host: Host | None) -> dict[str, Device]:
    """The devices of this machine by UUID: an agent reports neither driver nor links, and may run right here."""
    if not any(live.values()):
        return {}
    return {device.uuid: device for device in detect(host).devices if device.uuid}


class _Node:
    """One node of a cluster: what Ray was told of it, what its agent reports, and who holds its GPUs."""

    def __init__(
        self, node: Mapping[str, Any], live: Sequence[Mapping[str, Any]], held: list[Holder], here: dict[str, Device]
    ) -> None:
        self._resources: Mapping[str, float] = node["resources_total"]
        self._labels: Mapping[str, str] = node.get("labels") or {}
        self.name = str(self._labels.get(NODE_LABEL) or node.get("node_name") or node["node_ip"])
        self._held = sorted(held, key=lambda holder: (holder.kind, holder.name))
        self._count = labels.count(self._resources)
        self._pretended = labels.is_pretended(self._labels)
        mine = labels.indices(self._labels)
        kind = labels.type_of(self._resources, self._labels)
        found = [_device(one, here, kind) for one in live]
        self._devices = [] if self._pretended else [d for d in found if mine is None or d.index in mine]

    def rows(self) -> list[GpuRow]:
        """Its rows: one for each type that is reported, or one for what Ray was told."""
        if not self._count:
            return []
        if not self._devices:
            return [self._told()]
        groups = _grouped(self._devices)
        # Ray does not say which of its GPUs a worker has; where there are several types the process tells.
        return [self._row(devices, first=not number) for number, devices in enumerate(groups)]

    def _told(self) -> GpuRow:
        kind = labels.type_of(self._resources, self._labels)
        row = GpuRow(self.name, catalog.vendor_of(kind), kind, self._count, pretended=self._pretended)
        return replace(row, holders=tuple(self._held))

    def _row(self, devices: list[Device], *, first: bool) -> GpuRow:
        pids = {process.pid for device in devices for process in device.processes}
        others = {p.pid for d in self._devices if d not in devices for p in d.processes}
        held = [h for h in self._held if h.pid in pids or (first and h.pid not in others)]
        return _with_processes(row_of(self.name, devices), held)

    def reasons(self) -> tuple[Reason, ...]:
        """Why it has no GPU, or no numbers."""
        if not self._count:
            return (NO_GPU,)
        if self._pretended:
            return (PRETENDED,)
        if not self._devices:
            return (NOT_REPORTED,)
        if len(self._devices) < self._count:
            text = f"Ray counts {self._count} GPUs here, and its agent reports {len(self._devices)}"
            return (Reason("lost", text, "sudo dmesg | grep -i xid, on that node"),)
        return tuple(parts(self._devices))


def _device(gpu: Mapping[str, Any], here: Mapping[str, Device], kind: str) -> Device:
    """A device as an agent reports it (`dashboard/modules/reporter/gpu_providers.py`, 2.60; memory in MiB).

    `kind` is the type that Ray has for the node: Ray takes AMD's types from PCI ids, which agents do not report.
    """
    name, number = str(gpu.get("name", "")), int(gpu.get("index", 0))
    known = here.get(str(gpu.get("uuid", "")))
    busy = gpu.get("utilizationGpu")
    degrees = gpu.get("temperatureC")
    amd = "AMD" in name or "Instinct" in name
    return Device(
        vendor=catalog.AMD if amd else catalog.NVIDIA,
        name=name,
        type=known.type if known else kind if amd else catalog.nvidia_type(name),
        # A MIG instance is number 1000 x GPU + instance there.
        index=known.index if known else _index(number, mig=bool(catalog.mig_profile(name))),
        uuid=str(gpu.get("uuid", "")),
        memory_total=int(gpu["memoryTotal"]) * _MIB if gpu.get("memoryTotal") is not None else None,
        memory_used=int(gpu["memoryUsed"]) * _MIB if gpu.get("memoryUsed") is not None else None,
        utilisation=busy / 100 if busy is not None and busy >= 0 else None,
        temperature=float(degrees) if degrees is not None else known.temperature if known else None,
        driver=known.driver if known else "",
        cuda=known.cuda if known else "",
        mig=catalog.mig_profile(name),
        nvlink=known.nvlink if known else None,
        processes=tuple(_process(one) for one in gpu.get("processesPids") or ()),
    )


def _index(number: int, *, mig: bool) -> str:
    return f"{number // 1000}:{number % 1000}" if mig else str(number)


def _process(one: Mapping[str, Any]) -> Process:
    return Process(int(one["pid"]), int(one.get("gpuMemoryUsage") or 0) * _MIB)
