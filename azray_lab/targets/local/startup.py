"""Starting nodes: the head in stages, workers beside each other, the watchdog; and scaling to what a spec says."""

from __future__ import annotations

import secrets
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from azray_lab.durable import write_json
from azray_lab.errors import ClusterLostError, PortTakenError, RayMissingError, StartError
from azray_lab.spec import settings
from azray_lab.targets.base import Handle, PlannedNode, Save, TargetPlan, this_process
from azray_lab.targets.local import commands, dashboard, gpus, machine, mounts
from azray_lab.targets.local.folders import TOO_SLOW, WATCHDOG, Folders, autopsy, tail
from azray_lab.targets.local.joining import Joining
from azray_lab.targets.local.machine import Share
from azray_lab.targets.local.processes import launch, session_of
from azray_lab.targets.local.snapshot import process_of
from azray_lab.targets.local.teardown import end_processes, processes

if TYPE_CHECKING:
    from azray_lab.operation import Operation
    from azray_lab.spec.models import ClusterSpec

HEAD_SECONDS = 120.0


@dataclass(frozen=True)
class Places:
    """Where a target keeps its clusters, and the environment that their processes inherit."""

    state: Path
    runtime: Path
    environment: Mapping[str, str]


def ray_version() -> str:
    """The version of the Ray that is installed here; RayMissingError without one. Does not import it."""
    try:
        return metadata.version("ray")
    except metadata.PackageNotFoundError as error:
        raise RayMissingError(
            "Ray is not installed in this environment",
            cause=f"{sys.executable} has no package `ray`",
            next_step=f'{sys.executable} -m pip install "ray[default]"',
        ) from error


def plan_shares(spec: ClusterSpec, held: Mapping[str, Sequence[str]] | None = None) -> dict[str, Share]:
    """What each node of `spec` gets on this machine (`held`: see `machine.shares`); ResourceError if too little."""
    names = spec.node_names()
    found = machine.measure(spec.local.object_store_directory)
    if len(names) > commands.MAX_NODES:
        raise StartError(
            f"{len(names)} nodes are too many for one machine",
            cause=f"the local target has addresses for {commands.MAX_NODES}",
            next_step=f"ask for at most {commands.MAX_NODES - 1} workers",
        )
    return machine.shares(found, {name: spec.group(group) for name, group in names.items()}, held)


def plan(spec: ClusterSpec) -> TargetPlan:
    """What `up` would start on this machine; starts nothing."""
    try:
        ray_version()
        shares = plan_shares(spec)
    except StartError as error:
        return TargetPlan(nodes=(), blockers=(str(error),))
    example = Path("RUNTIME") / "ID"
    nodes = []
    for index, (name, group) in enumerate(spec.node_names().items()):
        command = commands.start_command(
            name, group, spec, shares[name], ip=commands.node_ip("0", index), temp_dir=example / f"n{index}",
            address="" if name == "head" else "HEAD:PORT",
        )  # fmt: skip
        node = spec.group(group)
        nodes.append(
            PlannedNode(
                name,
                group,
                commands.resources(node, shares[name]),
                commands.labels(name, group, node, shares[name]),
                command,
            )
        )
    notes, blockers = mounts.plan(spec, settings.process_environment())
    return TargetPlan(tuple(nodes), (*_notes(spec, shares), *notes), tuple(blockers), price_per_hour=0.0)


def _notes(spec: ClusterSpec, shares: Mapping[str, Share]) -> list[str]:
    here = machine.measure(spec.local.object_store_directory)
    logical = sum(share.cpus for share in shares.values())
    notes = []
    if logical > here.cpus:
        notes.append(f"{logical} logical CPUs share the {here.cpus} of this machine")
    groups = (("head", spec.head), *((g.name, g) for g in spec.workers))
    notes += [f"{name}: vm_size {g.vm_size} has no meaning here" for name, g in groups if g.vm_size]
    notes += [f"{g.name}: gpu {g.gpu} and spot are for Azure" for g in spec.workers if g.gpu or g.spot]
    notes += [f"{name}: its GPUs are pretended" for name, share in shares.items() if share.pretended]
    if why := gpus.reasons(here.why):
        notes.append(f"GPUs: {why}")
    if spec.azure.region:
        notes.append("azure: has no meaning here")
    return notes


class Startup:
    """Starts the nodes of one cluster. `handle` is always what is true so far; each change of it is saved."""

    def __init__(self, places: Places, spec: ClusterSpec, operation: Operation[Any], save: Save) -> None:
        self.places = places
        self.spec = spec
        self.operation = operation
        self._save = save
        self.handle: Handle

    def fresh(self) -> None:
        """Makes the folders, the token and the first handle of a new cluster."""
        ray = ray_version()
        machine.check_disk(self.places.runtime)
        if port := self.spec.local.dashboard_port:
            _check_port(port)
        cluster_id = secrets.token_hex(4)
        folders = Folders(self.places.state / cluster_id, self.places.runtime / cluster_id)
        self.handle = Handle(
            name=self.spec.name,
            target="local",
            id=cluster_id,
            spec=self.spec.to_dict(),
            created=time.time(),
            maker=this_process().to_dict(),
            token_path=str(folders.token),
            ray_version=ray,
            python_version=".".join(map(str, sys.version_info[:3])),
            details={"state_dir": str(folders.state), "runtime_dir": str(folders.runtime), "nodes": {}},
        )
        folders.make()
        self.keep()

    def adopt(self, handle: Handle) -> None:
        """Goes on with a cluster that runs."""
        self.handle = handle.but(spec=self.spec.to_dict(), maker=this_process().to_dict())

    def keep(self, **changes: Any) -> None:
        """Saves the handle, with `changes`."""
        self.handle = self.handle.but(**changes)
        self.folders.save(self.handle)
        self._save(self.handle)

    @property
    def folders(self) -> Folders:
        """The cluster's folders."""
        return Folders.of(self.handle)

    def mounts(self) -> None:
        """Mounts what the spec asks for. Where they will be is kept first, so that `down` finds what a kill leaves."""
        if self.spec.mounts:
            self.keep(details={**self.handle.details, "mounts": mounts.paths(self.spec)})
            mounts.mount_all(self.spec, self.handle.id, self.places.environment, self.operation)

    def head(self) -> None:
        """Starts the head and returns when its raylet is there; the dashboard comes later."""
        share = plan_shares(self.spec)["head"]
        port = self.spec.local.dashboard_port or free_port()
        with self.operation.stage("gcs"):
            self._launch("head", "head", share, dashboard_port=port, client_port=free_port())
            gcs = self._await("head", "GCS", self._gcs_port)
            address = f"{self.handle.details['nodes']['head']['ip']}:{gcs}"
            self.keep(address=address, dashboard_url=f"http://127.0.0.1:{port}")
        with self.operation.stage("raylet"):
            socket_path = self.folders.session(0) / "sockets" / "raylet"
            self._await("head", "the raylet", lambda: socket_path.exists() or None)

    def dashboard(self) -> None:
        """Returns when the dashboard of this very cluster answers."""
        with self.operation.stage("dashboard"):
            self._await("head", "the dashboard", self._dashboard_answers)

    def workers(self, names: Mapping[str, str]) -> Joining:
        """Starts worker nodes (name -> group), as many at once as the machine has CPUs; `join` waits for all."""
        held = {name: record.get("gpus", ()) for name, record in self.handle.details["nodes"].items()}
        joining = Joining(self, names, plan_shares(self.spec, held))
        joining.launch()
        return joining

    def launch_worker(self, name: str, group: str, share: Share) -> None:
        """Starts one worker; does not wait for it."""
        self.operation.check()
        self._launch(name, group, share)

    def start_again(self, name: str) -> bool:
        """Whether a worker that has ended did so for want of time only; it is then forgotten."""
        log = self.folders.log(name)
        if process_of(self.handle.details["nodes"][name]).alive() or TOO_SLOW not in tail(log):
            return False
        self.drop([name])
        log.unlink(missing_ok=True)
        self.operation.note(f"{name} was too slow for Ray, which gives a node 30 s; it is started again")
        return True

    def lease(self) -> None:
        """Writes the limits of the spec; the watchdog reads them at its next look. An extension is over with it."""
        lease = self.spec.lease
        end = self.handle.created + lease.max if lease.max else None
        write_json(self.folders.lease, {"idle": lease.idle, "max": lease.max, "end": end})

    def watchdog(self) -> None:
        """Starts the process that enforces the lease."""
        folders = self.folders
        if not folders.lease.exists():
            self.lease()
        command = [sys.executable, "-m", "azray_lab.targets.local.watchdog", str(folders.state)]
        environment = self._environment(WATCHDOG, Share(0, 0, 0, 0))
        process = launch(command, environment, log=folders.log(WATCHDOG), directory=folders.state)
        self.keep(details={**self.handle.details, WATCHDOG: process.to_dict()})

    def drop(self, names: list[str]) -> None:
        """Ends nodes of the cluster, their workers with them, and forgets them."""
        records = self.handle.details["nodes"]
        leaders = {process_of(records[name]).session for name in names}

        def left() -> list[psutil.Process]:
            return [p for p in processes(self.handle) if session_of(p.pid) in leaders]

        end_processes(left, self.operation, who=", ".join(names))
        kept = {name: record for name, record in records.items() if name not in names}
        self.keep(details={**self.handle.details, "nodes": kept})

    # How a node is started and waited for.

    def _environment(self, name: str, share: Share) -> dict[str, str]:
        return commands.node_environment(
            self.places.environment, self.spec, share, cluster_id=self.handle.id, name=name, token=self.folders.token
        )

    def _launch(self, name: str, group: str, share: Share, **ports: int) -> None:
        index = self.handle.details.get("next", 0)
        ip = commands.node_ip(self.handle.id, index % commands.MAX_NODES)
        folder = self.folders.node(index)
        folder.mkdir(mode=0o700)
        address = "" if name == "head" else self.handle.address
        command = commands.start_command(
            name, group, self.spec, share, ip=ip, temp_dir=folder, address=address, **ports
        )
        environment = self._environment(name, share)
        process = launch(command, environment, log=self.folders.log(name), directory=folder)
        devices = [device.index for device in share.devices]
        record = {"group": group, "index": index, "ip": ip, "gpus": devices, **process.to_dict()}
        nodes = {**self.handle.details["nodes"], name: record}
        self.keep(details={**self.handle.details, "nodes": nodes, "next": index + 1})

    def check_alive(self, name: str) -> None:
        """StartError, with what Ray said, when a node has ended."""
        record = self.handle.details["nodes"][name]
        if not process_of(record).alive():
            log = self.folders.log(name)
            raise StartError(
                f"node {name} of cluster {self.spec.name} did not start",
                cause=autopsy(log),
                next_step=f"azray up --name {self.spec.name} again, or azray plan to see what it would start",
                node=name,
                log=log.read_text(errors="replace").splitlines()[-20:] if log.exists() else [],
            )

    def _await(self, name: str, what: str, check: Any) -> Any:
        def ready() -> Any:
            self.check_alive(name)
            return check()

        reason = f"{what} of {self.spec.name} is starting"
        return self.operation.wait_for(
            ready, reason=reason, seconds=HEAD_SECONDS, next_step=f"azray logs --cluster {self.spec.name} --node {name}"
        )

    def _gcs_port(self) -> int | None:
        # Ray writes the port that GCS took into its session's folder (ray/_private/node.py, 2.60).
        for file in self.folders.session(0).glob("gcs_server_port_*"):
            text = file.read_text().strip()
            return int(text) if text.isdecimal() else None
        return None

    def _dashboard_answers(self) -> bool:
        expected = self.folders.session(0).resolve().name
        try:
            found = dashboard.session_name(self.handle.endpoint)
        except ClusterLostError:
            return False  # not yet: the caller waits, with a deadline
        if found != expected:
            port = self.handle.dashboard_url.rpartition(":")[2]
            raise PortTakenError(f"port {port} was taken by another Ray dashboard", next_step="azray up again")
        # The dashboard comes before the head's raylet has joined when the machine is slow.
        return "head" in self.joined()

    def joined(self) -> set[str]:
        """The names of the nodes that Ray lists as alive; none while the dashboard is not ready."""
        try:
            rows = dashboard.nodes(self.handle.endpoint)
        except ClusterLostError:
            return set()  # its modules come up one after the other; the caller waits, with a deadline
        return {n["node_name"] for n in rows if n["state"] == "ALIVE"}


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortTakenError(
                f"port {port} for the dashboard is taken",
                cause=_holder(port),
                next_step="set local.dashboard_port to another, or leave it out",
                port=port,
            ) from error


def _holder(port: int) -> str:
    for connection in psutil.net_connections("inet"):
        if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
            name = psutil.Process(connection.pid).name() if connection.pid else "another user's process"
            return f"{name} (pid {connection.pid}) listens on it"
    return "another process has it"
