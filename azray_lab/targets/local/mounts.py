"""The mounts of a local cluster: made before its nodes start, watched, gone when it ends. All nodes see one folder."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.errors import AzRayError, LeftoverError
from azray_lab.storage.blobfuse import mountinfo
from azray_lab.storage.blobfuse.health import quick, state_of
from azray_lab.storage.blobfuse.records import Records, place
from azray_lab.targets.base import MountStatus

if TYPE_CHECKING:
    from azray_lab.operation import Operation
    from azray_lab.spec.models import ClusterSpec
    from azray_lab.storage.blobfuse.records import Record
    from azray_lab.targets.base import Handle

# Ray's list of plugins that its nodes load (ray/_private/runtime_env/constants.py, 2.60), and ours.
PLUGINS = "RAY_RUNTIME_ENV_PLUGINS"
_PLUGIN = {"class": "azray_lab.storage.blobfuse.ray_plugin.MountPlugin"}
# How long `down` waits for files that somebody else has open below a mount, in seconds.
_OPEN_SECONDS = 5.0
# Before a mount that could not be brought back, or was lost again, is tried again, in seconds.
_FIRST_PAUSE, _LAST_PAUSE = 5.0, 300.0
# Before the log says again that a signature is gone, in seconds.
_SIGNED_PAUSE = 3600.0


def paths(spec: ClusterSpec) -> list[str]:
    """Where the mounts of `spec` appear."""
    return [place(mount.path) for mount in spec.mounts]


def plugins(present: str) -> str:
    """The value of PLUGINS by which tasks can ask for mounts, beside the plugins that are named already."""
    try:
        others = json.loads(present or "[]")
    except ValueError:  # Ray will say so to whoever set it
        return present
    return json.dumps([*(one for one in others if one != _PLUGIN), _PLUGIN])


def plan(spec: ClusterSpec, environment: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """What to say of the mounts of `spec` before they are made: notes, and what stands against them."""
    if not spec.mounts:
        return [], []
    from azray_lab.storage.blobfuse.request import obstacle

    notes = [f"mount {mount.path}: {mount.uri} as {mount.profile}" for mount in spec.mounts]
    problem = obstacle(environment)
    if problem is None:
        return notes, []
    in_need = [m for m in spec.mounts if m.engine != "hydrate" and m.fallback == "none"]
    # A data set of many small files needs no FUSE; whether it is one, `up` finds out.
    blocked = [m for m in in_need if m.engine == "blobfuse2" or m.profile != "dataset"]
    notes += [f"mount {m.path}: will be a read-only copy: {problem}" for m in spec.mounts if m.fallback == "copy"]
    return notes, [f"mount {mount.path}: {problem}" for mount in blocked]


def mount_all(spec: ClusterSpec, owner: str, environment: Mapping[str, str], operation: Operation[Any]) -> None:
    """Mounts what `spec` asks for and is not there, one after the other; the error of the first that cannot be."""
    from azray_lab.storage.blobfuse.mounts import Mounts
    from azray_lab.storage.blobfuse.request import from_spec

    door = Mounts(environ={**environment, **spec.env})
    there = {record.path for record in Records() if owner in record.owners and quick(record) == "mounted"}
    for mount in spec.mounts:
        if place(mount.path) not in there:
            door.mount(from_spec(mount, owner), operation)


def unmount_all(handle: Handle, operation: Operation[Any]) -> None:
    """Unmounts what the cluster was the last to use; LeftoverError names what stays.

    What others have open below one is told; it is written when they close it, and then its process ends.
    """
    left = [record for record in _records(handle) if not _unmounted(record, handle.id, operation)]
    if left:
        names = [record.path for record in left]
        raise LeftoverError(
            f"cluster {handle.name} still has mounts",
            cause=", ".join(names),
            next_step=f"azray unmount {names[0]} --lazy",
            left=names,
        )


def _unmounted(record: Record, owner: str, operation: Operation[Any]) -> bool:
    from azray_lab.storage.blobfuse.mounts import Mounts

    door = Mounts()
    try:
        gone = door.unmount(record.path, operation, owner=owner, wait=_OPEN_SECONDS)
    except AzRayError as error:
        operation.note(f"{error.message}: {error.cause}; it goes when that is closed")
        gone = door.unmount(record.path, operation, owner=owner, lazy=True)
    return not gone or mountinfo.at(record.path) is None


def _records(handle: Handle) -> list[Record]:
    """The mounts that the cluster uses: those of its spec, and those that tasks asked for."""
    return [record for record in Records() if handle.id in record.owners]


def states(handle: Handle) -> tuple[MountStatus, ...]:
    """How the cluster's mounts are; at most five seconds for each that does not answer."""
    records = _records(handle)
    wanted = dict.fromkeys([*handle.details.get("mounts", ()), *(record.path for record in records)])
    if not wanted:
        return ()
    found = {record.path: record for record in records}
    return tuple(
        MountStatus(path, one.uri, one.profile, one.engine, *state_of(one), one.why, one.read_only)
        if (one := found.get(path))
        else MountStatus(path, state="gone", reason="it was unmounted")
        for path in wanted
    )


class Mender:
    """Brings back mounts whose process has died: each in a process of its own, so that the watchdog never waits.

    The pause before the next try doubles, from 5 seconds to 5 minutes; a mount that stays is forgotten. What
    was opened by a signature is tried once an hour, which says in the log what to do. `table` is the kernel's mounts.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, table: Path = mountinfo.TABLE) -> None:
        self._table = table
        self.at_work: dict[str, subprocess.Popen[bytes]] = {}
        self._clock = clock
        self._pauses: dict[str, tuple[float, float]] = {}  # by path: the pause in seconds, and when it is over

    def look(self, handle: Handle) -> list[str]:
        """Starts the mending of what needs it, and returns those paths. Costs a look at /proc for each mount."""
        begun, now = [], self._clock()
        for record in _records(handle):
            busy = self.at_work.get(record.path)
            if (busy is not None and busy.poll() is None) or record.ending or Records().busy(record):
                continue
            pause, over = self._pauses.get(record.path, (_FIRST_PAUSE / 2, now))
            if now < over:
                continue
            if quick(record, self._table) == "mounted":
                self._pauses.pop(record.path, None)
                continue
            lost = record.signed and record.engine == "blobfuse2"
            pause = _SIGNED_PAUSE if lost else min(2 * pause, _LAST_PAUSE)
            self._pauses[record.path] = (pause, now + pause)
            command = [sys.executable, "-m", "azray_lab.storage.blobfuse.mending", record.path, str(self._table)]
            self.at_work[record.path] = subprocess.Popen(command, stdin=subprocess.DEVNULL)
            begun.append(record.path)
        return begun
