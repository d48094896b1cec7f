r"""Jobs on a cluster, through Ray's Jobs API. Takes an `Endpoint`, never knows a target.

    work = jobs.script("train.py", ["--lr", "0.1"])          # or command([...]), notebook(path, {...}), cell(code)
    task = jobs.run(cluster.endpoint, work, on_log=print)    # a Task[JobResult]: task.run(), or a face's follow(task)
    result = task.run()                                      # how it ended, also when it failed; .check() raises then

    jobs.list_jobs(endpoint)                 -> list[Job]
    jobs.get(endpoint, id)                   -> Job
    jobs.logs(endpoint, id, follow=True)     -> Iterator[str], texts of whole lines: "[head] epoch 1\n"
    jobs.stop(endpoint, id)                  -> Job, when it has ended
    jobs.fetch(endpoint, id)                 -> JobResult, with what a notebook or a cell has left
    jobs.table(list_of_jobs)                 -> views.Table

The cluster needs `python` on the PATH of its nodes to be the environment that Ray runs in; for notebooks and cells it
needs papermill and ipykernel there, but not this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from azray_lab.jobs import results
from azray_lab.jobs.client import Client
from azray_lab.jobs.model import Job, JobResult, table
from azray_lab.jobs.running import run
from azray_lab.jobs.work import Work, cell, command, kind_of, notebook, parameter, script, work_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from azray_lab.targets.base import Endpoint

__all__ = [
    "Client",
    "Job",
    "JobResult",
    "Work",
    "cell",
    "command",
    "fetch",
    "get",
    "kind_of",
    "list_jobs",
    "logs",
    "notebook",
    "parameter",
    "run",
    "script",
    "stop",
    "table",
    "work_of",
]


def list_jobs(endpoint: Endpoint) -> list[Job]:
    """All jobs that the cluster remembers. Two requests."""
    return Client(endpoint).list()


def get(endpoint: Endpoint, job: str) -> Job:
    """The job of that id; UnknownNameError, with the nearest one, when there is none."""
    return Client(endpoint).get(job)


def logs(endpoint: Endpoint, job: str, *, follow: bool = False) -> Iterator[str]:
    """The job's log in texts of one or more lines, each line with its node's name: as it is now, or until the end."""
    client = Client(endpoint)
    return client.follow(job) if follow else client.logs(job)


def stop(endpoint: Endpoint, job: str) -> Job:
    """Stops the job and waits until it has ended (Ray gives it 3 s to end by itself)."""
    return Client(endpoint).stop(job)


def fetch(endpoint: Endpoint, job: str, *, output: Path | None = None, variable: str = "") -> JobResult:
    """What a notebook or a cell that ran as `job` has left, also long after; see `results.fetch`."""
    client = Client(endpoint)
    return results.fetch(client, client.get(job), output=output, variable=variable)
