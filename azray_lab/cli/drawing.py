"""How an operation is drawn where there is no screen to draw on: lines for people, JSON lines for programs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, TextIO

from azray_lab import views

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from azray_lab.operation import Event, Operation


class Drawing:
    """Draws an operation each time it is asked to; a context manager around the whole of it."""

    def __init__(self, operation: Operation[Any]) -> None:
        self.operation = operation

    def draw(self) -> None:
        """Shows what is new."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None


class _Lines(Drawing):
    """Writes each event once, as one line."""

    def __init__(self, operation: Operation[Any]) -> None:
        super().__init__(operation)
        self._written = 0

    def draw(self) -> None:
        """Writes the lines of the events since the last time."""
        events = self.operation.events[self._written :]
        self._written += len(events)
        if lines := [line for event in events if (line := self.line(event))]:
            stream = self.stream()
            stream.write("\n".join(lines) + "\n")
            stream.flush()

    def line(self, event: Event) -> str:
        """The event's line; empty when it gets none."""
        raise NotImplementedError

    def stream(self) -> TextIO:
        """Where the lines go."""
        raise NotImplementedError


class PlainLines(_Lines):
    """Lines of text on stderr."""

    def line(self, event: Event) -> str:
        """One line for a person."""
        return views.event_line(event)

    def stream(self) -> TextIO:
        """The standard error."""
        return sys.stderr


class EventLines(_Lines):
    """JSON lines on stdout. How it ended is told once, by the face, with the verb's value or error."""

    def line(self, event: Event) -> str:
        """One JSON object."""
        return "" if event.kind in {"result", "error"} else json.dumps(event.to_dict(), default=str)

    def stream(self) -> TextIO:
        """The standard output."""
        return sys.stdout
