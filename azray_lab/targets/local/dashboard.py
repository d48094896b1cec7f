"""What the dashboard of a cluster answers, over plain HTTP with the cluster's token. Needs no Ray."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from azray_lab.errors import ClusterLostError

if TYPE_CHECKING:
    from azray_lab.targets.base import Endpoint

_SECONDS = 5.0
# Ray's state API answers at most this many rows a request (RAY_MAX_LIMIT_FROM_API_SERVER, 10,000).
_LIMIT = 10_000
_OPEN_TASKS = "&".join(
    f"filter_keys=state&filter_predicates=%21%3D&filter_values={state}" for state in ("FINISHED", "FAILED")
)


def get(endpoint: Endpoint, path: str, *, seconds: float = _SECONDS) -> Any:
    """The JSON that `path` answers; ClusterLostError when nothing answers in time or the answer is an error."""
    url = urlsplit(endpoint.dashboard_url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=seconds)
    try:
        connection.request("GET", path, headers=endpoint.headers())
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise ClusterLostError(
            f"the dashboard at {endpoint.dashboard_url} does not answer",
            cause=str(error) or type(error).__name__,
            next_step="azray status",
        ) from error
    finally:
        connection.close()
    if answer.status != http.client.OK:
        cause = f"HTTP {answer.status} {body[:200].decode(errors='replace')}"
        raise ClusterLostError(f"the dashboard refuses {path}", cause=cause, status=answer.status)
    return json.loads(body)


def session_name(endpoint: Endpoint, *, seconds: float = 1.0) -> str:
    """The Ray session that the dashboard serves; it answers as soon as the dashboard is up."""
    return str(get(endpoint, "/api/version", seconds=seconds)["session_name"])


def _rows(answer: Any) -> list[dict[str, Any]]:
    return list(answer["data"]["result"]["result"])


def nodes(endpoint: Endpoint, *, seconds: float = _SECONDS) -> list[dict[str, Any]]:
    """Ray's nodes: `node_id`, `node_name`, `node_ip`, `state`, `resources_total`, `labels`. One request."""
    return _rows(get(endpoint, f"/api/v0/nodes?limit={_LIMIT}", seconds=seconds))


def summary(endpoint: Endpoint, *, seconds: float = _SECONDS) -> dict[str, Any]:
    """What nodes report of themselves (`summary`), and what tasks hold on each (`nodeLogicalResources`).

    One request; about 14 kB a node, which the dashboard keeps for 2 s.
    """
    return dict(get(endpoint, "/nodes?view=summary", seconds=seconds)["data"])


def work(endpoint: Endpoint) -> str:
    """What keeps the cluster busy, in words; an empty string when it idles. Up to three requests.

    Drivers and submitted jobs first, then actors that outlive their job, then tasks.
    """
    jobs = get(endpoint, "/api/jobs/")
    running = [job for job in jobs if job.get("status") in {"RUNNING", "PENDING"}]
    if running:
        return f"{len(running)} jobs or connected drivers"
    actors = _rows(get(endpoint, f"/api/v0/actors?limit={_LIMIT}"))
    alive = [actor for actor in actors if actor.get("state") != "DEAD"]
    if alive:
        return f"{len(alive)} actors"
    open_tasks = _rows(get(endpoint, f"/api/v0/tasks?limit=1&{_OPEN_TASKS}"))
    return f"{len(open_tasks)} tasks" if open_tasks else ""
