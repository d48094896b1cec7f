"""Asking a dashboard for Ray's state: rows of the State API, and answers that are not there as our errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azray_lab.errors import ClusterLostError
from azray_lab.jobs.dashboard import NotThereError

if TYPE_CHECKING:
    from azray_lab.jobs.dashboard import Dashboard

# Ray's answer to one request has at most this many rows (RAY_MAX_LIMIT_FROM_API_SERVER, 2.60).
_LIMIT = 10_000


def get(dashboard: Dashboard, path: str, **query: Any) -> Any:
    """The JSON answer; ClusterLostError also for a part of the dashboard that is not up."""
    try:
        return dashboard.json("GET", path, **query)
    except NotThereError as error:
        raise ClusterLostError(
            f"the cluster's dashboard has no {path}",
            cause="it is starting, or a part of it has ended",
            next_step="azray status",
        ) from error


def rows(dashboard: Dashboard, what: str, *, state: str = "") -> list[dict[str, Any]]:
    """The rows of one kind (`nodes`, `actors`, `tasks`) in detail; only those in `state` where it is given."""
    wanted = {"filter_keys": "state", "filter_predicates": "=", "filter_values": state} if state else {}
    answer = get(dashboard, f"/api/v0/{what}", detail=1, limit=_LIMIT, **wanted)
    return list(part(answer, what, "data", "result", "result"))


def part(answer: Any, what: str, *keys: str) -> Any:
    """What stands below `keys` in an answer; ClusterLostError for an answer of another form than Ray's."""
    for key in keys:
        if not isinstance(answer, dict) or key not in answer:
            raise ClusterLostError(
                f"the cluster's dashboard answers in another form than Ray's when it is asked for {what}",
                cause="another program has its port, or it is of another version of Ray",
                next_step="azray status",
            )
        answer = answer[key]
    return answer
