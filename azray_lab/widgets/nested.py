"""What is done to a widget and to all that is in it: closing them, and having them answered while a cell runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def every(widget: Any) -> Iterator[Any]:
    """The widget, what is in it, and the models of their layouts and styles, which are widgets as well."""
    yield widget
    for name in ("layout", "style"):
        if (model := getattr(widget, name, None)) is not None:
            yield model
    for child in getattr(widget, "children", ()):
        yield from every(child)


def close(widget: Any) -> None:
    """Closes the widget and all that is in it: ipywidgets keeps each one, and its layout, until it is closed."""
    for one in [*every(widget)]:
        one.close()


def answer_beside_cells(widget: Any) -> None:
    """Has what a front end sends to the widget, and to all that is in it, answered while a cell runs.

    Front ends that use subshells name one with each message (JEP 91). ipykernel 7.4 sends the message to the thread
    that spoke to the widget last instead, which is that of the cell which made it, and the message waits for the cells.
    Its kernel asks the comm for that thread only when the comm has a method for it. All widgets of a form have to take
    one road: a click must not overtake what was typed before it.
    """
    for one in every(widget):
        if getattr(one.comm, "_reply_subshell_for", None):
            one.comm._reply_subshell_for = None  # noqa: SLF001 - there is no setting for it
