"""How a kernel shows clusters and tasks: as cards where somebody sits before a front end with widgets."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from IPython import get_ipython
from IPython.display import display

from azray_lab.cluster import Cluster
from azray_lab.operation import Task

if TYPE_CHECKING:
    from azray_lab.widgets.card import Card

# The cards that each cell has shown, so that its value is not shown twice: (cell's message, cluster).
_shown: dict[str, set[str]] = {}


def interactive() -> bool:
    """Whether a person sits before this kernel.

    Front ends that do offer to answer `input()` with each cell (`allow_stdin` of Jupyter's messaging protocol);
    papermill, nbmake and nbconvert do not.
    """
    kernel = getattr(get_ipython(), "kernel", None)
    return bool(getattr(kernel, "_allow_stdin", False))


def show(value: Any) -> bool:
    """Shows `value` as a card below the cell that runs; false when it is no cluster, or nobody sees widgets here.

    True without another card when this cell has shown one of this cluster already.
    """
    name = _name(value)
    if not name or not interactive() or threading.current_thread() is not threading.main_thread():
        return False
    cell = _cell()
    if name not in _shown.get(cell, set()):
        from azray_lab.widgets.card import card_for

        card: Card = card_for(value)
        # Only the cell that runs can show something again.
        kept = {cell: _shown.get(cell, set()) | {name}}
        _shown.clear()
        _shown.update(kept)
        display(card)  # type: ignore[no-untyped-call]
    return True


def _name(value: Any) -> str:
    if isinstance(value, Cluster):
        return value.name
    return value.operation.subject if isinstance(value, Task) else ""


def _cell() -> str:
    parent: Any = get_ipython().kernel.get_parent()
    return str(parent.get("header", {}).get("msg_id", ""))
