"""The spec: what the user asks for, as frozen models in which unknown keys fail.

The same fields serve all three targets, so that changing `target` alone moves a notebook; a field that a target cannot
use is named by its plan.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from azray_lab.spec.quantities import Duration, Size

# A DNS label (RFC 1123) starting with a letter: safe as a file name, a Kubernetes name, an Azure tag and a Ray label.
# 40 characters leave room for suffixes within Kubernetes' 63 and within the 107 bytes of a Unix socket's path.
NAME_PATTERN = r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$"

Name = Annotated[str, Field(pattern=NAME_PATTERN, examples=["team-a"])]
# Ray's label keys and values follow Kubernetes' syntax (ray/_raylet label validation, 2.60).
LabelKey = Annotated[str, Field(pattern=r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$")]
LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$")]


class Model(BaseModel):
    """The base of every part of a spec: frozen, unknown keys fail, a field's docstring is its documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)


class GpuSpec(Model):
    """GPUs of a node, spelled out."""

    count: int = Field(ge=0, le=64)
    """How many."""
    type: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-]{1,40}$", examples=["A100"])
    """Ray's accelerator type; unset means whatever is there."""
    pretend: bool = False
    """Tell Ray of GPUs that this machine does not have; for teaching on the local target, and shown as pretended."""


def _gpus(value: Any) -> Any:
    return {"count": value} if isinstance(value, int) and not isinstance(value, bool) else value


class NodeSpec(Model):
    """What one node has. Unset resources are found out by the target."""

    vm_size: str | None = Field(default=None, pattern=r"^[A-Za-z][A-Za-z0-9_]{1,60}$", examples=["Standard_D8s_v5"])
    """The Azure VM size; the local target has no use for it and says so in its plan."""
    cpus: int | None = Field(default=None, ge=0, le=1024)
    """Logical CPUs that Ray may schedule on; default: the machine's share."""
    gpus: Annotated[GpuSpec | None, BeforeValidator(_gpus)] = None
    """GPUs that Ray may schedule on: a count, or `{count, type, pretend}`; default: what is found."""
    memory: Size | None = None
    """Memory for tasks and actors; default: the machine's share."""
    object_store_memory: Size | None = Field(default=None, ge=75 * 1024 * 1024)
    """Memory of Ray's object store, at least Ray's minimum of 75 MiB; default: the machine's share."""
    resources: dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_:-]{0,62}$")], Annotated[int, Field(ge=0, le=10**9)]] = {}
    """Custom Ray resources."""
    labels: dict[LabelKey, LabelValue] = {}
    """Ray labels of the node; `ray.io/` and `azray.io/` keys are set by the target."""


class HeadSpec(NodeSpec):
    """The head node."""


class WorkerGroup(NodeSpec):
    """A group of like workers."""

    name: Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$")] = "worker"
    """The group's name; its nodes are `<name>-1`, `<name>-2`, ..."""
    count: int | None = Field(default=None, ge=0, le=1000)
    """How many nodes; for an autoscaled group give `min` and `max` instead."""
    min: int | None = Field(default=None, ge=0, le=1000)
    """The least number of nodes of an autoscaled group."""
    max: int | None = Field(default=None, ge=0, le=1000)
    """The largest number of nodes of an autoscaled group."""
    gpu: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-]{1,40}(:[1-9][0-9]?)?$", examples=["A100:8"])
    """GPU type and count from which the catalog chooses the VM size."""
    spot: bool = False
    """Use spot capacity where the target has it."""

    @model_validator(mode="after")
    def _count_or_range(self) -> WorkerGroup:
        if self.count is not None and (self.min is not None or self.max is not None):
            raise ValueError("give either count, or min and max, not both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min}) is above max ({self.max})")
        return self

    @property
    def initial(self) -> int:
        """How many nodes the group starts with."""
        if self.count is not None:
            return self.count
        return self.min if self.min is not None else (1 if self.max is None or self.max else 0)


def _groups(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return [{"name": "worker", "count": value}] if value else []
    return value


class MountSpec(Model):
    """A Blob container as a folder, through BlobFuse2."""

    uri: str = Field(min_length=1, examples=["az://datasets/imagenet"])
    """The container, and the folder in it."""
    path: str = Field(pattern=r"^/[^\x00]+$", examples=["/mnt/imagenet"])
    """Where it appears, absolute."""
    profile: Literal["dataset", "checkpoints", "models", "shared"] = "shared"
    """How the mount is tuned."""


class LeaseSpec(Model):
    """Until when the cluster may live; a watchdog on the cluster enforces it."""

    idle: Duration | None = None
    """End the cluster after so long without tasks, actors, jobs and connected drivers; unset: never."""
    max: Duration | None = None
    """End the cluster when it is that old, whatever it does; unset: never."""


def _regions(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class AzureSpec(Model):
    """Where in Azure; for the targets `dsvm` and `aks`."""

    region: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[a-z0-9]{3,40}$")], ...], BeforeValidator(_regions), Field(max_length=20)
    ] = ()
    """Regions in order of preference; one name or a list."""
    resource_group: str | None = Field(default=None, pattern=r"^[\w().-]{0,89}[\w()-]$")
    """The resource group."""
    subscription: str | None = Field(default=None, pattern=r"^[0-9a-fA-F-]{36}$")
    """The subscription's id; default: that of the credential."""


class LocalSpec(Model):
    """What only the local target knows."""

    dashboard_port: int | None = Field(default=None, ge=1024, le=65535)
    """The dashboard's port; default: any free one."""
    object_store_directory: str | None = Field(default=None, pattern=r"^/[^\x00]+$")
    """Where object stores are mapped when /dev/shm is too small; slower on a disk."""


class ClusterSpec(Model):
    """A cluster as the user asks for it."""

    name: Name = "default"
    """The cluster's name: lower-case letters, digits and hyphens, starting with a letter, at most 40 characters."""
    target: Literal["local", "dsvm", "aks"] = "local"
    """Where it runs: this machine, Azure Data Science VMs, or Azure Kubernetes Service."""
    head: HeadSpec = HeadSpec()
    """The head node."""
    workers: Annotated[tuple[WorkerGroup, ...], BeforeValidator(_groups), Field(max_length=50)] = ()
    """Worker groups, or a number as short for one group `worker` of that count."""
    mounts: tuple[MountSpec, ...] = ()
    """Blob containers that appear as folders on every node."""
    lease: LeaseSpec = LeaseSpec()
    """Until when the cluster may live."""
    env: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str] = {}
    """Environment variables of every Ray process; never secrets, which belong into `runtime_env`."""
    azure: AzureSpec = AzureSpec()
    """Where in Azure."""
    local: LocalSpec = LocalSpec()
    """What only the local target knows."""

    @model_validator(mode="after")
    def _distinct_groups(self) -> ClusterSpec:
        names = [group.name for group in self.workers]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"two worker groups have the name {twice[0]!r}")
        if "head" in names:
            raise ValueError("a worker group cannot be called 'head'")
        return self

    def node_names(self) -> dict[str, str]:
        """The names of all nodes that `up` starts, each with its group's name; the head first."""
        names = {"head": "head"}
        for group in self.workers:
            names |= {f"{group.name}-{i}": group.name for i in range(1, group.initial + 1)}
        return names

    def group(self, name: str) -> NodeSpec:
        """The node spec of a worker group, or the head's for `head`; KeyError for an unknown name."""
        return self.head if name == "head" else {g.name: g for g in self.workers}[name]

    def scaled(self, counts: dict[str, int]) -> ClusterSpec:
        """This spec with other worker counts by group name; `count` replaces `min` and `max` of those groups."""
        groups = [
            g.model_copy(update={"count": counts[g.name], "min": None, "max": None}) if g.name in counts else g
            for g in self.workers
        ]
        return self.model_copy(update={"workers": tuple(groups)})

    def to_dict(self) -> dict[str, Any]:
        """What was set, as plain JSON: defaults are left out, so that an older file stays valid."""
        return self.model_dump(mode="json", exclude_defaults=True) | {"name": self.name, "target": self.target}
