"""What a job is to everyone else: plain values that print as text, HTML and JSON."""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from azray_lab import views
from azray_lab.errors import JobFailedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED = "PENDING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED"
"""Ray's words for a job's state (`JobStatus` in ray 2.60's `dashboard/modules/job/common.py`)."""

RESULT = "azray.result"
"""The key of a job's metadata (ours) under which it says what it leaves, relative to the folder of its log."""

ENDED = frozenset({SUCCEEDED, FAILED, STOPPED})
INTERRUPTED = 130

# A shell says 128 + n for signal n; above 128 + 64 there is no signal on Linux.
_SIGNALS = range(129, 193)
_ENTRYPOINT_SHOWN = 60


@dataclass(frozen=True)
class Job:
    """A job as it is: `started` and `ended` are UTC, `node` is the name of the node that its driver runs on.

    `kind` is `job` for one that was submitted, `driver` for a process that connected by itself, such as a notebook.
    `driver_exit_code` is the process's own code: negative when a signal ended it, None while it runs or when unknown.
    """

    id: str
    status: str
    entrypoint: str
    kind: str = "job"
    started: datetime | None = None
    ended: datetime | None = None
    node: str = ""
    node_id: str = ""
    driver_exit_code: int | None = None
    message: str = ""
    result: str = ""
    """What it leaves for `results.fetch`, as a path below the folder of its log; empty when it leaves nothing."""

    @property
    def done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.status in ENDED

    @property
    def exit_code(self) -> int:
        """As a shell says it: 128 + n after signal n, 130 when it was stopped, 1 when it failed without a code."""
        if self.status == STOPPED:
            return INTERRUPTED
        if self.driver_exit_code is not None:
            return self.driver_exit_code if self.driver_exit_code >= 0 else 128 - self.driver_exit_code
        return 1 if self.status == FAILED else 0

    @property
    def seconds(self) -> float | None:
        """How long it has run, from submission on; None before it is known."""
        if self.started is None:
            return None
        return ((self.ended or datetime.now(timezone.utc)) - self.started).total_seconds()

    @property
    def ending(self) -> str:
        """Why it ended as it did, in words; an empty string while it runs or after success."""
        code = self.exit_code
        if self.status == STOPPED:
            return "it was stopped"
        if self.status != FAILED:
            return ""
        if self.driver_exit_code is None:
            return self.message.strip().splitlines()[-1] if self.message.strip() else "no reason was given"
        return f"it was ended by {_signal(code - 128)}" if code in _SIGNALS else f"exit code {code}"

    def to_dict(self) -> dict[str, Any]:
        """The job as plain JSON; times are ISO 8601."""
        return {
            "id": self.id,
            "kind": self.kind,
            "status": self.status,
            "entrypoint": self.entrypoint,
            "started": self.started.isoformat() if self.started else None,
            "ended": self.ended.isoformat() if self.ended else None,
            "node": self.node,
            "driver_exit_code": self.driver_exit_code,
            "exit_code": self.exit_code if self.done else None,
            "message": self.message,
        }

    def __str__(self) -> str:
        after = f" after {views.seconds(self.seconds)}" if self.done and self.seconds is not None else ""
        about = f" ({self.ending})" if self.ending else ""
        place = f" on {self.node}" if self.node else ""
        return f"job {self.id}: {self.status}{after}{place}{about}"

    def _repr_html_(self) -> str:
        lines = [views.escape(line) for line in str(self).splitlines()]
        return views.frame(f"<p>{'<br>'.join(lines)}</p><p><code>{views.escape(self.entrypoint)}</code></p>")


@dataclass(frozen=True, repr=False)
class JobResult(Job):
    """How a job that was run from here ended, and what came back.

    `value` is a cell's result, `output` the executed copy of a notebook. `detached`: it was left running.
    """

    value: Any = None
    output: Path | None = None
    detached: bool = False

    def check(self) -> JobResult:
        """Itself when the job succeeded or was left running; JobFailedError otherwise."""
        if self.exit_code == 0:
            return self
        raise JobFailedError(
            f"job {self.id} ended with {self.status}",
            cause=self.ending,
            next_step=f"azray logs {self.id}",
            job=self.id,
            status=self.status,
            driver_exit_code=self.driver_exit_code,
        )

    def to_dict(self) -> dict[str, Any]:
        """The job, with the path of the executed notebook; a value is given as its text."""
        out = super().to_dict() | {"output": str(self.output) if self.output else None, "detached": self.detached}
        return out if self.value is None else out | {"value": repr(self.value)}

    def __str__(self) -> str:
        lines = [super().__str__()]
        if self.output:
            lines.append(f"executed copy: {self.output}")
        if self.detached:
            lines += [f"follow it: azray logs {self.id} -f", f"stop it:   azray jobs stop {self.id}"]
            lines += [f"fetch what it leaves: azray jobs fetch {self.id}"] if self.result else []
        if self.value is not None:
            lines.append(repr(self.value))
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)


def from_ray(details: Mapping[str, Any], names: Mapping[str, str]) -> Job:
    """A job from Ray's `JobDetails`; `names` maps node ids to the cluster's names for them."""
    node_id = details.get("driver_node_id") or ""
    submitted = details.get("submission_id")
    return Job(
        id=submitted or details.get("job_id") or "",
        status=str(details.get("status", "")),
        entrypoint=details.get("entrypoint") or "",
        kind="job" if submitted else "driver",
        started=_time(details.get("start_time")),
        ended=_time(details.get("end_time")),
        node=names.get(node_id, node_id[:8]),
        node_id=node_id,
        driver_exit_code=details.get("driver_exit_code"),
        message=details.get("message") or "",
        result=(details.get("metadata") or {}).get(RESULT, ""),
    )


def result(job: Job, **more: Any) -> JobResult:
    """`job` as the result of running it."""
    return replace(JobResult(**vars(job)), **more)


def table(jobs: Iterable[Job]) -> views.Table:
    """The jobs as a table, the latest first."""
    ordered = sorted(jobs, key=lambda job: job.started.timestamp() if job.started else 0.0, reverse=True)
    rows = [
        (job.id, job.status, job.node, views.seconds(job.seconds) if job.seconds is not None else "", _short(job))
        for job in ordered
    ]
    return views.Table("jobs", ("job", "status", "node", "time", "entrypoint"), rows, [j.to_dict() for j in ordered])


def _short(job: Job) -> str:
    line = " ".join(job.entrypoint.split())
    return line if len(line) <= _ENTRYPOINT_SHOWN else line[: _ENTRYPOINT_SHOWN - 3] + "..."


def _time(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc) if milliseconds else None


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
