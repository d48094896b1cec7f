"""The real state of a local cluster: from its processes and files at no cost, and from its dashboard in one request."""

from __future__ import annotations

import time
from typing import Any

from azray_lab.errors import ClusterLostError, CredentialError
from azray_lab.targets.base import READ_SECONDS, ClusterStatus, Handle, LeaseStatus, NodeStatus, ProcessId, State
from azray_lab.targets.local import dashboard, mounts
from azray_lab.targets.local.folders import Folders, autopsy
from azray_lab.views import seconds


def process_of(record: dict[str, Any]) -> ProcessId:
    """The process of a node as its handle keeps it."""
    return ProcessId(int(record["pid"]), float(record["started"]), int(record["session"]))


def alive(handle: Handle, node: str) -> bool:
    """Whether the `ray start` of a node runs."""
    record = handle.details.get("nodes", {}).get(node)
    return bool(record) and process_of(record).alive()


def _maker_alive(handle: Handle) -> bool:
    return bool(handle.maker) and ProcessId(int(handle.maker["pid"]), float(handle.maker["started"])).alive()


def state(handle: Handle) -> tuple[State, str]:
    """The state and its reason, from processes and files alone."""
    if past := handle.details.get("past"):
        return past["state"], past["reason"]
    folders = Folders.of(handle)
    if ended := folders.read(folders.ended):
        return "down", str(ended.get("reason", ""))
    if handle.phase != "up":
        word = "up" if handle.phase == "starting" else "down"
        if _maker_alive(handle):
            return ("starting" if handle.phase == "starting" else "stopping"), f"`{word}` is at work"
        return "lost", f"`{word}` was broken off (process {handle.maker.get('pid')} is gone)"
    if not alive(handle, "head"):
        return "lost", f"the head is gone: {autopsy(folders.log('head'))}"
    return "running", ""


def remembered(handle: Handle) -> Handle:
    """The handle with its state and the reason in it, for when the files that tell them are removed."""
    found, reason = state(handle)
    return handle.but(details={**handle.details, "past": {"state": found, "reason": reason}})


def lease(handle: Handle) -> LeaseStatus:
    """The lease's limits, and when it ends as things stand."""
    folders = Folders.of(handle)
    limits, seen = folders.read(folders.lease), folders.read(folders.watch)
    idle, idle_since = limits.get("idle"), seen.get("idle_since")
    ends = [limits.get("end")]
    if idle and idle_since:
        ends.append(max(idle_since + idle, limits.get("quiet_until") or 0))
    return LeaseStatus(idle, limits.get("max"), min((e for e in ends if e), default=None), idle_since)


def status(handle: Handle, *, seconds: float = READ_SECONDS) -> ClusterStatus:
    """The cluster as it is, with what Ray says of each node when the head answers."""
    found, reason = state(handle)
    if found == "down":
        return ClusterStatus(handle.name, handle.target, found, reason, created=handle.created)
    rows: dict[str, dict[str, Any]] = {}
    if found == "running":
        try:
            rows = _by_name(dashboard.nodes(handle.endpoint, seconds=seconds))
        except (ClusterLostError, CredentialError) as error:
            found, reason = "degraded", str(error)
    nodes = tuple(
        _node(handle, name, record, rows.get(name), answered=bool(rows))
        for name, record in handle.details.get("nodes", {}).items()
    )
    if found == "running" and (missing := [n for n in nodes if n.state != "running"]):
        found, reason = "degraded", "; ".join(f"{n.name} is {n.state}: {n.reason}" for n in missing)
    folders = mounts.states(handle)
    if found == "running" and (broken := [m for m in folders if m.state != "mounted"]):
        found, reason = "degraded", "; ".join(f"mount {m.path} is {m.state}: {m.reason}" for m in broken)
    terms = lease(handle)
    return ClusterStatus(
        name=handle.name,
        target=handle.target,
        state=found,
        reason=reason or ends_soon(terms, time.time()),
        nodes=nodes,
        address=handle.address,
        dashboard_url=handle.dashboard_url,
        ray_version=handle.ray_version,
        python_version=handle.python_version,
        created=handle.created,
        lease=terms,
        mounts=folders,
    )


def ends_soon(terms: LeaseStatus, now: float) -> str:
    """What to say of a lease that ends soon: within five minutes, or the last fifth of its limit."""
    if terms.expires is None:
        return ""
    rest = terms.expires - now
    limit = min(filter(None, (terms.idle, terms.max)), default=0.0)
    if rest > min(300.0, limit / 5):
        return ""
    why = "it idles" if terms.idle_since else "it is that old"
    return f"the lease ends in {seconds(max(rest, 0.0))}, because {why}; azray extend gives it longer"


def _by_name(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    # Ray keeps dead nodes in its list; a node that was started again has the same name.
    out: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda r: r["state"] == "ALIVE"):
        out[row["node_name"]] = row
    return out


def _node(
    handle: Handle, name: str, record: dict[str, Any], row: dict[str, Any] | None, *, answered: bool
) -> NodeStatus:
    word, reason = "running", ""
    if not process_of(record).alive():
        word, reason = "lost", autopsy(Folders.of(handle).log(name))
    elif answered and (row is None or row["state"] != "ALIVE"):
        word, reason = "starting", "Ray does not list it as alive"
    found = row or {}
    return NodeStatus(
        name=name,
        role="head" if name == "head" else "worker",
        group=str(record["group"]),
        state=word,
        reason=reason,
        pid=int(record["pid"]),
        node_id=str(found.get("node_id", "")),
        ip=str(record["ip"]),
        resources={k: v for k, v in found.get("resources_total", {}).items() if not k.startswith("node:")},
        labels=dict(found.get("labels", {})),
    )
