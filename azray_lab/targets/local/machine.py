"""What this machine has, and what share of it each node of a cluster gets."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from azray_lab.accelerators import Host, detect
from azray_lab.errors import ResourceError
from azray_lab.targets.local import gpus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from azray_lab.accelerators import Device, Reason
    from azray_lab.spec.models import NodeSpec

# Ray's least object store (ray/_private/ray_constants.py, OBJECT_STORE_MINIMUM_MEMORY_BYTES, 2.60).
MIN_OBJECT_STORE = 75 * 1024 * 1024
# Ray gives its object store 30 % of the memory (DEFAULT_OBJECT_STORE_MEMORY_PROPORTION); here all nodes share it.
_OBJECT_STORE_PART = 0.3
_SHM_PART = 0.9
# A node's own processes (raylet, agents, log monitor) take about this much, measured with Ray 2.60.
NODE_MEMORY = 300 * 1024 * 1024
# A session's logs and sockets; below this Ray's first log lines already fail.
MIN_DISK = 200 * 1024 * 1024
_CGROUP = Path("/sys/fs/cgroup")
_MIB = 1024 * 1024
# Where Ray maps its object stores.
SHM = "/dev/shm"  # noqa: S108 - not a place of ours


@dataclass(frozen=True)
class Machine:
    """What is here: logical CPUs, memory and its free part, /dev/shm's free part (bytes), the GPUs that Ray may use.

    `why` says why there are not more GPUs.
    """

    cpus: int
    memory: int
    free_memory: int
    free_shm: int
    gpus: tuple[Device, ...]
    why: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class Share:
    """What one node gets: counts and bytes; `devices` are its GPUs, none when they are pretended."""

    cpus: int
    gpus: int
    memory: int
    object_store: int
    devices: tuple[Device, ...] = ()
    pretended: bool = False
    gpu_type: str = ""


def measure(object_store_directory: str | None = None, host: Host | None = None) -> Machine:
    """Looks at this machine: affinity and control group for CPUs and memory, its accelerators (or those of `host`)."""
    found = detect(host)
    memory = psutil.virtual_memory()
    limit = _cgroup_number("memory.max") or memory.total
    used = _cgroup_number("memory.current") or 0
    store = object_store_directory or SHM
    return Machine(
        cpus=cpus(),
        memory=min(limit, memory.total),
        free_memory=min(limit - used, memory.available) if limit < memory.total else memory.available,
        free_shm=_free(store),
        gpus=gpus.schedulable(found.devices),
        why=found.reasons,
    )


def _free(directory: str) -> int:
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return 0


def cpus() -> int:
    """The logical CPUs that this process may use, by affinity and control group."""
    count = len(os.sched_getaffinity(0))
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return count
    return count if quota == "max" else max(1, min(count, int(quota) // int(period)))


def _cgroup_number(name: str) -> int | None:
    try:
        text = (_CGROUP / name).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def shares(
    machine: Machine, nodes: dict[str, NodeSpec], held: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Share]:
    """Divides `machine` among `nodes` (name -> spec): what a spec says counts, the rest is split evenly.

    Nodes that run keep the GPUs that they have: `held` has their indices by name.

    CPUs are logical and at least 1 a node, so that small machines run several nodes. ResourceError where memory,
    /dev/shm or GPUs do not suffice.
    """
    count = len(nodes)
    _check_memory(machine, count)
    even = machine.free_memory // count
    default_store = min(int(even * _OBJECT_STORE_PART), int(machine.free_shm * _SHM_PART) // count)
    _check_shm(machine, nodes, default_store)
    kept = {name: tuple(d for d in machine.gpus if d.index in indices) for name, indices in (held or {}).items()}
    rest = [device for device in machine.gpus if not any(device in devices for devices in kept.values())]
    out = {}
    for name, spec in nodes.items():
        store = spec.object_store_memory or default_store
        taken = kept[name] if name in kept else _take(name, spec, rest, machine, count)
        pretended = bool(spec.gpus and spec.gpus.pretend and spec.gpus.count)
        out[name] = Share(
            cpus=spec.cpus if spec.cpus is not None else max(1, machine.cpus // count),
            gpus=spec.gpus.count if spec.gpus else len(taken),
            memory=spec.memory or max(even - store - NODE_MEMORY, 64 * _MIB),
            object_store=store,
            devices=taken,
            pretended=pretended,
            gpu_type=_gpu_type(spec, taken),
        )
    return out


def _take(name: str, spec: NodeSpec, rest: list[Device], machine: Machine, nodes: int) -> tuple[Device, ...]:
    if spec.gpus and spec.gpus.pretend:
        return ()
    even = min(len(machine.gpus) // nodes, len(rest))
    return gpus.take(name, spec.gpus, rest, everything=machine.gpus, even=even, why=gpus.reasons(machine.why))


def _gpu_type(spec: NodeSpec, taken: tuple[Device, ...]) -> str:
    if taken:
        return taken[0].type
    return (spec.gpus.type or "") if spec.gpus else ""


def _check_memory(machine: Machine, count: int) -> None:
    needed = count * (NODE_MEMORY + MIN_OBJECT_STORE)
    if needed > machine.free_memory:
        raise ResourceError(
            f"{count} nodes do not fit into this machine's memory",
            cause=f"they need about {needed // _MIB} MiB, {machine.free_memory // _MIB} MiB are free",
            next_step=f"ask for at most {max(machine.free_memory // (NODE_MEMORY + MIN_OBJECT_STORE) - 1, 0)} workers",
            needed=needed,
            available=machine.free_memory,
        )


def _check_shm(machine: Machine, nodes: dict[str, NodeSpec], default_store: int) -> None:
    stores = [spec.object_store_memory or max(default_store, MIN_OBJECT_STORE) for spec in nodes.values()]
    if sum(stores) <= machine.free_shm:
        return
    raise ResourceError(
        f"{SHM} is too small for the object stores of {len(nodes)} nodes",
        cause=f"they need {sum(stores) // _MIB} MiB, {machine.free_shm // _MIB} MiB are free",
        next_step="enlarge it (docker run --shm-size=2g, or mount -o remount,size=2G /dev/shm), "
        "or set local.object_store_directory to a folder on a disk (slower)",
        needed=sum(stores),
        available=machine.free_shm,
    )


def check_disk(directory: Path) -> None:
    """ResourceError unless `directory` has room for a session's logs."""
    free = _free(str(directory))
    if free < MIN_DISK:
        raise ResourceError(
            f"{directory} has no space for a Ray session",
            cause=f"{free // _MIB} MiB are free, {MIN_DISK // _MIB} MiB are needed",
            next_step="free some space, or export AZRAY_RUNTIME_DIR=/some/short/folder on another disk",
            needed=MIN_DISK,
            available=free,
        )
