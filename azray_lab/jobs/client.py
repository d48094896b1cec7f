"""Jobs of a cluster: list, get, submit, follow, stop, and download what one left."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from azray_lab.errors import ClusterLostError, DeadlineError, JobError, UnknownNameError, nearest
from azray_lab.jobs import following, model
from azray_lab.jobs.dashboard import ANSWER_SECONDS, Dashboard, NotThereError
from azray_lab.operation import Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from azray_lab.jobs.model import Job
    from azray_lab.targets.base import Endpoint

NODE_LABEL = "azray.io/node"
# Ray ends a job that is to stop by SIGTERM and after 3 s by SIGKILL (JobSupervisor in ray 2.60).
STOP_SECONDS = 60.0
_DOWNLOAD_SECONDS = 3600
PATIENCE_SECONDS = 10.0
_AGAIN_SECONDS = 0.5
_READ_SECONDS = 60.0
# The state API gives 100 nodes unless told otherwise, and at most 10,000 (RAY_MAX_LIMIT_FROM_API_SERVER).
_NODES = 10_000


class Client:
    """The jobs of the cluster behind `endpoint`. One request a call, unless said otherwise.

    Each request is answered in `seconds`, or DeadlineError is raised.
    """

    def __init__(self, endpoint: Endpoint, *, seconds: float = ANSWER_SECONDS) -> None:
        self.dashboard = Dashboard(endpoint, seconds=seconds)
        self._names: dict[str, str] | None = None

    def list(self) -> list[Job]:
        """All jobs that the cluster remembers, in no order. Two requests."""
        details = self.dashboard.json("GET", "/api/jobs/")
        names = self.names() if details else {}
        return [model.from_ray(each, names) for each in details]

    def get(self, job: str) -> Job:
        """The job of that id; UnknownNameError that names the nearest one."""
        try:
            details = self.dashboard.json("GET", _path(job))
        except NotThereError as error:
            raise self._unknown(job) from error
        return model.from_ray(details, self.names(details.get("driver_node_id")))

    def names(self, wanted: str | None = None) -> Mapping[str, str]:
        """Node ids to the cluster's names for them; asked for again only when `wanted` is not among the known ones."""
        if self._names is None or (wanted and wanted not in self._names):
            answer = self.dashboard.json("GET", "/api/v0/nodes", detail=1, limit=_NODES)
            self._names = {node["node_id"]: _name(node) for node in answer["data"]["result"]["result"]}
        return self._names

    def submit(self, body: dict[str, Any]) -> None:
        """Submits a job; `body` is Ray's JobSubmitRequest with a `submission_id`."""
        self.dashboard.json("POST", "/api/jobs/", body)

    def stop(self, job: str, operation: Operation[Any] | None = None) -> Job:
        """Stops the job and waits until it has ended, some seconds; the job as it is when it had ended before.

        DeadlineError when it still runs after a minute, UnknownNameError for no such job.
        """
        before = self.get(job)
        if before.done:
            return before
        if before.kind != "job":
            raise JobError(
                f"{job} was not submitted as a job",
                cause="a process connected to the cluster by itself, a notebook for instance",
                next_step="end that process",
                job=job,
            )
        self.dashboard.json("POST", f"{_path(job)}/stop")
        waiting: Operation[Any] = operation or Operation(f"stop {job}")
        waiting.wait_for(
            lambda: self.get(job).done,
            reason=f"job {job} has not ended yet",
            seconds=STOP_SECONDS,
            next_step=f"azray jobs stop {job}",
        )
        return self.get(job)

    def follow(self, job: str, check: Callable[[], None] = lambda: None) -> Iterator[str]:
        """The job's log until the job has ended, in texts of whole lines; `check` may raise to end the following."""
        self.get(job)
        return following.follow(self.dashboard, lambda: self._patiently(job, check), check)

    def _patiently(self, job: str, check: Callable[[], None]) -> Job:
        """`get`, again for some seconds when nobody answers: a dashboard short of CPU drops requests."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            check()
            try:
                return self.get(job)
            except (ClusterLostError, DeadlineError):
                if time.monotonic() > deadline:
                    raise
            time.sleep(_AGAIN_SECONDS)

    def logs(self, job: str) -> Iterator[str]:
        """The job's log as it is now, in texts of one or more lines."""
        return following.now(self.dashboard, self.get(job))

    def download(self, job: Job, name: str, target: Path) -> bool:
        """Writes `name` from the folder of the job's log to `target`, whole or not at all; False when not there."""
        if not job.node_id or not self._there(job, name):
            return False
        query = {"node_id": job.node_id, "filename": name, "lines": -1, "timeout": _DOWNLOAD_SECONDS}
        handle, name_of_partial = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        partial = Path(name_of_partial)
        try:
            with (
                os.fdopen(handle, "wb") as file,
                self.dashboard.stream("/api/v0/logs/file", seconds=_READ_SECONDS, **query) as stream,
            ):
                for block in stream:
                    file.write(block)
            partial.chmod(0o666 & ~_umask())
            partial.replace(target)
        except BaseException:
            partial.unlink()
            raise
        return True

    def _there(self, job: Job, name: str) -> bool:
        answer = self.dashboard.json("GET", "/api/v0/logs", node_id=job.node_id, glob=name)
        return any(answer["data"]["result"].values())

    def _unknown(self, job: str) -> UnknownNameError:
        known = [each.id for each in self.list()]
        return UnknownNameError(
            f"there is no job {job!r}.{nearest(job, known)}", next_step="azray jobs", name=job, known=known
        )


def _path(job: str) -> str:
    return f"/api/jobs/{quote(job, safe='')}"


def _name(node: Mapping[str, Any]) -> str:
    given = (node.get("labels") or {}).get(NODE_LABEL)
    return str(given or ("head" if node.get("is_head_node") else node.get("node_ip") or node["node_id"][:8]))


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
