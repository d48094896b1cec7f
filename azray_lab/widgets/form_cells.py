"""Which forms each cell shows: those that it showed before are closed when it is run again."""

from __future__ import annotations

import threading
from typing import Any, Protocol

from IPython import get_ipython

_lock = threading.Lock()


class Closable(Protocol):
    """What a cell shows."""

    def close(self) -> None:
        """Ends it."""
        ...


# By the cell's id in its notebook: the message that ran it last, and what that run has shown.
_shown: dict[str, tuple[str, list[Closable]]] = {}


def note(form: Closable) -> None:
    """Notes that the running cell shows `form`, and closes what its former run showed and no other cell shows.

    Does nothing where the front end names no cell, as a console.
    """
    cell, run = _running()
    if not cell:
        return
    with _lock:
        before, forms = _shown.get(cell, (run, []))
        kept = [form] if before != run else [*(one for one in forms if one is not form), form]
        _shown[cell] = (run, kept)
        there = {id(one) for _, listed in _shown.values() for one in listed}
        over = [one for one in forms if id(one) not in there]
    for one in over:
        one.close()


def _running() -> tuple[str, str]:
    """The id of the cell that runs, and that of the message that runs it; front ends send the cell's as metadata."""
    kernel: Any = getattr(get_ipython(), "kernel", None)
    parent = kernel.get_parent() if kernel else {}
    cell = parent.get("metadata", {}).get("cellId", "")
    return str(cell or ""), str(parent.get("header", {}).get("msg_id", ""))
