"""Which cell shows which widgets, so that those of an output that is replaced are closed.

A kernel is never told that an output is gone for good: a page that is closed shows the same widgets when it is opened
again. But a cell that has run again shows only what it has shown this time.
"""

from __future__ import annotations

import threading
from typing import Protocol
from weakref import WeakKeyDictionary

from IPython import get_ipython

# Front ends that do not name the cell (`cellId` in a request's metadata, as JupyterLab, Notebook 7 and VS Code do): of
# the widgets that none of them has ever drawn, so many of the last are kept.
_UNSEEN = 16


class Shown(Protocol):
    """A widget that can be closed; `seen` once a front end has drawn it."""

    @property
    def seen(self) -> bool: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


_guard = threading.Lock()
# By cell: its widgets, each with the execution that showed it last, in their order.
_cells: dict[str, WeakKeyDictionary[Shown, str]] = {}
_listening: set[int] = set()


def shows(widget: Shown) -> None:
    """Notes that the cell that runs shows `widget`. Does nothing where there is no kernel, or in another thread."""
    cell, execution = _running()
    if execution:
        with _guard:
            _cells.setdefault(cell, WeakKeyDictionary())[widget] = execution
        _listen()


def _running() -> tuple[str, str]:
    """The cell that runs, empty where the front end does not name it, and the request that runs it."""
    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None or threading.current_thread() is not threading.main_thread():
        return "", ""
    parent = kernel.get_parent()
    return str(parent.get("metadata", {}).get("cellId") or ""), str(parent.get("header", {}).get("msg_id", ""))


def _listen() -> None:
    shell = get_ipython()
    if id(shell) not in _listening:
        _listening.add(id(shell))
        shell.events.register("post_run_cell", _after)


def _after(_result: object) -> None:
    """After each cell: closes what it showed when it ran before, and what it has not shown again."""
    for widget in _replaced(*_running()):
        widget.close()


def _replaced(cell: str, execution: str) -> list[Shown]:
    with _guard:
        shown = _cells.get(cell, WeakKeyDictionary())
        if cell:
            old = [widget for widget, by in shown.items() if by != execution]
        else:
            old = [widget for widget in shown if not widget.seen][:-_UNSEEN]
        for widget in old:
            del shown[widget]
        # A widget may stand in several cells.
        return [widget for widget in old if not any(widget in others for others in _cells.values())]
