"""The contract of a target: its few verbs, and the plain values that they exchange.

Light on purpose: `azray status` and `azray list` read handles and statuses without pydantic and without Ray.
"""

from __future__ import annotations

import dataclasses
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import psutil

from azray_lab.errors import CredentialError, InsecureFileError, RegistryError

if TYPE_CHECKING:
    from azray_lab.operation import Operation
    from azray_lab.spec.models import ClusterSpec

State = Literal["starting", "running", "degraded", "lost", "stopping", "down"]
HANDLE_VERSION = 1
# How long a read of the state waits for an answer; what shows it live waits less.
READ_SECONDS = 5.0
# The kernel counts starts in ticks of 10 ms from boot; the clock that turns them into dates may be set.
_CLOCK_SLACK = 1.0
# What a handle's file must hold for the rest of the program to rely on it.
_KINDS: dict[str, Any] = {"name": str, "target": str, "id": str, "spec": Mapping, "created": int | float}
_KINDS |= {"phase": str, "maker": Mapping, "timeline": list | tuple, "details": Mapping}


def read_token(path: str | Path) -> str:
    """The token in `path`; InsecureFileError when others may read the file, CredentialError when it is not there."""
    file = Path(path)
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except OSError as error:
        raise CredentialError(
            f"the cluster's token {file} cannot be read",
            cause=error.strerror or str(error),
            next_step="azray list (is the cluster still there?)",
            path=str(file),
        ) from error
    if mode & 0o077:
        raise InsecureFileError(
            f"the token {file} can be read by others",
            cause=f"its mode is {mode:04o}",
            next_step=f"chmod 600 {file}; if others use this machine, azray down and up for a new token",
            path=str(file),
            mode=f"{mode:04o}",
        )
    return file.read_text().strip()


@dataclass(frozen=True)
class ProcessId:
    """A process for good: its pid and its start (seconds since 1970), since pids are used again.

    `session` is the number of the session that it was started in, 0 when it does not matter.
    """

    pid: int
    started: float
    session: int = 0

    def alive(self) -> bool:
        """Whether this very process runs; a zombie has ended."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < _CLOCK_SLACK
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    def to_dict(self) -> dict[str, Any]:
        """The form that handles keep."""
        return dataclasses.asdict(self)


def this_process() -> ProcessId:
    """The process that asks."""
    return ProcessId(os.getpid(), psutil.Process().create_time())


@dataclass(frozen=True)
class Endpoint:
    """How to reach a cluster: GCS as `host:port`, the dashboard's URL, and the file that holds its token."""

    address: str
    dashboard_url: str
    token_path: str

    def headers(self) -> dict[str, str]:
        """The HTTP header that the dashboard and the Jobs API ask for. The token is read now, and not kept."""
        return {"Authorization": f"Bearer {read_token(self.token_path)}"}

    def environment(self) -> dict[str, str]:
        """The variables with which Ray's own commands and `ray.init()` in another process find this cluster."""
        return {
            "RAY_ADDRESS": self.address,
            "RAY_API_SERVER_ADDRESS": self.dashboard_url,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": self.token_path,
            "RAY_USAGE_STATS_ENABLED": "0",
        }


@dataclass(frozen=True)
class Handle:
    """Plain JSON that finds a cluster again; never a secret.

    `phase` is what was last wanted (`starting`, `up`, `stopping`); what really is, `status` reads. `created` is in
    seconds since 1970, `maker` the process that works on it, `details` belong to the target.
    """

    name: str
    target: str
    id: str
    spec: Mapping[str, Any]
    created: float
    phase: Literal["starting", "up", "stopping"] = "starting"
    maker: Mapping[str, Any] = field(default_factory=dict)
    address: str = ""
    dashboard_url: str = ""
    token_path: str = ""
    ray_version: str = ""
    python_version: str = ""
    timeline: tuple[Mapping[str, Any], ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def endpoint(self) -> Endpoint:
        """How to reach the cluster."""
        return Endpoint(self.address, self.dashboard_url, self.token_path)

    def but(self, **changes: Any) -> Handle:
        """This handle with other values."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The handle as JSON, with the version of its form."""
        return {"version": HANDLE_VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Handle:
        """The handle that `to_dict` made; RegistryError when a key is missing or of the wrong kind."""
        try:
            known = {key: value for key, value in data.items() if key in cls.__dataclass_fields__}
            handle = cls(**{**known, "timeline": tuple(known.get("timeline", ()))})
        except TypeError as error:
            raise RegistryError("a handle is not complete", cause=str(error)) from error
        for key, kind in _KINDS.items():
            if not isinstance(getattr(handle, key), kind):
                raise RegistryError("a handle is not of the right form", cause=f"{key} is of the wrong kind")
        return handle


@dataclass(frozen=True)
class NodeStatus:
    """A node as it is: `role` is head or worker; `resources` as Ray has them (memory in bytes)."""

    name: str
    role: str
    group: str
    state: str
    reason: str = ""
    pid: int | None = None
    node_id: str = ""
    ip: str = ""
    resources: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The node as plain JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class LeaseStatus:
    """A cluster's lease: limits in seconds (None: no limit), and when it ends (seconds since 1970).

    `idle_since` is when the cluster was first seen without work, None while it works.
    """

    idle: float | None = None
    max: float | None = None
    expires: float | None = None
    idle_since: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The lease as plain JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class MountStatus:
    """A folder that every node sees. `state`: mounted, silent, stale or gone; `why`: how the engine was chosen."""

    path: str
    uri: str = ""
    profile: str = ""
    engine: str = ""
    state: str = "mounted"
    reason: str = ""
    why: str = ""
    read_only: bool = False


@dataclass(frozen=True)
class ClusterStatus:
    """A cluster as it really is; `reason` says why it is in this state where that is not plain."""

    name: str
    target: str
    state: State
    reason: str = ""
    nodes: tuple[NodeStatus, ...] = ()
    address: str = ""
    dashboard_url: str = ""
    ray_version: str = ""
    python_version: str = ""
    created: float = 0.0
    lease: LeaseStatus = LeaseStatus()
    mounts: tuple[MountStatus, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The status as plain JSON, the document of `azray status --json`."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Amount:
    """How much of something is in use: CPUs and GPUs as counts, memory in bytes."""

    used: float
    total: float


@dataclass(frozen=True)
class NodeUsage:
    """What a node has in use; None where it is not known, for instance before the node's first report.

    `cpu` and `gpu` are what tasks and actors hold, as Ray counts it (fractions too); `memory` is the machine's, which
    several nodes share where their `host` is the same; `load` is how busy the machine's CPUs are, 0 to 100.
    """

    name: str
    host: str = ""
    cpu: Amount | None = None
    gpu: Amount | None = None
    memory: Amount | None = None
    object_store: Amount | None = None
    load: float | None = None


@dataclass(frozen=True)
class Usage:
    """What a cluster has in use, node by node."""

    nodes: tuple[NodeUsage, ...] = ()

    def total(self, kind: Literal["cpu", "gpu", "memory", "object_store"]) -> Amount | None:
        """The sum over the nodes; memory counts once a machine. None when no node tells."""
        found: dict[str, Amount] = {}
        for node in self.nodes:
            if (amount := getattr(node, kind)) is not None:
                found[node.host if kind == "memory" and node.host else node.name] = amount
        if not found:
            return None
        return Amount(sum(a.used for a in found.values()), sum(a.total for a in found.values()))

    def to_dict(self) -> dict[str, Any]:
        """The usage as plain JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class PlannedNode:
    """A node as `up` would start it."""

    name: str
    group: str
    resources: Mapping[str, float]
    labels: Mapping[str, str]
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class TargetPlan:
    """What `up` would create: `nodes`, the exact `bodies` (commands or requests), notes, and what stands against it."""

    nodes: tuple[PlannedNode, ...]
    notes: tuple[str, ...] = ()
    blockers: tuple[str, ...] = ()
    price_per_hour: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain JSON."""
        return dataclasses.asdict(self)


Save = Callable[[Handle], None]


class Target(Protocol):
    """What a target can do. Each verb is safe to repeat; waits and progress go through the operation."""

    kind: str

    def plan(self, spec: ClusterSpec) -> TargetPlan:
        """What `up` would create; creates nothing."""
        ...

    def up(self, spec: ClusterSpec, handle: Handle | None, operation: Operation[Any], save: Save) -> Handle:
        """Brings the cluster to what `spec` says; `save` gets each new handle. Removes what it made when it fails."""
        ...

    def find(self) -> list[Handle]:
        """The clusters that run here, from the truth (processes, tags, labels), whether registered or not."""
        ...

    def remains(self, handle: Handle) -> tuple[str, ...]:
        """What still runs of the cluster, by the search that `down` makes for its proof; empty when nothing does."""
        ...

    def state(self, handle: Handle) -> State:
        """The state by a look that costs no request; for lists."""
        ...

    def status(self, handle: Handle, *, seconds: float = READ_SECONDS) -> ClusterStatus:
        """The cluster as it really is, in one snapshot; waits at most `seconds` for an answer."""
        ...

    def usage(self, handle: Handle, *, seconds: float = READ_SECONDS) -> Usage:
        """What the nodes have in use, in one request; ClusterLostError without an answer after `seconds`."""
        ...

    def scale(self, handle: Handle, spec: ClusterSpec, operation: Operation[Any], save: Save) -> Handle:
        """Starts the nodes that `spec` has and the cluster lacks, and ends those that it no longer has."""
        ...

    def extend(self, handle: Handle, seconds: float) -> LeaseStatus:
        """Moves the end of the lease by `seconds`, from now when it has none."""
        ...

    def logs(self, handle: Handle, node: str | None, *, follow: bool) -> Iterator[tuple[str, str]]:
        """Lines of the nodes' own logs, each with the name of its node."""
        ...

    def address(self, handle: Handle) -> Endpoint:
        """How to reach the cluster; ClusterLostError when it has no head."""
        ...

    def down(self, handle: Handle, operation: Operation[Any]) -> None:
        """Ends the cluster, removes all it had and proves it; LeftoverError names what stays."""
        ...
