"""The spec: what the user asks for, as frozen models in which unknown keys fail.

The same fields serve all three targets, so that changing `target` alone moves a notebook; a field that a target cannot
use is named by its plan. A field's docstring is its entry in the reference, its first example the one that errors show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from azray_lab.errors import UsageError
from azray_lab.spec.quantities import Duration, Size, format_duration
from azray_lab.spec.uri import BlobUri

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# A DNS label (RFC 1123) starting with a letter: safe as a file name, a Kubernetes name, an Azure tag and a Ray label.
# 40 characters leave room for suffixes within Kubernetes' 63 and within the 107 bytes of a Unix socket's path.
NAME_PATTERN = r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$"
GROUP_PATTERN = r"^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$"
# Ray's label keys and values follow Kubernetes' syntax (ray/_raylet label validation, 2.60).
LABEL_KEY_PATTERN = r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
LABEL_VALUE_PATTERN = r"^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$"
VM_SIZE_PATTERN = r"^[A-Za-z][A-Za-z0-9_]{1,60}$"
ACCELERATOR_PATTERN = r"^[A-Za-z0-9-]{1,40}$"
GPU_PATTERN = r"^[A-Za-z0-9-]{1,40}(:[1-9][0-9]?)?$"
RESOURCE_PATTERN = r"^[A-Za-z][A-Za-z0-9_:-]{0,62}$"
VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
ABSOLUTE_PATTERN = r"^/[^\x00]+$"
REGION_PATTERN = r"^[a-z0-9]{3,40}$"
RESOURCE_GROUP_PATTERN = r"^[\w().-]{0,89}[\w()-]$"
SUBSCRIPTION_PATTERN = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
LabelKey = Annotated[str, Field(pattern=LABEL_KEY_PATTERN)]
LabelValue = Annotated[str, Field(pattern=LABEL_VALUE_PATTERN)]
ResourceName = Annotated[str, Field(pattern=RESOURCE_PATTERN)]
VariableName = Annotated[str, Field(pattern=VARIABLE_PATTERN)]
Region = Annotated[str, Field(pattern=REGION_PATTERN)]
GpuCount = Annotated[StrictInt, Field(ge=0, le=64)]
MAX_COUNT = 1000
WorkerCount = Annotated[StrictInt, Field(ge=0, le=MAX_COUNT)]

# Ray schedules these by options of their own and refuses them as custom resources (ray start --resources, 2.60).
_RAY_RESOURCES = {"CPU": "cpus", "GPU": "gpus", "memory": "memory", "object_store_memory": "object_store_memory"}
_OUR_LABELS = ("ray.io/", "azray.io/")


def _wrong(message: str, hint: str, *at: str | int) -> PydanticCustomError:
    """The error of a check across fields; `at` leads from the checked model to the value that is wrong."""
    # The message is a template in which braces would be looked up in the context.
    return PydanticCustomError("spec", "{text}", {"text": message, "at": at, "hint": hint})


class Model(BaseModel):
    """The base of every part of a spec: frozen, unknown keys fail, a field's docstring is its documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)


class GpuSpec(Model):
    """GPUs of a node, spelled out."""

    count: GpuCount = Field(examples=[1])
    """How many."""
    type: str | None = Field(default=None, pattern=ACCELERATOR_PATTERN, examples=["A100"])
    """Ray's accelerator type; unset means whatever is there."""
    pretend: StrictBool = Field(default=False, examples=[True])
    """Tell Ray of GPUs that this machine does not have; for teaching on the local target, and shown as pretended."""


def _gpus(value: Any) -> Any:
    return {"count": value} if isinstance(value, int) and not isinstance(value, bool) else value


class NodeSpec(Model):
    """What one node has. Unset resources are found out by the target."""

    vm_size: str | None = Field(default=None, pattern=VM_SIZE_PATTERN, examples=["Standard_D8s_v5"])
    """The Azure VM size; the local target has no use for it and says so in its plan."""
    cpus: StrictInt | None = Field(default=None, ge=0, le=1024, examples=[4])
    """Logical CPUs that Ray may schedule on; default: the machine's share."""
    gpus: Annotated[GpuSpec | None, BeforeValidator(_gpus, json_schema_input_type=GpuCount | GpuSpec | None)] = Field(
        default=None, examples=[1, {"count": 2, "type": "A100"}]
    )
    """GPUs that Ray may schedule on: a count, or `{count, type, pretend}`; default: what is found."""
    memory: Size | None = Field(default=None, examples=["8GiB"])
    """Memory for tasks and actors; default: the machine's share."""
    object_store_memory: Size | None = Field(default=None, ge=75 * 1024 * 1024, examples=["2GiB"])
    """Memory of Ray's object store, at least Ray's minimum of 75 MiB; default: the machine's share."""
    resources: dict[ResourceName, Annotated[StrictInt, Field(ge=0, le=10**9)]] = Field(
        default={}, examples=[{"fast_disk": 1}]
    )
    """Custom Ray resources."""
    labels: dict[LabelKey, LabelValue] = Field(default={}, examples=[{"team": "a"}])
    """Ray labels of the node; `ray.io/` and `azray.io/` keys are set by the target."""

    @model_validator(mode="after")
    def _no_reserved_names(self) -> NodeSpec:
        for name in self.resources:
            if name in _RAY_RESOURCES:
                raise _wrong("it is a resource of Ray's own", f"give it as `{_RAY_RESOURCES[name]}`", "resources", name)
        for key in self.labels:
            if key.startswith(_OUR_LABELS):
                raise _wrong("labels with this prefix are set by the target", "choose another key", "labels", key)
        return self


class HeadSpec(NodeSpec):
    """The head node."""


class WorkerGroup(NodeSpec):
    """A group of like workers."""

    name: str = Field(default="worker", pattern=GROUP_PATTERN, examples=["gpu"])
    """The group's name; its nodes are `<name>-1`, `<name>-2`, ..."""
    count: WorkerCount | None = Field(default=None, examples=[2])
    """How many nodes; for an autoscaled group give `min` and `max` instead."""
    min: WorkerCount | None = Field(default=None, examples=[0])
    """The least number of nodes of an autoscaled group."""
    max: WorkerCount | None = Field(default=None, examples=[3])
    """The largest number of nodes of an autoscaled group."""
    gpu: str | None = Field(default=None, pattern=GPU_PATTERN, examples=["A100:8"])
    """GPU type and count from which the catalog chooses the VM size."""
    spot: StrictBool = Field(default=False, examples=[True])
    """Use spot capacity where the target has it."""

    @model_validator(mode="after")
    def _count_or_range(self) -> WorkerGroup:
        if self.count is not None and (self.min is not None or self.max is not None):
            raise _wrong("a group has either count, or min and max", "remove count, or min and max", "count")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise _wrong(f"min ({self.min}) is above max ({self.max})", "make min at most max", "min")
        return self

    @property
    def initial(self) -> int:
        """How many nodes the group starts with."""
        if self.count is not None:
            return self.count
        return self.min if self.min is not None else (1 if self.max is None or self.max else 0)


def _groups(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return [{"count": value}] if value else []
    return value


class MountSpec(Model):
    """A Blob container as a folder, through BlobFuse2."""

    uri: str = Field(min_length=1, examples=["az://datasets/imagenet"])
    """The container, and the folder in it."""
    path: str = Field(pattern=ABSOLUTE_PATTERN, examples=["/mnt/imagenet"])
    """Where it appears, absolute."""
    profile: Literal["dataset", "checkpoints", "models", "shared"] = Field(default="shared", examples=["dataset"])
    """How the mount is tuned."""
    engine: Literal["auto", "blobfuse2", "hydrate"] = Field(default="auto", examples=["hydrate"])
    """`blobfuse2`, or `hydrate` for a read-only copy on the local disk; `auto` looks at the data."""
    access: Literal["auto", "sequential", "random"] = Field(default="auto", examples=["random"])
    """How large files are read: as a whole, or in pieces, such as columns of Parquet."""
    fallback: Literal["none", "copy"] = Field(default="none", examples=["copy"])
    """Where FUSE cannot work: fail, or bring a read-only copy."""
    read_only: StrictBool | None = Field(default=None, examples=[True])
    """Whether nothing may be written; default: yes for `dataset` and `models`."""
    options: dict[str, StrictBool | StrictInt | str] = Field(default={}, examples=[{"block_cache.prefetch": 16}])
    """Settings of blobfuse2's own, by `section.key`."""

    @field_validator("uri")
    @classmethod
    def _names_a_container(cls, value: str) -> str:
        if "sig=" in value.lower():
            raise ValueError("a signature is a secret and does not belong into a spec; set AZURE_STORAGE_SAS_TOKEN")
        try:
            place = BlobUri.parse(value)
        except UsageError as error:
            raise ValueError(": ".join(filter(None, (error.message, error.cause)))) from error
        if not place.container:
            raise ValueError("it names no container")
        return value

    @field_validator("path")
    @classmethod
    def _says_where_it_is(cls, value: str) -> str:
        if ".." in value.split("/"):
            raise ValueError("`..` in it leads out of the folder that it names")
        return value


def _lower(value: Any) -> Any:
    return value.lower().replace("-", "_") if isinstance(value, str) else value


class StorageSpec(Model):
    """How tasks and actors open Blob storage, where the environment of the caller does not say it."""

    auth_mode: Annotated[
        Literal[
            "connection_string",
            "account_key",
            "sas",
            "workload_identity",
            "managed_identity",
            "service_principal",
            "cli",
            "default",
            "anonymous",
        ]
        | None,
        BeforeValidator(_lower),
    ] = Field(default=None, examples=["managed_identity"])
    """Which credential opens it; unset: the first that is there. The mode, never the credential itself."""


class LeaseSpec(Model):
    """Until when the cluster may live; a watchdog on the cluster enforces it."""

    idle: Duration | None = Field(default=None, examples=["30m"])
    """End the cluster after so long without tasks, actors, jobs and connected drivers; unset: never."""
    max: Duration | None = Field(default=None, examples=["8h"])
    """End the cluster when it is that old, whatever it does; unset: never."""

    @model_validator(mode="after")
    def _idle_within_max(self) -> LeaseSpec:
        if self.idle and self.max and self.idle > self.max:
            idle, longest = format_duration(self.idle), format_duration(self.max)
            words = f"{idle} is above lease.max, {longest}, so the cluster would never idle that long"
            raise _wrong(words, "make idle at most max, or leave one of them out", "idle")
        return self


def _regions(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class AzureSpec(Model):
    """Where in Azure; for the targets `dsvm` and `aks`."""

    region: Annotated[
        tuple[Region, ...], BeforeValidator(_regions, json_schema_input_type=Region | tuple[Region, ...])
    ] = Field(default=(), max_length=20, examples=["uksouth", ["uksouth", "swedencentral"]])
    """Regions in order of preference; one name or a list."""
    resource_group: str | None = Field(default=None, pattern=RESOURCE_GROUP_PATTERN, examples=["team-a-rg"])
    """The resource group."""
    subscription: str | None = Field(
        default=None, pattern=SUBSCRIPTION_PATTERN, examples=["00000000-0000-0000-0000-000000000000"]
    )
    """The subscription's id; default: that of the credential."""


class LocalSpec(Model):
    """What only the local target knows."""

    dashboard_port: StrictInt | None = Field(default=None, ge=1024, le=65535, examples=[8265])
    """The dashboard's port; default: any free one."""
    object_store_directory: str | None = Field(default=None, pattern=ABSOLUTE_PATTERN, examples=["/mnt/scratch"])
    """Where object stores are mapped when /dev/shm is too small; slower on a disk."""


class ClusterSpec(Model):
    """A cluster as the user asks for it."""

    name: Name = Field(default="default", examples=["team-a"])
    """The cluster's name: lower-case letters, digits and hyphens, starting with a letter, at most 40 characters."""
    target: Literal["local", "dsvm", "aks"] = Field(default="local", examples=["local"])
    """Where it runs: this machine, Azure Data Science VMs, or Azure Kubernetes Service."""
    head: HeadSpec = Field(default=HeadSpec(), examples=[{"cpus": 2}])
    """What the head node has."""
    workers: Annotated[
        tuple[WorkerGroup, ...], BeforeValidator(_groups, json_schema_input_type=WorkerCount | tuple[WorkerGroup, ...])
    ] = Field(default=(), max_length=50, examples=[3, [{"name": "gpu", "gpus": 1, "count": 2}]])
    """Worker groups, or a number as short for one group `worker` of that count."""
    mounts: tuple[MountSpec, ...] = Field(
        default=(), max_length=50, examples=[[{"uri": "az://datasets/imagenet", "path": "/mnt/imagenet"}]]
    )
    """Blob containers that appear as folders on every node."""
    storage: StorageSpec = Field(default=StorageSpec(), examples=[{"auth_mode": "managed_identity"}])
    """How tasks and actors open Blob storage."""
    lease: LeaseSpec = Field(default=LeaseSpec(), examples=[{"idle": "30m", "max": "8h"}])
    """Until when the cluster may live."""
    env: dict[VariableName, str] = Field(default={}, examples=[{"OMP_NUM_THREADS": "4"}])
    """Environment variables of every Ray process; never secrets, which belong into `runtime_env`."""
    azure: AzureSpec = Field(default=AzureSpec(), examples=[{"region": "uksouth"}])
    """Where in Azure."""
    local: LocalSpec = Field(default=LocalSpec(), examples=[{"dashboard_port": 8265}])
    """Settings of the local target; the others leave them alone."""

    @model_validator(mode="after")
    def _consistent(self) -> ClusterSpec:
        names = ["head"]
        for i, group in enumerate(self.workers):
            if group.name in names:
                taken = (
                    "the head's name" if group.name == "head" else f"the name of group {names.index(group.name) - 1}"
                )
                raise _wrong(f"{group.name!r} is {taken} already", "give each group its own name", "workers", i, "name")
            names.append(group.name)
        paths: list[str] = []
        for i, mount in enumerate(self.mounts):
            if mount.path.rstrip("/") in paths:
                raise _wrong(f"{mount.path!r} is mounted twice", "give each mount its own path", "mounts", i, "path")
            paths.append(mount.path.rstrip("/"))
        for variable in self.env:
            if variable.startswith("AZRAY_"):
                raise _wrong("AZRAY_ variables are set by `up`", "remove it", "env", variable)
        return self

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any] | ClusterSpec | None = None, **overrides: Any) -> ClusterSpec:
        """The spec of a YAML file, a mapping or a spec, with `overrides` on top: `load("azray.yaml", workers=2)`.

        For a file (without `source`: AZRAY_SPEC, else `azray.yaml` here, else none) the environment counts as well,
        below `overrides`; a mapping or a spec is taken as it is. SpecError with the place of all that is wrong.
        """
        # Here and not on top: loading knows files and the environment, the models do not.
        from azray_lab.spec.loading import load

        return load(source, arguments=overrides).spec

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


SHORTHANDS = (_gpus, _groups, _regions)
"""The functions that turn a short form into the long one; each leaves a long form as it is."""

SHORT_FORMS = {
    "workers": "a number, or a list of groups",
    "gpus": "a number, or a mapping of keys to values",
    "region": "a region's name, or a list of them",
}
"""By field: what may stand there, in the short form or in the long one."""
