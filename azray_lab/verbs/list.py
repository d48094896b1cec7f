"""The verb `list`: the clusters that are registered here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from azray_lab import views
from azray_lab.cluster import overview
from azray_lab.verbs.face import Face, pass_face, verb

if TYPE_CHECKING:
    from azray_lab.registry import Handle

_COLUMNS = ("name", "target", "state", "age", "address")
_ANSWERING = ("running", "degraded")


@verb("list", example="azray list\nazray list --json")
@pass_face
def command(face: Face) -> views.Table:
    """List the clusters that are registered here.

    Their state is read from processes, not asked of the clusters, so that it is quick with a thousand of them;
    `azray status NAME` asks one.
    """
    del face
    found = overview()
    title = "clusters" if found else "no clusters; azray up makes one"
    now = time.time()
    return views.Table(title, _COLUMNS, [_row(*one, now) for one in found], [_data(*one) for one in found])


def _row(handle: Handle, state: str, now: float) -> tuple[str, ...]:
    address = handle.address if state in _ANSWERING else ""
    return handle.name, handle.target, state, views.seconds(max(now - handle.created, 0.0)), address


def _data(handle: Handle, state: str) -> dict[str, object]:
    return {
        "name": handle.name,
        "target": handle.target,
        "state": state,
        "created": handle.created,
        "address": handle.address if state in _ANSWERING else "",
        "dashboard_url": handle.dashboard_url if state in _ANSWERING else "",
    }
