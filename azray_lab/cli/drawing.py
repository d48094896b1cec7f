"""How an operation is drawn where there is no screen to draw on: lines for people, JSON lines for programs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, TextIO

from azray_lab.verbs.lines import LogLines

if TYPE_CHECKING:
    from collections.abc import Sequence
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
    """Writes each event once."""

    def __init__(self, operation: Operation[Any]) -> None:
        super().__init__(operation)
        self._written = 0

    def draw(self) -> None:
        """Writes the lines of the events since the last time."""
        events = self.operation.events[self._written :]
        self._written += len(events)
        if lines := self.lines(events):
            stream = self.stream()
            stream.write("\n".join(lines) + "\n")
            stream.flush()

    def lines(self, events: Sequence[Event]) -> list[str]:
        """The lines of those events; one may get none."""
        raise NotImplementedError

    def stream(self) -> TextIO:
        """Where the lines go."""
        raise NotImplementedError


class PlainLines(_Lines):
    """Lines of text on stderr."""

    def __init__(self, operation: Operation[Any]) -> None:
        super().__init__(operation)
        self._log = LogLines()

    def lines(self, events: Sequence[Event]) -> list[str]:
        """Lines for a person; of progress no more than a log is to hold."""
        return self._log.of(events)

    def stream(self) -> TextIO:
        """The standard error."""
        return sys.stderr


class EventLines(_Lines):
    """JSON lines on stdout. How it ended is told once, by the face, with the verb's value or error."""

    def lines(self, events: Sequence[Event]) -> list[str]:
        """One JSON object for each."""
        told = [event for event in events if event.kind not in {"result", "error"}]
        return [json.dumps(event.to_dict(), default=str) for event in told]

    def stream(self) -> TextIO:
        """The standard output."""
        return sys.stdout
