"""The plan: what `up` would create, before anything is created."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azray_lab import registry, views
from azray_lab.cluster import timings
from azray_lab.cluster.targets import target

if TYPE_CHECKING:
    from azray_lab.spec.models import ClusterSpec
    from azray_lab.targets.base import TargetPlan

_COLUMNS = ("node", "group", "resources")


@dataclass(frozen=True)
class Plan:
    """What `up` would do: `action` is create, nothing, change, scale, repair, replace or wait."""

    name: str
    target: str
    action: str
    changes: tuple[str, ...]
    body: TargetPlan
    expected_seconds: float | None

    @property
    def exit_code(self) -> int:
        """1 where `up` would fail: something blocks it, or the cluster would have to be replaced; else 0."""
        return 1 if self.body.blockers or self.action == "replace" else 0

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain JSON, with the exact command of each node."""
        return {
            "name": self.name,
            "target": self.target,
            "action": self.action,
            "changes": list(self.changes),
            "expected_seconds": self.expected_seconds,
            **self.body.to_dict(),
        }

    def _lines(self) -> list[str]:
        took = f", about {views.seconds(self.expected_seconds)}" if self.expected_seconds else ""
        lines = [f"{self.name} on {self.target}: {self.action}{took}"]
        lines += [f"  change: {change}" for change in self.changes]
        lines += [f"  blocked: {blocker}" for blocker in self.body.blockers]
        return lines + [f"  note: {note}" for note in self.body.notes]

    def _rows(self) -> list[tuple[str, str, str]]:
        return [(n.name, n.group, views.resources(n.resources, n.labels)) for n in self.body.nodes]

    def __str__(self) -> str:
        table = views.aligned([[c.upper() for c in _COLUMNS], *self._rows()]) if self.body.nodes else []
        return "\n".join([*self._lines(), *(f"  {line}" for line in table)])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        said = "".join(f"<p>{views.escape(line.strip())}</p>" for line in self._lines())
        return views.frame(said + views.table_html("nodes", _COLUMNS, self._rows()))


def plan(spec: ClusterSpec) -> Plan:
    """What `up` would do with `spec` now; costs no request. UnsupportedError for a target of a later version."""
    action, changes = _action(spec)
    seconds = sum(timings.expected(spec.target, len(spec.node_names())).values())
    expected = seconds if action in {"create", "repair"} and seconds else None
    return Plan(spec.name, spec.target, action, changes, target(spec.target).plan(spec), expected)


def _action(spec: ClusterSpec) -> tuple[str, tuple[str, ...]]:
    from azray_lab.cluster.changes import kept, replacements
    from azray_lab.spec.models import ClusterSpec

    handle = registry.handle_or_none(spec.name)
    if handle is None:
        return "create", ()
    state = target(handle.target).state(handle)
    if state != "running":
        waits = state in {"starting", "stopping"}
        words = f"the cluster is {state}" + ("; `up` waits until that has ended" if waits else "")
        return "wait" if waits else "repair", (words,)
    old = ClusterSpec.model_validate(handle.spec)
    spec = kept(old, spec)
    if changes := replacements(old, spec):
        return "replace", tuple(changes)
    if old == spec:
        return "nothing", ()
    if old.node_names() == spec.node_names():
        return "change", ("the lease",)
    counts = f"nodes: {len(old.node_names())} -> {len(spec.node_names())}"
    return "scale", (counts,)
