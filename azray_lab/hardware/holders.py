"""Who holds the GPUs of a cluster: actors that live and tasks that run, from Ray's State API over the dashboard."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from azray_lab.accelerators import labels
from azray_lab.hardware import state
from azray_lab.hardware.cells import cell_of
from azray_lab.hardware.report import Holder

if TYPE_CHECKING:
    from azray_lab.jobs.dashboard import Dashboard

# In a placement group `GPU` becomes `GPU_group_<id>` for any bundle and `GPU_group_<n>_<id>` for bundle n; an actor in
# a given bundle has both, for the same GPUs.
_RESOURCE = re.compile(rf"^(?:{'|'.join(labels.COUNTED)})(?:_group_(?:\d+_)?[0-9a-f]+)?$")


def holders(dashboard: Dashboard) -> dict[str, list[Holder]]:
    """Who holds accelerators, by the id of their node. Three requests."""
    actors = state.rows(dashboard, "actors", state="ALIVE")
    tasks = state.rows(dashboard, "tasks", state="RUNNING")
    jobs = {str(job.get("job_id")): job for job in state.get(dashboard, "/api/jobs/")}
    found: dict[str, list[Holder]] = defaultdict(list)
    for actor in actors:
        if amount := _amount(actor):
            found[str(actor["node_id"])].append(_actor(actor, amount, jobs))
    for task in tasks:
        # What an actor does is in the actor's amount already.
        if task.get("type") == "NORMAL_TASK" and (amount := _amount(task)):
            found[str(task["node_id"])].append(_task(task, amount, jobs))
    return found


def _amount(row: Mapping[str, Any]) -> float:
    """How many accelerators an actor or a task asked for, in a placement group or not."""
    wanted = row.get("required_resources") or {}
    return max((float(amount) for name, amount in wanted.items() if _RESOURCE.match(name)), default=0.0)


def _actor(row: Mapping[str, Any], amount: float, jobs: Mapping[str, Any]) -> Holder:
    name = row.get("name") or row.get("repr_name") or row["class_name"]
    return _holder("actor", row, str(name), str(row["actor_id"]), row.get("pid"), amount, jobs)


def _task(row: Mapping[str, Any], amount: float, jobs: Mapping[str, Any]) -> Holder:
    return _holder("task", row, str(row["name"]), str(row["task_id"]), row.get("worker_pid"), amount, jobs)


def _holder(
    kind: str, row: Mapping[str, Any], name: str, name_id: str, pid: Any, amount: float, jobs: Mapping[str, Any]
) -> Holder:
    job = jobs.get(str(row["job_id"]), {})
    return Holder(
        kind=kind,
        name=name,
        id=name_id,
        gpus=amount,
        pid=int(pid) if pid else None,
        job=str(job.get("submission_id") or row["job_id"]),
        entrypoint=str(job.get("entrypoint") or ""),
        cell=cell_of(row.get("call_site")),
    )
