"""A running job as a verb shows it: the log on stdout as it comes, and a line for each stage on stderr.

The job is followed in a thread; what it says is written by the thread that asked, so that it lands in the right cell
and an interrupt never cuts a line. No more than a few MB wait between the two.
"""

from __future__ import annotations

import json
import queue
from typing import TYPE_CHECKING, Any

from azray_lab import views

if TYPE_CHECKING:
    from azray_lab.operation import Event, Operation
    from azray_lab.verbs.face import Face

# Texts of up to 64 KiB.
_WAITING = 64
_PATIENCE_SECONDS = 0.2
# The stage named `job` is the log itself.
_TOLD = frozenset({"done", "waiting", "note"})


class JobLog:
    """Takes the job's log and its operation's events in one thread, and draws them in another."""

    def __init__(self, face: Face) -> None:
        self._face = face
        self._items: queue.Queue[str | Event] = queue.Queue(_WAITING)
        self._closed = False

    def watch(self, operation: Operation[Any]) -> None:
        """Shows the events of `operation` as well."""
        operation.subscribe(self._put)

    def take(self, text: str) -> None:
        """Takes whole lines of the log; waits while too much is waiting to be drawn."""
        self._put(text)

    def close(self) -> None:
        """Draws no more and lets nobody wait for it; what comes from now on is dropped."""
        self._closed = True

    def _put(self, item: str | Event) -> None:
        while not self._closed:
            try:
                self._items.put(item, timeout=_PATIENCE_SECONDS)
            except queue.Full:
                continue
            return

    def draw(self) -> None:
        """Writes what has come since the last time. When that fails (a closed pipe), it was the last time."""
        while not self._items.empty():
            item = self._items.get()
            try:
                self._show(item)
            except BaseException as error:
                if not isinstance(error, KeyboardInterrupt):
                    self.close()
                raise

    def _show(self, item: str | Event) -> None:
        if isinstance(item, str):
            self._log(item)
        else:
            self._event(item)

    def _log(self, text: str) -> None:
        # stdout is for the one document, or the events, that a program asked for.
        if self._face.json or self._face.events:
            self._face.say(text.removesuffix("\n"))
        else:
            self._face.write(text)

    def _event(self, event: Event) -> None:
        if self._face.events:
            if event.kind not in {"result", "error"}:
                self._face.write(json.dumps(event.to_dict()) + "\n")
        elif event.kind in _TOLD and event.stage != "job" and (line := views.event_line(event)):
            self._face.say(line)
