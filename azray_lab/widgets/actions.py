"""What the buttons of a card do: calls into the session layer, each in a thread of its own, its errors in the card."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from azray_lab import jobs
from azray_lab.widgets.feed import ACTION
from azray_lab.widgets.texts import say

if TYPE_CHECKING:
    from azray_lab.widgets.cluster import ClusterSource

EXTENSION = "1h"


def act(source: ClusterSource, message: Mapping[str, Any]) -> bool:
    """Begins what a button asks for; False when there is no such action or it is under way already.

    Safe from any thread, and returns at once: front ends call it while a cell runs.
    """
    action = str(message.get("do"))
    if action == "dismiss":
        source.tell(None)
        return True
    work = _ACTIONS.get(action)
    if work is None or not source.begin(action):
        return False
    threading.Thread(target=_run, args=(source, action, work, message), name=f"{ACTION}-{action}", daemon=True).start()
    return True


def _run(source: ClusterSource, action: str, work: Callable[..., None], message: Mapping[str, Any]) -> None:
    try:
        work(source, message)
    except Exception as error:  # noqa: BLE001 - nobody else would see it: the card does
        source.tell(error)
    finally:
        source.end(action)


def _extend(source: ClusterSource, _message: Mapping[str, Any]) -> None:
    source.cluster.extend(EXTENSION)


def _scale(source: ClusterSource, message: Mapping[str, Any]) -> None:
    task = source.cluster.scale_operation(int(message["workers"]))
    source.follow(task.operation)
    task.run()


def _down(source: ClusterSource, _message: Mapping[str, Any]) -> None:
    task = source.cluster.down_operation()
    source.follow(task.operation)
    task.run()


def _stop(source: ClusterSource, message: Mapping[str, Any]) -> None:
    jobs.stop(source.cluster.endpoint, str(message["job"]))


def _cancel(source: ClusterSource, _message: Mapping[str, Any]) -> None:
    if (operation := source.operation) is not None:
        operation.cancel(say("operation.cancelled"))
        operation.wait(_CANCEL_SECONDS)


# How long a card says that it cancels; the operation itself goes on cleaning up.
_CANCEL_SECONDS = 60.0
_ACTIONS: dict[str, Callable[..., None]] = {
    "extend": _extend,
    "scale": _scale,
    "down": _down,
    "stop": _stop,
    "cancel": _cancel,
}
