"""What differs between the spec that is wanted and the one that a cluster was made with, and what can be done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from azray_lab.errors import ReplaceRequiredError

if TYPE_CHECKING:
    from azray_lab.spec.models import ClusterSpec

# What changes in place: how many nodes a group has, and the lease.
_COUNTS = ("count", "min", "max")


def kept(old: ClusterSpec, new: ClusterSpec) -> ClusterSpec:
    """`new` with the workers and the lease that run where it says nothing of them: what is not asked for stays."""
    unsaid = {field: getattr(old, field) for field in ("workers", "lease") if field not in new.model_fields_set}
    return new.model_copy(update=unsaid)


def replacements(old: ClusterSpec, new: ClusterSpec) -> list[str]:
    """The changes that need a new cluster, each as `head.cpus: 2 -> 4`."""
    return list(_differences(_fixed(old), _fixed(new)))


def _fixed(spec: ClusterSpec) -> dict[str, Any]:
    """The part of a spec that cannot be changed in place; worker groups by name, since groups come and go."""
    data = spec.model_dump(mode="json", exclude={"workers", "lease"})
    data["workers"] = {g.name: g.model_dump(mode="json", exclude=set(_COUNTS)) for g in spec.workers}
    return data


def _differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        # A worker group that only one of them has is started or ended, which needs no new cluster.
        keys = old.keys() & new.keys() if path == "workers" else old.keys() | new.keys()
        for key in sorted(keys):
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif old != new:
        yield f"{path}: {_shown(old)} -> {_shown(new)}"


def _shown(value: Any) -> str:
    return "unset" if value is None else str(value)


def check(old: ClusterSpec, new: ClusterSpec) -> None:
    """ReplaceRequiredError that lists what would have to be replaced, where anything would."""
    if changes := replacements(old, new):
        raise ReplaceRequiredError(
            f"cluster {new.name} runs with another spec",
            cause="; ".join(changes),
            next_step=f"azray down {new.name} --yes and azray up again, or azray up with another --name",
            changes=changes,
        )
