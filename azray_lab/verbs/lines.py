"""Which events of an operation become lines of a log, where nothing can be drawn in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azray_lab import views

if TYPE_CHECKING:
    from collections.abc import Iterable

    from azray_lab.operation import Event

# After the last line of its stage, progress waits this long (seconds) when it has come a tenth further, or this long.
_FURTHER_SECONDS, _STILL_SECONDS = 1.0, 10.0
_TENTH = 0.1


class LogLines:
    """The lines of one operation's events, in their order; of progress only as much as a log is to hold."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[float, float]] = {}  # by stage: when its last line was, and how far it had come

    def of(self, events: Iterable[Event]) -> list[str]:
        """The lines of the events since the last call."""
        return [line for event in events if self._worth(event) and (line := views.event_line(event))]

    def _worth(self, event: Event) -> bool:
        when, share = self._told.get(event.stage, (event.seconds, 0.0))
        now = share if event.fraction is None else event.fraction
        if event.kind == "progress":
            pause = _FURTHER_SECONDS if round(now - share, 3) >= _TENTH else _STILL_SECONDS
            if event.seconds < when + pause:
                self._told.setdefault(event.stage, (when, share))
                return False
        self._told[event.stage] = (event.seconds, now)
        return True
