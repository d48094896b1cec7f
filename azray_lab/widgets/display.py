"""How a kernel shows clusters, tasks and reports on GPUs: live, where somebody sits before a front end with widgets."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from IPython import get_ipython
from IPython.display import display

from azray_lab.cluster import Cluster
from azray_lab.hardware import GpuReport
from azray_lab.operation import Task

if TYPE_CHECKING:
    from azray_lab.widgets.live import Live

# What each cell has shown, so that its value is not shown twice: by the cell's message.
_shown: dict[str, set[str]] = {}


def interactive() -> bool:
    """Whether a person sits before this kernel.

    Front ends that do offer to answer `input()` with each cell (`allow_stdin` of Jupyter's messaging protocol);
    papermill, nbmake and nbconvert do not.
    """
    kernel = getattr(get_ipython(), "kernel", None)
    return bool(getattr(kernel, "_allow_stdin", False))


def show(value: Any) -> bool:
    """Shows `value` live below the cell that runs; false when it is nothing of ours, or nobody sees widgets here.

    True without another card when this cell has shown one of this cluster already.
    """
    key = _key(value)
    if not key or not interactive() or threading.current_thread() is not threading.main_thread():
        return False
    cell = _cell()
    if key not in _shown.get(cell, set()):
        # Only the cell that runs can show something again.
        kept = {cell: _shown.get(cell, set()) | {key}}
        _shown.clear()
        _shown.update(kept)
        display(_widget(value))  # type: ignore[no-untyped-call]
    return True


def _key(value: Any) -> str:
    """What `value` is about; empty for what has no widget."""
    if isinstance(value, Cluster):
        return value.name
    if isinstance(value, GpuReport):
        return f"gpus/{value.where}" if value.live else ""
    return value.operation.subject if isinstance(value, Task) else ""


def _widget(value: Cluster | Task[Any] | GpuReport) -> Live:
    from azray_lab.widgets.card import card_for
    from azray_lab.widgets.gpu_chart import GpuChart

    return GpuChart(value) if isinstance(value, GpuReport) else card_for(value)


def _cell() -> str:
    parent: Any = get_ipython().kernel.get_parent()
    return str(parent.get("header", {}).get("msg_id", ""))
