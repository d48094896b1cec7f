"""Which cluster a verb means: the one that was named, or the only one there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azray_lab import registry
from azray_lab.errors import UsageError

if TYPE_CHECKING:
    from azray_lab.cluster import Cluster


def choose(name: str | None) -> str:
    """The name of the cluster that is meant; UsageError when there is none or more than one to choose from."""
    if name:
        return name
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
