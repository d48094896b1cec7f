"""What a job leaves behind: the executed copy of a notebook, the value of a cell. Brought at its end, or later."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.errors import JobError, RayMissingError, UnknownNameError, UsageError, nearest
from azray_lab.jobs import model

if TYPE_CHECKING:
    from azray_lab.jobs.client import Client
    from azray_lab.jobs.model import Job, JobResult

FOLDER = "azray"
"""Where results lie, below the folder of the job's log."""

NOTEBOOK = ".ipynb"


def fetch(client: Client, job: Job, *, output: Path | None = None, variable: str = "") -> JobResult:
    """The job with what it has left so far: a notebook goes to `output` (default: ID.ipynb here), a cell's value along.

    UsageError for a job that leaves nothing, JobError when it is not there (yet), UnknownNameError when the cell has no
    `variable`.
    """
    if not job.result:
        raise UsageError(
            f"job {job.id} has nothing to fetch",
            cause="scripts and commands leave a log; notebooks and cells leave a result",
            next_step=f"azray logs {job.id}",
            job=job.id,
        )
    if job.result.endswith(NOTEBOOK):
        target = (output or Path(f"{job.id}{NOTEBOOK}")).absolute()
        if not target.parent.is_dir():
            raise UsageError(f"there is no folder {str(target.parent)!r} for the executed copy", next_step="-o FILE")
        if copy(client, job, target):
            return model.result(job, output=target)
        raise _not_there(job)
    if output is not None:
        raise UsageError("a cell's result goes into a variable", next_step=f"%azray jobs fetch {job.id} -o NAME")
    if not job.done:
        raise _not_there(job)
    return model.result(job, value=value(client, job, variable))


def _not_there(job: Job) -> JobError:
    return JobError(
        f"job {job.id} has left no result" + ("" if job.done else " yet"),
        cause=f"it is {job.status}",
        next_step=f"azray logs {job.id}" + ("" if job.done else " -f"),
        job=job.id,
    )


def copy(client: Client, job: Job, target: Path | None) -> bool:
    """Writes the executed copy of the job's notebook to `target`; False when there is none, or nobody wants it."""
    return bool(target and job.result) and client.download(job, job.result, Path(str(target)))


def value(client: Client, job: Job, variable: str) -> Any:
    """The value that a cell left, None when it left none; UnknownNameError when it has no `variable`."""
    with tempfile.TemporaryDirectory(prefix="azray-value-") as folder:
        target = Path(folder) / "value"
        if not client.download(job, job.result, target):
            return None
        kind, content = pickle.loads(target.read_bytes())  # noqa: S301 - the user's own cluster, behind its token
    if kind == "value":
        return _unpickled(content, job)
    if kind == "missing":
        raise _missing(content, job, variable)
    return content or None


def _missing(names: list[str], job: Job, wanted: str) -> UnknownNameError:
    return UnknownNameError(
        f"the cell has no variable {wanted!r} and its last line is no expression.{nearest(wanted, names)}",
        cause=f"it defines {', '.join(names) or 'nothing'}",
        next_step=f"assign {wanted} in the cell; job {job.id} itself has run",
        name=wanted,
        known=names,
        job=job.id,
    )


def _unpickled(content: bytes, job: Job) -> Any:
    try:
        import ray  # noqa: F401 - cloudpickle's functions live in it
    except ImportError as error:
        raise RayMissingError(
            "Ray is not installed in this environment",
            cause="the value of the job is a pickle that needs it",
            next_step='pip install "ray[default]"',
        ) from error
    try:
        return pickle.loads(content)  # noqa: S301 - the user's own cluster, behind its token
    except Exception as error:
        raise JobError(
            f"the value of job {job.id} cannot be read here",
            cause=f"{type(error).__name__}: {error}",
            next_step="install here what the value is made of, or bring back plain data",
            job=job.id,
        ) from error
