"""What the nodes of a local cluster have in use, out of one answer of Ray's dashboard."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from azray_lab.targets.base import READ_SECONDS, Amount, NodeUsage, Usage
from azray_lab.targets.local import dashboard

if TYPE_CHECKING:
    from azray_lab.targets.base import Endpoint

# A line of `nodeLogicalResources`, such as ` 0.5/2.0 GPU` (`parse_usage`, ray/autoscaler/_private/util.py, 2.60).
_HELD = re.compile(r"^\s*([\d.]+)/([\d.]+) (CPU|GPU)\b", re.MULTILINE)


def read(endpoint: Endpoint, *, seconds: float = READ_SECONDS) -> Usage:
    """What each living node has in use; ClusterLostError when nothing answers in `seconds`. One request."""
    answer = dashboard.summary(endpoint, seconds=seconds)
    held = answer.get("nodeLogicalResources") or {}
    alive = [row for row in answer["summary"] if row.get("raylet", {}).get("state") == "ALIVE"]
    return Usage(tuple(_node(row, held.get(row["raylet"]["nodeId"], "")) for row in alive))


def _node(row: dict[str, Any], held: str) -> NodeUsage:
    raylet = row["raylet"]
    counts = {kind: Amount(float(used), float(total)) for used, total, kind in _HELD.findall(held)}
    load = row.get("cpu")
    return NodeUsage(
        name=str(raylet["nodeName"]),
        host=str(raylet.get("nodeManagerHostname", "")),
        cpu=counts.get("CPU"),
        gpu=counts.get("GPU"),
        memory=_memory(row.get("mem")),
        object_store=_store(raylet),
        load=None if load is None else float(load),
    )


def _memory(values: list[float] | None) -> Amount | None:
    """From total, available, percent and used: what is not available is in use, as Ray's memory monitor counts."""
    return Amount(values[0] - values[1], values[0]) if values else None


def _store(raylet: dict[str, Any]) -> Amount | None:
    # Both are zero before the node's first report.
    used, free = float(raylet.get("objectStoreUsedMemory") or 0), float(raylet.get("objectStoreAvailableMemory") or 0)
    return Amount(used, used + free) if used + free else None
