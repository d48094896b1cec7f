"""The local target: its verbs over processes, files and the dashboard."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.durable import write_json
from azray_lab.errors import ClusterLostError, StartError, UsageError
from azray_lab.spec import settings
from azray_lab.targets.base import (
    READ_SECONDS,
    ClusterStatus,
    Endpoint,
    Handle,
    LeaseStatus,
    ProcessId,
    Save,
    State,
    Usage,
)
from azray_lab.targets.local import snapshot, teardown, usage
from azray_lab.targets.local.folders import TOO_SLOW, Folders
from azray_lab.targets.local.logs import node_logs
from azray_lab.targets.local.processes import ID_VARIABLE, STATE_VARIABLE, every_marked

if TYPE_CHECKING:
    from azray_lab.operation import Operation
    from azray_lab.spec.models import ClusterSpec
    from azray_lab.targets.base import TargetPlan
    from azray_lab.targets.local.startup import Places, Startup

# What starts nodes needs pydantic, which `status` and `list` have no time for; hence imports inside functions.


_TRIES = 3


def _too_slow(error: BaseException) -> bool:
    return isinstance(error, StartError) and TOO_SLOW in error.cause


class LocalTarget:
    """Ray clusters on this machine. `state` holds their small files, `runtime` (a short path) Ray's own."""

    kind = "local"

    def __init__(self, state: Path | None = None, runtime: Path | None = None) -> None:
        self._state = state
        self._runtime = runtime

    @property
    def state_dir(self) -> Path:
        """Where clusters keep their small files."""
        return self._state or settings.state_dir() / "local"

    def _places(self) -> Places:
        from azray_lab.targets.local.startup import Places

        return Places(self.state_dir, self._runtime or settings.runtime_dir(), settings.process_environment())

    def plan(self, spec: ClusterSpec) -> TargetPlan:
        """What `up` would start here."""
        from azray_lab.targets.local import startup

        return startup.plan(spec)

    def up(self, spec: ClusterSpec, handle: Handle | None, operation: Operation[Any], save: Save) -> Handle:
        """Starts the cluster, or what of it is missing; a cluster whose head is lost is removed and made anew.

        When that fails, the handle of the lost one stays, with why it was lost.
        """
        if handle and self.state(handle) == "running":
            return self.scale(handle, spec, operation, save)
        tries = _TRIES
        if handle:
            handle = snapshot.remembered(handle)
            save(handle)
            with operation.stage("clean up", f"the earlier cluster is {self.state(handle)}"):
                teardown.remove(handle, operation)
        while True:
            startup = self._startup(spec, operation, save)
            try:
                self._start(startup, spec)
            except BaseException as error:
                if hasattr(startup, "handle"):
                    with operation.shielded():
                        teardown.remove(startup.handle, operation)
                if not _too_slow(error) or (tries := tries - 1) == 0:
                    if handle:
                        save(handle)
                    raise
                operation.note("the machine was too slow for Ray, which gives a head 30 s; it is started again")
            else:
                return startup.handle

    def _startup(self, spec: ClusterSpec, operation: Operation[Any], save: Save) -> Startup:
        from azray_lab.targets.local.startup import Startup

        return Startup(self._places(), spec, operation, save)

    def _start(self, startup: Startup, spec: ClusterSpec) -> None:
        startup.fresh()
        # First, so that somebody is there to clean up when this process is killed.
        startup.watchdog()
        startup.mounts()
        workers = {name: group for name, group in spec.node_names().items() if name != "head"}
        startup.head()
        joining = startup.workers(workers)
        startup.dashboard()
        joining.join()
        timeline = tuple({"stage": t.stage, "seconds": t.seconds} for t in startup.operation.timeline)
        startup.keep(phase="up", timeline=timeline)

    def scale(self, handle: Handle, spec: ClusterSpec, operation: Operation[Any], save: Save) -> Handle:
        """Closes the gap between the nodes that run and those of `spec`; new nodes are removed when they fail."""
        wanted = spec.node_names()
        nodes = handle.details["nodes"]
        dead = [name for name in nodes if not snapshot.alive(handle, name)]
        surplus = [name for name in nodes if name not in wanted]
        new = {name: group for name, group in wanted.items() if name not in nodes or name in dead}
        startup = self._startup(spec, operation, save)
        startup.adopt(handle)
        if handle.spec.get("lease") != startup.handle.spec.get("lease"):
            with operation.stage("lease"):
                startup.lease()
        if not ProcessId(**handle.details["watchdog"]).alive():
            startup.watchdog()
        if doomed := sorted({*dead, *surplus}):
            with operation.stage("end nodes", ", ".join(doomed)):
                startup.drop(doomed)
        if new:
            startup.mounts()  # what a node that joins later needs may have been taken away
        try:
            startup.workers(new).join()
        except BaseException:
            with operation.shielded():
                startup.drop([name for name in new if name in startup.handle.details["nodes"]])
            raise
        startup.keep(phase="up")
        return startup.handle

    def find(self) -> list[Handle]:
        """The clusters of this home that have a process here, by the copies of their handles.

        Those of another AZRAY_HOME belong to another registry.
        """
        states = {Path(env.get(STATE_VARIABLE, "")) for _, env in every_marked()}
        found = []
        for state in states:
            folders = Folders(state, state)
            if state.parent == self.state_dir and (data := folders.read(folders.handle)):
                found.append(Handle.from_dict(data))
        return found

    def remains(self, handle: Handle) -> tuple[str, ...]:
        """Its living processes, each as `pid name`. One look at /proc."""
        return teardown.named(teardown.processes(handle))

    def state(self, handle: Handle) -> State:
        """The state by processes and files."""
        return snapshot.state(handle)[0]

    def status(self, handle: Handle, *, seconds: float = READ_SECONDS) -> ClusterStatus:
        """The state, and what Ray says of each node. One request."""
        return snapshot.status(handle, seconds=seconds)

    def usage(self, handle: Handle, *, seconds: float = READ_SECONDS) -> Usage:
        """What each node has in use. One request."""
        return usage.read(self.address(handle), seconds=seconds)

    def extend(self, handle: Handle, seconds: float) -> LeaseStatus:
        """Moves the lease's end by `seconds`, and gives an idle cluster at least `seconds` from now."""
        folders = Folders.of(handle)
        limits = folders.read(folders.lease)
        now = time.time()
        if limits.get("end"):
            limits["end"] = max(limits["end"], now) + seconds
        limits["quiet_until"] = now + seconds
        write_json(folders.lease, limits)
        return snapshot.lease(handle)

    def logs(self, handle: Handle, node: str | None, *, follow: bool) -> Iterator[tuple[str, str]]:
        """Lines of what the nodes printed and of what their workers printed, with the node's name."""
        return node_logs(handle, node, follow=follow)

    def address(self, handle: Handle) -> Endpoint:
        """How to reach the cluster; ClusterLostError when its head does not run, UsageError while it is being made."""
        state, reason = snapshot.state(handle)
        if state == "starting":
            step = f"azray status {handle.name}, and again when it is running"
            raise UsageError(f"cluster {handle.name} is starting", cause=reason, next_step=step)
        if state not in {"running", "degraded"}:
            raise ClusterLostError(
                f"cluster {handle.name} is {state}", cause=reason, next_step=f"azray up --name {handle.name}"
            )
        return handle.endpoint

    def down(self, handle: Handle, operation: Operation[Any]) -> None:
        """Ends every process of the cluster, removes its folders, and proves both."""
        if settings.variable(ID_VARIABLE) == handle.id:
            raise UsageError(
                f"this process is part of cluster {handle.name} and cannot end it",
                next_step=f"azray down {handle.name} from outside of the cluster",
            )
        with operation.stage("end processes") as stage:
            stage.summary = f"{len(teardown.processes(handle))} ended"
            teardown.remove(handle, operation)
