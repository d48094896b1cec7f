"""Which cluster a verb means: the one that was named, that of AZRAY_CLUSTER, or the only one there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azray_lab import registry
from azray_lab.errors import UsageError
from azray_lab.spec import settings

if TYPE_CHECKING:
    from azray_lab.cluster import Cluster


def choose(name: str | None) -> str:
    """The name of the cluster that is meant; UsageError when there is none or more than one to choose from."""
    if meant := name or settings.default_cluster():
        return meant
    known = registry.names()
    if len(known) == 1:
        return known[0]
    if not known:
        raise UsageError("there is no cluster", next_step="azray up")
    raise UsageError("name the cluster", cause=f"there are {len(known)}", next_step="azray list", known=known)


def find(name: str | None) -> Cluster:
    """The cluster that is meant; UnknownClusterError, with the nearest name, when it is not registered."""
    from azray_lab.cluster import attach

    return attach(choose(name))


def environment(cluster: Cluster) -> dict[str, str]:
    """The variables with which Ray's own tools, and `azray` without a name, find and may use `cluster`.

    They name the file that holds the token, never the token, and never the cluster's id: `down` ends the processes that
    carry it, and a user's shell is not one of them.
    """
    return {**cluster.endpoint.environment(), "AZRAY_CLUSTER": cluster.name}
