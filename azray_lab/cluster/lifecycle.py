"""Making, finding, scaling and ending clusters: each a task whose operation a face can draw."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from azray_lab import registry, views
from azray_lab.cluster.live import Cluster
from azray_lab.cluster.targets import every_target, target
from azray_lab.errors import RegistryError
from azray_lab.operation import Operation, Task
from azray_lab.targets.base import ProcessId

if TYPE_CHECKING:
    from azray_lab.planning import Plan
    from azray_lab.spec.loading import Source
    from azray_lab.spec.models import ClusterSpec
    from azray_lab.targets.base import Handle, State, Target

_log = logging.getLogger("azray_lab")


def up(spec: Source | None = None, **overrides: Any) -> Cluster:
    """A running cluster as `spec` says, made now or found running; costs seconds when it is made.

    `spec` is a path, a mapping, a ClusterSpec, or None for `azray.yaml` and the environment; `overrides` are its
    fields (`name="a", workers=2, lease={"idle": "30m"}`). In a notebook with widgets its card shows at once. Raises
    SpecError, StartError, ReplaceRequiredError.
    """
    from azray_lab.spec.loading import load

    task = up_operation(load(spec, arguments=overrides).spec)
    views.show(task)
    return task.run()


def plan_for(spec: Source | None = None, **overrides: Any) -> Plan:
    """What `up` with the same arguments would make; makes nothing."""
    from azray_lab.planning import plan
    from azray_lab.spec.loading import load

    return plan(load(spec, arguments=overrides).spec)


def attach(name: str) -> Cluster:
    """The registered cluster of that name, whatever its state; one that only its processes know is registered again."""
    try:
        return Cluster(registry.get(name))
    except registry.UnknownClusterError:
        for handle in _unregistered():
            if handle.name == name:
                registry.save(handle)
                return Cluster(handle)
        raise


def _unregistered() -> list[Handle]:
    known = set(registry.names())
    return [handle for place in every_target() for handle in place.find() if handle.name not in known]


def clusters() -> list[Cluster]:
    """All registered clusters, and those found running that nobody registered."""
    for handle in _unregistered():
        _log.warning("cluster %s was not registered; it was found by its processes", handle.name)
        registry.save(handle)
    return [Cluster(handle) for handle in registry.handles()]


def overview() -> list[tuple[Handle, State]]:
    """All registered handles with their state by processes and files, without a request; for lists.

    One that lacks what its target needs is left out with a warning, so that the others are seen.
    """
    places = {place.kind: place for place in every_target()}
    found = [(h, _state(places[h.target], h)) for h in registry.handles() if h.target in places]
    return [(handle, state) for handle, state in found if state is not None]


def _state(place: Target, handle: Handle) -> State | None:
    try:
        return place.state(handle)
    except RegistryError as error:
        _log.warning("%s", error)
        return None


def up_operation(spec: ClusterSpec) -> Task[Cluster]:
    """The task that brings a cluster to what `spec` says; nothing happens before it is run or started."""
    from azray_lab.cluster import timings

    place = target(spec.target)
    expected = timings.expected(spec.target, _size(spec))
    operation: Operation[Cluster] = Operation(f"up {spec.name}", expected=expected, subject=spec.name)

    def work(operation: Operation[Cluster]) -> Cluster:
        operation.cancel_when(lambda: asked_to_stop(spec.name))
        with registry.lock(spec.name, operation):
            return _up(spec, place, operation)

    return Task(operation, work)


def _size(spec: ClusterSpec) -> int:
    return len(spec.node_names())


def asked_to_stop(name: str) -> str | None:
    """Why an `up` of that cluster must stop, when a living process asks for it; None otherwise."""
    request = registry.cancel_requested(name)
    if request and ProcessId(int(request["pid"]), float(request["started"])).alive():
        return f"`azray down {name}` was called (process {request['pid']})"
    return None


def _up(spec: ClusterSpec, place: Any, operation: Operation[Any]) -> Cluster:
    from azray_lab.cluster import changes, timings
    from azray_lab.spec.models import ClusterSpec

    handle = registry.handle_or_none(spec.name)
    state = target(handle.target).state(handle) if handle else None
    if handle and state == "running":
        old = ClusterSpec.model_validate(handle.spec)
        spec = changes.kept(old, spec)
        changes.check(old, spec)
        if old == spec and place.status(handle).state == "running":
            return Cluster(handle)
    elif handle and handle.target != spec.target:
        target(handle.target).down(handle, operation)
        handle = None
    try:
        made = place.up(spec, handle, operation, registry.save)
    except BaseException:
        _forget_unless_there(spec.name, before=handle)
        raise
    if state != "running":
        timings.remember(spec.target, _size(spec), operation.timeline)
    return Cluster(made)


def _forget_unless_there(name: str, before: Handle | None) -> None:
    """Drops the handle of a start that failed and removed what it made.

    Keeps that of a cluster that still runs, and that of `before`, which tells why it is lost.
    """
    handle = registry.handle_or_none(name)
    if handle is None or (before and handle.id == before.id):
        return
    if target(handle.target).state(handle) != "running":
        registry.forget(name)
