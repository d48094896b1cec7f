"""`Cluster`: a live cluster as a value, with its verbs. Reads what is true when it is asked."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab import registry, views
from azray_lab.cluster.targets import target
from azray_lab.errors import AzRayError, ClusterLostError, SpecError, UsageError
from azray_lab.operation import Operation, Task, Timing
from azray_lab.targets.base import READ_SECONDS

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from azray_lab.hardware import GpuReport
    from azray_lab.jobs import Job, JobResult
    from azray_lab.spec.models import ClusterSpec
    from azray_lab.targets.base import ClusterStatus, Endpoint, Handle, LeaseStatus, NodeStatus, State, Target, Usage

_log = logging.getLogger("azray_lab")


class Cluster:
    """A cluster that `up` made or `attach` found.

    As a context manager it is ended at the block's end. Everything it tells is read when asked: from the registry, from
    processes, and for `status`, `state` and `nodes` from the cluster itself (one request).
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def __eq__(self, other: object) -> bool:
        """Whether both are the same cluster, not only two of one name."""
        return isinstance(other, Cluster) and self._handle.id == other._handle.id

    def __hash__(self) -> int:
        return hash(self._handle.id)

    @property
    def handle(self) -> Handle:
        """The handle as the registry has it now; the last known one when it is gone."""
        self._handle = registry.handle_or_none(self._handle.name) or self._handle
        return self._handle

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self._handle.name

    @property
    def target(self) -> str:
        """The kind of its target."""
        return self._handle.target

    @property
    def _place(self) -> Target:
        return target(self.target)

    @property
    def spec(self) -> ClusterSpec:
        """The spec that it was brought to last."""
        from azray_lab.spec.models import ClusterSpec

        return ClusterSpec.model_validate(self.handle.spec)

    @property
    def state(self) -> State:
        """starting, running, degraded, lost, stopping or down."""
        return self.status().state

    @property
    def nodes(self) -> tuple[NodeStatus, ...]:
        """Its nodes as they are; the head first."""
        return self.status().nodes

    @property
    def endpoint(self) -> Endpoint:
        """How to reach it; ClusterLostError when there is nothing to reach."""
        handle = registry.handle_or_none(self.name)
        if handle is None:
            handle = self._unregistered()
            if not self._place.remains(handle):
                raise ClusterLostError(f"cluster {self.name} was ended", next_step=f"azray up --name {self.name}")
        return self._place.address(handle)

    @property
    def address(self) -> str:
        """GCS as `host:port`, for `ray.init`; with the token, which `connect` sets."""
        return self.endpoint.address

    @property
    def dashboard_url(self) -> str:
        """The dashboard; it asks for the cluster's token."""
        return self.endpoint.dashboard_url

    @property
    def timeline(self) -> tuple[Timing, ...]:
        """How long each stage of its start took."""
        return tuple(Timing(t["stage"], t["seconds"]) for t in self.handle.timeline)

    @property
    def lease(self) -> LeaseStatus:
        """Until when it may live."""
        return self.status().lease

    def status(self, *, seconds: float = READ_SECONDS) -> ClusterStatus:
        """The cluster as it really is, in one snapshot (one request); waits at most `seconds` for an answer.

        One that nobody has registered is down only when nothing of it runs.
        """
        if (handle := registry.handle_or_none(self.name)) is not None:
            return self._place.status(handle, seconds=seconds)
        handle = self._unregistered()
        if left := self._place.remains(handle):
            return _stray(self._place.status(handle, seconds=seconds), left)
        from azray_lab.targets.base import ClusterStatus

        return ClusterStatus(self.name, self.target, "down", "it was ended")

    def _unregistered(self) -> Handle:
        """The handle of this very cluster when the registry has none: as its target finds it, else the last known."""
        found = (handle for handle in self._place.find() if handle.id == self._handle.id)
        return next(found, self._handle)

    def usage(self, *, seconds: float = READ_SECONDS) -> Usage:
        """What its nodes have in use: CPUs, GPUs, memory, object store (one request)."""
        return self._place.usage(self.handle, seconds=seconds)

    # Using it.

    def connect(self, **options: Any) -> Self:
        """Connects this process with `ray.init`, after a check of the Python and Ray versions; safe to repeat.

        `options` go to `ray.init`. Another cluster of ours that this process was connected to is left first.
        VersionMismatchError says what differs and what to run.
        """
        from azray_lab.cluster import connection

        connection.connect(self.handle, self.endpoint, lambda: self._place.state(self.handle), options)
        return self

    def disconnect(self) -> None:
        """Ends this process's connection (`ray.shutdown`); the cluster lives on."""
        from azray_lab.cluster import connection

        connection.disconnect(self._handle.id)

    def run(
        self,
        *what: str | Path,
        parameters: dict[str, Any] | None = None,
        output: str | Path | None = None,
        working_dir: str | Path | None = None,
        env: dict[str, str] | None = None,
        detach: bool = False,
        timeout: float | None = None,
        on_log: Callable[[str], None] | None = None,
    ) -> JobResult:
        """Runs a command (`"python", "-m", "x"`), a script (`"train.py", "--lr", "0.1"`) or a notebook as a job.

        Returns how it ended; `.check()` raises when it failed. The log goes to `on_log`, by default to stdout.
        Ctrl-C stops the job on the cluster. `parameters` and `output` are a notebook's; `timeout` is in seconds.
        """
        from azray_lab import jobs

        folder = Path(working_dir) if working_dir else None
        words = [str(word) for word in what]
        work = jobs.work_of(words, parameters=parameters, output=output, directory=folder)
        return jobs.run(self.endpoint, work, env=env, on_log=on_log or _print, detach=detach, timeout=timeout).run()

    def jobs(self) -> list[Job]:
        """The jobs that the cluster remembers (two requests)."""
        from azray_lab import jobs

        return jobs.list_jobs(self.endpoint)

    def gpus(self) -> GpuReport:
        """Its GPUs as they are now: types, memory, utilisation, and who holds them (five requests)."""
        from azray_lab.hardware import reading

        return reading.cluster(self.name, self.endpoint)

    def logs(self, node: str | None = None, *, follow: bool = False) -> Iterator[str]:
        """Lines of the nodes' logs, each as `[node] line`; with `follow` until the cluster ends."""
        for name, line in self._place.logs(self.handle, node, follow=follow):
            yield f"[{name}] {line}"

    # Changing it.

    def scale(self, workers: int) -> Self:
        """Brings the number of workers to `workers` (of the only worker group)."""
        self.scale_operation(workers).run()
        return self

    def scale_operation(self, workers: int) -> Task[Cluster]:
        """The task of `scale`."""
        from azray_lab.cluster.lifecycle import up_operation

        spec = _scaled(self.spec, workers)
        _ = self.endpoint  # what does not run is not scaled: `up` would start it
        return up_operation(spec)

    def extend(self, duration: str | int) -> LeaseStatus:
        """Moves the end of the lease by `duration` (`2h`, `30m` or seconds), at least that long from now."""
        from azray_lab.spec.quantities import TEN_YEARS, parse_duration

        try:
            seconds = parse_duration(duration)
            if not 0 < seconds <= TEN_YEARS:
                raise ValueError(f"{duration} is no time to come of at most ten years")  # noqa: TRY301 - as its fellows
        except ValueError as error:
            raise SpecError(str(error), next_step=f"azray extend {self.name} 2h") from error
        return self._place.extend(self.handle, seconds)

    def down(self) -> None:
        """Ends the cluster, removes all that it had, and proves it; safe to repeat."""
        self.down_operation().run()

    def down_operation(self) -> Task[None]:
        """The task of `down`. An `up` of this cluster that is under way is asked to stop first."""
        operation: Operation[None] = Operation(f"down {self.name}", subject=self.name)
        return Task(operation, self._down)

    def _down(self, operation: Operation[None]) -> None:
        from azray_lab.cluster import connection
        from azray_lab.targets.base import this_process

        request = registry.request_cancel(self.name, this_process().to_dict())
        try:
            with registry.lock(self.name, operation):
                request.unlink(missing_ok=True)
                handle = registry.handle_or_none(self.name)
                if handle is None:
                    # That nobody has registered it is no proof that nothing of it runs.
                    handle = self._unregistered()
                    if not self._place.remains(handle):
                        return
                connection.disconnect(handle.id)
                registry.save(handle.but(phase="stopping", maker=this_process().to_dict()))
                self._place.down(handle, operation)
                registry.forget(self.name)
        finally:
            request.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    # How it looks.

    def to_dict(self) -> dict[str, Any]:
        """The status as plain JSON."""
        return self.status().to_dict()

    def _view(self) -> views.View:
        try:
            return views.status(self.status())
        except AzRayError as error:
            return views.View({}, f"{self.name}: unknown: {error}")

    def _ipython_display_(self) -> None:
        if not views.show(self):
            raise NotImplementedError  # IPython's word for: take the representations below

    def __repr__(self) -> str:
        return str(self._view())

    def _repr_html_(self) -> str:
        return self._view()._repr_html_()


def _stray(status: ClusterStatus, left: tuple[str, ...]) -> ClusterStatus:
    """The status of a cluster that runs, or the rest of one, and that the registry does not know."""
    state: State = "lost" if status.state == "down" else status.state
    count = f"{len(left)} process{'es' if len(left) > 1 else ''}"
    words = (
        f"it is not registered, but {count} of it run{'' if len(left) > 1 else 's'}; azray down {status.name} ends it"
    )
    return replace(status, state=state, reason=f"{words}. {status.reason}".removesuffix(". "))


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _scaled(spec: ClusterSpec, workers: object) -> ClusterSpec:
    from azray_lab.spec.models import MAX_COUNT, WorkerGroup

    if len(spec.workers) > 1:
        raise UsageError(
            f"cluster {spec.name} has several worker groups",
            cause=", ".join(group.name for group in spec.workers),
            next_step="change the counts in azray.yaml and run azray up",
        )
    if not isinstance(workers, int) or isinstance(workers, bool) or not 0 <= workers <= MAX_COUNT:
        step = f"azray scale {spec.name} 2"
        raise UsageError(f"{workers!r} workers cannot be", cause=f"0 to {MAX_COUNT} can", next_step=step)
    if not spec.workers:
        return spec.model_copy(update={"workers": (WorkerGroup(count=workers),) if workers else ()})
    return spec.scaled({spec.workers[0].name: workers})
