"""Which target serves a spec or a handle: the one visible list of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azray_lab.errors import UnsupportedError
from azray_lab.targets.local.target import LocalTarget

if TYPE_CHECKING:
    from azray_lab.targets.base import Target

_TARGETS: dict[str, type[LocalTarget]] = {"local": LocalTarget}
_LATER = {"dsvm": "Azure Data Science VMs", "aks": "Azure Kubernetes Service"}


def target(kind: str) -> Target:
    """The target of that kind; UnsupportedError for one that this version does not have yet."""
    if kind in _TARGETS:
        return _TARGETS[kind]()
    raise UnsupportedError(
        f"the target {kind!r} is not in this version",
        cause=f"{_LATER.get(kind, 'it')} comes with a later one; its specs are checked already",
        next_step="target: local",
        target=kind,
    )


def every_target() -> list[Target]:
    """All targets of this version."""
    return [kind() for kind in _TARGETS.values()]
