"""Ending a local cluster: every process, both folders, and the proof. For `down`, failed starts and the watchdog."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from azray_lab.errors import DeadlineError, LeftoverError
from azray_lab.targets.base import ProcessId
from azray_lab.targets.local.folders import Folders
from azray_lab.targets.local.mounts import unmount_all
from azray_lab.targets.local.processes import end, marked

if TYPE_CHECKING:
    from azray_lab.operation import Operation
    from azray_lab.targets.base import Handle

# Actors and replicas get so long for their own clean-up.
GRACE_SECONDS = 3.0
_KILL_SECONDS = 20.0


def sessions(handle: Handle) -> list[int]:
    """The sessions in which the cluster's nodes were started."""
    return [int(node["session"]) for node in handle.details.get("nodes", {}).values() if node.get("session")]


def processes(handle: Handle) -> list[psutil.Process]:
    """Every living process of the cluster, except the one that asks."""
    return marked(handle.id, sessions(handle))


def end_processes(find: Callable[[], list[psutil.Process]], operation: Operation[Any], *, who: str) -> None:
    """SIGTERM, a grace period, then SIGKILL until `find` finds none; LeftoverError names what does not die."""
    end(find())
    # New processes may be born while the old ones die, so each look asks afresh.
    began = time.monotonic()

    def gone() -> bool:
        left = find()
        if left and time.monotonic() - began > GRACE_SECONDS:
            end(left, kill=True)
        return not left

    def reason() -> str:
        return f"{len(find())} processes of {who} are ending"

    try:
        operation.wait_for(gone, reason=reason, seconds=GRACE_SECONDS + _KILL_SECONDS, interval=0.05)
    except DeadlineError as error:
        raise _left(who, find()) from error


def _left(who: str, left: Iterable[psutil.Process]) -> LeftoverError:
    names = list(named(left))
    return LeftoverError(f"{who} still has processes", cause=", ".join(names), next_step="azray down again", left=names)


def named(found: Iterable[psutil.Process]) -> tuple[str, ...]:
    """Those of the processes that live still, each as `pid name`."""
    names = []
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            names.append(f"{process.pid} {process.name()}")
    return tuple(names)


def remove(handle: Handle, operation: Operation[Any], *, keep_state: bool = False) -> None:
    """Ends the cluster's processes and removes its folders; with `keep_state` the small lasting files stay."""
    folders = Folders.of(handle)
    watchdog = handle.details.get("watchdog")
    if watchdog and ProcessId(**watchdog).alive():
        # First, so that it does not take the end of the head for a loss.
        end([p for p in processes(handle) if p.pid == watchdog["pid"]])
    end_processes(lambda: processes(handle), operation, who=f"cluster {handle.name}")
    unmount_all(handle, operation)
    doomed = [folders.runtime] if keep_state else [folders.runtime, folders.state]
    for folder in doomed:
        _remove_folder(folder)
    prove(handle, doomed)


def _remove_folder(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def prove(handle: Handle, doomed: Iterable[Path]) -> None:
    """LeftoverError unless no process and none of the folders is left."""
    if left := processes(handle):
        raise _left(f"cluster {handle.name}", left)
    if folders := [str(folder) for folder in doomed if folder.exists()]:
        raise LeftoverError(
            f"cluster {handle.name} still has folders",
            cause=", ".join(folders),
            next_step=f"rm -r {' '.join(folders)}",
            left=folders,
        )
