"""What a card knows of one cluster: its state, what it has in use, its jobs, and what this kernel does with it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from azray_lab import jobs, operation, registry, views
from azray_lab.cluster import Cluster, attach
from azray_lab.errors import AzRayError, ClusterLostError, DeadlineError
from azray_lab.spec.models import MAX_COUNT
from azray_lab.widgets.feed import feed
from azray_lab.widgets.texts import say

if TYPE_CHECKING:
    from azray_lab.jobs import Job
    from azray_lab.operation import Event, Operation, Row
    from azray_lab.targets.base import Amount, ClusterStatus, Endpoint, Handle, NodeStatus, NodeUsage, Usage

# A cluster that does not answer in this time is shown as one that does not; the thread has others to read.
READ_SECONDS = 2.0
# How many jobs a card shows; a cluster may remember ten thousand.
_JOBS = 50
_KINDS = ("cpu", "gpu", "memory", "object_store")
# In these states a cluster is asked what it uses and runs.
_ANSWERING = {"running", "degraded"}
# On the wire numbers are as exact as people read them, so that noise is no change.
_GRAIN = {"cpu": 0.01, "gpu": 0.01, "memory": 16 * 2**20, "object_store": 2**20}
_ENTRYPOINT = 160


class ClusterSource:
    """One cluster by its name, for the feed. `read` asks; operations of this kernel tell by themselves."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._guard = threading.RLock()
        self._reading = threading.Lock()
        self.read_at = float("-inf")
        """When it was read last, by `time.monotonic`."""
        self._handle: Handle | None = None
        self._status: ClusterStatus | None = None
        self._seen = False
        self._makes = False
        self._outlived = False
        self._usage: Usage | None = None
        self._jobs: list[Job] = []
        self._jobs_known = False
        self._operation: Operation[Any] | None = None
        self._error: Mapping[str, Any] | None = None
        self._doing: dict[str, float] = {}
        self._client: tuple[Endpoint, Any] | None = None
        self.history: deque[tuple[float, dict[str, float]]] = deque(maxlen=256)

    @property
    def key(self) -> str:
        """The key of its channel."""
        return f"cluster/{self.name}"

    # What the feed calls.

    def read(self, seconds: float = READ_SECONDS) -> bool:
        """Reads status, usage and jobs (three requests); stops at the first that is not answered in `seconds`."""
        if not self._reading.acquire(timeout=seconds):
            return False  # another thread is at it
        try:
            answered = self._read(seconds)
            self.read_at = time.monotonic()
        except AzRayError as error:
            self.tell(error)
            answered = False
        except Exception as error:  # noqa: BLE001 - a bug of ours belongs into the card, not into the thread's grave
            self.tell(error)
            answered = False
        finally:
            self._reading.release()
        self._jobs_known = answered and self._status is not None and self._status.state in _ANSWERING
        return answered

    def _read(self, seconds: float) -> bool:
        work = self._operation
        settled = work is not None and work.done
        cluster = self._found(seconds, calm=work is None or settled)
        if cluster is None:
            self._seen = self._seen and work is not None and not settled
            self._status, self._usage, self._jobs = None, None, []
            return True
        # What is there after its operation has ended goes by another one, wherever that runs.
        self._outlived = self._outlived or (settled and work is self._operation)
        self._status, self._seen = cluster.status(seconds=seconds), True
        if self._status.state not in _ANSWERING:
            self._usage, self._jobs = None, []
            return True
        if not any(node.node_id for node in self._status.nodes):
            return False  # its dashboard does not answer, and would not answer two more questions
        try:
            self._usage = cluster.usage(seconds=seconds)
            self._jobs = _worth(self._list_jobs(cluster.endpoint, seconds))
        except (ClusterLostError, DeadlineError):  # it is between two states; the next read has the word for it
            return False
        self._remember()
        return True

    def _found(self, seconds: float, *, calm: bool) -> Cluster | None:
        """The registered cluster, or the last known one when the registry has lost it and its processes run."""
        if (handle := registry.handle_or_none(self.name)) is not None:
            self._handle = handle
            return Cluster(handle)
        known = Cluster(self._handle) if self._handle and calm else None
        if known is None or known.status(seconds=seconds).state != "down":
            return known
        self._handle = None  # that it is down is proven, and nothing to look for again
        return None

    def _list_jobs(self, endpoint: Endpoint, seconds: float) -> list[Job]:
        if self._client is None or self._client[0] != endpoint:
            self._client = (endpoint, jobs.Client(endpoint, seconds=seconds))
        listed: list[Job] = self._client[1].list()
        return listed

    def _remember(self) -> None:
        usage = self._usage
        if usage is not None:
            totals = {kind: usage.total(kind) for kind in _KINDS}  # type: ignore[arg-type]
            self.history.append((time.time(), {k: a.used / a.total for k, a in totals.items() if a and a.total}))

    # What actions and operations tell.

    def knows(self, handle: Handle) -> None:
        """Takes the handle that somebody has, for when the registry has none."""
        self._handle = self._handle or handle

    @property
    def cluster(self) -> Cluster:
        """The cluster, also when the registry has lost it and it runs; UnknownClusterError when it is not known."""
        if self._handle is not None and registry.handle_or_none(self.name) is None:
            return Cluster(self._handle)
        return attach(self.name)

    def tell(self, error: BaseException | None) -> None:
        """Shows `error` until it is dismissed or something else is done; None takes it away."""
        if isinstance(error, AzRayError):
            self._error = error.to_dict()
        elif error is not None:
            self._error = {"code": type(error).__name__, "message": f"{type(error).__name__}: {error}"}
        else:
            self._error = None
        feed().changed(self.key)

    def begin(self, action: str) -> bool:
        """Notes that an action is under way; False when it is already."""
        with self._guard:
            if action in self._doing:
                return False
            self._doing = {**self._doing, action: time.time()}
            self._error = None
        feed().changed(self.key)
        return True

    def end(self, action: str) -> None:
        """Notes that the action is over."""
        with self._guard:
            self._doing = {name: since for name, since in self._doing.items() if name != action}
        feed().refresh(self.key)

    def follow(self, work: Operation[Any]) -> None:
        """Shows an operation that works on the cluster."""
        with self._guard:
            if self._operation is work:
                return
            self._operation, self._error = work, None
            self._seen, self._outlived = self._status is not None, False
            self._makes = not _registered(self.name)
        work.subscribe(self._on_event)

    def _on_event(self, event: Event) -> None:
        if event.kind == "error":
            self._error = event.data.get("error") or {"code": "", "message": event.message}
        if event.kind in {"result", "error"}:
            feed().refresh(self.key)
        feed().changed(self.key)

    @property
    def operation(self) -> Operation[Any] | None:
        """The operation that was begun last in this kernel, if any."""
        return self._operation

    # What is shown.

    @property
    def status(self) -> ClusterStatus | None:
        """The last status; None where nothing is registered under the name."""
        return self._status

    def document(self) -> dict[str, Any]:
        """All that a card shows, as plain JSON; times are seconds since 1970."""
        status, work = self._status, self._operation
        state, reason = self._state()
        return {
            "name": self.name,
            "state": state,
            "reason": reason,
            "target": status.target if status else "",
            "created": status.created if status else None,
            "dashboard": status.dashboard_url if status and status.nodes else "",
            "token": self._client[0].token_path if self._client and status else "",
            "said": _said(work) if work and not work.done else say("said", name=self.name, what=say(f"state.{state}")),
            "operation": _operation(work) if work else None,
            "error": self._error,
            "doing": dict(self._doing),
            "lease": status.lease.to_dict() if status else None,
            "usage": self._totals(),
            "nodes": self._nodes(),
            "jobs_known": self._jobs_known,
            "most_workers": MAX_COUNT,
            "jobs": {job.id: _job(job) for job in self._jobs[:_JOBS]},
            "left_out": {"jobs": self._left_out()},
        }

    def _state(self) -> tuple[str, str]:
        if self._status is not None:
            return self._status.state, self._status.reason
        outcome = views.outcome(self._operation) if self._operation else ""
        if outcome == "running":
            return ("stopping" if self._seen else "starting"), ""
        if self._makes and not self._outlived and outcome in {"failed", "cancelled"}:
            return "failed" if outcome == "failed" else "down", ""
        return "down", say("state.ended")

    def _left_out(self) -> dict[str, Any]:
        """How many jobs are not shown, and how many of those run."""
        rest = self._jobs[_JOBS:]
        running = sum(1 for _ in takewhile(lambda job: not job.done, rest))  # they come first
        return {"count": len(rest), "running": running, "name": self.name}

    def _totals(self) -> dict[str, Any]:
        usage = self._usage
        if usage is None:
            return {}
        return {kind: _pair(kind, usage.total(kind)) for kind in _KINDS}  # type: ignore[arg-type]

    def _nodes(self) -> dict[str, Any]:
        used = {node.name: node for node in self._usage.nodes} if self._usage else {}
        nodes = self._status.nodes if self._status else ()
        return {node.name: _node(node, used.get(node.name)) for node in nodes}


def _registered(name: str) -> bool:
    try:
        return name in registry.names()
    except AzRayError:  # whoever reads next tells why
        return False


def _pair(kind: str, found: Amount | None) -> list[float] | None:
    if found is None:
        return None
    grain = _GRAIN[kind]
    return [round(round(value / grain) * grain, 2) for value in (found.used, found.total)]


def _node(node: NodeStatus, used: NodeUsage | None) -> dict[str, Any]:
    out: dict[str, Any] = {"role": node.role, "state": node.state, "reason": node.reason}
    if used is not None:
        out |= {kind: _pair(kind, getattr(used, kind)) for kind in _KINDS}
        out["load"] = None if used.load is None else round(used.load)
    return out


def _worth(listed: list[Job]) -> list[Job]:
    """Jobs as they are worth a look: those that run first, then the newest."""
    newest = sorted(listed, key=lambda job: job.started.timestamp() if job.started else 0.0, reverse=True)
    return sorted(newest, key=lambda job: job.done)


def _job(job: Job) -> dict[str, Any]:
    return {
        "status": job.status,
        "kind": job.kind,
        "node": job.node,
        "entrypoint": _entrypoint(job),
        "ending": job.ending,
        "started": job.started.timestamp() if job.started else None,
        "ended": job.ended.timestamp() if job.ended else None,
    }


def _entrypoint(job: Job) -> str:
    """What a job runs, on one line; a notebook's kernel is started by a long line that says nothing else."""
    if job.kind == "driver" and "ipykernel_launcher" in job.entrypoint:
        return say("job.notebook")
    return " ".join(job.entrypoint.split())[:_ENTRYPOINT]


def _operation(work: Operation[Any]) -> dict[str, Any]:
    """An operation with its stages, in seconds since it began; `began` is the only time of day in it."""
    return {
        "name": work.name,
        "state": views.outcome(work),
        "began": round(work.began, 1),
        "ended": views.ended(work) if work.done else None,
        "expected": work.expected,
        "waiting": _waiting(work),
        "notes": [event.message for event in work.events if event.kind == "note"],
        "stages": {row.stage: _stage(row, order, work) for order, row in enumerate(views.stages(work))},
    }


def _stage(row: Row, order: int, work: Operation[Any]) -> dict[str, Any]:
    """A stage; what failed in a try that was begun anew is `repeated`, and has no next step for anybody."""
    told = {"state": row.state, "began": row.began, "ended": row.ended, "message": row.message}
    if _repeated(row, work):
        # As the text of an error ends.
        told |= {"state": "repeated", "message": row.message.rpartition(" Next: ")[0] or row.message}
    return {**told, "order": order, "fraction": row.fraction}


def _repeated(row: Row, work: Operation[Any]) -> bool:
    """Whether a stage that had begun before this one failed was begun once more after that."""
    if row.state != "failed" or row.ended is None:
        return False
    began = [(event.stage, event.seconds) for event in work.events if event.kind == "started"]
    before = {stage for stage, at in began if at <= row.ended}
    return any(stage in before for stage, at in began if at > row.ended)


def _said(work: Operation[Any]) -> str:
    """What a screen reader says of a running operation; without times, which change each second."""
    waiting = _waiting(work)
    return say("said", name=work.name, what=waiting) if waiting else views.sentence(work)


def _waiting(work: Operation[Any]) -> str:
    """What it waits for outside of any stage, such as for another process that works on the cluster."""
    last = work.events[-1:]
    return last[0].message if last and last[0].kind == "waiting" and not last[0].stage else ""


def _watch(work: Operation[Any]) -> None:
    """Shows an operation that begins anywhere in this process in the cards of its cluster."""
    source = feed().source(f"cluster/{work.subject}") if work.subject else None
    if isinstance(source, ClusterSource):
        source.follow(work)


operation.watchers.append(_watch)


def source_of(name: str) -> ClusterSource:
    """The source of that cluster: the one that is fed already, or a new one."""
    known = feed().source(f"cluster/{name}")
    return known if isinstance(known, ClusterSource) else ClusterSource(name)
